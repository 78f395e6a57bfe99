//! A root filesystem tar into the store as an image of one layer.

use super::archive::MAX_UNPACKED;
use super::assemble::{HistoryLine, Written, assemble};
use super::change::apply_changes;
use super::{ExportError, images, unpack};
use crate::base::fs::Context;
use crate::base::{Cancel, clock};
use crate::image::Platform;
use crate::image::{ImageConfig, Reference};
use crate::layer::compress;
use crate::store::Store;
use std::io::Read;
use std::path::Path;

/// What an import is told beside the tar.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--change`: instructions such as `CMD ["sh"]`, applied in order.
    pub changes: Vec<String>,
    /// `--message`.
    pub message: Option<String>,
    /// SOURCE_DATE_EPOCH: no time in the image is later.
    pub epoch: Option<i64>,
}

/// Imports a root filesystem tar, plain or packed with gzip, zstd, xz or bzip2. `place` is for messages and the
/// history; `name` is given to the image, which is kept by its ID without one. The layer is canonical: the same files
/// give the same layer in whatever order and packing they came.
///
/// # Errors
/// The tar is not valid or exceeds a limit, a change is not valid, the store failed, or the work was called off.
pub fn import(
    store: &Store,
    reader: &mut (dyn Read + Send),
    place: &Path,
    name: Option<&Reference>,
    platform: &Platform,
    options: &Options,
    cancel: &Cancel,
) -> Result<Written, ExportError> {
    let mut config = ImageConfig {
        architecture: platform.arch.clone(),
        os: platform.os.clone(),
        variant: Some(platform.variant.clone()).filter(|v| !v.is_empty()),
        ..ImageConfig::default()
    };
    apply_changes(&mut config.config, &options.changes)?;
    let (mut unpacked, _) = compress::open_compressed(reader, MAX_UNPACKED).at("read", place)?;
    let mut layer = unpack::canonical_layer(store, &mut unpacked, place, cancel)?.diff_id;
    if let Some(epoch) = options.epoch {
        layer = super::clamp_layers(store, &[layer], epoch, cancel)?.swap_remove(0);
    }
    let file = place.file_name().unwrap_or(place.as_os_str()).to_string_lossy();
    let line = HistoryLine {
        created_by: options.message.clone().unwrap_or_else(|| format!("rbuild import {file}")),
        layer: Some(layer),
        created: Some(store.layer(&layer)?.map_or_else(clock::now, |info| info.created)),
    };
    let written = assemble(store, config, Vec::new(), &[line], &[layer], options.epoch)?;
    match name {
        Some(name) => images::tag(store, &written.manifest, name)?,
        None => images::keep(store, &written.manifest)?,
    }
    Ok(written)
}
