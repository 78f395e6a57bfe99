//! A layer's entries as one sorted, compact, checksummed file: the source of truth for its tar, its content digest
//! and the tree it makes.

use super::Entry;
use crate::base::Digest;

/// The entries of a layer, sorted by path bytes (a directory before what it holds).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Sorted, each path once.
    pub entries: Vec<Entry>,
}

/// An index file that can't be trusted.
#[derive(Debug, thiserror::Error)]
#[error("layer index is damaged: {0}")]
pub struct Damaged(pub &'static str);

impl Index {
    /// The entry at exactly `path`.
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.entries.binary_search_by(|e| e.path.as_slice().cmp(path)).ok().map(|i| &self.entries[i])
    }

    /// The layer's identity for early cutoff: every field of every entry but mtime, length-prefixed, versioned.
    pub fn content_digest(&self) -> Digest {
        unreachable!("skeleton")
    }

    /// The file form, with a magic, a version and a checksum.
    pub fn encode(&self) -> Vec<u8> {
        unreachable!("skeleton")
    }

    /// Reads the file form.
    pub fn decode(bytes: &[u8]) -> Result<Index, Damaged> {
        let _ = bytes;
        unreachable!("skeleton")
    }

    /// The same entries with every mtime at most `epoch` (SOURCE_DATE_EPOCH).
    pub fn clamped(&self, epoch: i64) -> Index {
        let _ = epoch;
        unreachable!("skeleton")
    }
}
