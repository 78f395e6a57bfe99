//! Applying a layer to a tree: new nodes along the changed paths, references to all others.

use super::links;
use super::node::{Node, NodeEntry, directory};
use super::pack::{Links, NewPlace, Writer};
use super::{TreeError, Trees};
use crate::base::Digest;
use crate::layer::{Entry, Index, Kind};
use std::cmp::Ordering;
use std::sync::Arc;

/// Deepest directory that a tree may have; a limit on recursion.
const MAX_DEPTH: usize = 1000;

/// See [`Trees::apply`].
pub(super) fn apply(trees: &Trees<'_>, base: &Digest, index: &Index) -> Result<Digest, TreeError> {
    let (groups, listed) = trees.groups(base)?;
    let links = links::after(&groups, index);
    let mut restated = Vec::new();
    for name in links.restated {
        let below = exact(trees, base, &name.path)?.ok_or(TreeError::Missing(*base))?;
        restated.push(name.entry(&below.entry));
    }
    let mut entries: Vec<&Entry> = index.entries.iter().chain(&restated).collect();
    // Sorted by components, what lies in a directory follows it without a gap ('-' sorts before '/' in plain bytes).
    entries.sort_by(|a, b| by_components(&a.path, &b.path));
    let root = entries.first().copied().filter(|entry| entry.path.is_empty());
    if root.is_some() {
        entries.remove(0);
    }
    let below = match root.map(|entry| &entry.kind) {
        Some(Kind::Dir { opaque: true }) => Arc::new(Node { root: trees.root(base)?.root.clone(), ..Node::default() }),
        _ => trees.root(base)?,
    };
    let mut merge = Merge { trees, writer: Writer::default() };
    let (mut node, places) = merge.directory(&below, &entries, 0, 0)?;
    node.root = match root {
        Some(entry) => Some(Box::new(bare(entry, Vec::new()))),
        None => below.root.clone(),
    };
    let (tree, offset) = merge.writer.add(&node, &places);
    if trees.has(&tree) {
        return Ok(tree);
    }
    let mut writer = merge.writer;
    writer.links(match (links.groups, listed) {
        (None, Some(pack)) => Links::Of(pack),
        (groups, _) => Links::Own(groups.unwrap_or_default()),
    });
    for other in writer.others().to_vec() {
        for deeper in &trees.pack(other)?.others {
            writer.depend(*deeper);
        }
    }
    let pack = writer.publish(&trees.store().trees_dir(), tree, offset)?;
    trees.packs.put(pack.this, Arc::new(pack));
    Ok(tree)
}

/// What a tree has at exactly this path.
fn exact(trees: &Trees<'_>, tree: &Digest, path: &[u8]) -> Result<Option<NodeEntry>, TreeError> {
    let mut node = trees.root(tree)?;
    let mut found: Option<NodeEntry> = None;
    for name in path.split(|b| *b == b'/') {
        if let Some(dir) = &found {
            node = trees.child(dir)?;
        }
        found = node.get(name).cloned();
        if found.is_none() {
            break;
        }
    }
    Ok(found)
}

fn by_components(a: &[u8], b: &[u8]) -> Ordering {
    let order = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(order).cmp(b.iter().map(order))
}

struct Merge<'m, 's> {
    trees: &'m Trees<'s>,
    writer: Writer,
}

