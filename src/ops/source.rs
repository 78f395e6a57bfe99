//! Where COPY and bind mounts take files from: a build context, or another step's root filesystem. One way to look into
//! both, so that the rules above need not know which it is.

use super::context::LocalContext;
use super::{Cx, OpError};
use crate::base::fs::Context as _;
use crate::base::{Digest, IoError};
use crate::graph::{CopySource, StepId};
use crate::layer::{Kind, xattr};
use crate::store::statcache::StatKey;
use crate::tree::view::Found;
use crate::tree::{Rootfs, TreeError, View};
use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// How many symbolic links a path may lead through, as in the kernel (path_resolution(7)).
const LINK_LIMIT: usize = 40;

/// The longest list or value of extended attributes that the kernel gives (xattr(7)), in bytes.
const XATTR_LIMIT: usize = 64 << 10;

/// Seconds and nanoseconds since the epoch.
pub type Time = (i64, u32);

/// Something in a source.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its real path (no symbolic links in its parents), relative to the source's root; the root is empty.
    pub path: Vec<u8>,
    /// What it is.
    pub what: What,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner; 0 in a context, whose owners mean nothing to an image.
    pub uid: u32,
    /// Group; 0 in a context.
    pub gid: u32,
    /// Extended attributes that belong to an image, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Modification time, where it is known without opening anything.
    pub mtime: Option<Time>,
    /// Items of one source that share this are names of one file.
    pub group: Option<Vec<u8>>,
    /// What tells whether a context's file is still the one that was looked at.
    pub stamp: Option<StatKey>,
    /// Where a step's tree has it.
    found: Option<Found>,
}

/// Kind of an [`Item`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// sha256 of the contents, once known.
        content: Option<Digest>,
    },
    /// A directory.
    Dir,
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A character device: major, minor.
    Char(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket: has no meaning in an image.
    Socket,
}

/// What a walk does with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Take it; look into it if it is a directory.
    Keep,
    /// Look into the directory, and take it only if something below it is taken.
    Look,
    /// Pass over it and all below it.
    Skip,
}

impl Item {
    /// Last component of its path.
    pub fn name(&self) -> &[u8] {
        file_name(&self.path)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.what == What::Dir
    }

    /// Digest of the node of a step's directory: its identity with all below it.
    pub fn node(&self) -> Option<Digest> {
        self.found.as_ref()?.entry.child
    }

    fn from_found(found: Found) -> Item {
        let entry = &found.entry.entry;
        let mut group = None;
        let what = match &entry.kind {
            Kind::File { size, content } => What::File { size: *size, content: Some(*content) },
            Kind::HardLink { first, size, content } => {
                group = Some(first.clone());
                What::File { size: *size, content: Some(*content) }
            }
            Kind::Dir { .. } => What::Dir,
            Kind::Symlink(target) => What::Symlink(target.clone()),
            Kind::Char { major, minor } => What::Char(*major, *minor),
            Kind::Block { major, minor } => What::Block(*major, *minor),
            Kind::Fifo | Kind::Whiteout => What::Fifo,
        };
        Item {
            path: found.path.clone(),
            what,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            xattrs: entry.xattrs.clone(),
            mtime: None,
            group,
            stamp: None,
            found: Some(found),
        }
    }
}

