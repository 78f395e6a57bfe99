//! A layer: the change set between two root filesystems. Its entries, their canonical tar, its diffID and its
//! content digest (OCI image-spec, "Image Layer Filesystem Changeset").

pub(crate) mod codec;
pub mod compress;
pub mod device;
pub mod encode;
pub mod entry;
pub mod index;
pub mod mode;
mod pump;
pub mod recipe;
pub mod scan;
pub mod tar_in;
pub mod tar_out;
pub mod verify;
pub mod xattr;

pub use codec::Damaged;
pub use entry::{Entry, Kind};
pub use index::Index;
