//! Writable roots: a fresh copy-on-write snapshot of a root filesystem for each RUN, and the layer it leaves.

pub mod copy;
pub mod overlay;

use crate::base::IoError;
use crate::store::{Store, StoreError};
use crate::tree::Rootfs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

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
    #[error("{0} layers are more than the {max} that an overlay stacks", max = overlay::MAX_LAYERS)]
    TooDeep(usize),
    /// The kernel does not mount an overlay on the store's file system.
    #[error("cannot use overlay in store {}: {reason}", store.display())]
    NoOverlay {
        /// Store root.
        store: PathBuf,
        /// The kernel's reason.
        reason: String,
    },
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

/// A snapshotter by the user's choice. With [`Choice::Auto`] overlay if the kernel mounts it with directories of this
/// store, else copy, with the kernel's reason. The kernel is asked once per process and store.
///
/// # Errors
/// [`SnapshotError::NoOverlay`] when overlay was asked for and is refused.
pub fn choose(choice: Choice, store: &Store) -> Result<(Box<dyn Snapshotter>, Option<String>), SnapshotError> {
    if choice == Choice::Copy {
        return Ok((Box::new(copy::Copy), None));
    }
    static PROBED: Mutex<BTreeMap<PathBuf, Option<String>>> = Mutex::new(BTreeMap::new());
    let mut probed = PROBED.lock().unwrap_or_else(PoisonError::into_inner);
    let refusal = match probed.get(store.root()) {
        Some(refusal) => refusal.clone(),
        None => {
            let refusal = overlay::probe(store)?.err().map(|e| e.to_string());
            probed.insert(store.root().to_owned(), refusal.clone());
            refusal
        }
    };
    match (choice, refusal) {
        (_, None) => Ok((Box::new(overlay::Overlay), None)),
        (Choice::Overlay, Some(reason)) => Err(SnapshotError::NoOverlay { store: store.root().to_owned(), reason }),
        (_, Some(reason)) => Ok((Box::new(copy::Copy), Some(reason))),
    }
}

/// The snapshotter of the user's choice, made when the first step needs it: most builds are all cache hits and never
/// ask the kernel.
#[derive(Debug)]
pub struct Lazy {
    choice: Choice,
    chosen: OnceLock<Box<dyn Snapshotter>>,
    refusal: OnceLock<String>,
}

impl Lazy {
    /// One that will be chosen by [`choose`].
    pub fn new(choice: Choice) -> Lazy {
        Lazy { choice, chosen: OnceLock::new(), refusal: OnceLock::new() }
    }

    /// Why copies are used instead of overlay, once that was decided.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.get().map(String::as_str)
    }

    fn get(&self, store: &Store) -> Result<&dyn Snapshotter, SnapshotError> {
        if let Some(chosen) = self.chosen.get() {
            return Ok(&**chosen);
        }
        let (chosen, refusal) = choose(self.choice, store)?;
        if let Some(reason) = refusal {
            let _ = self.refusal.set(reason);
        }
        Ok(&**self.chosen.get_or_init(|| chosen))
    }
}

impl Snapshotter for Lazy {
    fn name(&self) -> &'static str {
        match (self.chosen.get(), self.choice) {
            (Some(chosen), _) => chosen.name(),
            (None, Choice::Auto) => "auto",
            (None, Choice::Overlay) => "overlay",
            (None, Choice::Copy) => "copy",
        }
    }

    fn prepare(&self, store: &Store, trees: &crate::tree::Trees<'_>, base: &Rootfs) -> Result<Snapshot, SnapshotError> {
        match self.get(store)?.prepare(store, trees, base) {
            // Deeper than overlay stacks: slower, but it builds.
            Err(SnapshotError::TooDeep(_)) if self.choice == Choice::Auto => copy::Copy.prepare(store, trees, base),
            prepared => prepared,
        }
    }

    fn changes(
        &self,
        store: &Store,
        trees: &crate::tree::Trees<'_>,
        snapshot: &Snapshot,
    ) -> Result<PathBuf, SnapshotError> {
        match snapshot.mount {
            RootMount::Overlay { .. } => overlay::Overlay.changes(store, trees, snapshot),
            RootMount::Dir(_) => copy::Copy.changes(store, trees, snapshot),
        }
    }
}
