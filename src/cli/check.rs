//! `rbuild check`, and `build --check`.

use super::Session;
use super::failure::{Code, Failure};
use super::manifest::ManifestArgs;
use super::rewrite;
use crate::base::{Digest, fs};
use crate::diag::{Diagnostic, Severity, Source, fix};
use crate::dockerfile::check::{Depth, check};
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::lower::{BaseImage, Images, NotFound, Options};
use crate::dockerfile::{lower, parse, text};
use crate::image::{ImageConfig, Platform, Reference};
use crate::pipeline::{self, Target};
use crate::ui::{findings, out, report};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How often fixes may make room for further ones.
const ROUNDS: usize = 20;

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Neither the store nor base images are looked at, and nothing is built. Warnings do not make a file
invalid, unless it says `# check=error=true`. What is looked for has a page each in docs/checks;
`# check=skip=NAME` leaves a check out.

Examples:
  rbuild check -f Dockerfile
  rbuild check --strict .
  rbuild check --fix .                                mend what can be mended without judgement
  rbuild check --format sarif . > check.sarif         for code scanning
  rbuild check -f - < Dockerfile")]
pub struct CheckArgs {
    /// Which Dockerfile, and what it is given.
    #[command(flatten)]
    manifest: ManifestArgs,

    /// Warnings count as errors
    #[arg(long)]
    strict: bool,

    /// Also look for what is a matter of taste: the checks that otherwise run where `# check=experimental=NAME` says so
    #[arg(long)]
    pedantic: bool,

    /// Mend in the file what has a mechanical fix, then tell of the rest
    #[arg(long)]
    fix: bool,

    /// How findings are shown
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Form::Text)]
    format: Form,

    /// The build context
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
}

/// Forms as the command line names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Marked lines for people, on standard error
    Text,
    /// One JSON document
    Json,
    /// SARIF 2.1.0
    Sarif,
}

/// Reports every mistake; succeeds if there is none.
pub fn run(args: &CheckArgs, session: &Session) -> Result<(), Failure> {
    let target = args.manifest.target(&args.context, session)?;
    let subject = Subject::new(&target, if args.pedantic { Depth::All } else { Depth::Check })?;
    let input = &target.dockerfile;
    let (mut source, mut found) = subject.examine(&input.name, &input.bytes);
    if args.fix {
        let Some(path) = &input.path else {
            return Err(
                Failure::usage("`--fix` mends a file, and standard input is none").help("name it with `-f FILE`")
            );
        };
        rewrite::is_whole(&source, &input.bytes)?;
        let (text, fixes) = subject.mend(&source, &found);
        if fixes > 0 {
            rewrite::replace(path, &text)?;
            report::show(&format!("mended {fixes} of {} in {}\n", counted(fixes, found.len()), source.name()));
            source = Source::new(source.name(), text);
            found = subject.findings(&source);
        }
    }
    let invalid = found.iter().any(|d| args.strict || d.is_error());
    match args.format {
        Form::Text => return tell(found, invalid),
        Form::Json => out::line(&findings::json(&source, &found))?,
        Form::Sarif => out::line(&findings::sarif(&source, &found))?,
    }
    if invalid { Err(Failure::silent(Code::Manifest as u8)) } else { Ok(()) }
}

/// `build --check`, `bake --check`: what `check` says, with what the build was told. What holds for several targets of one
/// file is said once.
pub fn instead_of_build(targets: &[Target]) -> Result<(), Failure> {
    let mut all: Vec<Diagnostic> = Vec::new();
    for target in targets {
        let input = &target.dockerfile;
        let (_, found) = Subject::new(target, Depth::Check)?.examine(&input.name, &input.bytes);
        let is_new = |d: &Diagnostic| !all.iter().any(|old| old.message == d.message && old.place() == d.place());
        let new: Vec<Diagnostic> = found.into_iter().filter(is_new).collect();
        all.extend(new);
    }
    let invalid = all.iter().any(Diagnostic::is_error);
    tell(all, invalid)
}

fn tell(found: Vec<Diagnostic>, invalid: bool) -> Result<(), Failure> {
    if invalid {
        return Err(Failure::invalid(found));
    }
    report::warnings(&found);
    Ok(())
}

