//! A layer directory written by hand, without a mount: what overlayfs would find in the upper directory if the same had
//! been done on a mounted root.
//!
//! Directories are made plainly and get their owner, mode, attributes and time when all is written, the innermost
//! first, so that neither a read-only directory nor a later file in it disturbs them. Every path is resolved beneath
//! the layer directory with no symbolic link followed: what an earlier source wrote can't lead a later one astray.

use super::source::{Time, parent};
use super::{OpError, Written};
use crate::base::fs::{Context as _, create_dir_all};
use crate::base::root::Root;
use crate::base::{Digest, IoError};
use crate::layer::xattr;
use crate::store::Store;
use crate::tree::View;
use crate::tree::view::Found;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Owner, mode, time and attributes of something written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time; access time is set to the same.
    pub mtime: Time,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A layer directory being written.
#[derive(Debug)]
pub struct Upper<'v> {
    temp: tempfile::TempDir,
    fs: PathBuf,
    root: Root,
    lower: Option<View<'v>>,
    dirs: BTreeMap<Vec<u8>, Meta>,
    known: HashMap<Vec<u8>, Digest>,
}

impl<'v> Upper<'v> {
    /// An empty one under the store's `tmp/`. `lower` is the root filesystem it goes on top of; without one, it is made
    /// as for an empty root.
    pub fn create(store: &Store, lower: Option<View<'v>>) -> Result<Upper<'v>, OpError> {
        let temp = store.temp_dir()?;
        let fs = temp.path().join("fs");
        create_dir_all(&fs)?;
        let root = Root::open(&fs)?;
        let mut upper = Upper { temp, fs, root, lower, dirs: BTreeMap::new(), known: HashMap::new() };
        // The root of an upper directory is the root that a process sees, so it looks as it did.
        let meta = match upper.lower_at(b"")? {
            Some(found) => upper.copied_up(&found)?,
            None => Meta { mode: 0o755, uid: 0, gid: 0, mtime: (0, 0), xattrs: Vec::new() },
        };
        upper.dirs.insert(Vec::new(), meta);
        Ok(upper)
    }

    /// What the lower root filesystem has at the real path `path`.
    pub fn lower_at(&self, path: &[u8]) -> Result<Option<Found>, OpError> {
        Ok(match &self.lower {
            Some(view) => view.find(path, false)?,
            None => None,
        })
    }

    /// Where the lower root filesystem leads on from the real path `path`: itself if a directory is there, the directory
    /// that a symbolic link there leads to, else nothing.
    pub fn lower_dir(&self, path: &[u8]) -> Result<Option<Vec<u8>>, OpError> {
        let found = match &self.lower {
            Some(view) => view.find(path, true)?,
            None => None,
        };
        Ok(found.filter(|f| f.is_dir()).map(|f| f.path))
    }

    /// Whether this layer has the directory `path` by now.
    pub fn has_dir(&self, path: &[u8]) -> bool {
        self.dirs.contains_key(path)
    }

    /// Makes the directory `path` and its parents where they are missing: one that the lower root filesystem has comes up as
    /// it is there, others are made as `made` says. Names what is in the way if that is no directory.
    pub fn ensure_dir(&mut self, path: &[u8], made: &Meta) -> Result<(), OpError> {
        if self.has_dir(path) {
            return Ok(());
        }
        self.ensure_dir(parent(path), made)?;
        let meta = match self.lower_at(path)? {
            Some(found) if found.is_dir() => self.copied_up(&found)?,
            Some(_) => return Err(not_a_directory(path)),
            None => made.clone(),
        };
        self.put_dir(path, meta)
    }

    /// Makes the directory `path`, whose parent is there, or gives it other metadata if it is there.
    pub fn put_dir(&mut self, path: &[u8], meta: Meta) -> Result<(), OpError> {
        if !self.has_dir(path) {
            let (dir, name) = self.place(path)?;
            match rustix::fs::mkdirat(&dir, name, Mode::RWXU) {
                Err(Errno::EXIST) => return Err(not_a_directory(path)),
                made => made.at("create directory", self.root.show(path))?,
            }
        }
        self.dirs.insert(path.to_vec(), meta);
        Ok(())
    }

    /// Sets the modification time of a directory that is there.
    pub fn set_dir_time(&mut self, path: &[u8], mtime: Time) {
        if let Some(meta) = self.dirs.get_mut(path) {
            meta.mtime = mtime;
        }
    }

    /// Opens a directory of this layer.
    pub fn dir(&self, path: &[u8]) -> Result<OwnedFd, IoError> {
        self.root
            .open_with(
                path,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW,
                Mode::empty(),
                ResolveFlags::NO_SYMLINKS,
            )
            .at("open directory", self.root.show(path))
    }

    /// The directory that holds `path`, open, and the last component.
    pub fn place<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p OsStr), IoError> {
        Ok((self.dir(parent(path))?, OsStr::from_bytes(super::source::file_name(path))))
    }

