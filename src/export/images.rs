//! Stored images: found by name, ID or ID prefix, listed, named and unnamed.
//!
//! The store's refs map a full name (`docker.io/library/debian:12`) to the digest of a manifest or of an index. An image without a name is
//! kept by a ref that is its own ID (`sha256:…`), which no name can be.

use super::ExportError;
use super::document::{self, Document};
use crate::base::{Digest, clock};
use crate::diag::suggest;
use crate::image::reference::DEFAULT_REGISTRY;
use crate::image::{Descriptor, ImageConfig, Manifest, Platform, Reference};
use crate::store::Store;
use crate::tree::{Rootfs, Trees};
use std::collections::{BTreeMap, BTreeSet};

/// A stored image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The index that it was chosen from, if it was.
    pub index: Option<Digest>,
    /// Digest of the manifest.
    pub manifest_digest: Digest,
    /// Length of the manifest in bytes.
    pub manifest_size: u64,
    /// Image ID: digest of the config.
    pub id: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// The config.
    pub config: ImageConfig,
    /// Its names or those of its index, sorted; empty if it is kept by ID alone.
    pub names: Vec<Reference>,
}

impl Image {
    /// A short text for messages: its first name, else its short ID.
    pub fn label(&self) -> String {
        self.names.first().map_or_else(|| self.id.short(), Reference::familiar)
    }

    /// The descriptor of its manifest.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.manifest.kind(), self.manifest_digest, self.manifest_size)
    }

    /// Each layer's diffID beside the descriptor of its blob, bottom first.
    pub fn layers(&self) -> impl Iterator<Item = (&Digest, &Descriptor)> {
        self.config.rootfs.diff_ids.iter().zip(&self.manifest.layers)
    }

    /// When it was made, seconds since the epoch.
    pub fn created(&self) -> Option<i64> {
        self.config.created.as_deref().and_then(clock::parse_rfc3339)
    }
}

/// One line of a listing.
#[derive(Clone, Debug)]
pub struct Listed {
    /// `None`: kept without a name.
    pub name: Option<Reference>,
    /// Image ID; of an index its digest.
    pub id: Digest,
    /// Digest of the manifest or index.
    pub manifest: Digest,
    /// Seconds since the epoch.
    pub created: Option<i64>,
    /// Sum of its layers' file sizes in bytes.
    pub size: u64,
    /// `os/arch[/variant]`; of an index those that are stored, with commas.
    pub platform: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// All images.
#[derive(Debug, Default)]
pub struct Listing {
    /// Newest first, then by name.
    pub images: Vec<Listed>,
    /// Refs whose image cannot be read, and why.
    pub damaged: Vec<(String, ExportError)>,
}

/// What [`remove`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Familiar names that are gone.
    pub untagged: Vec<String>,
    /// The image, if it was its last name: its content goes with the next collection.
    pub deleted: Option<Digest>,
}

/// Reads the image of a manifest, or of an index the image for this host; `names` is left empty.
///
/// # Errors
/// Its documents are not stored, damaged or contradict each other; an index has none for this host.
pub fn read(store: &Store, digest: &Digest) -> Result<Image, ExportError> {
    read_for(store, digest, &Platform::default())
}

/// As [`read`]; of an index the image for `platform`.
///
/// # Errors
/// As [`read`].
pub fn read_for(store: &Store, digest: &Digest, platform: &Platform) -> Result<Image, ExportError> {
    match document::read(store, digest)? {
        Document::Manifest(manifest, size) => of_manifest(store, digest, *manifest, size),
        Document::Index(listed) => {
            let chosen = document::choose(store, digest, &listed, platform)?;
            match document::read(store, &chosen)? {
                Document::Manifest(manifest, size) => {
                    Ok(Image { index: Some(*digest), ..of_manifest(store, &chosen, *manifest, size)? })
                }
                // What indexes list as an image is a manifest; those that nest are taken apart where they come in.
                Document::Index(_) => {
                    let reason = "it is an index in an index".to_owned();
                    Err(ExportError::Inconsistent { image: chosen.short(), reason })
                }
            }
        }
    }
}

