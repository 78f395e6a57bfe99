//! The process of a RUN: started, listened to, and stopped in time.

use super::super::leak::{Masker, Secrets};
use super::super::{Cx, OpError};
use crate::base::fs::{Context, IoError};
use crate::sandbox::{self, Exit, SandboxError, Spec, Streams};
use crate::store::Store;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A chunk of output: stream (1 or 2) and bytes.
pub type Output<'a> = dyn FnMut(u8, &[u8]) + 'a;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, or by a signal of somebody else.
    Exit(Exit),
    /// It was killed when its time was up.
    Late(Duration),
}

/// Starts the sandbox and passes its output on until it has ended. Two threads read, this one waits: only so can a
/// cancelled step be killed while it is silent.
pub(super) fn execute(
    cx: &Cx<'_>,
    spec: &Spec,
    limit: Option<Duration>,
    journal: &mut Journal<'_>,
) -> Result<End, OpError> {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut launched = sandbox::launch(spec, Streams::Piped)?;
    let (sender, receiver) = mpsc::channel();
    let (stdout, stderr) = (launched.stdout.take(), launched.stderr.take());
    let ended = std::thread::scope(|scope| {
        let errors = sender.clone();
        scope.spawn(move || stdout.map(|pipe| pump(pipe, 1, &sender)));
        scope.spawn(move || stderr.map(|pipe| pump(pipe, 2, &errors)));
        let waiter = scope.spawn(move || launched.wait_until(cx.cancel, deadline));
        // Ends when both readers have seen the end of their pipe: all processes of the step are gone by then.
        for (stream, bytes) in receiver {
            journal.write(stream, &bytes);
        }
        waiter.join().unwrap_or_else(|_| Err(SandboxError::Launcher("its watcher panicked".into())))
    });
    journal.flush();
    let (exit, late) = ended?;
    Ok(match limit {
        // One that ended by itself in the last moment has ended by itself.
        Some(limit) if late && matches!(exit, Exit::Signal { .. }) => End::Late(limit),
        _ => End::Exit(exit),
    })
}

fn pump(mut pipe: impl Read, stream: u8, sender: &mpsc::Sender<(u8, Vec<u8>)>) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) if sender.send((stream, buffer[..n].to_vec())).is_err() => return,
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// So much of a step's output is kept in memory; the rest goes to a file.
const IN_MEMORY: usize = 1 << 20;

/// A step's output: shown as it comes, with secrets masked, and kept whole until the step has ended, in case it fails.
pub(super) struct Journal<'a> {
    store: &'a Store,
    show: &'a mut Output<'a>,
    maskers: [Masker<'a>; 2],
    kept: Vec<u8>,
    overflow: Option<(tempfile::TempDir, File)>,
}

impl<'a> Journal<'a> {
    /// An empty one.
    pub fn new(store: &'a Store, secrets: &'a Secrets, show: &'a mut Output<'a>) -> Journal<'a> {
        Journal { store, show, maskers: [Masker::new(secrets), Masker::new(secrets)], kept: Vec::new(), overflow: None }
    }

    /// Takes output.
    pub fn write(&mut self, stream: u8, bytes: &[u8]) {
        let masked = self.maskers[usize::from(stream == 2)].push(bytes);
        self.pass(stream, &masked);
    }

    /// Shows what was held back.
    fn flush(&mut self) {
        for stream in [1, 2] {
            let rest = self.maskers[usize::from(stream == 2)].finish();
            self.pass(stream, &rest);
        }
    }

    fn pass(&mut self, stream: u8, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        (self.show)(stream, bytes);
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > IN_MEMORY {
            // A log that can't be kept is no reason for a step to fail.
            let _ = self.spill();
        }
    }

    fn spill(&mut self) -> Result<(), OpError> {
        if self.overflow.is_none() {
            let dir = self.store.temp_dir()?;
            let path = dir.path().join(OVERFLOW);
            let file = File::create_new(&path).at("create", &path)?;
            self.overflow = Some((dir, file));
        }
        if let Some((dir, file)) = &mut self.overflow {
            file.write_all(&std::mem::take(&mut self.kept)).at("write", dir.path())?;
        }
        Ok(())
    }

    /// Moves all of it to a file of this path.
    pub fn keep(mut self, path: PathBuf) -> Result<PathBuf, OpError> {
        if self.overflow.is_none() {
            self.store.write_file(&path, &self.kept)?;
            return Ok(path);
        }
        self.spill()?;
        if let Some((dir, _)) = &self.overflow {
            if let Some(parent) = path.parent() {
                crate::base::fs::create_dir_all(parent)?;
            }
            std::fs::rename(dir.path().join(OVERFLOW), &path).map_err(|source| IoError {
                act: "keep the log as",
                path: path.clone(),
                source,
            })?;
        }
        Ok(path)
    }
}

/// Name of the file that takes what is too much for the memory.
const OVERFLOW: &str = "log";
