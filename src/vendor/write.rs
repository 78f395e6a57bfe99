//! Filling a vendor directory.

use super::{
    COMMIT, COMMIT_TYPE, CONTENT, DIGEST, EMPTY, FILE, FILE_TYPE, ID, IMAGE, INPUT, MODIFIED, REFERENCE, SHAPE, URL,
};
use crate::base::fs::{self, Context as _};
use crate::base::root::Root;
use crate::base::{Cancel, Digest, Hashed, Hasher};
use crate::export::save::{CONTAINERD_NAME, REF_NAME};
use crate::export::{ExportError, Image, archive, layers};
use crate::graph::remote::redacted;
use crate::graph::{GitSource, HttpSource};
use crate::image::manifest::media;
use crate::image::{Descriptor, ImageIndex, Manifest, Reference};
use crate::store::Store;
use crate::store::layers::LayerInfo;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The title of a blob, by which tools for artifacts name the file they make of it.
const TITLE: &str = "org.opencontainers.image.title";

/// An input, all of it in the store.
#[derive(Debug)]
pub enum Item {
    /// An image.
    Image {
        /// As the Dockerfile means it.
        name: Reference,
        /// What the name leads to: an index or the manifest.
        digest: Digest,
        /// The image for the platform.
        image: Box<Image>,
    },
    /// A file.
    File {
        /// Its source, with a checksum.
        source: HttpSource,
        /// Length in bytes.
        size: u64,
        /// When it was last modified, as the server said.
        modified: Option<String>,
        /// The layer that holds it under the source's name.
        layer: Digest,
    },
    /// A commit.
    Commit {
        /// Its source.
        source: GitSource,
        /// Its id.
        commit: String,
        /// The layer that holds its files.
        layer: LayerInfo,
    },
}

/// Writes the inputs to `dest`, a new directory or one that this function has written before: what was in that and is no
/// longer wanted is removed. `index.json` is written when all it names is there. Same inputs, same bytes.
///
/// # Errors
/// `dest` holds something else, or cannot be written; an input is not stored or is damaged; the work was called off.
pub fn write(store: &Store, items: &[Item], dest: &Path, cancel: &Cancel) -> Result<(), ExportError> {
    check_dest(dest)?;
    fs::create_dir_all(dest.join("blobs/sha256"))?;
    let mut layout = Layout { store, dest, cancel, entries: BTreeMap::new(), blobs: BTreeSet::new() };
    for item in items {
        match item {
            Item::Image { name, digest, image } => layout.image(name, digest, image)?,
            Item::File { source, size, modified, layer } => layout.file(source, *size, modified.as_deref(), layer)?,
            Item::Commit { source, commit, layer } => layout.commit(source, commit, layer)?,
        }
    }
    fs::write_atomic(dest.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string().as_bytes())?;
    let index = ImageIndex::new(layout.entries.into_values().collect());
    fs::write_atomic(dest.join("index.json"), &index.to_bytes())?;
    let blobs = dest.join("blobs/sha256");
    for entry in std::fs::read_dir(&blobs).at("read", &blobs)? {
        let path = entry.at("read", &blobs)?.path();
        let digest = path.file_name().and_then(|name| Digest::from_hex(name.to_str()?).ok());
        if digest.is_some_and(|digest| !layout.blobs.contains(&digest)) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// What has other contents is not written into, and nothing in it removed.
fn check_dest(dest: &Path) -> Result<(), ExportError> {
    let mut entries = match std::fs::read_dir(dest) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).at("read", dest)?,
    };
    let index = fs::read_if_exists(dest.join("index.json"))?.unwrap_or_default();
    let ours = ImageIndex::from_bytes(&index)
        .is_ok_and(|index| index.manifests.iter().all(|entry| entry.annotations.contains_key(INPUT)));
    if entries.next().is_none() || ours {
        return Ok(());
    }
    let reason = "it is there already and holds something else; name a new directory".to_owned();
    Err(ExportError::Archive { archive: dest.to_owned(), reason })
}

struct Layout<'w> {
    store: &'w Store,
    dest: &'w Path,
    cancel: &'w Cancel,
    /// Of `index.json`, by what orders them.
    entries: BTreeMap<String, Descriptor>,
    /// What is referred to.
    blobs: BTreeSet<Digest>,
}

