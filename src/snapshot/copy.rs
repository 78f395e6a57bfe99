//! The plain snapshotter: a full copy, compared with its base afterwards. For hosts whose kernel mounts no overlay.
//!
//! What was touched is told by inode numbers and change times, which no program can set: a path that has the inode it
//! was copied to, with a ctime before the end of the copying, is as it was copied. All others are compared with the
//! base's tree, contents by digest.

use super::overlay::like_root;
use super::{RootMount, Snapshot, SnapshotError, Snapshotter};
use crate::base::fs::{self, Context};
use crate::base::root::Root;
use crate::base::{Hasher, IoError};
use crate::layer::{Entry, Kind, device, xattr};
use crate::store::Store;
use crate::tree::view::Found;
use crate::tree::{Rootfs, TreeError, Trees, View};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Writable roots by copying.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copy;

/// Directory of the writable root, in the snapshot's own.
const ROOT: &str = "root";
/// Directory of the change set.
const CHANGES: &str = "changes";
/// File with the inode of every copied path, `NUMBER/PATH NUL`; its own ctime says when the copy was complete.
const INODES: &str = "inodes";

impl Snapshotter for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn prepare(&self, store: &Store, trees: &Trees<'_>, base: &Rootfs) -> Result<Snapshot, SnapshotError> {
        let dir = store.temp_dir()?;
        let path = dir.path().join(ROOT);
        fs::create_dir_all(&path)?;
        let view = View::new(trees, base);
        let root = Root::open(&path)?;
        let times = Times::of(store, base)?;
        let mut directories: Vec<Vec<u8>> = Vec::new();
        view.walk(&view.root()?, &mut |found| {
            materialise(&root, &view, found, &times)?;
            if found.is_dir() {
                directories.push(found.path.clone());
            }
            Ok(true)
        })?;
        like_root(&path, &view)?;
        // Times last: making an entry in a directory changes its own.
        for path in directories.iter().rev() {
            set_time(&root, path, &times)?;
        }
        write_inodes(&dir.path().join(INODES), &list(&root)?)?;
        Ok(Snapshot { mount: RootMount::Dir(path), dir, base: base.clone() })
    }

    fn changes(&self, store: &Store, trees: &Trees<'_>, snapshot: &Snapshot) -> Result<PathBuf, SnapshotError> {
        let out = snapshot.dir.path().join(CHANGES);
        fs::create_dir_all(&out)?;
        let view = View::new(trees, &snapshot.base);
        let from = Root::open(snapshot.dir.path().join(ROOT))?;
        let base = Base {
            entries: before(&view)?,
            times: Times::of(store, &snapshot.base)?,
            copied: Copied::read(&snapshot.dir.path().join(INODES))?,
        };
        let now = list(&from)?;
        let touched = touched(&from, &now, &base)?;
        let mut writer = Writer { from: &from, to: Root::open(&out)?, now: &now, parents: BTreeSet::new() };
        for path in &touched {
            writer.emit(path)?;
        }
        for path in removed(&now, &base.entries) {
            writer.whiteout(path)?;
        }
        writer.finish()?;
        let top = File::open(from.path()).at("open", from.path())?;
        let stat = rustix::fs::fstat(&top).at("look at", from.path())?;
        copy_metadata(&top, &stat, &File::open(&out).at("open", &out)?, &out)?;
        Ok(out)
    }
}

/// Makes one entry of the base in the copy.
fn materialise(root: &Root, view: &View<'_>, found: &Found, times: &Times) -> Result<(), TreeError> {
    let entry = &found.entry.entry;
    let shown = root.show(&found.path);
    let Some((dir, name)) = root.parent_of(&found.path).at("open the directory of", &shown)? else { return Ok(()) };
    let mode = Mode::from_raw_mode(0o600);
    let fd: Option<OwnedFd> = match &entry.kind {
        Kind::Dir { .. } => {
            rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o700)).at("create directory", &shown)?;
            Some(open_to_change(&dir, name).at("open", &shown)?)
        }
        Kind::File { .. } => Some(copy_file(&dir, name, view, found, &shown)?),
        Kind::HardLink { first, .. } => {
            // The walk is in path order, and so are the names of a group.
            let first = root.parent_of(first).at("open the directory of", &shown)?;
            let Some((first_dir, first_name)) = first else { return Ok(()) };
            rustix::fs::linkat(&first_dir, first_name, &dir, name, AtFlags::empty()).at("link", &shown)?;
            return Ok(());
        }
        Kind::Symlink(target) => {
            rustix::fs::symlinkat(OsStr::from_bytes(target), &dir, name).at("create link", &shown)?;
            None
        }
        Kind::Char { major, minor } | Kind::Block { major, minor } => {
            let kind =
                if matches!(entry.kind, Kind::Char { .. }) { FileType::CharacterDevice } else { FileType::BlockDevice };
            match rustix::fs::mknodat(&dir, name, kind, mode, rustix::fs::makedev(*major, *minor)) {
                // Without privilege an unmarked empty file keeps the place, as in an overlay.
                Err(Errno::PERM) => rustix::fs::mknodat(&dir, name, FileType::RegularFile, mode, 0),
                other => other,
            }
            .at("create device", &shown)?;
            None
        }
        Kind::Fifo => {
            rustix::fs::mknodat(&dir, name, FileType::Fifo, mode, 0).at("create pipe", &shown)?;
            None
        }
        Kind::Whiteout => return Ok(()),
    };
    apply_metadata(&dir, name, fd, entry, &shown)?;
    set_time(root, &found.path, times)?;
    Ok(())
}

