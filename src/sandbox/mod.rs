//! What a step or container gets and does not get (docs/sandbox.md): spec → mount plan (pure) → namespaces, mounts, ids,
//! capabilities, seccomp; init.

pub mod caps;
pub mod emulation;
pub mod init;
pub mod launch;
mod mountfd;
mod mounts;
pub mod plan;
mod probe;
mod program;
mod root;
pub mod seccomp;
pub mod spec;
pub mod sys;
pub mod userns;
mod wire;

pub use launch::Streams;
pub use launch::{Exit, Launched, launch};
pub use spec::{Mount, Spec, Upper};

use std::io;

/// A sandbox that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A step of setting it up failed: the launcher says which, on what, and why.
    #[error("cannot set up the sandbox: {act}{}: {source}", if subject.is_empty() { String::new() } else { format!(" {subject}") })]
    Setup {
        /// What was tried: "mount overlay on", "enter user namespace".
        act: String,
        /// On what.
        subject: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The program to run was not found or can't be executed (docker's exit codes 127 and 126).
    #[error("cannot run '{program}': {source}")]
    Exec {
        /// argv[0].
        program: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The launcher could not be started or died without a word.
    #[error("the sandbox launcher failed: {0}")]
    Launcher(String),
    /// This host does not give an unprivileged user what is needed.
    #[error("{reason}")]
    Host {
        /// What is missing.
        reason: String,
        /// How to get it.
        help: Vec<String>,
    },
}
