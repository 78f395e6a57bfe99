//! The root filesystem of an image, flattened: as one tar, or as files in a directory.

use super::ExportError;
use super::archive::cancelled;
use super::merge::{self, Below, Merged};
use crate::base::fs::Context;
use crate::base::root::Root;
use crate::base::{Cancel, Digest, IoError};
use crate::layer::{Entry, Index, Kind, tar_out};
use crate::store::Store;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Writes the root filesystem that these layers make (bottom first) as one canonical tar, without removals.
///
/// # Errors
/// A layer is not stored or damaged, `out` failed, or the work was called off.
pub fn write_tar(store: &Store, layers: &[Digest], out: &mut dyn Write, cancel: &Cancel) -> Result<(), ExportError> {
    let merged = flatten(store, layers)?;
    let dir = store.temp_dir()?;
    merge::materialise(store, layers, &merged, dir.path(), cancel)?;
    let index = Index { entries: merged.into_iter().map(|m| m.entry).collect() };
    Ok(tar_out::write(&index, dir.path(), out, cancel)?)
}

/// What [`write_dir`] left out or changed, for a warning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Device nodes, which only the superuser may make.
    pub devices: u64,
    /// Files that lost their setuid or setgid bit: they would run as whoever exports.
    pub setid: u64,
}

/// Writes the root filesystem as files beneath `dest`, which is made if need be. Everything belongs to the caller;
/// times and permissions are the image's. What stands there under the same name is replaced, symbolic links in `dest`
/// are never followed, other files stay.
///
/// # Errors
/// As [`write_tar`]; and a directory of `dest` stands where the image has something else.
pub fn write_dir(store: &Store, layers: &[Digest], dest: &Path, cancel: &Cancel) -> Result<Skipped, ExportError> {
    let merged = flatten(store, layers)?;
    crate::base::fs::create_dir_all(dest)?;
    let sources =
        layers.iter().map(|l| Ok(Root::open(store.layer_fs(l)?)?)).collect::<Result<Vec<_>, ExportError>>()?;
    let root = Root::open(dest)?;
    let mut skipped = Skipped::default();
    let mut dirs = Vec::new();
    for Merged { entry, layer } in &merged {
        cancelled(cancel, dest)?;
        if entry.path.is_empty() {
            continue;
        }
        let shown = root.show(&entry.path);
        let (dir, name) = parent(&root, &entry.path)?;
        match &entry.kind {
            Kind::Dir { .. } => {
                if make_way(&dir, name, &shown, true)? {
                    rustix::fs::mkdirat(&dir, name, Mode::RWXU).at("create directory", &shown)?;
                }
                dirs.push(entry);
                continue;
            }
            Kind::Char { .. } | Kind::Block { .. } => {
                skipped.devices += 1;
                continue;
            }
            Kind::Whiteout => continue,
            _ => make_way(&dir, name, &shown, false)?,
        };
        match &entry.kind {
            Kind::Symlink(target) => {
                rustix::fs::symlinkat(OsStr::from_bytes(target), &dir, name).at("create", &shown)?
            }
            Kind::HardLink { first, .. } => {
                let (from, first) = parent(&root, first)?;
                rustix::fs::linkat(&from, first, &dir, name, AtFlags::empty()).at("link", &shown)?;
                continue;
            }
            Kind::Fifo => {
                let mode = Mode::from_raw_mode(entry.mode & 0o777);
                rustix::fs::mknodat(&dir, name, FileType::Fifo, mode, 0).at("create", &shown)?;
            }
            _ => skipped.setid += u64::from(copy_file(&sources[*layer], entry, &dir, name, &shown)?),
        }
        let times = times(entry);
        rustix::fs::utimensat(&dir, name, &times, AtFlags::SYMLINK_NOFOLLOW).at("set times of", &shown)?;
    }
    for entry in dirs.into_iter().rev() {
        let shown = root.show(&entry.path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd = root.open_with(&entry.path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).at("open", &shown)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(entry.mode & 0o1777)).at("set permissions of", &shown)?;
        rustix::fs::futimens(&fd, &times(entry)).at("set times of", &shown)?;
    }
    Ok(skipped)
}

