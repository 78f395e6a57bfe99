//! Writing a cache (`--cache-to`): what a build knows is added to what the cache has, and only what is new is sent.

use super::document::{self, LayerFacts, Lists, MAX_RECORDS, PackedIndex, Record};
use super::sign::Keys;
use super::{CacheError, Place};
use crate::base::fs::Context;
use crate::base::{Cancel, Digest, clock, parallel};
use crate::export::Packing;
use crate::export::intake::{KEPT_GZIP, KEPT_ZSTD};
use crate::image::manifest::media;
use crate::image::{Descriptor, Manifest};
use crate::store::packed::Packed;
use crate::store::{Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Layers that are packed and sent at once.
const WORKERS: usize = 4;
/// A day, in seconds.
const DAY: i64 = 24 * 60 * 60;
/// How long layers of base images stay that no build used, in seconds.
const BASES_STAY: i64 = 30 * DAY;

/// What an export sends.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Steps, with the layers that they made.
    pub records: Vec<Record>,
    /// Layers of base images.
    pub bases: Vec<Digest>,
}

/// What an export did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Records in the cache now.
    pub records: usize,
    /// How many of them are this build's and were not there.
    pub new: usize,
    /// Blobs that were sent.
    pub sent: u64,
    /// Their length, in bytes.
    pub bytes: u64,
}

/// Writes a cache.
#[derive(Debug)]
pub struct Exporter<'e> {
    store: &'e Store,
    place: &'e dyn Place,
    packing: Option<Packing>,
    keys: &'e Keys,
    cancel: &'e Cancel,
    sent: AtomicU64,
    bytes: AtomicU64,
}

/// What is wanted of a layer besides its index.
#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    /// Its blob, since it is a step's.
    blob: bool,
    /// That it is found by its diffID, since it is a base image's.
    base: bool,
}

/// What is known of a cache's contents.
#[derive(Debug, Default)]
struct Known {
    manifest: Option<Vec<u8>>,
    lists: BTreeSet<Digest>,
    records: BTreeMap<Digest, Record>,
    layers: BTreeMap<Digest, LayerFacts>,
}