/// `7 findings`; a fix can make room for others, so that there may be more of them than were found at first.
fn counted(fixes: usize, found: usize) -> String {
    let all = found.max(fixes);
    format!("{all} finding{}", if all == 1 { "" } else { "s" })
}

/// What a file is checked with.
struct Subject {
    options: Options,
    ignore: Option<Ignore>,
    depth: Depth,
}

impl Subject {
    fn new(target: &Target, depth: Depth) -> Result<Subject, Failure> {
        let options = pipeline::options(target);
        Ok(Subject { options, ignore: ignore(target)?, depth })
    }

    /// The text of a file, and all that is wrong with it.
    fn examine(&self, name: &str, bytes: &[u8]) -> (Source, Vec<Diagnostic>) {
        match text::source(name, bytes) {
            Ok(source) => {
                let found = self.findings(&source);
                (source, found)
            }
            Err(fault) => (Source::new(name, String::from_utf8_lossy(bytes)), vec![*fault]),
        }
    }

    /// All that is wrong with a text, in its order.
    fn findings(&self, source: &Source) -> Vec<Diagnostic> {
        let (file, mut found) = match parse(source) {
            Ok(parsed) => parsed,
            Err(errors) => return errors,
        };
        match lower(&file, &self.options, &Assumed) {
            Ok(lowered) => found.extend(lowered.warnings),
            Err(errors) => found.extend(errors.into_iter().map(unsettled)),
        }
        found.extend(check(&file, &self.options, &Nothing, self.ignore.as_ref(), self.depth));
        found.sort_by_key(|d| d.labels.first().map(|label| label.span));
        found
    }

    /// Applies fixes until none is left, and counts them. A round that would bring an error into the text is not kept.
    fn mend(&self, source: &Source, found: &[Diagnostic]) -> (String, usize) {
        let errors = |found: &[Diagnostic]| found.iter().filter(|d| d.is_error()).count();
        let (mut text, mut found, mut fixes) = (source.text().to_owned(), found.to_vec(), 0);
        for _ in 0..ROUNDS {
            let Some((mended, count)) = fix::apply(&text, &found) else { break };
            let left = self.findings(&Source::new(source.name(), mended.as_str()));
            if errors(&left) > errors(&found) {
                break;
            }
            (text, found, fixes) = (mended, left, fixes + count);
        }
        (text, fixes)
    }
}

/// What fails for want of a value only warns here: a build may be given it with `--build-arg`.
fn unsettled(mut fault: Diagnostic) -> Diagnostic {
    if matches!(fault.code.as_str(), "empty-user" | "empty-source") {
        fault.severity = Severity::Warning;
    }
    fault
}

/// The rules of the ignore file that a build would use.
fn ignore(target: &Target) -> Result<Option<Ignore>, Failure> {
    let Some(path) = target.ignore_file() else { return Ok(None) };
    let ignore = Ignore::parse(&String::from_utf8_lossy(&fs::read(&path)?));
    ignore.map(Some).map_err(|e| Failure::new(Code::Manifest, format!("{}: {e}", path.display())))
}

/// Base images of which nothing is known but that they fit: what a file says about itself can be checked with them.
struct Assumed;

impl Images for Assumed {
    fn find(&self, reference: &str, platform: &Platform) -> Result<BaseImage, NotFound> {
        if let Err(error) = reference.parse::<Reference>() {
            return Err(NotFound { reason: error.reason, ..NotFound::default() });
        }
        let config = ImageConfig {
            os: platform.os.clone(),
            architecture: platform.arch.clone(),
            variant: Some(platform.variant.clone()).filter(|v| !v.is_empty()),
            ..ImageConfig::default()
        };
        Ok(BaseImage { reference: reference.to_owned(), manifest: Digest::of(b""), config })
    }
}

/// No base images: rules that would look into one find nothing.
struct Nothing;

impl Images for Nothing {
    fn find(&self, _reference: &str, _platform: &Platform) -> Result<BaseImage, NotFound> {
        Err(NotFound { reason: "base images are not looked at".into(), ..NotFound::default() })
    }
}
