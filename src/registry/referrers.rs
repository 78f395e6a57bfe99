//! What is said of images in a registry (distribution-spec 1.1, "Listing Referrers", "Pushing Manifests with Subject").
//!
//! A registry that knows referrers lists them by itself. For one that does not, whoever pushes keeps an index of them
//! under the tag `sha256-HEX` of the subject, which whoever asks reads instead.

use super::client::Ask;
use super::peek::asked;
use super::pull::Puller;
use super::push::Pusher;
use super::{Registries, RegistryError};
use crate::base::Digest;
use crate::base::fs::Context;
use crate::export::referrers::{self, Artifact, MAX_REFERRERS, MAX_STATEMENT};
use crate::image::manifest::media;
use crate::image::{Descriptor, ImageIndex, MAX_DOCUMENT, Manifest, Platform, Reference};
use crate::net::transfer::News;
use crate::net::{Method, Payload, Response};
use crate::store::packed::Packed;
use std::io::Read;
use std::sync::Arc;

/// Most images of an index that are asked about.
const MAX_IMAGES: usize = 100;
/// Most pages of a listing that are read.
const MAX_PAGES: usize = 50;

/// What is said of an image in a registry.
#[derive(Debug)]
pub struct Said {
    /// Digest of the image's manifest.
    pub manifest: Digest,
    /// What an index says it is for.
    pub platform: Option<Platform>,
    /// Everything of the kinds that rbuild reads.
    pub artifacts: Vec<Artifact>,
}

/// Reads the attestations (in-toto) of what a name leads to: of an index those of the images for `platforms`, of all if
/// none are named. Referrers and what BuildKit lists in the index beside an image. Nothing is stored.
///
/// # Errors
/// As [`super::peek`].
pub fn attestations(
    name: &Reference,
    platforms: &[Platform],
    registries: &Registries<'_>,
) -> Result<Vec<Said>, RegistryError> {
    let Registries { settings, keyring, cancel, .. } = *registries;
    asked(name, settings, keyring, cancel, |puller| {
        let top = puller.top()?;
        if !Descriptor::new(&top.kind, top.digest, 0).is_index() {
            let artifacts = of(puller, &top.digest, Vec::new())?;
            return Ok(vec![Said { manifest: top.digest, platform: None, artifacts }]);
        }
        let index = ImageIndex::from_bytes(&top.bytes).map_err(|e| puller.invalid(&e))?;
        let missing = |wanted: Platform| RegistryError::Platform {
            name: name.familiar(),
            wanted: wanted.to_string(),
            found: index.platforms(),
        };
        let images = index.pick_all(platforms).map_err(missing)?;
        if images.len() > MAX_IMAGES {
            return Err(puller.wrong(format!("its index lists more than {MAX_IMAGES} images")));
        }
        let said = |(image, platform): (&Descriptor, Option<Platform>)| {
            let artifacts = of(puller, &image.digest, beside(&index, &image.digest))?;
            Ok(Said { manifest: image.digest, platform, artifacts })
        };
        images.into_iter().map(said).collect()
    })
}

/// What is said of a manifest, and what an index lists beside it.
fn of(puller: &Puller<'_>, manifest: &Digest, beside: Vec<Descriptor>) -> Result<Vec<Artifact>, RegistryError> {
    let mut artifacts = beside.iter().map(|descriptor| artifact(puller, descriptor)).collect::<Result<Vec<_>, _>>()?;
    for descriptor in listed(puller, manifest)?.iter().filter(|descriptor| is_attestation(descriptor)) {
        let found = artifact(puller, descriptor)?;
        // A list that anybody may have written does not decide whom it is about.
        if found.manifest.subject().is_none_or(|subject| subject.digest != *manifest) {
            return Err(puller.wrong(format!("its attestation {} is about another image", found.digest)));
        }
        artifacts.push(found);
    }
    Ok(artifacts)
}

/// The attestations that BuildKit lists in an index beside the image that they are about
/// (buildkit/docs/attestations/attestation-storage.md).
fn beside(index: &ImageIndex, manifest: &Digest) -> Vec<Descriptor> {
    let annotated = |descriptor: &Descriptor, name: &str, value: &str| {
        descriptor.annotations.get(name).map(String::as_str) == Some(value)
    };
    let about = |descriptor: &Descriptor| {
        annotated(descriptor, "vnd.docker.reference.type", "attestation-manifest")
            && annotated(descriptor, "vnd.docker.reference.digest", &manifest.to_string())
    };
    index.manifests.iter().filter(|descriptor| about(descriptor)).take(MAX_REFERRERS).cloned().collect()
}

fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.extra.get("artifactType").and_then(|kind| kind.as_str()) == Some(media::IN_TOTO)
}

fn artifact(puller: &Puller<'_>, descriptor: &Descriptor) -> Result<Artifact, RegistryError> {
    let document = puller.document(&descriptor.digest.to_string(), Some(&descriptor.digest))?;
    let manifest = Manifest::from_bytes(&document.bytes).map_err(|e| puller.invalid(&e))?;
    if let Some(reason) = referrers::refusal(&manifest) {
        return Err(puller.wrong(format!("it has {reason}")));
    }
    Artifact::received(document.bytes, manifest, |blob| puller.blob("attestation", blob, MAX_STATEMENT))
}

