//! What a request sends.

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
    },
}

impl Payload {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Payload::None => 0,
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::File { length, .. } => *length,
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader of all of it.
    pub(super) fn open(&self) -> io::Result<Box<dyn Read>> {
        match self {
            Payload::None => Ok(Box::new(io::empty())),
            Payload::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
            Payload::File { path, offset, length } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*offset))?;
                Ok(Box::new(file.take(*length)))
            }
        }
    }
}
