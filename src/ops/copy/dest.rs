//! Where a COPY writes: the destination resolved on the base's tree, and what may not be replaced there
//! (dockerfile.md C3-C11).

use super::pick::{Pick, Picked};
use super::{in_the_way, words};
use crate::base::Digest;
use crate::graph::CopyOp;
use crate::ops::mkdir::parents;
use crate::ops::source::{Item, Source, file_name, join, parent};
use crate::ops::{OpError, source};
use crate::tree::view::Found;
use crate::tree::{Node, TreeError, View};
use std::collections::HashMap;
use std::sync::Arc;

/// How many name collisions are told one by one.
const COLLISIONS_TOLD: usize = 5;

/// The destination.
#[derive(Debug)]
pub(super) struct Dest {
    /// Its real path: no links in it.
    pub path: Vec<u8>,
    /// Files go into it by their own names.
    pub is_dir: bool,
    /// Digest of what the base has in it: an archive is unpacked onto that.
    pub node: Option<Digest>,
    /// The directories of the base on the way to it, itself included, the root first.
    pub parents: Vec<Found>,
}

impl Dest {
    /// Whether the directory that `pick` names lends its mode and owner to the one that it is copied to. The
    /// destination itself has its own if the base has it, and is else made plainly (dockerfile.md C7, C8).
    pub fn takes_likeness(pick: &Pick) -> bool {
        pick.kept.as_ref().is_some_and(|kept| !kept.path.is_empty())
    }
}

/// Resolves the destination; symbolic links are followed inside the base (dockerfile.md C10). Without a base
/// (`--link`) nothing is there.
pub(super) fn resolve(base: Option<&View<'_>>, op: &CopyOp, picks: &[Pick]) -> Result<Dest, OpError> {
    let written = cleaned(&op.dest);
    let slash = op.dest.ends_with(['/']) || op.dest.ends_with("/.") || written.is_empty();
    let (path, existing, parents) = match base {
        Some(view) => {
            let (path, existing) = view.resolve_for_write(&written).map_err(|e| unresolved(e, op))?;
            let parents = parents(view, &path)?;
            (path, existing, parents)
        }
        None => (written, None, Vec::new()),
    };
    let exists = existing.as_ref().is_some_and(|f| f.is_dir()) || path.is_empty();
    let is_dir = slash || exists || op.parents;
    let into = is_dir || picks.iter().any(|p| !matches!(p.what, Picked::One(_) | Picked::Inline));
    if into && !exists && existing.is_some() {
        return Err(OpError::input(
            "copy-not-a-directory",
            format!("cannot copy to `{}`: it is no directory", op.dest),
        )
        .about(&op.dest));
    }
    let node = existing.and_then(|f| f.entry.child);
    Ok(Dest { path, is_dir, node, parents })
}

/// Gives every pick its target. A destination that is no directory becomes one by the first source that is one: files
/// before it want its very name, files after it go into it.
pub(super) fn place(dest: &Dest, picks: &mut [Pick]) {
    let mut is_dir = dest.is_dir;
    for pick in picks {
        let single = matches!(pick.what, Picked::One(_) | Picked::Inline);
        pick.target = match &pick.kept {
            Some(kept) => join(&dest.path, &kept.path),
            None if single && is_dir => join(&dest.path, file_name(&pick.named)),
            None => dest.path.clone(),
        };
        is_dir |= !single;
    }
}