    /// The layer directory.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Notes the digest of a file's contents.
    pub fn known(&mut self, path: Vec<u8>, content: Digest) {
        self.known.insert(path, content);
    }

    /// Gives the directories their metadata.
    pub fn finish(self) -> Result<Written, OpError> {
        for (path, meta) in self.dirs.iter().rev() {
            let shown = || self.root.show(path);
            let dir = self.dir(path)?;
            apply(dir.as_fd(), OsStr::new("."), meta, FileType::Directory).at("set the metadata of", shown())?;
        }
        Ok(Written { dir: self.temp, fs: self.fs, known: self.known })
    }

    fn copied_up(&self, found: &Found) -> Result<Meta, OpError> {
        let entry = &found.entry.entry;
        let mtime = match &self.lower {
            Some(view) => view.mtime(found)?,
            None => (0, 0),
        };
        Ok(Meta { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime, xattrs: entry.xattrs.clone() })
    }
}

/// Sets owner, mode, attributes and times of `name` in `dir`, in the order that keeps them: a change of owner clears
/// setuid bits and capabilities, and anything at all changes the times.
pub fn apply(dir: BorrowedFd<'_>, name: &OsStr, meta: &Meta, kind: FileType) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(|e| unowned(e, meta))?;
    if kind != FileType::Symlink {
        // chmod follows links, and fchmodat2(2) is younger than the kernels that we run on; `name` was made by us in a
        // directory of ours and is none.
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(meta.mode), AtFlags::empty())?;
        for (key, value) in &meta.xattrs {
            match set_xattr(dir, name, &xattr::stored_name(key), value) {
                // A file system without such attributes can't be helped; what lies there is read back as it is.
                Err(Errno::OPNOTSUPP) => {}
                other => other?,
            }
        }
    }
    Ok(rustix::fs::utimensat(dir, name, &times(meta), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The same for an open regular file, whose contents are written. What it has already is not set again: of many
/// thousand files most are made as they are to be.
pub fn apply_open(file: impl AsFd, meta: &Meta) -> io::Result<()> {
    let file = file.as_fd();
    let stat = rustix::fs::fstat(file)?;
    let owned = (stat.st_uid, stat.st_gid) == (meta.uid, meta.gid);
    if !owned {
        let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        rustix::fs::fchown(file, Some(uid), Some(gid)).map_err(|e| unowned(e, meta))?;
    }
    // A change of owner may have taken setuid bits away.
    if !owned || stat.st_mode & 0o7777 != meta.mode {
        rustix::fs::fchmod(file, Mode::from_raw_mode(meta.mode))?;
    }
    for (key, value) in &meta.xattrs {
        let key = xattr::stored_name(key);
        match rustix::fs::fsetxattr(file, OsStr::from_bytes(&key), value, rustix::fs::XattrFlags::empty()) {
            // As above.
            Err(Errno::OPNOTSUPP) => {}
            other => other?,
        }
    }
    Ok(rustix::fs::futimens(file, &times(meta))?)
}

fn times(meta: &Meta) -> Timestamps {
    let time = Timespec { tv_sec: meta.mtime.0, tv_nsec: i64::from(meta.mtime.1) };
    Timestamps { last_access: time, last_modification: time }
}

/// The error of a change of owner, in words where the system's own mislead.
fn unowned(error: Errno, meta: &Meta) -> io::Error {
    if error != Errno::INVAL {
        return error.into();
    }
    let owner = format!("{}:{}", meta.uid, meta.gid);
    let text = format!("owner {owner} lies outside the user namespace's id map (see /etc/subuid, /etc/subgid)");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn set_xattr(dir: BorrowedFd<'_>, name: &OsStr, key: &[u8], value: &[u8]) -> rustix::io::Result<()> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    rustix::fs::lsetxattr(&path, OsStr::from_bytes(key), value, rustix::fs::XattrFlags::empty())
}

fn not_a_directory(path: &[u8]) -> OpError {
    let shown = String::from_utf8_lossy(path).into_owned();
    OpError::input("copy-not-a-directory", format!("cannot make the directory `/{shown}`: something else is there"))
}

/// Makes something; if its name is taken, takes away what is there first. A directory stays and is an error.
pub(super) fn replacing<T>(
    dir: impl AsFd,
    name: &OsStr,
    make: impl Fn() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    match make() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(dir.as_fd(), name, AtFlags::empty())?;
            make()
        }
        other => other,
    }
}
