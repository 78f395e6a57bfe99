//! `rbuild bake`.

mod show;
mod targets;

use super::failure::{Code, Failure};
use super::{Session, check};
use crate::bake::{self, Surroundings, files};
use crate::base::fs::{self, Context as _};
use crate::diag::Source;
use crate::image::Platform;
use crate::pipeline::{self, BuildResult};
use crate::registry::Keyring;
use crate::ui::progress::{Progress, Style};
use crate::ui::report;
use clap::{Args, ValueEnum};
use serde_json::json;
use show::Listing;
use std::collections::BTreeMap;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use targets::Common;

/// Arguments of `bake`.
#[derive(Debug, Args)]
#[command(after_help = "\
Files are those given with -f, else those of these that are there, each put over those before it: compose.yaml,
compose.yml, docker-compose.yml, docker-compose.yaml, docker-bake.json, docker-bake.hcl, docker-bake.override.json,
docker-bake.override.hcl, rbuild.toml. See docs/bake.md.

Examples:
  rbuild bake                                         the group or the target `default`
  rbuild bake web 'test-*'                            targets and groups by name or pattern
  rbuild bake --print web                             what would be built, as JSON
  rbuild bake --list targets
  rbuild bake -f ci.hcl --set '*.args.VERSION=1.2' --set web.tags=example.org/web:1.2
  VERSION=1.2 rbuild bake                             the environment sets variables
  rbuild bake --check                                 look for mistakes in the Dockerfiles, build nothing")]
pub struct BakeArgs {
    /// Targets and groups, by name or pattern [default: default]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,

    /// A file with definitions, `-` reads standard input; may be given many times, later ones are put over earlier ones
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Override an attribute: TARGET.KEY=VALUE, or += to go on with a list; TARGET may be a pattern
    #[arg(long = "set", value_name = "TARGET.KEY=VALUE")]
    pub sets: Vec<String>,

    /// Print what would be built as JSON, and build nothing
    #[arg(long)]
    pub print: bool,

    /// List targets or variables, and build nothing
    #[arg(long, value_name = "WHAT", value_parser = Listing::parse)]
    pub list: Option<Listing>,

    /// Push the images: `*.push=true`
    #[arg(long)]
    pub push: bool,

    /// Leave the images in the store, beside other outputs: `*.load=true`
    #[arg(long)]
    pub load: bool,

    /// Run every step, whatever the store holds: `*.no-cache=true`
    #[arg(long)]
    pub no_cache: bool,

    /// Ask registries for newer images: `*.pull=true`
    #[arg(long)]
    pub pull: bool,

    /// Attest what is in the images: `*.attest=type=sbom`
    #[arg(long, value_name = "OPTIONS", num_args = 0..=1, default_missing_value = "true")]
    pub sbom: Option<String>,

    /// Attest how the images came about: `*.attest=type=provenance`
    #[arg(long, value_name = "OPTIONS", num_args = 0..=1, default_missing_value = "true")]
    pub provenance: Option<String>,

    /// What to do: `build`, or `check` to look for mistakes in the Dockerfiles and build nothing
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Call::Build)]
    pub call: Call,

    /// The same as --call check
    #[arg(long, conflicts_with = "call")]
    pub check: bool,

    /// What concerns all targets.
    #[command(flatten)]
    pub common: Common,

    /// How progress is shown
    #[arg(long, value_enum, value_name = "STYLE", default_value_t = Style::Auto)]
    pub progress: Style,

    /// Write what was built (digests, names) to a file as JSON, by target
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,

    /// Steps that run at once [default: one per processor]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
}

/// What is done with targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Call {
    /// Build them
    Build,
    /// Look for mistakes in their Dockerfiles
    #[value(alias = "lint")]
    Check,
}