fn of_manifest(store: &Store, digest: &Digest, manifest: Manifest, size: u64) -> Result<Image, ExportError> {
    let id = manifest.config.digest;
    let config = ImageConfig::from_bytes(&store.read_blob(&id)?)
        .map_err(|reason| ExportError::Document { place: id.to_string(), reason })?;
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        let reason = format!("the manifest lists {layers} layers and the config {diff_ids}");
        return Err(ExportError::Inconsistent { image: id.short(), reason });
    }
    Ok(Image { index: None, manifest_digest: *digest, manifest_size: size, id, manifest, config, names: Vec::new() })
}

/// Every stored image that a ref's digest leads to: one, or those of an index. What cannot be read is left out.
fn all_of(store: &Store, digest: &Digest) -> Vec<Image> {
    let manifests = match document::read(store, digest) {
        Ok(Document::Manifest(..)) => vec![*digest],
        Ok(Document::Index(listed)) => document::stored(store, &listed).manifests.iter().map(|d| d.digest).collect(),
        Err(_) => Vec::new(),
    };
    manifests.iter().filter_map(|manifest| read(store, manifest).ok()).collect()
}

/// What a ref's digest goes by: the image's ID, or the index's own digest.
fn id_of(store: &Store, digest: &Digest) -> Result<Digest, ExportError> {
    match document::read(store, digest)? {
        Document::Manifest(manifest, size) => Ok(of_manifest(store, digest, *manifest, size)?.id),
        Document::Index(_) => Ok(*digest),
    }
}

/// Finds an image by name, by image ID, by manifest digest, or by an ID prefix that fits one image alone. A full ID
/// counts first, then a name, then a prefix, as docker has it; a name without a registry is also looked for under
/// `localhost/`, where podman and buildah put their own images. Of an index the image for this host is taken.
///
/// # Errors
/// [`ExportError::NotFound`] with a likely meant name, [`ExportError::Ambiguous`], or the image cannot be read.
pub fn resolve(store: &Store, text: &str) -> Result<Image, ExportError> {
    resolve_for(store, text, &Platform::default())
}

/// As [`resolve`]; of an index the image for `platform`.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_for(store: &Store, text: &str, platform: &Platform) -> Result<Image, ExportError> {
    let (found, names) = resolve_root(store, text)?;
    Ok(Image { names, ..read_for(store, &found, platform).map_err(|error| error.of_image(text))? })
}

/// Finds as [`resolve`] does, an index whole: the digest of a manifest or an index, and its names.
///
/// # Errors
/// As [`resolve`], but that nothing is read of the image.
pub fn resolve_root(store: &Store, text: &str) -> Result<(Digest, Vec<Reference>), ExportError> {
    let refs = store.refs()?;
    match find(store, &refs, text)? {
        Some(found) => Ok((found, names_of(&refs, &found))),
        None => Err(ExportError::NotFound { text: text.to_owned(), near: near(&refs, text) }),
    }
}

/// Finds the manifest of a named image alone, without reading the list of refs where the name is exact: the quick
/// way for a warm build.
///
/// # Errors
/// The store failed.
pub fn find_name(store: &Store, name: &Reference) -> Result<Option<Digest>, ExportError> {
    if let Some(digest) = &name.digest {
        let pinned = store.get_ref(&pin_key(name))?;
        return Ok(pinned.or_else(|| store.has_blob(digest).then_some(*digest)));
    }
    Ok(find_ref(store, name)?.map(|(_, manifest)| manifest))
}

/// The ref that `name` means, its digest left aside: the exact one, or the one under `localhost/`.
fn find_ref(store: &Store, name: &Reference) -> Result<Option<(String, Digest)>, ExportError> {
    let key = name.key();
    if let Some(found) = store.get_ref(&key)? {
        return Ok(Some((key, found)));
    }
    let local = match (name.registry.as_str(), name.repository.strip_prefix("library/")) {
        (DEFAULT_REGISTRY, Some(short)) => {
            Reference { registry: "localhost".into(), repository: short.into(), ..name.clone() }
        }
        (DEFAULT_REGISTRY, None) => Reference { registry: "localhost".into(), ..name.clone() },
        _ => return Ok(None),
    };
    let key = local.key();
    Ok(store.get_ref(&key)?.map(|found| (key, found)))
}

