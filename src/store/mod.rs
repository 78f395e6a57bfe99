//! The store on disk: content, layers, trees, step records, refs, locks. Everything is built under `tmp/` and
//! published by rename. Knows nothing of what OCI documents mean. Format: docs/store-format.md.

pub mod content;
pub mod fsck;
pub mod gc;
pub mod layers;
pub mod layout;
pub mod refs;
pub mod statcache;
pub mod steps;

use crate::base::lock::Lock;
use crate::base::{Digest, IoError};
use std::path::{Path, PathBuf};

/// An open store. Holds the store-wide lock: shared to build and read, exclusive to collect. Cheap to share by reference
/// between threads.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    _lock: Lock,
}

/// What an opened store may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Build, run, read: many at once.
    Shared,
    /// Collect, repair: alone. Waits for the others to end.
    Exclusive,
}

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The store was written by a newer rbuild.
    #[error("store {} uses feature '{feature}', which this rbuild does not know", root.display())]
    Feature {
        /// Store root.
        root: PathBuf,
        /// The unknown incompatible feature.
        feature: String,
    },
    /// Something in the store is not what its name says.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// Which file or directory.
        path: PathBuf,
        /// How it shows.
        reason: String,
    },
    /// Content did not have the digest it was announced under.
    #[error("content has digest {found} but was announced as {expected}")]
    Mismatch {
        /// Announced.
        expected: Digest,
        /// Computed.
        found: Digest,
    },
    /// Something needed is not in the store.
    #[error("{what} {name} is not in the store")]
    Missing {
        /// "layer", "blob".
        what: &'static str,
        /// Its digest or name.
        name: String,
    },
}

impl Store {
    /// Opens the store at `root`, making it if there is none.
    pub fn open(root: &Path, access: Access) -> Result<Store, StoreError> {
        let _ = (root, access);
        unreachable!("skeleton")
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A fresh directory under `tmp/`, on the same file system as everything else; removed when dropped.
    pub fn temp_dir(&self) -> Result<tempfile::TempDir, StoreError> {
        unreachable!("skeleton")
    }
}
