//! Images in the store, and out of and into it: names and look-up, OCI layouts and docker archives, root filesystem
//! tars, local directories.

pub mod archive;
pub mod assemble;
pub mod change;
pub mod diff;
pub mod document;
pub mod error;
#[cfg(test)]
pub(crate) mod fixture;
pub mod images;
pub mod import;
pub mod index;
pub mod inspect;
pub mod intake;
pub mod layers;
pub mod listing;
pub mod load;
pub mod merge;
pub mod output;
pub mod packing;
pub mod referrers;
pub mod rewrite;
pub mod rootfs;
pub mod save;
pub mod stored;
pub mod unpack;
pub mod variant;
pub mod verify;

pub use assemble::{Written, assemble};
pub use error::ExportError;
pub use images::Image;
pub use packing::Packing;
pub use rewrite::{clamp_layers, squash};
pub use stored::StoredImages;
