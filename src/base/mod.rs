//! What everything stands on: digests, file access whose errors name path and act, paths beneath a root, locks,
//! the clock, cancellation, and small grammars. Knows nothing of images.

pub mod cancel;
pub mod clock;
pub mod digest;
pub mod fs;
pub mod lock;
pub mod parallel;
pub mod root;
pub mod text;

pub use cancel::Cancel;
pub use digest::{Digest, Hashed, Hasher};
pub use fs::IoError;
