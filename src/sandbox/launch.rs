//! The parent's side: start the launcher (this binary again, single-threaded), feed it, watch it.

use super::{SandboxError, Spec};
use crate::base::Cancel;
use std::process::{ChildStderr, ChildStdout};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Code(i32),
    /// By this signal; `oom`: the kernel killed it for memory.
    Signal {
        /// Number.
        signal: i32,
        /// Out of memory.
        oom: bool,
    },
}

/// Where the process's standard streams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// stdin is /dev/null, stdout and stderr are pipes to the caller (steps).
    Piped,
    /// The caller's own three (containers in the foreground without a terminal).
    Inherited,
    /// A pseudo-terminal wired to the caller's terminal (containers with `-t`).
    Terminal,
}

/// A started sandbox.
#[derive(Debug)]
pub struct Launched {
    /// Output, for [`Streams::Piped`].
    pub stdout: Option<ChildStdout>,
    /// Errors, for [`Streams::Piped`].
    pub stderr: Option<ChildStderr>,
}

impl Launched {
    /// Waits for the end. When `cancel` is set meanwhile the whole sandbox is killed.
    pub fn wait(self, cancel: &Cancel) -> Result<Exit, SandboxError> {
        let _ = cancel;
        unreachable!("skeleton")
    }
}

/// Starts `spec` in a new sandbox. Returns once the launcher runs; set-up failures come from [`Launched::wait`].
pub fn launch(spec: &Spec, streams: Streams) -> Result<Launched, SandboxError> {
    let _ = (spec, streams);
    unreachable!("skeleton")
}