fn copy_file(dir: &OwnedFd, name: &OsStr, view: &View<'_>, found: &Found, shown: &Path) -> Result<OwnedFd, TreeError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut to = File::from(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600)).at("create", shown)?);
    io::copy(&mut view.open(found)?, &mut to).at("write", shown)?;
    Ok(to.into())
}

fn open_to_change(dir: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Owner, then mode (which a change of owner would clear of set-id bits), then attributes (which it would clear of
/// capabilities), then time.
fn apply_metadata(
    dir: &OwnedFd,
    name: &OsStr,
    fd: Option<OwnedFd>,
    entry: &Entry,
    shown: &Path,
) -> Result<(), IoError> {
    let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
    rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).at("set owner of", shown)?;
    if !matches!(entry.kind, Kind::Symlink(_)) {
        // Made just now in a directory that nobody else writes to: it is no link.
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .at("set permissions of", shown)?;
    }
    if let Some(fd) = fd {
        xattr::write(&fd, &entry.xattrs, shown)?;
    }
    Ok(())
}

/// Modification times as the layers have them: a tree has none.
struct Times {
    /// Top first.
    layers: Vec<Root>,
}

impl Times {
    fn of(store: &Store, base: &Rootfs) -> Result<Times, SnapshotError> {
        let open = |layer| Ok::<Root, SnapshotError>(Root::open(store.layer_fs(layer)?)?);
        Ok(Times { layers: base.layers.iter().rev().map(open).collect::<Result<_, _>>()? })
    }

    /// Seconds and nanoseconds of the topmost layer that has the path; of a tree's path there is one.
    fn get(&self, path: &[u8]) -> Result<(i64, u64), IoError> {
        for layer in &self.layers {
            if let Some(stat) = layer.lstat(path)? {
                return Ok(mtime(&stat));
            }
        }
        Ok((0, 0))
    }
}

fn mtime(stat: &Stat) -> (i64, u64) {
    (stat.st_mtime, stat.st_mtime_nsec)
}

fn timestamps((seconds, nanoseconds): (i64, u64)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    Timestamps { last_access: time, last_modification: time }
}

fn set_time(root: &Root, path: &[u8], times: &Times) -> Result<(), IoError> {
    let shown = root.show(path);
    let Some((dir, name)) = root.parent_of(path).at("open the directory of", &shown)? else { return Ok(()) };
    let times = timestamps(times.get(path)?);
    rustix::fs::utimensat(&dir, name, &times, AtFlags::SYMLINK_NOFOLLOW).at("set time of", &shown)
}

/// What the base was and how it was copied.
struct Base {
    entries: BTreeMap<Vec<u8>, Entry>,
    times: Times,
    copied: Copied,
}

/// The copy as it was when complete.
struct Copied {
    inodes: HashMap<Vec<u8>, u64>,
    complete: (i64, u64),
}

fn write_inodes(path: &Path, listing: &Listing) -> Result<(), IoError> {
    let mut text = Vec::new();
    for (path, stat) in listing {
        text.extend_from_slice(stat.st_ino.to_string().as_bytes());
        text.push(b'/');
        text.extend_from_slice(path);
        text.push(0);
    }
    fs::write_atomic(path, &text)
}

impl Copied {
    fn read(path: &Path) -> Result<Copied, IoError> {
        let text = fs::read(path)?;
        let lines = text.split(|b| *b == 0).filter_map(|line| {
            let slash = line.iter().position(|b| *b == b'/')?;
            let number = std::str::from_utf8(&line[..slash]).ok()?.parse().ok()?;
            Some((line[slash + 1..].to_vec(), number))
        });
        let stat = rustix::fs::stat(path).at("look at", path)?;
        Ok(Copied { inodes: lines.collect(), complete: (stat.st_ctime, stat.st_ctime_nsec) })
    }

    /// Whether nothing can have happened at `path`. Times have the grain of the kernel's tick, so one that equals the
    /// end of the copying may be after it.
    fn untouched(&self, path: &[u8], stat: &Stat) -> bool {
        self.inodes.get(path) == Some(&stat.st_ino) && (stat.st_ctime, stat.st_ctime_nsec) < self.complete
    }
}

/// Paths and what lstat(2) says of them.
type Listing = BTreeMap<Vec<u8>, Stat>;

/// Everything beneath the root, without the root itself.
fn list(root: &Root) -> Result<Listing, IoError> {
    let mut out = Listing::new();
    let mut pending = vec![Vec::new()];
    let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
    while let Some(dir) = pending.pop() {
        let shown = root.show(&dir);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd = root.open_with(&dir, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).at("open directory", &shown)?;
        let mut names = RawDir::new(&fd, &mut buffer);
        while let Some(entry) = names.next() {
            let entry = entry.at("read directory", &shown)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let path = if dir.is_empty() { name.to_vec() } else { [&dir, &b"/"[..], name].concat() };
            let stat = rustix::fs::statat(&fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                .at("look at", root.show(&path))?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                pending.push(path.clone());
            }
            out.insert(path, stat);
        }
    }
    Ok(out)
}

/// Everything in the base, without the root itself.
fn before(view: &View<'_>) -> Result<BTreeMap<Vec<u8>, Entry>, TreeError> {
    let mut out = BTreeMap::new();
    view.walk(&view.root()?, &mut |found| {
        out.insert(found.path.clone(), found.entry.entry.clone());
        Ok(true)
    })?;
    Ok(out)
}

fn inode(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Paths that are new or not what they were. A touched file is listed under all its names, as links are part of it.
fn touched(root: &Root, now: &Listing, base: &Base) -> Result<BTreeSet<Vec<u8>>, IoError> {
    let mut out = BTreeSet::new();
    let mut inodes = BTreeSet::new();
    for (path, stat) in now {
        let same = match base.entries.get(path) {
            None => false,
            Some(_) if base.copied.untouched(path, stat) => true,
            Some(entry) => mtime(stat) == base.times.get(path)? && same(root, path, stat, entry, base)?,
        };
        if !same {
            out.insert(path.clone());
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink > 1 {
                inodes.insert(inode(stat));
            }
        }
    }
    let linked = now.iter().filter(|(_, stat)| inodes.contains(&inode(stat)));
    out.extend(linked.map(|(path, _)| path.clone()));
    Ok(out)
}

/// Paths of the base that are gone, without those beneath another that is gone or is no directory any more.
fn removed<'t>(now: &Listing, then: &'t BTreeMap<Vec<u8>, Entry>) -> Vec<&'t [u8]> {
    then.keys()
        .filter(|path| !now.contains_key(*path))
        .filter(|path| match path.iter().rposition(|b| *b == b'/') {
            None => true,
            Some(slash) => {
                now.get(&path[..slash]).is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
            }
        })
        .map(Vec::as_slice)
        .collect()
}

