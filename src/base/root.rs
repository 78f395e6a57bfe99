//! Paths beneath a root: every path that an image, an archive or a Dockerfile names resolves through here
//! (openat2(2) with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`), so `..` and absolute symbolic links stay inside.
//!
//! A path is given as bytes relative to the root; a leading `/` means the root itself.

use super::fs::{Context, IoError};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An open directory beneath which paths are resolved.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

const CONFINED: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

impl Root {
    /// Opens the directory `path` as a root. The path itself is trusted: the caller or the user named it.
    pub fn open(path: impl AsRef<Path>) -> Result<Root, IoError> {
        let path = path.as_ref();
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .at("open directory", path)?;
        Ok(Root { fd, path: path.to_owned() })
    }

    /// The root's own path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path beneath the root as a person would write it, for messages only.
    pub fn show(&self, path: &[u8]) -> PathBuf {
        let relative = path.iter().position(|b| *b != b'/').map_or(&b""[..], |i| &path[i..]);
        self.path.join(OsStr::from_bytes(relative))
    }

    /// Opens beneath the root with the given flags; symbolic links are followed inside the root unless `flags` has
    /// `NOFOLLOW` (last component) or `resolve` adds `NO_SYMLINKS`.
    pub fn open_with(
        &self,
        path: &[u8],
        flags: OFlags,
        mode: Mode,
        resolve: ResolveFlags,
    ) -> rustix::io::Result<OwnedFd> {
        let relative = if path.is_empty() || path.iter().all(|b| *b == b'/') { &b"."[..] } else { path };
        loop {
            // EAGAIN: a rename raced with the walk; openat2(2) says to try again.
            match rustix::fs::openat2(&self.fd, relative, flags | OFlags::CLOEXEC, mode, CONFINED | resolve) {
                Err(rustix::io::Errno::AGAIN) => continue,
                other => return other,
            }
        }
    }

    /// Opens a file for reading, following symbolic links inside the root.
    pub fn open_file(&self, path: &[u8]) -> Result<std::fs::File, IoError> {
        let fd = self
            .open_with(path, OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK, Mode::empty(), ResolveFlags::empty())
            .at("open", self.show(path))?;
        Ok(fd.into())
    }

    /// Opens the directory that holds `path`'s last component (links in the parents followed inside the root) and
    /// gives it with that component's name. `None` for the root itself.
    pub fn parent_of<'p>(&self, path: &'p [u8]) -> rustix::io::Result<Option<(OwnedFd, &'p OsStr)>> {
        let trimmed = path.iter().rposition(|b| *b != b'/').map_or(&b""[..], |i| &path[..=i]);
        if trimmed.is_empty() {
            return Ok(None);
        }
        let (dir, name) = match trimmed.iter().rposition(|b| *b == b'/') {
            Some(i) => (&trimmed[..i], &trimmed[i + 1..]),
            None => (&b""[..], trimmed),
        };
        let fd = self.open_with(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty(), ResolveFlags::empty())?;
        Ok(Some((fd, OsStr::from_bytes(name))))
    }

    /// lstat(2) beneath the root: links in the parents are followed inside the root, the last component is not.
    /// `None` if nothing is there.
    pub fn lstat(&self, path: &[u8]) -> Result<Option<Stat>, IoError> {
        let found = match self.parent_of(path) {
            Ok(Some((dir, name))) => rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW),
            Ok(None) => rustix::fs::fstat(&self.fd),
            Err(e) => Err(e),
        };
        match found {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e).at("look at", self.show(path)),
        }
    }

    /// Whether `path` names a directory once links are followed inside the root.
    pub fn is_dir(&self, path: &[u8]) -> bool {
        self.open_with(path, OFlags::PATH, Mode::empty(), ResolveFlags::empty())
            .and_then(rustix::fs::fstat)
            .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
