//! Images out of the store as one archive or directory that others read.
//!
//! An OCI archive is an OCI image layout with docker's `manifest.json` beside it, over the same blobs: docker, podman,
//! skopeo and containerd each find what they look for. Same images, same bytes: members in a fixed order, all times 0.

use super::images::Image;
use super::index::Whole;
use super::layers::{copy, layer_blob, layer_tar};
use super::referrers::Artifact;
use super::variant::Files;
use super::{ExportError, archive};
use crate::base::fs::Context;
use crate::base::{Cancel, Digest};
use crate::image::{Descriptor, ImageIndex, Reference};
use crate::store::Store;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Annotation by which containerd and docker know an image's full name.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Annotation of an OCI layout's index by which its images are selected.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OCI layout, which docker reads too.
    Oci,
    /// Classic docker archive: `manifest.json`, `ID.json`, `DIFFID/layer.tar`; layers are not compressed.
    Docker,
}

/// An image to save and the names to record with it.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The image.
    pub image: Image,
    /// Its names in the archive; may be none.
    pub names: Vec<Reference>,
    /// Layers that its manifest lists and the store does not hold so.
    pub files: Files,
    /// What is said of it, which goes along in OCI layouts.
    pub said: Vec<Artifact>,
    /// The index that it is of, if that and all its images go along.
    pub whole: Option<Whole>,
}

impl Selected {
    /// The image, and those that go along.
    fn images(&self) -> Vec<&Image> {
        match &self.whole {
            Some(whole) => whole.images.iter().collect(),
            None => vec![&self.image],
        }
    }
}

/// A member of an archive.
enum Piece<'i> {
    Bytes(Vec<u8>),
    /// A blob of the store, verbatim.
    Blob(Digest),
    /// A layer's blob.
    Layer {
        descriptor: &'i Descriptor,
        diff_id: &'i Digest,
    },
    /// A layer's plain tar.
    Plain(&'i Digest),
    /// A packed layer that was made for this archive.
    File(&'i Path),
}

struct Member<'i> {
    name: String,
    size: u64,
    piece: Piece<'i>,
}

