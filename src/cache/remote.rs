//! A cache in a registry: an artifact under a tag, or what an image carries about itself ([`super::inline`]).

use super::spec::{Reach, unreachable};
use super::{CacheError, Place};
use crate::image::Platform;
use crate::image::manifest::media;
use crate::image::{Descriptor, Reference};
use crate::registry::Repository;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

/// A tag of a repository.
#[derive(Debug)]
pub struct Tagged {
    reference: Reference,
    name: String,
    to_write: bool,
    reach: Reach,
    /// Connected to when it is first needed: a build that finds all in its store asks nobody. One failure is enough.
    repository: OnceLock<Result<Repository, String>>,
}

impl Tagged {
    /// The cache under this name. `to_write`: for an export.
    pub fn new(name: &Reference, to_write: bool, reach: &Reach) -> Tagged {
        let (reference, reach) = (name.clone(), reach.clone());
        Tagged { name: name.familiar(), reference, to_write, reach, repository: OnceLock::new() }
    }

    fn repository(&self) -> Result<&Repository, CacheError> {
        let repository = self.repository.get_or_init(|| {
            let Reach { settings, keyring, cancel, .. } = &self.reach;
            Repository::connect(&self.reference, self.to_write, settings, keyring, cancel).map_err(|e| e.to_string())
        });
        repository.as_ref().map_err(|reason| unreachable(&self.name, reason))
    }
}

impl Place for Tagged {
    fn name(&self) -> &str {
        &self.name
    }

    fn manifest(&self) -> Result<Option<Vec<u8>>, CacheError> {
        Ok(self.repository()?.manifests(&[Platform::default()])?.pop())
    }

    fn manifests(&self) -> Result<Vec<Vec<u8>>, CacheError> {
        Ok(self.repository()?.manifests(&self.reach.platforms)?)
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send + '_>, CacheError> {
        Ok(self.repository()?.open(blob)?)
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, CacheError> {
        Ok(self.repository()?.has(&blob.digest)?)
    }

    fn put(&self, blob: &Descriptor, file: &Path) -> Result<(), CacheError> {
        Ok(self.repository()?.send(blob, file)?)
    }

    fn put_manifest(&self, bytes: &[u8]) -> Result<(), CacheError> {
        Ok(self.repository()?.put_manifest(media::MANIFEST, bytes)?)
    }
}
