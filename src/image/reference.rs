//! Image names: `[host[:port]/]path[:tag][@digest]`, normalised as docker does (`docker.io/library/…:latest`).

use crate::base::Digest;
use std::fmt;
use std::str::FromStr;

/// A normalised reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// `docker.io`, `localhost:5000`.
    pub registry: String,
    /// `library/debian`.
    pub repository: String,
    /// `latest` by default; `None` only if there is a digest and no tag was written.
    pub tag: Option<String>,
    /// Pins the manifest.
    pub digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an image name: {reason}")]
pub struct ReferenceError {
    /// As given.
    pub text: String,
    /// Why.
    pub reason: String,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        let _ = text;
        unreachable!("skeleton")
    }
}

impl Reference {
    /// As users write it: without `docker.io/library/`.
    pub fn familiar(&self) -> String {
        unreachable!("skeleton")
    }
}

/// The full form: `docker.io/library/debian:12`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        unreachable!("skeleton")
    }
}