/// Writes an archive of these images. The whole is deterministic.
///
/// # Errors
/// A part of an image is not stored or damaged, `out` failed, or the work was called off.
pub fn save(
    store: &Store,
    images: &[Selected],
    format: Format,
    out: &mut dyn Write,
    cancel: &Cancel,
) -> Result<(), ExportError> {
    let members = match format {
        Format::Oci => oci(images),
        Format::Docker => docker(store, images)?,
    };
    let mut out = BufWriter::with_capacity(256 << 10, out);
    for member in &members {
        let mut header = tar::Header::new_ustar();
        header.set_path(&member.name).at("put into the archive", &member.name)?;
        header.set_size(member.size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        out.write_all(header.as_bytes()).at("write", "the archive")?;
        let mut counted = Counted { out: &mut out, count: 0 };
        write_piece(store, &member.piece, &mut counted, cancel)?;
        if counted.count != member.size {
            let (said, is) = (member.size, counted.count);
            let reason = format!("'{}' has {is} bytes where {said} were announced", member.name);
            return Err(ExportError::Inconsistent { image: "being saved".to_owned(), reason });
        }
        let padding = member.size.wrapping_neg() % 512;
        out.write_all(&[0; 512][..padding as usize]).at("write", "the archive")?;
    }
    out.write_all(&[0; 1024]).and_then(|()| out.flush()).at("write", "the archive")?;
    Ok(())
}

/// Writes an OCI layout as a directory. Blobs that are there already are kept; `index.json` is written last and names
/// these images alone.
///
/// # Errors
/// As [`save`]; and `dest` cannot be written.
pub fn save_layout(store: &Store, images: &[Selected], dest: &Path, cancel: &Cancel) -> Result<(), ExportError> {
    crate::base::fs::create_dir_all(dest.join("blobs/sha256"))?;
    // The names are fixed ones and digests: none comes from an image.
    let (index, rest): (Vec<_>, Vec<_>) = oci(images).into_iter().partition(|m| m.name == "index.json");
    for member in rest.iter().chain(&index) {
        let path = dest.join(&member.name);
        if member.name.starts_with("blobs/") && path.metadata().is_ok_and(|m| m.is_file() && m.len() == member.size) {
            continue;
        }
        let parent = path.parent().unwrap_or(dest);
        let temporary = tempfile::Builder::new()
            .prefix(".tmp-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(parent)
            .at("create a temporary file in", parent)?;
        let mut out = BufWriter::with_capacity(256 << 10, temporary.as_file());
        write_piece(store, &member.piece, &mut out, cancel)?;
        out.flush().at("write", &path)?;
        drop(out);
        temporary.persist(&path).map_err(|e| e.error).at("rename into place", &path)?;
    }
    Ok(())
}

fn write_piece(store: &Store, piece: &Piece<'_>, out: &mut dyn Write, cancel: &Cancel) -> Result<(), ExportError> {
    match piece {
        Piece::Bytes(bytes) => Ok(out.write_all(bytes).at("write", "the archive")?),
        Piece::Blob(digest) => Ok(out.write_all(&store.read_blob(digest)?).at("write", "the archive")?),
        Piece::Layer { descriptor, diff_id } => layer_blob(store, descriptor, diff_id, out, cancel),
        Piece::Plain(diff_id) => layer_tar(store, diff_id, out, cancel),
        Piece::File(path) => {
            let mut file = crate::base::fs::open(path)?;
            copy(&mut file, out, path, cancel).map(drop)
        }
    }
}

/// Members of an OCI layout: what a stream reader wants first comes first, each blob once.
fn oci(images: &[Selected]) -> Vec<Member<'_>> {
    let mut entries = Vec::new();
    let mut legacy = Vec::new();
    let mut blobs = Vec::new();
    let mut seen = BTreeSet::new();
    for selected @ Selected { image, names, whole, .. } in images {
        let entry = match whole {
            Some(whole) => Descriptor::new(whole.index.kind(), whole.digest, whole.size),
            None => Descriptor {
                platform: Some(platform(image)),
                ..Descriptor::new(image.manifest.kind(), image.manifest_digest, image.manifest_size)
            },
        };
        if names.is_empty() {
            entries.push(entry.clone());
        }
        for name in names {
            let mut named = entry.clone();
            named.annotations.insert(CONTAINERD_NAME.to_owned(), name.key());
            named.annotations.insert(REF_NAME.to_owned(), name.tag.clone().unwrap_or_else(|| name.key()));
            entries.push(named);
        }
        let layers: Vec<String> = image.manifest.layers.iter().map(|l| archive::blob_name(&l.digest)).collect();
        legacy.push(legacy_entry(archive::blob_name(&image.id), names, layers));
        let index = whole.iter().map(|whole| (whole.digest, whole.size));
        let documents = selected
            .images()
            .into_iter()
            .flat_map(|image| [(image.manifest_digest, image.manifest_size), (image.id, image.manifest.config.size)]);
        for (digest, size) in index.chain(documents) {
            if seen.insert(digest) {
                blobs.push(Member { name: archive::blob_name(&digest), size, piece: Piece::Blob(digest) });
            }
        }
    }
    for artifact in images.iter().flat_map(|selected| &selected.said) {
        if seen.insert(artifact.digest) {
            entries.push(artifact.descriptor());
            blobs.push(bytes(&archive::blob_name(&artifact.digest), artifact.bytes.clone()));
        }
        for (descriptor, content) in &artifact.blobs {
            if seen.insert(descriptor.digest) {
                blobs.push(bytes(&archive::blob_name(&descriptor.digest), content.clone()));
            }
        }
    }
    for selected in images {
        let files = &selected.files;
        for (diff_id, descriptor) in selected.images().into_iter().flat_map(Image::layers) {
            if seen.insert(descriptor.digest) {
                let name = archive::blob_name(&descriptor.digest);
                let piece = match files.get(&descriptor.digest) {
                    Some(path) => Piece::File(path),
                    None => Piece::Layer { descriptor, diff_id },
                };
                blobs.push(Member { name, size: descriptor.size, piece });
            }
        }
    }
    let mut members = vec![
        bytes("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }).to_string().into_bytes()),
        bytes("index.json", ImageIndex::new(entries).to_bytes()),
        bytes("manifest.json", Value::Array(legacy).to_string().into_bytes()),
    ];
    members.append(&mut blobs);
    members
}

/// Members of a docker archive.
fn docker<'i>(store: &Store, images: &'i [Selected]) -> Result<Vec<Member<'i>>, ExportError> {
    let mut legacy = Vec::new();
    let mut members = Vec::new();
    let mut seen = BTreeSet::new();
    for Selected { image, names, .. } in images {
        let config = format!("{}.json", image.id.hex());
        let layer_name = |diff_id: &Digest| format!("{}/layer.tar", diff_id.hex());
        let layers = image.config.rootfs.diff_ids.iter().map(layer_name).collect();
        legacy.push(legacy_entry(config.clone(), names, layers));
        if seen.insert(image.id) {
            members.push(Member { name: config, size: image.manifest.config.size, piece: Piece::Blob(image.id) });
        }
        for diff_id in &image.config.rootfs.diff_ids {
            if seen.insert(*diff_id) {
                let missing = || ExportError::LayerMissing { image: image.label(), layer: *diff_id };
                let size = store.layer(diff_id)?.ok_or_else(missing)?.tar_size;
                members.push(Member { name: layer_name(diff_id), size, piece: Piece::Plain(diff_id) });
            }
        }
    }
    members.insert(0, bytes("manifest.json", Value::Array(legacy).to_string().into_bytes()));
    Ok(members)
}

