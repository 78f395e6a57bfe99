//! Objects in buckets: S3 and the many servers that speak its protocol (Amazon S3 API Reference, 2006-03-01).
//!
//! Requests are signed by a crate that knows the signature (AWS Signature Version 4 in the query) and sent by [`crate::net`].
//! A signed address is a credential for as long as it holds: none is shown, stored or told in an error.

mod client;
mod credentials;

pub use client::Objects;
pub use credentials::{Bucket, Secret};

use crate::base::IoError;

/// Why an object can't be read or written. Names bucket and key, and no credential.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// The server cannot be reached.
    #[error("{endpoint}: {reason}")]
    Net {
        /// Whom we asked.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// What was said of the bucket is no address.
    #[error("bucket {bucket}: {reason}")]
    Bucket {
        /// Its name.
        bucket: String,
        /// Why.
        reason: String,
    },
    /// There is no such bucket.
    #[error("there is no bucket '{bucket}' at {endpoint}")]
    NoBucket {
        /// Its name.
        bucket: String,
        /// Whom we asked.
        endpoint: String,
    },
    /// The bucket is in another region.
    #[error("bucket {bucket} is not in the region that was asked{}", region.as_ref().map_or(String::new(), |r| format!("; it is in {r}: say region={r}")))]
    Elsewhere {
        /// Its name.
        bucket: String,
        /// Where it is, if the server says so.
        region: Option<String>,
    },
    /// The credentials will not do, or are wanted.
    #[error("bucket {bucket} refuses to {what}: {}{detail}", if *known { "the credentials are not accepted" } else { "it asks for credentials" })]
    Denied {
        /// The bucket's name.
        bucket: String,
        /// An infinitive: `give blobs/x`.
        what: String,
        /// What the server says of it; begins with `: ` unless it is empty.
        detail: String,
        /// Whether credentials were sent.
        known: bool,
    },
    /// Any other answer than the protocol has.
    #[error("bucket {bucket} does not {what}: status {status}{detail}")]
    Status {
        /// The bucket's name.
        bucket: String,
        /// An infinitive.
        what: String,
        /// HTTP status.
        status: u16,
        /// What the server says of it; begins with `: ` unless it is empty.
        detail: String,
    },
    /// What came is not what was announced.
    #[error("object {key} of bucket {bucket}: {reason}")]
    Contents {
        /// The bucket's name.
        bucket: String,
        /// Which.
        key: String,
        /// How.
        reason: String,
    },
    /// The user's files of credentials cannot be read.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Stopped.
    #[error("cancelled")]
    Cancelled,
}
