//! From a written directory (an overlay's upper, or a layer's `fs/`) to an index, reading each file once.

use super::Index;
use crate::base::{Cancel, Digest, IoError};
use std::path::Path;

/// What one walk of a layer directory yields.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// The entries.
    pub index: Index,
    /// sha256 of the canonical tar.
    pub diff_id: Digest,
    /// Length of the canonical tar in bytes.
    pub tar_size: u64,
}

/// Walks `fs` (an overlay upper layout: whiteouts are character devices 0:0, opaque directories carry
/// `user.overlay.opaque`), hashes every file and the canonical tar in one pass. `known` lets the caller give content
/// digests it already has (path → digest), which are trusted.
pub fn scan(fs: &Path, cancel: &Cancel) -> Result<Scanned, IoError> {
    let _ = (fs, cancel);
    unreachable!("skeleton")
}
