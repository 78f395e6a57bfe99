//! What a cache is made of, byte for byte: docs/cache.md ("The form of a cache").
//!
//! The manifest is an OCI artifact whose layers are: lists of records, one for each first digits of a key, so that who
//! looks up a few keys reads a few lists; the indexes of layers, where they are too long to stand in a list; and the
//! layers themselves. It lists all of them, lest a registry collects what only a record names.

use super::CacheError;
use crate::base::{Digest, Hasher};
use crate::image::manifest::media;
use crate::image::{Descriptor, Manifest};
use crate::layer::{Index, Kind};
use crate::store::layers::LayerInfo;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// The artifact type of a cache. The number is that of the form; another one is not read.
pub const ARTIFACT: &str = "application/vnd.rbuild.cache.v1";
/// What every version's artifact type begins with.
const ANY_VERSION: &str = "application/vnd.rbuild.cache.";
/// The config, which says nothing but what wrote the cache.
const CONFIG: &str = "application/vnd.rbuild.cache.config.v1+json";
/// A list of records.
pub const RECORDS: &str = "application/vnd.rbuild.cache.records.v1+json+zstd";
/// The index of a layer.
pub const INDEX: &str = "application/vnd.rbuild.cache.index.v1+zstd";
/// Annotation of a list: the first hex digits of the keys in it.
const PREFIX: &str = "vnd.rbuild.cache.prefix";
/// Annotation of a list: who signed it, and the signature.
pub const SIGNATURE: &str = "vnd.rbuild.cache.signature";
/// The config of every cache.
pub const CONFIG_BYTES: &[u8] = br#"{"created_by":"rbuild"}"#;

/// Most records in a cache: those that were not used for longest go first. Each takes up to two descriptors of some 200
/// bytes in the manifest, of which registries take 4 MiB.
pub const MAX_RECORDS: usize = 4096;
/// Longest list that is read, packed, in bytes.
const MAX_LIST: u64 = 16 << 20;
/// The same unpacked.
const MAX_LIST_PLAIN: u64 = 64 << 20;
/// Longest index that is read, in bytes: of two million files or so.
const MAX_INDEX: u64 = 256 << 20;
/// An index that packs to no more than this stands in the list itself: one request less.
const INLINE: usize = 4 << 10;
/// Level of zstd.
const LEVEL: i32 = 6;

/// What is known under a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The step's key.
    pub key: Digest,
    /// diffID of the layer it made.
    pub layer: Digest,
    /// The merged tree after it.
    pub tree: Digest,
    /// When it ran, seconds since the epoch.
    pub created: i64,
    /// How long it took, milliseconds.
    pub millis: u64,
    /// Its label, for people.
    pub label: String,
    /// Where it stands in its Dockerfile.
    pub place: String,
    /// The day on which a build last had this step: its first second, since the epoch.
    pub used: i64,
}

/// What is known of a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerFacts {
    /// As the store has it; `fs_of` is never set.
    pub info: LayerInfo,
    /// sha256 of the encoded index.
    pub index: Digest,
    /// The index, packed, if it is short: base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
    /// The blob of the packed index otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_blob: Option<Descriptor>,
    /// The layer's blob; none of a layer that is only known as a base image's, which its own registry has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<Descriptor>,
    /// Which encoder made the blob ([`crate::layer::encode::Encoding::way`]), if one of rbuild's did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<String>,
    /// Whether some build had it in a base image: then it is listed by its own diffID, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub base: bool,
    /// As of a record.
    pub used: i64,
}

/// A list: everything in it is sorted, by key and by diffID.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// Records whose keys begin as the list says.
    pub records: Vec<Record>,
    /// Their layers; and those of base images whose diffIDs begin so.
    pub layers: Vec<LayerFacts>,
}

impl List {
    /// The record under a key.
    pub fn record(&self, key: &Digest) -> Option<&Record> {
        self.records.binary_search_by(|r| r.key.cmp(key)).ok().map(|i| &self.records[i])
    }

    /// What is known of a layer.
    pub fn layer(&self, diff_id: &Digest) -> Option<&LayerFacts> {
        self.layers.binary_search_by(|l| l.info.diff_id.cmp(diff_id)).ok().map(|i| &self.layers[i])
    }

    /// Adds what another list has and this one has not.
    pub fn merge(&mut self, other: List) {
        self.records.extend(other.records);
        // Both sorts are stable: of two entries the earlier one, which is this list's, stays.
        self.records.sort_by_key(|record| record.key);
        self.records.dedup_by_key(|record| record.key);
        self.layers.extend(other.layers);
        self.layers.sort_by_key(|facts| facts.info.diff_id);
        self.layers.dedup_by_key(|facts| facts.info.diff_id);
    }