fn flatten(store: &Store, layers: &[Digest]) -> Result<Vec<Merged>, ExportError> {
    let stack = merge::indexes(store, layers)?;
    match merge::merge(&stack, |_| Ok::<_, Infallible>(Below::Nothing)) {
        Ok(merged) => Ok(merged),
    }
}

/// The directory of `path`, reached without following any symbolic link, and its last component.
fn parent<'p>(root: &Root, path: &'p [u8]) -> Result<(OwnedFd, &'p OsStr), IoError> {
    let (dir, name) = match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    let fd = root
        .open_with(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty(), ResolveFlags::NO_SYMLINKS)
        .at("open directory", root.show(dir))?;
    Ok((fd, OsStr::from_bytes(name)))
}

/// Removes what stands in the way. Whether the place is free now: a directory stays where one is wanted.
fn make_way(dir: &OwnedFd, name: &OsStr, shown: &PathBuf, want_dir: bool) -> Result<bool, IoError> {
    let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(rustix::io::Errno::NOENT) => return Ok(true),
        other => other.at("look at", shown)?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        rustix::fs::unlinkat(dir, name, AtFlags::empty()).at("replace", shown)?;
        return Ok(true);
    }
    if want_dir {
        return Ok(false);
    }
    Err(io::Error::new(io::ErrorKind::IsADirectory, "a directory stands there")).at("replace", shown)
}

/// Copies a regular file; whether a setuid or setgid bit was dropped.
fn copy_file(source: &Root, entry: &Entry, dir: &OwnedFd, name: &OsStr, shown: &Path) -> Result<bool, IoError> {
    let mut from = source.open_file(&entry.path)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR).at("create", shown)?;
    let mut to = File::from(fd);
    // The standard library clones or copies in the kernel where the file system can.
    io::copy(&mut from, &mut to).at("write", shown)?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(entry.mode & 0o1777)).at("set permissions of", shown)?;
    Ok(entry.mode & 0o6000 != 0)
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{layer, store};
    use super::*;

    #[test]
    fn the_tar_is_what_the_layers_amount_to() {
        let test = store();
        let base = layer(&test.store, &["a", "a/x=1", "a/y=2", "z=3"]);
        let top = layer(&test.store, &["a", "-a/x", "a/w", "-z"]);
        let mut bytes = Vec::new();
        write_tar(&test.store, &[base, top], &mut bytes, &Cancel::new()).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let names: Vec<String> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["a/", "a/w/", "a/y"]);
    }

    #[test]
    fn files_replace_what_is_there_and_links_there_are_not_followed() {
        let test = store();
        let only = layer(&test.store, &["etc", "etc/f=new", "etc/g<-etc/f", "l->etc/f", "file=1"]);
        let (dest, outside) = (test.dir.path().join("out"), test.dir.path().join("outside"));
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::create_dir_all(&dest).unwrap();
        std::os::unix::fs::symlink(&outside, dest.join("etc")).unwrap();
        std::os::unix::fs::symlink(outside.join("victim"), dest.join("file")).unwrap();
        std::fs::write(dest.join("kept"), "k").unwrap();
        let write = || write_dir(&test.store, &[only], &dest, &Cancel::new());
        for _ in 0..2 {
            assert_eq!(write().unwrap(), Skipped::default());
            assert_eq!(std::fs::read_to_string(dest.join("etc/g")).unwrap(), "new");
            assert_eq!(std::fs::read_to_string(dest.join("l")).unwrap(), "new");
            assert_eq!(std::fs::read_to_string(dest.join("kept")).unwrap(), "k");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        std::fs::remove_file(dest.join("file")).unwrap();
        std::fs::create_dir(dest.join("file")).unwrap();
        assert!(write().unwrap_err().to_string().contains("a directory stands there"));
    }
}
