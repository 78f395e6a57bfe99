//! Step records and layers kept outside the store, so that machines share them: `--cache-to` and `--cache-from`.
//!
//! A cache is one manifest and the blobs that it lists ([`document`]), in a place that can hold blobs by digest
//! ([`Place`]): a registry, a directory, an object store. Nothing that a place gives is believed: blobs are hashed,
//! documents bounded, trees made anew from the indexes of layers; what is not as it should be costs a miss. Whether a
//! RUN really yields what a record says can't be seen from outside: for that records may be signed ([`sign`]).

pub mod document;
pub mod export;
mod fetch;
pub mod import;
pub mod inline;
mod local;
pub mod place;
mod remote;
pub mod s3;
pub mod sign;
pub mod spec;

pub use export::{Content, Exported, Exporter};
pub use import::{Imports, Told};
pub use local::Directory;
pub use place::Place;
pub use remote::Tagged;
pub use sign::Keys;

use crate::base::IoError;
use crate::export::ExportError;
use crate::registry::RegistryError;
use crate::s3::S3Error;
use crate::store::StoreError;

/// Why a cache is of no use, or was not written.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer could not be packed.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The registry cannot be reached, refuses, or contradicts itself.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The bucket cannot be reached, refuses, or contradicts itself.
    #[error(transparent)]
    Bucket(#[from] S3Error),
    /// What lies there is not what it should be.
    #[error("{place}: {reason}")]
    Contents {
        /// The place's name.
        place: String,
        /// How it shows.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
