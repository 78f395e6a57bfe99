//! A file that is sent while it is written. What was written stays in it, so that it can be read from its beginning again.

use super::transfer::Transfer;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// A file that grows, for those who read it.
#[derive(Debug)]
pub struct Growing {
    path: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    /// Is told how far the reader is.
    shown: OnceLock<Arc<Transfer>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Bytes that are in the file.
    length: u64,
    /// Bytes of them that were read.
    read: u64,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    GivenUp,
}

/// The same file, for the one who writes it: dropped before [`Growth::complete`], it is given up.
#[derive(Debug)]
pub struct Growth(Arc<Growing>);

impl Growth {
    /// Of a file that need not exist before the first bytes of it do.
    pub fn new(path: PathBuf) -> Growth {
        let (state, changed, shown) = (Mutex::default(), Condvar::new(), OnceLock::new());
        Growth(Arc::new(Growing { path, state, changed, shown }))
    }

    /// For a reader.
    pub fn growing(&self) -> Arc<Growing> {
        self.0.clone()
    }

    /// So many more bytes are in the file.
    pub fn add(&self, bytes: u64) {
        self.0.lock().length += bytes;
        self.0.changed.notify_all();
    }

    /// Nothing more will be.
    pub fn complete(self) {
        self.0.end(End::Complete);
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.0.end(End::GivenUp);
    }
}

impl Growing {
    /// Waits until so many bytes are there or the file is complete; how many there are. `None`: it was given up.
    pub fn wait(&self, least: u64) -> Option<u64> {
        let wanting = |state: &mut State| state.length < least && state.end.is_none();
        let state = self.changed.wait_while(self.lock(), wanting).unwrap_or_else(PoisonError::into_inner);
        (state.end != Some(End::GivenUp)).then_some(state.length)
    }

    /// Bytes that are there and were not read.
    pub fn behind(&self) -> u64 {
        let state = self.lock();
        state.length - state.read
    }

    /// Whoever reads gets an error from now on, also of what is complete.
    pub fn give_up(&self) {
        self.lock().end = Some(End::GivenUp);
        self.changed.notify_all();
    }

    /// Tells `transfer` from now on how far the reader is.
    pub fn show(&self, transfer: Arc<Transfer>) {
        let _ = self.shown.set(transfer);
    }

    /// A reader from the beginning on, which waits where it comes to the end too early.
    pub(super) fn open(self: &Arc<Growing>) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(Reader { file: File::open(&self.path)?, at: 0, growing: self.clone() }))
    }

    /// The first end counts.
    fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader {
    file: File,
    at: u64,
    growing: Arc<Growing>,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.growing.wait(self.at + 1).ok_or_else(|| io::Error::other("what is sent was given up"))?;
        let most = usize::try_from(there - self.at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let n = self.file.read(&mut buffer[..most])?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        self.growing.lock().read = self.at;
        if let Some(transfer) = self.growing.shown.get() {
            transfer.set(self.at);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_reader_follows_the_writer_to_the_end_and_fails_where_the_writer_does() {
        for completed in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("f");
            let growth = Growth::new(path.clone());
            let growing = growth.growing();
            let result = std::thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    assert!(growing.wait(1).is_some());
                    let mut all = Vec::new();
                    growing.open().unwrap().read_to_end(&mut all).map(|_| all)
                });
                let mut file = File::create(&path).unwrap();
                for piece in [&b"first "[..], b"second ", b"third"] {
                    file.write_all(piece).unwrap();
                    growth.add(piece.len() as u64);
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                match completed {
                    true => growth.complete(),
                    false => drop(growth),
                }
                reader.join().unwrap()
            });
            assert_eq!(result.ok(), completed.then(|| b"first second third".to_vec()));
            assert_eq!(growing.wait(100), completed.then_some(18));
            growing.give_up();
            assert_eq!(growing.wait(1), None);
        }
    }
}