    /// The packed form.
    pub fn encode(&self) -> Vec<u8> {
        pack(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Reads a packed list. What is not sorted can't be looked up in, and is refused.
///
/// # Errors
/// What is wrong with it.
pub fn decode_list(bytes: &[u8]) -> Result<List, String> {
    let plain = unpack(bytes, MAX_LIST_PLAIN)?;
    let list: List = serde_json::from_slice(&plain).map_err(|e| e.to_string())?;
    let sorted = list.records.is_sorted_by(|a, b| a.key < b.key)
        && list.layers.is_sorted_by(|a, b| a.info.diff_id < b.info.diff_id);
    if sorted { Ok(list) } else { Err("it is not sorted".into()) }
}

/// The lists of a cache, as its manifest has them.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// By the first digits of the keys in them, which are equally many in all.
    pub by_prefix: BTreeMap<String, Descriptor>,
    /// How many.
    pub digits: usize,
}

impl Lists {
    /// Reads the manifest of a cache.
    ///
    /// # Errors
    /// It is no cache, or one of another version, or contradicts itself.
    pub fn of(place: &str, manifest: &Manifest) -> Result<Lists, CacheError> {
        let wrong = |reason: String| CacheError::Contents { place: place.to_owned(), reason };
        let kind = manifest.extra.get("artifactType").and_then(Value::as_str).unwrap_or_default();
        match kind.strip_prefix(ANY_VERSION) {
            Some(_) if kind == ARTIFACT => {}
            Some(version) => {
                let version: String = version.chars().filter(|c| c.is_ascii_alphanumeric()).take(20).collect();
                return Err(wrong(format!("it is a cache of the form {version}; this rbuild reads v1")));
            }
            None if manifest.config.media_type.starts_with("application/vnd.buildkit.") => {
                return Err(wrong("it is a cache of BuildKit's, which only BuildKit can read".into()));
            }
            None => return Err(wrong("it is no cache".into())),
        }
        let mut lists = Lists::default();
        for list in manifest.layers.iter().filter(|d| d.media_type == RECORDS) {
            let prefix = list.annotations.get(PREFIX).map_or("", String::as_str);
            let digits = prefix.len();
            let hex = prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if !hex || digits > 2 || (!lists.by_prefix.is_empty() && digits != lists.digits) {
                return Err(wrong("its lists do not fit together".into()));
            }
            lists.digits = digits;
            lists.by_prefix.insert(prefix.to_owned(), list.clone());
        }
        Ok(lists)
    }

    /// The list that would have a key (or a diffID), by its prefix.
    pub fn prefix_of(&self, key: &Digest) -> String {
        key.hex()[..self.digits].to_owned()
    }
}

/// Reads a list from where it lies.
///
/// # Errors
/// It is longer than is read, not what its descriptor says, or not valid.
pub fn read_list(place: &str, blob: &Descriptor, reader: &mut dyn Read) -> Result<List, CacheError> {
    let bytes = read_blob(place, blob, reader, MAX_LIST)?;
    let wrong =
        |e| CacheError::Contents { place: place.to_owned(), reason: format!("list {}: {e}", blob.digest.short()) };
    decode_list(&bytes).map_err(wrong)
}

/// Reads a small blob whole, of at most `limit` bytes, and verifies it.
fn read_blob(place: &str, blob: &Descriptor, reader: &mut dyn Read, limit: u64) -> Result<Vec<u8>, CacheError> {
    let Descriptor { digest, size, .. } = blob;
    let wrong = |reason: String| CacheError::Contents { place: place.to_owned(), reason };
    if *size > limit {
        return Err(wrong(format!("blob {digest} has {size} bytes, more than {limit}")));
    }
    let mut bytes = Vec::new();
    reader.take(size + 1).read_to_end(&mut bytes).map_err(|e| wrong(format!("blob {digest}: {e}")))?;
    match Digest::of(&bytes) {
        found if found == *digest && bytes.len() as u64 == *size => Ok(bytes),
        found => Err(wrong(format!("blob {digest} is {found} of {} bytes", bytes.len()))),
    }
}

impl LayerFacts {
    /// Whether its index can be had apart from the layer.
    pub fn has_index(&self) -> bool {
        self.inline.is_some() || self.index_blob.is_some()
    }

    /// The encoded index, verified as far as that goes without the layer: its digest, its form, and that what is said of
    /// the layer follows from it. `open` gives a blob.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn index<'r>(
        &self,
        place: &str,
        open: impl FnOnce(&Descriptor) -> Result<Box<dyn Read + Send + 'r>, CacheError>,
    ) -> Result<Vec<u8>, CacheError> {
        let wrong = |reason: String| CacheError::Contents {
            place: place.to_owned(),
            reason: format!("index of layer {}: {reason}", self.info.diff_id.short()),
        };
        let packed = match (&self.inline, &self.index_blob) {
            (Some(text), _) => STANDARD.decode(text).map_err(|e| wrong(e.to_string()))?,
            (None, Some(blob)) => read_blob(place, blob, &mut open(blob)?, MAX_INDEX)?,
            (None, None) => return Err(wrong("there is none".into())),
        };
        let bytes = unpack(&packed, MAX_INDEX).map_err(&wrong)?;
        if Digest::of(&bytes) != self.index {
            return Err(wrong("it is another one than was promised".into()));
        }
        let index = Index::decode(&bytes).map_err(|e| wrong(e.to_string()))?;
        check_paths(&index).map_err(wrong)?;
        if index.content_digest() != self.info.content || index.size() != self.info.size || self.info.fs_of.is_some() {
            return Err(wrong("it contradicts what is said of the layer".into()));
        }
        Ok(bytes)
    }
}

/// Refuses paths that no scan of a directory gives.
fn check_paths(index: &Index) -> Result<(), String> {
    let is_plain =
        |path: &[u8]| path.is_empty() || path.split(|b| *b == b'/').all(|name| !matches!(name, b"" | b"." | b".."));
    for entry in &index.entries {
        let first_is_plain = match &entry.kind {
            Kind::HardLink { first, .. } => is_plain(first),
            _ => true,
        };
        if !is_plain(&entry.path) || !first_is_plain || entry.path.contains(&0) {
            return Err(format!("'{}' is no path in a layer", String::from_utf8_lossy(&entry.path).escape_debug()));
        }
    }
    Ok(())
}

/// A packed index as a list has it: in it, or as a blob to put beside it.
pub enum PackedIndex {
    /// Base64, for [`LayerFacts::inline`].
    Inline(String),
    /// A blob and its bytes.
    Blob(Descriptor, Vec<u8>),
}

/// Packs an encoded index.
pub fn pack_index(encoded: &[u8]) -> PackedIndex {
    let packed = pack(encoded);
    if packed.len() <= INLINE {
        return PackedIndex::Inline(STANDARD.encode(packed));
    }
    PackedIndex::Blob(Descriptor::new(INDEX, Digest::of(&packed), packed.len() as u64), packed)
}

/// How many digits tell the lists of so many records apart: some hundred in each.
fn digits_for(records: usize) -> usize {
    match records {
        0..=256 => 0,
        257..=2048 => 1,
        _ => 2,
    }
}

/// Divides records and layers among lists; each layer stands where its records do.
pub fn divide(records: &BTreeMap<Digest, Record>, layers: &BTreeMap<Digest, LayerFacts>) -> BTreeMap<String, List> {
    let digits = digits_for(records.len().max(layers.len()));
    let mut wanted: BTreeMap<String, (Vec<Record>, BTreeSet<Digest>)> = BTreeMap::new();
    for record in records.values() {
        let (list, needs) = wanted.entry(record.key.hex()[..digits].to_owned()).or_default();
        list.push(record.clone());
        needs.insert(record.layer);
    }
    for (layer, _) in layers.iter().filter(|(_, facts)| facts.base) {
        wanted.entry(layer.hex()[..digits].to_owned()).or_default().1.insert(*layer);
    }
    let list = |(records, needs): (Vec<Record>, BTreeSet<Digest>)| List {
        records,
        layers: needs.iter().filter_map(|layer| layers.get(layer).cloned()).collect(),
    };
    wanted.into_iter().map(|(prefix, parts)| (prefix, list(parts))).collect()
}

/// The descriptor of a packed list.
pub fn list_blob(prefix: &str, bytes: &[u8]) -> Descriptor {
    let mut blob = Descriptor::new(RECORDS, Digest::of(bytes), bytes.len() as u64);
    blob.annotations.insert(PREFIX.to_owned(), prefix.to_owned());
    blob
}

/// The manifest of a cache.
pub fn manifest(lists: Vec<Descriptor>, layers: &BTreeMap<Digest, LayerFacts>) -> Manifest {
    let config = Descriptor::new(CONFIG, Digest::of(CONFIG_BYTES), CONFIG_BYTES.len() as u64);
    let mut listed = lists;
    let mut seen = BTreeSet::new();
    let blobs =
        layers.values().filter_map(|l| l.index_blob.as_ref()).chain(layers.values().filter_map(|l| l.blob.as_ref()));
    listed.extend(blobs.filter(|blob| seen.insert(blob.digest)).cloned());
    let mut manifest = Manifest::new(config, listed);
    manifest.media_type = Some(media::MANIFEST.to_owned());
    manifest.extra.insert("artifactType".into(), ARTIFACT.into());
    manifest
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    // Fails only if there is no memory, or for a level that there is not.
    zstd::bulk::compress(bytes, LEVEL).unwrap_or_default()
}

fn unpack(bytes: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    let decoder = zstd::stream::read::Decoder::new(bytes).map_err(|e| e.to_string())?;
    let mut plain = Vec::new();
    decoder.take(limit + 1).read_to_end(&mut plain).map_err(|e| e.to_string())?;
    if plain.len() as u64 > limit {
        return Err(format!("it unpacks to more than {limit} bytes"));
    }
    Ok(plain)
}

/// Hashes and counts what is read through it.
#[allow(missing_debug_implementations)]
pub struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Hashing<R> {
    /// Reads `inner`.
    pub fn new(inner: R) -> Hashing<R> {
        Hashing { inner, hasher: Hasher::new() }
    }

    /// Digest and length of all that was read.
    pub fn finish(self) -> (Digest, u64) {
        let length = self.hasher.len();
        (self.hasher.finish(), length)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}
