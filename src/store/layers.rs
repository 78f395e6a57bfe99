//! `layers/HEX/`: `fs/` (unpacked, in overlay form), `index` (entries with hashes, opaque bytes here), `info`, and for a
//! foreign layer `recipe` (how to reproduce its tar byte by byte). Also `contents/HEX` → diffID, by content digest, and
//! `trees/`, whose files belong to `tree`.

use super::{Store, StoreError};
use crate::base::Digest;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `info` of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// sha256 of the uncompressed tar.
    pub diff_id: Digest,
    /// Same for layers that differ in mtimes only.
    pub content: Digest,
    /// Length of the uncompressed tar in bytes.
    pub tar_size: u64,
    /// Sum of the sizes of its regular files in bytes, each hard-linked file once.
    pub size: u64,
    /// When it was first made here, seconds since the epoch; the `created` of its history line.
    pub created: i64,
    /// Set for a layer with clamped times: `fs/` is that of this layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_of: Option<Digest>,
}

/// A layer about to be published.
#[derive(Debug)]
pub struct NewLayer {
    /// A directory under `tmp/` that becomes `fs/` by rename.
    pub fs: PathBuf,
    /// The encoded index.
    pub index: Vec<u8>,
    /// Recipe file under `tmp/`, for a foreign layer.
    pub recipe: Option<PathBuf>,
    /// The rest.
    pub info: LayerInfo,
}

impl Store {
    /// `info` of a layer, `None` if it is not there (or damaged, which counts as absent).
    pub fn layer(&self, diff_id: &Digest) -> Result<Option<LayerInfo>, StoreError> {
        let _ = diff_id;
        unreachable!("skeleton")
    }

    /// The unpacked files of a layer (those of `fs_of` where it is set).
    pub fn layer_fs(&self, diff_id: &Digest) -> Result<PathBuf, StoreError> {
        let _ = diff_id;
        unreachable!("skeleton")
    }

    /// The encoded index of a layer.
    pub fn layer_index(&self, diff_id: &Digest) -> Result<Vec<u8>, StoreError> {
        let _ = diff_id;
        unreachable!("skeleton")
    }

    /// The recipe of a foreign layer, `None` if its tar is the canonical one.
    pub fn layer_recipe(&self, diff_id: &Digest) -> Result<Option<PathBuf>, StoreError> {
        let _ = diff_id;
        unreachable!("skeleton")
    }

    /// The layer that was first published with this content digest, if it is still there. Clamped and foreign layers
    /// are not offered.
    pub fn layer_by_content(&self, content: &Digest) -> Result<Option<LayerInfo>, StoreError> {
        let _ = content;
        unreachable!("skeleton")
    }

    /// Publishes a layer by rename. If the diffID is there already, the new directory is dropped and the old kept.
    pub fn publish_layer(&self, layer: NewLayer) -> Result<LayerInfo, StoreError> {
        let _ = layer;
        unreachable!("skeleton")
    }

    /// Publishes a layer that shares `fs/` with `of` and differs in its index (clamped times) alone.
    pub fn publish_derived(&self, of: &Digest, index: Vec<u8>, info: LayerInfo) -> Result<LayerInfo, StoreError> {
        let _ = (of, index, info);
        unreachable!("skeleton")
    }

    /// Every layer, in no order.
    pub fn all_layers(&self) -> Result<Vec<Digest>, StoreError> {
        unreachable!("skeleton")
    }

    /// `trees/`: its files are `tree`'s business.
    pub fn trees_dir(&self) -> PathBuf {
        self.root().join("trees")
    }
}