/// Looks for what can't be done: a file over a directory of the base or of an earlier source, a directory over anything
/// else. Warns where a later source replaces a file of an earlier one: of two files for one name the later one stays.
pub(super) fn check(
    base: Option<&View<'_>>,
    dest: &Dest,
    sources: &[Option<Source<'_>>],
    picks: &[Pick],
    op: &CopyOp,
    warnings: &mut Vec<String>,
) -> Result<(), OpError> {
    let mut taken: HashMap<Vec<u8>, (bool, usize)> = HashMap::new();
    let mut collisions = 0usize;
    for (number, pick) in picks.iter().enumerate() {
        let about = |e: OpError| e.about(words(&op.sources[pick.source]));
        if let Some(view) = base {
            over_base(view, dest, &sources[pick.source], pick).map_err(about)?;
        }
        if picks.len() == 1 {
            continue;
        }
        for (target, is_dir) in targets(pick) {
            match taken.insert(target.clone(), (is_dir, number)) {
                Some((true, _)) if is_dir => {}
                Some((false, earlier)) if !is_dir => {
                    collisions += 1;
                    if collisions <= COLLISIONS_TOLD {
                        warnings.push(collision(&picks[earlier], pick));
                    }
                }
                Some((earlier_is_dir, _)) => return Err(about(in_the_way(&target, earlier_is_dir))),
                None => {}
            }
        }
    }
    if collisions > COLLISIONS_TOLD {
        warnings.push(format!("{} more files are replaced by files of later sources", collisions - COLLISIONS_TOLD));
    }
    Ok(())
}

/// What a pick writes, as far as it is known, and whether it is a directory.
fn targets(pick: &Pick) -> Vec<(Vec<u8>, bool)> {
    match &pick.what {
        Picked::One(_) | Picked::Inline => vec![(pick.target.clone(), false)],
        Picked::Archive(_) => vec![(pick.target.clone(), true)],
        Picked::Tree { dir, below } => {
            let items = below.iter().flatten().map(|item| (pick.target_of(dir, item), item.is_dir()));
            std::iter::once((pick.target.clone(), true)).chain(items).collect()
        }
    }
}

fn over_base(view: &View<'_>, dest: &Dest, source: &Option<Source<'_>>, pick: &Pick) -> Result<(), OpError> {
    let at = |path: &[u8]| -> Result<Option<Found>, OpError> { Ok(view.find(path, false)?) };
    for (path, _) in pick.kept.iter().flat_map(|k| &k.above) {
        let path = join(&dest.path, path);
        if at(&path)?.is_some_and(|f| !f.is_dir()) {
            return Err(in_the_way(&path, false));
        }
    }
    match (&pick.what, at(&pick.target)?) {
        (_, None) => Ok(()),
        (Picked::One(_) | Picked::Inline, Some(found)) if found.is_dir() => Err(in_the_way(&pick.target, true)),
        (Picked::One(_) | Picked::Inline, Some(_)) => Ok(()),
        (_, Some(found)) if !found.is_dir() && !pick.target.is_empty() => Err(in_the_way(&pick.target, false)),
        (Picked::Archive(_), _) => Ok(()),
        (Picked::Tree { dir, below: Some(below) }, Some(found)) => over_tree(view, pick, dir, below, &found),
        (Picked::Tree { dir, below: None }, Some(found)) => match source {
            Some(source) => over_node(view, source, dir, &found),
            None => Ok(()),
        },
    }
}

/// Compares the items that go below `found` with what is there.
fn over_tree(view: &View<'_>, pick: &Pick, dir: &Item, below: &[Item], found: &Found) -> Result<(), OpError> {
    let mut nodes: HashMap<Vec<u8>, Arc<Node>> = HashMap::from([(pick.target.clone(), view.node(found)?)]);
    for item in below {
        let target = pick.target_of(dir, item);
        let Some(node) = nodes.get(parent(&target)) else { continue };
        let Some(entry) = entry_of(node, file_name(&target)) else { continue };
        if item.is_dir() != entry.child.is_some() {
            return Err(in_the_way(&target, entry.child.is_some()));
        }
        if item.is_dir() {
            let child = Found { path: target.clone(), entry: entry.clone() };
            nodes.insert(target, view.node(&child)?);
        }
    }
    Ok(())
}

/// The same for a step's directory that is not walked yet: only what both sides have is looked at, and equal
/// directories are not entered.
fn over_node(view: &View<'_>, source: &Source<'_>, dir: &Item, found: &Found) -> Result<(), OpError> {
    let mut pending = vec![(dir.clone(), found.clone())];
    while let Some((dir, found)) = pending.pop() {
        let node = view.node(&found)?;
        for item in source.children(&dir)? {
            let Some(entry) = entry_of(&node, item.name()) else { continue };
            let path = join(&found.path, item.name());
            if item.is_dir() != entry.child.is_some() {
                return Err(in_the_way(&path, entry.child.is_some()));
            }
            if item.is_dir() && item.node() != entry.child {
                pending.push((item, Found { path, entry: entry.clone() }));
            }
        }
    }
    Ok(())
}

fn entry_of<'n>(node: &'n Node, name: &[u8]) -> Option<&'n crate::tree::NodeEntry> {
    let at = node.entries.binary_search_by(|e| e.entry.path.as_slice().cmp(name)).ok()?;
    node.entries.get(at)
}

/// A path without `.`, `..` and double slashes, by its text alone.
fn cleaned(text: &str) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in source::components(text.as_bytes()) {
        match part {
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

fn unresolved(error: TreeError, op: &CopyOp) -> OpError {
    match error {
        TreeError::Resolve { reason, .. } => {
            OpError::input("copy-dest-invalid", format!("cannot copy to `{}`: {reason}", op.dest)).about(&op.dest)
        }
        other => other.into(),
    }
}

fn collision(earlier: &Pick, later: &Pick) -> String {
    let name = |pick: &Pick| String::from_utf8_lossy(&pick.named).into_owned();
    let target = String::from_utf8_lossy(&later.target).into_owned();
    format!(
        "`{}` and `{}` have a file in common at or below `/{target}`: the later one stays",
        name(earlier),
        name(later)
    )
}

#[cfg(test)]
mod tests {
    use super::cleaned;

    #[test]
    fn a_destination_is_cleaned_by_its_text() {
        for (text, path) in [("/app/./x/", "app/x"), ("/a/../../b", "b"), ("/", ""), ("//x", "x")] {
            assert_eq!(cleaned(text), path.as_bytes(), "{text}");
        }
    }
}