fn find(store: &Store, refs: &[(String, Digest)], text: &str) -> Result<Option<Digest>, ExportError> {
    if let Ok(digest) = text.parse::<Digest>() {
        return by_prefix(store, refs, text, &digest.hex());
    }
    if let Ok(name) = text.parse::<Reference>()
        && let Some(found) = find_name(store, &name)?
    {
        return Ok(Some(found));
    }
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    let hex =
        !prefix.is_empty() && prefix.len() <= 64 && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if hex { by_prefix(store, refs, text, prefix) } else { Ok(None) }
}

fn by_prefix(
    store: &Store,
    refs: &[(String, Digest)],
    text: &str,
    prefix: &str,
) -> Result<Option<Digest>, ExportError> {
    let mut found: BTreeMap<Digest, Digest> = BTreeMap::new();
    for (_, root) in refs {
        // A damaged image must not hide the others; asked for by its name it is reported.
        let images = all_of(store, root);
        if images.iter().all(|image| image.manifest_digest != *root) && root.hex().starts_with(prefix) {
            found.insert(*root, *root);
        }
        for Image { id, manifest_digest, .. } in images {
            if id.hex().starts_with(prefix) || (prefix.len() == 64 && manifest_digest.hex() == prefix) {
                found.insert(id, manifest_digest);
            }
        }
    }
    match found.len() {
        0 | 1 => Ok(found.into_values().next()),
        _ => {
            let ids = found.keys().map(Digest::short).collect();
            Err(ExportError::Ambiguous { text: text.to_owned(), ids })
        }
    }
}

/// A stored name that `text` was likely meant to be: another tag of the same repository, else a near spelling.
fn near(refs: &[(String, Digest)], text: &str) -> Option<String> {
    let known: Vec<Reference> = refs.iter().filter_map(|(key, _)| key.parse().ok()).collect();
    if let Ok(wanted) = text.parse::<Reference>()
        && let Some(sibling) = known.iter().find(|k| k.registry == wanted.registry && k.repository == wanted.repository)
    {
        return Some(sibling.familiar());
    }
    let full: Vec<String> = known.iter().map(Reference::familiar).collect();
    let bare: Vec<String> = known.iter().map(Reference::familiar_name).collect();
    let candidates = full.iter().chain(&bare).map(String::as_str);
    suggest::nearest(text, candidates).map(str::to_owned)
}

fn names_of(refs: &[(String, Digest)], manifest: &Digest) -> Vec<Reference> {
    let mut names: Vec<Reference> =
        refs.iter().filter(|(_, m)| m == manifest).filter_map(|(key, _)| key.parse().ok()).collect();
    names.sort();
    names
}

/// Every image, a line for each of its names.
///
/// # Errors
/// The refs cannot be read; an image that cannot be is listed in [`Listing::damaged`].
pub fn list(store: &Store) -> Result<Listing, ExportError> {
    let refs = store.refs()?;
    let mut listing = Listing::default();
    for (key, manifest) in &refs {
        let name: Option<Reference> = key.parse().ok();
        if name.is_none() && !names_of(&refs, manifest).is_empty() {
            continue;
        }
        match listed(store, name, manifest) {
            Ok(line) => listing.images.push(line),
            Err(error) => listing.damaged.push((key.clone(), error)),
        }
    }
    listing.images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    Ok(listing)
}

fn listed(store: &Store, name: Option<Reference>, root: &Digest) -> Result<Listed, ExportError> {
    let images = all_of(store, root);
    let image = match images.iter().find(|image| image.config.platform() == Platform::default().to_string()) {
        Some(host) => host.clone(),
        None => images.first().map_or_else(|| read(store, root), |first| Ok(first.clone()))?,
    };
    let layers: BTreeSet<Digest> = images.iter().flat_map(|image| image.config.rootfs.diff_ids.clone()).collect();
    let index = match document::read(store, root)? {
        Document::Index(listed) => Some(document::stored(store, &listed)),
        Document::Manifest(..) => None,
    };
    let is_index = index.is_some();
    Ok(Listed {
        name,
        id: if is_index { *root } else { image.id },
        manifest: *root,
        created: image.created(),
        size: if is_index { sum(store, layers.iter())? } else { size(store, &image)? },
        platform: index.map_or_else(|| image.config.platform(), |index| index.platforms().join(",")),
        labels: image.config.config.labels.unwrap_or_default(),
    })
}

