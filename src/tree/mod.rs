//! The Merkle tree of a root filesystem: what it is, by whichever layers it came about. See ARCHITECTURE.md.

mod apply;
pub mod diff;
mod links;
pub mod node;
pub mod pack;
pub mod view;

pub use node::{Node, NodeEntry};
pub use view::View;

use crate::base::fs::{read_if_exists, write_atomic};
use crate::base::{Digest, IoError};
use crate::layer::Index;
use crate::store::{Store, StoreError};
use links::Groups;
use node::{PackRef, Place};
use pack::Pack;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A root filesystem: the layers that make it and the merged tree they make. This is what flows along the graph's
/// edges. The tree alone is its identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rootfs {
    /// diffIDs, bottom first.
    pub layers: Vec<Digest>,
    /// Digest of the root directory's node.
    pub tree: Digest,
}

/// A failure of reading or making trees.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A tree is not in the store (it can be made again from its layers).
    #[error("tree {0} is not in the store")]
    Missing(Digest),
    /// A path can't be resolved: a component is no directory, or there are too many symbolic links.
    #[error("cannot resolve '{path}' in the image: {reason}")]
    Resolve {
        /// The path.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A file is larger than the caller's limit.
    #[error("'{path}' in the image has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The path.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

/// Makes trees and reads their nodes, with a cache of nodes shared by all threads.
#[derive(Debug)]
pub struct Trees<'s> {
    store: &'s Store,
    nodes: Cache<Digest, Arc<Node>>,
    packs: Cache<PackRef, Arc<Pack>>,
    /// Trees whose packs were all seen to be there.
    complete: Mutex<HashSet<Digest>>,
    /// Trees of chains with a layer that is only promised: what that layer holds was told and not seen, so that nothing on
    /// disk may say that the chain makes this tree.
    promised: Mutex<HashMap<Digest, Digest>>,
}

impl<'s> Trees<'s> {
    /// Trees kept in `store`.
    pub fn new(store: &'s Store) -> Trees<'s> {
        Trees {
            store,
            nodes: Cache::default(),
            packs: Cache::default(),
            complete: Mutex::default(),
            promised: Mutex::default(),
        }
    }

    /// Forgets what promised layers make: a promise was broken.
    pub fn forget_promised(&self) {
        lock(&self.promised).clear();
    }

    /// The store.
    pub fn store(&self) -> &'s Store {
        self.store
    }

    /// The tree of the empty root filesystem.
    pub fn empty() -> Digest {
        Node::digest_of(&Node::default().encode())
    }

    /// The tree that results when a layer's entries are applied to `base` (whiteouts, opaque directories, replacing).
    /// New nodes are made only along changed paths and are on disk when this returns.
    pub fn apply(&self, base: &Digest, index: &Index) -> Result<Digest, TreeError> {
        apply::apply(self, base, index)
    }

    /// The root filesystem of a stack of stored layers (remembered by chainID; made anew if it was lost).
    pub fn of_layers(&self, layers: &[Digest]) -> Result<Rootfs, TreeError> {
        let chains = chain_ids(layers);
        let remembered = chains.iter().enumerate().rev().find_map(|(i, chain)| Some((i + 1, self.remembered(chain)?)));
        let (done, mut tree) = remembered.unwrap_or((0, Trees::empty()));
        for (i, (layer, chain)) in layers.iter().zip(&chains).enumerate().skip(done) {
            tree = self.apply(&tree, &self.index(layer)?)?;
            self.remember(&layers[..=i], chain, &tree)?;
        }
        Ok(Rootfs { layers: layers.to_vec(), tree })
    }

    /// `base` with one more stored layer on top.
    pub fn push(&self, base: &Rootfs, layer: &Digest) -> Result<Rootfs, TreeError> {
        let layers = [base.layers.as_slice(), &[*layer]].concat();
        let chain = chain_ids(&layers).pop().unwrap_or_else(Trees::empty);
        if let Some(tree) = self.remembered(&chain) {
            return Ok(Rootfs { layers, tree });
        }
        if !self.has(&base.tree) {
            return self.of_layers(&layers);
        }
        let tree = self.apply(&base.tree, &self.index(layer)?)?;
        self.remember(&layers, &chain, &tree)?;
        Ok(Rootfs { layers, tree })
    }

    /// Whether the nodes of `tree` can be read: its pack and those it refers to are there. Their bytes are verified
    /// when they are used.
    pub fn has(&self, tree: &Digest) -> bool {
        if *tree == Trees::empty() || lock(&self.complete).contains(tree) {
            return true;
        }
        let directory = self.store.trees_dir();
        let complete = self.pack_of(tree).is_ok_and(|pack| {
            pack.others.iter().all(|other| Pack::on_disk(&directory, &other.tree).is_some_and(|there| there == *other))
        });
        if complete {
            lock(&self.complete).insert(*tree);
        }
        complete
    }

    /// A node by the digest of the tree (root directory) it is the root of. Deeper nodes are found by [`View`].
    pub fn root(&self, tree: &Digest) -> Result<Arc<Node>, TreeError> {
        if *tree == Trees::empty() {
            return Ok(Arc::default());
        }
        if let Some(node) = self.nodes.get(tree) {
            return Ok(node);
        }
        let pack = self.pack_of(tree)?;
        self.read_node(&pack, pack.root, tree)
    }

