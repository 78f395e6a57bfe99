//! What `prune`, `du` and `fsck` ask of the modules above the store, which knows neither layers' indexes nor trees.

use crate::base::fs::Context;
use crate::base::{Cancel, IoError};
use crate::layer::{Index, scan, tar_out};
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

/// What is wrong with a layer: its index against its files, both against its diffID. Reads every file.
pub fn check_layer(store: &Store, info: &LayerInfo, cancel: &Cancel) -> Result<Option<String>, StoreError> {
    let index = match Index::decode(&store.layer_index(&info.diff_id)?) {
        Ok(index) => index,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let fs = store.layer_fs(&info.diff_id)?;
    let found = scan::index(&fs, &scan::Known::new(), cancel)?;
    // A layer with clamped times shares the files of the one that it was made of.
    let same = |a: &crate::layer::Entry, b: &crate::layer::Entry| match info.fs_of {
        Some(_) => a.path == b.path && a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && a.kind == b.kind,
        None => a == b,
    };
    let mut pairs = index.entries.iter().zip(&found.entries);
    if let Some((wanted, _)) = pairs.find(|(wanted, found)| !same(wanted, found)) {
        return Ok(Some(format!("/{} is not as its index says", String::from_utf8_lossy(&wanted.path))));
    }
    if index.entries.len() != found.entries.len() {
        return Ok(Some(format!("it has {} files where its index lists {}", found.entries.len(), index.entries.len())));
    }
    if index.content_digest() != info.content {
        return Ok(Some("its index does not have the content digest of its info".to_owned()));
    }
    if store.layer_recipe(&info.diff_id)?.is_none() && tar_out::diff_id(&index, &fs, cancel)?.0 != info.diff_id {
        return Ok(Some("its files do not make the tar of its diffID".to_owned()));
    }
    Ok(None)
}

/// A failure of the tree module where the store's own are expected.
fn store_error(error: TreeError) -> StoreError {
    match error {
        TreeError::Io(error) => error.into(),
        TreeError::Store(error) => error,
        other => StoreError::Io(IoError { act: "read", path: "trees".into(), source: std::io::Error::other(other) }),
    }
}
