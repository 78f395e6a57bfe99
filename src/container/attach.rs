//! The caller's terminal and signals, while a container runs in the foreground.

use super::ContainerError;
use crate::base::IoError;
use crate::sandbox::{Launched, SandboxError};
use nix::poll::PollTimeout;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::termios::{OptionalActions, Termios};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;

/// Passed on to the container.
const FORWARDED: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// So many requests to end are passed on; the next kills. A container's first process need not react to any.
const PATIENCE: usize = 2;

/// The process's signals as something to poll. They stay blocked afterwards: one that comes when the container has ended
/// must not put its own end in the place of the container's exit code.
#[derive(Debug)]
pub(super) struct Signals {
    taken: SignalFd,
}

impl Signals {
    /// Blocks them in this thread (and those it starts) and opens them for reading.
    pub fn block() -> nix::Result<Signals> {
        let mut set: SigSet = FORWARDED.into_iter().collect();
        set.add(Signal::SIGWINCH);
        set.thread_block()?;
        let taken = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Signals { taken })
    }
}

/// Relays signals, and terminal input and output if the container has one, until its first process has ended.
pub(super) fn attach(launched: &Launched, signals: &Signals, interactive: bool) -> Result<(), ContainerError> {
    let mut terminal = launched.terminal.as_ref();
    // Restores the mode when dropped, whichever way this function ends.
    let _raw = if terminal.is_some() && interactive { Raw::set()? } else { None };
    if let Some(terminal) = terminal {
        resize(terminal);
        if interactive {
            feed(terminal)?;
        }
    }
    let mut asked = 0;
    loop {
        let ended = match terminal {
            Some(terminal) => launched.poll(&[signals.taken.as_fd(), terminal.as_fd()], PollTimeout::NONE)?,
            None => launched.poll(&[signals.taken.as_fd()], PollTimeout::NONE)?,
        };
        while let Ok(Some(info)) = signals.taken.read_signal() {
            let number = info.ssi_signo as i32;
            if number == libc::SIGWINCH {
                // The kernel tells the container's foreground processes.
                terminal.into_iter().for_each(resize);
                continue;
            }
            asked += usize::from(matches!(number, libc::SIGINT | libc::SIGTERM));
            launched.signal(if asked > PATIENCE { libc::SIGKILL } else { number });
        }
        if let Some(open) = terminal
            && !copy_output(open, ended)
        {
            terminal = None;
        }
        if ended {
            return Ok(());
        }
    }
}

/// Copies what the container wrote to its terminal: what is there, or, when it has ended, all that is left. False at
/// the end, which a pseudo-terminal tells by EIO.
fn copy_output(mut terminal: &File, all: bool) -> bool {
    let mut buffer = [0; 16 * 1024];
    loop {
        if !readable(terminal) {
            return true;
        }
        match terminal.read(&mut buffer) {
            Ok(0) | Err(_) => return false,
            Ok(n) => {
                let mut out = io::stdout().lock();
                // Nobody to show it to is no reason to end the container.
                let _ = out.write_all(&buffer[..n]).and_then(|()| out.flush());
            }
        }
        if !all {
            return true;
        }
    }
}

fn readable(terminal: &File) -> bool {
    let mut polled = [nix::poll::PollFd::new(terminal.as_fd(), nix::poll::PollFlags::POLLIN)];
    nix::poll::poll(&mut polled, PollTimeout::ZERO).is_ok_and(|events| events > 0)
}

/// Copies standard input to the terminal from a thread of its own, which ends with the process: a program that reads
/// no input must not hold up its output.
fn feed(terminal: &File) -> Result<(), ContainerError> {
    let failed = |source| IoError { act: "attach", path: "the terminal".into(), source };
    let mut to = terminal.try_clone().map_err(failed)?;
    let copy = move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut to);
    };
    std::thread::Builder::new().name("input".into()).spawn(copy).map_err(failed)?;
    Ok(())
}

/// Gives the container's terminal the size of the caller's.
fn resize(terminal: &File) {
    let size = rustix::termios::tcgetwinsize(io::stdout()).or_else(|_| rustix::termios::tcgetwinsize(io::stdin()));
    if let Ok(size) = size {
        // A size that can't be set leaves the program with the one it has.
        let _ = rustix::termios::tcsetwinsize(terminal, size);
    }
}

/// The caller's terminal in raw mode: every key goes to the container's terminal, which knows what it means.
struct Raw {
    before: Termios,
}

impl Raw {
    fn set() -> Result<Option<Raw>, ContainerError> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let failed = |errno: rustix::io::Errno| {
            SandboxError::Launcher(format!("cannot set the terminal to raw mode: {}", io::Error::from(errno)))
        };
        let before = rustix::termios::tcgetattr(&stdin).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Some(Raw { before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
