//! The build's own layers, made anew for the image: with clamped times (SOURCE_DATE_EPOCH, `--reproducible`), or
//! several as one (`--squash`).

use super::ExportError;
use super::merge::{self, Below};
use crate::base::{Cancel, Digest, Hasher, clock};
use crate::layer::{Index, Kind, tar_out};
use crate::store::layers::{LayerInfo, NewLayer};
use crate::store::steps::StepRecord;
use crate::store::{Store, StoreError};
use crate::tree::{Rootfs, Trees, View};

/// Gives for each layer one dated `epoch` (seconds since the epoch; see [`Index::dated`]), the layer itself where it is
/// so already. What was derived once is remembered: a warm build looks it up.
///
/// # Errors
/// A layer is not stored or damaged, or the work was called off.
pub fn clamp_layers(store: &Store, layers: &[Digest], epoch: i64, cancel: &Cancel) -> Result<Vec<Digest>, ExportError> {
    layers.iter().map(|layer| clamp(store, layer, epoch, cancel)).collect()
}

fn clamp(store: &Store, layer: &Digest, epoch: i64, cancel: &Cancel) -> Result<Digest, ExportError> {
    let preimage = vec![("layer".to_owned(), layer.to_string()), ("epoch".to_owned(), epoch.to_string())];
    remembered(store, "clamp times", preimage, || {
        let info = needed(store, layer)?;
        let index = merge::indexes(store, &[*layer])?.swap_remove(0);
        let clamped = index.dated(epoch, info.fresh_from);
        if clamped == index {
            return Ok(*layer);
        }
        let (diff_id, tar_size) = tar_out::diff_id(&clamped, &store.layer_fs(layer)?, cancel)?;
        let encoded = clamped.encode();
        let info = LayerInfo { diff_id, tar_size, ..info };
        Ok(store.publish_derived(layer, encoded, info)?.diff_id)
    })
}

/// Merges the layers `own`, which lie on `base`, into one with the same effect.
///
/// # Errors
/// A layer is not stored or damaged, or the work was called off.
pub fn squash(
    store: &Store,
    trees: &Trees<'_>,
    base: &[Digest],
    own: &[Digest],
    cancel: &Cancel,
) -> Result<Digest, ExportError> {
    if let [only] = own {
        return Ok(*only);
    }
    let below = trees.of_layers(base)?;
    let layers = own.iter().map(Digest::to_string).collect::<Vec<_>>().join(" ");
    let preimage = vec![("base".to_owned(), below.tree.to_string()), ("layers".to_owned(), layers)];
    remembered(store, "squash", preimage, || {
        let stack = merge::indexes(store, own)?;
        let merged = merge::merge(&stack, |path| look_below(trees, &below, path))?;
        let dir = store.temp_dir()?;
        let fs = dir.path().join("fs");
        crate::base::fs::create_dir_all(&fs)?;
        merge::materialise(store, own, &merged, &fs, cancel)?;
        let index = Index { entries: merged.into_iter().map(|m| m.entry).collect() };
        let (diff_id, tar_size) = tar_out::diff_id(&index, &fs, cancel)?;
        let info = LayerInfo {
            diff_id,
            content: index.content_digest(),
            tar_size,
            size: index.size(),
            created: newest(store, own)?,
            fresh_from: None,
            fs_of: None,
        };
        let layer = NewLayer { fs, index: index.encode(), recipe: None, info };
        Ok(store.publish_layer(layer)?.diff_id)
    })
}

/// When the last of these layers was made.
fn newest(store: &Store, layers: &[Digest]) -> Result<i64, ExportError> {
    let mut newest = 0;
    for layer in layers {
        newest = newest.max(needed(store, layer)?.created);
    }
    Ok(newest)
}

fn needed(store: &Store, layer: &Digest) -> Result<LayerInfo, ExportError> {
    let missing = || StoreError::Missing { what: "layer", name: layer.to_string() };
    Ok(store.layer(layer)?.ok_or_else(missing)?)
}

