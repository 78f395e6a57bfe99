//! The store on disk: content, layers, trees, step records, refs, locks. Everything is built under `tmp/` and
//! published by rename, so that a kill at any point leaves garbage there and never half a thing under its name. Knows
//! nothing of what OCI documents mean. Format: docs/store-format.md.
//!
//! Durability: nothing is synced while a build runs. [`Store::set_ref`] syncs the file system once before a name
//! appears, if anything that the name may lead to is not yet known to be on disk. A layer is marked after the sync that
//! covered it; one without the mark is trusted only in the boot of the machine in which it was published, because
//! after a power cut its files may be empty although their names are there.

pub mod builds;
pub mod content;
mod disk;
pub mod fsck;
pub mod gc;
pub mod layers;
pub mod layout;
mod mark;
pub mod mounts;
pub mod packed;
pub mod partial;
pub mod promise;
pub mod referrers;
pub mod refs;
pub mod statcache;
pub mod steps;
mod tmp;
pub mod usage;

use crate::base::fs::Context;
use crate::base::lock::{self, Lock};
use crate::base::{Digest, IoError, fs};
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// An open store. Holds the store-wide lock: shared to build and read, exclusive to collect. Cheap to share by reference
/// between threads.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    access: Access,
    /// The feature that this program does not know and must know to write.
    read_only: Option<String>,
    /// Started by the first temporary file.
    session: Mutex<Option<tmp::Session>>,
    /// Whether a blob was published and not synced.
    dirty: AtomicBool,
    /// Layers that were published or met, and are not marked as synced.
    unsynced: Mutex<HashSet<Digest>>,
    boot: OnceLock<String>,
    promises: promise::Promises,
    _lock: Lock,
}