/// An entry of docker's `manifest.json` (Docker Image Specification v1.2, "Combined Image JSON + Filesystem
/// Changeset Format").
fn legacy_entry(config: String, names: &[Reference], layers: Vec<String>) -> Value {
    let tags: Vec<String> = names.iter().filter(|n| n.tag.is_some()).map(Reference::familiar).collect();
    json!({ "Config": config, "RepoTags": tags, "Layers": layers })
}

fn platform(image: &Image) -> Value {
    let mut platform = json!({ "architecture": image.config.architecture, "os": image.config.os });
    if let Some(variant) = image.config.variant.as_ref().filter(|v| !v.is_empty()) {
        platform["variant"] = Value::String(variant.clone());
    }
    platform
}

fn bytes<'i>(name: &str, bytes: Vec<u8>) -> Member<'i> {
    Member { name: name.to_owned(), size: bytes.len() as u64, piece: Piece::Bytes(bytes) }
}

struct Counted<'w> {
    out: &'w mut dyn Write,
    count: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.count += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{image, layer, store};
    use super::super::images;
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;

    fn members(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let read = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        };
        archive.entries().unwrap().map(read).collect()
    }

    fn selected(store: &Store, names: &[&str]) -> Vec<Selected> {
        let select = |name: &&str| {
            let image = images::resolve(store, name).unwrap();
            Selected { names: image.names.clone(), image, files: Files::new(), said: Vec::new(), whole: None }
        };
        names.iter().map(select).collect()
    }

    #[test]
    fn an_oci_archive_is_a_layout_and_a_docker_archive_over_the_same_blobs() {
        let test = store();
        let shared = layer(&test.store, &["a=1"]);
        image(&test.store, &[shared], &["one:1", "me/one"]);
        image(&test.store, &[shared, layer(&test.store, &["b=2"])], &["two"]);
        let mut bytes = Vec::new();
        let images = selected(&test.store, &["one:1", "two"]);
        save(&test.store, &images, Format::Oci, &mut bytes, &Cancel::new()).unwrap();
        let mut again = Vec::new();
        save(&test.store, &images, Format::Oci, &mut again, &Cancel::new()).unwrap();
        assert_eq!(bytes, again);

        let members = members(&bytes);
        let index = oci_spec::image::ImageIndex::from_reader(&members["index.json"][..]).unwrap();
        assert_eq!(index.manifests().len(), 3);
        for entry in index.manifests() {
            let blob = |digest: &oci_spec::image::Digest| &members[&format!("blobs/sha256/{}", digest.digest())];
            let manifest = oci_spec::image::ImageManifest::from_reader(&blob(entry.digest())[..]).unwrap();
            assert_eq!(blob(manifest.config().digest()).len() as u64, manifest.config().size());
            for layer in manifest.layers() {
                assert_eq!(Digest::of(blob(layer.digest())).to_string(), layer.digest().to_string());
            }
        }
        let names: Vec<&str> =
            index.manifests().iter().map(|m| m.annotations().as_ref().unwrap()[CONTAINERD_NAME].as_str()).collect();
        assert_eq!(names, ["docker.io/library/one:1", "docker.io/me/one:latest", "docker.io/library/two:latest"]);
        let legacy: Value = serde_json::from_slice(&members["manifest.json"]).unwrap();
        assert_eq!(legacy[0]["RepoTags"], json!(["one:1", "me/one:latest"]));
        for entry in legacy.as_array().unwrap() {
            assert!(members.contains_key(entry["Config"].as_str().unwrap()));
            for layer in entry["Layers"].as_array().unwrap() {
                assert!(members.contains_key(layer.as_str().unwrap()));
            }
        }
    }

    #[test]
    fn a_directory_holds_the_same_and_can_be_written_over() {
        let test = store();
        image(&test.store, &[layer(&test.store, &["a=1"])], &["one"]);
        let images = selected(&test.store, &["one"]);
        let mut bytes = Vec::new();
        save(&test.store, &images, Format::Oci, &mut bytes, &Cancel::new()).unwrap();
        let dest = test.dir.path().join("layout");
        for _ in 0..2 {
            save_layout(&test.store, &images, &dest, &Cancel::new()).unwrap();
            for (name, content) in members(&bytes) {
                assert_eq!(std::fs::read(dest.join(&name)).unwrap(), content, "{name}");
            }
        }
    }

    #[test]
    fn a_damaged_layer_is_not_saved() {
        let test = store();
        let only = layer(&test.store, &["a=1"]);
        image(&test.store, &[only], &["one"]);
        std::fs::write(test.store.layer_fs(&only).unwrap().join("a"), "2").unwrap();
        let images = selected(&test.store, &["one"]);
        let error = save(&test.store, &images, Format::Docker, &mut Vec::new(), &Cancel::new()).unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
    }
}