/// A place that files are taken from.
#[derive(Debug)]
pub enum Source<'a> {
    /// A build context.
    Context(&'a LocalContext),
    /// The root filesystem of another step.
    Step(View<'a>),
}

impl<'a> Source<'a> {
    /// The source that an instruction names, `None` for inline data.
    pub fn open(
        cx: &Cx<'a>,
        rootfs: &dyn Fn(StepId) -> &'a Rootfs,
        source: &CopySource,
    ) -> Result<Option<Source<'a>>, OpError> {
        match source {
            CopySource::Inline { .. } => Ok(None),
            CopySource::Step { step, .. } => Ok(Some(Source::Step(View::new(cx.trees, rootfs(*step))))),
            CopySource::Context { context, .. } => match cx.contexts.get(context.as_deref()) {
                Some(context) => Ok(Some(Source::Context(context))),
                None => Err(match context {
                    Some(name) => {
                        OpError::input("context-missing", format!("there is no build context named `{name}`"))
                            .with_help(format!("give one: --build-context {name}=DIR"))
                    }
                    None => OpError::input("context-missing", "this build has no build context to copy from"),
                }),
            },
        }
    }

    /// What it is called in messages.
    pub fn title(&self) -> String {
        match self {
            Source::Context(context) => context.title(),
            Source::Step(_) => "files that it copies from".to_owned(),
        }
    }

    /// The real thing at `path`: links in the parents are followed inside the source, the last component only if
    /// `follow`. `None` if nothing is there. Ignore rules are not asked.
    pub fn find(&self, path: &[u8], follow: bool) -> Result<Option<Item>, OpError> {
        match self {
            Source::Context(context) => find_in_context(context, path, follow),
            Source::Step(view) => Ok(view.find(path, follow)?.map(Item::from_found)),
        }
    }

    /// What a directory holds, sorted by name.
    pub fn children(&self, dir: &Item) -> Result<Vec<Item>, OpError> {
        match (self, &dir.found) {
            (Source::Context(context), _) => children_in_context(context, &dir.path),
            (Source::Step(view), Some(found)) => Ok(view
                .node(found)?
                .entries
                .iter()
                .map(|entry| {
                    let path = join(&dir.path, &entry.entry.path);
                    Item::from_found(Found { path, entry: entry.clone() })
                })
                .collect()),
            (Source::Step(_), None) => Ok(Vec::new()),
        }
    }

    /// Everything below `dir` that `judge` lets through, a directory before its contents, names in byte order.
    pub fn walk(&self, dir: &Item, judge: &(dyn Fn(&Item) -> Verdict + Sync)) -> Result<Vec<Item>, OpError> {
        let mut all: Vec<(Item, Verdict)> = Vec::new();
        let mut front = vec![dir.clone()];
        // Level by level: as parallel as the tree is wide, and no deeper a stack for a deeper tree.
        while !front.is_empty() {
            let levels: Vec<Vec<Item>> = front.par_iter().map(|d| self.children(d)).collect::<Result<_, _>>()?;
            front.clear();
            for item in levels.into_iter().flatten() {
                let verdict = judge(&item);
                if verdict == Verdict::Skip || (verdict == Verdict::Look && !item.is_dir()) {
                    continue;
                }
                if item.is_dir() {
                    front.push(item.clone());
                }
                all.push((item, verdict));
            }
        }
        all.par_sort_unstable_by(|(a, _), (b, _)| path_order(&a.path, &b.path));
        Ok(drop_empty(all))
    }

    /// Opens a regular file of this source; never follows a link.
    pub fn open_file(&self, file: &Item) -> Result<File, OpError> {
        match (self, &file.found) {
            (Source::Context(context), _) => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
                let root = context.root();
                let fd = root
                    .open_with(&file.path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
                    .at("open", root.show(&file.path))?;
                Ok(fd.into())
            }
            (Source::Step(view), Some(found)) => Ok(view.open(found)?),
            (Source::Step(_), None) => Err(TreeError::Resolve {
                path: String::from_utf8_lossy(&file.path).into_owned(),
                reason: "it is no file of the tree".into(),
            }
            .into()),
        }
    }

    /// When an item was modified.
    pub fn mtime(&self, item: &Item) -> Result<Time, OpError> {
        match (item.mtime, self, &item.found) {
            (Some(time), ..) => Ok(time),
            (None, Source::Step(view), Some(found)) => Ok(view.mtime(found)?),
            _ => Ok((0, 0)),
        }
    }

    /// Reads a regular file of at most `limit` bytes, links followed; `None` if there is none or it is larger.
    pub fn read(&self, path: &[u8], limit: u64) -> Result<Option<Vec<u8>>, OpError> {
        use std::io::Read;
        match self.find(path, true)? {
            Some(item) if matches!(item.what, What::File { size, .. } if size <= limit) => {
                let mut bytes = Vec::new();
                self.open_file(&item)?.take(limit).read_to_end(&mut bytes).at("read", self.show(path))?;
                Ok(Some(bytes))
            }
            _ => Ok(None),
        }
    }

    /// A path of it as a person would write it, for messages only.
    pub fn show(&self, path: &[u8]) -> PathBuf {
        match self {
            Source::Context(context) => context.root().show(path),
            Source::Step(_) => PathBuf::from("/").join(OsStr::from_bytes(path)),
        }
    }
}

/// Drops directories that were only looked into and hold nothing that was kept. `all` is in path order.
fn drop_empty(all: Vec<(Item, Verdict)>) -> Vec<Item> {
    let mut kept: Vec<Item> = Vec::with_capacity(all.len());
    for (item, verdict) in all.into_iter().rev() {
        let holds = kept.last().is_some_and(|next| below(&item.path, &next.path).is_some());
        if verdict == Verdict::Keep || holds {
            kept.push(item);
        }
    }
    kept.reverse();
    kept
}

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

