//! The store as the place where FROM, `COPY --from` and mounts find their images.

use super::{ExportError, images};
use crate::dockerfile::lower::{BaseImage, Images, NotFound};
use crate::image::{Platform, Reference};
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

    fn read(&self, reference: &str, platform: &Platform) -> Result<BaseImage, ExportError> {
        // The exact name first: a warm build must not pay for listing every image.
        let named = match reference.parse::<Reference>() {
            Ok(name) => images::find_name(self.store, &name)?,
            Err(_) => None,
        };
        let image = match named {
            Some(manifest) => images::read_for(self.store, &manifest, platform)?,
            None => images::resolve_for(self.store, reference, platform)?,
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
    fn find(&self, reference: &str, platform: &Platform) -> Result<BaseImage, NotFound> {
        self.read(reference, platform).map_err(|error| {
            let error = error.of_image(reference);
            // A text that is no name and fits no ID is told why it is no name.
            if let (true, Err(invalid)) = (error.is_not_found(), reference.parse::<Reference>()) {
                return NotFound { reason: invalid.to_string(), ..NotFound::default() };
            }
            let mut help = Vec::new();
            if let ExportError::NotFound { near, .. } = &error {
                help.extend(near.iter().map(|near| format!("did you mean '{near}'?")));
                help.push(format!("pull, load or import it: rbuild pull {reference}"));
            } else {
                help = error.help();
            }
            NotFound { reason: error.to_string(), help, ..NotFound::default() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{image, layer, store};
    use super::*;

    #[test]
    fn a_base_is_found_by_name_digest_or_id_and_else_a_way_out_is_told() {
        let test = store();
        let only = layer(&test.store, &["a=1"]);
        let written = image(&test.store, &[only], &["base-os"]);
        let images = StoredImages::new(&test.store);
        for reference in ["base-os", &format!("base-os@{}", written.manifest), &written.id.short()] {
            let found = images.find(reference, &Platform::default()).unwrap_or_else(|e| panic!("{reference}: {e:?}"));
            assert_eq!((found.manifest, found.config.rootfs.diff_ids), (written.manifest, vec![only]));
        }
        let missing = images.find("bass-os", &Platform::default()).unwrap_err();
        assert!(missing.reason.contains("'bass-os'"), "{missing:?}");
        assert!(missing.help[0].contains("base-os") && missing.help[1].contains("rbuild pull bass-os"), "{missing:?}");
        assert!(images.find("Base", &Platform::default()).unwrap_err().reason.contains("lower-case"));
        std::fs::remove_dir_all(test.store.layer_fs(&only).unwrap().parent().unwrap()).unwrap();
        assert!(images.find("base-os", &Platform::default()).unwrap_err().reason.contains("not in the store"));
    }
}
