//! Whether a stored layer is still what its diffID says: the layer's part of `fsck`.

use super::Damaged;
use super::scan::{self, Known};
use super::{Entry, Index, recipe, tar_out};
use crate::base::{Cancel, Digest, Hasher, IoError};
use crate::store::{Store, StoreError};

/// What is wrong with a layer.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It could not be looked at.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The store does not have it whole.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its index can't be read.
    #[error(transparent)]
    Index(#[from] Damaged),
    /// Its files are not those of its index.
    #[error("'{path}' {reason}")]
    Differs {
        /// The first path that differs, relative to the layer's root.
        path: String,
        /// How.
        reason: &'static str,
    },
    /// Files and index agree, but they are another layer.
    #[error("its tar has digest {found}")]
    Digest {
        /// What the tar hashes to.
        found: Digest,
    },
}

/// Reads a stored layer whole: its files must be those of its index, and its tar (the canonical one, or the one its
/// recipe gives) must have the digest it is named by.
pub fn verify(store: &Store, diff_id: &Digest, cancel: &Cancel) -> Result<(), Damage> {
    let index = Index::decode(&store.layer_index(diff_id)?)?;
    let fs = store.layer_fs(diff_id)?;
    let recipe = store.layer_recipe(diff_id)?;
    let derived = store.layer(diff_id)?.is_some_and(|info| info.fs_of.is_some());
    let (found, canonical) = if recipe.is_some() || derived {
        (scan::index(&fs, &Known::new(), cancel)?, None)
    } else {
        let scanned = scan::scan(&fs, &Known::new(), cancel)?;
        (scanned.index, Some(scanned.diff_id))
    };
    compare(&index, &found, derived)?;
    let found = match (recipe, canonical) {
        (Some(recipe), _) => {
            let mut hasher = Hasher::new();
            recipe::replay(&recipe, &fs, &mut hasher, cancel)?;
            hasher.finish()
        }
        (None, Some(canonical)) => canonical,
        (None, None) => tar_out::diff_id(&index, &fs, cancel)?.0,
    };
    if found == *diff_id { Ok(()) } else { Err(Damage::Digest { found }) }
}

/// Compares what should be there with what is. The files of a derived layer are as old as those of the layer it was
/// derived from, or older in its index.
fn compare(expected: &Index, found: &Index, derived: bool) -> Result<(), Damage> {
    let differs = |entry: &Entry, reason| {
        Err(Damage::Differs { path: String::from_utf8_lossy(&entry.path).into_owned(), reason })
    };
    let mut there = found.entries.iter();
    for entry in &expected.entries {
        match there.next() {
            Some(found) if found.path == entry.path => {
                let older = derived && entry.mtime <= found.mtime;
                let same = if older { Entry { mtime: entry.mtime, ..found.clone() } == *entry } else { found == entry };
                if !same {
                    return differs(entry, "has changed");
                }
            }
            Some(found) if found.path < entry.path => return differs(found, "does not belong to the layer"),
            _ => return differs(entry, "is gone"),
        }
    }
    match there.next() {
        Some(surplus) => differs(surplus, "does not belong to the layer"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tar_in::{self, Options};
    use super::*;
    use crate::store::Access;
    use crate::store::layers::{LayerInfo, NewLayer};
    use std::path::Path;

    fn info(diff_id: Digest, index: &Index, tar_size: u64) -> LayerInfo {
        LayerInfo {
            diff_id,
            content: index.content_digest(),
            tar_size,
            size: index.size(),
            created: 0,
            fresh_from: None,
            fs_of: None,
        }
    }

    /// One layer of rbuild's own, one derived from it, one foreign.
    fn layers(store: &Store) -> [Digest; 3] {
        let cancel = Cancel::new();
        let temp = store.temp_dir().unwrap();
        let fs = temp.path().join("fs");
        std::fs::create_dir_all(fs.join("d")).unwrap();
        std::fs::write(fs.join("d/file"), "contents").unwrap();
        std::fs::write(fs.join("other"), "more").unwrap();
        let own = scan::scan(&fs, &Known::new(), &cancel).unwrap();
        let clamped = own.index.dated(1000, None);
        let (derived, size) = tar_out::diff_id(&clamped, &fs, &cancel).unwrap();
        let new = NewLayer {
            fs: fs.clone(),
            index: own.index.encode(),
            recipe: None,
            info: info(own.diff_id, &own.index, own.tar_size),
        };
        store.publish_layer(new).unwrap();
        store.publish_derived(&own.diff_id, clamped.encode(), info(derived, &clamped, size)).unwrap();

        let mut archive = Vec::new();
        tar_out::write(&own.index, &store.layer_fs(&own.diff_id).unwrap(), &mut archive, &cancel).unwrap();
        archive.extend_from_slice(&[0; 512]);
        let (fs, recipe) = (temp.path().join("foreign"), temp.path().join("recipe"));
        std::fs::create_dir(&fs).unwrap();
        let options = Options::layer(Some(&recipe), &cancel);
        let applied = tar_in::apply(&mut archive.as_slice(), &fs, &options).unwrap();
        let index = scan::index(&fs, &applied.contents, &cancel).unwrap();
        assert!(!recipe::is_canonical(&recipe, &index).unwrap());
        let info = info(applied.diff_id, &index, applied.tar_size);
        store.publish_layer(NewLayer { fs, index: index.encode(), recipe: Some(recipe), info }).unwrap();
        [own.diff_id, derived, applied.diff_id]
    }

    #[test]
    fn sound_layers_pass_and_every_change_of_a_file_is_found() {
        type Harm = fn(&Path);
        let harms: [(Harm, &str); 5] = [
            (|fs| std::fs::write(fs.join("d/file"), "CONTENTS").unwrap(), "'d/file' has changed"),
            (|fs| std::fs::remove_file(fs.join("d/file")).unwrap(), "'d/file' is gone"),
            (|fs| std::fs::remove_file(fs.join("other")).unwrap(), "'other' is gone"),
            (|fs| std::fs::write(fs.join("a"), "").unwrap(), "'a' does not belong to the layer"),
            (|fs| std::fs::write(fs.join("z"), "").unwrap(), "'z' does not belong to the layer"),
        ];
        for number in 0..3 {
            for (harm, complaint) in harms {
                let dir = tempfile::tempdir().unwrap();
                let store = Store::open(&dir.path().join("store"), Access::Shared).unwrap();
                let layer = layers(&store)[number];
                verify(&store, &layer, &Cancel::new()).unwrap();
                harm(&store.layer_fs(&layer).unwrap());
                let damage = verify(&store, &layer, &Cancel::new()).unwrap_err();
                assert_eq!(damage.to_string(), complaint, "layer {number}");
            }
        }
    }
}
