//! The mark phase of garbage collection: what the roots lead to, without knowing what any document means.

use super::{Store, StoreError};
use crate::base::fs::Context;
use crate::base::{Digest, fs};
use std::collections::HashSet;
use std::io::Read;

/// What stays: for whoever decides about `trees/`.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Blobs.
    pub blobs: HashSet<Digest>,
    /// Layers, by diffID.
    pub layers: HashSet<Digest>,
    /// Trees that kept step records name.
    pub trees: HashSet<Digest>,
}

/// Longest blob that may be a document: OCI registries take manifests up to 4 MiB.
const DOCUMENT_LIMIT: u64 = 16 * 1024 * 1024;

/// Follows references from the roots.
pub(super) struct Marker<'a> {
    store: &'a Store,
    pub(super) live: Live,
    met: HashSet<Digest>,
}

impl<'a> Marker<'a> {
    pub(super) fn new(store: &'a Store) -> Marker<'a> {
        Marker { store, live: Live::default(), met: HashSet::new() }
    }

    /// Marks `root` and all that it leads to.
    pub(super) fn mark(&mut self, root: Digest) -> Result<(), StoreError> {
        let mut queue = vec![root];
        while let Some(digest) = queue.pop() {
            if !self.met.insert(digest) {
                continue;
            }
            if self.store.has_blob(&digest) {
                self.live.blobs.insert(digest);
                queue.extend(self.references(&digest)?);
                self.mark_referrers(digest)?;
            }
            if let Some(info) = self.store.layer(&digest)? {
                self.live.layers.insert(digest);
                queue.extend(info.fs_of);
            }
        }
        Ok(())
    }

    /// Marks what is said of a blob. What a statement names in its text (steps, materials) is not kept for its sake.
    fn mark_referrers(&mut self, subject: Digest) -> Result<(), StoreError> {
        let mut queue = self.store.referrers(&subject)?;
        while let Some(referrer) = queue.pop() {
            if !self.store.has_blob(&referrer) || !self.live.blobs.insert(referrer) {
                continue;
            }
            for part in self.references(&referrer)? {
                if self.store.has_blob(&part) {
                    self.live.blobs.insert(part);
                }
            }
            queue.extend(self.store.referrers(&referrer)?);
        }
        Ok(())
    }

    /// The digests that a document names; none for a blob that is no document.
    fn references(&self, blob: &Digest) -> Result<Vec<Digest>, StoreError> {
        let path = self.store.blob_path(blob);
        let mut file = fs::open(&path)?;
        let mut first = [0];
        if file.read(&mut first).map_or(true, |n| n == 0 || !matches!(first[0], b'{' | b'[' | b' ' | b'\n' | b'\t')) {
            return Ok(vec![]);
        }
        let mut bytes = first.to_vec();
        file.take(DOCUMENT_LIMIT).read_to_end(&mut bytes).at("read", &path)?;
        Ok(digests_in(&bytes))
    }
}

/// Every `sha256:<64 hex digits>` in `bytes`.
fn digests_in(bytes: &[u8]) -> Vec<Digest> {
    const PREFIX: &[u8] = b"sha256:";
    let mut found = vec![];
    for (at, _) in bytes.windows(PREFIX.len()).enumerate().filter(|(_, w)| *w == PREFIX) {
        let digits = bytes.get(at + PREFIX.len()..at + PREFIX.len() + 64);
        found.extend(digits.and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| Digest::from_hex(d).ok()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_wherever_they_stand_and_only_whole() {
        let digest = Digest::of(b"x");
        let text = format!("sha256:{digest} {{\"a\":\"{digest}\"}} sha256:12 sha256:");
        assert_eq!(digests_in(text.as_bytes()), [digest, digest]);
    }
}
