//! From a layer's plain tar to a stored layer.

use super::ExportError;
use crate::base::{Cancel, Digest, clock, fs};
use crate::layer::tar_in::{self, Applied, Options};
use crate::layer::{Index, recipe, scan};
use crate::store::Store;
use crate::store::layers::{LayerInfo, NewLayer};
use std::io::Read;
use std::path::Path;

/// Stores a layer that came from elsewhere and must have the diffID it was announced under. Its tar can be given back
/// byte by byte: where it is not the canonical one, with a recipe.
///
/// # Errors
/// The tar is not valid, exceeds a limit or has another digest; the store failed; the work was called off.
pub fn foreign_layer(
    store: &Store,
    reader: &mut (dyn Read + Send),
    diff_id: &Digest,
    place: &Path,
    cancel: &Cancel,
) -> Result<LayerInfo, ExportError> {
    let dir = store.temp_dir()?;
    let (files, recipe) = (dir.path().join("fs"), dir.path().join("recipe"));
    fs::create_dir_all(&files)?;
    let applied = apply(reader, &files, &Options::layer(Some(&recipe), cancel), place)?;
    if applied.diff_id != *diff_id {
        let reason = format!("a layer announced as {diff_id} is {}", applied.diff_id);
        return Err(ExportError::Archive { archive: place.to_owned(), reason });
    }
    let index = scan::index(&files, &applied.contents, cancel)?;
    let info = info(&index, *diff_id, applied.tar_size);
    let recipe = if recipe::is_canonical(&recipe, &index)? { None } else { Some(recipe) };
    Ok(store.publish_layer(NewLayer { fs: files, index: index.encode(), recipe, info })?)
}

/// Stores the files of an archive as a layer of our own making: in canonical order and form, so that the same files
/// give the same layer.
///
/// # Errors
/// As [`foreign_layer`].
pub fn canonical_layer(
    store: &Store,
    reader: &mut (dyn Read + Send),
    place: &Path,
    cancel: &Cancel,
) -> Result<LayerInfo, ExportError> {
    let dir = store.temp_dir()?;
    let files = dir.path().join("fs");
    fs::create_dir_all(&files)?;
    let options = Options { root_metadata: true, ..Options::plain(cancel) };
    let applied = apply(reader, &files, &options, place)?;
    let scanned = scan::scan(&files, &applied.contents, cancel)?;
    let info = info(&scanned.index, scanned.diff_id, scanned.tar_size);
    Ok(store.publish_layer(NewLayer { fs: files, index: scanned.index.encode(), recipe: None, info })?)
}

fn apply(
    reader: &mut (dyn Read + Send),
    files: &Path,
    options: &Options<'_>,
    place: &Path,
) -> Result<Applied, ExportError> {
    let named = |reason| ExportError::Apply { archive: place.to_owned(), reason };
    tar_in::apply(reader, files, options).map_err(named)
}

fn info(index: &Index, diff_id: Digest, tar_size: u64) -> LayerInfo {
    let (content, size) = (index.content_digest(), index.size());
    LayerInfo { diff_id, content, tar_size, size, created: clock::now(), fresh_from: None, fs_of: None }
}
