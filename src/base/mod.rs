//! What everything stands on: digests, file access whose errors name path and act, paths beneath a root, locks,
//! the clock and cancellation. Knows nothing of images.

pub mod cancel;
pub mod clock;
pub mod digest;
pub mod fs;
pub mod lock;
pub mod root;

pub use cancel::Cancel;
pub use digest::{Digest, Hasher};
pub use fs::IoError;
