//! Groups of hard links: which names of a tree are one file. A tree says it in a normal form, whichever layers it came
//! about by: the first name in path order is the file, the others name it. So when a layer takes the first name away, the
//! next one takes its place.

use crate::layer::Damaged;
use crate::layer::codec::{Decoder, put_bytes};
use crate::layer::{Entry, Index, Kind};
use std::collections::BTreeMap;

/// First name of each group → the others, sorted. Full paths.
pub(super) type Groups = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// What a layer makes of the groups of the tree below it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct After {
    /// The groups of the resulting tree; `None`: those of the tree below.
    pub groups: Option<Groups>,
    /// Names that need another form in the resulting tree: itself a file, or a link to another first name.
    pub restated: Vec<Restated>,
}

/// A surviving name of a group that lost its first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Restated {
    /// The name.
    pub path: Vec<u8>,
    /// The new first name; `None`: this one.
    pub first: Option<Vec<u8>>,
}

impl Restated {
    /// The entry for this name, from that of the tree below.
    pub fn entry(self, below: &Entry) -> Entry {
        let kind = match (&below.kind, self.first) {
            (Kind::HardLink { size, content, .. }, None) => Kind::File { size: *size, content: *content },
            (Kind::HardLink { size, content, .. }, Some(first)) => {
                Kind::HardLink { first, size: *size, content: *content }
            }
            (other, _) => other.clone(),
        };
        Entry { path: self.path, kind, xattrs: below.xattrs.clone(), ..*below }
    }
}

/// Applies a layer to the groups of the tree below it.
pub(super) fn after(below: &Groups, index: &Index) -> After {
    let own: Vec<(&Vec<u8>, &Vec<u8>)> = index
        .entries
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::HardLink { first, .. } => Some((first, &entry.path)),
            _ => None,
        })
        .collect();
    let mut groups = Groups::new();
    let mut restated = Vec::new();
    let mut changed = !own.is_empty();
    for (first, others) in below {
        let mut left: Vec<&Vec<u8>> = std::iter::once(first).chain(others).filter(|p| survives(index, p)).collect();
        changed |= left.len() <= others.len();
        if left.is_empty() {
            continue;
        }
        let now = left.remove(0);
        if now != first {
            restated.push(Restated { path: now.clone(), first: None });
            restated.extend(left.iter().map(|path| Restated { path: path.to_vec(), first: Some(now.clone()) }));
        }
        if !left.is_empty() {
            groups.insert(now.clone(), left.into_iter().cloned().collect());
        }
    }
    for (first, path) in own {
        groups.entry(first.clone()).or_default().push(path.clone());
    }
    After { groups: changed.then_some(groups), restated }
}

/// Whether a layer leaves what stands at `path`, which is no directory.
fn survives(index: &Index, path: &[u8]) -> bool {
    let inside = [path, b"/"].concat();
    let next = index.entries.partition_point(|entry| entry.path < inside);
    let holds_something = index.entries.get(next).is_some_and(|entry| entry.path.starts_with(&inside));
    let parents = std::iter::once(0).chain(path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at));
    !holds_something
        && index.get(path).is_none()
        && parents
            .filter_map(|end| index.get(&path[..end]))
            .all(|parent| matches!(parent.kind, Kind::Dir { opaque: false }))
}

/// The bytes of groups in a pack.
pub(super) fn encode(groups: &Groups) -> Vec<u8> {
    let mut out = Vec::new();
    for (first, others) in groups {
        put_bytes(&mut out, first);
        out.extend_from_slice(&(others.len() as u32).to_le_bytes());
        others.iter().for_each(|path| put_bytes(&mut out, path));
    }
    out
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(bytes: &[u8]) -> Result<Groups, Damaged> {
    let mut decoder = Decoder::new(bytes);
    let mut groups = Groups::new();
    while !decoder.is_empty() {
        let first = decoder.bytes()?.to_vec();
        let count = decoder.u32()?;
        let mut others = Vec::new();
        for _ in 0..count {
            others.push(decoder.bytes()?.to_vec());
        }
        groups.insert(first, others);
    }
    Ok(groups)
}
