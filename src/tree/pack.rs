//! Nodes on disk: one file per tree, with the nodes that are new in it and where to find the others.
//!
//! `trees/HEX`, HEX being the digest of the tree (its root node): magic, the pack's id (sha256 of all that follows),
//! the offset of the root node, the packs it refers to (tree and id of each), the number of the pack that lists the
//! tree's hard links (0: this one, and then the list as a string), then the nodes. A node is its bytes
//! behind their length, then for each directory in it the number of a pack (0: this one) and an offset there. So every
//! node is one step away, however many layers made the tree. A node is believed only if its bytes have the digest
//! that named it; packs are derived data and are made again from layers when one is lost.

use super::links::{self, Groups};
use super::node::{Node, PackRef, Place};
use crate::base::fs::{Context, read_if_exists, remove_file, write_atomic};
use crate::base::{Digest, IoError};
use crate::layer::Damaged;
use crate::layer::codec::{Decoder, put_bytes};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// First bytes of a pack; the last one is the version.
const MAGIC: &[u8; 8] = b"rbtree\0\x02";
/// Magic and id.
const HEAD: usize = 8 + 32;

/// A pack in memory.
#[derive(Debug)]
pub(super) struct Pack {
    pub this: PackRef,
    /// Where its root node is.
    pub root: u64,
    /// Every pack from which a node of this tree comes, however deep.
    pub others: Vec<PackRef>,
    /// The pack that lists the hard links of this tree.
    links_in: PackRef,
    bytes: Vec<u8>,
    /// Where the list of hard links is, if it is here.
    links: Range<usize>,
    /// Where the nodes begin.
    nodes: usize,
}

/// Where the pack of a tree lies.
pub(super) fn path(trees: &Path, tree: &Digest) -> PathBuf {
    trees.join(tree.hex())
}

impl Pack {
    /// Reads a pack; `None` if there is none or its head makes no sense.
    pub fn load(trees: &Path, tree: &Digest) -> Result<Option<Pack>, IoError> {
        let Some(bytes) = read_if_exists(path(trees, tree))? else { return Ok(None) };
        Ok(Pack::parse(*tree, bytes).ok())
    }

    fn parse(tree: Digest, bytes: Vec<u8>) -> Result<Pack, Damaged> {
        let mut decoder = Decoder::new(&bytes);
        if decoder.take(MAGIC.len())? != MAGIC {
            return Err(Damaged("it is no pack of this version"));
        }
        let id = decoder.digest()?;
        let root = decoder.u64()?;
        let count = decoder.u32()?;
        let mut others = Vec::new();
        for _ in 0..count {
            others.push(PackRef { tree: decoder.digest()?, id: decoder.digest()? });
        }
        let this = PackRef { tree, id };
        let (mut links_in, mut length) = (this, 0);
        match decoder.u32()? {
            0 => length = decoder.bytes()?.len(),
            n => links_in = *others.get(n as usize - 1).ok_or(Damaged("its links are in a pack it does not name"))?,
        }
        let nodes = bytes.len() - decoder.remaining();
        Ok(Pack { this, root, others, links_in, links: nodes - length..nodes, bytes, nodes })
    }

    /// The pack that lies there for a tree, without reading more of it than its head.
    pub fn on_disk(trees: &Path, tree: &Digest) -> Option<PackRef> {
        let mut head = [0; HEAD];
        File::open(path(trees, tree)).ok()?.read_exact(&mut head).ok()?;
        let (magic, id) = head.split_first_chunk::<8>()?;
        if magic != MAGIC {
            return None;
        }
        Some(PackRef { tree: *tree, id: Digest::from_bytes(id.try_into().ok()?) })
    }

    /// The pack that lists the hard links of this tree: this one, or one that a tree with the same links had before.
    pub fn links_in(&self) -> PackRef {
        self.links_in
    }

    /// The hard links listed in this pack.
    pub fn links(&self) -> Result<Groups, Damaged> {
        links::decode(self.bytes.get(self.links.clone()).unwrap_or_default())
    }

    /// Whether its bytes are those that were written.
    pub fn is_intact(&self) -> bool {
        self.bytes.get(HEAD..).is_some_and(|rest| Digest::of(rest) == self.this.id)
    }

    /// The node at `offset`, which must have the digest `expected`.
    pub fn node(&self, offset: u64, expected: &Digest) -> Result<Node, Damaged> {
        let start = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(self.nodes..)?.get(offset..));
        let mut decoder = Decoder::new(start.ok_or(Damaged("a node lies beyond the pack's end"))?);
        let encoded = decoder.bytes()?;
        if Node::digest_of(encoded) != *expected {
            return Err(Damaged("a node does not have the digest it is known by"));
        }
        let mut node = Node::decode(encoded)?;
        for entry in node.entries.iter_mut().filter(|e| e.child.is_some()) {
            let pack = match decoder.u32()? {
                0 => self.this,
                n => *self.others.get(n as usize - 1).ok_or(Damaged("a node refers to a pack it does not name"))?,
            };
            entry.place = Some(Place { pack, offset: decoder.u64()? });
        }
        Ok(node)
    }
}

/// A pack being made.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// Nodes, as they will stand behind the head.
    nodes: Vec<u8>,
    known: HashMap<Digest, u64>,
    others: Vec<PackRef>,
    numbers: HashMap<PackRef, u32>,
    links: Links,
}

/// The hard links of a tree whose pack is being made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// To be listed here.
    Own(Groups),
    /// Those that another pack lists.
    Of(PackRef),
}

