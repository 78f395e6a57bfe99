//! Images into the store from archives: OCI layouts (tar or directory) and docker archives, old and new, packed or not.
//!
//! Nothing in an archive is believed: every document and blob is hashed before it is used under its digest, the layers
//! of the manifest must be those of the config, and a layer's content must have the diffID that the config gives it.
//! The manifest of an OCI layout is stored as it came, with the packed blobs it lists, so that its digest stays valid.

mod one;

pub use one::{Pick, load_one};

use super::ExportError;
use super::archive::{Archive, Member, blob_name};
use super::images::{self, Image};
use super::intake::{Blobs, Intake};
use super::referrers::{self, Artifact};
use super::save::{CONTAINERD_NAME, REF_NAME};
use crate::base::{Cancel, Digest};
use crate::image::Platform;
use crate::image::manifest::media;
use crate::image::{Descriptor, ImageConfig, ImageIndex, MAX_DOCUMENT, Manifest, Reference};
use crate::store::Store;
use rayon::prelude::*;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Most images that one archive may hold.
const MAX_IMAGES: usize = 1000;
/// Deepest nesting of indexes.
const MAX_DEPTH: usize = 4;

/// Where an archive comes from.
pub enum Input<'r> {
    /// A file or an OCI layout's directory.
    Path(&'r Path),
    /// A stream, such as standard input.
    Stream(&'r mut (dyn Read + Send)),
}

/// Loads every image of an archive and gives them with their names, which are taken from any image that had them. An
/// image without a name is kept by its ID. With `name` (the archive must then hold one image) that name is given
/// instead of those in the archive. Of an index of several platforms the image for `platform` is taken; without, all that
/// the archive holds, and the names lead to the index.
///
/// # Errors
/// The archive is none, exceeds a limit, or contradicts itself; the store failed; the work was called off. Images that
/// were complete before the failure stay.
pub fn load(
    store: &Store,
    input: Input<'_>,
    name: Option<&Reference>,
    platform: Option<&Platform>,
    cancel: &Cancel,
) -> Result<Vec<Image>, ExportError> {
    let tmp = store.temp_dir()?;
    let archive = match input {
        Input::Path(path) => Archive::open(path, tmp.path(), cancel)?,
        Input::Stream(reader) => Archive::from_stream(reader, Path::new("standard input"), tmp.path(), cancel)?,
    };
    let (host, whole) = (Platform::default(), platform.is_none());
    let loader = Loader { store, archive, platform: platform.unwrap_or(&host), whole, cancel };
    let mut found = match loader.archive.get("index.json")? {
        Some(index) => loader.find_oci(&index)?,
        None => match loader.archive.get("manifest.json")? {
            Some(manifest) => loader.find_docker(&manifest)?,
            None => return Err(loader.refused("it holds neither an OCI layout nor a docker archive")),
        },
    };
    if let Some(name) = name {
        let [only] = &mut found[..] else {
            return Err(loader.refused(&format!("it holds {} images, and one name was given", found.len())));
        };
        only.names = vec![name.clone()];
    }
    found.iter().map(|candidate| loader.store_image(candidate)).collect()
}

/// An image in the archive, its documents verified against the digests that name them.
struct Candidate {
    /// As it came; `None` for a docker archive, which has none.
    manifest: Option<(Manifest, Vec<u8>)>,
    config: Vec<u8>,
    /// A docker archive's layers, bottom first.
    layers: Vec<String>,
    names: Vec<Reference>,
    /// What is said of it.
    said: Vec<Artifact>,
    /// Of an index: it as it came, and its images.
    parts: Option<(Vec<u8>, Vec<Candidate>)>,
}

/// An entry of docker's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

struct Loader<'l> {
    store: &'l Store,
    archive: Archive,
    platform: &'l Platform,
    /// Indexes are taken whole.
    whole: bool,
    cancel: &'l Cancel,
}