/// What a root filesystem has at exactly `path`, symbolic links not followed.
fn look_below(trees: &Trees<'_>, rootfs: &Rootfs, path: &[u8]) -> Result<Below, ExportError> {
    let view = View::new(trees, rootfs);
    // From the root down: a parent that is a link would lead elsewhere.
    let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i).chain([path.len()]);
    let mut found = Below::Dir;
    for end in ends {
        found = match view.find(&path[..end], false)? {
            None => Below::Nothing,
            Some(there) if matches!(there.entry.entry.kind, Kind::Dir { .. }) => Below::Dir,
            Some(_) => Below::Other,
        };
        if found != Below::Dir && end != path.len() {
            return Ok(Below::Nothing);
        }
    }
    Ok(found)
}

/// Runs `make` unless a step record of what it is made from names a layer that is still there.
fn remembered(
    store: &Store,
    label: &str,
    preimage: Vec<(String, String)>,
    make: impl FnOnce() -> Result<Digest, ExportError>,
) -> Result<Digest, ExportError> {
    let mut hasher = Hasher::new();
    hasher.field(b"rbuild rewrite 1").field(label.as_bytes());
    for (what, value) in &preimage {
        hasher.field(what.as_bytes()).field(value.as_bytes());
    }
    let key = hasher.finish();
    if let Some(layer) = store.step(&key)?.and_then(|record| record.layer)
        && store.layer(&layer)?.is_some()
    {
        return Ok(layer);
    }
    let layer = make()?;
    store.put_step(&StepRecord {
        key,
        layer: Some(layer),
        tree: Trees::empty(),
        created: clock::now(),
        millis: 0,
        label: label.to_owned(),
        place: format!("{label} {}", key.short()),
        preimage,
    })?;
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{layer, store};
    use super::*;

    #[test]
    fn no_time_is_later_than_the_epoch_and_the_second_time_is_a_look_up() {
        let test = store();
        let own = layer(&test.store, &["d", "d/f=1"]);
        let cancel = Cancel::new();
        let clamped = clamp_layers(&test.store, &[own], 1_000, &cancel).unwrap();
        assert_ne!(clamped, [own]);
        let index = merge::indexes(&test.store, &clamped).unwrap().swap_remove(0);
        assert!(index.entries.iter().all(|e| e.mtime == 1_000));
        let again = Cancel::new();
        again.cancel();
        // Called off or not: nothing is left to do.
        assert_eq!(clamp_layers(&test.store, &[own], 1_000, &again).unwrap(), clamped);
        assert_eq!(clamp_layers(&test.store, &[own], i64::MAX, &cancel).unwrap(), [own]);
    }

    #[test]
    fn a_squashed_layer_makes_the_same_tree() {
        let test = store();
        let trees = Trees::new(&test.store);
        let base = layer(&test.store, &["etc", "etc/a=1", "etc/b=2", "usr", "usr/x=3"]);
        let own = [
            layer(
                &test.store,
                &["etc", "-etc/a", "new", "new/f=4", "new/g<-new/f", "new/h<-new/f", "new/i<-new/f", "-usr"],
            ),
            layer(&test.store, &["etc", "etc/c->b", "usr", "usr/y=5", "new", "-new/f", "-new/g"]),
        ];
        let merged = squash(&test.store, &trees, &[base], &own, &Cancel::new()).unwrap();
        let expected = trees.of_layers(&[base, own[0], own[1]]).unwrap();
        let found = trees.of_layers(&[base, merged]).unwrap();
        assert_eq!(found.tree, expected.tree, "{:?}", crate::tree::diff::diff(&trees, &expected, &found));
        // The files that were linked into it are those the index describes.
        let fs = test.store.layer_fs(&merged).unwrap();
        let scanned = crate::layer::scan::scan(&fs, &crate::layer::scan::Known::new(), &Cancel::new()).unwrap();
        assert_eq!(scanned.diff_id, merged);
    }
}