impl Layout<'_> {
    fn image(&mut self, name: &Reference, digest: &Digest, image: &Image) -> Result<(), ExportError> {
        let (store, cancel) = (self.store, self.cancel);
        for (digest, size) in [(image.manifest_digest, image.manifest_size), (image.id, image.manifest.config.size)] {
            self.blob(&digest, size, |out| Ok(out.write_all(&store.read_blob(&digest)?).at("write", "a blob")?))?;
        }
        for (diff_id, descriptor) in image.layers() {
            self.blob(&descriptor.digest, descriptor.size, |out| {
                layers::layer_blob(store, descriptor, diff_id, out, cancel)
            })?;
        }
        let mut entry = Descriptor::new(image.manifest.kind(), image.manifest_digest, image.manifest_size);
        let mut platform = json!({ "architecture": image.config.architecture, "os": image.config.os });
        if let Some(variant) = image.config.variant.as_ref().filter(|v| !v.is_empty()) {
            platform["variant"] = Value::String(variant.clone());
        }
        entry.platform = Some(platform);
        entry.annotations.insert(REF_NAME.into(), name.to_string());
        if name.digest.is_none() {
            entry.annotations.insert(CONTAINERD_NAME.into(), name.key());
        }
        entry.annotations.insert(DIGEST.into(), digest.to_string());
        self.entry(IMAGE, format!("image {name} {}", image.config.platform()), entry);
        Ok(())
    }

    fn file(
        &mut self,
        source: &HttpSource,
        size: u64,
        modified: Option<&str>,
        layer: &Digest,
    ) -> Result<(), ExportError> {
        let url = redacted(&source.url);
        let content = source.checksum.ok_or_else(|| self.wrong(format!("nothing says what {url} must be")))?;
        let fs = self.store.layer_fs(layer)?;
        let cancel = self.cancel;
        self.blob(&content, size, |out| {
            let mut file = Root::open(&fs)?.open_file(source.name.as_bytes())?;
            layers::copy(&mut file, out, &fs, cancel).map(drop)
        })?;
        let mut blob = Descriptor::new("application/octet-stream", content, size);
        blob.annotations.insert(TITLE.into(), source.name.clone());
        let mut entry = self.artifact(FILE_TYPE, blob)?;
        entry.annotations.insert(URL.into(), url.clone());
        entry.annotations.insert(CONTENT.into(), content.to_string());
        entry.annotations.extend(modified.map(|time| (MODIFIED.to_owned(), time.to_owned())));
        self.entry(FILE, format!("file {url} {content}"), entry);
        Ok(())
    }

    fn commit(&mut self, source: &GitSource, commit: &str, layer: &LayerInfo) -> Result<(), ExportError> {
        let (store, cancel) = (self.store, self.cancel);
        self.blob(&layer.diff_id, layer.tar_size, |out| layers::layer_tar(store, &layer.diff_id, out, cancel))?;
        let blob = Descriptor::new(media::LAYER, layer.diff_id, layer.tar_size);
        let mut entry = self.artifact(COMMIT_TYPE, blob)?;
        let (url, shape) = (redacted(&source.url), super::shape(source));
        entry.annotations.insert(URL.into(), url.clone());
        entry.annotations.insert(ID.into(), commit.to_owned());
        entry.annotations.insert(SHAPE.into(), shape.clone());
        entry.annotations.extend(source.reference.iter().map(|name| (REFERENCE.to_owned(), name.clone())));
        let reference = source.reference.as_deref().unwrap_or_default();
        self.entry(COMMIT, format!("git {url} {reference} {commit} {shape}"), entry);
        Ok(())
    }

    /// The manifest of an artifact of one blob (image-spec, "Guidelines for Artifact Usage").
    fn artifact(&mut self, kind: &str, blob: Descriptor) -> Result<Descriptor, ExportError> {
        let (media_type, empty) = EMPTY;
        let config = Descriptor::new(media_type, Digest::of(empty), empty.len() as u64);
        self.blob(&config.digest, config.size, |out| Ok(out.write_all(empty).at("write", "a blob")?))?;
        let mut manifest = Manifest::new(config, vec![blob]);
        manifest.extra.insert("artifactType".into(), kind.into());
        let bytes = manifest.to_bytes();
        let mut entry = Descriptor::new(media::MANIFEST, Digest::of(&bytes), bytes.len() as u64);
        entry.extra.insert("artifactType".into(), kind.into());
        self.blob(&entry.digest, entry.size, |out| Ok(out.write_all(&bytes).at("write", "a blob")?))?;
        Ok(entry)
    }

    fn entry(&mut self, kind: &str, order: String, mut entry: Descriptor) {
        entry.annotations.insert(INPUT.into(), kind.into());
        self.entries.insert(order, entry);
    }

    /// Puts a blob in place unless it is there, and sees to it that it is what it is called.
    fn blob(
        &mut self,
        digest: &Digest,
        size: u64,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let path = self.dest.join(archive::blob_name(digest));
        if !self.blobs.insert(*digest) || is_whole(&path, digest, size) {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(self.dest);
        let temporary = tempfile::Builder::new()
            .prefix(".tmp-")
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(parent)
            .at("create a temporary file in", parent)?;
        let (found, length) = {
            let buffer = BufWriter::with_capacity(256 << 10, temporary.as_file());
            let mut out = Hashed::new(buffer);
            fill(&mut out)?;
            out.flush().at("write", &path)?;
            (out.hasher.clone().finish(), out.hasher.len())
        };
        if found != *digest || length != size {
            return Err(self.wrong(format!("{digest} ({size} bytes) has the content of {found} ({length} bytes)")));
        }
        temporary.persist(&path).map_err(|e| e.error).at("rename into place", &path)?;
        Ok(())
    }

    fn wrong(&self, reason: String) -> ExportError {
        ExportError::Inconsistent { image: self.dest.display().to_string(), reason }
    }
}

/// Whether a blob that is there can stay.
fn is_whole(path: &Path, digest: &Digest, size: u64) -> bool {
    let Ok(metadata) = path.symlink_metadata() else { return false };
    let read = || Hasher::read(std::fs::File::open(path)?);
    metadata.is_file() && metadata.len() == size && read().is_ok_and(|(found, _)| found == *digest)
}
