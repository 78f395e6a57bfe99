//! How a command ends: the exit codes, and which error means which. The one place that maps them.

use super::secret::SecretError;
use crate::attest::AttestError;
use crate::bake::Fault;
use crate::base::IoError;
use crate::container::ContainerError;
use crate::diag::Diagnostic;
use crate::dockerfile::lower::PULL_FAILED;
use crate::export::ExportError;
use crate::image::ReferenceError;
use crate::ops::OpError;
use crate::pipeline::BuildError;
use crate::registry::RegistryError;
use crate::sandbox::SandboxError;
use crate::snapshot::SnapshotError;
use crate::store::StoreError;
use crate::tree::TreeError;
use std::error::Error;

/// What the process exits with. `rbuild run` passes the container's own code through instead of [`Code::Step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// A step or container failed, or something that fits no other code.
    Step = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The Dockerfile is not valid.
    Manifest = 3,
    /// Something named (an image, a file, a stage) is not there.
    NotFound = 4,
    /// The host can't give the sandbox.
    Host = 5,
    /// The store is damaged or locked, or can't be written.
    Store = 6,
    /// A registry or the network.
    Network = 7,
    /// A bug in rbuild.
    Bug = 70,
    /// Interrupted by the user.
    Interrupted = 130,
}

/// The same for people: the end of `rbuild --help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a step or a container failed
  2    wrong usage: a flag, an argument, the configuration
  3    the Dockerfile is not valid, or its lock file is out of date
  4    something named was not found: an image, a file, a stage
  5    this host cannot give the sandbox what it needs
  6    the store is damaged, locked or not writable
  7    a registry or the network failed
  70   a bug in rbuild
  130  interrupted
`rbuild run` exits with the code of the process that it ran, or with
  125  the container could not be made
  126  the program cannot be executed
  127  the program was not found";

/// A command that did not succeed: what to say and what to exit with.
#[derive(Debug)]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// What went wrong, with its causes as sources; `None` if everything has been said already.
    pub error: Option<Box<dyn Error + Send + Sync>>,
    /// Ways out.
    pub help: Vec<String>,
    /// What to tell about source texts, before the error.
    pub diagnostics: Vec<Diagnostic>,
}

impl Failure {
    /// An error with an exit code.
    pub fn new(code: Code, error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure { code: code as u8, error: Some(error.into()), help: Vec::new(), diagnostics: Vec::new() }
    }

