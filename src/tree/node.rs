//! Directory nodes, their bytes and their digests.

use crate::base::{Digest, Hasher};
use crate::layer::Damaged;
use crate::layer::codec::{Decoder, put_entry};
use crate::layer::{Entry, Kind};

/// First field of every node's digest; a change of meaning changes it.
const VERSION: &[u8] = b"rbuild.tree.1";

/// A pack as others refer to it. The id tells apart packs of one tree that came about by different layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PackRef {
    pub tree: Digest,
    pub id: Digest,
}

/// Where a node is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub pack: PackRef,
    /// Among the pack's nodes.
    pub offset: u64,
}

/// A directory: its entries sorted by name bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Sorted by name, each name once.
    pub entries: Vec<NodeEntry>,
    /// Metadata of the root directory where they are not 0755 0:0; `None` in every other node, whose metadata stand
    /// in its parent.
    pub root: Option<Box<Entry>>,
}

/// A name in a directory. `entry.path` is the bare name here; `Kind::Whiteout` and `opaque` never occur.
#[derive(Clone, Debug)]
pub struct NodeEntry {
    /// Metadata and kind. mtime is 0: it is no part of a tree.
    pub entry: Entry,
    /// For a directory: digest of its own node.
    pub child: Option<Digest>,
    /// Where the child's node is stored. No part of what the entry is.
    pub(super) place: Option<Place>,
}

impl PartialEq for NodeEntry {
    fn eq(&self, other: &NodeEntry) -> bool {
        self.child == other.child && self.entry == other.entry
    }
}

impl Eq for NodeEntry {}

impl Node {
    /// The entry under a bare name.
    pub fn get(&self, name: &[u8]) -> Option<&NodeEntry> {
        let found = self.entries.binary_search_by(|e| e.entry.path.as_slice().cmp(name)).ok()?;
        Some(&self.entries[found])
    }

    /// Its bytes on disk, which are also what its digest is made of.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.entries.len() * 128);
        match &self.root {
            None => out.push(0),
            Some(root) => {
                out.push(1);
                put_entry(&mut out, b"", root);
            }
        }
        out.extend_from_slice(&(self.entries.len() as u64).to_le_bytes());
        for entry in &self.entries {
            put_entry(&mut out, &entry.entry.path, &entry.entry);
            match &entry.child {
                None => out.push(0),
                Some(child) => {
                    out.push(1);
                    out.extend_from_slice(child.as_bytes());
                }
            }
        }
        out
    }

    /// Reads its bytes. Where the children are stored is not among them.
    pub(super) fn decode(bytes: &[u8]) -> Result<Node, Damaged> {
        let mut decoder = Decoder::new(bytes);
        let root = match decoder.u8()? {
            0 => None,
            _ => Some(Box::new(decoder.entry()?)),
        };
        let count = decoder.u64()?;
        let mut entries = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(bytes.len() / 22));
        for _ in 0..count {
            let entry = decoder.entry()?;
            let child = match decoder.u8()? {
                0 => None,
                _ => Some(decoder.digest()?),
            };
            entries.push(NodeEntry { entry, child, place: None });
        }
        if !decoder.is_empty() {
            return Err(Damaged("something follows a node's last entry"));
        }
        Ok(Node { entries, root })
    }

    /// Its digest, from its bytes.
    pub(super) fn digest_of(encoded: &[u8]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.field(VERSION).field(encoded);
        hasher.finish()
    }
}

/// The root directory's metadata where no layer says otherwise.
pub(super) fn default_root() -> Entry {
    directory(Vec::new())
}

/// A directory 0755 0:0.
pub(super) fn directory(path: Vec<u8>) -> Entry {
    Entry { path, kind: Kind::Dir { opaque: false }, mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Vec::new() }
}
