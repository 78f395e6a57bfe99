//! `contexts/`: what files of build contexts hashed to, and whether they have extended attributes, by (device, inode,
//! size, mtime, ctime).
//!
//! The racy-git rule: a file that was changed again within the granularity of its time stamps looks unchanged. So a
//! digest is recorded only if ctime and mtime are older, by a safe margin, than the moment the cache was loaded, which
//! is before the file was looked at: any later change then moves ctime. Younger files are hashed again next time.
//!
//! One file per context: a header, then fixed-size entries sorted by key, searched in place without decoding. Each
//! entry has its own check, verified when it is found, so that loading costs one read whatever its length.

use super::{Store, StoreError, layout};
use crate::base::{Digest, clock, fs};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What identifies an unchanged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatKey {
    /// st_dev.
    pub dev: u64,
    /// st_ino.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime: i128,
    /// Nanoseconds since the epoch.
    pub ctime: i128,
}

/// What is recorded of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// sha256 of its contents.
    pub content: Digest,
    /// It has no extended attributes that would belong into an image: there is no need to ask for them. A change of
    /// attributes changes ctime as well.
    pub bare: bool,
}

/// The stat cache of one build context. Look-ups and inserts go from many threads.
#[derive(Debug)]
pub struct StatCache {
    /// `None`: the store can't be written.
    path: Option<PathBuf>,
    /// Entries as they lie in the file, without the header.
    loaded: Vec<u8>,
    /// One bit per loaded entry: it was asked for.
    used: Vec<AtomicU64>,
    added: Mutex<HashMap<[u8; KEY], FileFacts>>,
    changed: AtomicBool,
    /// Files with a time stamp from here on (nanoseconds since the epoch) are not recorded.
    racy_from: i128,
}

const MAGIC: &[u8; 16] = b"rbuild-stat-v2\n\0";
/// Bytes of a key: five 8-byte big-endian numbers.
const KEY: usize = 40;
/// Where an entry's check begins: behind the key, the digest and a number that is 1 for a bare file, else 0.
const CHECK: usize = KEY + 32 + 8;
/// Bytes of an entry.
const ENTRY: usize = CHECK + 8;

/// The coarsest time stamps in use (FAT: 2 s), in nanoseconds.
const MARGIN: i128 = 2_000_000_000;

/// Entries that were not asked for are kept up to this number, since other Dockerfiles may use other parts of the same
/// context; beyond it they go as soon as they outnumber the used ones.
const UNUSED_LIMIT: usize = 100_000;

impl StatCache {
    /// Loads the cache of the context directory `context` (any stable name of it). A damaged file is an empty cache.
    pub fn load(store: &Store, context: &str) -> StatCache {
        let path = store.root().join(layout::CONTEXTS).join(Digest::of(context.as_bytes()).hex());
        let mut cache = StatCache::load_at(&path, i128::from(clock::now()) * 1_000_000_000);
        if store.writable().is_err() {
            cache.path = None;
        }
        cache
    }

    fn load_at(path: &Path, now: i128) -> StatCache {
        let mut loaded = fs::read_if_exists(path).ok().flatten().unwrap_or_default();
        if loaded.starts_with(MAGIC) && (loaded.len() - MAGIC.len()).is_multiple_of(ENTRY) {
            loaded.drain(..MAGIC.len());
        } else {
            loaded.clear();
        }
        let words = (loaded.len() / ENTRY).div_ceil(64);
        StatCache {
            path: Some(path.to_owned()),
            loaded,
            used: (0..words).map(|_| AtomicU64::new(0)).collect(),
            added: Mutex::default(),
            changed: AtomicBool::new(false),
            racy_from: now - MARGIN,
        }
    }

    /// What is recorded of this very file, if it may be trusted.
    pub fn get(&self, key: &StatKey) -> Option<FileFacts> {
        let key = encode_key(key)?;
        let (entries, _) = self.loaded.as_chunks::<ENTRY>();
        if let Ok(i) = entries.binary_search_by(|entry| entry[..KEY].cmp(&key))
            && let Some(facts) = decode(&entries[i])
        {
            self.used[i / 64].fetch_or(1 << (i % 64), Ordering::Relaxed);
            return Some(facts);
        }
        self.added.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }

    /// Records what was found out after this cache was loaded and after the file was looked at.
    pub fn put(&self, key: StatKey, facts: FileFacts) {
        if key.mtime.max(key.ctime) >= self.racy_from {
            return;
        }
        if let Some(key) = encode_key(&key) {
            self.added.lock().unwrap_or_else(PoisonError::into_inner).insert(key, facts);
            self.changed.store(true, Ordering::Relaxed);
        }
    }

    /// Writes the cache if it changed. Of two builds that end at once the last one's additions stay. Entries not used
    /// since loading are dropped where they are very many and outnumber the others.
    pub fn save(&self) -> Result<(), StoreError> {
        let Some(path) = &self.path else { return Ok(()) };
        if !self.changed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let (loaded, _) = self.loaded.as_chunks::<ENTRY>();
        let added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        let used: usize = self.used.iter().map(|w| w.load(Ordering::Relaxed).count_ones() as usize).sum();
        let unused = loaded.len() - used;
        let drop_unused = unused > UNUSED_LIMIT && unused > used + added.len();

        let mut entries: Vec<[u8; ENTRY]> = added.iter().map(|(key, facts)| encode(key, facts)).collect();
        for (i, entry) in loaded.iter().enumerate() {
            let was_used = self.used[i / 64].load(Ordering::Relaxed) >> (i % 64) & 1 == 1;
            if (was_used || !drop_unused) && decode(entry).is_some() {
                entries.push(*entry);
            }
        }
        drop(added);
        // Stable, so that of two entries for one file the added one comes first and stays.
        entries.sort_by(|a, b| a[..KEY].cmp(&b[..KEY]));
        entries.dedup_by(|later, first| later[..KEY] == first[..KEY]);
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(entries.as_flattened());
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        Ok(fs::write_atomic(path, &bytes)?)
    }
}

