//! Looking into a root filesystem without mounting it: names through the merged tree, bytes from the layer directories.

use super::{Node, NodeEntry, Rootfs, TreeError, Trees};
use std::fs::File;
use std::sync::Arc;

/// A root filesystem opened for reading.
#[derive(Debug)]
pub struct View<'t> {
    trees: &'t Trees<'t>,
    rootfs: &'t Rootfs,
}

/// Something found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its real path (no symbolic links in its parents), relative to the root, no leading `/`; the root is empty.
    pub path: Vec<u8>,
    /// Metadata; for the root itself a directory 0755 0:0 unless a layer says otherwise.
    pub entry: NodeEntry,
}

impl<'t> View<'t> {
    /// A view of `rootfs`.
    pub fn new(trees: &'t Trees<'t>, rootfs: &'t Rootfs) -> View<'t> {
        View { trees, rootfs }
    }

    /// What it shows.
    pub fn rootfs(&self) -> &Rootfs {
        self.rootfs
    }

    /// Finds a path. Symbolic links in the parents are followed inside the root (absolute ones are re-rooted, `..` stops
    /// at the root); the last component only if `follow`. `None` if nothing is there.
    pub fn find(&self, path: &[u8], follow: bool) -> Result<Option<Found>, TreeError> {
        let _ = (path, follow, self.trees);
        unreachable!("skeleton")
    }

    /// The real path that `path` names as a place to write to: existing components resolved (links followed, the last
    /// one too), missing ones appended as they are. Also how many leading components of it exist.
    pub fn resolve_for_write(&self, path: &[u8]) -> Result<(Vec<u8>, Option<Found>), TreeError> {
        let _ = path;
        unreachable!("skeleton")
    }

    /// The node of a found directory.
    pub fn node(&self, dir: &Found) -> Result<Arc<Node>, TreeError> {
        let _ = dir;
        unreachable!("skeleton")
    }

    /// Every entry below a found directory in path order (a directory before its contents), paths relative to the root.
    /// `visit` returns false to skip a directory's contents.
    pub fn walk(&self, dir: &Found, visit: &mut dyn FnMut(&Found) -> Result<bool, TreeError>) -> Result<(), TreeError> {
        let _ = (dir, visit);
        unreachable!("skeleton")
    }

    /// Opens a found regular file in the layer that holds it.
    pub fn open(&self, file: &Found) -> Result<File, TreeError> {
        let _ = file;
        unreachable!("skeleton")
    }

    /// Reads a regular file of at most `limit` bytes, links followed; `None` if there is none (or it is no regular file).
    pub fn read(&self, path: &[u8], limit: u64) -> Result<Option<Vec<u8>>, TreeError> {
        let _ = (path, limit);
        unreachable!("skeleton")
    }
}