/// Builds what a definition says.
pub fn run(args: &BakeArgs, session: &Session) -> Result<(), Failure> {
    let surroundings = surroundings()?;
    let sources = args.sources()?;
    let mut warnings = Vec::new();
    let loaded = bake::load(&sources, &surroundings, &mut warnings);
    report::warnings(&warnings);
    let config = loaded?;
    if let Some(listing) = args.list {
        return show::list(&config, listing);
    }
    let definition = bake::resolve(&config, &args.targets, &args.overrides(), &surroundings)?;
    if args.print {
        return show::print(&definition);
    }
    session.enter_to_write()?;
    // A signal ends the process while a context is fetched.
    let cancel = session.watch();
    let mut work = targets::prepare(&definition, &args.common, session, &cancel)?;
    if work.only_check {
        return check::instead_of_build(&work.request.targets);
    }
    if let Some(file) = &args.metadata_file {
        // An old one must not be taken for this build's.
        fs::remove_file(file)?;
    }
    work.request.jobs = args.jobs.map(NonZeroUsize::get).or(work.request.jobs);
    work.request.pulling.keyring = Keyring::from_environment();
    work.request.cancel = cancel;
    let progress = Progress::start(args.progress);
    let results = pipeline::build(&work.request, &|event| progress.send(event));
    progress.finish();
    let built = work.request.targets.iter().filter(|target| target.yields_image).map(|target| target.name.as_str());
    let built: BTreeMap<&str, BuildResult> = built.zip(results?).collect();
    match &args.metadata_file {
        Some(file) => write_metadata(file, &built),
        None => Ok(()),
    }
}

/// The names that buildx gives them, below each target's.
fn write_metadata(file: &Path, built: &BTreeMap<&str, BuildResult>) -> Result<(), Failure> {
    let metadata = |result: &BuildResult| {
        json!({
            "containerimage.config.digest": result.id,
            "containerimage.digest": result.pushed.first().map_or(result.manifest, |(_, digest)| *digest),
            "image.name": result.names.join(","),
        })
    };
    let all: serde_json::Map<String, serde_json::Value> =
        built.iter().map(|(name, result)| ((*name).to_owned(), metadata(result))).collect();
    Ok(fs::write_atomic(file, format!("{:#}\n", json!(all)).as_bytes())?)
}

impl BakeArgs {
    /// The texts of the files.
    fn sources(&self) -> Result<Vec<Source>, Failure> {
        if self.files.is_empty() {
            let there = files::DEFAULTS.iter().map(Path::new).filter(|path| path.is_file());
            let sources: Vec<Source> = there.map(read).collect::<Result<_, _>>()?;
            if sources.is_empty() {
                return Err(Failure::new(Code::NotFound, "there is no definition of targets here")
                    .help("name a file with `-f FILE`; `rbuild bake --help` tells which are looked for"));
            }
            return Ok(sources);
        }
        self.files.iter().map(|path| read(path)).collect()
    }

    /// `--set`, and the flags that are short for one.
    fn overrides(&self) -> Vec<String> {
        let attest = |kind: &str, options: &String| match options.as_str() {
            "true" => format!("*.attest=type={kind}"),
            "false" => format!("*.attest=type={kind},disabled=true"),
            options => format!("*.attest=type={kind},{options}"),
        };
        let flags = [
            self.push.then(|| "*.push=true".to_owned()),
            self.load.then(|| "*.load=true".to_owned()),
            self.no_cache.then(|| "*.no-cache=true".to_owned()),
            self.pull.then(|| "*.pull=true".to_owned()),
            self.sbom.as_ref().map(|options| attest("sbom", options)),
            self.provenance.as_ref().map(|options| attest("provenance", options)),
            (self.check || self.call == Call::Check).then(|| "*.call=lint".to_owned()),
        ];
        self.sets.iter().cloned().chain(flags.into_iter().flatten()).collect()
    }
}

/// What definitions are read with: the environment as far as it is text, and `.env`.
fn surroundings() -> Result<Surroundings, Failure> {
    const DOTENV: &str = ".env";
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let dotenv = Path::new(DOTENV);
    Ok(Surroundings {
        environment: environment.collect(),
        dotenv: if dotenv.is_file() { Some(read(dotenv)?) } else { None },
        platform: Platform::default().to_string(),
    })
}

fn read(path: &Path) -> Result<Source, Failure> {
    if path.to_str().is_some_and(bake::is_address) {
        let text = format!("'{}' is an address, and definitions are read from files", path.display());
        return Err(Failure::usage(text).help("get the file first; contexts of targets may be addresses"));
    }
    let mut bytes = Vec::new();
    let (name, input): (String, Box<dyn Read>) = match path.to_str() {
        Some("-") => (super::manifest::STDIN.to_owned(), Box::new(std::io::stdin())),
        _ => (path.display().to_string(), Box::new(fs::open(path)?)),
    };
    input.take(files::LIMIT + 1).read_to_end(&mut bytes).at("read", path)?;
    Ok(files::source(&name, bytes)?)
}
