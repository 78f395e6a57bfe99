//! Garbage collection: what no ref, container or fresh step record needs.
//!
//! Mark and sweep. Roots are the refs, the step records that the policy keeps and what the caller adds. The store knows
//! no OCI document, so references are found generically: every `sha256:<hex>` in a blob that looks like JSON names a
//! blob or a layer. A layer that shares files with another keeps it.
//!
//! Only a store opened for exclusive use is collected, so nobody is between making a thing and naming it. Removal goes
//! against the order of publication (records, maps, trees, blobs, layers), so a kill on the way leaves nothing that
//! names what is gone; a layer leaves its place in one rename.

use super::disk::{self, Freed, Inode, Kept};
use super::mark::Marker;
use super::steps::{self, StepRecord};
use super::usage::{Class, Total};
use super::{Access, Store, StoreError, layout, referrers, tmp};
use crate::base::{Digest, clock, fs};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use super::mark::Live;

/// What to keep. The default keeps all that a build could use again.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Keep only what refs and `roots` need: no step record, no stat cache.
    pub all: bool,
    /// Drop step records (and stat caches) that were last used before this moment, seconds since the epoch. Records
    /// whose layer a ref needs anyway stay.
    pub keep_steps_younger_than: Option<i64>,
    /// Drop the least recently used step records until the layers that only they need take at most this many bytes.
    pub max_cache_bytes: Option<u64>,
    /// Cache mounts go too.
    pub mounts: bool,
    /// Blobs and layers that something outside the store needs: what containers run on.
    pub roots: Vec<Digest>,
}

/// Something that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Of which class.
    pub class: Class,
    /// What a person calls it: a digest, a step's label.
    pub name: String,
    /// File or directory.
    pub path: PathBuf,
    /// Bytes on disk that are free afterwards.
    pub bytes: u64,
}

/// What [`Store::execute`] will remove, in this order.
#[derive(Debug)]
pub struct Plan {
    /// The things.
    pub items: Vec<Item>,
    /// Their space on disk.
    pub bytes: u64,
    /// Made while nobody else had the store.
    sound: bool,
}

impl Plan {
    /// Count and bytes of one class.
    pub fn total(&self, class: Class) -> Total {
        self.items.iter().filter(|i| i.class == class).fold(Total::default(), |total, item| Total {
            count: total.count + 1,
            bytes: total.bytes + item.bytes,
            ..total
        })
    }
}

/// What a collection did.
#[derive(Debug, Default)]
pub struct Collected {
    /// Things removed.
    pub count: u64,
    /// Bytes freed.
    pub bytes: u64,
    /// What could not be removed.
    pub failed: Vec<StoreError>,
}

/// Stat caches are derived data; after this many seconds without a change they are not worth their space.
const CONTEXT_AGE: i64 = 90 * 24 * 60 * 60;

impl Store {
    /// Finds what `policy` lets go. `dead_trees` is asked which files of `trees/` go with it. Under shared access the
    /// plan is for showing only: builds may be under way.
    pub fn plan_gc(
        &self,
        policy: &Policy,
        dead_trees: &mut dyn FnMut(&Live) -> Result<Vec<PathBuf>, StoreError>,
    ) -> Result<Plan, StoreError> {
        let mut marker = Marker::new(self);
        for (_, target) in self.refs()? {
            marker.mark(target)?;
        }
        for root in &policy.roots {
            marker.mark(*root)?;
        }
        let mut items = self.choose_steps(policy, &mut marker)?;
        items.extend(self.dead_contents(&marker.live)?);
        items.extend(self.dead_contexts(policy)?);
        items.extend(self.dead_builds(policy)?.iter().map(|path| item(Class::Build, path)));
        for path in dead_trees(&marker.live)? {
            if path.parent().is_some_and(|dir| dir.starts_with(self.trees_dir())) {
                items.push(item(Class::Tree, &path));
            }
        }
        items.extend(self.dead_referrers(&marker.live)?);
        items.extend(self.dead_blobs(&marker.live)?);
        items.extend(self.dead_layers(&marker.live)?);
        if policy.mounts {
            let directory = self.root().join(layout::MOUNTS);
            items.extend(layout::list(&directory)?.iter().map(|name| item(Class::Mount, &directory.join(name))));
        }
        for kept in [layout::FAILED, layout::LOGS] {
            let directory = self.root().join(kept);
            items.extend(layout::list(&directory)?.iter().map(|name| item(Class::Failed, &directory.join(name))));
        }
        items.extend(self.leftover_paths()?.iter().map(|path| item(Class::Tmp, path)));
        let bytes = items.iter().map(|i| i.bytes).sum();
        Ok(Plan { items, bytes, sound: self.access == Access::Exclusive })
    }

