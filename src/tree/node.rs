//! Directory nodes and their digests.

use crate::base::Digest;
use crate::layer::Entry;

/// A directory: its entries sorted by name bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Sorted by name, each name once.
    pub entries: Vec<NodeEntry>,
}

/// A name in a directory. `entry.path` is the bare name here; `Kind::Whiteout` and `opaque` never occur.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// Metadata and kind. mtime is 0: it is no part of a tree.
    pub entry: Entry,
    /// For a directory: digest of its own node.
    pub child: Option<Digest>,
}