/// Sum of the file sizes of an image's layers in bytes, layers that are missing left out.
///
/// # Errors
/// The store failed.
pub fn size(store: &Store, image: &Image) -> Result<u64, ExportError> {
    sum(store, image.config.rootfs.diff_ids.iter())
}

fn sum<'d>(store: &Store, layers: impl Iterator<Item = &'d Digest>) -> Result<u64, ExportError> {
    let mut sum = 0;
    for layer in layers {
        sum += store.layer(layer)?.map_or(0, |info| info.size);
    }
    Ok(sum)
}

/// Gives an image or an index a name, taking it from any other. The image's keep-by-ID ref, if it has one, goes.
///
/// # Errors
/// The name carries a digest, the manifest is not stored, or the store failed.
pub fn tag(store: &Store, manifest: &Digest, name: &Reference) -> Result<(), ExportError> {
    if name.digest.is_some() {
        return Err(ExportError::PinnedTag(name.familiar()));
    }
    let id = id_of(store, manifest)?;
    store.set_ref(&name.key(), manifest)?;
    store.remove_ref(&id.to_string())?;
    Ok(())
}

/// Remembers the image that a name with a digest led to: the digest may be that of an index that lists its manifest.
///
/// # Errors
/// The image cannot be read, or the store failed.
pub fn pin(store: &Store, manifest: &Digest, name: &Reference) -> Result<(), ExportError> {
    let id = id_of(store, manifest)?;
    store.set_ref(&pin_key(name), manifest)?;
    store.remove_ref(&id.to_string())?;
    Ok(())
}

fn pin_key(name: &Reference) -> String {
    Reference { tag: None, ..name.clone() }.to_string()
}

/// Keeps an image that has no name (yet): it is listed as `<none>` and found by its ID.
///
/// # Errors
/// The image cannot be read, or the store failed.
pub fn keep(store: &Store, manifest: &Digest) -> Result<(), ExportError> {
    let id = id_of(store, manifest)?;
    if names_of(&store.refs()?, manifest).is_empty() {
        store.set_ref(&id.to_string(), manifest)?;
    }
    Ok(())
}

/// Takes a name from an image, or all of them if `text` is an ID; the image itself is dropped with its last name.
///
/// # Errors
/// As [`resolve`]; and [`ExportError::SeveralNames`] for an ID with several names, unless `force`.
pub fn remove(store: &Store, text: &str, force: bool) -> Result<Removed, ExportError> {
    let refs = store.refs()?;
    // A name whose image cannot be read can still be taken away.
    if let Ok(name) = text.parse::<Reference>()
        && name.digest.is_none()
        && let Some((key, manifest)) = find_ref(store, &name)?
    {
        store.remove_ref(&key)?;
        let last = !refs.iter().any(|(other, m)| *m == manifest && *other != key);
        let deleted = if last { Some(id_of(store, &manifest).unwrap_or(manifest)) } else { None };
        let untagged = key.parse().map_or(key, |name: Reference| name.familiar());
        return Ok(Removed { untagged: vec![untagged], deleted });
    }
    // Manifests that list one config in two packings are one image to whoever names it by ID.
    let id = id_of(store, &resolve_root(store, text)?.0)?;
    let same = |manifest: &Digest| id_of(store, manifest).is_ok_and(|other| other == id);
    let keys: Vec<&String> = refs.iter().filter(|(_, manifest)| same(manifest)).map(|(key, _)| key).collect();
    let names: Vec<String> =
        keys.iter().filter_map(|key| key.parse().ok()).map(|name: Reference| name.familiar()).collect();
    if names.len() > 1 && !force {
        return Err(ExportError::SeveralNames { id: id.short(), names });
    }
    if keys.is_empty() {
        return Err(ExportError::PartOfIndex(id.short()));
    }
    for key in keys {
        store.remove_ref(key)?;
    }
    Ok(Removed { untagged: names, deleted: Some(id) })
}

