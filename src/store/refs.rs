//! `refs/`: names → manifest digests. A name is any text; the file name is its percent-encoded form.

use super::{Store, StoreError};
use crate::base::Digest;

impl Store {
    /// What `name` stands for.
    pub fn get_ref(&self, name: &str) -> Result<Option<Digest>, StoreError> {
        let _ = name;
        unreachable!("skeleton")
    }

    /// Makes `name` stand for `target` (atomically; syncs the file system first, so that it holds against power loss).
    pub fn set_ref(&self, name: &str, target: &Digest) -> Result<(), StoreError> {
        let _ = (name, target);
        unreachable!("skeleton")
    }

    /// Removes a name; whether it was there.
    pub fn remove_ref(&self, name: &str) -> Result<bool, StoreError> {
        let _ = name;
        unreachable!("skeleton")
    }

    /// All names, sorted.
    pub fn refs(&self) -> Result<Vec<(String, Digest)>, StoreError> {
        unreachable!("skeleton")
    }
}
