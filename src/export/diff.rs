//! What differs between the root filesystems of two images.

use super::ExportError;
use super::images::{self, Image};
use crate::layer::Kind;
use crate::tree::diff::{Change, diff as tree_diff};
use crate::tree::{NodeEntry, Trees};

/// How a path differs, by the letter that `docker diff` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `A`: only in the second image.
    Added,
    /// `C`: in both, and not the same.
    Changed,
    /// `D`: only in the first.
    Deleted,
}

impl Mark {
    /// Its letter.
    pub fn letter(self) -> char {
        match self {
            Mark::Added => 'A',
            Mark::Changed => 'C',
            Mark::Deleted => 'D',
        }
    }
}

/// One differing path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// How.
    pub mark: Mark,
    /// Absolute, raw bytes.
    pub path: Vec<u8>,
    /// File sizes in bytes in the first and the second image, where it is a regular file there.
    pub sizes: (Option<u64>, Option<u64>),
    /// For a changed path: which of type, content, mode, owner, xattrs, target differ.
    pub what: Vec<&'static str>,
}

/// Lists what differs from `a` to `b`, in path order. Times are no difference: they are no part of a tree.
///
/// # Errors
/// A layer of an image is not stored, or a tree cannot be read.
pub fn diff(trees: &Trees<'_>, a: &Image, b: &Image) -> Result<Vec<Difference>, ExportError> {
    let (a, b) = (images::rootfs(trees, &a.config)?, images::rootfs(trees, &b.config)?);
    let changes = tree_diff(trees, &a, &b)?;
    Ok(changes.into_iter().map(difference).collect())
}

fn difference(change: Change) -> Difference {
    let absolute = |path: Vec<u8>| [b"/", path.as_slice()].concat();
    match change {
        Change::Added(path, entry) => {
            Difference { mark: Mark::Added, path: absolute(path), sizes: (None, size(&entry)), what: Vec::new() }
        }
        Change::Removed(path, entry) => {
            Difference { mark: Mark::Deleted, path: absolute(path), sizes: (size(&entry), None), what: Vec::new() }
        }
        Change::Modified(path, old, new) => Difference {
            mark: Mark::Changed,
            path: absolute(path),
            sizes: (size(&old), size(&new)),
            what: what(&old, &new),
        },
    }
}

fn size(entry: &NodeEntry) -> Option<u64> {
    match entry.entry.kind {
        Kind::File { size, .. } | Kind::HardLink { size, .. } => Some(size),
        _ => None,
    }
}

fn what(old: &NodeEntry, new: &NodeEntry) -> Vec<&'static str> {
    let (old, new) = (&old.entry, &new.entry);
    let same_kind = old.kind == new.kind;
    let kind = match (&old.kind, &new.kind) {
        _ if same_kind => None,
        (
            Kind::File { content: a, .. } | Kind::HardLink { content: a, .. },
            Kind::File { content: b, .. } | Kind::HardLink { content: b, .. },
        ) => Some(if a == b { "links" } else { "content" }),
        (Kind::Symlink(_), Kind::Symlink(_)) => Some("target"),
        _ => Some("type"),
    };
    let fields = [
        ("mode", old.mode != new.mode),
        ("owner", (old.uid, old.gid) != (new.uid, new.gid)),
        ("xattrs", old.xattrs != new.xattrs),
    ];
    kind.into_iter().chain(fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name)).collect()
}
