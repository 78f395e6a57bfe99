//! From the store into a registry.

use super::client::Ask;
use super::upload::{STREAMED, Target};
use super::{Registries, RegistryError};
use crate::base::{Cancel, Digest, parallel};
use crate::export::index::{Chosen, Whole};
use crate::export::intake::{KEPT_GZIP, KEPT_ZSTD};
use crate::export::packing::Notes;
use crate::export::{Image, Packing};
use crate::image::{Descriptor, Manifest, Reference};
use crate::net::growing::Growth;
use crate::net::transfer::{Act, Moving, News, Watch};
use crate::net::{Method, Payload};
use crate::store::Store;
use crate::store::packed::Packed;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Blobs that are sent at once.
const WORKERS: usize = 3;

/// What [`push`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Of the manifest in the registry.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Blobs that were sent.
    pub sent: usize,
    /// Blobs that the registry had, or took from another of its repositories.
    pub present: usize,
    /// Attestations that went along.
    pub said: usize,
}

/// Pushes an image, or an index with its images, as `name`: blobs first, the manifest last. Layers are packed; those that
/// came packed are sent as they came, and an image that came so with all its layers keeps its manifest. What is said of an
/// image goes along after it.
///
/// # Errors
/// The registry cannot be reached or refuses, a blob of an image is missing, or the work was called off.
pub fn push(
    store: &Store,
    chosen: &Chosen,
    name: &Reference,
    packing: Packing,
    registries: &Registries<'_>,
) -> Result<Pushed, RegistryError> {
    if name.digest.is_some() {
        return Err(RegistryError::Pinned(name.familiar()));
    }
    let familiar = name.familiar();
    registries.told(&familiar, "push", || {
        let remote = registries.connect(name)?;
        let scopes = [format!("repository:{}:pull,push", name.repository)];
        let pusher = Pusher {
            store,
            name,
            told: &familiar,
            target: Target { remote: &remote, repository: &name.repository, scopes: &scopes },
            packing,
            elsewhere: elsewhere(store, name)?,
            watch: registries.watch,
            cancel: registries.cancel,
            sent: AtomicUsize::new(0),
            present: AtomicUsize::new(0),
        };
        pusher.chosen(chosen)
    })
}

/// In which other repositories of the registry blobs lie, as far as the store's images tell.
fn elsewhere(store: &Store, name: &Reference) -> Result<HashMap<Digest, String>, RegistryError> {
    let mut found = HashMap::new();
    for (key, manifest) in store.refs()? {
        let Ok(other) = key.parse::<Reference>() else { continue };
        if other.registry != name.registry || other.repository == name.repository {
            continue;
        }
        // An image that cannot be read helps nobody here, and is reported where it is asked for.
        let Ok(bytes) = store.read_blob(&manifest) else { continue };
        let Ok(manifest) = Manifest::from_bytes(&bytes) else { continue };
        found.entry(manifest.config.digest).or_insert_with(|| other.repository.clone());
        for layer in manifest.layers {
            // A plain layer was sent packed, if it was sent.
            let packed = store.packings(&layer.digest).unwrap_or_default();
            for digest in packed.into_values().map(|p| p.digest).chain([layer.digest]) {
                found.entry(digest).or_insert_with(|| other.repository.clone());
            }
        }
    }
    Ok(found)
}

pub(super) struct Pusher<'p> {
    pub store: &'p Store,
    pub name: &'p Reference,
    /// As people know it.
    pub told: &'p str,
    pub target: Target<'p>,
    packing: Packing,
    elsewhere: HashMap<Digest, String>,
    pub watch: &'p Watch<'p>,
    cancel: &'p Cancel,
    sent: AtomicUsize,
    present: AtomicUsize,
}

