//! In-toto statements (in-toto Attestation Framework, Statement v1): what is said, and about which image.

use super::AttestError;
use super::purl::Purl;
use crate::export::referrers::Artifact;
use crate::image::{Descriptor, Reference};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `_type` of every statement that is written.
pub const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// `predicateType` of SLSA provenance v1.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// `predicateType` of an SPDX document.
pub const SPDX: &str = "https://spdx.dev/Document";

/// A statement as it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Which version of the form.
    #[serde(rename = "_type")]
    pub form: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What kind of thing it says.
    pub predicate_type: String,
    /// What it says.
    #[serde(default)]
    pub predicate: Value,
}

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// For people.
    #[serde(default)]
    pub name: String,
    /// By algorithm, in lower-case hexadecimal digits.
    pub digest: BTreeMap<String, String>,
}

impl Statement {
    /// A statement about an image: `manifest` is the descriptor of its manifest, `names` are its names.
    pub fn new(
        predicate_type: &str,
        predicate: Value,
        names: &[Reference],
        platform: &str,
        manifest: &Descriptor,
    ) -> Statement {
        let digest = BTreeMap::from([("sha256".to_owned(), manifest.digest.hex())]);
        let mut subject: Vec<Subject> = names
            .iter()
            .map(|name| Subject { name: Purl::of_image(name, platform).to_string(), digest: digest.clone() })
            .collect();
        if subject.is_empty() {
            subject.push(Subject { name: manifest.digest.to_string(), digest });
        }
        Statement { form: STATEMENT.to_owned(), subject, predicate_type: predicate_type.to_owned(), predicate }
    }

    /// The artifact that carries it.
    pub fn artifact(&self, manifest: &Descriptor) -> Artifact {
        // By way of a value, whose keys are sorted: the bytes are canonical.
        let bytes = json!(self).to_string().into_bytes();
        Artifact::statement(bytes, &self.predicate_type, manifest)
    }

    /// The statements of an artifact.
    ///
    /// # Errors
    /// One is none.
    pub fn all(artifact: &Artifact) -> Result<Vec<Statement>, AttestError> {
        let invalid = |reason: String| AttestError::Statement { digest: artifact.digest.to_string(), reason };
        let read = |bytes: &[u8]| {
            let statement: Statement = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;
            if !statement.form.starts_with("https://in-toto.io/Statement/") {
                return Err(invalid(format!("it says that it is '{}'", statement.form.escape_debug())));
            }
            Ok(statement)
        };
        artifact.statements().map(|(_, bytes)| read(bytes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;
    use crate::image::manifest::media;

    #[test]
    fn a_statement_names_the_image_and_reads_back() {
        let manifest = Descriptor::new(media::MANIFEST, Digest::of(b"m"), 1);
        let names: Vec<Reference> = vec!["app:1".parse().unwrap(), "ghcr.io/me/app".parse().unwrap()];
        let statement = Statement::new(SPDX, json!({ "b": 1, "a": 2 }), &names, "linux/amd64", &manifest);
        assert_eq!(statement.subject.len(), 2);
        assert_eq!(statement.subject[0].name, "pkg:docker/app@1?platform=linux%2Famd64");
        assert_eq!(statement.subject[0].digest["sha256"], Digest::of(b"m").hex());
        let artifact = statement.artifact(&manifest);
        assert_eq!(Statement::all(&artifact).unwrap(), std::slice::from_ref(&statement));
        assert_eq!(artifact, statement.artifact(&manifest));
        let nameless = Statement::new(SPDX, Value::Null, &[], "linux/amd64", &manifest);
        assert_eq!(nameless.subject[0].name, manifest.digest.to_string());
        let other = Artifact::statement(b"{\"payload\":\"\"}".to_vec(), SPDX, &manifest);
        assert!(Statement::all(&other).unwrap_err().to_string().contains("not valid"));
    }
}
