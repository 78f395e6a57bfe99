//! `steps/KEY`: step records, and the lock that makes two builds run a step once.

use super::{Store, StoreError};
use crate::base::Digest;
use crate::base::lock::Lock;
use serde::{Deserialize, Serialize};

/// What a step did last time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step's key.
    pub key: Digest,
    /// The layer it made; `None`: it made none (FROM, a WORKDIR that is `/`).
    pub layer: Option<Digest>,
    /// The merged tree after it.
    pub tree: Digest,
    /// When it ran, seconds since the epoch.
    pub created: i64,
    /// How long it took, milliseconds.
    pub millis: u64,
    /// Its label, for people.
    pub label: String,
    /// Where it stands: Dockerfile stage and instruction number, so that `why` finds its predecessor.
    pub place: String,
    /// The key's preimage in parts, in hashing order: (what, value). Values of secrets are never here.
    pub preimage: Vec<(String, String)>,
}

impl Store {
    /// The record under `key`; a damaged one counts as absent. The layer it names is not checked.
    pub fn step(&self, key: &Digest) -> Result<Option<StepRecord>, StoreError> {
        let _ = key;
        unreachable!("skeleton")
    }

    /// Writes a record.
    pub fn put_step(&self, record: &StepRecord) -> Result<(), StoreError> {
        let _ = record;
        unreachable!("skeleton")
    }

    /// Removes a record.
    pub fn remove_step(&self, key: &Digest) -> Result<(), StoreError> {
        let _ = key;
        unreachable!("skeleton")
    }

    /// Every record that can be read.
    pub fn steps(&self) -> Result<Vec<StepRecord>, StoreError> {
        unreachable!("skeleton")
    }

    /// Tries for the right to run the step `key`. `None`: another process (or thread) is at it.
    pub fn try_lock_step(&self, key: &Digest) -> Result<Option<Lock>, StoreError> {
        let _ = key;
        unreachable!("skeleton")
    }

    /// Waits for the right to run the step `key`.
    pub fn lock_step(&self, key: &Digest) -> Result<Lock, StoreError> {
        let _ = key;
        unreachable!("skeleton")
    }
}