impl Default for Links {
    fn default() -> Links {
        Links::Own(Groups::new())
    }
}

/// Where a node is, while a pack is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum NewPlace {
    /// In it, at an offset among its nodes.
    Here(u64),
    /// In one that is there already.
    There(Place),
}

impl Writer {
    /// Adds a node whose directories' nodes lie at `places` (in entry order): children come before their parents.
    pub fn add(&mut self, node: &Node, places: &[NewPlace]) -> (Digest, u64) {
        let encoded = node.encode();
        let digest = Node::digest_of(&encoded);
        if let Some(offset) = self.known.get(&digest) {
            return (digest, *offset);
        }
        let offset = self.nodes.len() as u64;
        put_bytes(&mut self.nodes, &encoded);
        for place in places {
            let (number, offset) = match place {
                NewPlace::Here(offset) => (0, *offset),
                NewPlace::There(place) => (self.refer(place.pack), place.offset),
            };
            self.nodes.extend_from_slice(&number.to_le_bytes());
            self.nodes.extend_from_slice(&offset.to_le_bytes());
        }
        self.known.insert(digest, offset);
        (digest, offset)
    }

    /// The number under which this pack refers to another.
    fn refer(&mut self, pack: PackRef) -> u32 {
        *self.numbers.entry(pack).or_insert_with(|| {
            self.others.push(pack);
            self.others.len() as u32
        })
    }

    /// The packs it refers to so far.
    pub fn others(&self) -> &[PackRef] {
        &self.others
    }

    /// Names a pack that one of [`Writer::others`] refers to, so that one look at this pack's head tells all that must
    /// be there to read its tree.
    pub fn depend(&mut self, pack: PackRef) {
        self.refer(pack);
    }

    /// Says what the tree's hard links are.
    pub fn links(&mut self, links: Links) {
        if let Links::Of(pack) = links {
            self.refer(pack);
        }
        self.links = links;
    }

    /// Publishes the pack as that of `tree`, whose root node was added at `root`.
    pub fn publish(self, trees: &Path, tree: Digest, root: u64) -> Result<Pack, IoError> {
        let mut bytes = Vec::with_capacity(HEAD + 12 + self.others.len() * 64 + self.nodes.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[0; 32]);
        bytes.extend_from_slice(&root.to_le_bytes());
        bytes.extend_from_slice(&(self.others.len() as u32).to_le_bytes());
        for other in &self.others {
            bytes.extend_from_slice(other.tree.as_bytes());
            bytes.extend_from_slice(other.id.as_bytes());
        }
        match &self.links {
            Links::Own(groups) => {
                bytes.extend_from_slice(&0u32.to_le_bytes());
                put_bytes(&mut bytes, &links::encode(groups));
            }
            Links::Of(pack) => {
                let number = self.numbers.get(pack).copied().unwrap_or_default();
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&self.nodes);
        let id = Digest::of(&bytes[HEAD..]);
        bytes[MAGIC.len()..HEAD].copy_from_slice(id.as_bytes());
        let path = path(trees, &tree);
        write_atomic(&path, &bytes)?;
        Pack::parse(tree, bytes).map_err(|e| io::Error::other(e.to_string())).at("read back", path)
    }
}

/// What is wrong with a file of `trees/`, if anything. Chains, which are hints, are held against no more than their form.
pub fn check(trees: &Path, file: &Path) -> Result<Option<String>, IoError> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some(chain) = name.strip_prefix("chain-") {
        let text = read_if_exists(file)?.unwrap_or_default();
        let tree = std::str::from_utf8(&text).ok().and_then(|text| Digest::from_hex(text).ok());
        let sound = Digest::from_hex(chain).is_ok() && tree.is_some();
        return Ok((!sound).then(|| "it does not name a tree".to_owned()));
    }
    let Ok(tree) = Digest::from_hex(name) else { return Ok(Some("its name is no digest".to_owned())) };
    let Some(pack) = Pack::load(trees, &tree)?.filter(Pack::is_intact) else {
        return Ok(Some("it does not match its checksum".to_owned()));
    };
    let lost = pack.others.iter().find(|other| Pack::on_disk(trees, &other.tree) != Some(**other));
    Ok(lost.map(|other| format!("it needs the tree {}, which is not there", other.tree)))
}

/// Removes packs that are not what was written, and those that refer to a pack that is not there.
pub(super) fn remove_damaged(trees: &Path) -> Result<Vec<PathBuf>, IoError> {
    let mut sound = HashMap::new();
    let mut removed = Vec::new();
    let names = match std::fs::read_dir(trees) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(removed),
        names => names.at("read directory", trees)?,
    };
    for entry in names {
        let entry = entry.at("read directory", trees)?;
        // Other names are chains, which are only ever a hint.
        let Some(tree) = entry.file_name().to_str().and_then(|name| Digest::from_hex(name).ok()) else { continue };
        match Pack::load(trees, &tree)?.filter(Pack::is_intact) {
            Some(pack) => {
                sound.insert(pack.this, pack.others);
            }
            None => removed.push(entry.path()),
        }
    }
    // What a pack refers to includes what those refer to, so one round finds all that hang in the air.
    for (pack, others) in &sound {
        if others.iter().any(|other| !sound.contains_key(other)) {
            removed.push(path(trees, &pack.tree));
        }
    }
    for path in &removed {
        remove_file(path)?;
    }
    removed.sort();
    Ok(removed)
}
