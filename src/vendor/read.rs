//! Taking inputs from a vendor directory.

use super::{COMMIT, CONTENT, FILE, ID, IMAGE, INPUT, MODIFIED, REFERENCE, SHAPE, URL};
use crate::base::{Cancel, Digest};
use crate::export::archive::{Archive, Member, blob_name};
use crate::export::intake::{Blobs, Intake};
use crate::export::save::REF_NAME;
use crate::export::{ExportError, images, unpack};
use crate::graph::remote::redacted;
use crate::graph::{GitSource, HttpSource};
use crate::image::{Descriptor, DocumentError, ImageIndex, MAX_DOCUMENT, Manifest, Platform, Reference};
use crate::store::Store;
use crate::store::layers::LayerInfo;
use std::io::Read;
use std::path::Path;

/// A vendor directory, or an archive of one.
#[derive(Debug)]
pub struct Vendored {
    archive: Archive,
    entries: Vec<Descriptor>,
}

/// A file that is there.
#[derive(Clone, Debug)]
pub struct VendoredFile {
    /// sha256 of its contents.
    pub content: Digest,
    /// When the server said that it was last modified.
    pub modified: Option<String>,
}

/// A commit that is there.
#[derive(Clone, Debug)]
pub struct VendoredCommit {
    /// Its id.
    pub commit: String,
    manifest: Descriptor,
}

impl Vendored {
    /// Reads what a directory holds. `tmp` is for archives that are packed.
    ///
    /// # Errors
    /// It is no OCI layout.
    pub fn open(path: &Path, tmp: &Path, cancel: &Cancel) -> Result<Vendored, ExportError> {
        let archive = Archive::open(path, tmp, cancel)?;
        let refused = |reason: String| ExportError::Archive { archive: path.to_owned(), reason };
        let index = archive.get("index.json")?;
        let index = index.ok_or_else(|| refused("it holds no index.json, so it is no OCI layout".into()))?;
        let bytes = index.read(MAX_DOCUMENT).map_err(|e| refused(format!("index.json: {e}")))?;
        let index = ImageIndex::from_bytes(&bytes)
            .map_err(|reason| ExportError::Document { place: format!("{}: index.json", path.display()), reason })?;
        Ok(Vendored { archive, entries: index.manifests })
    }

    fn kind<'v>(&'v self, kind: &'v str) -> impl Iterator<Item = &'v Descriptor> {
        self.entries.iter().filter(move |entry| note(entry, INPUT) == Some(kind))
    }

    /// Takes the image of a name into the store, and gives its manifest's digest, by which it is pinned. With `wanted` only
    /// that manifest will do; without, the one for `platform` of that name.
    ///
    /// # Errors
    /// The image is damaged, or the store failed.
    pub fn take_image(
        &self,
        store: &Store,
        name: &Reference,
        wanted: Option<&Digest>,
        platform: &Platform,
        cancel: &Cancel,
    ) -> Result<Option<Digest>, ExportError> {
        let text = name.to_string();
        let fits = |entry: &&Descriptor| match wanted {
            Some(digest) => entry.digest == *digest,
            None => note(entry, REF_NAME) == Some(&text) && entry.platform_is(&platform.os, &platform.arch),
        };
        let Some(entry) = self.kind(IMAGE).find(fits) else { return Ok(None) };
        let bytes = self.document(entry)?;
        let manifest = Manifest::from_bytes(&bytes).map_err(self.invalid(entry))?;
        let config = self.document(&manifest.config)?;
        if !is_stored(store, entry)? {
            Intake { store, blobs: self, cancel }.image(&manifest, &bytes, &config)?;
        }
        let pinned = Reference { digest: Some(entry.digest), ..name.clone() };
        images::pin(store, &entry.digest, &pinned)?;
        Ok(Some(entry.digest))
    }

