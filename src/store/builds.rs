//! `builds/HEX`: what the last build of each project did, a sealed JSON document under the project's digest. Derived
//! from nothing and needed by nobody but `why` and `plan`: without it builds are the same, only less is told of them.

use super::gc::Policy;
use super::{Store, StoreError, layout};
use crate::base::fs::Context;
use crate::base::{Digest, fs};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::SystemTime;

/// Projects whose last build is remembered: far more than anybody works on, a few megabytes at most.
const KEPT: usize = 256;

impl Store {
    /// The record of a project's last build; a damaged one counts as absent.
    pub fn build<T: DeserializeOwned>(&self, project: &Digest) -> Result<Option<T>, StoreError> {
        layout::read_sealed(&self.build_path(project))
    }

    /// Every record that can be read, with the time of its build in seconds since the epoch; the latest first.
    pub fn builds<T: DeserializeOwned>(&self) -> Result<Vec<(T, i64)>, StoreError> {
        let directory = self.root.join(layout::BUILDS);
        let mut builds = vec![];
        for name in layout::list(&directory)? {
            let path = directory.join(name);
            if let Some(record) = layout::read_sealed(&path)? {
                let time = std::fs::metadata(&path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                builds.push((time, record));
            }
        }
        builds.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        Ok(builds.into_iter().map(|(time, record)| (record, seconds(time))).collect())
    }

    /// Writes the record of a build that has just ended.
    pub fn put_build(&self, project: &Digest, record: &impl Serialize) -> Result<(), StoreError> {
        let path = self.build_path(project);
        let json = serde_json::to_vec(record)
            .map_err(|e| StoreError::Damaged { path: path.clone(), reason: e.to_string() })?;
        self.write_file(&path, &layout::seal(&json))
    }

    /// Says that a build has just ended as its record tells already.
    pub fn touch_build(&self, project: &Digest) -> Result<(), StoreError> {
        self.writable()?;
        let path = self.build_path(project);
        match File::open(&path) {
            Ok(file) => Ok(file.set_modified(SystemTime::now()).at("set the time of", &path)?),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e).at("open", path)?,
        }
    }

    /// Forgets a project's last build.
    pub fn remove_build(&self, project: &Digest) -> Result<(), StoreError> {
        self.writable()?;
        Ok(fs::remove_file(self.build_path(project))?)
    }

    /// The files that `policy` lets go: damaged ones, old ones, and all but those of the latest projects.
    pub(super) fn dead_builds(&self, policy: &Policy) -> Result<Vec<PathBuf>, StoreError> {
        let directory = self.root.join(layout::BUILDS);
        let mut kept = vec![];
        let mut dead = vec![];
        for name in layout::list(&directory)? {
            let path = directory.join(&name);
            let time = std::fs::metadata(&path).map_or(0, |m| m.mtime());
            let is_whole = layout::digest_of_name(&name).is_some()
                && layout::read_sealed::<serde::de::IgnoredAny>(&path)?.is_some();
            let is_fresh = policy.keep_steps_younger_than.is_none_or(|moment| time >= moment);
            if is_whole && is_fresh && !policy.all { kept.push((time, path)) } else { dead.push(path) }
        }
        kept.sort_by(|a, b| b.cmp(a));
        dead.extend(kept.into_iter().skip(KEPT).map(|(_, path)| path));
        Ok(dead)
    }

    pub(super) fn build_path(&self, project: &Digest) -> PathBuf {
        self.root.join(layout::BUILDS).join(project.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::store;
    use super::*;

    #[test]
    fn the_latest_build_comes_first_and_damaged_records_do_not_count() {
        let (_dir, store) = store();
        let [a, b, c] = ["a", "b", "c"].map(|name| Digest::of(name.as_bytes()));
        for (project, text) in [(a, "first"), (b, "second"), (c, "third")] {
            store.put_build(&project, &text).unwrap();
        }
        std::fs::write(store.build_path(&c), "torn").unwrap();
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(100);
        for project in [a, b] {
            File::open(store.build_path(&project)).unwrap().set_modified(old).unwrap();
        }
        store.touch_build(&a).unwrap();
        let builds: Vec<(String, i64)> = store.builds().unwrap();
        assert_eq!(builds.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), ["first", "second"]);
        assert_eq!(builds[1].1, 100);
        assert_eq!(store.build::<String>(&c).unwrap(), None);
        store.remove_build(&a).unwrap();
        assert_eq!(store.build::<String>(&a).unwrap(), None);
        store.touch_build(&a).unwrap();
        assert_eq!(store.build::<String>(&a).unwrap(), None, "touching makes nothing");
    }

    #[test]
    fn damaged_old_and_too_many_records_go() {
        let (_dir, store) = store();
        let time = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let project = |n: u64| Digest::of(&n.to_be_bytes());
        let total = KEPT as u64 + 3;
        for n in 0..total {
            store.put_build(&project(n), &n).unwrap();
            File::open(store.build_path(&project(n))).unwrap().set_modified(time(1000 + n)).unwrap();
        }
        std::fs::write(store.build_path(&project(total - 1)), "torn").unwrap();
        let dead = |policy| {
            let mut dead = store.dead_builds(&policy).unwrap();
            dead.sort();
            dead
        };
        let paths = |numbers: &mut dyn Iterator<Item = u64>| {
            let mut paths: Vec<PathBuf> = numbers.map(|n| store.build_path(&project(n))).collect();
            paths.sort();
            paths
        };
        assert_eq!(dead(Policy::default()), paths(&mut [0, 1, total - 1].into_iter()));
        let young = Policy { keep_steps_younger_than: Some(990 + total as i64), ..Policy::default() };
        assert_eq!(dead(young).len() as u64, total - 9);
        assert_eq!(dead(Policy { all: true, ..Policy::default() }), paths(&mut (0..total)));
    }
}
