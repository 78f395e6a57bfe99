//! What files take on disk, with hard links counted once.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file's space, found under one of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode {
    id: (u64, u64),
    links: u64,
    bytes: u64,
}

/// Everything at and below `path`, once per name. What can't be looked at takes no space.
pub(super) fn inodes(path: &Path) -> Vec<Inode> {
    walkdir::WalkDir::new(path)
        .follow_links(false)
        .into_iter()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|m| Inode {
            id: (m.dev(), m.ino()),
            links: if m.is_dir() { 1 } else { m.nlink() },
            // st_blocks counts units of 512 bytes on every file system (stat(2)).
            bytes: m.blocks() * 512,
        })
        .collect()
}

/// Bytes at and below `path`, hard links among them counted once.
pub(super) fn bytes(path: &Path) -> u64 {
    Kept::default().add(&inodes(path))
}

/// Files that stay: what would one more tree add?
#[derive(Debug, Default)]
pub(super) struct Kept(HashSet<(u64, u64)>);

impl Kept {
    /// The bytes that these files need beyond what is kept already.
    pub(super) fn more(&self, inodes: &[Inode]) -> u64 {
        let mut new = HashSet::new();
        inodes.iter().filter(|i| !self.0.contains(&i.id) && new.insert(i.id)).map(|i| i.bytes).sum()
    }

    /// Keeps these files too; gives what [`Kept::more`] gives.
    pub(super) fn add(&mut self, inodes: &[Inode]) -> u64 {
        inodes.iter().filter(|i| self.0.insert(i.id)).map(|i| i.bytes).sum()
    }
}

/// Files that go: how much does that free?
#[derive(Debug, Default)]
pub(super) struct Freed(HashMap<(u64, u64), u64>);

impl Freed {
    /// The bytes that are free once these names and all before them are gone: those of files without a name left.
    pub(super) fn add(&mut self, inodes: &[Inode]) -> u64 {
        let mut bytes = 0;
        for inode in inodes {
            let gone = self.0.entry(inode.id).or_default();
            *gone += 1;
            if *gone == inode.links {
                bytes += inode.bytes;
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hard_linked_file_counts_once_and_is_free_only_with_its_last_name() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        std::fs::create_dir(&b).unwrap();
        std::fs::write(a.join("file"), vec![1; 8192]).unwrap();
        std::fs::hard_link(a.join("file"), b.join("file")).unwrap();
        let file: u64 = inodes(&a.join("file")).iter().map(|i| i.bytes).sum();
        assert!(file >= 8192, "{file}");
        let directory = bytes(&a) - file;

        let mut kept = Kept::default();
        assert_eq!(kept.add(&inodes(&a)), directory + file);
        assert_eq!(kept.more(&inodes(&b)), directory);
        let mut freed = Freed::default();
        assert_eq!(freed.add(&inodes(&a)), directory);
        assert_eq!(freed.add(&inodes(&b)), directory + file);
    }
}
