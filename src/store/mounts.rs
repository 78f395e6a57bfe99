//! Cache mounts (`RUN --mount=type=cache`): directories that live between builds, by id.
//!
//! ```text
//! mounts/NAME/info     JSON: the id, when it was made, when it was last used
//! mounts/NAME/SLOT/N/  change sets in overlay-upper layout, 1 at the bottom
//! ```
//!
//! What a cache holds is its change sets stacked in the order of their numbers. A step works on an overlay of them with
//! an upper directory of its own; if it succeeds, that directory becomes one more change set by a rename, if it fails,
//! the directory is thrown away: so a failed step leaves no trace, whoever else uses the cache. Change sets are never
//! written to while somebody may have them mounted. As soon as nobody has, they are [folded](fold) into the lowest.
//!
//! Slots are for `sharing=private`: a second user at the same time gets a cache of its own. All others use slot 0.

mod fold;

use super::{Store, StoreError, disk, layout};
use crate::base::fs::Context;
use crate::base::lock::{self, Lock};
use crate::base::{Cancel, IoError, clock, fs};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who may use a cache at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Anybody: each sees the cache as it was when it began, and adds its changes at its end.
    Shared,
    /// One, and others meanwhile get another cache under the same id.
    Private,
    /// One, and others wait.
    Locked,
}

/// The right to use a cache, for as long as this lives.
#[derive(Debug)]
pub struct CacheMount<'s> {
    store: &'s Store,
    /// The slot's directory.
    dir: PathBuf,
    lock_path: PathBuf,
    lock: Lock,
    alone: bool,
}

/// A cache, for listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheInfo {
    /// Its id.
    pub id: String,
    /// When it was made, seconds since the epoch.
    pub created: i64,
    /// When a step last used it, seconds since the epoch.
    pub used: i64,
    /// Bytes on disk.
    pub bytes: u64,
    /// How many private caches there are under the id beside the common one.
    pub private: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Info {
    id: String,
    created: i64,
    used: i64,
}

const INFO: &str = "info";
/// How often a wait for a cache looks whether it is cancelled.
const PATIENCE: Duration = Duration::from_millis(20);
/// The most change sets that are stacked; an overlay has room for 500.
const MAX_CHANGE_SETS: usize = 400;

