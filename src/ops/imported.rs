//! Step records that are not in the store but somewhere that was named as a cache.

use crate::base::Digest;
use crate::store::Store;
use std::sync::Arc;

/// Caches that may know what a step comes to.
pub trait Imported: std::fmt::Debug + Sync {
    /// What a cache says of a step. Its layer is here then, or promised to the store ([`Store::promise`]). `None`: nothing
    /// says anything of use, for whatever reason; a cache that cannot be read never fails a build.
    fn find(&self, store: &Store, key: &Digest) -> Option<Recalled>;

    /// What was found under the key turned out not to fit together: it is not given again.
    fn refuse(&self, key: &Digest, reason: &str);
}

/// What a cache says of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// diffID of the layer it made.
    pub layer: Digest,
    /// The merged tree after it, where it was run.
    pub tree: Digest,
    /// How long it took, milliseconds.
    pub millis: u64,
    /// When it ran, seconds since the epoch.
    pub ran: i64,
    /// Which cache says so, for people.
    pub from: Arc<str>,
}
