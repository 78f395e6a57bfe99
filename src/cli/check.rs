//! `rbuild check`.

use super::Session;
use super::failure::{Code, Failure};
use super::manifest::ManifestArgs;
use crate::base::{Digest, fs};
use crate::dockerfile::check::check;
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::lower::{BaseImage, Images, NamedContext, NotFound, Options};
use crate::dockerfile::{lower, parse, text};
use crate::image::{ImageConfig, Reference};
use crate::pipeline::{self, BuildContext, BuildRequest};
use crate::ui::report;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Neither the store nor base images are looked at, and nothing is built. Warnings do not make a file invalid, unless it says
`# check=error=true`.

Examples:
  rbuild check -f Dockerfile
  rbuild check --strict .
  rbuild check -f - < Dockerfile")]
pub struct CheckArgs {
    /// Which Dockerfile, and what it is given.
    #[command(flatten)]
    manifest: ManifestArgs,

    /// Warnings count as errors
    #[arg(long)]
    strict: bool,

    /// The build context
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
}

/// Reports every mistake; succeeds if there is none.
pub fn run(args: &CheckArgs, session: &Session) -> Result<(), Failure> {
    let request = args.manifest.request(&args.context, session)?;
    let ignore = ignore(&request)?;
    let options = Options {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        contexts: request.contexts.iter().map(named).collect(),
        network: request.network,
        ..Options::default()
    };
    let input = &request.dockerfile;
    let source = text::source(&input.name, &input.bytes).map_err(|e| Failure::invalid(vec![*e]))?;
    let (file, mut found) = parse(&source).map_err(Failure::invalid)?;
    match lower(&file, &options, &Assumed(&options)) {
        Ok(lowered) => found.extend(lowered.warnings),
        Err(errors) => found.extend(errors),
    }
    found.extend(check(&file, &options, &Nothing, ignore.as_ref()));
    found.sort_by_key(|d| d.labels.first().map(|label| label.span));
    if found.iter().any(|d| args.strict || d.is_error()) {
        return Err(Failure::invalid(found));
    }
    report::warnings(&found);
    Ok(())
}

fn named(context: &BuildContext) -> NamedContext {
    NamedContext { name: context.name.clone(), target: context.target.clone() }
}

/// The rules of the ignore file that a build would use.
fn ignore(request: &BuildRequest) -> Result<Option<Ignore>, Failure> {
    let Some(path) = pipeline::ignore_file(request) else { return Ok(None) };
    let ignore = Ignore::parse(&String::from_utf8_lossy(&fs::read(&path)?));
    ignore.map(Some).map_err(|e| Failure::new(Code::Manifest, format!("{}: {e}", path.display())))
}

/// Base images of which nothing is known but that they fit: what a file says about itself can be checked with them.
struct Assumed<'o>(&'o Options);

impl Images for Assumed<'_> {
    fn find(&self, reference: &str) -> Result<BaseImage, NotFound> {
        if let Err(error) = reference.parse::<Reference>() {
            return Err(NotFound { reason: error.reason, help: Vec::new() });
        }
        let platform = &self.0.platform;
        let config =
            ImageConfig { os: platform.os.clone(), architecture: platform.arch.clone(), ..ImageConfig::default() };
        Ok(BaseImage { reference: reference.to_owned(), manifest: Digest::of(b""), config })
    }
}

/// No base images: rules that would look into one find nothing.
struct Nothing;

impl Images for Nothing {
    fn find(&self, _reference: &str) -> Result<BaseImage, NotFound> {
        Err(NotFound { reason: "base images are not looked at".into(), help: Vec::new() })
    }
}
