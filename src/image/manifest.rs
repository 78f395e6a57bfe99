//! Manifests, indexes and descriptors (OCI image-spec "Image Manifest", "Image Index", "Content Descriptors").

use super::{DocumentError, canonical, null_is_default, parse};
use crate::base::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Media types that rbuild writes or reads.
pub mod media {
    /// OCI manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI config.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// Layer, plain tar.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// Layer, gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// Layer, zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// What stands where an artifact has no config: `{}` (image-spec, "Guidance for an Empty Descriptor").
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// A statement about an image (in-toto Attestation Framework).
    pub const IN_TOTO: &str = "application/vnd.in-toto+json";
    /// Docker manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker layer, zstd.
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    /// Docker layer, plain tar.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
}

/// A typed, sized, digested pointer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it points to.
    pub media_type: String,
    /// sha256 of the content.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Free key-value pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// For manifests in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Value>,
    /// What rbuild does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An image manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2.
    pub schema_version: u32,
    /// [`media::MANIFEST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The config blob; its digest is the image ID.
    pub config: Descriptor,
    /// Bottom first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
    /// Free key-value pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// What rbuild does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An image index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// 2.
    pub schema_version: u32,
    /// [`media::INDEX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What it lists.
    #[serde(default, deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
    /// Free key-value pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// What rbuild does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Descriptor {
    /// A descriptor of a content of `size` bytes.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            annotations: BTreeMap::new(),
            platform: None,
            extra: Map::new(),
        }
    }

    /// How the layer it points to is packed; `None` if it is no layer media type that rbuild knows.
    pub fn packing(&self) -> Option<Packing> {
        let base = self.media_type.replace(".nondistributable", "").replace(".foreign", "");
        match base.as_str() {
            media::LAYER | media::DOCKER_LAYER => Some(Packing::Plain),
            media::LAYER_GZIP | media::DOCKER_LAYER_GZIP => Some(Packing::Gzip),
            media::LAYER_ZSTD | media::DOCKER_LAYER_ZSTD => Some(Packing::Zstd),
            _ => None,
        }
    }

    /// Whether it points to an image manifest, OCI's or docker's.
    pub fn is_manifest(&self) -> bool {
        matches!(self.media_type.as_str(), media::MANIFEST | media::DOCKER_MANIFEST)
    }

    /// Whether it points to an index, OCI's or docker's manifest list.
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), media::INDEX | media::DOCKER_LIST)
    }

    /// Whether an index lists it as an image and not as something about an image, an attestation, or as any other artifact.
    pub fn is_image(&self) -> bool {
        let artifact = self.extra.get("artifactType").and_then(Value::as_str);
        (self.is_manifest() || self.is_index())
            && artifact.is_none_or(|kind| matches!(kind, media::CONFIG | media::DOCKER_CONFIG))
            && !self.platform_is("unknown", "unknown")
            && !self.annotations.contains_key("vnd.docker.reference.type")
    }

    /// `os`, `architecture` and `variant` of its platform, as far as they are given.
    pub fn platform_is(&self, os: &str, architecture: &str) -> bool {
        let field = |name: &str| self.platform.as_ref().and_then(|p| p.get(name)).and_then(Value::as_str);
        field("os") == Some(os) && field("architecture") == Some(architecture)
    }
}

/// How a layer's tar is packed in its blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all: the blob's digest is the diffID.
    Plain,
    /// gzip (RFC 1952), also of several members.
    Gzip,
    /// zstd (RFC 8878).
    Zstd,
}

impl Manifest {
    /// An OCI manifest of a config and its layers, bottom first.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: Some(media::MANIFEST.to_owned()),
            config,
            layers,
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Reads a manifest, OCI's or docker's schema 2.
    ///
    /// # Errors
    /// The bytes are no JSON, a field has the wrong shape, or it is not of schema version 2. A document whose own
    /// `mediaType` says that it is an index is refused too, so that one digest is never read in two ways.
    pub fn from_bytes(bytes: &[u8]) -> Result<Manifest, DocumentError> {
        let manifest: Manifest = parse("image manifest", bytes)?;
        check("image manifest", manifest.schema_version, manifest.media_type.as_deref(), &manifest.extra, "manifests")?;
        Ok(manifest)
    }

