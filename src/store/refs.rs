//! `refs/`: names → manifest digests. A name is any text; the file name is its percent-encoded form, the file holds
//! name and digest, sealed.

use super::{Store, StoreError, layout};
use crate::base::{Digest, fs};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefFile {
    pub(super) name: String,
    pub(super) target: Digest,
}

impl Store {
    /// What `name` stands for. A damaged ref counts as absent.
    pub fn get_ref(&self, name: &str) -> Result<Option<Digest>, StoreError> {
        let file: Option<RefFile> = layout::read_sealed(&self.ref_path(name))?;
        Ok(file.filter(|f| f.name == name).map(|f| f.target))
    }

    /// Makes `name` stand for `target` (atomically; syncs the file system first, so that it holds against power loss).
    /// A name that stands for it already, with everything synced, costs one read.
    pub fn set_ref(&self, name: &str, target: &Digest) -> Result<(), StoreError> {
        self.writable()?;
        if self.get_ref(name)? == Some(*target) {
            self.sync()?;
            return Ok(());
        }
        let file = RefFile { name: name.to_owned(), target: *target };
        let body = serde_json::to_vec(&file).unwrap_or_default();
        // Staged before the sync, which so covers the ref's own bytes too: the rename alone remains.
        let staged = self.stage(&layout::seal(&body))?;
        self.sync()?;
        self.place(staged, &self.ref_path(name))
    }

    /// Removes a name; whether it was there.
    pub fn remove_ref(&self, name: &str) -> Result<bool, StoreError> {
        self.writable()?;
        let path = self.ref_path(name);
        let was = path.exists();
        fs::remove_file(path)?;
        Ok(was)
    }

    /// All names, sorted.
    pub fn refs(&self) -> Result<Vec<(String, Digest)>, StoreError> {
        let directory = self.root.join(layout::REFS);
        let mut refs = vec![];
        for name in layout::list(&directory)? {
            if let Some(file) = layout::read_sealed::<RefFile>(&directory.join(name))? {
                refs.push((file.name, file.target));
            }
        }
        refs.sort();
        Ok(refs)
    }

    pub(super) fn ref_path(&self, name: &str) -> PathBuf {
        self.root.join(layout::REFS).join(layout::file_name(name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::store;
    use super::*;

    #[test]
    fn refs_of_any_name_are_set_listed_and_removed() {
        let (_dir, store) = store();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let long = format!("example.org/{}:tag", "x".repeat(300));
        for name in ["docker.io/library/x:latest", "../../etc/passwd", &long] {
            store.set_ref(name, &one).unwrap();
            store.set_ref(name, &two).unwrap();
            assert_eq!(store.get_ref(name).unwrap(), Some(two), "{name}");
        }
        let names: Vec<String> = store.refs().unwrap().into_iter().map(|r| r.0).collect();
        assert_eq!(names, ["../../etc/passwd", "docker.io/library/x:latest", &long]);
        assert!(store.remove_ref(&long).unwrap());
        assert!(!store.remove_ref(&long).unwrap());
        assert_eq!(store.get_ref(&long).unwrap(), None);
    }

    #[test]
    fn a_half_written_ref_counts_as_absent() {
        let (_dir, store) = store();
        store.set_ref("a", &Digest::of(b"1")).unwrap();
        let path = store.ref_path("a");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(store.get_ref("a").unwrap(), None);
        assert_eq!(store.refs().unwrap(), []);
    }
}
