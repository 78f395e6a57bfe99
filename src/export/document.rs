//! What a ref leads to: a manifest, or an index of several, and which of its images are here.

use super::ExportError;
use crate::base::Digest;
use crate::image::{Descriptor, DocumentError, ImageIndex, Manifest, Platform};
use crate::store::Store;

/// What a ref leads to.
#[derive(Clone, Debug)]
pub enum Document {
    /// One image's manifest, and its length in bytes.
    Manifest(Box<Manifest>, u64),
    /// An index of several.
    Index(ImageIndex),
}

/// Reads a manifest or an index.
///
/// # Errors
/// It is not stored, damaged or neither.
pub fn read(store: &Store, digest: &Digest) -> Result<Document, ExportError> {
    let bytes = store.read_blob(digest)?;
    let invalid = |reason: DocumentError| ExportError::Document { place: digest.to_string(), reason };
    match Manifest::from_bytes(&bytes) {
        Ok(manifest) => Ok(Document::Manifest(Box::new(manifest), bytes.len() as u64)),
        // Only an index has no config and still passes for one.
        Err(reason) => ImageIndex::from_bytes(&bytes).map(Document::Index).map_err(|_| invalid(reason)),
    }
}

/// The images of an index that are in the store.
pub fn stored(store: &Store, index: &ImageIndex) -> ImageIndex {
    let here = |d: &&Descriptor| d.is_image() && d.is_manifest() && store.has_blob(&d.digest);
    ImageIndex { manifests: index.manifests.iter().filter(here).cloned().collect(), ..index.clone() }
}

/// The images of an index that are not in the store, by their platforms.
pub fn missing(store: &Store, index: &ImageIndex) -> Vec<String> {
    let gone = index.images().filter(|(d, _)| !store.has_blob(&d.digest));
    gone.map(|(_, is)| is.map_or("unknown".into(), |is| is.to_string())).collect()
}

/// The manifest of the image for `platform`.
///
/// # Errors
/// [`ExportError::Platform`]: the store has none that runs there.
pub fn choose(store: &Store, digest: &Digest, index: &ImageIndex, platform: &Platform) -> Result<Digest, ExportError> {
    let here = stored(store, index);
    match here.pick(platform) {
        Some(found) => Ok(found.digest),
        None => Err(ExportError::Platform {
            image: digest.short(),
            wanted: platform.to_string(),
            stored: here.platforms(),
            missing: missing(store, index),
        }),
    }
}
