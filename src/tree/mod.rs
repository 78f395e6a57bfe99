//! The Merkle tree of a root filesystem: what it is, by whichever layers it came about. See ARCHITECTURE.md.

pub mod diff;
pub mod node;
pub mod pack;
pub mod view;

pub use node::{Node, NodeEntry};
pub use view::View;

use crate::base::{Digest, IoError};
use crate::layer::Index;
use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A root filesystem: the layers that make it and the merged tree they make. This is what flows along the graph's
/// edges. The tree alone is its identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rootfs {
    /// diffIDs, bottom first.
    pub layers: Vec<Digest>,
    /// Digest of the root directory's node.
    pub tree: Digest,
}

/// A failure of reading or making trees.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A tree is not in the store (it can be made again from its layers).
    #[error("tree {0} is not in the store")]
    Missing(Digest),
    /// A path can't be resolved: a component is no directory, or there are too many symbolic links.
    #[error("cannot resolve '{path}' in the image: {reason}")]
    Resolve {
        /// The path.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A file is larger than the caller's limit.
    #[error("'{path}' in the image has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The path.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

/// Makes trees and reads their nodes, with a cache of nodes shared by all threads.
#[derive(Debug)]
pub struct Trees<'s> {
    store: &'s Store,
}

impl<'s> Trees<'s> {
    /// Trees kept in `store`.
    pub fn new(store: &'s Store) -> Trees<'s> {
        Trees { store }
    }

    /// The store.
    pub fn store(&self) -> &'s Store {
        self.store
    }

    /// The tree of the empty root filesystem.
    pub fn empty() -> Digest {
        unreachable!("skeleton")
    }

    /// The tree that results when a layer's entries are applied to `base` (whiteouts, opaque directories, replacing).
    /// New nodes are made only along changed paths and are on disk when this returns.
    pub fn apply(&self, base: &Digest, index: &Index) -> Result<Digest, TreeError> {
        let _ = (base, index);
        unreachable!("skeleton")
    }

    /// The root filesystem of a stack of stored layers (remembered by chainID; made anew if it was lost).
    pub fn of_layers(&self, layers: &[Digest]) -> Result<Rootfs, TreeError> {
        let _ = layers;
        unreachable!("skeleton")
    }

    /// `base` with one more stored layer on top.
    pub fn push(&self, base: &Rootfs, layer: &Digest) -> Result<Rootfs, TreeError> {
        let _ = (base, layer);
        unreachable!("skeleton")
    }

    /// Whether the nodes of `tree` can be read.
    pub fn has(&self, tree: &Digest) -> bool {
        let _ = tree;
        unreachable!("skeleton")
    }

    /// A node by the digest of the tree (root directory) it is the root of. Deeper nodes are found by [`View`].
    pub fn root(&self, tree: &Digest) -> Result<Arc<Node>, TreeError> {
        let _ = tree;
        unreachable!("skeleton")
    }
}
