//! What is said about images: artifacts whose manifest names an image's manifest as its subject (image-spec, "Image
//! Manifest", `subject`). The store notes whom they are about, so that they live as long as that image.
//!
//! An image leaves the store with its layers packed, and so under another manifest than it has here. What rbuild said
//! about the one then holds for the other: the statement is passed on with the digest of what leaves. A statement that
//! somebody signed cannot be changed so, and stays with the image it came with.

use super::ExportError;
use super::images::Image;
use crate::base::Digest;
use crate::image::manifest::media;
use crate::image::{Descriptor, Manifest};
use crate::store::Store;
use serde_json::Value;

/// Most artifacts about one image that are taken from elsewhere.
pub const MAX_REFERRERS: usize = 200;
/// Most parts of an artifact that is taken from elsewhere.
const MAX_PARTS: usize = 100;
/// Most bytes of an artifact that is taken from elsewhere: the bill of materials of a very large image.
pub const MAX_STATEMENT: u64 = 64 << 20;

/// The annotation that says what a statement is, on its layer and, for listings, on its manifest.
pub const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// An artifact with all its contents.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its manifest.
    pub manifest: Manifest,
    /// The same as it is stored and sent.
    pub bytes: Vec<u8>,
    /// Config and layers, in the manifest's order, each once.
    pub blobs: Vec<(Descriptor, Vec<u8>)>,
}

impl Artifact {
    /// A statement (in-toto) about the manifest `subject`.
    pub fn statement(statement: Vec<u8>, predicate_type: &str, subject: &Descriptor) -> Artifact {
        let mut layer = Descriptor::new(media::IN_TOTO, Digest::of(&statement), statement.len() as u64);
        layer.annotations.insert(PREDICATE_TYPE.into(), predicate_type.into());
        let mut manifest = Manifest::artifact(media::IN_TOTO, vec![layer.clone()], subject);
        manifest.annotations.insert(PREDICATE_TYPE.into(), predicate_type.into());
        let config = (manifest.config.clone(), Manifest::EMPTY_CONFIG.to_vec());
        Artifact::new(manifest, vec![config, (layer, statement)])
    }

    /// One that came from elsewhere, with the bytes of its manifest. Config and layers are asked of `blob`, each once.
    ///
    /// # Errors
    /// Those of `blob`.
    pub fn received<E>(
        bytes: Vec<u8>,
        manifest: Manifest,
        mut blob: impl FnMut(&Descriptor) -> Result<Vec<u8>, E>,
    ) -> Result<Artifact, E> {
        let mut blobs: Vec<(Descriptor, Vec<u8>)> = Vec::new();
        for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
            if !blobs.iter().any(|(known, _)| known.digest == descriptor.digest) {
                blobs.push((descriptor.clone(), blob(descriptor)?));
            }
        }
        Ok(Artifact { digest: Digest::of(&bytes), manifest, bytes, blobs })
    }

    fn new(manifest: Manifest, blobs: Vec<(Descriptor, Vec<u8>)>) -> Artifact {
        let bytes = manifest.to_bytes();
        Artifact { digest: Digest::of(&bytes), manifest, bytes, blobs }
    }

    /// Its descriptor, as listings of referrers have it.
    pub fn descriptor(&self) -> Descriptor {
        let mut descriptor = Descriptor::new(self.manifest.kind(), self.digest, self.bytes.len() as u64);
        descriptor.annotations.clone_from(&self.manifest.annotations);
        descriptor.extra.insert("artifactType".into(), self.manifest.artifact_type().into());
        descriptor
    }

    /// What it says, and of which kind: the statements among its layers.
    pub fn statements(&self) -> impl Iterator<Item = (Option<&str>, &[u8])> {
        let is_statement = |descriptor: &Descriptor| descriptor.media_type == media::IN_TOTO;
        self.blobs
            .iter()
            .filter(move |(descriptor, _)| is_statement(descriptor))
            .map(|(descriptor, bytes)| (descriptor.annotations.get(PREDICATE_TYPE).map(String::as_str), &bytes[..]))
    }

    /// The same about another manifest of the same image; `None` if it cannot be said of that.
    fn about(&self, from: &Digest, to: &Descriptor) -> Option<Artifact> {
        let mut manifest = self.manifest.clone();
        let mut blobs = Vec::with_capacity(self.blobs.len());
        for (descriptor, bytes) in &self.blobs {
            if descriptor.media_type != media::IN_TOTO {
                blobs.push((descriptor.clone(), bytes.clone()));
                continue;
            }
            let statement = readdressed(bytes, from, &to.digest)?;
            let mut adapted = descriptor.clone();
            (adapted.digest, adapted.size) = (Digest::of(&statement), statement.len() as u64);
            manifest.layers.iter_mut().filter(|layer| *layer == descriptor).for_each(|layer| *layer = adapted.clone());
            blobs.push((adapted, statement));
        }
        manifest.set_subject(to);
        Some(Artifact::new(manifest, blobs))
    }
}

/// What keeps an artifact from being taken from elsewhere, by what its manifest announces.
pub fn refusal(manifest: &Manifest) -> Option<String> {
    let sum = manifest.layers.iter().fold(manifest.config.size, |sum, layer| sum.saturating_add(layer.size));
    let parts = manifest.layers.len();
    (parts > MAX_PARTS || sum > MAX_STATEMENT)
        .then(|| format!("an attestation of {parts} parts and {sum} bytes, more than {MAX_PARTS} and {MAX_STATEMENT}"))
}

