//! An image whose layers stay in its registry until something needs their files: what they hold is known from elsewhere.

use super::artifact::Repository;
use super::pull::Puller;
use super::{Keyring, Registries, RegistryError, Settings};
use crate::base::{Cancel, Digest};
use crate::export::ExportError;
use crate::export::intake::{Blobs, Intake};
use crate::image::{Descriptor, ImageConfig, Manifest, Platform, Reference};
use crate::store::layers::LayerInfo;
use crate::store::promise::{Promise, Supply};
use crate::store::{Store, StoreError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Who may know what a layer holds: its `info` and its encoded index.
pub type Knows<'k> = dyn Fn(&Digest) -> Option<(LayerInfo, Vec<u8>)> + 'k;

/// An image whose layers are here or promised ([`crate::store::promise`]). No name is given to it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    /// The manifest, which is stored as it came, as the config is.
    pub manifest: Digest,
    /// The diffIDs of its layers.
    pub layers: Vec<Digest>,
}

/// Gets manifest and config of an image, and promises its layers to the store, if what they hold is known of all of
/// them. `None`: it is not, and nothing was promised.
///
/// # Errors
/// As [`super::pull`], as far as documents go. Mirrors are asked first.
pub fn promise(
    store: &Store,
    name: &Reference,
    platform: &Platform,
    registries: &Registries<'_>,
    knows: &Knows<'_>,
) -> Result<Option<Promised>, RegistryError> {
    for mirror in registries.settings.host(&name.registry).mirrors {
        let source = Reference { registry: mirror, ..name.clone() };
        match promise_from(store, &source, platform, registries, knows) {
            Err(error) if error.is_network() || error.is_not_found() => {}
            result => return result,
        }
    }
    promise_from(store, name, platform, registries, knows)
}

fn promise_from(
    store: &Store,
    source: &Reference,
    platform: &Platform,
    registries: &Registries<'_>,
    knows: &Knows<'_>,
) -> Result<Option<Promised>, RegistryError> {
    let remote = registries.connect(source)?;
    let puller = Puller::new(&remote, source, registries.watch);
    let (_, descriptor, manifest, bytes) = puller.manifest_below(puller.top()?, platform)?;
    let config = puller.small(&manifest.config)?;
    let Some(promises) = promises(store, source, &manifest, &config, registries, knows)? else { return Ok(None) };
    let layers = promises.iter().map(|(layer, _)| *layer).collect();
    for promise in promises.into_iter().filter_map(|(_, promise)| promise) {
        store.promise(promise)?;
    }
    store.put_blob(&config)?;
    store.put_blob(&bytes)?;
    Ok(Some(Promised { manifest: descriptor.digest, layers }))
}

/// Each layer, and a promise of it unless it is here.
type Promises = Vec<(Digest, Option<Promise>)>;

fn promises(
    store: &Store,
    source: &Reference,
    manifest: &Manifest,
    config: &[u8],
    registries: &Registries<'_>,
    knows: &Knows<'_>,
) -> Result<Option<Promises>, RegistryError> {
    // What is wrong with the config shows when the image is pulled.
    let Ok(config) = ImageConfig::from_bytes(config) else { return Ok(None) };
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        return Ok(None);
    }
    let source = Arc::new(Source {
        reference: source.clone(),
        place: source.familiar().into(),
        settings: registries.settings.clone(),
        keyring: registries.keyring.clone(),
        cancel: registries.cancel.clone(),
        repository: OnceLock::new(),
    });
    let mut promises = Vec::with_capacity(diff_ids.len());
    for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
        // A layer without the blob that the manifest lists could not be given on as it came.
        let whole = descriptor.digest == diff_id || store.has_blob(&descriptor.digest);
        if whole && store.held_layer(&diff_id)?.is_some() {
            promises.push((diff_id, None));
            continue;
        }
        let Some((info, index)) = knows(&diff_id) else { return Ok(None) };
        let expected = Digest::of(&index);
        let supply =
            Arc::new(Layer { source: source.clone(), descriptor: descriptor.clone(), diff_id, index: expected });
        promises.push((diff_id, Some(Promise { info: LayerInfo { diff_id, fs_of: None, ..info }, index, supply })));
    }
    Ok(Some(promises))
}

/// The repository that the layers lie in.
#[derive(Debug)]
struct Source {
    reference: Reference,
    place: PathBuf,
    settings: Settings,
    keyring: Keyring,
    cancel: Cancel,
    /// Connected to when the first layer is fetched.
    repository: OnceLock<Result<Repository, String>>,
}

impl Blobs for Source {
    fn place(&self) -> &Path {
        &self.place
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>, ExportError> {
        let refused = |reason: String| ExportError::Archive { archive: self.place.clone(), reason };
        let repository = self.repository.get_or_init(|| {
            let Source { reference, settings, keyring, cancel, .. } = self;
            Repository::connect(reference, false, settings, keyring, cancel).map_err(|error| error.to_string())
        });
        let repository = repository.as_ref().map_err(|reason| refused(reason.clone()))?;
        repository.open(descriptor).map_err(|error| refused(error.to_string()))
    }
}

/// A layer of an image in a registry.
#[derive(Debug)]
struct Layer {
    source: Arc<Source>,
    descriptor: Descriptor,
    diff_id: Digest,
    /// The digest of the index that was promised.
    index: Digest,
}

impl Supply for Layer {
    fn fetch(&self, store: &Store) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Layer { source, descriptor, diff_id, index } = self;
        Intake { store, blobs: &**source, cancel: &source.cancel }.layer(descriptor, diff_id)?;
        let found = Digest::of(&store.layer_index(diff_id)?);
        if found == *index {
            return Ok(());
        }
        // The layer is what the image says, and stays; what was concluded from the promise is not.
        let reason = "it holds other files than its index says".to_owned();
        Err(StoreError::Damaged { path: source.place.join(diff_id.to_string()), reason }.into())
    }
}
