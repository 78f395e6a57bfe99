//! clap commands, one thin file each: they turn arguments into a call of the library, and its answer into text and an
//! exit code.

mod address;
mod bake;
mod build;
mod cache;
mod caching;
mod check;
mod command_line;
mod completion;
mod config;
mod context;
mod diff;
mod du;
mod export;
mod failure;
mod fmt;
mod fsck;
mod graph;
mod history;
mod images;
mod import;
mod inputs;
mod inspect;
mod interrupt;
mod listing;
mod lists;
mod load;
mod lock;
mod login;
mod man;
mod manifest;
mod panic;
mod plan;
mod prune;
mod pull;
mod push;
mod rewrite;
mod rmi;
mod run;
mod save;
mod secret;
mod shell;
mod tag;
mod upkeep;
mod values;
mod vendor;
mod version;
mod why;

use crate::base::Cancel;
use crate::pipeline::{BuildRequest, Pulling, Target};
use crate::sandbox::userns::{self, Rung};
use crate::store::{Access, Store};
use crate::ui::report;
use clap::{CommandFactory, Parser, Subcommand};
use config::Config;
use failure::{Code, Failure};
use rustix::process::{Resource, Rlimit};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "rbuild",
    version,
    about = "Builds container images from Dockerfiles: no daemon, no root",
    after_help = failure::EXIT_CODES,
    max_term_width = 110
)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, clap::Args)]
struct Globals {
    /// The store's directory [default: /var/lib/rbuild as root, $XDG_DATA_HOME/rbuild otherwise]
    #[arg(long, global = true, env = "RBUILD_ROOT", value_name = "DIR", hide_env_values = true)]
    root: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build an image from a Dockerfile; the default command
    Build(Box<build::BuildArgs>),
    /// Build several images that a bake file, a compose file or rbuild.toml defines
    Bake(Box<bake::BakeArgs>),
    /// Look for mistakes in a Dockerfile without building it
    Check(check::CheckArgs),
    /// Format a Dockerfile without changing its meaning
    Fmt(fmt::FmtArgs),
    /// Show the steps that a Dockerfile's target needs
    Graph(graph::GraphArgs),
    /// Tell what a build would do: which steps would run, why, and how long that takes
    #[command(after_help = plan::HELP)]
    Plan(Box<plan::PlanArgs>),
    /// Write down which images, files and commits the names in a Dockerfile stand for
    #[command(after_help = lock::HELP)]
    Lock(lock::LockArgs),
    /// Collect all that a build fetches in a directory, to build from it without a network
    #[command(after_help = vendor::HELP)]
    Vendor(vendor::VendorArgs),
    /// Tell why the steps of the last build had to run
    Why(why::WhyArgs),
    /// Run a container in the foreground
    Run(Box<run::RunArgs>),
    /// Open a shell where a step of a build failed, or before or after a step
    Shell(Box<shell::ShellArgs>),
    /// List and remove the caches of RUN --mount=type=cache
    Cache(cache::CacheArgs),
    /// List images
    #[command(visible_alias = "ls")]
    Images(images::ImagesArgs),
    /// Show all that is known of an image, as JSON
    Inspect(inspect::InspectArgs),
    /// Show the instructions that made an image, and the size of what each added
    History(history::HistoryArgs),
    /// Give an image one more name
    Tag(tag::TagArgs),
    /// Remove images, or names of images
    Rmi(rmi::RmiArgs),
    /// Make and change indexes: names for images of several platforms
    Manifest(lists::ManifestListArgs),
    /// Pull images from registries
    Pull(pull::PullArgs),
    /// Push an image to a registry
    Push(push::PushArgs),
    /// Keep credentials for a registry
    Login(login::LoginArgs),
    /// Forget the credentials for a registry
    Logout(login::LogoutArgs),
    /// Read images from an archive that rbuild, docker or podman saved
    Load(load::LoadArgs),
    /// Make an image of a root filesystem in a tar
    Import(import::ImportArgs),
    /// Write images to an archive that docker and podman load
    Save(save::SaveArgs),
    /// Write an image's root filesystem to a tar or a directory
    Export(export::ExportArgs),
    /// List what differs between the files of two images
    Diff(diff::DiffArgs),
    /// Remove what no image and no later build needs
    Prune(prune::PruneArgs),
    /// Show what the store takes on disk
    Du(du::DuArgs),
    /// Verify the store
    Fsck(fsck::FsckArgs),
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
    /// Print the manual page, or write all of them
    Man(man::ManArgs),
    /// Print the version
    Version(version::VersionArgs),
}

/// After how long a wait for the store is told.
const PATIENCE: Duration = Duration::from_secs(1);

/// What every command gets beside its own arguments.
#[derive(Debug)]
pub struct Session {
    /// The store's directory, if one can be told. Settled at the start: in a user namespace everybody is root.
    root: Option<PathBuf>,
    /// The configuration files.
    pub config: Config,
    /// Whether `build` was not written out.
    pub guessed: bool,
    /// Set by signals, once [`Session::watch`] was called.
    cancel: Cancel,
}

impl Session {
    /// The store's directory.
    pub fn store_root(&self) -> Result<PathBuf, Failure> {
        self.root.clone().ok_or_else(|| {
            Failure::usage("no place for the store: neither XDG_DATA_HOME nor HOME is set")
                .help("name a directory: `--root DIR` or RBUILD_ROOT")
        })
    }

    /// Moves the process to where it may use the store: an ordinary user's into a user namespace with the subordinate
    /// ids. Begins every command that touches the store, before there is a second thread.
    fn enter(&self) -> Result<Rung, Failure> {
        Ok(userns::enter_rootless()?)
    }

