//! What layers become when they are packed: beside a layer, the digests and lengths of blobs that unpack to it. Known so,
//! a blob that a registry has need not be made again to tell that it is there.

use super::{Store, StoreError, layout};
use crate::base::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The file in a layer's directory.
const PACKED: &str = "packed";

/// A blob that unpacks to a layer. Whether the store holds it is another matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// Of the blob.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl Store {
    /// The blob that `way` (an encoder with its version, or where a blob came from) makes of a layer, if that is known. A
    /// damaged note counts as none.
    ///
    /// # Errors
    /// The note cannot be read.
    pub fn packed(&self, layer: &Digest, way: &str) -> Result<Option<Packed>, StoreError> {
        Ok(self.packings(layer)?.remove(way))
    }

    /// Remembers a blob that unpacks to a layer of the store, which the caller has seen to.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn remember_packed(&self, layer: &Digest, way: &str, packed: Packed) -> Result<(), StoreError> {
        let mut all = self.packings(layer)?;
        if all.get(way) == Some(&packed) {
            return Ok(());
        }
        all.insert(way.to_owned(), packed);
        let body = serde_json::to_vec(&all).unwrap_or_default();
        self.write_file(&self.packed_path(layer), &layout::seal(&body))
    }

    /// All blobs that are known to unpack to a layer, by what made them.
    ///
    /// # Errors
    /// The note cannot be read.
    pub fn packings(&self, layer: &Digest) -> Result<BTreeMap<String, Packed>, StoreError> {
        Ok(layout::read_sealed(&self.packed_path(layer))?.unwrap_or_default())
    }

    fn packed_path(&self, layer: &Digest) -> PathBuf {
        self.layer_dir(layer).join(PACKED)
    }
}

#[cfg(test)]
mod tests {
    use super::super::layers::tests::publish;
    use super::super::tests::store;
    use super::*;

    #[test]
    fn each_way_of_packing_is_remembered_with_the_layer() {
        let (_dir, store) = store();
        let layer = publish(&store, "a").diff_id;
        let packed = |text: &[u8]| Packed { digest: Digest::of(text), size: text.len() as u64 };
        assert_eq!(store.packed(&layer, "gzip-1").unwrap(), None);
        store.remember_packed(&layer, "gzip-1", packed(b"one")).unwrap();
        store.remember_packed(&layer, "zstd-1", packed(b"two")).unwrap();
        store.remember_packed(&layer, "gzip-1", packed(b"three")).unwrap();
        assert_eq!(store.packed(&layer, "gzip-1").unwrap(), Some(packed(b"three")));
        assert_eq!(store.packed(&layer, "zstd-1").unwrap(), Some(packed(b"two")));
        std::fs::write(store.packed_path(&layer), b"torn").unwrap();
        assert_eq!(store.packed(&layer, "zstd-1").unwrap(), None);
    }
}