/// Whether what stands at `path` is what the base has there, times aside.
fn same(root: &Root, path: &[u8], stat: &Stat, entry: &Entry, base: &Base) -> Result<bool, IoError> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    // The empty file that was put in a device's place, and no other.
    let stand_in =
        || kind == FileType::RegularFile && stat.st_size == 0 && base.copied.inodes.get(path) == Some(&stat.st_ino);
    let alike = match &entry.kind {
        Kind::File { size, .. } | Kind::HardLink { size, .. } => {
            kind == FileType::RegularFile && stat.st_size as u64 == *size
        }
        Kind::Dir { .. } => kind == FileType::Directory,
        Kind::Symlink(_) => kind == FileType::Symlink,
        Kind::Char { major, minor } => (kind == FileType::CharacterDevice && device == (*major, *minor)) || stand_in(),
        Kind::Block { major, minor } => (kind == FileType::BlockDevice && device == (*major, *minor)) || stand_in(),
        Kind::Fifo => kind == FileType::Fifo,
        Kind::Whiteout => false,
    };
    let link = kind == FileType::Symlink;
    if !alike || (stat.st_uid, stat.st_gid) != (entry.uid, entry.gid) {
        return Ok(false);
    }
    if !link && stat.st_mode & 0o7777 != entry.mode {
        return Ok(false);
    }
    let shown = root.show(path);
    let Some((dir, name)) = root.parent_of(path).at("open the directory of", &shown)? else { return Ok(true) };
    match &entry.kind {
        Kind::Symlink(target) => {
            let now = rustix::fs::readlinkat(&dir, name, Vec::new()).at("read symbolic link", &shown)?;
            Ok(now.as_bytes() == target.as_slice())
        }
        Kind::File { content, .. } | Kind::HardLink { content, .. } => {
            let file = File::from(open_to_change(&dir, name).at("open", &shown)?);
            if xattr::read(&file, &shown)?.0 != entry.xattrs {
                return Ok(false);
            }
            Ok(Hasher::read(file).at("read", &shown)?.0 == *content)
        }
        Kind::Dir { .. } => {
            let fd = open_to_change(&dir, name).at("open", &shown)?;
            Ok(xattr::read(&fd, &shown)?.0 == entry.xattrs)
        }
        _ => Ok(true),
    }
}