    /// The canonical bytes: compact JSON with sorted keys.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical(self)
    }

    /// The media type it goes by.
    pub fn kind(&self) -> &str {
        self.media_type.as_deref().unwrap_or(media::MANIFEST)
    }

    /// A manifest of something that is no image, about the manifest `subject` (image-spec, "Guidelines for Artifact
    /// Usage"). Its config is [`Manifest::EMPTY_CONFIG`].
    pub fn artifact(artifact_type: &str, layers: Vec<Descriptor>, subject: &Descriptor) -> Manifest {
        let config = Manifest::EMPTY_CONFIG;
        let config = Descriptor::new(media::EMPTY, Digest::of(config), config.len() as u64);
        let mut manifest = Manifest::new(config, layers);
        manifest.extra.insert("artifactType".into(), artifact_type.into());
        manifest.set_subject(subject);
        manifest
    }

    /// The config of what has none.
    pub const EMPTY_CONFIG: &[u8] = b"{}";

    /// What it is, if it is no image: its `artifactType`, else the media type of its config.
    pub fn artifact_type(&self) -> &str {
        let own = self.extra.get("artifactType").and_then(Value::as_str);
        own.unwrap_or(&self.config.media_type)
    }

    /// The manifest that it is about.
    pub fn subject(&self) -> Option<Descriptor> {
        serde_json::from_value(self.extra.get("subject")?.clone()).ok()
    }

    /// Makes it be about `subject`, of which only type, digest and size count.
    pub fn set_subject(&mut self, subject: &Descriptor) {
        let Descriptor { media_type, digest, size, .. } = subject;
        let subject = serde_json::json!({ "mediaType": media_type, "digest": digest, "size": size });
        self.extra.insert("subject".into(), subject);
    }
}

impl ImageIndex {
    /// The media type it goes by.
    pub fn kind(&self) -> &str {
        self.media_type.as_deref().unwrap_or(media::INDEX)
    }

    /// An OCI index of these manifests.
    pub fn new(manifests: Vec<Descriptor>) -> ImageIndex {
        ImageIndex {
            schema_version: 2,
            media_type: Some(media::INDEX.to_owned()),
            manifests,
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Reads an index, OCI's or docker's manifest list.
    ///
    /// # Errors
    /// As [`Manifest::from_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<ImageIndex, DocumentError> {
        let index: ImageIndex = parse("image index", bytes)?;
        check("image index", index.schema_version, index.media_type.as_deref(), &index.extra, "layers")?;
        Ok(index)
    }

    /// The canonical bytes: compact JSON with sorted keys.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical(self)
    }
}

