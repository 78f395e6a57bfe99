//! What a request sends.

use super::growing::Growing;
use super::transfer::Transfer;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

/// The body of a request. Can be read more than once, for a request that is sent again.
#[derive(Clone, Debug, Default)]
pub enum Payload {
    /// Nothing.
    #[default]
    None,
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// A part of a file.
    File {
        /// Which.
        path: PathBuf,
        /// From which byte on.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// Is told how far it is.
        transfer: Option<Arc<Transfer>>,
    },
    /// A file that is still written: in chunked transfer coding (RFC 9112, 7.1), for its length is not known.
    Growing(Arc<Growing>),
}

impl Payload {
    /// Its length in bytes, if that is known.
    pub fn len(&self) -> Option<u64> {
        match self {
            Payload::None => Some(0),
            Payload::Bytes(bytes) => Some(bytes.len() as u64),
            Payload::File { length, .. } => Some(*length),
            Payload::Growing(_) => None,
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// A reader of all of it.
    pub(super) fn open(&self) -> io::Result<Box<dyn Read>> {
        match self {
            Payload::None => Ok(Box::new(io::empty())),
            Payload::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
            Payload::File { path, offset, length, transfer } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*offset))?;
                Ok(Box::new(Shown { inner: file.take(*length), at: *offset, transfer: transfer.clone() }))
            }
            Payload::Growing(growing) => growing.open(),
        }
    }
}

/// Tells how much was read.
struct Shown<R> {
    inner: R,
    at: u64,
    transfer: Option<Arc<Transfer>>,
}

impl<R: Read> Read for Shown<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.at += n as u64;
        if let Some(transfer) = &self.transfer {
            transfer.set(self.at);
        }
        Ok(n)
    }
}
