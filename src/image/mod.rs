//! OCI image documents, exactly (image-spec 1.1): config, manifest, index, history; and references (names).

pub mod config;
pub mod manifest;
pub mod reference;
