//! A repository as a place for documents and blobs that are no image: one manifest under a tag, blobs by digest.

use super::client::{Ask, Remote};
use super::download::Download;
use super::pull::Puller;
use super::upload::Target;
use super::{Keyring, RegistryError, Settings};
use crate::base::{Cancel, Digest};
use crate::image::Platform;
use crate::image::{Descriptor, Reference};
use crate::net::transfer::{Act, Transfer};
use crate::net::{Method, Payload};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// A tag of a repository, and the way there.
#[derive(Debug)]
pub struct Repository {
    remote: Remote,
    name: Reference,
    scopes: [String; 1],
}

impl Repository {
    /// Finds the way to the registry of `name`. `to_write`: credentials are asked for that allow pushes.
    ///
    /// # Errors
    /// The registry cannot be reached, or the user's credentials cannot be read.
    pub fn connect(
        name: &Reference,
        to_write: bool,
        settings: &Settings,
        keyring: &Keyring,
        cancel: &Cancel,
    ) -> Result<Repository, RegistryError> {
        let credential = keyring.find(&name.registry, &name.repository)?;
        let remote = Remote::connect(&name.registry, credential, settings, cancel)?;
        let rights = if to_write { "pull,push" } else { "pull" };
        let scopes = [format!("repository:{}:{rights}", name.repository)];
        Ok(Repository { remote, name: name.clone(), scopes })
    }

    /// The manifest under the name; of an index, those of the images for `platforms`, as far as it has them. Empty: the
    /// registry has none.
    ///
    /// # Errors
    /// The registry cannot be asked, gives what is no manifest, or an index without any of the platforms.
    pub fn manifests(&self, platforms: &[Platform]) -> Result<Vec<Vec<u8>>, RegistryError> {
        let puller = Puller::new(&self.remote, &self.name, &|_, _| {});
        let top = match puller.top() {
            Err(RegistryError::NotFound { .. }) => return Ok(Vec::new()),
            top => top?,
        };
        if Descriptor::new(&top.kind, top.digest, 0).is_manifest() {
            return Ok(vec![top.bytes]);
        }
        let mut found: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
        let mut lacking = None;
        for platform in platforms {
            match puller.manifest_below(top.clone(), platform) {
                Ok((_, descriptor, _, bytes)) => {
                    found.insert(descriptor.digest, bytes);
                }
                Err(error @ RegistryError::Platform { .. }) => lacking = Some(error),
                Err(error) => return Err(error),
            }
        }
        match lacking {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found.into_values().collect()),
        }
    }

    /// A blob as a stream, which survives cut connections. Whoever reads verifies.
    ///
    /// # Errors
    /// It is not there, or the registry cannot be asked.
    pub fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send + '_>, RegistryError> {
        Ok(Box::new(Download::start(&self.remote, &self.name.repository, &self.scopes, blob, 0)?))
    }

    /// Whether a blob is there.
    ///
    /// # Errors
    /// The registry cannot be asked.
    pub fn has(&self, digest: &Digest) -> Result<bool, RegistryError> {
        self.target().has(digest)
    }

    /// Sends a blob: the whole of a file.
    ///
    /// # Errors
    /// The registry does not take it.
    pub fn send(&self, blob: &Descriptor, file: &Path) -> Result<(), RegistryError> {
        let transfer = Arc::new(Transfer::new(Act::Send, blob.digest, blob.size));
        self.target().send(&blob.digest, blob.size, file, &transfer)
    }

    /// Puts a manifest under the name.
    ///
    /// # Errors
    /// The registry does not take it.
    pub fn put_manifest(&self, kind: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let tag = self.name.tag.as_deref().unwrap_or("latest");
        let url = self.remote.url(&format!("{}/manifests/{tag}", self.name.repository))?;
        let what = format!("take the manifest of {}", self.name.familiar());
        let mut ask = Ask::new(Method::Put, url, &self.scopes, what);
        ask.headers.push(("content-type", kind.to_owned()));
        ask.payload = Payload::Bytes(Arc::from(bytes));
        self.remote.expect(&ask, &[201]).map(drop)
    }

    fn target(&self) -> Target<'_> {
        Target { remote: &self.remote, repository: &self.name.repository, scopes: &self.scopes }
    }
}
