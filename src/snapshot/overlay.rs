//! The overlay snapshotter: layers as lower directories, the upper directory becomes the layer. Nothing is copied; the
//! kernel does the rest when the sandbox mounts it.

use super::{RootMount, Snapshot, SnapshotError, Snapshotter};
use crate::base::fs::{self, Context};
use crate::layer::xattr;
use crate::store::Store;
use crate::tree::{Rootfs, Trees, View};
use rustix::fs::{Gid, Mode, Uid};
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Layers that an overlay stacks (`OVL_MAX_STACK`), less two of the sandbox's own for mount points.
pub const MAX_LAYERS: usize = 498;

/// Writable roots by overlayfs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overlay;

impl Snapshotter for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn prepare(&self, store: &Store, trees: &Trees<'_>, base: &Rootfs) -> Result<Snapshot, SnapshotError> {
        let lowers = lowers(store, base)?;
        if lowers.len() > MAX_LAYERS {
            return Err(SnapshotError::TooDeep(lowers.len()));
        }
        let dir = store.temp_dir()?;
        let (upper, work) = (dir.path().join("upper"), dir.path().join("work"));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        like_root(&upper, &View::new(trees, base))?;
        Ok(Snapshot { mount: RootMount::Overlay { lowers, upper, work }, dir, base: base.clone() })
    }

    fn changes(&self, _: &Store, _: &Trees<'_>, snapshot: &Snapshot) -> Result<PathBuf, SnapshotError> {
        Ok(snapshot.dir.path().join("upper"))
    }
}

/// The directories of a root filesystem's layers, bottom first. The kernel refuses a directory that it is given twice, and
/// a layer may well come twice (an empty one does all the time): only the topmost is kept, which shows, hides and removes
/// all that the ones below it do.
pub fn lowers(store: &Store, base: &Rootfs) -> Result<Vec<PathBuf>, SnapshotError> {
    let mut lowers: Vec<PathBuf> = Vec::with_capacity(base.layers.len());
    let mut seen = HashSet::new();
    for layer in base.layers.iter().rev() {
        let fs = store.layer_fs(layer)?;
        if seen.insert(fs.clone()) {
            lowers.push(fs);
        }
    }
    lowers.reverse();
    Ok(lowers)
}

/// Gives a new directory the metadata of the image's root: an overlay's root shows the upper directory's.
pub(super) fn like_root(path: &Path, view: &View<'_>) -> Result<(), SnapshotError> {
    let root = view.root()?.entry.entry;
    let dir = File::open(path).at("open", path)?;
    rustix::fs::fchown(&dir, Some(Uid::from_raw(root.uid)), Some(Gid::from_raw(root.gid))).at("set owner of", path)?;
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(root.mode)).at("set permissions of", path)?;
    xattr::write(&dir, &root.xattrs, path)?;
    Ok(())
}

/// Asks the kernel whether it mounts an overlay with directories of this store: makes one and lets it go, unattached.
/// Its refusal as the inner error.
pub(super) fn probe(store: &Store) -> Result<io::Result<()>, SnapshotError> {
    let dir = store.temp_dir()?;
    let mut open = Vec::new();
    for name in ["lower", "upper", "work"] {
        let path = dir.path().join(name);
        fs::create_dir_all(&path)?;
        open.push(File::open(&path).at("open", &path)?);
    }
    let mount = || -> rustix::io::Result<()> {
        use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_flag(&context, "userxattr")?;
        for (key, dir) in ["lowerdir", "upperdir", "workdir"].into_iter().zip(&open) {
            rustix::mount::fsconfig_set_string(&context, key, format!("/proc/self/fd/{}", dir.as_raw_fd()))?;
        }
        rustix::mount::fsconfig_create(&context)?;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map(drop)
    };
    Ok(mount().map_err(io::Error::from))
}
