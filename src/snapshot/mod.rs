//! Writable roots: a fresh copy-on-write snapshot of a root filesystem for each RUN, and the layer it leaves.

pub mod copy;
pub mod overlay;

use crate::base::IoError;
use crate::store::{Store, StoreError};
use crate::tree::Rootfs;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How the sandbox gets a root directory out of a snapshot. Paths are absolute host paths of the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootMount {
    /// An overlay (with `userxattr`, redirect_dir and metacopy off, volatile).
    Overlay {
        /// Lower directories, bottom first.
        lowers: Vec<PathBuf>,
        /// Upper directory.
        upper: PathBuf,
        /// Work directory.
        work: PathBuf,
    },
    /// A plain directory.
    Dir(PathBuf),
}

/// A writable root being built.
#[derive(Debug)]
pub struct Snapshot {
    /// How to mount it.
    pub mount: RootMount,
    /// Holds all of it, under the store's `tmp/`; removed when dropped.
    pub dir: tempfile::TempDir,
    /// What it was made from.
    pub base: Rootfs,
}

/// A failure of a snapshotter.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More layers than the kernel stacks.
    #[error("{0} layers are more than the 500 that an overlay stacks")]
    TooDeep(usize),
    /// The tree of the base could not be read.
    #[error(transparent)]
    Tree(#[from] crate::tree::TreeError),
}

/// A way of making writable roots.
pub trait Snapshotter: Send + Sync + std::fmt::Debug {
    /// Its name: `overlay`, `copy`.
    fn name(&self) -> &'static str;

    /// Makes a writable root whose contents are `base`'s.
    fn prepare(&self, store: &Store, trees: &crate::tree::Trees<'_>, base: &Rootfs) -> Result<Snapshot, SnapshotError>;

    /// Gives the change set of a used snapshot as a directory in overlay-upper layout (see [`crate::layer::scan`]),
    /// inside the snapshot's own directory.
    fn changes(
        &self,
        store: &Store,
        trees: &crate::tree::Trees<'_>,
        snapshot: &Snapshot,
    ) -> Result<PathBuf, SnapshotError>;
}

/// The user's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// Overlay where the kernel allows it, else copy.
    #[default]
    Auto,
    /// Overlay or an error.
    Overlay,
    /// Plain copies.
    Copy,
}
