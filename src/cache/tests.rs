//! Caches that are sound, and caches that are not: whatever a place gives costs at most a miss.

use super::document::{self, LayerFacts, List, Record};
use super::export::{Content, Exported, Exporter};
use super::{CacheError, Imports, Keys, Place, inline};
use crate::base::{Cancel, Digest};
use crate::export::Packing;
use crate::export::fixture::{TestStore, image, layer, store};
use crate::image::manifest::media;
use crate::image::{Descriptor, Manifest};
use crate::ops::imported::Imported;
use crate::store::StoreError;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

const KEY: &[u8] = b"a step";

/// A place in memory, whose contents a test can change.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    manifest: Option<Vec<u8>>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    /// Blobs that were read.
    read: Vec<Digest>,
}

impl Place for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn manifest(&self) -> Result<Option<Vec<u8>>, CacheError> {
        Ok(self.0.lock().unwrap().manifest.clone())
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send + '_>, CacheError> {
        let mut contents = self.0.lock().unwrap();
        contents.read.push(blob.digest);
        let bytes = contents.blobs.get(&blob.digest).cloned();
        let gone = || CacheError::Contents { place: "memory".into(), reason: "it has no such blob".into() };
        Ok(Box::new(std::io::Cursor::new(bytes.ok_or_else(gone)?)))
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, CacheError> {
        Ok(self.0.lock().unwrap().blobs.contains_key(&blob.digest))
    }

    fn put(&self, blob: &Descriptor, file: &Path) -> Result<(), CacheError> {
        let bytes = std::fs::read(file).unwrap();
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (blob.digest, blob.size), "what is sent is as announced");
        self.0.lock().unwrap().blobs.insert(blob.digest, bytes);
        Ok(())
    }

    fn put_manifest(&self, bytes: &[u8]) -> Result<(), CacheError> {
        self.0.lock().unwrap().manifest = Some(bytes.to_vec());
        Ok(())
    }
}

impl Memory {
    fn manifest_mut(&self, change: impl FnOnce(&mut Manifest)) {
        let mut contents = self.0.lock().unwrap();
        let mut manifest = Manifest::from_bytes(contents.manifest.as_ref().unwrap()).unwrap();
        change(&mut manifest);
        contents.manifest = Some(manifest.to_bytes());
    }

    /// Puts other bytes under a blob's name.
    fn replace(&self, digest: &Digest, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.0.lock().unwrap().blobs.get_mut(digest).unwrap());
    }

    fn remove(&self, digest: &Digest) {
        self.0.lock().unwrap().blobs.remove(digest).unwrap();
    }

    fn list_blob(&self) -> Descriptor {
        let bytes = self.0.lock().unwrap().manifest.clone().unwrap();
        let manifest = Manifest::from_bytes(&bytes).unwrap();
        manifest.layers.into_iter().find(|d| d.media_type == document::RECORDS).unwrap()
    }

    fn list(&self) -> List {
        let blob = self.list_blob();
        document::read_list("memory", &blob, &mut self.open(&blob).unwrap()).unwrap()
    }

    /// As somebody would who may write there: another list, properly named.
    fn forge(&self, change: impl FnOnce(&mut List)) {
        let (old, mut list) = (self.list_blob(), self.list());
        change(&mut list);
        let bytes = list.encode();
        let blob = document::list_blob("", &bytes);
        self.0.lock().unwrap().blobs.insert(blob.digest, bytes);
        self.manifest_mut(|manifest| {
            let at = manifest.layers.iter().position(|d| d.digest == old.digest).unwrap();
            manifest.layers[at] = blob;
        });
    }

    fn layer_blob(&self) -> Digest {
        self.list().layers[0].blob.as_ref().unwrap().digest
    }
}

fn key() -> Digest {
    Digest::of(KEY)
}

fn record(layer: Digest) -> Record {
    Record {
        key: key(),
        layer,
        tree: Digest::of(b"tree"),
        created: 7,
        millis: 12,
        label: "[1/1] RUN make".into(),
        place: "[1/1]".into(),
        used: 0,
    }
}