    /// The node of a directory that stands in another node.
    pub fn child(&self, directory: &NodeEntry) -> Result<Arc<Node>, TreeError> {
        let Some(digest) = directory.child else { return Ok(Arc::default()) };
        if let Some(node) = self.nodes.get(&digest) {
            return Ok(node);
        }
        match directory.place {
            Some(Place { pack, offset }) => self.read_node(&*self.pack(pack)?, offset, &digest),
            None => self.root(&digest),
        }
    }

    /// The files of the store that hold a tree, for whoever decides what to keep.
    pub fn files(&self, tree: &Digest) -> Result<Vec<PathBuf>, TreeError> {
        if *tree == Trees::empty() {
            return Ok(Vec::new());
        }
        let directory = self.store.trees_dir();
        let pack = self.pack_of(tree)?;
        let all = std::iter::once(&pack.this).chain(&pack.others);
        Ok(all.map(|pack| pack::path(&directory, &pack.tree)).collect())
    }

    /// Removes what is damaged among the stored trees; gives the files that were. They are made again when needed.
    pub fn repair(&self) -> Result<Vec<PathBuf>, TreeError> {
        pack::remove_damaged(&self.store.trees_dir()).map_err(TreeError::from)
    }

    /// The index of a stored layer.
    fn index(&self, layer: &Digest) -> Result<Index, TreeError> {
        let bytes = self.store.layer_index(layer)?;
        Index::decode(&bytes).map_err(|e| {
            let path = self.store.root().join("layers").join(layer.hex());
            StoreError::Damaged { path, reason: e.to_string() }.into()
        })
    }

    fn pack_of(&self, tree: &Digest) -> Result<Arc<Pack>, TreeError> {
        let directory = self.store.trees_dir();
        if let Some(there) = Pack::on_disk(&directory, tree)
            && let Some(pack) = self.packs.get(&there)
        {
            return Ok(pack);
        }
        let pack = Pack::load(&directory, tree)?.ok_or(TreeError::Missing(*tree))?;
        Ok(self.packs.put(pack.this, Arc::new(pack)))
    }

    fn pack(&self, wanted: PackRef) -> Result<Arc<Pack>, TreeError> {
        if let Some(pack) = self.packs.get(&wanted) {
            return Ok(pack);
        }
        let pack = Pack::load(&self.store.trees_dir(), &wanted.tree)?;
        match pack.filter(|pack| pack.this == wanted) {
            Some(pack) => Ok(self.packs.put(wanted, Arc::new(pack))),
            None => Err(TreeError::Missing(wanted.tree)),
        }
    }

    /// The hard links of a tree, and the pack that lists them (`None`: there are none).
    fn groups(&self, tree: &Digest) -> Result<(Groups, Option<PackRef>), TreeError> {
        if *tree == Trees::empty() {
            return Ok((Groups::new(), None));
        }
        let holder = self.pack_of(tree)?.links_in();
        let pack = self.pack(holder)?;
        let groups = pack.links().or_else(|_| self.lost(&pack))?;
        let holder = (!groups.is_empty()).then_some(holder);
        Ok((groups, holder))
    }

    /// A damaged pack counts as absent: out of the way, so that it is made again.
    fn lost<T>(&self, pack: &Pack) -> Result<T, TreeError> {
        lock(&self.complete).clear();
        crate::base::fs::remove_file(pack::path(&self.store.trees_dir(), &pack.this.tree))?;
        Err(TreeError::Missing(pack.this.tree))
    }

    fn read_node(&self, pack: &Pack, offset: u64, digest: &Digest) -> Result<Arc<Node>, TreeError> {
        match pack.node(offset, digest) {
            Ok(node) => Ok(self.nodes.put(*digest, Arc::new(node))),
            Err(_) => self.lost(pack),
        }
    }

    /// The tree of a chain of layers, if it was made before and is still there.
    fn remembered(&self, chain: &Digest) -> Option<Digest> {
        if let Some(tree) = lock(&self.promised).get(chain) {
            return Some(*tree).filter(|tree| self.has(tree));
        }
        let text = read_if_exists(self.chain_path(chain)).ok()??;
        let tree = Digest::from_hex(std::str::from_utf8(&text).ok()?).ok()?;
        self.has(&tree).then_some(tree)
    }

    fn remember(&self, layers: &[Digest], chain: &Digest, tree: &Digest) -> Result<(), TreeError> {
        if self.store.has_promises() {
            for layer in layers {
                if self.store.held_layer(layer)?.is_none() {
                    lock(&self.promised).insert(*chain, *tree);
                    return Ok(());
                }
            }
        }
        Ok(write_atomic(self.chain_path(chain), tree.hex().as_bytes())?)
    }

    fn chain_path(&self, chain: &Digest) -> PathBuf {
        self.store.trees_dir().join(format!("chain-{}", chain.hex()))
    }
}

/// The chainID of every prefix of a stack of layers (OCI image-spec, config, "Layer ChainID").
pub fn chain_ids(layers: &[Digest]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(layers.len());
    for layer in layers {
        let chain = match chains.last() {
            None => *layer,
            Some(below) => Digest::of(format!("{below} {layer}").as_bytes()),
        };
        chains.push(chain);
    }
    chains
}

/// A map that many threads fill; what is in it never changes.
#[derive(Debug)]
struct Cache<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Cache<K, V> {
        Cache(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        lock(&self.0).get(key).cloned()
    }

    /// Keeps the first value for a key and gives it.
    fn put(&self, key: K, value: V) -> V {
        lock(&self.0).entry(key).or_insert(value).clone()
    }
}

/// A panic elsewhere leaves nothing half-done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
