//! `steps/ab/KEY`: step records, and the lock that makes two builds run a step once.
//!
//! A record is two sealed parts, each one line of checksum and one line of JSON: the summary, which a warm build reads,
//! and the preimage of the key, which may be long and which only `why` reads.

use super::{Store, StoreError, layout};
use crate::base::fs::Context;
use crate::base::lock::{self, Lock};
use crate::base::{Digest, clock, fs};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a step did last time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step's key.
    pub key: Digest,
    /// The layer it made; `None`: it made none (FROM, a WORKDIR that is `/`).
    pub layer: Option<Digest>,
    /// The merged tree after it.
    pub tree: Digest,
    /// When it ran, seconds since the epoch.
    pub created: i64,
    /// How long it took, milliseconds.
    pub millis: u64,
    /// Its label, for people.
    pub label: String,
    /// Where it stands: Dockerfile stage and instruction number, so that `why` finds its predecessor.
    pub place: String,
    /// The key's preimage in parts, in hashing order: (what, value). Values of secrets are never here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preimage: Vec<(String, String)>,
}

/// What one read fetches of a record: more than any summary with a label of sane length.
const SUMMARY_READ: usize = 8 * 1024;

/// A record's file is touched when it is used, but not more often than this: seconds.
const TOUCH_INTERVAL: i64 = 24 * 60 * 60;

impl Store {
    /// The record under `key`; a damaged one counts as absent. The layer it names is not checked.
    pub fn step(&self, key: &Digest) -> Result<Option<StepRecord>, StoreError> {
        let Some(bytes) = fs::read_if_exists(self.step_path(key))? else { return Ok(None) };
        Ok(decode(&bytes).filter(|r| r.key == *key))
    }

    /// The record under `key` with an empty `preimage`: all that a look-up needs, in one read of a few hundred bytes
    /// however long the preimage is. Notes that the record was used.
    pub fn step_summary(&self, key: &Digest) -> Result<Option<StepRecord>, StoreError> {
        let path = self.step_path(key);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).at("open", path)?,
        };
        let mut bytes = vec![0; SUMMARY_READ];
        let n = file.read(&mut bytes).at("read", &path)?;
        bytes.truncate(n);
        if n == SUMMARY_READ && summary_end(&bytes).is_none() {
            file.read_to_end(&mut bytes).at("read", &path)?;
        }
        let record = summary_end(&bytes).and_then(|end| decode_summary(&bytes[..end])).filter(|r| r.key == *key);
        if record.is_some() && self.read_only.is_none() {
            touch(&file);
        }
        Ok(record)
    }

    /// Writes a record.
    pub fn put_step(&self, record: &StepRecord) -> Result<(), StoreError> {
        self.write_file(&self.step_path(&record.key), &encode(record))
    }

    /// Removes a record.
    pub fn remove_step(&self, key: &Digest) -> Result<(), StoreError> {
        self.writable()?;
        Ok(fs::remove_file(self.step_path(key))?)
    }

    /// Every record that can be read.
    pub fn steps(&self) -> Result<Vec<StepRecord>, StoreError> {
        let mut records = vec![];
        for path in self.step_files()? {
            let bytes = fs::read_if_exists(&path)?.unwrap_or_default();
            records.extend(decode(&bytes).filter(|r| self.step_path(&r.key) == path));
        }
        Ok(records)
    }

    /// Tries for the right to run the step `key`. `None`: another process (or thread) is at it.
    pub fn try_lock_step(&self, key: &Digest) -> Result<Option<Lock>, StoreError> {
        Ok(lock::try_exclusive(self.step_lock_path(key))?)
    }

    /// Waits for the right to run the step `key`.
    pub fn lock_step(&self, key: &Digest) -> Result<Lock, StoreError> {
        Ok(lock::exclusive(self.step_lock_path(key))?)
    }

    /// Every file that may be a record.
    pub(super) fn step_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let directory = self.root.join(layout::STEPS);
        let mut files = vec![];
        for shard in layout::list(&directory)? {
            let shard = directory.join(shard);
            files.extend(layout::list(&shard)?.into_iter().map(|name| shard.join(name)));
        }
        Ok(files)
    }

    pub(super) fn step_path(&self, key: &Digest) -> PathBuf {
        layout::sharded(&self.root.join(layout::STEPS), key)
    }

    /// Lock files are removed by `gc` alone, which has the store to itself: a lock on an unlinked file excludes nobody.
    fn step_lock_path(&self, key: &Digest) -> PathBuf {
        self.root.join(layout::LOCKS).join(key.hex())
    }
}

