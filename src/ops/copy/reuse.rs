//! A step that runs again finds most of its files in the layer that it made last time: those that are to look just as
//! they do there come from it by hard link, and only the others are copied.
//!
//! That is sound because a layer never changes once it is published. A link shares its inode with the old name, so
//! everything that an inode holds must be the same: contents, mode, owner, extended attributes, and the modification
//! time to the nanosecond.

use crate::base::Digest;
use crate::base::root::Root;
use crate::layer::{Entry, Index, Kind};
use crate::ops::Cx;
use crate::ops::source::mtime;
use crate::ops::upper::Meta;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The layer of a step's last run.
#[derive(Debug)]
pub(super) struct Previous {
    root: Root,
    index: Index,
}

impl Previous {
    /// Looks at that layer. One that can't be read, or is gone, costs nothing but the copies.
    pub fn open(cx: &Cx<'_>, layer: &Digest) -> Option<Previous> {
        // A derived layer has the files of another one, under other times than its index says.
        cx.store.layer(layer).ok()?.filter(|info| info.fs_of.is_none())?;
        let index = Index::decode(&cx.store.layer_index(layer).ok()?).ok()?;
        Some(Previous { root: Root::open(cx.store.layer_fs(layer).ok()?).ok()?, index })
    }

    /// One of its directories.
    pub fn dir(&self, path: &[u8]) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        self.root.open_with(path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()
    }

    /// What the index has at `path`, if that is a file of these contents.
    pub fn find(&self, path: &[u8], size: u64, content: Digest) -> Option<&Entry> {
        self.index.get(path).filter(|entry| entry.kind == Kind::File { size, content })
    }
}

/// Puts the file `entry` of a layer, which lies in its directory `old`, under the same name into `new`, if it looks as
/// it is to look there. `false`: it does not, or can't be linked, and nothing was done.
pub(super) fn link(entry: &Entry, old: BorrowedFd<'_>, new: BorrowedFd<'_>, name: &OsStr, meta: &Meta) -> bool {
    let Kind::File { size, .. } = entry.kind else { return false };
    if (entry.mode, entry.uid, entry.gid, entry.mtime) != (meta.mode, meta.uid, meta.gid, meta.mtime.0)
        || entry.xattrs != meta.xattrs
    {
        return false;
    }
    // The index knows whole seconds only, and can't know that the file is still as it says.
    let Ok(stat) = rustix::fs::statat(old, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
    let as_indexed = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) == (meta.mode, meta.uid, meta.gid)
        && stat.st_size as u64 == size
        && mtime(&stat) == meta.mtime;
    // It may fail for reasons that a copy does not have: too many links (EMLINK), the name is taken (EEXIST).
    as_indexed && rustix::fs::linkat(old, name, new, name, AtFlags::empty()).is_ok()
}
