//! Which Dockerfile, and what it is given: the flags that `build`, `check` and `graph` share.

use super::failure::{Code, Failure};
use super::values::{ContextArg, ContextSource, KeyMaybeValue};
use crate::base::fs::{self, Context};
use crate::diag::Source;
use clap::Args;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

/// The most that a Dockerfile may hold, in bytes.
const MANIFEST_LIMIT: u64 = 16 * 1024 * 1024;

/// Flags about the Dockerfile.
#[derive(Debug, Args)]
pub struct ManifestArgs {
    /// The Dockerfile; `-` reads standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// The stage to build, by name or number [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,

    /// A value for ARG; NAME alone takes it from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]", value_parser = KeyMaybeValue::parse)]
    pub build_args: Vec<KeyMaybeValue>,

    /// A further context for FROM and --from: NAME=DIRECTORY or NAME=docker-image://IMAGE
    #[arg(long = "build-context", value_name = "NAME=CONTEXT", value_parser = ContextArg::parse)]
    pub build_contexts: Vec<ContextArg>,
}

/// A Dockerfile that was read.
#[derive(Debug)]
pub struct Manifest {
    /// Its text, named as the user would.
    pub source: Source,
    /// Its path; `None`: standard input.
    pub path: Option<PathBuf>,
}

impl ManifestArgs {
    /// Reads the Dockerfile of the context directory `context`.
    pub fn read(&self, context: &Path) -> Result<Manifest, Failure> {
        let (name, bytes, path) = match &self.file {
            Some(file) if file.as_os_str() == "-" => ("<stdin>".to_owned(), read_stdin()?, None),
            Some(file) => (file.display().to_string(), read_file(file)?, Some(file.clone())),
            None => {
                let file = default_file(context)?;
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (name, read_file(&file)?, Some(file))
            }
        };
        let text = String::from_utf8(bytes)
            .map_err(|e| Failure::new(Code::Manifest, format!("{name} is not UTF-8 text: {}", e.utf8_error())))?;
        Ok(Manifest { source: Source::new(name, text), path })
    }

    /// `--build-arg`, values resolved.
    pub fn arguments(&self) -> BTreeMap<String, String> {
        self.build_args.iter().filter_map(KeyMaybeValue::resolve).collect()
    }

    /// `--build-context`, with each word that may be either settled: a directory, or the name of an image.
    pub fn contexts(&self) -> Result<Vec<(String, NamedSource)>, Failure> {
        let mut contexts = Vec::new();
        for context in &self.build_contexts {
            let source = match &context.source {
                ContextSource::Directory(dir) if dir.is_dir() => NamedSource::Directory(dir.clone()),
                ContextSource::Directory(dir) => {
                    let text = format!("build context '{}': {} is not a directory", context.name, dir.display());
                    return Err(Failure::new(Code::NotFound, text));
                }
                ContextSource::Image(image) => NamedSource::Image(image.clone()),
                ContextSource::Either(word) if Path::new(word).is_dir() => NamedSource::Directory(word.into()),
                ContextSource::Either(word) => NamedSource::Image(word.clone()),
            };
            contexts.push((context.name.clone(), source));
        }
        Ok(contexts)
    }
}

/// What a named context stands for, settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedSource {
    /// A directory that is there.
    Directory(PathBuf),
    /// The name of an image, which may or may not be stored.
    Image(String),
}

/// Checks that the build context is a directory. `guessed`: `build` was not written out, so that a mistyped command
/// may have come out as a context.
pub fn check_context(context: &Path, guessed: bool) -> Result<(), Failure> {
    if context.as_os_str() == "-" {
        return Err(Failure::usage("a context from standard input is not supported")
            .help("unpack it into a directory and name that; `-f -` reads only the Dockerfile from standard input"));
    }
    let text = context.to_string_lossy();
    if text.contains("://") {
        return Err(Failure::usage(format!("the context '{text}' is an address; only directories are supported")));
    }
    if context.is_dir() {
        return Ok(());
    }
    let what = if context.exists() { "is not a directory" } else { "does not exist" };
    let failure = Failure::new(Code::NotFound, format!("the build context '{text}' {what}"));
    let commands: Vec<String> =
        <super::Cli as clap::CommandFactory>::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    match crate::diag::suggest::nearest(&text, commands.iter().map(String::as_str)) {
        Some(command) if guessed => Err(failure.help(format!("did you mean the command `rbuild {command}`?"))),
        _ => Err(failure),
    }
}

/// `Dockerfile`, else `Containerfile`, of a context directory.
fn default_file(context: &Path) -> Result<PathBuf, Failure> {
    let names = ["Dockerfile", "Containerfile"];
    names.iter().map(|name| context.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        Failure::new(Code::NotFound, format!("there is no Dockerfile in '{}'", context.display()))
            .help("name one with `-f FILE`, or `-f -` to read standard input")
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    limited(path, fs::open(path)?)
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    if std::io::stdin().is_terminal() {
        eprintln!("reading the Dockerfile from the terminal; end it with Ctrl-D");
    }
    limited(Path::new("<stdin>"), std::io::stdin().lock())
}

fn limited(path: &Path, reader: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    reader.take(MANIFEST_LIMIT + 1).read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() as u64 > MANIFEST_LIMIT {
        let text = format!("{} is larger than {} MiB", path.display(), MANIFEST_LIMIT >> 20);
        return Err(Failure::new(Code::Manifest, text));
    }
    Ok(bytes)
}