impl Merge<'_, '_> {
    /// Merges changes, all of them below a directory whose path takes `prefix` bytes (with its slash), into its node.
    fn directory(
        &mut self,
        base: &Node,
        mut changes: &[&Entry],
        prefix: usize,
        depth: usize,
    ) -> Result<(Node, Vec<NewPlace>), TreeError> {
        if depth > MAX_DEPTH
            && let Some(first) = changes.first()
        {
            let path = String::from_utf8_lossy(&first.path).into_owned();
            return Err(TreeError::Resolve { path, reason: format!("it lies more than {MAX_DEPTH} directories deep") });
        }
        let mut node = Node { entries: Vec::with_capacity(base.entries.len() + changes.len()), root: None };
        let mut places = Vec::new();
        let mut old = base.entries.iter().peekable();
        while let Some(first) = changes.first() {
            let rest = &first.path[prefix..];
            let length = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            let name = &rest[..length];
            let inside = |entry: &&Entry| {
                entry.path[prefix..].starts_with(name) && entry.path.get(prefix + length).is_none_or(|b| *b == b'/')
            };
            let (group, others) = changes.split_at(changes.partition_point(|entry| inside(entry)));
            changes = others;
            while let Some(entry) = old.next_if(|entry| entry.entry.path.as_slice() < name) {
                keep(entry, &mut node, &mut places)?;
            }
            let below = old.next_if(|entry| entry.entry.path == name);
            let (own, within) = match group.split_first() {
                Some((own, within)) if own.path.len() == prefix + length => (Some(*own), within),
                _ => (None, group),
            };
            let at = At { name, prefix: prefix + length + 1, depth };
            if let Some((entry, child)) = self.entry(&at, own, within, below)? {
                node.entries.push(entry);
                places.extend(child);
            }
        }
        for entry in old {
            keep(entry, &mut node, &mut places)?;
        }
        Ok((node, places))
    }

    /// One name: its own change (`None`: only what lies in it changes), the changes within, and what the base has there.
    /// Gives what stands there afterwards and, for a directory, where its node is.
    fn entry(
        &mut self,
        at: &At<'_>,
        own: Option<&Entry>,
        within: &[&Entry],
        below: Option<&NodeEntry>,
    ) -> Result<Option<(NodeEntry, Option<NewPlace>)>, TreeError> {
        let below = below.filter(|entry| entry.child.is_some());
        let name = at.name.to_vec();
        let (entry, base) = match own {
            None => (below.map_or_else(|| directory(name), |entry| entry.entry.clone()), below),
            Some(own) => match own.kind {
                Kind::Whiteout => return Ok(None),
                Kind::Dir { opaque } => (bare(own, name), below.filter(|_| !opaque)),
                _ => return Ok(Some((NodeEntry { entry: bare(own, name), child: None, place: None }, None))),
            },
        };
        if let Some(base) = base
            && within.is_empty()
        {
            return Ok(Some((NodeEntry { entry, ..base.clone() }, Some(place_of(base)?))));
        }
        let lower = base.map_or_else(|| Ok(Arc::default()), |base| self.trees.child(base))?;
        let (merged, places) = self.directory(&lower, within, at.prefix, at.depth + 1)?;
        if let Some(base) = base
            && merged == *lower
        {
            // Nothing changed in the end, as when a file is written anew with what it held.
            return Ok(Some((NodeEntry { entry, ..base.clone() }, Some(place_of(base)?))));
        }
        let (digest, offset) = self.writer.add(&merged, &places);
        Ok(Some((NodeEntry { entry, child: Some(digest), place: None }, Some(NewPlace::Here(offset)))))
    }
}

/// Where in the tree the merge is.
struct At<'n> {
    /// The name in its directory.
    name: &'n [u8],
    /// Bytes of the path of what lies in it that name it: its own path and a slash.
    prefix: usize,
    /// Directories above it.
    depth: usize,
}

/// An entry of the base that nothing changes.
fn keep(entry: &NodeEntry, node: &mut Node, places: &mut Vec<NewPlace>) -> Result<(), TreeError> {
    if entry.child.is_some() {
        places.push(place_of(entry)?);
    }
    node.entries.push(entry.clone());
    Ok(())
}

/// Where the node of a directory of the base is stored.
fn place_of(entry: &NodeEntry) -> Result<NewPlace, TreeError> {
    match entry.place {
        Some(place) => Ok(NewPlace::There(place)),
        None => Err(TreeError::Missing(entry.child.unwrap_or_else(Trees::empty))),
    }
}

/// An entry as a tree has it: under its bare name, without time and without the mark of an opaque directory.
fn bare(entry: &Entry, name: Vec<u8>) -> Entry {
    let kind = match &entry.kind {
        Kind::Dir { .. } => Kind::Dir { opaque: false },
        kind => kind.clone(),
    };
    Entry { path: name, kind, mtime: 0, xattrs: entry.xattrs.clone(), ..*entry }
}