    /// Removes what a plan lists, as far as it can. The plan must come from this very store, opened for exclusive use.
    pub fn execute(&self, plan: Plan) -> Result<Collected, StoreError> {
        self.exclusive()?;
        if !plan.sound {
            return Err(StoreError::NotExclusive { root: self.root().to_owned() });
        }
        let mut done = Collected::default();
        for item in &plan.items {
            let result = match item.class {
                Class::Layer => self.discard_layer(&item.path),
                Class::Tmp => self.remove_leftover(&item.path),
                _ => remove(&item.path),
            };
            match result {
                Ok(()) => {
                    done.count += 1;
                    done.bytes += item.bytes;
                }
                Err(e) => done.failed.push(e),
            }
        }
        // Nobody holds one while we have the store to ourselves.
        let locks = self.root().join(layout::LOCKS);
        for name in layout::list(&locks)? {
            fs::remove_file(locks.join(name))?;
        }
        Ok(done)
    }

    /// What killed builds left: dead sessions, and temporary files beside files that are written atomically.
    pub(super) fn leftover_paths(&self) -> Result<Vec<PathBuf>, StoreError> {
        let sessions = tmp::leftovers(&self.root().join(layout::TMP), self.access == Access::Exclusive)?;
        let mut paths: Vec<PathBuf> = sessions.into_iter().map(|l| l.into_path()).collect();
        paths.extend(self.stray_temporaries());
        Ok(paths)
    }

    /// Removes one of what [`Store::leftover_paths`] gave.
    pub(super) fn remove_leftover(&self, path: &Path) -> Result<(), StoreError> {
        self.exclusive()?;
        remove(path)?;
        if path.parent() == Some(&self.root().join(layout::TMP)) {
            fs::remove_file(tmp::lock_of(path))?;
        }
        Ok(())
    }

    /// `.tmp…` files as [`fs::write_atomic`] makes them.
    fn stray_temporaries(&self) -> Vec<PathBuf> {
        let top = layout::list(self.root()).unwrap_or_default().into_iter().map(|name| self.root().join(name));
        let below = [layout::CONTEXTS, layout::TREES].map(|d| layout::files_below(&self.root().join(d)));
        top.chain(below.into_iter().flatten()).filter(|path| layout::is_temporary(path)).collect()
    }

    /// Marks what kept step records need; gives the records that go.
    fn choose_steps(&self, policy: &Policy, marker: &mut Marker<'_>) -> Result<Vec<Item>, StoreError> {
        let mut records = vec![];
        let mut dropped = vec![];
        for path in self.step_files()? {
            let record = steps::decode(&fs::read_if_exists(&path)?.unwrap_or_default());
            match record.filter(|r| self.step_path(&r.key) == path) {
                Some(record) => records.push((steps::last_used(&path).max(record.created), record)),
                None => dropped.push(Item { name: "damaged record".into(), ..item(Class::Step, &path) }),
            }
        }
        // Most recently used first; the key only makes the order certain.
        records.sort_by_key(|(used, record)| (std::cmp::Reverse(*used), record.key));

        let mut budget = Budget::new(self, policy, &marker.live);
        for (used, record) in records {
            let held = record.layer.is_some_and(|layer| marker.live.layers.contains(&layer));
            let fresh = policy.keep_steps_younger_than.is_none_or(|moment| used >= moment);
            let usable = match record.layer {
                Some(layer) => self.layer(&layer)?.is_some(),
                None => true,
            };
            if policy.all || !usable || !(held || fresh && budget.allows(&record)?) {
                let path = self.step_path(&record.key);
                dropped.push(Item { name: record.label, ..item(Class::Step, &path) });
                continue;
            }
            if let Some(layer) = record.layer {
                marker.mark(layer)?;
            }
            marker.live.trees.insert(record.tree);
        }
        Ok(dropped)
    }