    /// The file of a source, if it is there; with a checksum only the one with that.
    pub fn file(&self, source: &HttpSource) -> Option<VendoredFile> {
        let url = redacted(&source.url);
        self.kind(FILE).filter(|entry| note(entry, URL) == Some(&url)).find_map(|entry| {
            let content: Digest = note(entry, CONTENT)?.parse().ok()?;
            let modified = note(entry, MODIFIED).map(str::to_owned);
            source.checksum.is_none_or(|wanted| wanted == content).then_some(VendoredFile { content, modified })
        })
    }

    /// The contents of a file, which whoever reads verifies.
    ///
    /// # Errors
    /// They are not there.
    pub fn open_file(&self, file: &VendoredFile) -> Result<impl Read + use<>, ExportError> {
        Ok(self.blob(&file.content)?.reader())
    }

    /// The commit of a source, if it is there: the one that it names, else the one its reference was vendored with.
    pub fn commit(&self, source: &GitSource, wanted: Option<&str>) -> Option<VendoredCommit> {
        let (url, shape) = (redacted(&source.url), super::shape(source));
        let fits = |entry: &&Descriptor| {
            let reference = note(entry, REFERENCE);
            note(entry, URL) == Some(&url)
                && note(entry, SHAPE).unwrap_or_default() == shape
                && wanted.map_or(reference == source.reference.as_deref(), |id| note(entry, ID) == Some(id))
        };
        let entry = self.kind(COMMIT).find(fits)?;
        Some(VendoredCommit { commit: note(entry, ID)?.to_owned(), manifest: entry.clone() })
    }

    /// Takes the files of a commit into the store.
    ///
    /// # Errors
    /// They are damaged, or the store failed.
    pub fn take_commit(
        &self,
        store: &Store,
        commit: &VendoredCommit,
        cancel: &Cancel,
    ) -> Result<LayerInfo, ExportError> {
        let manifest =
            Manifest::from_bytes(&self.document(&commit.manifest)?).map_err(self.invalid(&commit.manifest))?;
        let [layer] = &manifest.layers[..] else {
            return Err(self.refused(format!("{} does not have one layer", commit.manifest.digest)));
        };
        if let Some(known) = store.layer(&layer.digest)? {
            return Ok(known);
        }
        unpack::foreign_layer(store, &mut self.open(layer)?, &layer.digest, self.archive.name(), cancel)
    }

    /// A document, verified.
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ExportError> {
        let Descriptor { digest, size, .. } = descriptor;
        let bytes = self.blob(digest)?.read(MAX_DOCUMENT).map_err(|e| self.refused(format!("{digest}: {e}")))?;
        let found = Digest::of(&bytes);
        if found != *digest || bytes.len() as u64 != *size {
            return Err(self.refused(format!("{digest} ({size} bytes) has the content of {found}")));
        }
        Ok(bytes)
    }

    fn blob(&self, digest: &Digest) -> Result<Member, ExportError> {
        self.archive.get(&blob_name(digest))?.ok_or_else(|| self.refused(format!("it does not hold the blob {digest}")))
    }

    fn invalid(&self, descriptor: &Descriptor) -> impl FnOnce(DocumentError) -> ExportError {
        let place = format!("{}: {}", self.archive.name().display(), descriptor.digest);
        move |reason| ExportError::Document { place, reason }
    }

    fn refused(&self, reason: String) -> ExportError {
        ExportError::Archive { archive: self.archive.name().to_owned(), reason }
    }
}

/// Whether an earlier build has taken the image.
fn is_stored(store: &Store, entry: &Descriptor) -> Result<bool, ExportError> {
    let Ok(image) = images::read(store, &entry.digest) else { return Ok(false) };
    for layer in &image.config.rootfs.diff_ids {
        if store.layer(layer)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn note<'d>(entry: &'d Descriptor, name: &str) -> Option<&'d str> {
    entry.annotations.get(name).map(String::as_str)
}

impl Blobs for Vendored {
    fn place(&self) -> &Path {
        self.archive.name()
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>, ExportError> {
        let member = self.blob(&descriptor.digest)?;
        if member.size() != descriptor.size {
            let Descriptor { digest, size, .. } = descriptor;
            return Err(self.refused(format!("blob {digest} has {} bytes and not {size}", member.size())));
        }
        Ok(Box::new(member.reader()))
    }
}
