//! What differs between two trees.

use super::view::join;
use super::{Node, NodeEntry, Rootfs, TreeError, Trees};
use crate::base::Digest;
use std::cmp::Ordering;
use std::sync::Arc;

/// One difference.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "differences are few and go by quickly; a box would only be in the way")]
pub enum Change {
    /// Only in the second.
    Added(Vec<u8>, NodeEntry),
    /// Only in the first.
    Removed(Vec<u8>, NodeEntry),
    /// In both, and not the same: another kind, content or metadata. A directory whose contents alone differ is not.
    Modified(Vec<u8>, NodeEntry, NodeEntry),
}

impl Change {
    /// The path it is about, relative to the root.
    pub fn path(&self) -> &[u8] {
        match self {
            Change::Added(path, _) | Change::Removed(path, _) | Change::Modified(path, ..) => path,
        }
    }
}

/// All differences in path order; equal subtrees are not entered. What lies in an added or removed directory is
/// listed, too. The root directory's own metadata are compared under the empty path.
pub fn diff(trees: &Trees<'_>, a: &Rootfs, b: &Rootfs) -> Result<Vec<Change>, TreeError> {
    let mut changes = Vec::new();
    if a.tree == b.tree {
        return Ok(changes);
    }
    let (left, right) = (trees.root(&a.tree)?, trees.root(&b.tree)?);
    if left.root != right.root {
        let entry = |node: &Node, rootfs: &Rootfs| NodeEntry {
            entry: node.root.as_deref().cloned().unwrap_or_else(super::node::default_root),
            child: Some(rootfs.tree),
            place: None,
        };
        changes.push(Change::Modified(Vec::new(), entry(&left, a), entry(&right, b)));
    }
    // Pairs of directories still to be compared; an empty node stands for one that is not there.
    let mut pending = vec![(Vec::new(), left, right)];
    while let Some((path, left, right)) = pending.pop() {
        compare(trees, &path, &left, &right, &mut changes, &mut pending)?;
    }
    changes.sort_by(|a, b| a.path().cmp(b.path()));
    Ok(changes)
}

/// One difference, found without looking at more than the path to it: the first in the order in which directories list
/// their names. `None`: the trees are equal.
pub fn first(trees: &Trees<'_>, a: &Digest, b: &Digest) -> Result<Option<Change>, TreeError> {
    let (mut left, mut right) = (trees.root(a)?, trees.root(b)?);
    let mut path = Vec::new();
    loop {
        let (mut changes, mut pending) = (Vec::new(), Vec::new());
        compare(trees, &path, &left, &right, &mut changes, &mut pending)?;
        let change = changes.into_iter().min_by(|a, b| a.path().cmp(b.path()));
        // What was added or removed whole is itself the difference, and not what is in it.
        let deeper = pending.into_iter().min_by(|a, b| a.0.cmp(&b.0));
        match (change, deeper) {
            (Some(change), Some((dir, ..))) if change.path() <= dir.as_slice() => return Ok(Some(change)),
            (change, None) => return Ok(change),
            (_, Some((dir, a, b))) => (path, left, right) = (dir, a, b),
        }
    }
}

type Pair = (Vec<u8>, Arc<Node>, Arc<Node>);

fn compare(
    trees: &Trees<'_>,
    dir: &[u8],
    left: &Node,
    right: &Node,
    changes: &mut Vec<Change>,
    pending: &mut Vec<Pair>,
) -> Result<(), TreeError> {
    let (mut lefts, mut rights) = (left.entries.iter().peekable(), right.entries.iter().peekable());
    loop {
        let order = match (lefts.peek(), rights.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.entry.path.cmp(&b.entry.path),
        };
        let old = if order == Ordering::Greater { None } else { lefts.next() };
        let new = if order == Ordering::Less { None } else { rights.next() };
        if old == new {
            continue;
        }
        let Some(entry) = old.or(new) else { return Ok(()) };
        let path = join(dir, &entry.entry.path);
        let node = |entry: Option<&NodeEntry>| entry.map_or_else(|| Ok(Arc::default()), |entry| trees.child(entry));
        if old.and_then(|e| e.child) != new.and_then(|e| e.child) {
            pending.push((path.clone(), node(old)?, node(new)?));
        }
        match (old, new) {
            (Some(old), None) => changes.push(Change::Removed(path, old.clone())),
            (None, Some(new)) => changes.push(Change::Added(path, new.clone())),
            (Some(old), Some(new)) if old.entry != new.entry => {
                changes.push(Change::Modified(path, old.clone(), new.clone()));
            }
            _ => {}
        }
    }
}
