//! Asking caches (`--cache-from`): a record when its key is asked for, a layer when its files are.

use super::document::{self, LayerFacts, List, Lists};
use super::fetch::{self, Had};
use super::inline;
use super::sign::Keys;
use super::{CacheError, Place};
use crate::base::{Cancel, Digest};
use crate::image::{Descriptor, Manifest};
use crate::ops::imported::{Imported, Recalled};
use crate::store::Store;
use crate::store::layers::LayerInfo;
use crate::store::promise::{Promise, Supply};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Longest label that is taken from a cache, in bytes.
const MAX_LABEL: usize = 16 << 10;

/// The caches of a build, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Imports {
    caches: Vec<Arc<Cache>>,
    /// What each key asked for came to: the solver asks more than once.
    asked: Mutex<HashMap<Digest, Arc<OnceLock<Answer>>>>,
    refused: Mutex<HashSet<Digest>>,
}

/// What a cache (its position among all) says of a key.
type Answer = Option<(usize, Recalled)>;

/// What came of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The place's name.
    pub name: Arc<str>,
    /// Keys that it knew.
    pub hits: u64,
    /// Layers that were fetched.
    pub layers: u64,
    /// Bytes that were read, of whatever.
    pub bytes: u64,
    /// Documents and blobs that were asked for.
    pub requests: u64,
    /// What was wrong with it: the first thing, and how many there were.
    pub trouble: Option<(String, usize)>,
    /// Lists that no key of `--cache-key` signed.
    pub unsigned: u64,
    /// Whether there is no cache at that place yet.
    pub absent: bool,
}

impl Imports {
    /// Asks these places, in this order. With keys, what they did not sign is not believed.
    pub fn new(places: Vec<Box<dyn Place>>, keys: &Arc<Keys>, cancel: &Cancel) -> Imports {
        let cache = |place: Box<dyn Place>| Arc::new(Cache::new(place, keys.clone(), cancel.clone()));
        Imports { caches: places.into_iter().map(cache).collect(), ..Imports::default() }
    }

    /// Forgets all answers, but not what was refused: after a promise was broken, other caches are asked.
    pub fn forget(&self) {
        lock(&self.asked).clear();
    }

    /// What came of each cache.
    pub fn told(&self) -> Vec<Told> {
        self.caches.iter().map(|cache| cache.told()).collect()
    }

    /// What a cache says that a layer holds: its `info` and its encoded index, of one that is a base image's.
    pub fn layer(&self, diff_id: &Digest) -> Option<(LayerInfo, Vec<u8>)> {
        self.caches.iter().find_map(|cache| cache.layer(diff_id))
    }

    fn ask(&self, store: &Store, key: &Digest) -> Answer {
        if lock(&self.refused).contains(key) {
            return None;
        }
        self.caches.iter().enumerate().find_map(|(at, cache)| Some((at, cache.find(store, key)?)))
    }
}

impl Imported for Imports {
    fn find(&self, store: &Store, key: &Digest) -> Option<Recalled> {
        let answer = lock(&self.asked).entry(*key).or_default().clone();
        answer.get_or_init(|| self.ask(store, key)).as_ref().map(|(_, recalled)| recalled.clone())
    }

