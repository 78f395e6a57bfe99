//! What `prune`, `du` and `fsck` ask of the modules above the store, which knows neither layers' indexes nor trees.

use crate::base::fs::Context;
use crate::base::{Cancel, IoError};
use crate::layer::verify::{Damage, verify};
use crate::store::gc::Live;
use crate::store::layers::LayerInfo;
use crate::store::{Store, StoreError};
use crate::tree::{TreeError, Trees};
use std::collections::HashSet;
use std::path::PathBuf;

/// Files of `trees/` that no kept step record needs. Trees of images that have none are made again from their layers.
pub fn dead_trees(trees: &Trees<'_>, live: &Live) -> Result<Vec<PathBuf>, StoreError> {
    let mut needed: HashSet<PathBuf> = HashSet::new();
    for tree in &live.trees {
        match trees.files(tree) {
            Ok(files) => needed.extend(files),
            // Its record is of no use either, and is found to be so by the next build.
            Err(TreeError::Missing(_)) => {}
            Err(error) => return Err(store_error(error)),
        }
    }
    let directory = trees.store().trees_dir();
    let entries = match std::fs::read_dir(&directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("list", &directory)?,
    };
    let mut dead = Vec::new();
    for entry in entries {
        let path = entry.at("list", &directory)?.path();
        if !needed.contains(&path) {
            dead.push(path);
        }
    }
    dead.sort();
    Ok(dead)
}

/// What is wrong with a layer, for `fsck`. Reads every file.
pub fn check_layer(store: &Store, info: &LayerInfo, cancel: &Cancel) -> Result<Option<String>, StoreError> {
    match verify(store, &info.diff_id, cancel) {
        Ok(()) => Ok(None),
        // The disk's failure, or a stop, says nothing of the layer.
        Err(Damage::Io(error)) => Err(error.into()),
        Err(Damage::Store(error)) => Err(error),
        Err(damage) => Ok(Some(damage.to_string())),
    }
}

/// A failure of the tree module where the store's own are expected.
fn store_error(error: TreeError) -> StoreError {
    match error {
        TreeError::Io(error) => error.into(),
        TreeError::Store(error) => error,
        other => StoreError::Io(IoError { act: "read", path: "trees".into(), source: std::io::Error::other(other) }),
    }
}
