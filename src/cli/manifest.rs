//! Which Dockerfile, and what it is given: the flags that `build`, `check` and `graph` share.

use super::command_line;
use super::failure::{Code, Failure};
use super::values::{self, ContextArg, ContextSource, KeyMaybeValue};
use super::{Session, address, inputs};
use crate::base::fs::{self, Context};
use crate::graph::Remote;
use crate::image::Platform;
use crate::pipeline::{BuildContext, DockerfileInput, Origin, Target};
use crate::ui::report;
use clap::Args;
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

    /// What to build for: linux/amd64, linux/arm64, … ; several, with commas, make an index [default: this machine's]
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',', value_parser = values::platform)]
    #[arg(env = "DOCKER_DEFAULT_PLATFORM", hide_env_values = true)]
    pub platforms: Vec<Platform>,

    /// A value for ARG; NAME alone takes it from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]", value_parser = KeyMaybeValue::parse)]
    pub build_args: Vec<KeyMaybeValue>,

    /// A further context for FROM and --from: NAME=DIRECTORY, NAME=docker-image://IMAGE,
    /// NAME=oci-layout://DIRECTORY[:TAG][@DIGEST], or an address (http, https, git, ssh)
    #[arg(long = "build-context", value_name = "NAME=CONTEXT", value_parser = ContextArg::parse)]
    pub build_contexts: Vec<ContextArg>,
}

impl ManifestArgs {
    /// What is to be built, where only these flags say something.
    pub fn target(&self, context: &Path, session: &Session) -> Result<Target, Failure> {
        let dockerfile = read(self.file.as_deref(), context)?;
        self.target_for(dockerfile, (!is_none(context)).then(|| context.to_owned()), session)
    }

    /// The same for a Dockerfile and a context that are found already.
    pub fn target_for(
        &self,
        dockerfile: DockerfileInput,
        context: Option<PathBuf>,
        session: &Session,
    ) -> Result<Target, Failure> {
        Ok(Target {
            contexts: self.contexts()?,
            stage: self.target.clone(),
            platforms: distinct(&self.platforms),
            build_args: self.build_args.iter().filter_map(KeyMaybeValue::resolve).collect(),
            network: session.config.network.unwrap_or_default(),
            inputs: inputs::usual(&dockerfile)?,
            ..Target::new(dockerfile, context)
        })
    }

    /// `--build-context`, with each word that may be either settled: a directory, or the name of an image.
    fn contexts(&self) -> Result<Vec<BuildContext>, Failure> {
        let mut contexts = Vec::new();
        for ContextArg { name, source } in &self.build_contexts {
            let origin = match source {
                ContextSource::Remote(text) => Origin::Remote(remote(name, text)?),
                ContextSource::Directory(dir) if dir.is_dir() => Origin::Directory(dir.clone()),
                ContextSource::Directory(dir) if dir.to_str().is_some_and(is_repository) => {
                    Origin::Remote(remote(name, &dir.to_string_lossy())?)
                }
                ContextSource::Directory(dir) => {
                    let text = format!("build context '{name}': {} is not a directory", dir.display());
                    return Err(Failure::new(Code::NotFound, text));
                }
                ContextSource::Either(word) if Path::new(word).is_dir() => Origin::Directory(word.into()),
                ContextSource::Either(image) | ContextSource::Image(image) => Origin::Image(image.clone()),
            };
            contexts.push(BuildContext { name: name.clone(), origin });
        }
        Ok(contexts)
    }
}

/// Each once, in order.
fn distinct(platforms: &[Platform]) -> Vec<Platform> {
    let is_first = |(at, platform): &(usize, &Platform)| !platforms[..*at].contains(platform);
    platforms.iter().enumerate().filter(is_first).map(|(_, platform)| platform.clone()).collect()
}

/// Whether a word names a commit of a repository in a directory.
fn is_repository(text: &str) -> bool {
    text.contains('#') && address::parse(text).is_some()
}

/// A named context on the network.
fn remote(name: &str, text: &str) -> Result<Remote, Failure> {
    let invalid = |reason: String| Failure::usage(format!("build context '{name}': {reason}"));
    let parsed = address::parse(text).ok_or_else(|| invalid(format!("'{text}' is no address")))?;
    parsed.map_err(|reason| invalid(reason.to_string()))
}