impl Loader<'_> {
    fn refused(&self, reason: &str) -> ExportError {
        ExportError::Archive { archive: self.archive.name().to_owned(), reason: reason.to_owned() }
    }

    /// A document that no digest pins: the archive's table of contents.
    fn document(&self, member: &Member, name: &str) -> Result<Vec<u8>, ExportError> {
        member.read(MAX_DOCUMENT).map_err(|e| self.refused(&format!("cannot read '{name}': {e}")))
    }

    fn blob(&self, digest: &Digest) -> Result<Member, ExportError> {
        let missing = || self.refused(&format!("it does not hold the blob {digest}"));
        self.archive.get(&blob_name(digest))?.ok_or_else(missing)
    }

    /// A small blob, verified.
    fn pinned(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ExportError> {
        self.verified(descriptor, MAX_DOCUMENT)
    }

    fn verified(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, ExportError> {
        let name = blob_name(&descriptor.digest);
        let member = self.blob(&descriptor.digest)?;
        let bytes = member.read(limit).map_err(|e| self.refused(&format!("cannot read '{name}': {e}")))?;
        let found = Digest::of(&bytes);
        if found != descriptor.digest || bytes.len() as u64 != descriptor.size {
            let (digest, size, length) = (descriptor.digest, descriptor.size, bytes.len());
            let reason = format!("{digest} ({size} bytes) has the content of {found} ({length} bytes)");
            return Err(self.refused(&reason));
        }
        Ok(bytes)
    }

    fn invalid(&self, name: &str) -> impl FnOnce(crate::image::DocumentError) -> ExportError {
        let place = format!("{}: {name}", self.archive.name().display());
        move |reason| ExportError::Document { place, reason }
    }

    fn find_oci(&self, member: &Member) -> Result<Vec<Candidate>, ExportError> {
        let bytes = self.document(member, "index.json")?;
        let index = ImageIndex::from_bytes(&bytes).map_err(self.invalid("index.json"))?;
        // docker's own table may know names that the index does not.
        let mut tags: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
        if let Some(member) = self.archive.get("manifest.json")? {
            for entry in self.docker_entries(&member)? {
                let digest = entry.config.strip_prefix("blobs/sha256/").and_then(|hex| Digest::from_hex(hex).ok());
                if let Some(digest) = digest {
                    tags.entry(digest).or_default().extend(parse_names(entry.repo_tags.iter().flatten())?);
                }
            }
        }
        let mut found: BTreeMap<Digest, Candidate> = BTreeMap::new();
        let mut order = Vec::new();
        let mut said = said::listed(self, &index)?;
        for descriptor in self.for_platform(&index.manifests) {
            let names = index_names(descriptor)?;
            if let Some(index) = self.index(descriptor, &mut tags)? {
                order.push(descriptor.digest);
                found.entry(descriptor.digest).or_insert(index).names.extend(names);
                continue;
            }
            let Some(descriptor) = self.manifest_of(descriptor.clone(), 0)? else { continue };
            if let Some(known) = found.get_mut(&descriptor.digest) {
                known.names.extend(names);
                continue;
            }
            let bytes = self.pinned(&descriptor)?;
            let manifest = Manifest::from_bytes(&bytes).map_err(self.invalid(&blob_name(&descriptor.digest)))?;
            if manifest.subject().is_some() {
                said.push((manifest, bytes));
                continue;
            }
            if !matches!(manifest.config.media_type.as_str(), media::CONFIG | media::DOCKER_CONFIG) {
                return Err(self.refused(&format!("'{}' is no container image", manifest.config.media_type)));
            }
            let config = self.pinned(&manifest.config)?;
            let mut names = names;
            names.extend(tags.remove(&manifest.config.digest).unwrap_or_default());
            let manifest = Some((manifest, bytes));
            order.push(descriptor.digest);
            found.insert(
                descriptor.digest,
                Candidate { manifest, config, layers: Vec::new(), names, said: Vec::new(), parts: None },
            );
            if order.len() > MAX_IMAGES {
                return Err(self.refused(&format!("it holds more than {MAX_IMAGES} images")));
            }
        }
        if order.is_empty() {
            return Err(self.refused("its index lists no image"));
        }
        said::assign(self, said, &mut found)?;
        Ok(order.iter().filter_map(|digest| found.remove(digest)).collect())
    }

    /// An index that is to be taken whole: one of several images that are in the archive.
    fn index(
        &self,
        descriptor: &Descriptor,
        tags: &mut BTreeMap<Digest, Vec<Reference>>,
    ) -> Result<Option<Candidate>, ExportError> {
        if !self.whole || !descriptor.is_index() {
            return Ok(None);
        }
        let bytes = self.pinned(descriptor)?;
        let index = ImageIndex::from_bytes(&bytes).map_err(self.invalid(&blob_name(&descriptor.digest)))?;
        let mut parts = Vec::new();
        for (listed, _) in index.images().filter(|(listed, _)| listed.is_manifest()) {
            if self.archive.get(&blob_name(&listed.digest))?.is_some() {
                parts.push(self.candidate(listed)?);
            }
        }
        if !(2..=MAX_IMAGES).contains(&parts.len()) {
            return Ok(None);
        }
        let ids = parts.iter().map(|part| Digest::of(&part.config));
        let names = ids.filter_map(|id| tags.remove(&id)).flatten().collect();
        let parts = Some((bytes, parts));
        Ok(Some(Candidate { manifest: None, config: Vec::new(), layers: Vec::new(), names, said: Vec::new(), parts }))
    }

    /// The manifest that a descriptor of the index leads to; `None` for what is no image (an attestation).
    fn manifest_of(&self, descriptor: Descriptor, depth: usize) -> Result<Option<Descriptor>, ExportError> {
        if !descriptor.is_index() {
            return Ok(descriptor.is_manifest().then_some(descriptor));
        }
        if depth == MAX_DEPTH {
            return Err(self.refused(&format!("its indexes are nested more than {MAX_DEPTH} deep")));
        }
        let bytes = self.pinned(&descriptor)?;
        let index = ImageIndex::from_bytes(&bytes).map_err(self.invalid(&blob_name(&descriptor.digest)))?;
        let fitting = self.for_platform(&index.manifests);
        match fitting[..] {
            [] => Err(self.refused("it holds an index without images")),
            [only] => self.manifest_of(only.clone(), depth + 1),
            [first, ..] if self.fits(first) => self.manifest_of(first.clone(), depth + 1),
            _ => {
                let Platform { os, arch, .. } = self.platform;
                Err(self.refused(&format!("it holds images for other platforms than {os}/{arch} alone")))
            }
        }
    }

    fn fits(&self, descriptor: &Descriptor) -> bool {
        descriptor.platform_is(&self.platform.os, &self.platform.arch)
    }

    /// The images among these descriptors; where several differ in platform alone, those that fit.
    fn for_platform<'d>(&self, all: &'d [Descriptor]) -> Vec<&'d Descriptor> {
        let images: Vec<&Descriptor> = all.iter().filter(|d| d.is_image()).collect();
        let rival = |d: &Descriptor| images.iter().any(|o| o.annotations == d.annotations && self.fits(o));
        images.iter().copied().filter(|d| d.platform.is_none() || self.fits(d) || !rival(d)).collect()
    }

    fn docker_entries(&self, member: &Member) -> Result<Vec<DockerEntry>, ExportError> {
        let bytes = self.document(member, "manifest.json")?;
        let entries: Vec<DockerEntry> =
            serde_json::from_slice(&bytes).map_err(|e| self.refused(&format!("'manifest.json' is not valid: {e}")))?;
        match entries.len() {
            0 => Err(self.refused("its 'manifest.json' lists no image")),
            1..=MAX_IMAGES => Ok(entries),
            _ => Err(self.refused(&format!("it holds more than {MAX_IMAGES} images"))),
        }
    }

    fn find_docker(&self, member: &Member) -> Result<Vec<Candidate>, ExportError> {
        let mut found = Vec::new();
        for entry in self.docker_entries(member)? {
            let missing = || self.refused(&format!("it does not hold the config '{}'", entry.config.escape_debug()));
            let config = self.archive.get(&entry.config)?.ok_or_else(missing)?;
            let config = self.document(&config, &entry.config)?;
            // Its name is the image ID; another content under it is damage or worse.
            let base = entry.config.rsplit('/').next().unwrap_or(&entry.config);
            let digest = Digest::of(&config);
            if Digest::from_hex(base.trim_end_matches(".json")).is_ok_and(|named| named != digest) {
                return Err(self.refused(&format!("the config '{base}' has digest {digest}")));
            }
            let names = parse_names(entry.repo_tags.iter().flatten())?;
            let layers = entry.layers.unwrap_or_default();
            found.push(Candidate { manifest: None, config, layers, names, said: Vec::new(), parts: None });
        }
        Ok(found)
    }

    fn store_image(&self, candidate: &Candidate) -> Result<Image, ExportError> {
        let mut parts = Vec::new();
        let digest = match &candidate.parts {
            Some((index, images)) => {
                for part in images {
                    parts.push(self.store_one(part)?);
                }
                self.store.put_blob(index)?
            }
            None => self.store_one(candidate)?,
        };
        for name in &candidate.names {
            images::tag(self.store, &digest, name)?;
        }
        images::keep(self.store, &digest)?;
        // An index need not hold an image for this host.
        let shown = images::read(self.store, &digest).or_else(|error| match parts.first() {
            Some(first) => images::read(self.store, first),
            None => Err(error),
        });
        let mut image = Image { index: candidate.parts.is_some().then_some(digest), ..shown? };
        image.names.clone_from(&candidate.names);
        image.names.sort();
        image.names.dedup();
        Ok(image)
    }

    /// The documents, layers and attestations of one image; the digest of its manifest.
    fn store_one(&self, candidate: &Candidate) -> Result<Digest, ExportError> {
        let intake = Intake { store: self.store, blobs: self, cancel: self.cancel };
        let digest = match &candidate.manifest {
            Some((manifest, bytes)) => intake.image(manifest, bytes, &candidate.config)?,
            None => self.store_docker(&intake, candidate)?,
        };
        for artifact in &candidate.said {
            referrers::attach(self.store, artifact)?;
        }
        Ok(digest)
    }

    /// An image of a docker archive, with a manifest of our own; its digest.
    fn store_docker(&self, intake: &Intake<'_>, candidate: &Candidate) -> Result<Digest, ExportError> {
        let id = Digest::of(&candidate.config);
        let config = ImageConfig::from_bytes(&candidate.config).map_err(self.invalid(&id.to_string()))?;
        let diff_ids = &config.rootfs.diff_ids;
        intake.check_count(&id, candidate.layers.len(), diff_ids.len())?;
        let layers = candidate.layers.par_iter().zip(diff_ids);
        let descriptors = layers
            .map(|(name, diff_id)| {
                Ok(Descriptor::new(media::LAYER, *diff_id, self.store_member(intake, name, diff_id)?))
            })
            .collect::<Result<Vec<_>, ExportError>>()?;
        self.store.put_blob(&candidate.config)?;
        let config = Descriptor::new(media::CONFIG, id, candidate.config.len() as u64);
        Ok(self.store.put_blob(&Manifest::new(config, descriptors).to_bytes())?)
    }

    /// A layer of a docker archive; the length of its tar in bytes.
    fn store_member(&self, intake: &Intake<'_>, name: &str, diff_id: &Digest) -> Result<u64, ExportError> {
        if let Some(info) = self.store.held_layer(diff_id)? {
            return Ok(info.tar_size);
        }
        let missing = || self.refused(&format!("it does not hold the layer '{}'", name.escape_debug()));
        let member = self.archive.get(name)?.ok_or_else(missing)?;
        intake.unpack(&mut member.reader(), diff_id)
    }
}