fn content(layer: Digest) -> Content {
    Content { records: vec![record(layer)], bases: Vec::new() }
}

fn export(from: &TestStore, to: &Memory, content: &Content, keys: &Keys) -> Exported {
    Exporter::new(&from.store, to, None, keys, &Cancel::new()).export(content).unwrap()
}

/// A cache with one step, and its layer.
fn cache() -> (TestStore, Memory, Digest) {
    let (from, memory) = (store(), Memory::default());
    let layer = layer(&from.store, &["d", "d/a=1", "link->d/a", "hard<-d/a", "-gone"]);
    export(&from, &memory, &content(layer), &Keys::default());
    (from, memory, layer)
}

fn imports(memory: &Memory, keys: Keys) -> Imports {
    Imports::new(vec![Box::new(memory.clone())], &Arc::new(keys), &Cancel::new())
}

#[test]
fn a_record_is_read_when_asked_for_and_a_layer_when_its_files_are() {
    let (from, memory, layer) = cache();
    let (to, imports) = (store(), imports(&memory, Keys::default()));
    assert!(memory.0.lock().unwrap().read.is_empty());
    assert_eq!(imports.find(&to.store, &Digest::of(b"another step")), None);
    let found = imports.find(&to.store, &key()).unwrap();
    assert_eq!((found.layer, found.millis, found.ran, &*found.from), (layer, 12, 7, "memory"));
    assert_eq!(to.store.held_layer(&layer).unwrap(), None);
    assert_eq!(to.store.layer(&layer).unwrap(), from.store.layer(&layer).unwrap());
    let list = memory.list_blob().digest;
    assert_eq!(memory.0.lock().unwrap().read, [list], "one list, read once");
    let fs = to.store.layer_fs(&layer).unwrap();
    assert_eq!(std::fs::read(fs.join("link")).unwrap(), b"1");
    assert_eq!(to.store.held_layer(&layer).unwrap(), from.store.layer(&layer).unwrap());
    assert_eq!(
        to.store.layer_by_content(&to.store.layer(&layer).unwrap().unwrap().content).unwrap().unwrap().diff_id,
        layer
    );
    let told = imports.told().remove(0);
    assert_eq!((told.hits, told.layers, told.requests, told.trouble), (1, 1, 3, None));
    assert_eq!(to.store.packed(&layer, "zstd-1").unwrap(), from.store.packed(&layer, "zstd-1").unwrap());
}

#[test]
fn what_is_there_is_not_sent_again_and_what_others_wrote_stays() {
    let (from, memory, layer) = cache();
    let again = export(&from, &memory, &content(layer), &Keys::default());
    assert_eq!(again, Exported { records: 1, new: 0, sent: 0, bytes: 0 });
    let other = store();
    let second = layer_of(&other, 300);
    let mut content = content(second);
    content.records[0].key = Digest::of(b"another step");
    let done = export(&other, &memory, &content, &Keys::default());
    assert_eq!((done.records, done.new, done.sent), (2, 1, 3), "its index, its layer, the list");
    let (to, imports) = (store(), imports(&memory, Keys::default()));
    assert_eq!(imports.find(&to.store, &key()).unwrap().layer, layer);
    assert_eq!(imports.find(&to.store, &Digest::of(b"another step")).unwrap().layer, second);
    to.store.materialise(&second).unwrap();
    assert!(to.store.held_layer(&second).unwrap().is_some());
}

