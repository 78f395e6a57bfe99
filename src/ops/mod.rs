//! How each kind of step is keyed and run.

pub mod context;
pub mod copy;
pub mod elf;
#[cfg(test)]
mod fixture;
pub mod imported;
pub mod key;
pub mod leak;
pub mod mkdir;
pub mod publish;
pub mod remote;
pub mod run;
pub mod source;
pub mod upper;
pub mod user;

use crate::base::{Cancel, Digest, IoError};
use crate::graph::StepId;
use crate::sandbox::SandboxError;
use crate::snapshot::{SnapshotError, Snapshotter};
use crate::store::{Store, StoreError};
use crate::tree::{Rootfs, TreeError, Trees};
use context::Contexts;
use std::path::PathBuf;
use std::time::Duration;

/// What every step may use.
#[derive(Debug)]
pub struct Cx<'a> {
    /// The store.
    pub store: &'a Store,
    /// Trees kept in it.
    pub trees: &'a Trees<'a>,
    /// Writable roots.
    pub snapshotter: &'a dyn Snapshotter,
    /// Build contexts.
    pub contexts: &'a Contexts,
    /// Secrets by id.
    pub secrets: &'a std::collections::BTreeMap<String, Vec<u8>>,
    /// What the caller decides about RUN.
    pub run: &'a run::Policy,
    /// Caches to ask for what the store does not know.
    pub imported: Option<&'a dyn imported::Imported>,
    /// Stop.
    pub cancel: &'a Cancel,
}

/// Results of the steps that a step uses.
pub type Inputs<'a> = dyn Fn(StepId) -> &'a Rootfs + 'a;

/// A directory in overlay-upper layout that is to become a layer.
#[derive(Debug)]
pub struct Written {
    /// Keeps it alive; under the store's `tmp/`.
    pub dir: tempfile::TempDir,
    /// The directory inside it.
    pub fs: PathBuf,
    /// Content digests that are already known, so that the scan need not hash these files again (path → digest); may be
    /// empty.
    pub known: std::collections::HashMap<Vec<u8>, Digest>,
}

/// A failed step.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A tree could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A snapshot could not be made.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The sandbox could not be made.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// What the instruction says can't be done on these files: shown at its place in the Dockerfile.
    #[error("{message}")]
    Input {
        /// Stable name, e.g. `copy-source-missing`.
        code: &'static str,
        /// One sentence.
        message: String,
        /// Facts.
        notes: Vec<String>,
        /// Ways out.
        help: Vec<String>,
        /// The words of the instruction that it is about (e.g. the source path), so that the caller can mark them.
        subject: Option<String>,
    },
    /// The process of a RUN ended badly.
    #[error("process {} {}", argv, describe(exit))]
    Failed {
        /// The command, for people.
        argv: String,
        /// How it ended.
        exit: crate::sandbox::Exit,
        /// What was kept of it.
        kept: Kept,
    },
    /// The process of a RUN was killed because it took too long.
    #[error("process {argv} was killed: it took longer than its timeout of {}", span(*limit))]
    Late {
        /// The command, for people.
        argv: String,
        /// What it was given.
        limit: Duration,
        /// What was kept of it.
        kept: Kept,
    },
    /// Stopped from outside.
    #[error("cancelled")]
    Cancelled,
}

impl OpError {
    /// An [`OpError::Input`] without notes yet.
    pub fn input(code: &'static str, message: impl Into<String>) -> OpError {
        OpError::Input { code, message: message.into(), notes: Vec::new(), help: Vec::new(), subject: None }
    }

    /// Adds a fact to an [`OpError::Input`]; others stay as they are.
    pub fn note(mut self, text: impl Into<String>) -> OpError {
        if let OpError::Input { notes, .. } = &mut self {
            notes.push(text.into());
        }
        self
    }

    /// Adds a way out to an [`OpError::Input`]; others stay as they are.
    pub fn with_help(mut self, text: impl Into<String>) -> OpError {
        if let OpError::Input { help, .. } = &mut self {
            help.push(text.into());
        }
        self
    }

    /// Names the words of the instruction that an [`OpError::Input`] is about, unless that is said already.
    pub fn about(mut self, words: impl Into<String>) -> OpError {
        if let OpError::Input { subject: subject @ None, .. } = &mut self {
            *subject = Some(words.into());
        }
        self
    }
}

/// What was kept of a failed step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Its whole output.
    pub log: Option<PathBuf>,
    /// Its root filesystem: a name in the store's `failed/`.
    pub snapshot: Option<String>,
    /// Whether the store's file system was full by then.
    pub full: bool,
}

/// A span of time for people: `1h30m`, `90s` as `1m30s`, `1.5s`.
fn span(time: Duration) -> String {
    let (hours, minutes, rest) = (time.as_secs() / 3600, time.as_secs() / 60 % 60, time.as_secs() % 60);
    let seconds = f64::from(rest as u32) + f64::from(time.subsec_millis()) / 1000.0;
    let part = |n: u64, unit: &str| if n > 0 { format!("{n}{unit}") } else { String::new() };
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        _ => {
            part(hours, "h") + &part(minutes, "m") + &if seconds > 0.0 { format!("{seconds}s") } else { String::new() }
        }
    }
}

fn describe(exit: &crate::sandbox::Exit) -> String {
    match exit {
        crate::sandbox::Exit::Code(code) => format!("ended with exit status {code}"),
        crate::sandbox::Exit::Signal { oom: true, .. } => "was killed: out of memory".into(),
        crate::sandbox::Exit::Signal { signal, .. } => format!("was killed by signal {signal}"),
    }
}