impl Store {
    /// Takes the cache `id` (any text) for use, making it if there is none; waits until `sharing` allows it. `None` when
    /// cancelled meanwhile. Who takes several at once has to do so in the order of their ids, lest two wait for each
    /// other.
    pub fn cache_mount(
        &self,
        id: &str,
        sharing: Sharing,
        cancel: &Cancel,
    ) -> Result<Option<CacheMount<'_>>, StoreError> {
        let name = layout::file_name(id);
        let dir = self.root().join(layout::MOUNTS).join(&name);
        let taken = loop {
            match self.try_slots(&name, sharing)? {
                Some(taken) => break taken,
                None if cancel.is_set() => return Ok(None),
                None => std::thread::sleep(PATIENCE),
            }
        };
        let (slot, lock_path, lock) = taken;
        let mount = CacheMount {
            store: self,
            dir: dir.join(slot.to_string()),
            lock_path,
            lock,
            alone: sharing != Sharing::Shared,
        };
        self.writable()?;
        fs::create_dir_all(&mount.dir)?;
        let now = clock::now();
        let created = read_info(&dir)?.map_or(now, |info| info.created);
        self.write_info(&dir, &Info { id: id.to_owned(), created, used: now })?;
        if mount.alone {
            mount.fold();
        }
        Ok(Some(mount))
    }

    fn try_slots(&self, name: &str, sharing: Sharing) -> Result<Option<(usize, PathBuf, Lock)>, StoreError> {
        let slots = if sharing == Sharing::Private { usize::MAX } else { 1 };
        for slot in 0..slots {
            let path = self.mount_lock(name, slot);
            let lock = match sharing {
                Sharing::Shared => lock::try_shared(&path)?,
                Sharing::Private | Sharing::Locked => lock::try_exclusive(&path)?,
            };
            if let Some(lock) = lock {
                return Ok(Some((slot, path, lock)));
            }
        }
        Ok(None)
    }

    fn mount_lock(&self, name: &str, slot: usize) -> PathBuf {
        self.root().join(layout::LOCKS).join(format!("mount-{name}-{slot}"))
    }

    fn write_info(&self, dir: &Path, info: &Info) -> Result<(), StoreError> {
        let path = dir.join(INFO);
        let json = serde_json::to_vec(info).map_err(std::io::Error::from).at("describe", &path)?;
        self.write_file(&path, &json)
    }

    /// All caches, in order of their ids.
    pub fn cache_mounts(&self) -> Result<Vec<CacheInfo>, StoreError> {
        let mounts = self.root().join(layout::MOUNTS);
        let mut all = Vec::new();
        for name in layout::list(&mounts)? {
            let dir = mounts.join(name);
            let Some(info) = read_info(&dir)? else { continue };
            let private = slots(&dir)?.iter().filter(|slot| **slot > 0).count();
            let Info { id, created, used } = info;
            all.push(CacheInfo { id, created, used, bytes: disk::bytes(&dir), private });
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// Removes the cache `id`, private ones under it too.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is none, [`StoreError::Busy`] while a build uses it.
    pub fn remove_cache_mount(&self, id: &str) -> Result<(), StoreError> {
        let name = layout::file_name(id);
        let dir = self.root().join(layout::MOUNTS).join(&name);
        if !dir.is_dir() {
            return Err(StoreError::Missing { what: "cache mount", name: id.to_owned() });
        }
        let mut held = Vec::new();
        for slot in slots(&dir)? {
            match lock::try_exclusive(self.mount_lock(&name, slot))? {
                Some(lock) => held.push(lock),
                None => return Err(StoreError::Busy { what: "cache mount", name: id.to_owned() }),
            }
        }
        // Out of the way by one rename, so that no build ever meets half of it.
        let doomed = self.temp_dir()?;
        fs::rename(&dir, doomed.path().join("cache"))?;
        Ok(fs::remove_tree(doomed.path())?)
    }
}

fn read_info(dir: &Path) -> Result<Option<Info>, IoError> {
    Ok(fs::read_if_exists(dir.join(INFO))?.and_then(|json| serde_json::from_slice(&json).ok()))
}

/// The slots of a cache, in order.
fn slots(dir: &Path) -> Result<Vec<usize>, StoreError> {
    numbered(dir)
}

/// The names in a directory that are numbers, in order.
fn numbered(dir: &Path) -> Result<Vec<usize>, StoreError> {
    let names = layout::list(dir)?;
    let mut numbers: Vec<usize> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

impl CacheMount<'_> {
    /// The directories that make up its contents, in overlay-upper layout, bottom first. Empty for a new cache.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when more have gathered than can be mounted.
    pub fn layers(&self) -> Result<Vec<PathBuf>, StoreError> {
        let numbers = numbered(&self.dir)?;
        if numbers.len() > MAX_CHANGE_SETS {
            let reason = format!("{} change sets have gathered; `rbuild cache rm` removes the cache", numbers.len());
            return Err(StoreError::Damaged { path: self.dir.clone(), reason });
        }
        Ok(numbers.into_iter().map(|number| self.dir.join(number.to_string())).collect())
    }

    /// Gives a new cache its first contents: `dir`, which lies under the store's `tmp/`. If another user was faster, that
    /// one's stay.
    pub fn begin(&self, dir: &Path) -> Result<(), StoreError> {
        self.place(dir, 1).map(drop)
    }

    /// Adds the change set `dir`, which lies under the store's `tmp/`.
    pub fn append(self, dir: &Path) -> Result<(), StoreError> {
        loop {
            let next = numbered(&self.dir)?.last().map_or(1, |last| last + 1);
            if self.place(dir, next)? {
                break;
            }
        }
        self.tidy()
    }

    /// Replaces the contents by `dir`, a whole directory under the store's `tmp/`. For a user who is alone.
    pub fn replace(self, dir: &Path) -> Result<(), StoreError> {
        let old = numbered(&self.dir)?;
        let next = old.last().map_or(1, |last| last + 1);
        self.place(dir, next)?;
        for number in old {
            fs::remove_tree(self.dir.join(number.to_string()))?;
        }
        Ok(())
    }

    /// False if there is one of that number.
    fn place(&self, dir: &Path, number: usize) -> Result<bool, StoreError> {
        let to = self.dir.join(number.to_string());
        match rustix::fs::renameat_with(CWD, dir, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
            Err(errno) => Err(errno).at("rename into place", to)?,
        }
    }

    /// Folds the change sets if no other user is left.
    fn tidy(self) -> Result<(), StoreError> {
        let CacheMount { store, dir, lock_path, lock, .. } = self;
        drop(lock);
        if let Some(lock) = lock::try_exclusive(&lock_path)? {
            CacheMount { store, dir, lock_path, lock, alone: true }.fold();
        }
        Ok(())
    }

    /// Makes one change set of all. One that can't be folded stays where it is, on top of those below: that costs a
    /// little at each mount, and nothing else.
    fn fold(&self) {
        let Ok(numbers) = numbered(&self.dir) else { return };
        let [lowest, others @ ..] = numbers.as_slice() else { return };
        let path = |number: &usize| self.dir.join(number.to_string());
        for other in others {
            if fold::fold(&path(other), &path(lowest)).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::store;
    use super::*;

    fn take<'s>(store: &'s Store, id: &str, sharing: Sharing) -> CacheMount<'s> {
        let stopped = Cancel::new();
        stopped.cancel();
        store.cache_mount(id, sharing, &stopped).unwrap().expect("the cache is free")
    }

    fn is_free(store: &Store, id: &str, sharing: Sharing) -> bool {
        let stopped = Cancel::new();
        stopped.cancel();
        store.cache_mount(id, sharing, &stopped).unwrap().is_some()
    }

    fn change(store: &Store, file: &str) -> tempfile::TempDir {
        let dir = store.temp_dir().unwrap();
        std::fs::create_dir(dir.path().join("set")).unwrap();
        std::fs::write(dir.path().join("set").join(file), file).unwrap();
        dir
    }

    #[test]
    fn sharing_says_who_may_use_a_cache_at_the_same_time() {
        use Sharing::{Locked, Private, Shared};
        let (_dir, store) = store();
        for (first, second, free) in [
            (Shared, Shared, true),
            (Shared, Locked, false),
            (Locked, Shared, false),
            (Locked, Locked, false),
            (Private, Locked, false),
            (Private, Private, true),
        ] {
            let held = take(&store, "x", first);
            assert_eq!(is_free(&store, "x", second), free, "{first:?} then {second:?}");
            assert!(is_free(&store, "y", second), "another id is another cache");
            drop(held);
        }
        let (one, other) = (take(&store, "x", Private), take(&store, "x", Private));
        assert_ne!(one.dir, other.dir);
    }

    #[test]
    fn change_sets_are_stacked_while_in_use_and_folded_after() {
        let (_dir, store) = store();
        let (a, b) = (take(&store, "x", Sharing::Shared), take(&store, "x", Sharing::Shared));
        let sets = [change(&store, "a"), change(&store, "b")];
        a.begin(&sets[0].path().join("set")).unwrap();
        assert_eq!(a.layers().unwrap().len(), 1);
        a.append(&sets[1].path().join("set")).unwrap();
        assert_eq!(b.layers().unwrap().len(), 2, "the second user may have them mounted");
        drop(b);
        let alone = take(&store, "x", Sharing::Locked);
        let [only] = alone.layers().unwrap().try_into().unwrap();
        assert!(only.join("a").exists() && only.join("b").exists());
    }

    #[test]
    fn caches_are_listed_and_removed_unless_in_use() {
        let (_dir, store) = store();
        let held = take(&store, "/var/cache", Sharing::Shared);
        held.begin(&change(&store, "a").path().join("set")).unwrap();
        assert!(matches!(store.remove_cache_mount("/var/cache"), Err(StoreError::Busy { .. })));
        drop(held);
        let listed = store.cache_mounts().unwrap();
        assert_eq!(listed.iter().map(|c| (c.id.as_str(), c.private)).collect::<Vec<_>>(), [("/var/cache", 0)]);
        store.remove_cache_mount("/var/cache").unwrap();
        assert!(matches!(store.remove_cache_mount("/var/cache"), Err(StoreError::Missing { .. })));
        assert_eq!(store.cache_mounts().unwrap(), []);
    }
}