impl<'e> Exporter<'e> {
    /// From `store` to `place`; `packing` as [`super::spec::Target::packing`]. With a private key lists are signed.
    pub fn new(
        store: &'e Store,
        place: &'e dyn Place,
        packing: Option<Packing>,
        keys: &'e Keys,
        cancel: &'e Cancel,
    ) -> Exporter<'e> {
        Exporter { store, place, packing, keys, cancel, sent: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Adds `content` to the cache. Layers go first, the manifest last.
    ///
    /// # Errors
    /// The place does not take it, or holds something else than a cache; a layer cannot be packed.
    pub fn export(self, content: &Content) -> Result<Exported, CacheError> {
        let _lock = self.place.lock()?;
        let mut known = self.known()?;
        let today = clock::now().div_euclid(DAY) * DAY;
        let mut new = 0;
        for record in &content.records {
            let used = Record { used: today, ..record.clone() };
            match known.records.get_mut(&record.key) {
                // The same result: when it was first had stays, so that the list does not change for nothing.
                Some(old) if old.layer == record.layer => old.used = old.used.max(today),
                Some(old) => *old = used,
                None => {
                    new += 1;
                    known.records.insert(record.key, used);
                }
            }
        }
        let mut layers: BTreeMap<Digest, Wanted> = BTreeMap::new();
        for record in &content.records {
            layers.entry(record.layer).or_default().blob = true;
        }
        for layer in &content.bases {
            layers.entry(*layer).or_default().base = true;
        }
        let layers: Vec<(Digest, Wanted)> = layers.into_iter().collect();
        let facts = parallel::try_map(WORKERS, &layers, |(layer, wanted)| {
            self.facts(layer, *wanted, known.layers.get(layer), today)
        })?;
        known.layers.extend(layers.into_iter().map(|(layer, _)| layer).zip(facts));
        trim(&mut known, today);
        self.write(&known)?;
        let (sent, bytes) = (self.sent.into_inner(), self.bytes.into_inner());
        Ok(Exported { records: known.records.len(), new, sent, bytes })
    }

    /// What the cache has. A list that cannot be read, or that nobody signed whose key is known, is left out.
    fn known(&self) -> Result<Known, CacheError> {
        let Some(bytes) = self.place.manifest()? else { return Ok(Known::default()) };
        let wrong = |reason: String| CacheError::Contents { place: self.place.name().to_owned(), reason };
        let manifest = Manifest::from_bytes(&bytes).map_err(|e| wrong(e.to_string()))?;
        if matches!(manifest.config.media_type.as_str(), media::CONFIG | media::DOCKER_CONFIG) {
            return Err(wrong("an image has this name; give the cache a tag of its own".into()));
        }
        let lists = Lists::of(self.place.name(), &manifest)?;
        let mut known = Known { manifest: Some(bytes), ..Known::default() };
        for blob in lists.by_prefix.values() {
            let signature = blob.annotations.get(document::SIGNATURE).map(String::as_str);
            if !self.keys.is_empty() && !self.keys.verify(&blob.digest, signature) {
                continue;
            }
            let list = self.place.open(blob).and_then(|mut r| document::read_list(self.place.name(), blob, &mut r));
            let Ok(list) = list else { continue };
            known.lists.insert(blob.digest);
            known.records.extend(list.records.into_iter().map(|r| (r.key, r)));
            known.layers.extend(list.layers.into_iter().map(|l| (l.info.diff_id, l)));
        }
        Ok(known)
    }

    /// Sees to it that the place has a layer; what is to be said of it.
    fn facts(
        &self,
        layer: &Digest,
        wanted: Wanted,
        old: Option<&LayerFacts>,
        today: i64,
    ) -> Result<LayerFacts, CacheError> {
        let has = |blob: &Option<Descriptor>| blob.as_ref().map_or(Ok(true), |blob| self.place.has(blob));
        let base = wanted.base || old.is_some_and(|old| old.base);
        if let Some(old) = old
            && (old.blob.is_some() || !wanted.blob)
            && has(&old.blob)?
            && has(&old.index_blob)?
        {
            return Ok(LayerFacts { base, used: old.used.max(today), ..old.clone() });
        }
        let missing = || StoreError::Missing { what: "layer", name: layer.to_string() };
        let mut info = self.store.layer(layer)?.ok_or_else(missing)?;
        // Where its files come from is this store's affair.
        info.fs_of = None;
        let encoded = self.store.layer_index(layer)?;
        let index = Digest::of(&encoded);
        let (inline, index_blob) = match document::pack_index(&encoded) {
            PackedIndex::Inline(text) => (Some(text), None),
            PackedIndex::Blob(blob, bytes) => {
                self.send_bytes(&blob, &bytes)?;
                (None, Some(blob))
            }
        };
        let (blob, way) = if wanted.blob {
            let (blob, way) = self.layer(layer, info.tar_size)?;
            (Some(blob), way)
        } else {
            (None, None)
        };
        Ok(LayerFacts { info, index, inline, index_blob, blob, way, base, used: today })
    }

    /// Sees to it that the place has a layer's blob: as it came from elsewhere, as it was packed before, or packed now.
    fn layer(&self, layer: &Digest, tar_size: u64) -> Result<(Descriptor, Option<String>), CacheError> {
        let plain = Descriptor::new(media::LAYER, *layer, tar_size);
        for (way, packing) in [(KEPT_GZIP, Packing::GZIP), (KEPT_ZSTD, Packing::ZSTD)] {
            let kept = self.store.packed(layer, way)?.filter(|p| self.store.has_blob(&p.digest));
            if let Some(blob) = kept.map(|packed| packing.describe(&plain, &packed)) {
                self.send(&blob, &self.store.blob_path(&blob.digest))?;
                return Ok((blob, None));
            }
        }
        let ways: Vec<Packing> = self.packing.map_or_else(|| vec![Packing::GZIP, Packing::ZSTD], |one| vec![one]);
        for packing in &ways {
            let Some(way) = packing.way() else { continue };
            if let Some(packed) = self.store.packed(layer, &way)? {
                let blob = packing.describe(&plain, &packed);
                if self.place.has(&blob)? {
                    return Ok((blob, Some(way)));
                }
            }
        }
        let packing = self.packing.unwrap_or(Packing::ZSTD);
        let dir = self.store.temp_dir()?;
        let path = dir.path().join("layer");
        let packed: Packed = packing.write(self.store, layer, &path, self.cancel)?;
        let way = packing.way();
        if let Some(way) = &way {
            self.store.remember_packed(layer, way, packed.clone())?;
        }
        let blob = packing.describe(&plain, &packed);
        self.send(&blob, &path)?;
        Ok((blob, way))
    }

    /// The lists that changed, then the manifest.
    fn write(&self, known: &Known) -> Result<(), CacheError> {
        let mut lists = Vec::new();
        for (prefix, list) in document::divide(&known.records, &known.layers) {
            let bytes = list.encode();
            let mut blob = document::list_blob(&prefix, &bytes);
            if !known.lists.contains(&blob.digest) {
                self.send_bytes(&blob, &bytes)?;
            }
            if let Some(signature) = self.keys.sign(&blob.digest) {
                blob.annotations.insert(document::SIGNATURE.to_owned(), signature);
            }
            lists.push(blob);
        }
        let manifest = document::manifest(lists, &known.layers);
        let bytes = manifest.to_bytes();
        if known.manifest.as_ref() != Some(&bytes) {
            self.send_bytes(&manifest.config, document::CONFIG_BYTES)?;
            self.place.put_manifest(&bytes)?;
        }
        Ok(())
    }

    fn send_bytes(&self, blob: &Descriptor, bytes: &[u8]) -> Result<(), CacheError> {
        let dir = self.store.temp_dir()?;
        let path = dir.path().join("blob");
        std::fs::write(&path, bytes).at("write", &path)?;
        self.send(blob, &path)
    }

    fn send(&self, blob: &Descriptor, file: &Path) -> Result<(), CacheError> {
        if !self.place.has(blob)? {
            self.place.put(blob, file)?;
            self.sent.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(blob.size, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Drops what was not used for longest, and the layers that nothing needs then.
fn trim(known: &mut Known, today: i64) {
    let excess = known.records.len().saturating_sub(MAX_RECORDS);
    if excess > 0 {
        let mut by_age: Vec<_> = known.records.values().map(|r| (r.used, r.created, r.key)).collect();
        by_age.sort_unstable();
        for (_, _, key) in &by_age[..excess] {
            known.records.remove(key);
        }
    }
    let recorded: BTreeSet<Digest> = known.records.values().map(|r| r.layer).collect();
    known.layers.retain(|layer, facts| recorded.contains(layer) || (facts.base && facts.used + BASES_STAY >= today));
    let mut loose: Vec<_> = known.layers.values().filter(|l| !recorded.contains(&l.info.diff_id)).collect();
    loose.sort_by_key(|facts| (facts.used, facts.info.diff_id));
    let excess = loose.len().saturating_sub(MAX_RECORDS);
    let oldest: Vec<Digest> = loose[..excess].iter().map(|facts| facts.info.diff_id).collect();
    known.layers.retain(|layer, _| !oldest.contains(layer));
    known.records.retain(|_, record| known.layers.contains_key(&record.layer));
}
