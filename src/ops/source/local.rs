//! Looking into a build context: names resolved beneath its root, metadata read without opening anything.

use super::path::{components, join, parent};
use super::{Item, Time, What};
use crate::base::IoError;
use crate::base::fs::Context as _;
use crate::layer::xattr;
use crate::ops::OpError;
use crate::ops::context::LocalContext;
use crate::store::statcache::StatKey;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// How many symbolic links a path may lead through, as in the kernel (path_resolution(7)).
const LINK_LIMIT: usize = 40;

/// The longest list or value of extended attributes that the kernel gives (xattr(7)), in bytes.
const XATTR_LIMIT: usize = 64 << 10;

/// The identity of an unchanged file.
pub fn stamp(stat: &Stat) -> StatKey {
    let nanos = |seconds: i64, nanos: u64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    StatKey {
        dev: stat.st_dev,
        ino: stat.st_ino,
        size: stat.st_size as u64,
        mtime: nanos(stat.st_mtime, stat.st_mtime_nsec),
        ctime: nanos(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// Modification time of a stat.
pub fn mtime(stat: &Stat) -> Time {
    (stat.st_mtime, stat.st_mtime_nsec as u32)
}

/// The thing at `path`; see [`super::Source::find`].
pub(super) fn find_in_context(context: &LocalContext, path: &[u8], follow: bool) -> Result<Option<Item>, OpError> {
    let mut ahead: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
    let mut here = look(context, b"")?;
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        let Some(dir) = here.as_ref().filter(|d| d.is_dir()) else { return Ok(None) };
        if name == b".." {
            here = look(context, parent(&dir.path))?;
            continue;
        }
        let path = join(&dir.path, &name);
        let Some(item) = look(context, &path)? else { return Ok(None) };
        match &item.what {
            What::Symlink(target) if follow || !ahead.is_empty() => {
                links += 1;
                if links > LINK_LIMIT {
                    let source = std::io::Error::from(rustix::io::Errno::LOOP);
                    return Err(IoError { act: "resolve", path: context.root().show(&path), source }.into());
                }
                if target.starts_with(b"/") {
                    here = look(context, b"")?;
                }
                ahead.extend(components(target).rev().map(<[u8]>::to_vec));
            }
            _ => here = Some(item),
        }
    }
    Ok(here)
}

/// lstat of a real path.
fn look(context: &LocalContext, path: &[u8]) -> Result<Option<Item>, IoError> {
    let root = context.root();
    let (dir, name) = match root.parent_of(path) {
        Ok(Some(found)) => found,
        Ok(None) => {
            let stat = rustix::fs::fstat(root).at("look at", root.path())?;
            return Ok(Some(
                item_of(context, root.as_fd(), OsStr::new("."), Vec::new(), &stat).at("look at", root.path())?,
            ));
        }
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(e) => return Err(e).at("look at", root.show(path)),
    };
    item_at(context, dir.as_fd(), name, path.to_vec()).at("look at", root.show(path))
}

/// What a directory of a context holds, sorted by name.
pub(super) fn children_in_context(context: &LocalContext, path: &[u8]) -> Result<Vec<Item>, OpError> {
    let root = context.root();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let dir =
        root.open_with(path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).at("read directory", root.show(path))?;
    let mut items = Vec::new();
    for name in names(dir.as_fd()).at("read directory", root.show(path))? {
        let child = join(path, &name);
        let shown = || root.show(&join(path, &name));
        // Gone since the directory was read: as if it had never been there.
        items.extend(item_at(context, dir.as_fd(), OsStr::from_bytes(&name), child).at("look at", shown())?);
    }
    Ok(items)
}

/// Names in an open directory, sorted, without `.` and `..`.
pub fn names(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn item_at(
    context: &LocalContext,
    dir: BorrowedFd<'_>,
    name: &OsStr,
    path: Vec<u8>,
) -> rustix::io::Result<Option<Item>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => item_of(context, dir, name, path, &stat).map(Some),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e),
    }
}

fn item_of(
    context: &LocalContext,
    dir: BorrowedFd<'_>,
    name: &OsStr,
    path: Vec<u8>,
    stat: &Stat,
) -> rustix::io::Result<Item> {
    let device = || (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let kind = FileType::from_raw_mode(stat.st_mode);
    let file = kind == FileType::RegularFile;
    let stamp = file.then(|| stamp(stat));
    let facts = stamp.and_then(|stamp| context.stats().get(&stamp));
    let what = match kind {
        FileType::RegularFile => {
            What::File { size: stat.st_size as u64, content: facts.as_ref().map(|facts| facts.content) }
        }
        FileType::Directory => What::Dir,
        FileType::Symlink => What::Symlink(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes()),
        FileType::CharacterDevice => What::Char(device().0, device().1),
        FileType::BlockDevice => What::Block(device().0, device().1),
        FileType::Fifo => What::Fifo,
        _ => What::Socket,
    };
    let bare = facts.is_some_and(|facts| facts.bare);
    let xattrs = if (file || what == What::Dir) && !bare { xattrs(dir, name)? } else { Vec::new() };
    let group = (file && stat.st_nlink > 1).then(|| [stat.st_dev.to_le_bytes(), stat.st_ino.to_le_bytes()].concat());
    Ok(Item {
        path,
        what,
        mode: stat.st_mode & 0o7777,
        uid: 0,
        gid: 0,
        xattrs,
        mtime: Some(mtime(stat)),
        group,
        stamp,
        found: None,
    })
}

/// The extended attributes of `name` in `dir` that belong into an image: capabilities, ACLs and what users set, but
/// neither the host's labels nor overlay's own marks, which would change the meaning of a layer directory.
fn xattrs(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // By descriptor, so that a parent that is swapped meanwhile can't lead elsewhere.
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    match rustix::fs::llistxattr_query(&path) {
        Ok(0) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOENT) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(e) => return Err(e),
    }
    let mut list = vec![0u8; XATTR_LIMIT];
    let length = rustix::fs::llistxattr(&path, &mut list[..])?;
    let mut found = Vec::new();
    let mut value = vec![0u8; XATTR_LIMIT];
    for key in list[..length].split(|b| *b == 0).filter(|k| belongs_to_image(k)) {
        match rustix::fs::lgetxattr(&path, OsStr::from_bytes(key), &mut value[..]) {
            Ok(n) => found.push((key.to_vec(), value[..n].to_vec())),
            Err(rustix::io::Errno::NODATA) => {}
            Err(e) => return Err(e),
        }
    }
    found.sort();
    Ok(found)
}

fn belongs_to_image(key: &[u8]) -> bool {
    xattr::belongs(key) && !key.starts_with(b"user.overlay.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_overlay_and_labels_of_the_host_are_no_part_of_an_image() {
        let kept = ["user.note", "security.capability", "system.posix_acl_access"];
        let dropped = ["user.overlay.opaque", "trusted.overlay.opaque", "security.selinux", "security.ima", ""];
        assert!(kept.iter().all(|k| belongs_to_image(k.as_bytes())));
        assert!(!dropped.iter().any(|k| belongs_to_image(k.as_bytes())));
    }
}
