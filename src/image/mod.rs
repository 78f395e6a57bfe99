//! OCI image documents, exactly (image-spec 1.1): config, manifest, index, history; and references (names).

pub mod annotation;
pub mod config;
pub mod manifest;
pub mod platform;
pub mod reference;

pub use annotation::Annotation;
pub use config::ImageConfig;
pub use manifest::{Descriptor, ImageIndex, Manifest, Packing};
pub use platform::Platform;
pub use reference::{Reference, ReferenceError};

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

/// A document that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {what} is not valid: {reason}")]
pub struct DocumentError {
    /// "image config", "image manifest", "image index".
    pub what: &'static str,
    /// How it shows.
    pub reason: String,
}

/// Largest config, manifest or index that is read, in bytes. Registries must take 4 MiB manifests; configs with long
/// histories stay far below this.
pub const MAX_DOCUMENT: u64 = 8 << 20;

fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, DocumentError> {
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(DocumentError { what, reason: format!("{} bytes, more than {MAX_DOCUMENT}", bytes.len()) });
    }
    serde_json::from_slice(bytes).map_err(|e| DocumentError { what, reason: e.to_string() })
}

/// Compact JSON with sorted keys: by way of [`serde_json::Value`], whose maps are sorted, so that neither the order of
/// fields in a struct nor that of kept unknown fields shows in a digest.
fn canonical(document: &impl Serialize) -> Vec<u8> {
    // Structs of strings, numbers and string-keyed maps: there is no value that JSON cannot hold.
    let value = serde_json::to_value(document).expect("a document serialises");
    value.to_string().into_bytes()
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}