    fn dead_contents(&self, live: &Live) -> Result<Vec<Item>, StoreError> {
        let directory = self.root().join(layout::CONTENTS);
        let mut items = vec![];
        for name in layout::list(&directory)? {
            let path = directory.join(&name);
            let target: Option<Digest> = layout::read_sealed(&path)?;
            if !target.is_some_and(|diff_id| live.layers.contains(&diff_id)) {
                items.push(item(Class::Content, &path));
            }
        }
        Ok(items)
    }

    fn dead_contexts(&self, policy: &Policy) -> Result<Vec<Item>, StoreError> {
        let directory = self.root().join(layout::CONTEXTS);
        let moment = policy.keep_steps_younger_than.unwrap_or(i64::MIN).max(clock::now() - CONTEXT_AGE);
        let paths = layout::list(&directory)?.into_iter().map(|name| directory.join(name));
        Ok(paths
            .filter(|path| layout::digest_of_name(path.file_name().unwrap_or_default()).is_some())
            .filter(|path| policy.all || std::fs::metadata(path).is_ok_and(|m| m.mtime() < moment))
            .map(|path| item(Class::Context, &path))
            .collect())
    }

    fn dead_referrers(&self, live: &Live) -> Result<Vec<Item>, StoreError> {
        let directory = self.root().join(layout::REFERRERS);
        let paths = layout::list(&directory)?.into_iter().map(|name| directory.join(name));
        let dead = |path: &PathBuf| referrers::subject(path).is_none_or(|subject| !live.blobs.contains(&subject));
        Ok(paths.filter(dead).map(|path| item(Class::Referrer, &path)).collect())
    }

    fn dead_blobs(&self, live: &Live) -> Result<Vec<Item>, StoreError> {
        let directory = self.root().join(layout::BLOBS);
        let names = layout::list(&directory)?;
        let dead = |name: &std::ffi::OsString| layout::digest_of_name(name).is_none_or(|d| !live.blobs.contains(&d));
        Ok(names.iter().filter(|n| dead(n)).map(|name| item(Class::Blob, &directory.join(name))).collect())
    }

    fn dead_layers(&self, live: &Live) -> Result<Vec<Item>, StoreError> {
        let directory = self.root().join(layout::LAYERS);
        let mut dead = vec![];
        for name in layout::list(&directory)? {
            let diff_id = layout::digest_of_name(&name);
            if !diff_id.is_some_and(|d| live.layers.contains(&d)) {
                let info = diff_id.map_or(Ok(None), |d| self.layer(&d))?;
                dead.push((info.is_none_or(|i| i.fs_of.is_none()), name));
            }
        }
        // A derived layer goes before the one whose files it uses.
        dead.sort();
        let mut freed = Freed::default();
        let items = dead.into_iter().map(|(_, name)| {
            let path = directory.join(&name);
            let bytes = freed.add(&disk::inodes(&path));
            Item { class: Class::Layer, name: display_name(&path), path, bytes }
        });
        Ok(items.collect())
    }
}

fn item(class: Class, path: &Path) -> Item {
    Item { class, name: display_name(path), path: path.to_owned(), bytes: disk::bytes(path) }
}

fn display_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    match layout::digest_of_name(name) {
        Some(digest) => digest.to_string(),
        None => name.to_string_lossy().into_owned(),
    }
}

/// Removes a file or a tree; one that is not there is no error.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let is_directory = path.symlink_metadata().is_ok_and(|m| m.is_dir());
    if is_directory {
        fs::remove_tree(path)?
    } else {
        fs::remove_file(path)?
    }
    Ok(())
}

/// The space that policy grants to layers which only step records need.
struct Budget<'a> {
    store: &'a Store,
    left: Option<u64>,
    kept: Kept,
    measured: HashMap<Digest, Vec<Inode>>,
}

