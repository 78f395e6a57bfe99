//! ADD of a local archive: its contents, onto the destination.

use crate::ops::source::{Item, Source};
use crate::ops::upper::Upper;
use crate::ops::{Cx, OpError};

/// Whether ADD unpacks this file.
pub(super) fn is_archive(source: &Source<'_>, file: &Item) -> Result<bool, OpError> {
    let _ = (source, file);
    Ok(false)
}

/// Unpacks it below `target`.
pub(super) fn unpack(
    cx: &Cx<'_>,
    upper: &mut Upper<'_>,
    source: &Source<'_>,
    file: &Item,
    target: &[u8],
    owner: Option<(u32, u32)>,
) -> Result<(), OpError> {
    let _ = (cx, upper, source, file, target, owner);
    Ok(())
}
