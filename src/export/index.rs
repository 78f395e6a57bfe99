//! Indexes in the store: images of several platforms under one digest. An index may list images that the store does not
//! hold, as one does that was pulled for some of its platforms.

use super::document::{self, Document};
use super::images::Image;
use super::{ExportError, images};
use crate::base::Digest;
use crate::image::{Descriptor, ImageIndex, Platform};
use crate::store::Store;
use std::collections::BTreeMap;

/// Writes an index of images that are stored, in this order, with annotations of its own; its digest.
///
/// # Errors
/// An image cannot be read, or the store failed.
pub fn write(
    store: &Store,
    images: &[(Platform, Digest)],
    annotations: BTreeMap<String, String>,
) -> Result<Digest, ExportError> {
    let describe = |(platform, manifest): &(Platform, Digest)| {
        let image = images::read(store, manifest)?;
        let mut descriptor = Descriptor::new(image.manifest.kind(), *manifest, image.manifest_size);
        descriptor.platform = Some(platform.to_value());
        Ok(descriptor)
    };
    let manifests = images.iter().map(describe).collect::<Result<Vec<_>, ExportError>>()?;
    let index = ImageIndex { annotations, ..ImageIndex::new(manifests) };
    Ok(store.put_blob(&index.to_bytes())?)
}

/// An index whose images leave the store together.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Its digest; it is stored.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// It.
    pub index: ImageIndex,
    /// Its images, in its order.
    pub images: Vec<Image>,
}

/// What leaves the store under one name.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The image; of an index the one for this host, else the first.
    pub image: Image,
    /// The index.
    pub whole: Option<Whole>,
}

impl Chosen {
    /// All its images.
    pub fn images(&self) -> Vec<&Image> {
        match &self.whole {
            Some(whole) => whole.images.iter().collect(),
            None => vec![&self.image],
        }
    }

    /// The digest of the index, or of the image's manifest.
    pub fn root(&self) -> Digest {
        self.whole.as_ref().map_or(self.image.manifest_digest, |whole| whole.digest)
    }
}

impl From<Image> for Chosen {
    fn from(image: Image) -> Chosen {
        Chosen { image, whole: None }
    }
}

/// What a ref's digest leads to, for what is to leave the store: an image, or an index with all its images. Of an index
/// only those for `platforms` if any are named: one of them is an image again, several are an index of their own.
///
/// # Errors
/// [`ExportError::Partial`]: not all of an index is stored; [`ExportError::Platform`]; something cannot be read.
pub fn chosen(store: &Store, root: &Digest, platforms: &[Platform]) -> Result<Chosen, ExportError> {
    let Document::Index(listed) = document::read(store, root)? else {
        return Ok(Chosen { image: images::read(store, root)?, whole: None });
    };
    let digest = match platforms {
        [] => {
            let missing = document::missing(store, &listed);
            if !missing.is_empty() {
                return Err(ExportError::Partial { image: root.short(), missing });
            }
            // What only tells of its images (attestations) may be elsewhere.
            let here = ImageIndex {
                manifests: listed.manifests.iter().filter(|d| store.has_blob(&d.digest)).cloned().collect(),
                ..listed.clone()
            };
            if here == listed { *root } else { store.put_blob(&here.to_bytes())? }
        }
        [one] => return Ok(Chosen { image: images::read_for(store, root, one)?, whole: None }),
        several => {
            let one = |platform: &Platform| Ok((platform.clone(), document::choose(store, root, &listed, platform)?));
            let found = several.iter().map(one).collect::<Result<Vec<_>, ExportError>>()?;
            write(store, &found, listed.annotations.clone())?
        }
    };
    let whole = whole(store, &digest)?;
    let host = whole.index.pick(&Platform::default()).map(|d| d.digest);
    let image = whole.images.iter().find(|image| Some(image.manifest_digest) == host).or(whole.images.first());
    match image {
        Some(image) => Ok(Chosen { image: image.clone(), whole: Some(whole) }),
        None => Err(ExportError::Inconsistent { image: root.short(), reason: "its index lists no image".into() }),
    }
}

