//! Looking a key up: what an earlier run of the step left.

use super::Solution;
use super::event::Outcome;
use crate::base::Digest;
use crate::ops::imported::Recalled;
use crate::ops::{Cx, OpError};
use crate::tree::Rootfs;
use std::sync::Arc;

/// An earlier run whose result is still there.
#[derive(Debug)]
pub struct Found {
    key: Digest,
    /// The root filesystem after it.
    pub rootfs: Rootfs,
    layer: Option<Digest>,
    /// When the layer was first made, seconds since the epoch.
    created: Option<i64>,
    /// How long the run took, milliseconds.
    pub millis: u64,
    /// When it was, seconds since the epoch.
    ran: i64,
    /// The cache that it is from; `None`: the store.
    from: Option<Arc<str>>,
}

impl Found {
    /// As a step's solution.
    pub fn solution(self, outcome: Outcome) -> Solution {
        Solution {
            rootfs: self.rootfs,
            layer: self.layer,
            created: self.created,
            key: Some(self.key),
            outcome,
            millis: Some(self.millis),
            ran: Some(self.ran),
            from: self.from,
            unrecorded: None,
        }
    }
}

/// Looks `key` up in the store, then in the caches that were named. `whole`: the key names the whole base tree, so the
/// record's tree is the result's tree.
pub fn look_up(cx: &Cx<'_>, key: &Digest, base: &Rootfs, whole: bool) -> Result<Option<Found>, OpError> {
    match look_up_here(cx, key, base, whole)? {
        Some(found) => Ok(Some(found)),
        None => look_up_elsewhere(cx, key, base, whole),
    }
}

/// What the store has under `key`, in one read of its record.
fn look_up_here(cx: &Cx<'_>, key: &Digest, base: &Rootfs, whole: bool) -> Result<Option<Found>, OpError> {
    let Some(record) = cx.store.step_summary(key)? else { return Ok(None) };
    let found = |rootfs, layer, created| {
        Some(Found { key: *key, rootfs, layer, created, millis: record.millis, ran: record.created, from: None })
    };
    let Some(diff_id) = record.layer else { return Ok(found(base.clone(), None, None)) };
    // A layer that is gone or damaged makes the record worthless: the step is run again.
    let Some(info) = cx.store.layer(&diff_id)? else { return Ok(None) };
    let rootfs = if whole && cx.trees.has(&record.tree) {
        let mut layers = base.layers.clone();
        layers.push(diff_id);
        Rootfs { layers, tree: record.tree }
    } else {
        cx.trees.push(base, &diff_id)?
    };
    Ok(found(rootfs, Some(diff_id), Some(info.created)))
}

/// What a cache has under `key`. The tree is made here, from what the layer holds, and not believed.
fn look_up_elsewhere(cx: &Cx<'_>, key: &Digest, base: &Rootfs, whole: bool) -> Result<Option<Found>, OpError> {
    let Some(imported) = cx.imported else { return Ok(None) };
    let Some(recalled) = imported.find(cx.store, key) else { return Ok(None) };
    let Recalled { layer, tree, millis, ran, from } = recalled;
    let Some(info) = cx.store.layer(&layer)? else { return Ok(None) };
    let rootfs = match cx.trees.push(base, &layer) {
        Ok(rootfs) => rootfs,
        Err(error) => {
            imported.refuse(key, &error.to_string());
            return Ok(None);
        }
    };
    if whole && rootfs.tree != tree {
        imported.refuse(key, "its layer makes another tree than it says");
        return Ok(None);
    }
    let created = Some(info.created);
    Ok(Some(Found { key: *key, rootfs, layer: Some(layer), created, millis, ran, from: Some(from) }))
}
