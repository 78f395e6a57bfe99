//! Images in the store, and out of and into it: names and look-up, OCI layouts and docker archives, root filesystem
//! tars, local directories.

pub mod assemble;
pub mod error;
pub mod images;
pub mod inspect;
pub mod stored;
pub mod verify;

pub use assemble::{Written, assemble};
pub use error::ExportError;
pub use images::Image;
pub use stored::StoredImages;