impl Blobs for Loader<'_> {
    fn place(&self) -> &Path {
        self.archive.name()
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>, ExportError> {
        let member = self.blob(&descriptor.digest)?;
        if member.size() != descriptor.size {
            let Descriptor { digest, size, .. } = descriptor;
            return Err(self.refused(&format!("layer {digest} has {} bytes and not {size}", member.size())));
        }
        Ok(Box::new(member.reader()))
    }
}

/// Names in an index entry's annotations: containerd's full one, else the OCI one, which podman and skopeo write in full
/// too. The latter is free text (umoci's tags are anything): where it is no image name, the image has none.
fn index_names(descriptor: &Descriptor) -> Result<Vec<Reference>, ExportError> {
    if let Some(name) = descriptor.annotations.get(CONTAINERD_NAME) {
        return parse_names(std::iter::once(name));
    }
    let name = descriptor.annotations.get(REF_NAME).and_then(|text| text.parse::<Reference>().ok());
    Ok(name.into_iter().filter(|name| name.digest.is_none()).collect())
}

fn parse_names<'n>(texts: impl Iterator<Item = &'n String>) -> Result<Vec<Reference>, ExportError> {
    // A name that pins a digest cannot be given; the image is kept by what it is.
    let pinned = |name: &Reference| name.digest.is_none();
    let names = texts.map(|text| text.parse::<Reference>()).collect::<Result<Vec<_>, _>>()?;
    Ok(names.into_iter().filter(pinned).collect())
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Input::Stream(_) => f.write_str("Stream"),
        }
    }
}

mod said;
#[cfg(test)]
mod tests;
