//! A cache that an image carries (`--cache-to type=inline`): the records of its own steps, in an annotation of its
//! manifest. Its layers are the image's layers, so it costs nothing but that text, and it goes wherever the manifest goes.

use super::document::{self, LayerFacts, List, PackedIndex, decode_list};
use super::export::Content;
use super::sign::Keys;
use crate::base::{Digest, Hasher};
use crate::image::Manifest;
use crate::store::layers::LayerInfo;
use crate::store::{Store, StoreError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The annotation.
pub const ANNOTATION: &str = "vnd.rbuild.cache.v1";

/// What stands in the annotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The image's layers: how each is packed is known only when the image is pushed, so records name them so.
    pub diff_ids: Vec<Digest>,
    /// The packed list, base64, without blobs.
    pub list: String,
    /// Of [`Carried::digest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl Carried {
    /// Of an image with these layers.
    pub fn new(diff_ids: Vec<Digest>, list: &List) -> Carried {
        Carried { diff_ids, list: STANDARD.encode(list.encode()), signature: None }
    }

    /// What a signature is for.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.field(self.list.as_bytes());
        for diff_id in &self.diff_ids {
            hasher.field(diff_id.as_bytes());
        }
        hasher.finish()
    }

    /// The annotation's text.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the annotation.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(text: &str) -> Result<Carried, String> {
        serde_json::from_str(text).map_err(|e| format!("the records in the image are not valid: {e}"))
    }

    /// The list, its layers' blobs those of the manifest that carries it.
    ///
    /// # Errors
    /// It is not valid, or not of this manifest.
    pub fn list(&self, manifest: &Manifest) -> Result<List, String> {
        if self.diff_ids.len() != manifest.layers.len() {
            return Err("the records in the image are another image's".into());
        }
        let bytes = STANDARD.decode(&self.list).map_err(|e| e.to_string())?;
        let mut list = decode_list(&bytes)?;
        list.layers.retain_mut(|facts| {
            let at = self.diff_ids.iter().position(|diff_id| *diff_id == facts.info.diff_id);
            let Some(blob) = at.map(|at| &manifest.layers[at]) else { return false };
            facts.blob = Some(blob.clone());
            // Which encoder made it nobody says.
            facts.way = None;
            true
        });
        Ok(list)
    }
}

/// The records of an image's own steps, to be carried by its manifest.
///
/// # Errors
/// A layer is not in the store.
pub fn carry(store: &Store, content: &Content, diff_ids: Vec<Digest>, keys: &Keys) -> Result<Carried, StoreError> {
    let mut list = List::default();
    let mut layers = BTreeMap::new();
    for record in content.records.iter().filter(|record| diff_ids.contains(&record.layer)) {
        let layer = record.layer;
        let missing = || StoreError::Missing { what: "layer", name: layer.to_string() };
        let info = LayerInfo { fs_of: None, ..store.layer(&layer)?.ok_or_else(missing)? };
        let encoded = store.layer_index(&layer)?;
        let inline = match document::pack_index(&encoded) {
            PackedIndex::Inline(text) => Some(text),
            // Who wants it has the layer itself.
            PackedIndex::Blob(..) => None,
        };
        let index = Digest::of(&encoded);
        let facts = LayerFacts { info, index, inline, index_blob: None, blob: None, way: None, base: false, used: 0 };
        layers.insert(layer, facts);
        list.records.push(record.clone());
    }
    list.records.sort_by_key(|record| record.key);
    list.records.dedup_by_key(|record| record.key);
    list.layers = layers.into_values().collect();
    let mut carried = Carried::new(diff_ids, &list);
    carried.signature = keys.sign(&carried.digest());
    Ok(carried)
}