/// An index with its images, all of which must be stored.
fn whole(store: &Store, digest: &Digest) -> Result<Whole, ExportError> {
    let size = store.read_blob(digest)?.len() as u64;
    let Document::Index(index) = document::read(store, digest)? else {
        return Err(ExportError::Inconsistent { image: digest.short(), reason: "it is no index".into() });
    };
    let images = index.images().map(|(d, _)| images::read(store, &d.digest)).collect::<Result<Vec<_>, _>>()?;
    Ok(Whole { digest: *digest, size, index, images })
}

/// As a descriptor of an index lists it: by its digest, as long as it is stored.
///
/// # Errors
/// It cannot be read.
pub fn describe(store: &Store, digest: &Digest) -> Result<Descriptor, ExportError> {
    let size = store.read_blob(digest)?.len() as u64;
    Ok(match document::read(store, digest)? {
        Document::Manifest(manifest, size) => Descriptor::new(manifest.kind(), *digest, size),
        Document::Index(index) => Descriptor::new(index.kind(), *digest, size),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{image, layer, store};
    use super::*;
    use crate::image::manifest::media;

    #[test]
    fn an_index_gives_the_image_of_a_platform_or_says_which_there_are() {
        let test = store();
        let on = |name: &str| Platform::new("linux", name, "");
        let (one, two) = (image(&test.store, &[layer(&test.store, &["a=1"])], &[]), image(&test.store, &[], &[]));
        let listed = [(on("amd64"), one.manifest), (on("arm64"), two.manifest)];
        let digest = write(&test.store, &listed, BTreeMap::new()).unwrap();
        assert_eq!(write(&test.store, &listed, BTreeMap::new()).unwrap(), digest, "the same bytes each time");
        images::tag(&test.store, &digest, &"app".parse().unwrap()).unwrap();
        for (platform, manifest) in &listed {
            let found = images::resolve_for(&test.store, "app", platform).unwrap();
            assert_eq!((found.manifest_digest, found.index), (*manifest, Some(digest)));
            assert_eq!(images::resolve_for(&test.store, &digest.to_string(), platform).unwrap().id, found.id);
            // By its own ID an image is found whatever is wanted.
            assert_eq!(images::resolve_for(&test.store, &found.id.hex(), &on("s390x")).unwrap().id, found.id);
        }
        let error = images::resolve_for(&test.store, "app", &on("s390x")).unwrap_err();
        let ExportError::Platform { stored, missing, .. } = error else { panic!("{error:?}") };
        assert_eq!((stored, missing), (vec!["linux/amd64".to_owned(), "linux/arm64".into()], vec![]));

        let listing = images::list(&test.store).unwrap();
        let line = &listing.images[0];
        assert_eq!((listing.images.len(), line.id, line.platform.as_str()), (1, digest, "linux/amd64,linux/arm64"));
        let removed = images::remove(&test.store, "app", false).unwrap();
        assert_eq!(removed.deleted, Some(digest));
    }

    #[test]
    fn an_index_of_which_a_part_is_stored_gives_that_part() {
        let test = store();
        let host = Platform::new("linux", "amd64", "");
        let written = image(&test.store, &[], &[]);
        let digest = write(&test.store, &[(host.clone(), written.manifest)], BTreeMap::new()).unwrap();
        let Document::Index(mut index) = document::read(&test.store, &digest).unwrap() else { panic!() };
        let mut absent = Descriptor::new(media::MANIFEST, Digest::of(b"absent"), 6);
        absent.platform = Some(Platform::new("linux", "arm64", "").to_value());
        index.manifests.insert(0, absent);
        let partial = test.store.put_blob(&index.to_bytes()).unwrap();
        assert_eq!(images::read_for(&test.store, &partial, &host).unwrap().id, written.id);
        assert_eq!(document::missing(&test.store, &index), ["linux/arm64"]);
        let error = images::read_for(&test.store, &partial, &Platform::new("linux", "arm64", "")).unwrap_err();
        assert!(error.to_string().contains("linux/arm64"), "{error}");
    }
}