    /// As [`Session::enter`], for commands that make files of images: says so if not all ids are to be had.
    fn enter_to_write(&self) -> Result<(), Failure> {
        if let Rung::SingleId(shortage) = self.enter()? {
            report::warning(&format!("{}: files can belong to nobody but you", shortage.reason));
            shortage.help.iter().for_each(|help| report::help(help));
        }
        Ok(())
    }

    /// From here on a signal asks the work to stop, instead of ending the process at once.
    fn watch(&self) -> Cancel {
        interrupt::watch(&self.cancel);
        self.cancel.clone()
    }

    /// A build of these targets, with what the configuration says and no flag.
    fn request(&self, targets: Vec<Target>) -> Result<BuildRequest, Failure> {
        let config = &self.config;
        Ok(BuildRequest {
            root: self.store_root()?,
            targets,
            secrets: BTreeMap::new(),
            run: Default::default(),
            pulling: Pulling { settings: config.registries(), ..Pulling::default() },
            caching: Default::default(),
            no_cache: false,
            explain: false,
            jobs: config.jobs.map(NonZeroUsize::get),
            snapshotter: config.snapshotter.unwrap_or_default(),
            cancel: Cancel::new(),
        })
    }

    /// Opens the store.
    fn open_store(&self, access: Access) -> Result<Store, Failure> {
        self.enter()?;
        let root = self.store_root()?;
        // Ends the thread below by being dropped.
        let (_opened, wait) = std::sync::mpsc::channel::<()>();
        if access == Access::Exclusive {
            std::thread::spawn(move || {
                if wait.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    report::show("waiting for other uses of the store to end (builds, containers) …\n");
                }
            });
        }
        Ok(Store::open(&root, access)?)
    }
}

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    panic::install();
    raise_open_files();
    let args: Vec<OsString> = std::env::args_os().collect();
    if args.len() < 2 {
        // clap would not count RBUILD_ROOT as nothing.
        report::show(&Cli::command().render_help().ansi().to_string());
        return ExitCode::from(Code::Usage as u8);
    }
    let (args, guessed) = command_line::with_default_command::<Cli>(args);
    let is_run = command_line::command::<Cli>(&args) == Some("run");
    let mistyped = if guessed { command_line::mistyped::<Cli>(&args) } else { None };
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(failure) = mistyped.filter(|_| error.use_stderr()) {
                report::failure(&failure.diagnostics, failure.error.as_deref(), &failure.help);
                return ExitCode::from(failure.code);
            }
            // A reader that has gone is no reason to complain.
            let _ = error.print();
            return match error.use_stderr() {
                // Below 125 is what the process in the container said.
                true if is_run => ExitCode::from(run::NO_CONTAINER),
                true => ExitCode::from(Code::Usage as u8),
                false => ExitCode::SUCCESS,
            };
        }
    };
    let cancel = Cancel::new();
    match dispatch(cli, guessed, cancel.clone()) {
        Ok(code) => ExitCode::from(code),
        // Whatever failed did so because it was asked to stop.
        Err(_) if cancel.is_set() => {
            report::show("interrupted\n");
            ExitCode::from(Code::Interrupted as u8)
        }
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            report::failure(&failure.diagnostics, failure.error.as_deref(), &failure.help);
            ExitCode::from(failure.code)
        }
    }
}

/// Takes all open files that the caller may have: a view of an image holds a descriptor for each of its layers, and a
/// shell's usual 1024 are for programs that use select(2). Steps and containers get a limit of their own.
fn raise_open_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn dispatch(cli: Cli, guessed: bool, cancel: Cancel) -> Result<u8, Failure> {
    let config = Config::load()?;
    let session = Session { root: config.store_root(cli.globals.root), config, guessed, cancel };
    match &cli.command {
        Command::Build(args) => build::run(args, &session)?,
        Command::Bake(args) => bake::run(args, &session)?,
        Command::Check(args) => check::run(args, &session)?,
        Command::Fmt(args) => fmt::run(args)?,
        Command::Graph(args) => graph::run(args, &session)?,
        Command::Plan(args) => plan::run(args, &session)?,
        Command::Lock(args) => lock::run(args, &session)?,
        Command::Vendor(args) => vendor::run(args, &session)?,
        Command::Why(args) => why::run(args, &session)?,
        Command::Run(args) => return run::run(args, &session),
        Command::Shell(args) => return shell::run(args, &session),
        Command::Cache(args) => cache::run(args, &session)?,
        Command::Images(args) => images::run(args, &session)?,
        Command::Inspect(args) => inspect::run(args, &session)?,
        Command::History(args) => history::run(args, &session)?,
        Command::Tag(args) => tag::run(args, &session)?,
        Command::Rmi(args) => rmi::run(args, &session)?,
        Command::Manifest(args) => lists::run(args, &session)?,
        Command::Pull(args) => pull::run(args, &session)?,
        Command::Push(args) => push::run(args, &session)?,
        Command::Login(args) => login::login(args, &session)?,
        Command::Logout(args) => login::logout(args)?,
        Command::Load(args) => load::run(args, &session)?,
        Command::Import(args) => import::run(args, &session)?,
        Command::Save(args) => save::run(args, &session)?,
        Command::Export(args) => export::run(args, &session)?,
        Command::Diff(args) => diff::run(args, &session)?,
        Command::Prune(args) => prune::run(args, &session)?,
        Command::Du(args) => du::run(args, &session)?,
        Command::Fsck(args) => fsck::run(args, &session)?,
        Command::Completion(args) => completion::run(args)?,
        Command::Man(args) => man::run(args)?,
        Command::Version(args) => version::run(args)?,
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