impl<'a> Budget<'a> {
    fn new(store: &'a Store, policy: &Policy, live: &Live) -> Budget<'a> {
        let mut budget =
            Budget { store, left: policy.max_cache_bytes, kept: Kept::default(), measured: HashMap::new() };
        if budget.left.is_some() {
            for layer in &live.layers {
                budget.kept.add(&disk::inodes(&store.layer_dir(layer)));
            }
        }
        budget
    }

    /// Whether there is room for the record's layer; if so it is taken.
    fn allows(&mut self, record: &StepRecord) -> Result<bool, StoreError> {
        let (Some(left), Some(layer)) = (self.left, record.layer) else { return Ok(true) };
        let base = self.store.layer(&layer)?.and_then(|info| info.fs_of);
        let mut inodes = vec![];
        for part in [Some(layer), base].into_iter().flatten() {
            let measured = self.measured.entry(part).or_insert_with(|| disk::inodes(&self.store.layer_dir(&part)));
            inodes.extend_from_slice(measured);
        }
        let more = self.kept.more(&inodes);
        if more > left {
            return Ok(false);
        }
        self.kept.add(&inodes);
        self.left = Some(left - more);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::layers::tests::{info, publish};
    use super::super::steps::tests::record;
    use super::super::tests::{exclusive, store};
    use super::*;
    use std::collections::HashSet;

    fn no_trees(_: &Live) -> Result<Vec<PathBuf>, StoreError> {
        Ok(vec![])
    }

    /// An image of one layer under the name `name`; gives manifest and config.
    fn tag(store: &Store, name: &str, layer: &Digest) -> (Digest, Digest) {
        let config = store.put_blob(format!("{{\"n\":\"{name}\",\"diff_ids\":[\"{layer}\"]}}").as_bytes()).unwrap();
        let manifest = store.put_blob(format!("{{\"config\":{{\"digest\":\"{config}\"}}}}").as_bytes()).unwrap();
        store.set_ref(name, &manifest).unwrap();
        (manifest, config)
    }

    fn collect(store: &Store, policy: &Policy) -> Collected {
        let plan = store.plan_gc(policy, &mut no_trees).unwrap();
        let done = store.execute(plan).unwrap();
        assert!(done.failed.is_empty(), "{:?}", done.failed);
        done
    }

    fn layers(store: &Store) -> HashSet<Digest> {
        store.all_layers().unwrap().into_iter().collect()
    }

    #[test]
    fn what_a_ref_a_record_or_a_root_needs_stays_and_the_rest_goes() {
        let (dir, store) = store();
        let base = publish(&store, "tagged").diff_id;
        let derived = store.publish_derived(&base, vec![], info("clamped")).unwrap().diff_id;
        let (manifest, config) = tag(&store, "x:latest", &derived);
        let cached = publish(&store, "cached").diff_id;
        store.put_step(&record("make", Some(cached))).unwrap();
        store.put_step(&record("lost layer", Some(Digest::of(b"nowhere")))).unwrap();
        let container = publish(&store, "container").diff_id;
        publish(&store, "garbage");
        let opaque = store.put_blob(format!("not json {cached}").as_bytes()).unwrap();
        let store = exclusive(store);

        let policy = Policy { roots: vec![container], ..Policy::default() };
        collect(&store, &policy);
        assert_eq!(layers(&store), HashSet::from([base, derived, cached, container]));
        assert!(store.has_blob(&manifest) && store.has_blob(&config) && !store.has_blob(&opaque));
        assert_eq!(store.steps().unwrap(), [record("make", Some(cached))]);
        assert!(store.layer_by_content(&info("cached").content).unwrap().is_some());
        assert!(!store.content_path(&info("garbage").content).exists());

        collect(&store, &Policy { all: true, ..Policy::default() });
        assert_eq!(layers(&store), HashSet::from([base, derived]));
        assert_eq!(store.steps().unwrap(), []);

        store.remove_ref("x:latest").unwrap();
        collect(&store, &Policy::default());
        assert_eq!(layers(&store), HashSet::new());
        assert_eq!(layout::list(&store.root().join(layout::BLOBS)).unwrap().len(), 0);
        assert_eq!(collect(&store, &Policy::default()).count, 0, "a second collection finds nothing");
        drop(dir);
    }

    #[test]
    fn references_are_followed_through_documents() {
        let (_dir, store) = store();
        let layer = publish(&store, "a").diff_id;
        let (manifest, _) = tag(&store, "m", &layer);
        let index = store.put_blob(format!(" {{\"manifests\":[{{\"digest\":\"{manifest}\"}}]}}").as_bytes()).unwrap();
        store.remove_ref("m").unwrap();
        store.set_ref("index", &index).unwrap();
        let plan = store.plan_gc(&Policy::default(), &mut no_trees).unwrap();
        assert_eq!(plan.items, []);
    }

    #[test]
    fn a_plan_changes_nothing_and_only_one_made_alone_is_executed() {
        let (_dir, store) = store();
        let garbage = publish(&store, "garbage").diff_id;
        let shown = store.plan_gc(&Policy::default(), &mut no_trees).unwrap();
        assert_eq!(shown.total(Class::Layer).count, 1);
        assert!(shown.bytes >= shown.total(Class::Layer).bytes && shown.total(Class::Layer).bytes > 0);
        let store = exclusive(store);
        assert!(matches!(store.execute(shown), Err(StoreError::NotExclusive { .. })));
        assert!(store.layer(&garbage).unwrap().is_some());
    }

    #[test]
    fn old_records_go_unless_a_ref_needs_their_layer() {
        let (_dir, store) = store();
        let tagged = publish(&store, "tagged").diff_id;
        tag(&store, "x", &tagged);
        let used_at = |name: &str, layer: Digest, moment: u64| {
            let record = record(name, Some(layer));
            store.put_step(&record).unwrap();
            let file = std::fs::File::options().append(true).open(store.step_path(&record.key)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(moment)).unwrap();
        };
        used_at("tagged", tagged, 10);
        let (old, fresh) = (publish(&store, "old").diff_id, publish(&store, "fresh").diff_id);
        used_at("old", old, 99);
        used_at("fresh", fresh, 100);
        let store = exclusive(store);
        collect(&store, &Policy { keep_steps_younger_than: Some(100), ..Policy::default() });
        assert_eq!(layers(&store), HashSet::from([tagged, fresh]));
        let kept: HashSet<String> = store.steps().unwrap().into_iter().map(|r| r.label).collect();
        assert_eq!(kept, HashSet::from([record("tagged", None).label, record("fresh", None).label]));
    }

    #[test]
    fn a_size_cap_drops_the_least_recently_used_first() {
        let (_dir, store) = store();
        let mut made = vec![];
        for (name, moment) in [("new", 300), ("middle", 200), ("old", 100)] {
            let layer = publish(&store, name).diff_id;
            std::fs::write(store.layer_fs(&layer).unwrap().join("bulk"), vec![1; 100_000]).unwrap();
            let record = record(name, Some(layer));
            store.put_step(&record).unwrap();
            let file = std::fs::File::options().append(true).open(store.step_path(&record.key)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(moment)).unwrap();
            made.push(layer);
        }
        let store = exclusive(store);
        let two = disk::bytes(&store.layer_dir(&made[0])) + disk::bytes(&store.layer_dir(&made[1]));
        collect(&store, &Policy { max_cache_bytes: Some(two), ..Policy::default() });
        assert_eq!(layers(&store), HashSet::from([made[0], made[1]]));
        collect(&store, &Policy { max_cache_bytes: Some(two - 1), ..Policy::default() });
        assert_eq!(layers(&store), HashSet::from([made[0]]));
    }

    #[test]
    fn trees_go_as_the_caller_says_but_nothing_outside_their_directory() {
        let (_dir, store) = store();
        let inside = store.trees_dir().join("ab").join("node");
        store.write_file(&inside, b"n").unwrap();
        let digest = store.put_blob(b"{}").unwrap();
        store.set_ref("x", &digest).unwrap();
        store.put_step(&record("make", None)).unwrap();
        let store = exclusive(store);
        let outside = store.blob_path(&digest);
        let plan = store.plan_gc(&Policy::default(), &mut |live| {
            assert!(live.trees.contains(&record("make", None).tree) && live.blobs.contains(&digest));
            Ok(vec![inside.clone(), outside.clone(), store.trees_dir()])
        });
        store.execute(plan.unwrap()).unwrap();
        assert!(!inside.exists() && outside.exists() && store.trees_dir().exists());
    }

    #[test]
    fn leftovers_of_killed_builds_and_locks_go() {
        let (_dir, store) = store();
        let dead = store.root().join("tmp/1-dead");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join("big"), vec![1; 10_000]).unwrap();
        std::fs::write(store.root().join("tmp/1-dead.lock"), "").unwrap();
        std::fs::write(store.trees_dir().join(".tmpAbCdEf"), "").unwrap();
        drop(store.lock_step(&Digest::of(b"k")).unwrap());
        let store = exclusive(store);
        let plan = store.plan_gc(&Policy::default(), &mut no_trees).unwrap();
        assert_eq!(plan.total(Class::Tmp).count, 2);
        assert!(plan.total(Class::Tmp).bytes >= 10_000);
        store.execute(plan).unwrap();
        for directory in ["tmp", "trees", "locks"] {
            assert_eq!(layout::list(&store.root().join(directory)).unwrap().len(), 0, "{directory}");
        }
    }
}