/// What a document must say of itself before it is believed to be `what`. `foreign` is the field that only the other
/// kind of document has (the ambiguity of CVE-2021-41190).
fn check(
    what: &'static str,
    schema: u32,
    media_type: Option<&str>,
    extra: &Map<String, Value>,
    foreign: &str,
) -> Result<(), DocumentError> {
    let refused = |reason: String| DocumentError { what, reason };
    if schema != 2 {
        return Err(refused(format!("schema version {schema} is not supported, 2 is")));
    }
    let expected: &[&str] = match what {
        "image index" => &[media::INDEX, media::DOCKER_LIST],
        _ => &[media::MANIFEST, media::DOCKER_MANIFEST],
    };
    if let Some(found) = media_type.filter(|m| !expected.contains(m)) {
        return Err(refused(format!("it says that it is '{found}'")));
    }
    match extra.contains_key(foreign) {
        true => Err(refused(format!("it has '{foreign}', which belongs to another kind of document"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let config = Descriptor::new(media::CONFIG, Digest::of(b"config"), 6);
        Manifest::new(config, vec![Descriptor::new(media::LAYER, Digest::of(b"layer"), 5)])
    }

    #[test]
    fn the_oci_reference_types_accept_what_is_written() {
        let manifest = sample();
        let oracle = oci_spec::image::ImageManifest::from_reader(&manifest.to_bytes()[..]).unwrap();
        assert_eq!(oracle.layers()[0].size(), 5);
        assert_eq!(oracle.layers()[0].digest().to_string(), Digest::of(b"layer").to_string());
        let mut entry = Descriptor::new(media::MANIFEST, Digest::of(&manifest.to_bytes()), 9);
        entry.platform = Some(serde_json::json!({"architecture": "amd64", "os": "linux"}));
        entry.annotations.insert("org.opencontainers.image.ref.name".into(), "latest".into());
        let index = ImageIndex::new(vec![entry]);
        let oracle = oci_spec::image::ImageIndex::from_reader(&index.to_bytes()[..]).unwrap();
        assert_eq!(oracle.manifests()[0].annotations().as_ref().unwrap().len(), 1);
        assert!(index.manifests[0].platform_is("linux", "amd64"));
    }

    #[test]
    fn documents_round_trip_with_fields_that_are_unknown() {
        let mut manifest = sample();
        manifest.extra.insert("artifactType".into(), "x/y".into());
        manifest.layers[0].extra.insert("urls".into(), serde_json::json!(["https://x"]));
        let bytes = manifest.to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest);
        assert_eq!(Manifest::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    }

    #[test]
    fn a_document_of_two_kinds_or_an_old_one_is_refused() {
        let cases = [
            (r#"{"schemaVersion":1}"#, "config"),
            (r#"{"schemaVersion":1,"config":C,"layers":[]}"#, "schema version 1"),
            (r#"{"schemaVersion":2,"config":C,"layers":[],"manifests":[]}"#, "'manifests'"),
            (r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":C}"#, "index"),
            (r#"{"schemaVersion":2,"config":C,"layers":[{"mediaType":"x","digest":"md5:1","size":1}]}"#, "md5:1"),
            (r#"{"schemaVersion":2,"config":C,"layers":[{"mediaType":"x","digest":"D","size":-1}]}"#, "-1"),
        ];
        let digest = Digest::of(b"").to_string();
        let config = format!(r#"{{"mediaType":"x","digest":"{digest}","size":2}}"#);
        for (text, reason) in cases {
            let text = text.replace('C', &config).replace("\"D\"", &format!("\"{digest}\""));
            let error = Manifest::from_bytes(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let error = ImageIndex::from_bytes(&sample().to_bytes()).unwrap_err().to_string();
        assert!(error.contains("image.manifest"), "{error}");
    }

    #[test]
    fn an_artifact_says_what_it_is_and_what_it_is_about() {
        let image = sample().to_bytes();
        let subject = Descriptor::new(media::MANIFEST, Digest::of(&image), image.len() as u64);
        let statement = Descriptor::new(media::IN_TOTO, Digest::of(b"{}"), 2);
        let artifact = Manifest::artifact(media::IN_TOTO, vec![statement], &subject);
        let read = Manifest::from_bytes(&artifact.to_bytes()).unwrap();
        assert_eq!((read.artifact_type(), read.subject()), (media::IN_TOTO, Some(subject)));
        let oracle = oci_spec::image::ImageManifest::from_reader(&artifact.to_bytes()[..]).unwrap();
        assert_eq!(oracle.artifact_type().as_ref().unwrap().to_string(), media::IN_TOTO);
        assert_eq!(oracle.subject().as_ref().unwrap().digest().to_string(), Digest::of(&image).to_string());
        assert_eq!((sample().artifact_type(), sample().subject()), (media::CONFIG, None));
    }

    #[test]
    fn packing_is_read_from_every_layer_media_type() {
        let packing = |media_type: &str| Descriptor::new(media_type, Digest::of(b""), 0).packing();
        assert_eq!(packing(media::LAYER_ZSTD), Some(Packing::Zstd));
        assert_eq!(packing(media::DOCKER_LAYER), Some(Packing::Plain));
        assert_eq!(packing("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), Some(Packing::Gzip));
        assert_eq!(packing("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"), Some(Packing::Gzip));
        assert_eq!(packing("application/vnd.in-toto+json"), None);
    }
}