/// Big-endian, so that byte order is an order. `None` for times outside the years 1677 to 2262: not worth a wider field.
fn encode_key(key: &StatKey) -> Option<[u8; KEY]> {
    let mtime = i64::try_from(key.mtime).ok()?;
    let ctime = i64::try_from(key.ctime).ok()?;
    let mut out = [0; KEY];
    let fields = [key.dev, key.ino, key.size, mtime as u64, ctime as u64];
    for (place, field) in out.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
        *place = field.to_be_bytes();
    }
    Some(out)
}

fn encode(key: &[u8; KEY], facts: &FileFacts) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..KEY].copy_from_slice(key);
    entry[KEY..KEY + 32].copy_from_slice(facts.content.as_bytes());
    entry[KEY + 32..CHECK].copy_from_slice(&u64::from(facts.bare).to_be_bytes());
    let check = check(&entry);
    entry[CHECK..].copy_from_slice(&check.to_be_bytes());
    entry
}

fn decode(entry: &[u8; ENTRY]) -> Option<FileFacts> {
    if entry[CHECK..] != check(entry).to_be_bytes() {
        return None;
    }
    let content = Digest::from_bytes(*entry[KEY..].first_chunk()?);
    Some(FileFacts { content, bare: entry[CHECK - 1] == 1 })
}

/// FNV-1a over 8-byte words with a final mix: finds torn pages and flipped bits in nanoseconds. It guards against
/// accidents, not against whoever can write to the store.
fn check(entry: &[u8; ENTRY]) -> u64 {
    let (words, _) = entry[..CHECK].as_chunks::<8>();
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| {
        (hash ^ u64::from_be_bytes(*word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
    });
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i128 = 1_800_000_000_000_000_000;

    fn key(ino: u64) -> StatKey {
        StatKey { dev: 1, ino, size: 10, mtime: NOW - 10 * MARGIN, ctime: NOW - 10 * MARGIN }
    }

    fn facts(ino: u64) -> FileFacts {
        FileFacts { content: Digest::of(&ino.to_le_bytes()), bare: ino.is_multiple_of(2) }
    }

    #[test]
    fn entries_survive_saving_and_a_change_of_any_field_misses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let cache = StatCache::load_at(&path, NOW);
        for ino in [300, 2, 1, 70_000] {
            cache.put(key(ino), facts(ino));
            assert_eq!(cache.get(&key(ino)), Some(facts(ino)), "before saving");
        }
        cache.save().unwrap();
        let cache = StatCache::load_at(&path, NOW);
        cache.put(key(5), facts(5));
        cache.save().unwrap();
        let cache = StatCache::load_at(&path, NOW);
        for ino in [1, 2, 5, 300, 70_000] {
            assert_eq!(cache.get(&key(ino)), Some(facts(ino)), "{ino}");
        }
        let whole = key(2);
        let others = [
            StatKey { dev: 2, ..whole },
            StatKey { ino: 3, ..whole },
            StatKey { size: 11, ..whole },
            StatKey { mtime: whole.mtime + 1, ..whole },
            StatKey { ctime: whole.ctime + 1, ..whole },
        ];
        for other in others {
            assert_eq!(cache.get(&other), None, "{other:?}");
        }
    }

    #[test]
    fn files_younger_than_the_margin_are_not_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StatCache::load_at(&dir.path().join("c"), NOW);
        let old = key(1);
        let cases = [
            (old, true),
            (StatKey { ctime: NOW - MARGIN - 1, ..old }, true),
            (StatKey { ctime: NOW - MARGIN, ..old }, false),
            (StatKey { mtime: NOW - 1, ..old }, false),
            (StatKey { mtime: NOW + 1_000_000 * MARGIN, ..old }, false),
        ];
        for (key, trusted) in cases {
            cache.put(key, facts(1));
            assert_eq!(cache.get(&key).is_some(), trusted, "{key:?}");
        }
    }

    #[test]
    fn a_damaged_entry_misses_and_a_damaged_file_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let cache = StatCache::load_at(&path, NOW);
        cache.put(key(1), facts(1));
        cache.put(key(2), facts(2));
        cache.save().unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in MAGIC.len()..MAGIC.len() + ENTRY {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            let cache = StatCache::load_at(&path, NOW);
            assert_eq!(cache.get(&key(1)), None, "byte {at}");
        }
        for cut in [0, 5, MAGIC.len() + 1, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(StatCache::load_at(&path, NOW).loaded.len(), 0, "cut at {cut}");
        }
    }

    #[test]
    fn nothing_is_written_unless_something_was_added() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let cache = StatCache::load_at(&path, NOW);
        cache.save().unwrap();
        assert!(!path.exists());
        cache.put(key(1), facts(1));
        cache.save().unwrap();
        std::fs::remove_file(&path).unwrap();
        cache.save().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn unused_entries_go_only_when_they_are_very_many() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let fill = |count: usize| {
            let cache = StatCache::load_at(&path, NOW);
            for ino in 0..count as u64 {
                cache.put(key(ino), facts(1));
            }
            cache.save().unwrap();
        };
        let use_one = || {
            let cache = StatCache::load_at(&path, NOW);
            cache.get(&key(7)).unwrap();
            cache.put(key(u64::MAX), facts(1));
            cache.save().unwrap();
            StatCache::load_at(&path, NOW).loaded.len() / ENTRY
        };
        fill(1000);
        assert_eq!(use_one(), 1001);
        fill(UNUSED_LIMIT + 10);
        assert_eq!(use_one(), 2);
    }
}
