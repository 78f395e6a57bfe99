//! ADD of a local archive: its contents onto the destination, as `tar -x` would put them (dockerfile.md C27).
//!
//! The archive is applied to a directory of its own, where nothing that it holds can lead anywhere, and what came of it
//! is then moved into the layer. A directory of the archive that meets a symbolic link to a directory in the base goes
//! where the link leads, so that `lib/` of an archive does not cut off a base whose /lib is a link; moby replaces the
//! link.

use super::in_the_way;
use crate::base::fs::Context as _;
use crate::base::root::Root;
use crate::layer::tar_in::{ApplyError, Options, apply};
use crate::layer::{compress, xattr};
use crate::ops::source::{Item, Source, What, file_name, join, mtime, names, parent};
use crate::ops::upper::{Meta, Upper, replacing};
use crate::ops::{Cx, OpError};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Whether ADD unpacks this file: told by its contents, not by its name.
pub(super) fn is_archive(source: &Source<'_>, file: &Item) -> Result<bool, OpError> {
    Ok(matches!(file.what, What::File { .. }) && compress::is_archive(source.open_file(file)?))
}

/// Unpacks `file` below the directory `target`, which is there.
///
/// Errors: `archive-invalid` for an archive that is damaged, asks for too much or has names that lead out of it.
pub(super) fn unpack(
    cx: &Cx<'_>,
    upper: &mut Upper<'_>,
    source: &Source<'_>,
    file: &Item,
    target: &[u8],
    owner: Option<(u32, u32)>,
) -> Result<(), OpError> {
    let options = Options { owner, ..Options::plain(cx.cancel) };
    let invalid = |reason: String| {
        let shown = source.show(&file.path).display().to_string();
        OpError::input("archive-invalid", format!("cannot unpack {shown}: {reason}"))
            .with_help("mend the archive, or copy it as it is with --unpack=false")
            .about(String::from_utf8_lossy(&file.path))
    };
    let scratch = cx.store.temp_dir()?;
    let (mut reader, _) =
        compress::open_compressed(source.open_file(file)?, options.limits.bytes).map_err(|e| invalid(e.to_string()))?;
    let applied = match apply(&mut reader, scratch.path(), &options) {
        Ok(applied) => applied,
        Err(_) if cx.cancel.is_set() => return Err(OpError::Cancelled),
        Err(ApplyError::Io(e)) => return Err(e.into()),
        Err(e) => return Err(invalid(e.to_string())),
    };
    let mut moving = Moving { from: Root::open(scratch.path())?, unnamed: &applied.unnamed, upper };
    let mut pending = vec![(Vec::new(), target.to_vec())];
    while let Some((dir, to)) = pending.pop() {
        if cx.cancel.is_set() {
            return Err(OpError::Cancelled);
        }
        for name in moving.children(&dir)? {
            let (path, to) = (join(&dir, &name), join(&to, &name));
            match moving.one(&path, to)? {
                Moved::Dir(to) => pending.push((path, to)),
                Moved::File(to) => {
                    applied.contents.get(&path).into_iter().for_each(|d| moving.upper.known(to.clone(), *d))
                }
            }
        }
    }
    Ok(())
}

/// From an unpacked archive into a layer.
struct Moving<'m, 'u> {
    from: Root,
    unnamed: &'m BTreeSet<Vec<u8>>,
    upper: &'m mut Upper<'u>,
}

/// What became of a path.
enum Moved {
    /// A directory; what it holds goes there.
    Dir(Vec<u8>),
    /// Anything else, and where it lies.
    File(Vec<u8>),
}

impl Moving<'_, '_> {
    fn children(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, OpError> {
        let shown = self.from.show(dir);
        let fd = self
            .from
            .open_with(
                dir,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW,
                Mode::empty(),
                ResolveFlags::NO_SYMLINKS,
            )
            .at("read directory", &shown)?;
        Ok(names(std::os::fd::AsFd::as_fd(&fd)).at("read directory", &shown)?)
    }

    fn one(&mut self, path: &[u8], to: Vec<u8>) -> Result<Moved, OpError> {
        let shown = self.from.show(path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let dir = self
            .from
            .open_with(parent(path), flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
            .at("open directory", &shown)?;
        let name = OsStr::from_bytes(file_name(path));
        let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).at("look at", &shown)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return self.dir(path, to, &stat).map(Moved::Dir);
        }
        if self.upper.has_dir(&to) {
            return Err(in_the_way(&to, true));
        }
        let (into, into_name) = self.upper.place(&to)?;
        replacing(&into, into_name, || {
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            rustix::fs::renameat_with(&dir, name, &into, into_name, flags)
        })
        .at("write", self.upper.root().show(&to))?;
        Ok(Moved::File(to))
    }

    /// Makes a directory of the archive in the layer; gives where what it holds goes.
    fn dir(&mut self, path: &[u8], to: Vec<u8>, stat: &Stat) -> Result<Vec<u8>, OpError> {
        let unnamed = self.unnamed.contains(path);
        if !self.upper.has_dir(&to) {
            let below = self.upper.lower_dir(&to)?;
            if let Some(real) = below.filter(|real| unnamed || *real != to) {
                // There already, and either not named by the archive or reached through a link: it keeps its looks.
                self.upper.ensure_dir(&real, &self.meta(path, stat)?)?;
                return Ok(real);
            }
        } else if unnamed {
            return Ok(to);
        }
        self.upper.put_dir(&to, self.meta(path, stat)?)?;
        Ok(to)
    }

    fn meta(&self, path: &[u8], stat: &Stat) -> Result<Meta, OpError> {
        let shown = self.from.show(path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd =
            self.from.open_with(path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).at("open directory", &shown)?;
        let (xattrs, _) = xattr::read(&fd, &shown)?;
        Ok(Meta { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime: mtime(stat), xattrs })
    }
}
