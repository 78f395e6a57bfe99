//! The key of a COPY: what it selects and where that goes, in parts that `why` can tell apart.

use super::Looks;
use super::dest::Dest;
use super::libs::Extra;
use super::pick::{Pick, Picked};
use crate::base::{Digest, Hasher};
use crate::graph::{CopyOp, CopySource};
use crate::ops::OpError;
use crate::ops::key::Preimage;
use crate::ops::mkdir::{describe_dir, quote};
use crate::ops::source::{Item, Source, What, join, parent};
use std::collections::{BTreeMap, HashMap, HashSet};

/// How many files have a part of their own; with more, files share one by directory.
pub(super) const PARTS: usize = 512;

/// The deepest directories that get a part of their own when files share them.
const DEPTH: usize = 8;

/// The preimage of a planned COPY.
pub(super) fn preimage(
    op: &CopyOp,
    sources: &[Option<Source<'_>>],
    picks: &[Pick],
    dest: &Dest,
    extras: &[Extra],
    looks: &Looks,
) -> Result<Preimage, OpError> {
    let mut key = Preimage::new("copy");
    let slash = if dest.is_dir { "/" } else { "" };
    key.part("destination", format!("/{}{slash}", quote(&dest.path)));
    if op.link {
        key.part("--link", "true");
    }
    if let Some((uid, gid)) = looks.owner {
        key.part("--chown", format!("{uid}:{gid}"));
    }
    if let Some(chmod) = &op.chmod {
        key.part("--chmod", chmod.as_str());
    }
    for dir in &dest.parents {
        key.part(format!("parent /{}", quote(&dir.path)), describe_dir(dir));
    }
    if let Some(node) = dest.node.filter(|_| picks.iter().any(|p| matches!(p.what, Picked::Archive(_)))) {
        // Which of its directories an archive meets is known only once it is unpacked.
        key.part("below the destination", node.to_string());
    }
    let entries = entries(op, sources, picks)?;
    match depth_of(&entries) {
        None => entries.iter().for_each(|e| {
            key.part(quote(&e.path), e.describe());
        }),
        Some(depth) => grouped(&entries, depth).into_iter().for_each(|(dir, digest)| {
            key.part(format!("{}/", quote(&dir)), digest.to_string());
        }),
    }
    for extra in extras {
        key.part(format!("library /{}", quote(&extra.target)), extra.describe());
    }
    Ok(key)
}

/// One line of a key.
struct Entry<'p> {
    /// Path in its source.
    path: Vec<u8>,
    value: Value<'p>,
}

enum Value<'p> {
    /// Something below a picked directory.
    Item(&'p Item, Option<&'p [u8]>),
    /// Anything else, described already.
    Text(String),
}

impl Entry<'_> {
    fn describe(&self) -> String {
        match &self.value {
            Value::Item(item, first) => describe(item, *first),
            Value::Text(text) => text.clone(),
        }
    }
}

fn entries<'p>(op: &CopyOp, sources: &[Option<Source<'_>>], picks: &'p [Pick]) -> Result<Vec<Entry<'p>>, OpError> {
    let mut all = Vec::new();
    for pick in picks {
        let mut firsts: HashMap<&[u8], &'p [u8]> = HashMap::new();
        let to = format!(" -> /{}", quote(&pick.target));
        for (path, dir) in pick.kept.iter().flat_map(|k| &k.above) {
            all.push(Entry { path: path.clone(), value: Value::Text(describe(dir, None) + " above") });
        }
        let mut first_of = |item: &'p Item| {
            let group = item.group.as_deref()?;
            let first = *firsts.entry(group).or_insert(&item.path);
            (first != item.path).then_some(first)
        };
        let text = match &pick.what {
            Picked::Inline => inline(&op.sources[pick.source]),
            Picked::One(item) => describe(item, first_of(item)),
            Picked::Archive(item) => format!("unpack {}", content(item)),
            // Of the directory itself only its place counts, unless --parents brings it along.
            Picked::Tree { dir, .. } if Dest::takes_likeness(pick) => describe(dir, None),
            Picked::Tree { .. } => "dir".to_owned(),
        };
        all.push(Entry { path: pick.named.clone(), value: Value::Text(text + &to) });
        match (&pick.what, &sources[pick.source]) {
            (Picked::Tree { below: Some(below), .. }, _) => {
                all.extend(below.iter().map(|i| Entry { path: i.path.clone(), value: Value::Item(i, first_of(i)) }));
            }
            (Picked::Tree { dir, below: None }, Some(source)) => all.extend(by_node(source, dir)?),
            _ => {}
        }
    }
    Ok(all)
}