fn find_in_context(context: &LocalContext, path: &[u8], follow: bool) -> Result<Option<Item>, OpError> {
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
            return Ok(Some(item_of(root.as_fd(), OsStr::new("."), Vec::new(), &stat).at("look at", root.path())?));
        }
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(e) => return Err(e).at("look at", root.show(path)),
    };
    item_at(dir.as_fd(), name, path.to_vec()).at("look at", root.show(path))
}

fn children_in_context(context: &LocalContext, path: &[u8]) -> Result<Vec<Item>, OpError> {
    let root = context.root();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let dir =
        root.open_with(path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).at("read directory", root.show(path))?;
    let mut items = Vec::new();
    for name in names(dir.as_fd()).at("read directory", root.show(path))? {
        let child = join(path, &name);
        let shown = || root.show(&join(path, &name));
        // Gone since the directory was read: as if it had never been there.
        items.extend(item_at(dir.as_fd(), OsStr::from_bytes(&name), child).at("look at", shown())?);
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

fn item_at(dir: BorrowedFd<'_>, name: &OsStr, path: Vec<u8>) -> rustix::io::Result<Option<Item>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => item_of(dir, name, path, &stat).map(Some),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e),
    }
}

fn item_of(dir: BorrowedFd<'_>, name: &OsStr, path: Vec<u8>, stat: &Stat) -> rustix::io::Result<Item> {
    let device = || (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => What::File { size: stat.st_size as u64, content: None },
        FileType::Directory => What::Dir,
        FileType::Symlink => What::Symlink(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes()),
        FileType::CharacterDevice => What::Char(device().0, device().1),
        FileType::BlockDevice => What::Block(device().0, device().1),
        FileType::Fifo => What::Fifo,
        _ => What::Socket,
    };
    let file = matches!(what, What::File { .. });
    let xattrs = if file || what == What::Dir { xattrs(dir, name)? } else { Vec::new() };
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
        stamp: file.then(|| stamp(stat)),
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

/// The parts of a path between slashes, without empty ones and `.`.
pub fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".")
}

/// `dir/name`, both relative; an empty `dir` is the root, an empty `name` the directory itself.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match (dir.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => dir.to_vec(),
        _ => [dir, b"/", name].concat(),
    }
}

/// The part of `path` below the directory `dir`, if it is below it; `dir` itself is not.
pub fn below<'p>(dir: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    if dir.is_empty() {
        return Some(path).filter(|p| !p.is_empty());
    }
    path.strip_prefix(dir)?.strip_prefix(b"/")
}

/// Everything before the last component; empty for a name in the root.
pub fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(b"", |i| &path[..i])
}

/// The last component.
pub fn file_name(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(path, |i| &path[i + 1..])
}

/// Component by component: a directory comes right before what it holds.
pub fn path_order(a: &[u8], b: &[u8]) -> Ordering {
    // No name holds a NUL, so a slash that sorts as one sorts before every other byte of a name.
    let key = |b: &u8| if *b == b'/' { 0 } else { *b };
    a.iter().map(key).cmp(b.iter().map(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_sorts_right_before_what_it_holds() {
        let mut paths = ["a-b", "a/x", "a", "a/x/y", "a/x.z", "b"].map(str::as_bytes);
        paths.sort_by(|a, b| path_order(a, b));
        assert_eq!(paths, ["a", "a/x", "a/x/y", "a/x.z", "a-b", "b"].map(str::as_bytes));
    }

    #[test]
    fn below_is_by_whole_components() {
        assert_eq!(below(b"a", b"a/b/c"), Some(&b"b/c"[..]));
        assert_eq!(below(b"a", b"ab"), None);
        assert_eq!(below(b"a", b"a"), None);
        assert_eq!(below(b"", b"a"), Some(&b"a"[..]));
        assert_eq!(below(b"", b""), None);
        assert_eq!((parent(b"a/b"), parent(b"a"), file_name(b"a/b")), (&b"a"[..], &b""[..], &b"b"[..]));
    }

    #[test]
    fn marks_of_overlay_and_labels_of_the_host_are_no_part_of_an_image() {
        let kept = ["user.note", "security.capability", "system.posix_acl_access"];
        let dropped = ["user.overlay.opaque", "trusted.overlay.opaque", "security.selinux", "security.ima", ""];
        assert!(kept.iter().all(|k| belongs_to_image(k.as_bytes())));
        assert!(!dropped.iter().any(|k| belongs_to_image(k.as_bytes())));
    }
}
