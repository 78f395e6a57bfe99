//! Why an archive was not applied.

use crate::base::IoError;
use std::io;

/// Why an archive was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The stream could not be read or decompressed.
    #[error("cannot read the archive: {0}")]
    Read(#[source] io::Error),
    /// It is no well-formed tar.
    #[error("the archive is not valid at byte {position}: {reason}")]
    Invalid {
        /// Bytes of the uncompressed stream before the fault.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// A member that must not be applied.
    #[error("the archive's entry '{path}' is refused: {reason}")]
    Refused {
        /// The member's name, made printable.
        path: String,
        /// Why.
        reason: String,
    },
    /// It asks for more than a limit.
    #[error("the archive has more than {limit} {what}")]
    Limit {
        /// "entries", "bytes of files".
        what: &'static str,
        /// How many are allowed.
        limit: u64,
    },
}
