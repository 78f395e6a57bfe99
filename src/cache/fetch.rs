//! A layer out of a cache into the store: nothing of it is published before all of it has been seen to be what was
//! promised.

use super::CacheError;
use super::document::{Hashing, LayerFacts};
use crate::base::fs::{self, Context};
use crate::base::{Cancel, Digest};
use crate::export::ExportError;
use crate::image::Descriptor;
use crate::layer::tar_in::{self, Options};
use crate::layer::{compress, recipe, scan};
use crate::store::Store;
use crate::store::layers::NewLayer;
use crate::store::packed::Packed;
use std::io::{self, Read};
use std::path::Path;

/// A layer that a cache has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Had<'h> {
    pub facts: &'h LayerFacts,
    pub blob: &'h Descriptor,
    /// The cache's name.
    pub place: &'h str,
    pub cancel: &'h Cancel,
}

/// Stores the layer whose blob is read from `blob`.
///
/// # Errors
/// The blob has another digest or length than was said, its tar another diffID, its files another index; it cannot be
/// read; the store failed.
pub(super) fn layer(store: &Store, had: &Had<'_>, blob: &mut (dyn Read + Send)) -> Result<(), CacheError> {
    let Had { facts, blob: expected, place, cancel } = *had;
    let info = &facts.info;
    let wrong = |reason: String| CacheError::Contents {
        place: place.to_owned(),
        reason: format!("layer {}: {reason}", info.diff_id.short()),
    };
    let dir = store.temp_dir()?;
    let (files, recipe) = (dir.path().join("fs"), dir.path().join("recipe"));
    fs::create_dir_all(&files)?;
    let mut packed = Hashing::new(blob.take(expected.size.saturating_add(1)));
    let applied = {
        let (mut plain, _) = compress::open_compressed(&mut packed, info.tar_size).at("read", place)?;
        let options = Options::layer(Some(&recipe), cancel);
        let named = |reason| ExportError::Apply { archive: Path::new(place).to_owned(), reason };
        tar_in::apply(&mut plain, &files, &options).map_err(named)?
    };
    // What follows the end of the compressed stream belongs to the blob, too.
    io::copy(&mut packed, &mut io::sink()).at("read", place)?;
    let (digest, size) = packed.finish();
    if (digest, size) != (expected.digest, expected.size) {
        let Descriptor { digest: announced, size: length, .. } = expected;
        return Err(wrong(format!("its blob is {digest} of {size} bytes and not {announced} of {length}")));
    }
    if applied.diff_id != info.diff_id || applied.tar_size != info.tar_size {
        return Err(wrong(format!("its tar is {} of {} bytes", applied.diff_id, applied.tar_size)));
    }
    let index = scan::index(&files, &applied.contents, cancel).map_err(ExportError::from)?;
    let encoded = index.encode();
    if Digest::of(&encoded) != facts.index {
        return Err(wrong("it holds other files than its index says".into()));
    }
    let recipe = if recipe::is_canonical(&recipe, &index)? { None } else { Some(recipe) };
    let mut info = info.clone();
    (info.content, info.size, info.fs_of) = (index.content_digest(), index.size(), None);
    let info = store.publish_layer(NewLayer { fs: files, index: encoded, recipe, info })?;
    if let Some(way) = &facts.way {
        // A push of the layer to where this cache lies sends nothing.
        store.remember_packed(&info.diff_id, way, Packed { digest, size })?;
    }
    Ok(())
}
