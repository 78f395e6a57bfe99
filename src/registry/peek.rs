//! What a name leads to, asked of the registry without taking the image.

use super::client::Remote;
use super::pull::Puller;
use super::{Keyring, RegistryError, Settings};
use crate::base::{Cancel, Digest};
use crate::image::Platform;
use crate::image::{Descriptor, ImageConfig, ImageIndex, Reference};
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest name of a platform that is taken from an index.
const MAX_PLATFORM: usize = 100;

/// What a registry says of a name.
#[derive(Clone, Debug)]
pub struct Peeked {
    /// What the name leads to: the digest of an index or of a manifest.
    pub digest: Digest,
    /// Of an index: the manifests that it lists, by `os/arch[/variant]`.
    pub platforms: BTreeMap<String, Digest>,
    /// The manifest for the platform that was asked about.
    pub manifest: Digest,
    /// Its config.
    pub config: ImageConfig,
}

/// Asks what a name leads to, and for the config of the image for `platform`. No layer is fetched; mirrors are asked
/// first.
///
/// # Errors
/// As [`super::pull`], as far as documents go.
pub fn peek(
    name: &Reference,
    platform: &Platform,
    settings: &Settings,
    keyring: &Keyring,
    cancel: &Cancel,
) -> Result<Peeked, RegistryError> {
    asked(name, settings, keyring, cancel, |puller| {
        let top = puller.top()?;
        let platforms = match Descriptor::new(&top.kind, top.digest, 0).is_index() {
            true => platforms(&ImageIndex::from_bytes(&top.bytes).map_err(|e| puller.invalid(&e))?),
            false => BTreeMap::new(),
        };
        let (digest, descriptor, manifest, _) = puller.manifest_below(top, platform)?;
        let config = ImageConfig::from_bytes(&puller.small(&manifest.config)?).map_err(|e| puller.invalid(&e))?;
        Ok(Peeked { digest, platforms, manifest: descriptor.digest, config })
    })
}

/// Asks what a name leads to, and nothing more.
///
/// # Errors
/// As [`peek`].
pub fn current(
    name: &Reference,
    settings: &Settings,
    keyring: &Keyring,
    cancel: &Cancel,
) -> Result<Digest, RegistryError> {
    asked(name, settings, keyring, cancel, |puller| Ok(puller.top()?.digest))
}

/// Asks mirrors, then the registry itself.
pub(super) fn asked<T>(
    name: &Reference,
    settings: &Settings,
    keyring: &Keyring,
    cancel: &Cancel,
    ask: impl Fn(&Puller<'_>) -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    let at = |registry: &str| {
        let source = Reference { registry: registry.to_owned(), ..name.clone() };
        let credential = keyring.find(&source.registry, &source.repository)?;
        let remote = Remote::connect(&source.registry, credential, settings, cancel)?;
        ask(&Puller::new(&remote, &source, &|_, _| {}))
    };
    for mirror in settings.host(&name.registry).mirrors {
        match at(&mirror) {
            Err(error) if error.is_network() || error.is_not_found() => {}
            result => return result,
        }
    }
    at(&name.registry)
}

fn platforms(index: &ImageIndex) -> BTreeMap<String, Digest> {
    let name = |descriptor: &Descriptor| {
        let field = |name: &str| descriptor.platform.as_ref().and_then(|p| p.get(name)).and_then(Value::as_str);
        let parts = [field("os")?, field("architecture")?].into_iter().chain(field("variant"));
        let text = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        let plain = |c: char| c.is_ascii_alphanumeric() || "/_.-".contains(c);
        (text.len() <= MAX_PLATFORM && text.chars().all(plain)).then_some(text)
    };
    let mut found = BTreeMap::new();
    for descriptor in index.manifests.iter().filter(|d| d.is_image()) {
        if let Some(name) = name(descriptor) {
            // The first of several is the one that is taken.
            found.entry(name).or_insert(descriptor.digest);
        }
    }
    found
}