/// A step's directory by the digests of the tree.
fn by_node<'p>(source: &Source<'_>, dir: &Item) -> Result<Vec<Entry<'p>>, OpError> {
    let children = source.children(dir)?;
    if children.len() > PARTS {
        let node = dir.node().map(|d| d.to_string()).unwrap_or_default();
        return Ok(vec![Entry { path: join(&dir.path, b"*"), value: Value::Text(format!("tree {node}")) }]);
    }
    let text = |item: &Item| match item.node() {
        Some(node) => format!("{} tree {node}", describe(item, None)),
        None => describe(item, item.group.as_deref()),
    };
    Ok(children.iter().map(|i| Entry { path: i.path.clone(), value: Value::Text(text(i)) }).collect())
}

fn inline(source: &CopySource) -> String {
    match source {
        CopySource::Inline { data, .. } => format!("inline {}", Digest::of(data.as_bytes())),
        _ => String::new(),
    }
}

fn content(item: &Item) -> String {
    match &item.what {
        What::File { content: Some(digest), .. } => digest.to_string(),
        _ => String::new(),
    }
}

/// Everything of an item that a layer's content digest holds, in one line.
fn describe(item: &Item, first: Option<&[u8]>) -> String {
    let looks = format!("{:04o} {}:{}", item.mode, item.uid, item.gid);
    let mut text = match &item.what {
        What::File { .. } => format!("file {looks} {}", content(item)),
        What::Dir => format!("dir {looks}"),
        What::Symlink(target) => format!("symlink {}:{} {}", item.uid, item.gid, quote(target)),
        What::Char(major, minor) => format!("char {looks} {major}:{minor}"),
        What::Block(major, minor) => format!("block {looks} {major}:{minor}"),
        What::Fifo => format!("fifo {looks}"),
        // As it is written.
        What::Socket => format!("file {looks} {}", Digest::of(b"")),
    };
    for (key, value) in &item.xattrs {
        text.push_str(&format!(" {}={}", quote(key), Digest::of(value)));
    }
    if let Some(first) = first {
        text.push_str(&format!(" = {}", quote(first)));
    }
    text
}

/// How deep the directories are that share a part: the deepest level with few enough of them. `None`: every entry has
/// its own.
fn depth_of(entries: &[Entry<'_>]) -> Option<usize> {
    if entries.len() <= PARTS {
        return None;
    }
    let few = |depth: &usize| {
        let mut dirs: HashSet<&[u8]> = HashSet::new();
        entries.iter().all(|e| {
            dirs.insert(cut(parent(&e.path), *depth));
            dirs.len() <= PARTS
        })
    };
    Some((1..=DEPTH).rev().find(few).unwrap_or(0))
}

/// The first `depth` components.
fn cut(path: &[u8], depth: usize) -> &[u8] {
    if depth == 0 {
        return b"";
    }
    match path.iter().enumerate().filter(|(_, b)| **b == b'/').nth(depth - 1) {
        Some((end, _)) => &path[..end],
        None => path,
    }
}

/// A digest for each directory of that depth, over its entries in order.
fn grouped(entries: &[Entry<'_>], depth: usize) -> BTreeMap<Vec<u8>, Digest> {
    let mut groups: BTreeMap<Vec<u8>, Hasher> = BTreeMap::new();
    for entry in entries {
        let hasher = groups.entry(cut(parent(&entry.path), depth).to_vec()).or_default();
        hasher.field(&entry.path).field(entry.describe().as_bytes());
    }
    groups.into_iter().map(|(dir, hasher)| (dir, hasher.finish())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: String) -> Entry<'static> {
        Entry { path: path.into_bytes(), value: Value::Text("x".into()) }
    }

    #[test]
    fn many_files_share_parts_by_directory() {
        let few: Vec<Entry<'_>> = (0..PARTS).map(|i| entry(format!("f{i}"))).collect();
        assert_eq!(depth_of(&few), None);
        let flat: Vec<Entry<'_>> = (0..=PARTS).map(|i| entry(format!("d/f{i}"))).collect();
        assert_eq!(depth_of(&flat), Some(DEPTH), "they are all in one directory anyway");
        assert_eq!(grouped(&flat, DEPTH).len(), 1);
        let wide: Vec<Entry<'_>> = (0..4000).map(|i| entry(format!("top{}/mid{}/f", i / 100, i))).collect();
        assert_eq!(depth_of(&wide), Some(1));
        assert_eq!(grouped(&wide, 1).len(), 40);
        let hopeless: Vec<Entry<'_>> = (0..4000).map(|i| entry(format!("top{i}/f"))).collect();
        assert_eq!(depth_of(&hopeless), Some(0));
    }
}
