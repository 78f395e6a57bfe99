//! The applier's hands: names in open directories, what gives way to what, and metadata last.

use super::tape::Member;
use super::{Applier, ApplyError, Meta, refused};
use crate::base::IoError;
use crate::base::fs::Context;
use crate::base::root::Root;
use crate::layer::xattr;
use rustix::fs::{AtFlags, FileType, Gid, Mode as Bits, OFlags, RawDir, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

impl Applier<'_> {
    pub(super) fn mark_opaque(&mut self, fd: &OwnedFd, path: &[u8]) -> Result<(), IoError> {
        let shown = self.root.show(path);
        self.opaque.insert(path.to_vec());
        // Attributes need a descriptor that is open for more than looking.
        let fd = rustix::fs::openat(fd, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Bits::empty())
            .at("open directory", &shown)?;
        xattr::mark_opaque(&fd, &shown)
    }

    /// Makes a directory in the current one; what stands there gives way unless it is a directory. In place of a
    /// whiteout it is opaque: what the whiteout hid stays hidden.
    pub(super) fn make_directory(&mut self, path: &[u8], name: &OsStr) -> Result<(), ApplyError> {
        let shown = self.root.show(path);
        let parent = self.here()?;
        match rustix::fs::mkdirat(parent, name, Bits::RWXU) {
            Err(Errno::EXIST) => {}
            made => return Ok(made.at("create directory", &shown)?),
        }
        let opaque = match kind_of(parent, name).at("look at", &shown)? {
            Some((FileType::Directory, _)) => return Ok(()),
            found => found == Some((FileType::CharacterDevice, 0)),
        };
        self.clear(path, name)?;
        let parent = self.here()?;
        rustix::fs::mkdirat(parent, name, Bits::RWXU).at("create directory", &shown)?;
        if opaque {
            let fd = open_dir(parent, name).at("open directory", &shown)?;
            self.mark_opaque(&fd, path)?;
        }
        Ok(())
    }

    /// Removes whiteouts below opaque directories, where they hide nothing. Overlayfs does not look for whiteouts in a
    /// directory that only one layer has: it would list their names, and then not find them.
    pub(super) fn drop_idle_whiteouts(&mut self) -> Result<(), ApplyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        for path in std::mem::take(&mut self.opaque) {
            match self.root.open_with(&path, flags, Bits::empty(), ResolveFlags::NO_SYMLINKS) {
                Ok(dir) => drop_whiteouts(&dir).at("remove whiteouts in", self.root.show(&path))?,
                // A later member replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => return Err(failed(e, "open directory", self.root.show(&path))),
            }
        }
        Ok(())
    }

    /// Metadata of an open file. The order matters: a change of owner clears set-id bits and capabilities.
    pub(super) fn finish_open(&self, file: &File, meta: &Meta, shown: &Path) -> Result<(), ApplyError> {
        rustix::fs::fchown(file, uid(meta), gid(meta)).map_err(|e| chown_failed(e, meta, shown))?;
        rustix::fs::fchmod(file, Bits::from_raw_mode(meta.mode)).at("set the mode of", shown)?;
        xattr::write(file, &meta.xattrs, shown)?;
        Ok(rustix::fs::futimens(file, &times(meta)).at("set the time of", shown)?)
    }

    /// Metadata of a name in the current directory that can't be opened.
    pub(super) fn finish_named(
        &self,
        name: &OsStr,
        meta: &Meta,
        symlink: bool,
        shown: &Path,
    ) -> Result<(), ApplyError> {
        let parent = self.here()?;
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(parent, name, uid(meta), gid(meta), nofollow).map_err(|e| chown_failed(e, meta, shown))?;
        if !symlink {
            let mode = Bits::from_raw_mode(meta.mode);
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).at("set the mode of", shown)?;
        }
        Ok(rustix::fs::utimensat(parent, name, &times(meta), nofollow).at("set the time of", shown)?)
    }

    pub(super) fn finish_dirs(&mut self) -> Result<(), ApplyError> {
        // Innermost first: a directory may end up closed even to its owner.
        for (path, meta) in std::mem::take(&mut self.dirs).into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let fd = match self.root.open_with(&path, flags, Bits::empty(), ResolveFlags::NO_SYMLINKS) {
                Ok(fd) => fd,
                // A later member replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(e) => return Err(failed(e, "open directory", self.root.show(&path))),
            };
            self.finish_open(&File::from(fd), &meta, &self.root.show(&path))?;
        }
        Ok(())
    }

    /// Makes `dir` the current directory; see [`Applier::enter_path`].
    pub(super) fn enter(&mut self, dir: &[u8], member: &Member) -> Result<(), ApplyError> {
        self.enter_path(dir, &member.path)
    }

    /// Makes `dir` the current directory, for the sake of the member `whose`. What is missing of it is made.
    pub(super) fn enter_path(&mut self, dir: &[u8], whose: &[u8]) -> Result<(), ApplyError> {
        if self.parent.as_ref().is_some_and(|(path, _)| path == dir) {
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        match self.root.open_with(dir, flags, Bits::empty(), ResolveFlags::NO_SYMLINKS) {
            Ok(fd) => {
                self.parent = Some((dir.to_vec(), fd));
                return Ok(());
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(e) => return Err(failed(e, "open directory", self.root.show(dir))),
        }
        let (above, name) = split(dir);
        self.enter_path(above, whose)?;
        let name = OsStr::from_bytes(name);
        let shown = self.root.show(dir);
        match kind_of(self.here()?, name).at("look at", &shown)? {
            None | Some((FileType::CharacterDevice, 0)) => {
                self.make_directory(dir, name)?;
                let plain = Meta { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Vec::new() };
                self.dirs.insert(dir.to_vec(), plain);
                self.unnamed.insert(dir.to_vec());
            }
            Some(_) => {
                let parent = String::from_utf8_lossy(dir).into_owned();
                return Err(refused(whose, format!("its parent '{parent}' is something other than a directory")));
            }
        }
        let fd = open_dir(self.here()?, name).at("open directory", &shown)?;
        self.parent = Some((dir.to_vec(), fd));
        Ok(())
    }

    pub(super) fn directory_at(&mut self, dir: &[u8], member: &Member) -> Result<OwnedFd, ApplyError> {
        self.enter(dir, member)?;
        Ok(self.here()?.try_clone().at("open directory", self.root.show(dir))?)
    }

    /// The current directory.
    pub(super) fn here(&self) -> Result<&OwnedFd, IoError> {
        let none = || io::Error::new(io::ErrorKind::NotFound, "no directory was entered");
        self.parent.as_ref().map(|(_, fd)| fd).ok_or_else(none).at("open directory", self.root.path())
    }

    /// Makes something in the current directory; what stands there gives way.
    pub(super) fn replacing<T>(
        &mut self,
        path: &[u8],
        name: &OsStr,
        make: impl Fn(&OwnedFd) -> rustix::io::Result<T>,
    ) -> Result<rustix::io::Result<T>, ApplyError> {
        match make(self.here()?) {
            Err(Errno::EXIST) => {
                self.clear(path, name)?;
                Ok(make(self.here()?))
            }
            made => Ok(made),
        }
    }

    /// Removes what stands under a name of the current directory.
    fn clear(&mut self, path: &[u8], name: &OsStr) -> Result<(), ApplyError> {
        let parent = self.here()?.try_clone().at("open directory", self.root.show(path))?;
        self.remove(&parent, name, path)
    }

    /// Removes a name with all beneath it; files that the recipe refers to are moved aside.
    fn remove(&mut self, parent: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<(), ApplyError> {
        let shown = self.root.show(path);
        if kind_of(parent, name).at("look at", &shown)?.map(|(kind, _)| kind) != Some(FileType::Directory) {
            let spool = match self.recipe.as_mut() {
                Some(recipe) => recipe.spool(path)?,
                None => None,
            };
            if let Some((directory, number)) = spool {
                let to = Root::open(directory)?;
                rustix::fs::renameat(parent, name, &to, number).at("move aside", &shown)?;
            } else {
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).at("remove", &shown)?;
            }
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(parent, name, flags, Bits::empty()).at("open directory", &shown)?;
        for child in names(&dir).at("read directory", &shown)? {
            let inside = [path, b"/", child.as_slice()].concat();
            self.remove(&dir, OsStr::from_bytes(&child), &inside)?;
        }
        rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).at("remove directory", &shown)?;
        // The current directory may be gone with it.
        if self.parent.as_ref().is_some_and(|(current, _)| current.starts_with(path) && current != split(path).0) {
            self.parent = None;
        }
        Ok(())
    }
}

/// A path's directory and last component.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// What stands under a name, with its device number; `None`: nothing.
pub(super) fn kind_of(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<Option<(FileType, u64)>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some((FileType::from_raw_mode(stat.st_mode), stat.st_rdev))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

pub(super) fn open_dir(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Bits::empty())
}

fn drop_whiteouts(dir: &OwnedFd) -> rustix::io::Result<()> {
    for name in names(dir)? {
        let name = OsStr::from_bytes(&name);
        match kind_of(dir, name)? {
            Some((FileType::CharacterDevice, 0)) => rustix::fs::unlinkat(dir, name, AtFlags::empty())?,
            Some((FileType::Directory, _)) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                drop_whiteouts(&rustix::fs::openat(dir, name, flags, Bits::empty())?)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The names in a directory.
fn names(dir: impl AsFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut buffer = [MaybeUninit::uninit(); 8 * 1024];
    let mut entries = RawDir::new(dir, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

fn uid(meta: &Meta) -> Option<Uid> {
    Some(Uid::from_raw(meta.uid))
}

fn gid(meta: &Meta) -> Option<Gid> {
    Some(Gid::from_raw(meta.gid))
}

fn times(meta: &Meta) -> Timestamps {
    let time = Timespec { tv_sec: meta.mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn chown_failed(e: Errno, meta: &Meta, shown: &Path) -> ApplyError {
    let source = match e {
        Errno::INVAL => {
            let (uid, gid) = (meta.uid, meta.gid);
            let text = format!("{uid}:{gid} lies outside the user namespace's id map (see /etc/subuid, /etc/subgid)");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        }
        e => e.into(),
    };
    IoError { act: "set the owner of", path: shown.to_owned(), source }.into()
}

pub(super) fn failed(e: Errno, act: &'static str, path: PathBuf) -> ApplyError {
    IoError { act, path, source: e.into() }.into()
}
