//! The ssh agents that `RUN --mount=type=ssh` may use: the caller's own, or one that serves key files for a build's duration.
//!
//! The latter are the host's `ssh-agent` and `ssh-add`, so that every kind of key that the host's ssh takes is taken here.
//! Private keys stay in that program: a step talks to it through a socket and gets signatures alone.

use crate::base::IoError;
use crate::base::fs::Context;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// An agent that steps may use. Equal are those that the caller named alike.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The files that the caller named.
    named: Vec<PathBuf>,
    socket: PathBuf,
    _own: Option<Arc<Own>>,
}

impl PartialEq for Agent {
    fn eq(&self, other: &Agent) -> bool {
        self.named == other.named
    }
}

/// Why an agent for key files could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A program of the host's is not there.
    #[error("cannot start {program}: {reason}")]
    Program {
        /// Which.
        program: &'static str,
        /// Why not.
        reason: std::io::Error,
    },
    /// It ended at once.
    #[error("ssh-agent does not start: {0}")]
    Agent(String),
    /// The key is not taken.
    #[error("ssh-add does not take {}: {reason}", .key.display())]
    Key {
        /// The file.
        key: PathBuf,
        /// What ssh-add says.
        reason: String,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Agent {
    /// The agent behind a socket.
    pub fn at(socket: PathBuf) -> Agent {
        Agent { named: vec![socket.clone()], socket, _own: None }
    }

    /// An agent with these keys, which ends with the last copy of the value, or with this process.
    ///
    /// # Errors
    /// The host has no ssh-agent and ssh-add, or a file is no private key without a passphrase.
    pub fn with_keys(keys: Vec<PathBuf>) -> Result<Agent, AgentError> {
        let own = Own::start()?;
        for key in &keys {
            own.add(key)?;
        }
        Ok(Agent { named: keys, socket: own.socket(), _own: Some(Arc::new(own)) })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// An ssh-agent of our own.
#[derive(Debug)]
struct Own {
    /// What the agent watches: it ends soon after this process, which ends when its standard input does, that is, with us.
    watched: Child,
    dir: tempfile::TempDir,
}

impl Own {
    fn start() -> Result<Own, AgentError> {
        let parent = std::env::temp_dir();
        let dir =
            tempfile::Builder::new().prefix("rbuild-ssh-").tempdir_in(&parent).at("create a directory in", &parent)?;
        let mut command = Command::new("ssh-agent");
        command.arg("-a").arg(dir.path().join("agent")).arg("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let watched = command.spawn().map_err(|reason| AgentError::Program { program: "ssh-agent", reason })?;
        let mut own = Own { watched, dir };
        own.wait()?;
        Ok(own)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    /// Until the agent listens: what it watches is started after that, and gives back what it is given.
    fn wait(&mut self) -> Result<(), AgentError> {
        let answered = match (&mut self.watched.stdin, &mut self.watched.stdout) {
            (Some(stdin), Some(stdout)) => stdin.write_all(b"\n").and_then(|()| stdout.read_exact(&mut [0])).is_ok(),
            _ => false,
        };
        if answered {
            return Ok(());
        }
        let mut said = String::new();
        if let Some(stderr) = &mut self.watched.stderr {
            stderr.take(SAID).read_to_string(&mut said).at("read what it says of", self.dir.path())?;
        }
        Err(AgentError::Agent(said.trim().to_owned()))
    }

    fn add(&self, key: &Path) -> Result<(), AgentError> {
        let mut command = Command::new("ssh-add");
        // Nobody is asked for a passphrase: a build has no terminal of its own.
        command.arg("-q").arg("--").arg(key).env("SSH_AUTH_SOCK", self.socket()).env("SSH_ASKPASS_REQUIRE", "force");
        command.env("SSH_ASKPASS", "false").stdin(Stdio::null());
        let output = command.output().map_err(|reason| AgentError::Program { program: "ssh-add", reason })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('@'));
        let reason = said.collect::<Vec<_>>().join("; ");
        let reason = if reason.is_empty() { "it wants a passphrase".to_owned() } else { reason };
        Err(AgentError::Key { key: key.to_owned(), reason })
    }
}

/// Most bytes of a message from ssh-agent.
const SAID: u64 = 4096;

impl Drop for Own {
    fn drop(&mut self) {
        // The end of its standard input ends what the agent watches; the agent itself looks every few seconds.
        drop(self.watched.stdin.take());
        let _ = self.watched.wait();
    }
}
