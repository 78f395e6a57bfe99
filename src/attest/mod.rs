//! What a build says about its result: how it came about (SLSA provenance) and what is in it (a bill of materials), as
//! in-toto statements that refer to the image.
//!
//! Nothing runs for it: provenance is what the solver knows anyway, and packages are read from their databases through
//! the merged tree. The same build says the same, to the byte, where SOURCE_DATE_EPOCH keeps clocks out of it.

pub mod provenance;
pub mod purl;
pub mod sbom;
pub mod statement;
pub mod summary;

pub use provenance::Mode;
pub use statement::{PROVENANCE, SPDX, Statement};

use crate::export::ExportError;
use crate::tree::TreeError;

/// What is to be said of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// How it came about, and in which detail.
    pub provenance: Option<Mode>,
    /// What is in it.
    pub sbom: bool,
}

/// Why nothing could be said.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The files of the image could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The image could not be read, or what was said of it not be stored.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A database of packages is not what it should be.
    #[error("the package database /{path} cannot be read: {reason}")]
    Database {
        /// Its path in the image.
        path: String,
        /// Why.
        reason: String,
    },
    /// A statement is not valid.
    #[error("the attestation {digest} is not valid: {reason}")]
    Statement {
        /// Of its artifact.
        digest: String,
        /// Why.
        reason: String,
    },
}
