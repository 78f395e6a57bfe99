//! From a written directory to a layer of the store.

use super::{OpError, Written};
use crate::base::{Cancel, clock};
use crate::layer::scan;
use crate::store::Store;
use crate::store::layers::{LayerInfo, NewLayer};

/// Makes a layer of a written directory; a layer of the same content that is already there is taken instead, with its
/// diffID and time, so that what was pushed under it stays valid. Also whether the layer is new. `fresh_from`: see
/// [`LayerInfo::fresh_from`].
pub fn publish(
    store: &Store,
    written: Written,
    fresh_from: Option<i64>,
    cancel: &Cancel,
) -> Result<(LayerInfo, bool), OpError> {
    let scanned = scan::scan(&written.fs, &written.known, cancel)?;
    if cancel.is_set() {
        return Err(OpError::Cancelled);
    }
    let content = scanned.index.content_digest();
    if let Some(known) = store.layer_by_content(&content)? {
        return Ok((known, false));
    }
    let info = LayerInfo {
        diff_id: scanned.diff_id,
        content,
        tar_size: scanned.tar_size,
        size: scanned.index.size(),
        created: clock::now(),
        fresh_from,
        fs_of: None,
    };
    let index = scanned.index.encode();
    let info = store.publish_layer(NewLayer { fs: written.fs, index, recipe: None, info })?;
    Ok((info, true))
}