    /// Wrong usage, found after clap was content.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Code::Usage, message.into())
    }

    /// Nothing more to say, as after a container that ended with `code`.
    pub fn silent(code: u8) -> Failure {
        Failure { code, error: None, help: Vec::new(), diagnostics: Vec::new() }
    }

    /// Mistakes in a source text.
    pub fn invalid(diagnostics: Vec<Diagnostic>) -> Failure {
        Failure { diagnostics, ..Failure::silent(Code::Manifest as u8) }
    }

    /// Adds a way out.
    pub fn help(mut self, text: impl Into<String>) -> Failure {
        self.help.push(text.into());
        self
    }

    /// Whether it only says that whoever read our output has gone, which is no failure of ours.
    pub fn is_broken_pipe(&self) -> bool {
        let mut cause = self.error.as_deref().map(|e| e as &(dyn Error + 'static));
        while let Some(error) = cause {
            if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Failure {
        match error {
            BuildError::Dockerfile(diagnostics) => {
                let mut errors = diagnostics.iter().filter(|d| d.is_error());
                let code = match errors.clone().all(|d| is_absence(&d.code) || d.code == PULL_FAILED) {
                    true if errors.any(|d| d.code == PULL_FAILED) => Code::Network,
                    true => Code::NotFound,
                    false => Code::Manifest,
                };
                Failure { code: code as u8, ..Failure::invalid(diagnostics) }
            }
            BuildError::Step { diagnostic, error } => {
                let code = match *error.error {
                    OpError::Input { code, .. } if is_absence(code) => Code::NotFound,
                    OpError::Input { code: "remote-failed", .. } => Code::Network,
                    OpError::Sandbox(SandboxError::Host { .. }) | OpError::Input { code: "no-emulator", .. } => {
                        Code::Host
                    }
                    OpError::Store(_) => Code::Store,
                    _ => Code::Step,
                };
                Failure { code: code as u8, ..Failure::invalid(vec![*diagnostic]) }
            }
            BuildError::Tag(e) => e.into(),
            BuildError::Io(e) => e.into(),
            BuildError::Store(e) => e.into(),
            BuildError::Export(e) => e.into(),
            BuildError::Push(e) => e.into(),
            BuildError::Attest(e) => e.into(),
            BuildError::Cache(e) => e.into(),
            BuildError::Outputs(reason) => Failure::usage(reason),
            BuildError::Context(e) => Failure::new(Code::NotFound, e),
            BuildError::Interrupted => Failure::new(Code::Interrupted, error),
        }
    }
}

/// A fault in a definition of targets, or in what the command line wants of it.
impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        let code = match fault.code.as_str() {
            "bake-set" => Code::Usage,
            "bake-unknown-target" if fault.source.is_none() => Code::NotFound,
            _ => Code::Manifest,
        };
        Failure { code: code as u8, ..Failure::invalid(vec![*fault]) }
    }
}

/// Whether a diagnostic says that something named is not there: by convention its code's last word says so.
fn is_absence(code: &str) -> bool {
    code.ends_with("-missing") || code.ends_with("-not-found")
}

impl From<AttestError> for Failure {
    fn from(error: AttestError) -> Failure {
        match error {
            AttestError::Tree(e) => e.into(),
            AttestError::Export(e) => e.into(),
            other => Failure::new(Code::Step, other),
        }
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Failure {
        match error {
            SecretError::TooLarge { .. } => Failure::usage(error.to_string()),
            other => Failure::new(Code::NotFound, other),
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Failure {
        let help = error.help();
        let failure = match error {
            RegistryError::Export(e) => return e.into(),
            RegistryError::Store(e) => return e.into(),
            RegistryError::Io(e) => return e.into(),
            error if error.is_not_found() => Failure::new(Code::NotFound, error),
            error if error.is_network() => Failure::new(Code::Network, error),
            RegistryError::Pinned(_) => Failure::new(Code::Usage, error),
            RegistryError::Platform { .. } => Failure::new(Code::NotFound, error),
            RegistryError::BlobMissing { .. } => Failure::new(Code::Store, error),
            error => Failure::new(Code::Step, error),
        };
        Failure { help, ..failure }
    }
}

/// Writing to standard output failed, or another act without a path.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(Code::Step, error)
    }
}

impl From<IoError> for Failure {
    fn from(error: IoError) -> Failure {
        let code = if error.source.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::Step };
        let full = error.is_full();
        let failure = Failure::new(code, error);
        if full { failure.help("the disk is full; `rbuild prune` frees what no image needs") } else { failure }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        match error {
            StoreError::Missing { .. } => Failure::new(Code::NotFound, error),
            StoreError::Io(io) if io.source.kind() == std::io::ErrorKind::PermissionDenied => {
                Failure::new(Code::Store, io).help("name a store that you may write: `--root DIR` or RBUILD_ROOT")
            }
            StoreError::Io(io) if io.is_full() => Failure { code: Code::Store as u8, ..Failure::from(io) },
            StoreError::Damaged { .. } | StoreError::Mismatch { .. } => {
                Failure::new(Code::Store, error).help("`rbuild fsck` tells what else is damaged")
            }
            other => Failure::new(Code::Store, other),
        }
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Failure {
        match error {
            SandboxError::Host { reason, help } => Failure { help, ..Failure::new(Code::Host, reason) },
            other => Failure::new(Code::Step, other),
        }
    }
}

impl From<ContainerError> for Failure {
    fn from(error: ContainerError) -> Failure {
        let code = error.exit_code();
        let failure = match error {
            ContainerError::Sandbox(e) => e.into(),
            ContainerError::Snapshot(e) => e.into(),
            ContainerError::User(OpError::Input { message, notes, help, .. }) => {
                help.into_iter().chain(notes).fold(Failure::new(Code::Step, message), Failure::help)
            }
            other => Failure::new(Code::Step, other),
        };
        Failure { code, ..failure }
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Failure {
        match error {
            SnapshotError::Io(e) => e.into(),
            SnapshotError::Store(e) => e.into(),
            SnapshotError::Tree(e) => e.into(),
            SnapshotError::NoOverlay { .. } => {
                Failure::new(Code::Host, error).help("`--snapshotter auto` copies where overlay is not to be had")
            }
            other => Failure::new(Code::Step, other),
        }
    }
}

impl From<TreeError> for Failure {
    fn from(error: TreeError) -> Failure {
        match error {
            TreeError::Io(e) => e.into(),
            TreeError::Store(e) => e.into(),
            TreeError::Missing(_) => Failure::new(Code::Store, error),
            other => Failure::new(Code::NotFound, other),
        }
    }
}

impl From<ReferenceError> for Failure {
    fn from(error: ReferenceError) -> Failure {
        Failure::new(Code::Usage, error)
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Failure {
        let help = error.help();
        let failure = match error {
            ExportError::Io(e) => e.into(),
            ExportError::Store(e) => e.into(),
            ExportError::Tree(e) => e.into(),
            ExportError::Reference(e) => e.into(),
            ExportError::PinnedTag(_)
            | ExportError::Ambiguous { .. }
            | ExportError::Change { .. }
            | ExportError::Terminal => Failure::new(Code::Usage, error),
            ExportError::NotFound { .. } | ExportError::Platform { .. } | ExportError::Unlisted { .. } => {
                Failure::new(Code::NotFound, error)
            }
            ExportError::Document { .. } | ExportError::Inconsistent { .. } | ExportError::LayerMissing { .. } => {
                Failure::new(Code::Store, error)
            }
            other => Failure::new(Code::Step, other),
        };
        help.into_iter().fold(failure, Failure::help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_broken_pipe_is_recognised_below_other_errors() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Failure::from(pipe()).is_broken_pipe());
        assert!(Failure::from(IoError { act: "write", path: "x".into(), source: pipe() }).is_broken_pipe());
        assert!(!Failure::usage("x").is_broken_pipe());
    }

    #[test]
    fn errors_map_to_the_documented_codes() {
        let io = |kind: io::ErrorKind| IoError { act: "read", path: "x".into(), source: kind.into() };
        assert_eq!(Failure::from(io(io::ErrorKind::NotFound)).code, 4);
        assert_eq!(Failure::from(StoreError::Io(io(io::ErrorKind::PermissionDenied))).code, 6);
        assert_eq!(Failure::from(StoreError::Missing { what: "blob", name: "x".into() }).code, 4);
        let host = SandboxError::Host { reason: "no".into(), help: vec!["do".into()] };
        let failure = Failure::from(host);
        assert_eq!((failure.code, failure.help), (5, vec!["do".to_owned()]));
    }
}