/// A plain statement with another subject; `None` if it is none, or says nothing of `from`.
fn readdressed(statement: &[u8], from: &Digest, to: &Digest) -> Option<Vec<u8>> {
    let mut statement: Value = serde_json::from_slice(statement).ok()?;
    let mut found = false;
    for subject in statement.get_mut("subject")?.as_array_mut()? {
        if let Some(digest) = subject.get_mut("digest").and_then(|digests| digests.get_mut("sha256"))
            && digest.as_str() == Some(&from.hex())
        {
            *digest = to.hex().into();
            found = true;
        }
    }
    found.then(|| statement.to_string().into_bytes())
}

/// Stores an artifact and notes whom it is about.
///
/// # Errors
/// It is about nothing, or the store failed.
pub fn attach(store: &Store, artifact: &Artifact) -> Result<(), ExportError> {
    let Some(subject) = artifact.manifest.subject() else {
        let reason = "it names no subject".to_owned();
        return Err(ExportError::Inconsistent { image: artifact.digest.short(), reason });
    };
    for (_, bytes) in &artifact.blobs {
        store.put_blob(bytes)?;
    }
    store.put_blob(&artifact.bytes)?;
    Ok(store.add_referrer(&subject.digest, &artifact.digest)?)
}

/// Stores artifacts that are about the manifest `subject`, in place of earlier ones of their kinds.
///
/// # Errors
/// As [`attach`] and [`detach`].
pub fn replace<'a>(
    store: &Store,
    subject: &Digest,
    artifacts: impl Iterator<Item = &'a Artifact> + Clone,
) -> Result<(), ExportError> {
    for kind in artifacts.clone().filter_map(|artifact| artifact.manifest.annotations.get(PREDICATE_TYPE)) {
        detach(store, subject, kind)?;
    }
    artifacts.into_iter().try_for_each(|artifact| attach(store, artifact))
}

/// Forgets what was said of this kind about the manifest `subject`.
///
/// # Errors
/// The store failed, or an artifact is damaged.
pub fn detach(store: &Store, subject: &Digest, predicate_type: &str) -> Result<(), ExportError> {
    for digest in store.referrers(subject)? {
        // One that cannot be read is nothing that anybody could want.
        let keep = read(store, &digest).is_ok_and(|artifact| {
            artifact.manifest.annotations.get(PREDICATE_TYPE).is_none_or(|t| t != predicate_type)
        });
        if !keep {
            store.remove_referrer(subject, &digest)?;
        }
    }
    Ok(())
}

/// What is said about the manifest `subject`, in the order of digests.
///
/// # Errors
/// A part of an artifact is missing or damaged.
pub fn of(store: &Store, subject: &Digest) -> Result<Vec<Artifact>, ExportError> {
    store.referrers(subject)?.iter().map(|digest| read(store, digest)).collect()
}

/// What is said about the manifest `from`, said about `to`, which is the same image packed otherwise or annotated. What
/// cannot be changed so is left out.
///
/// # Errors
/// As [`of`].
pub fn adapted(store: &Store, from: &Digest, to: &Descriptor) -> Result<Vec<Artifact>, ExportError> {
    let all = of(store, from)?;
    if *from == to.digest {
        return Ok(all);
    }
    Ok(all.iter().filter_map(|artifact| artifact.about(from, to)).collect())
}

/// As [`adapted`], into the store.
///
/// # Errors
/// As [`of`]; the store failed.
pub fn carry_over(store: &Store, from: &Digest, to: &Image) -> Result<(), ExportError> {
    if *from == to.manifest_digest {
        return Ok(());
    }
    adapted(store, from, &to.descriptor())?.iter().try_for_each(|artifact| attach(store, artifact))
}

fn read(store: &Store, digest: &Digest) -> Result<Artifact, ExportError> {
    let bytes = store.read_blob(digest)?;
    let manifest =
        Manifest::from_bytes(&bytes).map_err(|reason| ExportError::Document { place: digest.to_string(), reason })?;
    Artifact::received(bytes, manifest, |descriptor| Ok(store.read_blob(&descriptor.digest)?))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{image, layer, store};
    use super::super::images;
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn statements_are_kept_replaced_and_passed_on_with_the_digest_of_what_leaves() {
        let test = store();
        let written = image(&test.store, &[layer(&test.store, &["a=1"])], &["app"]);
        let read = images::read(&test.store, &written.manifest).unwrap();
        let subject = read.descriptor();
        let statement = |version: u32| {
            let digest = subject.digest.hex();
            let subjects = serde_json::json!([{ "name": "app", "digest": { "sha256": digest } }]);
            serde_json::json!({ "subject": subjects, "version": version }).to_string().into_bytes()
        };
        for version in [1, 2] {
            detach(&test.store, &subject.digest, "x").unwrap();
            attach(&test.store, &Artifact::statement(statement(version), "x", &subject)).unwrap();
        }
        attach(&test.store, &Artifact::statement(b"{\"payload\":\"signed\"}".to_vec(), "y", &subject)).unwrap();
        let found = of(&test.store, &subject.digest).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.iter().any(|a| a.statements().any(|(kind, s)| kind == Some("x") && s == statement(2))));

        let more = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let other = super::super::variant::annotated(&test.store, &subject.digest, &more).unwrap();
        carry_over(&test.store, &subject.digest, &other).unwrap();
        let carried = of(&test.store, &other.manifest_digest).unwrap();
        assert_eq!(carried.len(), 1, "what is signed stays where it is");
        let (_, text) = carried[0].statements().next().unwrap();
        assert!(String::from_utf8_lossy(text).contains(&other.manifest_digest.hex()));
        assert_eq!(carried[0].manifest.subject().unwrap().digest, other.manifest_digest);
    }
}
