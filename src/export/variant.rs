//! An image as one output has it: with annotations of its own, docker's media types, or its layers packed.

use super::images::{self, Image};
use super::intake::{KEPT_GZIP, KEPT_ZSTD};
use super::{ExportError, Packing};
use crate::base::{Cancel, Digest};
use crate::image::Descriptor;
use crate::image::manifest::media;
use crate::store::Store;
use crate::store::packed::Packed;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Blobs of an output that are not in the store, and the files that hold them.
pub type Files = BTreeMap<Digest, PathBuf>;

/// The image of `manifest` with further annotations on its manifest; the same image if there are none. Its name in the
/// store is whoever's that asks.
///
/// # Errors
/// The image cannot be read, or the store failed.
pub fn annotated(
    store: &Store,
    manifest: &Digest,
    annotations: &BTreeMap<String, String>,
) -> Result<Image, ExportError> {
    let mut image = images::read(store, manifest)?;
    if annotations.iter().any(|(key, value)| image.manifest.annotations.get(key) != Some(value)) {
        image.manifest.annotations.extend(annotations.clone());
        restore(store, &mut image)?;
    }
    Ok(image)
}

/// The image with docker's media types (Image Manifest Version 2, Schema 2), which know no annotations.
///
/// # Errors
/// It carries annotations; the store failed.
pub fn with_docker_types(store: &Store, mut image: Image) -> Result<Image, ExportError> {
    if !image.manifest.annotations.is_empty() {
        let reason = "docker's manifests carry no annotations: leave oci-mediatypes=false or the annotations out";
        return Err(ExportError::Inconsistent { image: image.label(), reason: reason.to_owned() });
    }
    image.manifest.media_type = Some(media::DOCKER_MANIFEST.to_owned());
    image.manifest.config.media_type = media::DOCKER_CONFIG.to_owned();
    for layer in &mut image.manifest.layers {
        let docker = match layer.media_type.as_str() {
            media::LAYER => media::DOCKER_LAYER,
            media::LAYER_GZIP => media::DOCKER_LAYER_GZIP,
            media::LAYER_ZSTD => media::DOCKER_LAYER_ZSTD,
            _ => continue,
        };
        layer.media_type = docker.to_owned();
    }
    restore(store, &mut image)?;
    Ok(image)
}

/// The image with its layers packed. What the store does not hold so is written to files in `dir`, which holds nothing
/// but what other calls with the same packing wrote.
///
/// # Errors
/// A layer is missing or damaged, a file cannot be written, or the work was called off.
pub fn packed(
    store: &Store,
    mut image: Image,
    packing: &Packing,
    dir: &Path,
    cancel: &Cancel,
) -> Result<(Image, Files), ExportError> {
    let mut files = Files::new();
    let diff_ids = image.config.rootfs.diff_ids.clone();
    for (layer, diff_id) in image.manifest.layers.iter_mut().zip(&diff_ids) {
        *layer = packed_layer(store, layer, diff_id, packing, dir, &mut files, cancel)?;
    }
    restore(store, &mut image)?;
    Ok((image, files))
}

fn packed_layer(
    store: &Store,
    layer: &Descriptor,
    diff_id: &Digest,
    packing: &Packing,
    dir: &Path,
    files: &mut Files,
    cancel: &Cancel,
) -> Result<Descriptor, ExportError> {
    if layer.digest != *diff_id && packing.keeps(layer) {
        return Ok(layer.clone());
    }
    for (way, kept) in [(KEPT_GZIP, Packing::GZIP), (KEPT_ZSTD, Packing::ZSTD)] {
        let blob = store.packed(diff_id, way)?.filter(|blob| store.has_blob(&blob.digest));
        if let Some(kept) = blob.map(|blob| kept.describe(layer, &blob)).filter(|kept| packing.keeps(kept)) {
            return Ok(kept);
        }
    }
    let Some(way) = packing.way() else {
        let missing = || ExportError::LayerMissing { image: layer.digest.short(), layer: *diff_id };
        let size = store.layer(diff_id)?.ok_or_else(missing)?.tar_size;
        return Ok(packing.describe(layer, &Packed { digest: *diff_id, size }));
    };
    let path = dir.join(diff_id.hex());
    // An image may have a layer twice, and images of an index the same one.
    if let Some(known) = store.packed(diff_id, &way)?.filter(|_| path.exists()) {
        files.insert(known.digest, path);
        return Ok(packing.describe(layer, &known));
    }
    let blob = packing.write(store, diff_id, &path, cancel)?;
    store.remember_packed(diff_id, &way, blob.clone())?;
    files.insert(blob.digest, path);
    Ok(packing.describe(layer, &blob))
}

/// Puts the changed manifest into the store.
fn restore(store: &Store, image: &mut Image) -> Result<(), ExportError> {
    let bytes = image.manifest.to_bytes();
    image.manifest_digest = store.put_blob(&bytes)?;
    image.manifest_size = bytes.len() as u64;
    image.names.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{image, layer, store};
    use super::*;

    #[test]
    fn annotations_change_the_manifest_and_not_the_image() {
        let test = store();
        let written = image(&test.store, &[layer(&test.store, &["a=1"])], &["app"]);
        let same = annotated(&test.store, &written.manifest, &BTreeMap::new()).unwrap();
        assert_eq!(same.manifest_digest, written.manifest);
        let added = BTreeMap::from([("org.x".to_owned(), "1".to_owned())]);
        let other = annotated(&test.store, &written.manifest, &added).unwrap();
        assert_eq!((other.id, other.manifest.annotations.clone()), (written.id, added));
        assert_ne!(other.manifest_digest, written.manifest);
        assert_eq!(images::read(&test.store, &other.manifest_digest).unwrap().manifest, other.manifest);
        assert!(with_docker_types(&test.store, other).is_err());
        let docker = with_docker_types(&test.store, same).unwrap();
        assert_eq!(docker.manifest.kind(), media::DOCKER_MANIFEST);
        assert_eq!(docker.manifest.layers[0].media_type, media::DOCKER_LAYER);
    }

    #[test]
    fn packed_layers_lie_in_files_and_the_manifest_lists_them() {
        let test = store();
        let only = layer(&test.store, &["a=1"]);
        let written = image(&test.store, &[only, only], &["app"]);
        let plain = images::read(&test.store, &written.manifest).unwrap();
        let dir = test.dir.path().join("packed");
        std::fs::create_dir(&dir).unwrap();
        let (image, files) = packed(&test.store, plain, &Packing::ZSTD, &dir, &Cancel::new()).unwrap();
        let listed = &image.manifest.layers[0];
        assert_eq!(listed.media_type, media::LAYER_ZSTD);
        assert_eq!(listed, &image.manifest.layers[1]);
        let bytes = std::fs::read(&files[&listed.digest]).unwrap();
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (listed.digest, listed.size));
    }
}
