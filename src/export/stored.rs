//! The store as the place where FROM, `COPY --from` and mounts find their images.

use super::{ExportError, images};
use crate::dockerfile::lower::{BaseImage, Images, NotFound};
use crate::image::Reference;
use crate::store::Store;

/// Finds base images in a store.
#[derive(Debug)]
pub struct StoredImages<'s> {
    store: &'s Store,
}

impl<'s> StoredImages<'s> {
    /// Images of `store`.
    pub fn new(store: &'s Store) -> StoredImages<'s> {
        StoredImages { store }
    }

    fn read(&self, reference: &str) -> Result<BaseImage, ExportError> {
        // The exact name first: a warm build must not pay for listing every image.
        let named = match reference.parse::<Reference>() {
            Ok(name) => images::find_name(self.store, &name)?,
            Err(_) => None,
        };
        let image = match named {
            Some(manifest) => images::read(self.store, &manifest)?,
            None => images::resolve(self.store, reference)?,
        };
        for layer in &image.config.rootfs.diff_ids {
            if self.store.layer(layer)?.is_none() {
                return Err(ExportError::LayerMissing { image: reference.to_owned(), layer: *layer });
            }
        }
        Ok(BaseImage { reference: reference.to_owned(), manifest: image.manifest_digest, config: image.config })
    }
}

impl Images for StoredImages<'_> {
    fn find(&self, reference: &str) -> Result<BaseImage, NotFound> {
        self.read(reference).map_err(|error| {
            // A text that is no name and fits no ID is told why it is no name.
            if let (true, Err(invalid)) = (error.is_not_found(), reference.parse::<Reference>()) {
                return NotFound { reason: invalid.to_string(), help: Vec::new() };
            }
            let mut help = Vec::new();
            if let ExportError::NotFound { near, .. } = &error {
                help.extend(near.iter().map(|near| format!("did you mean '{near}'?")));
                help.push(format!("pulling is not there yet: import or load it: rbuild import ROOTFS.tar {reference}"));
            } else {
                help = error.help();
            }
            NotFound { reason: error.to_string(), help }
        })
    }
}
