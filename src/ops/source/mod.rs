//! Where COPY and bind mounts take files from: a build context, or another step's root filesystem. One way to look into
//! both, so that the rules above need not know which it is.

mod local;
mod path;

pub use local::{mtime, names, stamp};
pub use path::{below, components, file_name, join, parent, path_order};

use super::context::LocalContext;
use super::{Cx, OpError};
use crate::base::Digest;
use crate::base::fs::Context as _;
use crate::graph::{CopySource, StepId};
use crate::layer::Kind;
use crate::store::statcache::StatKey;
use crate::tree::view::Found;
use crate::tree::{Rootfs, TreeError, View};
use local::{children_in_context, find_in_context};
use rayon::prelude::*;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

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
    /// A socket: a layer can't hold one, and as with docker a copy is an empty file.
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
            CopySource::Step { step, .. } | CopySource::Remote { step, .. } => {
                Ok(Some(Source::Step(View::new(cx.trees, rootfs(*step)))))
            }
            CopySource::Context { context, .. } => match context.and_then(|id| cx.contexts.get(id)) {
                Some(context) => Ok(Some(Source::Context(context))),
                None => Err(OpError::input("context-missing", "this build has no build context to copy from")),
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