impl Pusher<'_> {
    fn chosen(self, chosen: &Chosen) -> Result<Pushed, RegistryError> {
        let tag = self.name.tag.as_deref().unwrap_or("latest");
        let mut said = 0;
        let (kind, bytes) = match &chosen.whole {
            None => (chosen.image.manifest.kind(), self.image(&chosen.image)?),
            Some(whole) => (whole.index.kind(), self.images(whole, &mut said)?),
        };
        let digest = self.manifest(kind, &bytes, tag)?;
        let size = bytes.len() as u64;
        if chosen.whole.is_none() {
            said += self.said(&chosen.image.manifest_digest, &Descriptor::new(kind, digest, size))?;
        }
        let count = |counter: AtomicUsize| counter.into_inner();
        Ok(Pushed { digest, size, sent: count(self.sent), present: count(self.present), said })
    }

    /// Sends the blobs of an image; its manifest as the registry is to have it.
    fn image(&self, image: &Image) -> Result<Vec<u8>, RegistryError> {
        let layers: Vec<_> = image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids).collect();
        let layers = parallel::try_map(WORKERS, &layers, |(descriptor, diff_id)| self.layer(descriptor, diff_id))?;
        self.kept(&image.manifest.config)?;
        if layers == image.manifest.layers {
            return Ok(self.store.read_blob(&image.manifest_digest)?);
        }
        Ok(Manifest { layers, ..image.manifest.clone() }.to_bytes())
    }

    /// Sends the images of an index, and what is said of them; the index of them as the registry has them.
    fn images(&self, whole: &Whole, said: &mut usize) -> Result<Vec<u8>, RegistryError> {
        let mut index = whole.index.clone();
        for image in &whole.images {
            let bytes = self.image(image)?;
            let digest = Digest::of(&bytes);
            self.manifest(image.manifest.kind(), &bytes, &digest.to_string())?;
            let sent = Descriptor::new(image.manifest.kind(), digest, bytes.len() as u64);
            *said += self.said(&image.manifest_digest, &sent)?;
            for listed in index.manifests.iter_mut().filter(|d| d.digest == image.manifest_digest) {
                (listed.digest, listed.size) = (digest, bytes.len() as u64);
            }
        }
        // What tells of images by their digests would tell of other ones now.
        if index != whole.index {
            index.manifests.retain(Descriptor::is_image);
            return Ok(index.to_bytes());
        }
        for other in index.manifests.iter().filter(|d| !d.is_image()) {
            self.other(other)?;
        }
        Ok(self.store.read_blob(&whole.digest)?)
    }

    /// Sends what an index lists beside images, with its blobs.
    fn other(&self, listed: &Descriptor) -> Result<(), RegistryError> {
        let bytes = self.store.read_blob(&listed.digest)?;
        if let Ok(manifest) = Manifest::from_bytes(&bytes) {
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                self.kept(blob)?;
            }
        }
        self.manifest(&listed.media_type, &bytes, &listed.digest.to_string()).map(drop)
    }

    /// Sees to it that the registry has a layer; its descriptor there.
    fn layer(&self, descriptor: &Descriptor, diff_id: &Digest) -> Result<Descriptor, RegistryError> {
        if descriptor.digest != *diff_id && self.packing.keeps(descriptor) {
            self.kept(descriptor)?;
            return Ok(descriptor.clone());
        }
        for (way, kept) in [(KEPT_GZIP, Packing::GZIP), (KEPT_ZSTD, Packing::ZSTD)] {
            let packed = self.store.packed(diff_id, way)?.filter(|p| self.store.has_blob(&p.digest));
            if let Some(packed) = packed.map(|packed| kept.describe(descriptor, &packed))
                && self.packing.keeps(&packed)
            {
                self.kept(&packed)?;
                return Ok(packed);
            }
        }
        let way = self.packing.way();
        let known = match &way {
            None => self.store.layer(diff_id)?.map(|info| Packed { digest: *diff_id, size: info.tar_size }),
            Some(way) => self.store.packed(diff_id, way)?,
        };
        if let Some(known) = &known
            && self.is_there(&known.digest, known.size)?
        {
            return Ok(self.packing.describe(descriptor, known));
        }
        let packed = self.make(diff_id, known.as_ref())?;
        Ok(self.packing.describe(descriptor, &packed))
    }

    /// Sees to it that the registry has a blob of the store.
    fn kept(&self, descriptor: &Descriptor) -> Result<(), RegistryError> {
        let digest = descriptor.digest;
        if self.is_there(&digest, descriptor.size)? {
            return Ok(());
        }
        if !self.store.has_blob(&digest) {
            return Err(RegistryError::BlobMissing { digest, name: self.name.familiar() });
        }
        self.send(&Packed { digest, size: descriptor.size }, &self.store.blob_path(&digest))
    }

    pub fn is_there(&self, digest: &Digest, size: u64) -> Result<bool, RegistryError> {
        let there = self.target.has(digest)?
            || match self.elsewhere.get(digest) {
                Some(other) => self.target.mount(digest, other)?,
                None => false,
            };
        if there {
            self.present.fetch_add(1, Ordering::Relaxed);
            (self.watch)(self.told, News::Known { blob: *digest, size });
        }
        Ok(there)
    }

    pub fn send(&self, blob: &Packed, path: &Path) -> Result<(), RegistryError> {
        let moving = Moving::begin(self.watch, self.told, Act::Send, blob.digest, blob.size);
        self.target.send(&blob.digest, blob.size, path, moving.transfer())?;
        moving.complete();
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Packs a layer and sends it meanwhile. `missing` is the blob of which it is known that the registry has it not.
    fn make(&self, diff_id: &Digest, missing: Option<&Packed>) -> Result<Packed, RegistryError> {
        let dir = self.store.temp_dir()?;
        let path = dir.path().join("layer");
        let growth = Growth::new(path.clone());
        let growing = growth.growing();
        std::thread::scope(|scope| {
            let stream = scope.spawn(|| self.target.stream(&growing));
            let packed = self.pack(diff_id, &path, growth)?;
            let is_missing =
                || Ok::<_, RegistryError>(missing == Some(&packed) || !self.is_there(&packed.digest, packed.size)?);
            // On a slow line much may be left to be sent, perhaps for nothing.
            if growing.behind() > STREAMED && !is_missing().inspect_err(|_| growing.give_up())? {
                growing.give_up();
                return Ok(packed);
            }
            let moving = (packed.size >= STREAMED).then(|| {
                let moving = Moving::begin(self.watch, self.told, Act::Send, packed.digest, packed.size);
                growing.show(moving.transfer().clone());
                moving
            });
            // A thread that panicked has sent nothing.
            let upload = stream.join().unwrap_or(Ok(None))?;
            if let (Some(upload), Some(moving)) = (upload, moving)
                && self.target.close(&upload, &packed.digest)?
            {
                moving.complete();
                self.sent.fetch_add(1, Ordering::Relaxed);
            } else if is_missing()? {
                self.send(&packed, &path)?;
            }
            Ok(packed)
        })
    }

    /// Writes a layer as it is sent, and remembers what it came to.
    fn pack(&self, diff_id: &Digest, path: &Path, growth: Growth) -> Result<Packed, RegistryError> {
        let size = self.store.layer(diff_id)?.map_or(0, |layer| layer.tar_size);
        let moving = Moving::begin(self.watch, self.told, Act::Pack, *diff_id, size);
        let notes = Notes { read: &|bytes| moving.transfer().add(bytes), written: &|bytes| growth.add(bytes) };
        let packed = self.packing.write_noting(self.store, diff_id, path, &notes, self.cancel)?;
        growth.complete();
        moving.complete();
        if let Some(way) = self.packing.way() {
            self.store.remember_packed(diff_id, &way, packed.clone())?;
        }
        Ok(packed)
    }

    fn manifest(&self, kind: &str, bytes: &[u8], reference: &str) -> Result<Digest, RegistryError> {
        let Target { remote, repository, scopes } = &self.target;
        let url = remote.url(&format!("{repository}/manifests/{reference}"))?;
        let mut ask = Ask::new(Method::Put, url, scopes, format!("take the manifest of {}", self.name.familiar()));
        ask.headers.push(("content-type", kind.to_owned()));
        ask.payload = Payload::Bytes(Arc::from(bytes));
        let response = remote.expect(&ask, &[201])?;
        let digest = Digest::of(bytes);
        match response.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok()) {
            Some(other) if other != digest => Err(RegistryError::Contents {
                place: self.name.familiar(),
                reason: format!("the registry has stored {other} and was sent {digest}"),
            }),
            _ => Ok(digest),
        }
    }
}