/// What an opened store may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Build, run, read: many at once.
    Shared,
    /// Collect, repair: alone. Waits for the others to end.
    Exclusive,
}

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The store was written by a newer rbuild.
    #[error("store {} uses feature '{feature}', which this rbuild does not know", root.display())]
    Feature {
        /// Store root.
        root: PathBuf,
        /// The unknown feature.
        feature: String,
    },
    /// The store has another format altogether.
    #[error("store {} has format {found}; this rbuild knows format {known}", root.display())]
    Format {
        /// Store root.
        root: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A directory that is no store and not empty.
    #[error("{} is not a store and not empty: it holds '{entry}'", root.display())]
    Foreign {
        /// The directory.
        root: PathBuf,
        /// Something in it that no store has.
        entry: String,
    },
    /// Something in the store is not what its name says.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// Which file or directory.
        path: PathBuf,
        /// How it shows.
        reason: String,
    },
    /// Content did not have the digest it was announced under.
    #[error("content has digest {found} but was announced as {expected}")]
    Mismatch {
        /// Announced.
        expected: Digest,
        /// Computed.
        found: Digest,
    },
    /// Content is longer than it was announced, or than the caller allows.
    #[error("content is longer than the limit of {limit} bytes")]
    TooLong {
        /// Bytes.
        limit: u64,
    },
    /// Something needed is not in the store.
    #[error("{what} {name} is not in the store")]
    Missing {
        /// "layer", "blob".
        what: &'static str,
        /// Its digest or name.
        name: String,
    },
    /// A layer was to be had from elsewhere, and is not.
    #[error("layer {layer} is not to be had")]
    Broken {
        /// diffID.
        layer: Digest,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something is in use by another build.
    #[error("{what} {name} is in use by a build")]
    Busy {
        /// "cache mount".
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Collecting or repairing was tried on a store that others may be using.
    #[error("store {} was not opened for exclusive use", root.display())]
    NotExclusive {
        /// Store root.
        root: PathBuf,
    },
}

impl Store {
    /// Opens the store at `root`, making it if there is none. Costs one small read and one lock.
    pub fn open(root: &Path, access: Access) -> Result<Store, StoreError> {
        Store::open_with(root, access, |path| match access {
            Access::Shared => lock::shared(path).map(Some),
            Access::Exclusive => lock::exclusive(path).map(Some),
        })?
        .ok_or_else(|| StoreError::NotExclusive { root: root.to_owned() })
    }

    /// Opens the store for exclusive use if nobody else has it open; `None` if somebody has.
    pub fn try_open_exclusive(root: &Path) -> Result<Option<Store>, StoreError> {
        Store::open_with(root, Access::Exclusive, |path| lock::try_exclusive(path))
    }

    fn open_with(
        root: &Path,
        access: Access,
        take: impl FnOnce(&Path) -> Result<Option<Lock>, IoError>,
    ) -> Result<Option<Store>, StoreError> {
        let meta = match layout::Meta::read(root)? {
            Some(meta) => meta,
            None => layout::create(root)?,
        };
        let read_only = meta.check(root)?;
        if let (Access::Exclusive, Some(feature)) = (access, &read_only) {
            return Err(StoreError::Feature { root: root.to_owned(), feature: feature.clone() });
        }
        // Absolute, since snapshots hand its paths to processes with other working directories.
        let root = std::path::absolute(root).at("find", root)?;
        let Some(lock) = take(&root.join(layout::LOCK))? else { return Ok(None) };
        Ok(Some(Store {
            root,
            access,
            read_only,
            session: Mutex::default(),
            dirty: AtomicBool::new(false),
            unsynced: Mutex::default(),
            boot: OnceLock::new(),
            promises: promise::Promises::default(),
            _lock: lock,
        }))
    }

    /// Its directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A fresh directory under `tmp/`, on the same file system as everything else; removed when dropped, which must
    /// happen before the store is. The first call of a process also removes what killed builds left there.
    pub fn temp_dir(&self) -> Result<tempfile::TempDir, StoreError> {
        let session = self.session_dir()?;
        Ok(tempfile::Builder::new().prefix("d").tempdir_in(&session).at("create a directory in", session)?)
    }

    /// Writes a file of the store so that readers see all of it or what stood there before: under `tmp/`, then renamed
    /// to `path`, which lies in the store and whose directory is made if need be.
    pub fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.place(self.stage(bytes)?, path)
    }

    /// `containers/`: its contents belong to `container`.
    pub fn containers_dir(&self) -> PathBuf {
        self.root.join(layout::CONTAINERS)
    }

    /// `logs/`: whole outputs of failed steps.
    pub fn logs_dir(&self) -> PathBuf {
        self.root.join(layout::LOGS)
    }

    /// `failed/`: root filesystems of failed steps.
    pub fn failed_dir(&self) -> PathBuf {
        self.root.join(layout::FAILED)
    }

    /// `last-build`: what `rbuild shell` needs to know of the last build.
    pub fn last_build_path(&self) -> PathBuf {
        self.root.join(layout::LAST_BUILD)
    }

    /// Writes a small document with its checksum, so that one that is torn or rotten shows.
    pub fn put_sealed(&self, path: &Path, value: &impl serde::Serialize) -> Result<(), StoreError> {
        let json = serde_json::to_vec(value).map_err(std::io::Error::from).at("describe", path)?;
        self.write_file(path, &layout::seal(&json))
    }

    /// Reads what [`Store::put_sealed`] wrote. `None`: absent or damaged, which count the same.
    pub fn sealed<T: serde::de::DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, StoreError> {
        layout::read_sealed(path)
    }

    /// Whether this program may write here.
    fn writable(&self) -> Result<(), StoreError> {
        match &self.read_only {
            None => Ok(()),
            Some(feature) => Err(StoreError::Feature { root: self.root.clone(), feature: feature.clone() }),
        }
    }

    fn exclusive(&self) -> Result<(), StoreError> {
        match self.access {
            Access::Exclusive => Ok(()),
            Access::Shared => Err(StoreError::NotExclusive { root: self.root.clone() }),
        }
    }

    fn session_dir(&self) -> Result<PathBuf, StoreError> {
        self.writable()?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*session {
            return Ok(session.dir().to_owned());
        }
        let tmp = self.root.join(layout::TMP);
        fs::create_dir_all(&tmp)?;
        tmp::sweep(&tmp)?;
        Ok(session.insert(tmp::Session::begin(&tmp)?).dir().to_owned())
    }

    /// An empty temporary file.
    fn temp_file(&self) -> Result<tempfile::NamedTempFile, StoreError> {
        let session = self.session_dir()?;
        Ok(tempfile::Builder::new().prefix("f").tempfile_in(&session).at("create a file in", session)?)
    }

    fn stage(&self, bytes: &[u8]) -> Result<tempfile::NamedTempFile, StoreError> {
        let mut file = self.temp_file()?;
        file.write_all(bytes).at("write", file.path())?;
        Ok(file)
    }

    fn place(&self, file: tempfile::NamedTempFile, path: &Path) -> Result<(), StoreError> {
        let result = match file.persist(path) {
            Err(e) if e.error.kind() == std::io::ErrorKind::NotFound => {
                if let Some(directory) = path.parent() {
                    fs::create_dir_all(directory)?;
                }
                e.file.persist(path)
            }
            result => result,
        };
        result.map_err(|e| e.error).at("rename into place", path)?;
        Ok(())
    }

    /// Identifies this run of the kernel. Empty where the kernel doesn't say: then a power cut can't be told.
    fn boot(&self) -> &str {
        self.boot.get_or_init(|| {
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
        })
    }

    /// Remembers that the next name needs a sync first, for this layer.
    fn note_unsynced(&self, layer: &Digest) {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).insert(*layer);
    }

    /// Syncs the file system if anything published or met since opening may not be on disk yet. Whether it did.
    fn sync(&self) -> Result<bool, StoreError> {
        let layers = std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        let dirty = self.dirty.swap(false, Ordering::SeqCst);
        if layers.is_empty() && !dirty {
            return Ok(false);
        }
        let synced = std::fs::File::open(&self.root)
            .and_then(|directory| rustix::fs::syncfs(&directory).map_err(std::io::Error::from));
        if let Err(e) = synced {
            self.dirty.store(true, Ordering::SeqCst);
            self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).extend(layers);
            return Err(e).at("sync the file system of", &self.root)?;
        }
        for layer in layers {
            self.mark_synced(&layer);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store in a fresh directory, and the directory.
    pub(super) fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), Access::Shared).unwrap();
        (dir, store)
    }

    /// The same store, opened anew for exclusive use.
    pub(super) fn exclusive(store: Store) -> Store {
        let root = store.root().to_owned();
        drop(store);
        Store::open(&root, Access::Exclusive).unwrap()
    }

    #[test]
    fn a_new_store_is_private_and_opens_again() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, store) = store();
        let root = dir.path().join("store");
        assert_eq!(std::fs::metadata(&root).unwrap().permissions().mode() & 0o7777, 0o700);
        let second = Store::open(&root, Access::Shared).unwrap();
        assert!(Store::try_open_exclusive(&root).unwrap().is_none());
        drop((store, second));
        assert!(Store::try_open_exclusive(&root).unwrap().is_some());
    }

    #[test]
    fn many_may_make_the_same_store_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("deep/store");
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for i in 0..8_u8 {
                let (root, barrier) = (&root, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let store = Store::open(root, Access::Shared).unwrap();
                    let digest = store.put_blob(&[i]).unwrap();
                    assert_eq!(store.read_blob(&digest).unwrap(), [i]);
                });
            }
        });
    }

    #[test]
    fn directories_of_derived_data_may_be_deleted() {
        let (_dir, store) = store();
        for directory in ["steps", "contexts", "contents", "trees", "locks", "tmp", "refs"] {
            std::fs::remove_dir(store.root().join(directory)).unwrap();
        }
        let layer = layers::tests::publish(&store, "a");
        store.put_step(&steps::tests::record("make", Some(layer.diff_id))).unwrap();
        store.set_ref("x", &layer.diff_id).unwrap();
        drop(store.lock_step(&layer.diff_id).unwrap());
        let cache = statcache::StatCache::load(&store, "/src");
        let facts = statcache::FileFacts { content: layer.diff_id, bare: true };
        cache.put(statcache::StatKey { dev: 1, ino: 1, size: 1, mtime: 1, ctime: 1 }, facts);
        cache.save().unwrap();
        assert_eq!(store.steps().unwrap().len(), 1);
    }

    #[test]
    fn opening_writes_nothing_into_an_existing_store_until_something_is_stored() {
        let (dir, store) = store();
        assert_eq!(layout::list(&dir.path().join("store/tmp")).unwrap().len(), 0);
        let temp = store.temp_dir().unwrap();
        assert!(temp.path().starts_with(store.root().join("tmp")));
    }

    #[test]
    fn a_directory_with_other_things_does_not_become_a_store() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let error = Store::open(dir.path(), Access::Shared).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { ref entry, .. } if entry == "thesis.tex"), "{error}");
        assert_eq!(layout::list(dir.path()).unwrap(), ["thesis.tex"]);
    }

    #[test]
    fn an_unknown_read_only_compatible_feature_allows_reading_alone() {
        let (dir, store) = store();
        let root = dir.path().join("store");
        let digest = store.put_blob(b"x").unwrap();
        drop(store);
        std::fs::write(root.join("meta"), r#"{"format":1,"read_only_compatible":["later"]}"#).unwrap();
        let store = Store::open(&root, Access::Shared).unwrap();
        assert_eq!(store.read_blob(&digest).unwrap(), b"x");
        assert!(matches!(store.put_blob(b"y"), Err(StoreError::Feature { .. })));
        assert!(matches!(store.set_ref("a", &digest), Err(StoreError::Feature { .. })));
        drop(store);
        assert!(matches!(Store::open(&root, Access::Exclusive), Err(StoreError::Feature { .. })));
    }

    #[test]
    fn a_damaged_meta_is_an_error_and_not_a_fresh_store() {
        let (dir, store) = store();
        drop(store);
        std::fs::write(dir.path().join("store/meta"), "{\"for").unwrap();
        assert!(matches!(Store::open(&dir.path().join("store"), Access::Shared), Err(StoreError::Damaged { .. })));
    }
}
