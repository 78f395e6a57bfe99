//! Artifacts in an archive that are about its images: attestations.

use super::{Candidate, Loader};
use crate::base::Digest;
use crate::export::ExportError;
use crate::export::archive::blob_name;
use crate::export::referrers::{Artifact, MAX_REFERRERS, MAX_STATEMENT, refusal};
use crate::image::{Descriptor, ImageIndex, Manifest};
use std::collections::BTreeMap;

/// What an index lists beside its images: manifests of artifacts that are about something.
pub(super) fn listed(loader: &Loader<'_>, index: &ImageIndex) -> Result<Vec<(Manifest, Vec<u8>)>, ExportError> {
    let is_artifact = |d: &&Descriptor| d.is_manifest() && !d.is_image() && d.extra.contains_key("artifactType");
    let mut found = Vec::new();
    for descriptor in index.manifests.iter().filter(is_artifact).take(MAX_REFERRERS + 1) {
        let bytes = loader.pinned(descriptor)?;
        let manifest = Manifest::from_bytes(&bytes).map_err(loader.invalid(&blob_name(&descriptor.digest)))?;
        if manifest.subject().is_some() {
            found.push((manifest, bytes));
        }
    }
    Ok(found)
}

/// Gives each candidate what is about it. What is about an image that is not taken is left out.
pub(super) fn assign(
    loader: &Loader<'_>,
    manifests: Vec<(Manifest, Vec<u8>)>,
    candidates: &mut BTreeMap<Digest, Candidate>,
) -> Result<(), ExportError> {
    if manifests.len() > MAX_REFERRERS {
        return Err(loader.refused(&format!("it holds more than {MAX_REFERRERS} attestations")));
    }
    for (manifest, bytes) in manifests {
        let subject = manifest.subject().map(|subject| subject.digest);
        if let Some(candidate) = subject.and_then(|subject| find(candidates, &subject)) {
            if let Some(reason) = refusal(&manifest) {
                return Err(loader.refused(&format!("it holds {reason}")));
            }
            let artifact = Artifact::received(bytes, manifest, |blob| loader.verified(blob, MAX_STATEMENT))?;
            candidate.said.push(artifact);
        }
    }
    Ok(())
}

/// The image with this manifest, alone or in an index.
fn find<'c>(candidates: &'c mut BTreeMap<Digest, Candidate>, manifest: &Digest) -> Option<&'c mut Candidate> {
    if candidates.contains_key(manifest) {
        return candidates.get_mut(manifest);
    }
    let parts = candidates.values_mut().filter_map(|candidate| candidate.parts.as_mut()).flat_map(|(_, parts)| parts);
    let is = |part: &&mut Candidate| part.manifest.as_ref().is_some_and(|(_, bytes)| Digest::of(bytes) == *manifest);
    parts.into_iter().find(is)
}