/// The root filesystem of an image.
///
/// # Errors
/// A layer of it is not in the store, or its tree cannot be made.
pub fn rootfs(trees: &Trees<'_>, config: &ImageConfig) -> Result<Rootfs, ExportError> {
    Ok(trees.of_layers(&config.rootfs.diff_ids)?)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{image, layer, store};
    use super::*;

    #[test]
    fn images_are_found_by_name_id_and_prefix_as_docker_does() {
        let test = store();
        let base = layer(&test.store, &["a=1"]);
        let one = image(&test.store, &[base], &["app", "me/app:2", "localhost/podmans"]);
        let two = image(&test.store, &[], &["other:1"]);
        let id = one.id.hex();
        let digest = one.manifest.to_string();
        let pinned = format!("app@{digest}");
        let full = one.id.to_string();
        for text in [
            "app",
            "app:latest",
            "docker.io/library/app",
            "me/app:2",
            "podmans",
            &id[..8],
            &id,
            &full,
            &digest,
            &pinned,
        ] {
            assert_eq!(resolve(&test.store, text).unwrap_or_else(|e| panic!("{text}: {e}")).id, one.id, "{text}");
        }
        let names: Vec<String> =
            resolve(&test.store, &id[..8]).unwrap().names.iter().map(Reference::familiar).collect();
        assert_eq!(names, ["app:latest", "me/app:2", "localhost/podmans:latest"]);
        // A name counts before a prefix.
        tag(&test.store, &two.manifest, &id[..8].parse().unwrap()).unwrap();
        assert_eq!(resolve(&test.store, &id[..8]).unwrap().id, two.id);
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is_near() {
        let test = store();
        image(&test.store, &[], &["debian:12", "me/app"]);
        let cases =
            [("debian", Some("debian:12")), ("debain:12", Some("debian:12")), ("me/ap", Some("me/app")), ("zzz", None)];
        for (text, expected) in cases {
            match resolve(&test.store, text).unwrap_err() {
                ExportError::NotFound { near, .. } => assert_eq!(near.as_deref(), expected, "{text}"),
                other => panic!("{text}: {other}"),
            }
        }
    }

    #[test]
    fn a_prefix_of_several_images_is_ambiguous() {
        let test = store();
        // Seventeen images have two whose IDs begin with the same digit.
        for i in 0..17 {
            let only = layer(&test.store, &[&format!("f={i}")]);
            image(&test.store, &[only], &[&format!("i{i}")]);
        }
        let digits = "0123456789abcdef".split("").filter(|d| !d.is_empty());
        let ambiguous =
            digits.filter(|d| matches!(resolve(&test.store, d), Err(ExportError::Ambiguous { .. }))).count();
        assert!(ambiguous >= 1);
    }

    #[test]
    fn the_last_name_takes_the_image_along() {
        let test = store();
        let written = image(&test.store, &[], &["a", "b"]);
        let id = written.id.hex();
        assert!(matches!(remove(&test.store, &id[..12], false), Err(ExportError::SeveralNames { .. })));
        let removed = remove(&test.store, "a", false).unwrap();
        assert_eq!(removed, Removed { untagged: vec!["a:latest".into()], deleted: None });
        let removed = remove(&test.store, "b", false).unwrap();
        assert_eq!(removed, Removed { untagged: vec!["b:latest".into()], deleted: Some(written.id) });
        assert!(resolve(&test.store, &id).unwrap_err().is_not_found());
        image(&test.store, &[], &["a", "localhost/me/b"]);
        assert_eq!(remove(&test.store, "me/b", false).unwrap().untagged, ["localhost/me/b:latest"]);
        let written = image(&test.store, &[], &["a", "b"]);
        assert_eq!(remove(&test.store, &written.id.short(), true).unwrap().untagged, ["a:latest", "b:latest"]);
    }

    #[test]
    fn an_image_without_a_name_is_kept_by_id_until_it_gets_one() {
        let test = store();
        let written = image(&test.store, &[], &[]);
        assert!(resolve(&test.store, &written.id.hex()).is_err(), "no ref keeps it yet");
        keep(&test.store, &written.manifest).unwrap();
        let listing = list(&test.store).unwrap();
        assert_eq!((listing.images.len(), listing.images[0].name.as_ref()), (1, None));
        tag(&test.store, &written.manifest, &"n:1".parse().unwrap()).unwrap();
        keep(&test.store, &written.manifest).unwrap();
        let listing = list(&test.store).unwrap();
        assert_eq!(listing.images.len(), 1);
        assert_eq!(listing.images[0].name.as_ref().unwrap().familiar(), "n:1");
    }
}