    fn refuse(&self, key: &Digest, reason: &str) {
        lock(&self.refused).insert(*key);
        let answer = lock(&self.asked).remove(key);
        if let Some((at, _)) = answer.as_ref().and_then(|answer| answer.get()?.as_ref()) {
            self.caches[*at].trouble(format!("record {}: {reason}", key.short()));
            self.caches[*at].hits.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// One cache.
#[derive(Debug)]
pub(super) struct Cache {
    pub place: Box<dyn Place>,
    pub cancel: Cancel,
    name: Arc<str>,
    keys: Arc<Keys>,
    /// Read when the first key is asked for.
    contents: OnceLock<Contents>,
    /// Layers that turned out not to be what was promised.
    banned: Mutex<HashSet<Digest>>,
    trouble: Mutex<Vec<String>>,
    hits: AtomicU64,
    layers: AtomicU64,
    bytes: AtomicU64,
    requests: AtomicU64,
    unsigned: AtomicU64,
}

/// What a cache's manifest says that it has.
#[derive(Debug)]
enum Contents {
    /// Nothing that can be used.
    Nothing { absent: bool },
    /// Lists, read when a key of theirs is asked for.
    Lists(Lists, BTreeMap<String, OnceLock<Option<List>>>),
    /// What an image says of itself, or several images of an index.
    Inline(List),
}

impl Cache {
    fn new(place: Box<dyn Place>, keys: Arc<Keys>, cancel: Cancel) -> Cache {
        Cache {
            name: place.name().into(),
            place,
            cancel,
            keys,
            contents: OnceLock::new(),
            banned: Mutex::default(),
            trouble: Mutex::default(),
            hits: AtomicU64::new(0),
            layers: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            unsigned: AtomicU64::new(0),
        }
    }

    fn trouble(&self, reason: String) {
        // Whoever is interrupted learns that from elsewhere.
        if !self.cancel.is_set() {
            lock(&self.trouble).push(reason);
        }
    }

    fn told(&self) -> Told {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let trouble = lock(&self.trouble);
        Told {
            name: self.name.clone(),
            hits: count(&self.hits),
            layers: count(&self.layers),
            bytes: count(&self.bytes),
            requests: count(&self.requests),
            trouble: trouble.first().map(|first| (first.clone(), trouble.len())),
            unsigned: count(&self.unsigned),
            absent: matches!(self.contents.get(), Some(Contents::Nothing { absent: true })),
        }
    }

    /// A blob, counted.
    pub fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send + '_>, CacheError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Counted { inner: self.place.open(blob)?, bytes: &self.bytes }))
    }

    fn contents(&self) -> &Contents {
        self.contents.get_or_init(|| match self.read_contents() {
            Ok(Some(contents)) => contents,
            Ok(None) => Contents::Nothing { absent: true },
            Err(error) => {
                self.trouble(error.to_string());
                Contents::Nothing { absent: false }
            }
        })
    }

    fn read_contents(&self) -> Result<Option<Contents>, CacheError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let documents = self.place.manifests()?;
        if documents.len() > 1 {
            // The index was one.
            self.requests.fetch_add(documents.len() as u64, Ordering::Relaxed);
        }
        let mut all = List::default();
        for bytes in &documents {
            self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            let manifest = Manifest::from_bytes(bytes).map_err(|e| self.wrong(e.to_string()))?;
            if let Some(text) = manifest.annotations.get(inline::ANNOTATION) {
                let carried = inline::Carried::decode(text).map_err(|reason| self.wrong(reason))?;
                if self.believes(&carried.digest(), carried.signature.as_deref()) {
                    all.merge(carried.list(&manifest).map_err(|reason| self.wrong(reason))?);
                }
            } else if documents.len() == 1 {
                let lists = Lists::of(&self.name, &manifest)?;
                let cells = lists.by_prefix.keys().map(|prefix| (prefix.clone(), OnceLock::new())).collect();
                return Ok(Some(Contents::Lists(lists, cells)));
            } else {
                self.trouble(format!("{}: an image of several carries no records", self.name));
            }
        }
        Ok((!documents.is_empty()).then_some(Contents::Inline(all)))
    }

    fn wrong(&self, reason: String) -> CacheError {
        CacheError::Contents { place: self.name.to_string(), reason }
    }

    /// Whether what is signed so counts.
    fn believes(&self, signed: &Digest, signature: Option<&str>) -> bool {
        let believed = self.keys.is_empty() || self.keys.verify(signed, signature);
        if !believed {
            self.unsigned.fetch_add(1, Ordering::Relaxed);
        }
        believed
    }

    /// The list that has this key, if there is one.
    fn list(&self, key: &Digest) -> Option<&List> {
        match self.contents() {
            Contents::Nothing { .. } => None,
            Contents::Inline(list) => Some(list),
            Contents::Lists(lists, cells) => {
                let prefix = lists.prefix_of(key);
                let blob = lists.by_prefix.get(&prefix)?;
                cells.get(&prefix)?.get_or_init(|| self.read_list(blob)).as_ref()
            }
        }
    }

    fn read_list(&self, blob: &Descriptor) -> Option<List> {
        if !self.believes(&blob.digest, blob.annotations.get(document::SIGNATURE).map(String::as_str)) {
            return None;
        }
        let list = self.open(blob).and_then(|mut reader| document::read_list(&self.name, blob, &mut reader));
        list.map_err(|error| self.trouble(error.to_string())).ok()
    }

    fn find(self: &Arc<Cache>, store: &Store, key: &Digest) -> Option<Recalled> {
        let list = self.list(key)?;
        let record = list.record(key).filter(|record| record.label.len() <= MAX_LABEL)?;
        let facts = list.layer(&record.layer)?;
        match self.provide(store, facts) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                self.ban(&record.layer, &error.to_string());
                return None;
            }
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        let document::Record { layer, tree, millis, created: ran, .. } = *record;
        Some(Recalled { layer, tree, millis, ran, from: self.name.clone() })
    }

    fn layer(&self, diff_id: &Digest) -> Option<(LayerInfo, Vec<u8>)> {
        let facts = self.list(diff_id)?.layer(diff_id).filter(|facts| facts.has_index())?;
        match facts.index(&self.name, |blob| self.open(blob)) {
            Ok(index) => Some((facts.info.clone(), index)),
            Err(error) => {
                self.trouble(error.to_string());
                None
            }
        }
    }

    /// Sees to it that the store has a layer or a promise of it. Whether it does.
    fn provide(self: &Arc<Cache>, store: &Store, facts: &LayerFacts) -> Result<bool, CacheError> {
        let diff_id = facts.info.diff_id;
        if lock(&self.banned).contains(&diff_id) {
            return Ok(false);
        }
        if store.layer(&diff_id)?.is_some() {
            return Ok(true);
        }
        let Some(blob) = &facts.blob else { return Ok(false) };
        if !facts.has_index() {
            // What it holds can only be seen from itself.
            self.fetch(store, facts, blob)?;
            return Ok(true);
        }
        let index = facts.index(&self.name, |blob| self.open(blob))?;
        let supply = Arc::new(Layer { cache: self.clone(), facts: facts.clone(), blob: blob.clone() });
        store.promise(Promise { info: facts.info.clone(), index, supply })?;
        Ok(true)
    }

    fn fetch(&self, store: &Store, facts: &LayerFacts, blob: &Descriptor) -> Result<(), CacheError> {
        let mut reader = self.open(blob)?;
        let had = Had { facts, blob, place: &self.name, cancel: &self.cancel };
        fetch::layer(store, &had, &mut reader)?;
        self.layers.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn ban(&self, layer: &Digest, reason: &str) {
        lock(&self.banned).insert(*layer);
        self.trouble(reason.to_owned());
    }
}

/// A layer that a cache has.
#[derive(Debug)]
struct Layer {
    cache: Arc<Cache>,
    facts: LayerFacts,
    blob: Descriptor,
}

impl Supply for Layer {
    fn fetch(&self, store: &Store) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.cache.fetch(store, &self.facts, &self.blob).map_err(|error| {
            self.cache.ban(&self.facts.info.diff_id, &error.to_string());
            error.into()
        })
    }
}

/// Adds up what is read.
struct Counted<'c, R> {
    inner: R,
    bytes: &'c AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// A panic elsewhere leaves nothing half-done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