/// A layer of so many files that its index is a blob of its own.
fn layer_of(store: &TestStore, files: usize) -> Digest {
    let lines: Vec<String> = (0..files).map(|i| format!("file-{i}={i}")).collect();
    layer(&store.store, &lines.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn many_records_are_many_lists_of_which_few_are_read() {
    let (from, memory) = (store(), Memory::default());
    let layers: Vec<Digest> = (0..3).map(|i| layer(&from.store, &[&format!("a={i}")])).collect();
    let records = (0..600_usize).map(|i| Record { key: Digest::of(&i.to_le_bytes()), ..record(layers[i % 3]) });
    let content = Content { records: records.collect(), bases: Vec::new() };
    export(&from, &memory, &content, &Keys::default());
    let (to, imports) = (store(), imports(&memory, Keys::default()));
    for i in [5_usize, 77, 599] {
        let found = imports.find(&to.store, &Digest::of(&i.to_le_bytes())).unwrap();
        assert_eq!(found.layer, layers[i % 3]);
    }
    assert!(memory.0.lock().unwrap().read.len() <= 3);
}

#[test]
fn the_records_that_were_not_used_for_longest_go_first() {
    let (from, memory, layer) = cache();
    memory.forge(|list| list.records[0].used = 1);
    let records = (0..document::MAX_RECORDS).map(|i| Record { key: Digest::of(&i.to_le_bytes()), ..record(layer) });
    let content = Content { records: records.collect(), bases: Vec::new() };
    let done = export(&from, &memory, &content, &Keys::default());
    assert_eq!(done.records, document::MAX_RECORDS);
    assert_eq!(imports(&memory, Keys::default()).find(&store().store, &key()), None);
}

/// How a harmed cache shows.
enum Shows {
    /// Nothing is found.
    AtOnce,
    /// A layer is promised and not to be had.
    Later,
}

#[test]
fn whatever_is_wrong_with_a_cache_costs_a_miss_and_leaves_nothing() {
    type Harm = fn(&Memory);
    let cases: [(&str, Harm, Shows, &str); 16] = [
        ("a list that was changed", |m| m.replace(&m.list_blob().digest, |b| b[20] ^= 1), Shows::AtOnce, "is sha256:"),
        ("a list that was cut", |m| m.replace(&m.list_blob().digest, |b| b.truncate(40)), Shows::AtOnce, "of 40 bytes"),
        ("a list that is gone", |m| m.remove(&m.list_blob().digest), Shows::AtOnce, "no such blob"),
        (
            "a list that is too long",
            |m| m.manifest_mut(|manifest| manifest.layers[0].size = 1 << 40),
            Shows::AtOnce,
            "more than",
        ),
        ("a list that unpacks to too much", bomb, Shows::AtOnce, "unpacks to more than"),
        (
            "a list that is not sorted",
            |m| m.forge(|l| l.layers = vec![l.layers[0].clone(); 2]),
            Shows::AtOnce,
            "not sorted",
        ),
        (
            "a cache of another form",
            |m| {
                m.manifest_mut(|manifest| {
                    drop(manifest.extra.insert("artifactType".into(), "application/vnd.rbuild.cache.v2".into()))
                })
            },
            Shows::AtOnce,
            "of the form v2",
        ),
        (
            "a cache of BuildKit's",
            |m| {
                m.manifest_mut(|manifest| {
                    manifest.extra.clear();
                    manifest.config.media_type = "application/vnd.buildkit.cacheconfig.v0".into();
                });
            },
            Shows::AtOnce,
            "BuildKit",
        ),
        ("no manifest", |m| m.0.lock().unwrap().manifest = Some(b"<html>".to_vec()), Shows::AtOnce, "not valid"),
        (
            "an index that is another one",
            |m| m.forge(|l| l.layers[0].index = Digest::of(b"x")),
            Shows::AtOnce,
            "another one than was promised",
        ),
        (
            "an index with a path that leads out",
            |m| reindex(m, |p| p.replace("link", "../x")),
            Shows::AtOnce,
            "no path in a layer",
        ),
        (
            "a layer that was changed",
            |m| {
                m.replace(&m.layer_blob(), |b| {
                    let at = b.len() / 2;
                    b[at] ^= 1
                })
            },
            Shows::Later,
            "memory",
        ),
        (
            "a layer that was cut",
            |m| {
                m.replace(&m.layer_blob(), |b| {
                    let half = b.len() / 2;
                    b.truncate(half)
                })
            },
            Shows::Later,
            "memory",
        ),
        ("a layer with something after it", |m| m.replace(&m.layer_blob(), |b| b.push(0)), Shows::Later, "memory"),
        ("a layer that is gone", |m| m.remove(&m.layer_blob()), Shows::Later, "no such blob"),
        (
            "an index of other files",
            |m| reindex(m, |p| p.replace("link", "lint")),
            Shows::Later,
            "other files than its index",
        ),
    ];
    for (what, harm, shows, reason) in cases {
        let (_from, memory, layer) = cache();
        harm(&memory);
        let (to, imports) = (store(), imports(&memory, Keys::default()));
        let found = imports.find(&to.store, &key());
        match shows {
            Shows::AtOnce => assert_eq!(found, None, "{what}"),
            Shows::Later => {
                assert!(found.is_some(), "{what}");
                assert!(matches!(to.store.layer_fs(&layer), Err(StoreError::Broken { .. })), "{what}");
                assert_eq!(to.store.take_broken(), [layer], "{what}");
                imports.forget();
                assert_eq!(imports.find(&to.store, &key()), None, "{what}: it is not promised again");
            }
        }
        let trouble = imports.told().remove(0).trouble.unwrap_or_default().0;
        assert!(trouble.contains(reason), "{what}: {trouble}");
        assert_eq!(to.store.layer(&layer).unwrap(), None, "{what}");
        assert!(to.store.all_layers().unwrap().is_empty(), "{what}");
        drop(imports);
        let left = walkdir::WalkDir::new(to.store.root().join("tmp")).min_depth(2).into_iter().flatten();
        assert_eq!(left.filter(|e| e.file_type().is_file()).count(), 0, "{what}");
    }
}

/// A list of a few bytes that unpacks to more than is read.
fn bomb(memory: &Memory) {
    let bytes = zstd::bulk::compress(&vec![b' '; (64 << 20) + 1], 1).unwrap();
    let blob = document::list_blob("", &bytes);
    memory.0.lock().unwrap().blobs.insert(blob.digest, bytes);
    memory.manifest_mut(|manifest| manifest.layers[0] = blob);
}

/// Another index in the list, with all that follows from it.
fn reindex(memory: &Memory, rename: impl Fn(&str) -> String) {
    use crate::layer::Index;
    use base64::Engine as _;
    memory.forge(|list| {
        let facts = &mut list.layers[0];
        let encoded = facts.index("memory", |_| unreachable!("the index is short")).unwrap();
        let mut index = Index::decode(&encoded).unwrap();
        for entry in &mut index.entries {
            entry.path = rename(&String::from_utf8(entry.path.clone()).unwrap()).into_bytes();
        }
        index.entries.sort_by(|a, b| a.path.cmp(&b.path));
        let encoded = index.encode();
        facts.index = Digest::of(&encoded);
        facts.info.content = index.content_digest();
        let packed = zstd::bulk::compress(&encoded, 1).unwrap();
        facts.inline = Some(base64::engine::general_purpose::STANDARD.encode(packed));
    });
}

#[test]
fn a_layer_that_is_another_than_its_name_says_is_not_taken() {
    let (from, memory, layer) = cache();
    // All of the other layer, under the first one's name.
    let other = self::layer(&from.store, &["evil=1"]);
    let elsewhere = Memory::default();
    export(&from, &elsewhere, &content(other), &Keys::default());
    let theirs = elsewhere.list().layers.remove(0);
    let blob = theirs.blob.clone().unwrap().digest;
    let bytes = elsewhere.0.lock().unwrap().blobs[&blob].clone();
    memory.0.lock().unwrap().blobs.insert(blob, bytes);
    memory.forge(|list| {
        let mut facts: LayerFacts = theirs.clone();
        facts.info.diff_id = layer;
        list.layers = vec![facts];
    });
    let (to, imports) = (store(), imports(&memory, Keys::default()));
    assert!(imports.find(&to.store, &key()).is_some());
    assert!(to.store.layer_fs(&layer).is_err());
    assert!(imports.told().remove(0).trouble.unwrap().0.contains("its tar is"));
    assert!(to.store.all_layers().unwrap().is_empty());
}

fn keys() -> [Keys; 2] {
    [1_u8, 2].map(|seed| {
        // PKCS#8 of a private key alone (RFC 8410, 7): the seed in an octet string.
        let der = [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &[seed; 32]].concat();
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        let mut keys = Keys::default();
        keys.add(format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n").as_bytes()).unwrap();
        keys
    })
}

#[test]
fn with_keys_only_what_they_signed_counts() {
    let [mine, theirs] = keys();
    let from = store();
    let layer = layer(&from.store, &["a=1"]);
    let signed = |keys: &Keys| {
        let memory = Memory::default();
        export(&from, &memory, &content(layer), keys);
        memory
    };
    let ask = |memory: &Memory, keys: Keys| {
        let imports = imports(memory, keys);
        let found = imports.find(&store().store, &key()).is_some();
        (found, imports.told().remove(0).unsigned)
    };
    assert_eq!(ask(&signed(&mine), keys().into_iter().next().unwrap()), (true, 0));
    assert_eq!(ask(&signed(&mine), Keys::default()), (true, 0), "who has no key asks for no signature");
    assert_eq!(ask(&signed(&theirs), keys().into_iter().next().unwrap()), (false, 1));
    assert_eq!(ask(&signed(&Keys::default()), keys().into_iter().next().unwrap()), (false, 1));
    let forged = signed(&mine);
    let signature = forged.list_blob().annotations[document::SIGNATURE].clone();
    forged.forge(|list| list.records[0].millis = 1);
    forged.manifest_mut(|m| drop(m.layers[0].annotations.insert(document::SIGNATURE.into(), signature)));
    assert_eq!(ask(&forged, keys().into_iter().next().unwrap()), (false, 1));
    // Who signs does not vouch for what others wrote.
    let mixed = signed(&theirs);
    let mut content = content(layer);
    content.records[0].key = Digest::of(b"another step");
    assert_eq!(export(&from, &mixed, &content, &mine).records, 1);
}

#[test]
fn an_image_is_not_written_over_by_a_cache() {
    let (from, memory, layer) = cache();
    let written = image(&from.store, &[layer], &[]);
    memory.put_manifest(&from.store.read_blob(&written.manifest).unwrap()).unwrap();
    let exporter = |packing| {
        Exporter::new(&from.store, &memory, packing, &Keys::default(), &Cancel::new()).export(&content(layer))
    };
    let error = exporter(Some(Packing::GZIP)).unwrap_err().to_string();
    assert!(error.contains("a tag of its own"), "{error}");
}

#[test]
fn an_image_can_carry_its_records() {
    for files in [1, 300] {
        let from = store();
        let (base, own) = (layer(&from.store, &["base=1"]), layer_of(&from, files));
        let carried = inline::carry(&from.store, &content(own), vec![base, own], &Keys::default()).unwrap();
        // As a push has it: packed, under names that were not known when the records were written.
        let memory = Memory::default();
        let mut layers = Vec::new();
        for layer in [base, own] {
            let path = from.dir.path().join(layer.hex());
            let packed = Packing::GZIP.write(&from.store, &layer, &path, &Cancel::new()).unwrap();
            let blob = Descriptor::new(media::LAYER_GZIP, packed.digest, packed.size);
            memory.put(&blob, &path).unwrap();
            layers.push(blob);
        }
        let mut manifest = Manifest::new(Descriptor::new(media::CONFIG, Digest::of(b"c"), 1), layers);
        manifest.annotations.insert(inline::ANNOTATION.into(), carried.encode());
        memory.put_manifest(&manifest.to_bytes()).unwrap();
        let (to, imports) = (store(), imports(&memory, Keys::default()));
        assert_eq!(imports.find(&to.store, &key()).unwrap().layer, own);
        // A long index is not carried: then the layer itself says what is in it.
        assert_eq!(to.store.held_layer(&own).unwrap().is_some(), files > 1);
        to.store.materialise(&own).unwrap();
        assert!(to.store.held_layer(&own).unwrap().is_some());
        assert_eq!(to.store.held_layer(&base).unwrap(), None);
    }
}
