//! The bytes of a stored layer: as the plain tar of its diffID, or as the blob that a manifest lists.

use super::ExportError;
use super::archive::cancelled;
use crate::base::fs::Context;
use crate::base::{Cancel, Digest, Hashed};
use crate::image::Descriptor;
use crate::layer::{recipe, tar_out};
use crate::store::{Store, StoreError};
use std::io::{self, Read, Write};
use std::path::Path;

/// Writes the uncompressed tar of a layer: the canonical one, or for a layer that came from elsewhere the very bytes
/// that came. What is written is verified; a stored layer that no longer gives its diffID is an error at the end.
///
/// # Errors
/// The layer is not stored or damaged, `out` failed, or the work was called off.
pub fn layer_tar(store: &Store, diff_id: &Digest, out: &mut dyn Write, cancel: &Cancel) -> Result<(), ExportError> {
    let mut tee = Hashed::new(out);
    let index = super::merge::indexes(store, &[*diff_id])?.swap_remove(0);
    let fs = store.layer_fs(diff_id)?;
    match store.layer_recipe(diff_id)? {
        Some(recipe) => recipe::replay(&recipe, &fs, &mut tee, cancel)?,
        None => tar_out::write(&index, &fs, &mut tee, cancel)?,
    }
    match tee.hasher.finish() {
        found if found == *diff_id => Ok(()),
        found => Err(StoreError::Damaged { path: fs, reason: format!("its tar has digest {found}") }.into()),
    }
}

/// Writes the blob that `descriptor` stands for: the stored one if the layer is kept packed, else its plain tar.
///
/// # Errors
/// As [`layer_tar`]; and the manifest lists a packed blob that is not stored.
pub fn layer_blob(
    store: &Store,
    descriptor: &Descriptor,
    diff_id: &Digest,
    out: &mut dyn Write,
    cancel: &Cancel,
) -> Result<(), ExportError> {
    if descriptor.digest == *diff_id {
        return layer_tar(store, diff_id, out, cancel);
    }
    let path = store.blob_path(&descriptor.digest);
    let mut blob = store.open_blob(&descriptor.digest)?;
    let mut tee = Hashed::new(out);
    copy(&mut blob, &mut tee, &path, cancel)?;
    match tee.hasher.finish() {
        found if found == descriptor.digest => Ok(()),
        found => Err(StoreError::Damaged { path, reason: format!("its content has digest {found}") }.into()),
    }
}

/// Copies to the end, asking now and then whether to stop. `place` is what a failed read names.
pub fn copy(from: &mut dyn Read, to: &mut dyn Write, place: &Path, cancel: &Cancel) -> Result<u64, ExportError> {
    let mut buffer = vec![0; 256 << 10];
    let mut copied = 0;
    loop {
        cancelled(cancel, place)?;
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => Err(e).at("read", place)?,
        };
        to.write_all(&buffer[..n]).at("write what is read from", place)?;
        copied += n as u64;
    }
}
