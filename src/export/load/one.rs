//! One image of an OCI layout, for a build that names the layout as a context.

use super::{Candidate, ExportError, Image, Loader, REF_NAME, blob_name, index_names};
use crate::base::{Cancel, Digest};
use crate::export::archive::Archive;
use crate::image::manifest::media;
use crate::image::{Descriptor, ImageIndex, MAX_DOCUMENT, Manifest, Platform};
use crate::store::Store;
use serde::Deserialize;
use std::path::Path;

/// Which image of a layout is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The one with this tag; if there is none, the only one.
    Tag(String),
    /// The manifest, or index of manifests, with this digest, listed or not.
    Digest(Digest),
}

/// Stores one image of the layout in the directory `dir`. It gets no name and is kept by its ID.
///
/// # Errors
/// As [`super::load`]; or the layout has no such image.
pub fn load_one(
    store: &Store,
    dir: &Path,
    pick: &Pick,
    platform: &Platform,
    cancel: &Cancel,
) -> Result<Image, ExportError> {
    let tmp = store.temp_dir()?;
    let loader = Loader { store, archive: Archive::open(dir, tmp.path(), cancel)?, platform, whole: false, cancel };
    let none = || loader.refused("what is meant there is no image");
    let descriptor = loader.manifest_of(loader.pick(pick)?, 0)?.ok_or_else(none)?;
    loader.store_image(&loader.candidate(&descriptor)?)
}

impl Loader<'_> {
    fn pick(&self, pick: &Pick) -> Result<Descriptor, ExportError> {
        let index = self.archive.get("index.json")?.ok_or_else(|| self.refused("it holds no 'index.json'"))?;
        let bytes = self.document(&index, "index.json")?;
        let index = ImageIndex::from_bytes(&bytes).map_err(self.invalid("index.json"))?;
        match pick {
            Pick::Digest(digest) => match index.manifests.into_iter().find(|d| d.digest == *digest) {
                Some(listed) => Ok(listed),
                None => self.unlisted(digest),
            },
            Pick::Tag(tag) => {
                let mut tagged = Vec::new();
                for descriptor in &index.manifests {
                    let named = index_names(descriptor)?.iter().any(|name| name.tag.as_ref() == Some(tag));
                    if named || descriptor.annotations.get(REF_NAME) == Some(tag) {
                        tagged.push(descriptor);
                    }
                }
                match (&tagged[..], &index.manifests[..]) {
                    ([first, ..], _) => Ok((*first).clone()),
                    ([], [only]) => Ok(only.clone()),
                    ([], all) => {
                        let count = all.len();
                        Err(self.refused(&format!("it holds {count} images, and none with the tag '{tag}'")))
                    }
                }
            }
        }
    }

    /// A document that the table of contents does not list: what it is, it says itself.
    fn unlisted(&self, digest: &Digest) -> Result<Descriptor, ExportError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Typed {
            media_type: Option<String>,
        }
        let name = blob_name(digest);
        let bytes = self.blob(digest)?.read(MAX_DOCUMENT).map_err(|e| self.refused(&format!("'{name}': {e}")))?;
        let typed: Typed = serde_json::from_slice(&bytes).map_err(|e| self.refused(&format!("'{name}': {e}")))?;
        let kind = typed.media_type.unwrap_or_else(|| media::MANIFEST.to_owned());
        Ok(Descriptor::new(&kind, *digest, bytes.len() as u64))
    }

    /// The documents of the image that a manifest's descriptor names; without names.
    pub(super) fn candidate(&self, descriptor: &Descriptor) -> Result<Candidate, ExportError> {
        let bytes = self.pinned(descriptor)?;
        let manifest = Manifest::from_bytes(&bytes).map_err(self.invalid(&blob_name(&descriptor.digest)))?;
        let config = self.pinned(&manifest.config)?;
        Ok(Candidate {
            manifest: Some((manifest, bytes)),
            config,
            layers: Vec::new(),
            names: Vec::new(),
            said: Vec::new(),
            parts: None,
        })
    }
}
