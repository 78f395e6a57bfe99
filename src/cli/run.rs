//! `rbuild run`.

use super::Session;
use super::failure::Failure;
use super::values::{self, KeyMaybeValue};
use crate::base::fs;
use crate::container::{self, RunOptions, Volume};
use crate::export::images;
use crate::graph::Network;
use crate::image::Platform;
use crate::sandbox::emulation;
use crate::snapshot::{self, Choice, Lazy};
use crate::store::Access;
use crate::tree::Trees;
use crate::ui::report;
use clap::Args;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// What docker exits with when the container could not be made.
pub const NO_CONTAINER: u8 = 125;

/// Arguments of `run`, as docker has them.
#[derive(Debug, Args)]
#[command(after_help = "\
Signals go to the container's process; its exit code becomes rbuild's. 125: the container could not be made, 126: the program
cannot be executed, 127: it was not found.

Examples:
  rbuild run --rm app
  rbuild run --rm -it app sh
  rbuild run --rm -e MODE=test -v ./data:/data:ro -w /data app ls -l
  rbuild run --rm --network none --entrypoint /bin/sh app -c 'id; ls /'")]
pub struct RunArgs {
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,

    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,

    /// Keep nothing of the container when it ends
    #[arg(long)]
    rm: bool,

    /// A variable; NAME alone takes it from the environment
    #[arg(short, long = "env", value_name = "NAME[=VALUE]", value_parser = KeyMaybeValue::parse)]
    env: Vec<KeyMaybeValue>,

    /// Variables from a file, a NAME=VALUE on each line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// A file or directory of this host: SOURCE:TARGET[:ro]
    #[arg(short, long = "volume", value_name = "SOURCE:TARGET", value_parser = str::parse::<Volume>)]
    volumes: Vec<Volume>,

    /// Working directory, instead of the image's
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// USER[:GROUP], by name or number, instead of the image's
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,

    /// The program, instead of the image's ENTRYPOINT; empty: none
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,

    /// The host's network, or none [default: host]
    #[arg(long, value_parser = values::network(), value_name = "NETWORK")]
    network: Option<Network>,

    /// Run an init that passes signals on and reaps processes
    #[arg(long)]
    init: bool,

    /// Host name inside
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    /// Nothing can be written to its root
    #[arg(long)]
    read_only: bool,

    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    shm_size: Option<u64>,

    /// How its writable root is made [default: auto]
    #[arg(long, value_enum, value_name = "KIND")]
    snapshotter: Option<Choice>,

    /// Of an index the image for this platform [default: this machine's]
    #[arg(long, value_name = "PLATFORM", value_parser = values::platform)]
    #[arg(env = "DOCKER_DEFAULT_PLATFORM", hide_env_values = true)]
    platform: Option<Platform>,

    /// A name, an image ID or a prefix of one
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Command and arguments, instead of the image's CMD
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs a container in the foreground; gives its exit code. Whatever goes wrong before it runs has docker's code for
/// that, so that it can be told from a code of the container.
pub fn run(args: &RunArgs, session: &Session) -> Result<u8, Failure> {
    start(args, session).map_err(|failure| Failure { code: failure.code.max(NO_CONTAINER), ..failure })
}

fn start(args: &RunArgs, session: &Session) -> Result<u8, Failure> {
    if args.tty && args.interactive && !std::io::stdin().is_terminal() {
        return Err(Failure::usage("standard input is no terminal, which -t needs").help("leave out -t"));
    }
    session.enter_to_write()?;
    let options = args.options(session)?;
    let store = session.open_store(Access::Shared)?;
    let image = images::resolve_for(&store, &args.image, &args.platform.clone().unwrap_or_default())?;
    emulation::check(&image.config.for_platform())?;
    let trees = Trees::new(&store);
    let rootfs = images::rootfs(&trees, &image.config)?;
    let choice = args.snapshotter.or(session.config.snapshotter).unwrap_or_default();
    if let (_, Some(reason)) = snapshot::choose(choice, &store)? {
        report::warning(&format!("the image's files are copied, since overlay is not to be had: {reason}"));
    }
    let code = container::run(&store, &Lazy::new(choice), &rootfs, &image.config.config, &options)?;
    Ok(u8::try_from(code).unwrap_or(NO_CONTAINER))
}

impl RunArgs {
    fn options(&self, session: &Session) -> Result<RunOptions, Failure> {
        let mut env = Vec::new();
        for file in &self.env_file {
            env.extend(read_env(file)?);
        }
        env.extend(self.env.iter().filter_map(KeyMaybeValue::resolve));
        Ok(RunOptions {
            command: self.command.clone(),
            entrypoint: self.entrypoint.clone(),
            env: env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            volumes: self.volumes.clone(),
            network: self.network.or(session.config.network).unwrap_or_default(),
            init: self.init,
            interactive: self.interactive,
            tty: self.tty,
            remove: self.rm,
            hostname: self.hostname.clone(),
            readonly: self.read_only,
            shm_size: self.shm_size.or(session.config.shm_size()),
        })
    }
}

/// docker's env files: a variable on each line, values verbatim; blank lines and lines with `#` in front are skipped.
fn read_env(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let bytes = fs::read(path)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not UTF-8 text", path.display())))?;
    let mut variables = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let variable = KeyMaybeValue::parse(line)
            .map_err(|reason| Failure::usage(format!("{}:{}: {reason}", path.display(), i + 1)))?;
        variables.extend(variable.resolve());
    }
    Ok(variables)
}