/// When the record in this file was last used or written, seconds since the epoch.
pub(super) fn last_used(path: &Path) -> i64 {
    std::fs::metadata(path).map_or(0, |m| m.mtime())
}

/// Sets the file's mtime to now if it is a day old: `gc` goes by it. Failing costs nothing but precision.
fn touch(file: &File) {
    if file.metadata().is_ok_and(|m| m.mtime() + TOUCH_INTERVAL < clock::now()) {
        let _ = file.set_modified(SystemTime::now());
    }
}

fn encode(record: &StepRecord) -> Vec<u8> {
    let line = |json: serde_json::Result<Vec<u8>>| {
        let mut line = layout::seal(&json.unwrap_or_default());
        line.push(b'\n');
        line
    };
    let summary = StepRecord { preimage: vec![], ..record.clone() };
    let mut bytes = line(serde_json::to_vec(&summary));
    bytes.extend(line(serde_json::to_vec(&record.preimage)));
    bytes
}

/// Where the summary's two lines end, without the last newline.
fn summary_end(bytes: &[u8]) -> Option<usize> {
    let json = bytes.iter().position(|b| *b == b'\n')? + 1;
    bytes[json..].iter().position(|b| *b == b'\n').map(|n| json + n)
}

fn decode_summary(bytes: &[u8]) -> Option<StepRecord> {
    serde_json::from_slice(layout::unseal(bytes)?).ok()
}

pub(super) fn decode(bytes: &[u8]) -> Option<StepRecord> {
    let (summary, rest) = bytes.split_at_checked(summary_end(bytes)?)?;
    let preimage = rest.strip_prefix(b"\n")?.strip_suffix(b"\n")?;
    let mut record = decode_summary(summary)?;
    record.preimage = serde_json::from_slice(layout::unseal(preimage)?).ok()?;
    Some(record)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::store;
    use super::*;

    pub(in super::super) fn record(name: &str, layer: Option<Digest>) -> StepRecord {
        StepRecord {
            key: Digest::of(name.as_bytes()),
            layer,
            tree: Digest::of(b"tree"),
            created: 7,
            millis: 12,
            label: format!("RUN {name}\nsecond line"),
            place: "build:3".into(),
            preimage: vec![("argv".into(), "sh\n-c".into()), ("env".into(), "A=1".into())],
        }
    }

    #[test]
    fn records_come_back_whole_or_as_a_summary() {
        let (_dir, store) = store();
        let mut record = record("make", None);
        record.preimage.extend((0..10_000).map(|i| (format!("file {i}"), Digest::of(&[1]).to_string())));
        store.put_step(&record).unwrap();
        assert_eq!(store.step(&record.key).unwrap().unwrap(), record);
        assert_eq!(store.steps().unwrap(), [record.clone()]);
        let summary = store.step_summary(&record.key).unwrap().unwrap();
        assert_eq!(summary, StepRecord { preimage: vec![], ..record.clone() });
        store.remove_step(&record.key).unwrap();
        assert_eq!(store.step(&record.key).unwrap(), None);
    }

    #[test]
    fn a_label_longer_than_the_first_read_does_no_harm() {
        let (_dir, store) = store();
        let mut record = record("long", None);
        record.label = "x".repeat(3 * SUMMARY_READ);
        store.put_step(&record).unwrap();
        assert_eq!(store.step_summary(&record.key).unwrap().unwrap().label, record.label);
    }

    #[test]
    fn a_record_that_is_cut_anywhere_or_lies_under_another_key_counts_as_absent() {
        let (_dir, store) = store();
        let record = record("make", None);
        store.put_step(&record).unwrap();
        let path = store.step_path(&record.key);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(store.step(&record.key).unwrap(), None, "cut at {cut}");
        }
        let other = Digest::of(b"other");
        store.write_file(&store.step_path(&other), &whole).unwrap();
        assert_eq!(store.step(&other).unwrap(), None);
        assert_eq!(store.step_summary(&other).unwrap(), None);
    }

    #[test]
    fn the_step_lock_excludes_threads_of_one_process() {
        let (_dir, store) = store();
        let key = Digest::of(b"k");
        let held = store.lock_step(&key).unwrap();
        assert!(store.try_lock_step(&key).unwrap().is_none());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| store.lock_step(&key).map(|_| std::time::Instant::now()).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(50));
            let freed = std::time::Instant::now();
            drop(held);
            assert!(waiter.join().unwrap() >= freed);
        });
    }
}
