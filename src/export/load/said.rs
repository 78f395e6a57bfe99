//! Artifacts in an archive that are about its images: attestations.

use super::{Candidate, Loader};
use crate::base::Digest;
use crate::export::ExportError;
use crate::export::referrers::{Artifact, MAX_REFERRERS, MAX_STATEMENT, refusal};
use crate::image::Manifest;
use std::collections::BTreeMap;

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
        let subject = manifest.subject().and_then(|subject| candidates.get_mut(&subject.digest));
        if let Some(candidate) = subject {
            if let Some(reason) = refusal(&manifest) {
                return Err(loader.refused(&format!("it holds {reason}")));
            }
            let artifact = Artifact::received(bytes, manifest, |blob| loader.verified(blob, MAX_STATEMENT))?;
            candidate.said.push(artifact);
        }
    }
    Ok(())
}