/// Moves what was touched into the change set. The copy is used up by it.
struct Writer<'a> {
    from: &'a Root,
    to: Root,
    now: &'a Listing,
    /// Directories that stand in the change set.
    parents: BTreeSet<Vec<u8>>,
}

impl Writer<'_> {
    fn emit(&mut self, path: &[u8]) -> Result<(), IoError> {
        self.make_parents(path)?;
        let Some(stat) = self.now.get(path) else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return self.make_directory(path);
        }
        let shown = self.from.show(path);
        let (from, to) = (self.from.parent_of(path), self.to.parent_of(path));
        if let (Some((from, name)), Some((to, _))) = (from.at("open", &shown)?, to.at("open", &shown)?) {
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                // Outside an overlay the step could make any file pass for a device.
                device::unmark(open_to_change(&from, name).at("open", &shown)?).at("take a mark off", &shown)?;
            }
            rustix::fs::renameat(&from, name, &to, name).at("move", &shown)?;
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), IoError> {
        self.make_parents(path)?;
        let shown = self.to.show(path);
        if let Some((to, name)) = self.to.parent_of(path).at("open", &shown)? {
            rustix::fs::mknodat(&to, name, FileType::CharacterDevice, Mode::empty(), 0)
                .at("create whiteout", &shown)?;
        }
        Ok(())
    }

    fn make_parents(&mut self, path: &[u8]) -> Result<(), IoError> {
        for (slash, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            self.make_directory(&path[..slash])?;
        }
        Ok(())
    }

    fn make_directory(&mut self, path: &[u8]) -> Result<(), IoError> {
        if !self.parents.insert(path.to_vec()) {
            return Ok(());
        }
        let shown = self.to.show(path);
        if let Some((to, name)) = self.to.parent_of(path).at("open", &shown)? {
            rustix::fs::mkdirat(&to, name, Mode::from_raw_mode(0o700)).at("create directory", &shown)?;
        }
        Ok(())
    }

    /// Gives the directories their metadata, when nothing is made in them any more.
    fn finish(self) -> Result<(), IoError> {
        for path in self.parents.iter().rev() {
            let shown = self.to.show(path);
            let open = |root: &Root| {
                root.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty(), ResolveFlags::NO_SYMLINKS)
            };
            let (from, to) = (open(self.from).at("open", &shown)?, open(&self.to).at("open", &shown)?);
            if let Some(stat) = self.now.get(path) {
                copy_metadata(&from, stat, &to, &shown)?;
            }
        }
        Ok(())
    }
}

/// Owner, mode, attributes and times of one directory for another. Marks of overlays are left behind: this directory
/// was never in one, so they are a step's forgery.
fn copy_metadata(from: impl AsFd, stat: &Stat, to: impl AsFd, shown: &Path) -> Result<(), IoError> {
    let to = to.as_fd();
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
        .at("set owner of", shown)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777)).at("set permissions of", shown)?;
    for (name, value) in xattr::read(&from, shown)?.0 {
        let name = xattr::stored_name(&name);
        rustix::fs::fsetxattr(to, OsStr::from_bytes(&name), &value, XattrFlags::empty())
            .at("set an extended attribute of", shown)?;
    }
    rustix::fs::futimens(to, &timestamps(mtime(stat))).at("set time of", shown)
}

#[cfg(test)]
mod tests;