/// Checks that the build context is a directory, or `-`: none, with the Dockerfile on standard input. `guessed`: `build`
/// was not written out, so that a mistyped command may have come out as a context.
pub fn check_context(context: &Path, guessed: bool) -> Result<(), Failure> {
    if is_none(context) {
        return Ok(());
    }
    let text = context.to_string_lossy();
    if text.contains("://") {
        return Err(Failure::usage(format!("the context '{text}' is an address"))
            .help("`build` and `plan` take http, https, git and ssh; other commands take directories"));
    }
    if context.is_dir() {
        return Ok(());
    }
    if context.exists() {
        let failure = Failure::new(Code::NotFound, format!("the build context '{text}' is not a directory"));
        return Err(
            failure.help(format!("if it is the Dockerfile, name the directory, too: `rbuild build -f {text} .`"))
        );
    }
    let failure = Failure::new(Code::NotFound, format!("the build context '{text}' does not exist"));
    let command = <super::Cli as clap::CommandFactory>::command();
    Err(if guessed && command_line::is_name(&text) {
        failure.help(command_line::meant(&command, &text))
    } else {
        failure
    })
}

/// Reads the Dockerfile: `file` (`-`: standard input), else that of the context directory.
pub fn read(file: Option<&Path>, context: &Path) -> Result<DockerfileInput, Failure> {
    let (name, bytes, path) = match file {
        Some(_) if is_none(context) => {
            return Err(Failure::usage(
                "with the context '-' the Dockerfile comes from standard input, and -f is at odds",
            )
            .help("name a directory as the context"));
        }
        None if is_none(context) => {
            let bytes = read_stdin()?;
            if is_archive(&bytes) {
                return Err(Failure::usage("only `build` and `plan` take a context as an archive on standard input")
                    .help("unpack it into a directory and name that"));
            }
            (STDIN.to_owned(), bytes, None)
        }
        Some(file) if file.as_os_str() == "-" => (STDIN.to_owned(), read_stdin()?, None),
        Some(file) => (file.display().to_string(), read_file(file)?, Some(file.to_owned())),
        None => {
            let file = default_file(context)?;
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, read_file(&file)?, Some(file))
        }
    };
    Ok(DockerfileInput { name, bytes, path })
}

/// What messages call the Dockerfile from standard input.
pub const STDIN: &str = "<stdin>";

/// `-`: no context at all.
pub fn is_none(context: &Path) -> bool {
    context.as_os_str() == "-"
}

/// Whether it is a tar, plain or packed, as docker takes one for a whole context.
pub fn is_archive(bytes: &[u8]) -> bool {
    let packed: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh"];
    packed.iter().any(|magic| bytes.starts_with(magic)) || bytes.get(257..262) == Some(b"ustar")
}

/// `Dockerfile`, else `dockerfile`, else `Containerfile`, of a context directory.
fn default_file(context: &Path) -> Result<PathBuf, Failure> {
    let names = ["Dockerfile", "dockerfile", "Containerfile"];
    names.iter().map(|name| context.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        Failure::new(Code::NotFound, format!("there is no Dockerfile in '{}'", context.display()))
            .help("name one with `-f FILE`, or `-f -` to read standard input")
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    limited(path, fs::open(path)?)
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    limited(Path::new(STDIN), stdin())
}

/// Standard input, which a person may not know is read.
pub fn stdin() -> std::io::Stdin {
    if std::io::stdin().is_terminal() {
        report::show("reading the Dockerfile from the terminal; end it with Ctrl-D\n");
    }
    std::io::stdin()
}

/// Reads no more than a Dockerfile may hold.
pub fn limited(path: &Path, reader: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    reader.take(MANIFEST_LIMIT + 1).read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() as u64 > MANIFEST_LIMIT {
        let text = format!("{} is larger than {} MiB", path.display(), MANIFEST_LIMIT >> 20);
        return Err(Failure::new(Code::Manifest, text));
    }
    Ok(bytes)
}