/// What is said of a manifest: as the registry lists it, else as the fallback tag does.
fn listed(puller: &Puller<'_>, manifest: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
    let mut all = Vec::new();
    let path = format!("{}/referrers/{manifest}", puller.name.repository);
    let mut url = puller.remote.url(&path)?;
    for _ in 0..MAX_PAGES {
        let mut ask = Ask::new(Method::Get, url.clone(), &puller.scopes, format!("list what is said of {manifest}"));
        ask.headers.push(("accept", media::INDEX.into()));
        let response = puller.remote.send(&ask)?;
        match response.status {
            200 => {}
            // Whoever does not know the address may say so in several ways.
            400 | 404 | 405 if all.is_empty() => return fallback(puller, manifest),
            _ => return Err(puller.remote.refused(&ask, response)),
        }
        let next = next_page(&response).map(|next| puller.remote.location(&url, Some(&next))).transpose()?;
        let bytes = read(response).map_err(|e| puller.wrong(e))?;
        let Ok(index) = ImageIndex::from_bytes(&bytes) else {
            // Some registries answer everything with a page for people.
            return fallback(puller, manifest);
        };
        all.extend(index.manifests);
        if all.len() > MAX_REFERRERS {
            return Err(puller.wrong(format!("it has more than {MAX_REFERRERS} attestations")));
        }
        match next {
            Some(next) => url = next,
            None => break,
        }
    }
    Ok(all)
}

/// The address of a listing's next page (RFC 8288).
fn next_page(response: &Response) -> Option<String> {
    let link = response.header("link")?;
    let (address, rest) = link.strip_prefix('<')?.split_once('>')?;
    (rest.contains("rel=\"next\"") || rest.contains("rel=next")).then(|| address.to_owned())
}

fn read(response: Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    response.body.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX_DOCUMENT { Err("the list of its attestations is too long".into()) } else { Ok(bytes) }
}

/// The tag under which those who push keep an index of what is said of a manifest.
fn tag_of(manifest: &Digest) -> String {
    format!("sha256-{}", manifest.hex())
}

fn fallback(puller: &Puller<'_>, manifest: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
    match puller.document(&tag_of(manifest), None) {
        Ok(document) => {
            let index = ImageIndex::from_bytes(&document.bytes).map_err(|e| puller.invalid(&e))?;
            if index.manifests.len() > MAX_REFERRERS {
                return Err(puller.wrong(format!("it has more than {MAX_REFERRERS} attestations")));
            }
            Ok(index.manifests)
        }
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

impl Pusher<'_> {
    /// Pushes what is said of an image that was pushed; how many artifacts these are.
    pub(super) fn said(&self, stored: &Digest, pushed: &Descriptor) -> Result<usize, RegistryError> {
        let artifacts = referrers::adapted(self.store, stored, pushed)?;
        let left = self.store.referrers(stored)?.len() - artifacts.len();
        if left > 0 {
            let text = format!("{left} attestations stay here: they are of the image as it was packed before");
            (self.watch)(self.told, News::Said { text });
        }
        let mut unlisted = Vec::new();
        for artifact in &artifacts {
            for (descriptor, bytes) in &artifact.blobs {
                self.small(descriptor, bytes)?;
            }
            if !self.artifact(artifact)? {
                unlisted.push(artifact.descriptor());
            }
        }
        if !unlisted.is_empty() {
            self.list(&pushed.digest, unlisted)?;
        }
        Ok(artifacts.len())
    }

    /// A blob that is at hand.
    fn small(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), RegistryError> {
        if self.is_there(&descriptor.digest, descriptor.size)? {
            return Ok(());
        }
        let dir = self.store.temp_dir()?;
        let path = dir.path().join("blob");
        std::fs::write(&path, bytes).at("write", &path)?;
        self.send(&Packed { digest: descriptor.digest, size: bytes.len() as u64 }, &path)
    }

    /// Puts the manifest of an artifact; whether the registry lists it by itself.
    fn artifact(&self, artifact: &Artifact) -> Result<bool, RegistryError> {
        let response = self.put(&artifact.digest.to_string(), artifact.manifest.kind(), &artifact.bytes)?;
        Ok(response.header("oci-subject").is_some())
    }

    /// Puts artifacts into the index under the fallback tag, beside those that it has; earlier ones of the same kind that
    /// rbuild made give way.
    fn list(&self, subject: &Digest, artifacts: Vec<Descriptor>) -> Result<(), RegistryError> {
        let puller = Puller::new(self.target.remote, self.name, self.watch);
        let mut index = ImageIndex::new(fallback(&puller, subject)?);
        let before = index.clone();
        index.manifests.retain(|known| !artifacts.iter().any(|new| new.digest == known.digest || replaces(new, known)));
        index.manifests.extend(artifacts);
        if index.manifests.len() > MAX_REFERRERS {
            return Err(puller.wrong(format!("it would have more than {MAX_REFERRERS} attestations")));
        }
        if index == before {
            return Ok(());
        }
        self.put(&tag_of(subject), media::INDEX, &index.to_bytes()).map(drop)
    }

    fn put(&self, reference: &str, kind: &str, bytes: &[u8]) -> Result<Response, RegistryError> {
        let remote = self.target.remote;
        let url = remote.url(&format!("{}/manifests/{reference}", self.target.repository))?;
        let what = format!("take an attestation of {}", self.name.familiar());
        let mut ask = Ask::new(Method::Put, url, self.target.scopes, what);
        ask.headers.push(("content-type", kind.to_owned()));
        ask.payload = Payload::Bytes(Arc::from(bytes));
        remote.expect(&ask, &[201])
    }
}

/// Whether the one is a newer statement of the same kind, by the same hand.
fn replaces(new: &Descriptor, old: &Descriptor) -> bool {
    let kind = |descriptor: &Descriptor| descriptor.annotations.get(referrers::PREDICATE_TYPE).cloned();
    let bare = |descriptor: &Descriptor| descriptor.annotations.len() == 1;
    is_attestation(old) && bare(old) && bare(new) && kind(new).is_some() && kind(new) == kind(old)
}
