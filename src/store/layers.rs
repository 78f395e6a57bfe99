//! `layers/HEX/`: `fs/` (unpacked, in overlay form), `index` (entries with hashes, opaque bytes here), `info`, and for a
//! foreign layer `recipe` (how to reproduce its tar byte by byte). Also `contents/HEX` → diffID, by content digest, and
//! `trees/`, whose files belong to `tree`.

use super::{Store, StoreError, layout};
use crate::base::fs::Context;
use crate::base::{Digest, fs};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// `info` of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// sha256 of the uncompressed tar.
    pub diff_id: Digest,
    /// Same for layers that differ in mtimes only.
    pub content: Digest,
    /// Length of the uncompressed tar in bytes.
    pub tar_size: u64,
    /// Sum of the sizes of its regular files in bytes, each hard-linked file once.
    pub size: u64,
    /// When it was first made here, seconds since the epoch; the `created` of its history line.
    pub created: i64,
    /// Modification times of its files from this moment on (seconds since the epoch) tell when the layer was made or its
    /// context checked out, not what is in it: an image of a fixed date has that date in their place. `None`: no time
    /// does (a layer from elsewhere).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_from: Option<i64>,
    /// Set for a layer with other times: `fs/` is that of this layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_of: Option<Digest>,
}

/// A layer about to be published.
#[derive(Debug)]
pub struct NewLayer {
    /// A directory under `tmp/` that becomes `fs/` by rename.
    pub fs: PathBuf,
    /// The encoded index.
    pub index: Vec<u8>,
    /// Recipe file under `tmp/`, for a foreign layer.
    pub recipe: Option<PathBuf>,
    /// The rest.
    pub info: LayerInfo,
}

/// The file `info`.
#[derive(Debug, Serialize, Deserialize)]
struct InfoFile {
    layer: LayerInfo,
    /// The boot in which it was published.
    boot: String,
}

/// What a look at `info` shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LayerState {
    Trusted(LayerInfo),
    /// There is no whole `info`.
    Damaged,
    /// Published before the machine went down, and no sync covered it.
    Unsynced,
}

/// Names in a layer's directory.
pub(super) const FS: &str = "fs";
pub(super) const INDEX: &str = "index";
const INFO: &str = "info";
const RECIPE: &str = "recipe";
/// Empty; there since the file system was synced after the layer was published.
const SYNCED: &str = "synced";

impl Store {
    /// `info` of a layer that is here or promised ([`super::promise`]), `None` if it is neither (or damaged, or perhaps
    /// lost in a power cut, which count as absent).
    pub fn layer(&self, diff_id: &Digest) -> Result<Option<LayerInfo>, StoreError> {
        Ok(self.held_layer(diff_id)?.or_else(|| self.promised_info(diff_id)))
    }

    /// [`Store::layer`] of a layer whose files are here.
    pub fn held_layer(&self, diff_id: &Digest) -> Result<Option<LayerInfo>, StoreError> {
        match self.layer_state(diff_id)? {
            LayerState::Trusted(info) => Ok(Some(info)),
            LayerState::Damaged | LayerState::Unsynced => Ok(None),
        }
    }

    /// [`Store::held_layer`], with the reason for an absence.
    pub(super) fn layer_state(&self, diff_id: &Digest) -> Result<LayerState, StoreError> {
        let directory = self.layer_dir(diff_id);
        let file: Option<InfoFile> = layout::read_sealed(&directory.join(INFO))?;
        let Some(file) = file.filter(|f| f.layer.diff_id == *diff_id) else { return Ok(LayerState::Damaged) };
        if !directory.join(SYNCED).exists() {
            if file.boot != self.boot() {
                return Ok(LayerState::Unsynced);
            }
            self.note_unsynced(diff_id);
        }
        Ok(LayerState::Trusted(file.layer))
    }

    /// The unpacked files of a layer (those of `fs_of` where it is set). Those of a promised layer are fetched.
    pub fn layer_fs(&self, diff_id: &Digest) -> Result<PathBuf, StoreError> {
        self.materialise(diff_id)?;
        let info = self.need_layer(diff_id)?;
        let owner = match info.fs_of {
            Some(of) => self.need_layer(&of)?.diff_id,
            None => *diff_id,
        };
        Ok(self.layer_dir(&owner).join(FS))
    }

    /// The encoded index of a layer.
    pub fn layer_index(&self, diff_id: &Digest) -> Result<Vec<u8>, StoreError> {
        if self.held_layer(diff_id)?.is_none() {
            let missing = || StoreError::Missing { what: "layer", name: diff_id.to_string() };
            return self.promised_index(diff_id).ok_or_else(missing);
        }
        let path = self.layer_dir(diff_id).join(INDEX);
        fs::read_if_exists(&path)?
            .ok_or_else(|| StoreError::Damaged { path: self.layer_dir(diff_id), reason: "it has no index".into() })
    }

    /// The recipe of a foreign layer, `None` if its tar is the canonical one.
    pub fn layer_recipe(&self, diff_id: &Digest) -> Result<Option<PathBuf>, StoreError> {
        let path = self.layer_dir(diff_id).join(RECIPE);
        Ok(path.try_exists().at("look up", &path)?.then_some(path))
    }

    /// The layer that was first published with this content digest, if it is still there. Clamped and foreign layers
    /// are not offered.
    pub fn layer_by_content(&self, content: &Digest) -> Result<Option<LayerInfo>, StoreError> {
        let Some(diff_id) = layout::read_sealed::<Digest>(&self.content_path(content))? else { return Ok(None) };
        Ok(self.held_layer(&diff_id)?.filter(|info| info.content == *content))
    }

    /// Publishes a layer by rename. If the diffID is there already, the old one is kept (and its info given) and the new
    /// directory stays where it is, to be removed with the temporary directory it lies in.
    pub fn publish_layer(&self, layer: NewLayer) -> Result<LayerInfo, StoreError> {
        if let Some(info) = self.held_layer(&layer.info.diff_id)? {
            return Ok(info);
        }
        let directory = self.layer_parts(&layer.index, &layer.info)?;
        let foreign = layer.recipe.is_some();
        if let Some(recipe) = &layer.recipe {
            fs::rename(recipe, directory.path().join(RECIPE))?;
        }
        fs::rename(&layer.fs, directory.path().join(FS))?;
        let info = self.place_layer(directory, layer.info)?;
        if !foreign && self.layer_by_content(&info.content)?.is_none() {
            let body = serde_json::to_vec(&info.diff_id).unwrap_or_default();
            self.write_file(&self.content_path(&info.content), &layout::seal(&body))?;
        }
        Ok(info)
    }

    /// Publishes a layer that shares `fs/` with `of` and differs in its index (clamped times) alone.
    pub fn publish_derived(&self, of: &Digest, index: Vec<u8>, info: LayerInfo) -> Result<LayerInfo, StoreError> {
        // Never a chain: the files of a derived layer are those of its own base.
        let base = self.need_layer(of)?;
        if let Some(info) = self.held_layer(&info.diff_id)? {
            return Ok(info);
        }
        let info = LayerInfo { fs_of: Some(base.fs_of.unwrap_or(*of)), ..info };
        let directory = self.layer_parts(&index, &info)?;
        self.place_layer(directory, info)
    }

    /// Every layer, in no order.
    pub fn all_layers(&self) -> Result<Vec<Digest>, StoreError> {
        let names = layout::list(&self.root.join(layout::LAYERS))?;
        Ok(names.iter().filter_map(|name| layout::digest_of_name(name)).collect())
    }

    /// `trees/`: its files are `tree`'s business.
    pub fn trees_dir(&self) -> PathBuf {
        self.root().join(layout::TREES)
    }

    pub(super) fn layer_dir(&self, diff_id: &Digest) -> PathBuf {
        self.root.join(layout::LAYERS).join(diff_id.hex())
    }

    pub(super) fn content_path(&self, content: &Digest) -> PathBuf {
        self.root.join(layout::CONTENTS).join(content.hex())
    }

    /// Marks a layer whose files are known to be on disk. A mark that can't be set costs a later sync.
    pub(super) fn mark_synced(&self, diff_id: &Digest) {
        let _ = File::create(self.layer_dir(diff_id).join(SYNCED));
    }

    /// Takes a layer out of its place in one rename, then removes it.
    pub(super) fn discard_layer(&self, directory: &Path) -> Result<(), StoreError> {
        let grave = self.temp_dir()?;
        let inside = grave.path().join("layer");
        match std::fs::rename(directory, &inside) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            result => result.at("remove", directory)?,
        }
        Ok(fs::remove_tree(&inside)?)
    }

    fn need_layer(&self, diff_id: &Digest) -> Result<LayerInfo, StoreError> {
        self.layer(diff_id)?.ok_or_else(|| StoreError::Missing { what: "layer", name: diff_id.to_string() })
    }

    /// A temporary directory with the files that every layer has.
    fn layer_parts(&self, index: &[u8], info: &LayerInfo) -> Result<tempfile::TempDir, StoreError> {
        let directory = self.temp_dir()?;
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).at("write", path)
        };
        write(INDEX, index)?;
        let file = InfoFile { layer: info.clone(), boot: self.boot().to_owned() };
        write(INFO, &layout::seal(&serde_json::to_vec(&file).unwrap_or_default()))?;
        Ok(directory)
    }

    /// Renames a finished directory to its place, or gives the layer that somebody else put there meanwhile.
    fn place_layer(&self, directory: tempfile::TempDir, info: LayerInfo) -> Result<LayerInfo, StoreError> {
        let place = self.layer_dir(&info.diff_id);
        loop {
            match std::fs::rename(directory.path(), &place) {
                Ok(()) => break,
                Err(e) if matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => {
                    if let Some(info) = self.held_layer(&info.diff_id)? {
                        return Ok(info);
                    }
                    // What lies there is damaged or not to be trusted.
                    self.discard_layer(&place)?;
                }
                Err(e) if e.kind() == ErrorKind::NotFound && !self.root.join(layout::LAYERS).exists() => {
                    fs::create_dir_all(self.root.join(layout::LAYERS))?;
                }
                Err(e) => return Err(e).at("rename into place", place)?,
            }
        }
        // It has moved; there is nothing left to remove.
        let _ = directory.keep();
        self.note_unsynced(&info.diff_id);
        Ok(info)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::store;
    use super::*;

    pub(in super::super) fn info(name: &str) -> LayerInfo {
        LayerInfo {
            diff_id: Digest::of(name.as_bytes()),
            content: Digest::of(format!("content of {name}").as_bytes()),
            tar_size: 1024,
            size: 3,
            created: 7,
            fresh_from: None,
            fs_of: None,
        }
    }

    /// Publishes a layer with one file `file`.
    pub(in super::super) fn publish(store: &Store, name: &str) -> LayerInfo {
        let temp = store.temp_dir().unwrap();
        let fs = temp.path().join("upper");
        std::fs::create_dir(&fs).unwrap();
        std::fs::write(fs.join("file"), name).unwrap();
        store.publish_layer(NewLayer { fs, index: name.into(), recipe: None, info: info(name) }).unwrap()
    }

    #[test]
    fn a_published_layer_is_found_by_diff_id_and_by_content() {
        let (_dir, store) = store();
        let made = publish(&store, "a");
        assert_eq!(store.layer(&made.diff_id).unwrap(), Some(made.clone()));
        assert_eq!(store.layer_by_content(&made.content).unwrap(), Some(made.clone()));
        assert_eq!(std::fs::read(store.layer_fs(&made.diff_id).unwrap().join("file")).unwrap(), b"a");
        assert_eq!(store.layer_index(&made.diff_id).unwrap(), b"a");
        assert_eq!(store.layer_recipe(&made.diff_id).unwrap(), None);
        assert_eq!(store.all_layers().unwrap(), [made.diff_id]);
        assert_eq!(store.layer(&Digest::of(b"no")).unwrap(), None);
        assert!(matches!(store.layer_fs(&Digest::of(b"no")), Err(StoreError::Missing { .. })));
    }

    #[test]
    fn the_first_layer_of_a_content_is_the_one_offered_and_foreign_ones_never_are() {
        let (_dir, store) = store();
        let first = publish(&store, "a");
        let publish_as = |name: &str, content: Digest, foreign: bool| {
            let temp = store.temp_dir().unwrap();
            let (fs, recipe) = (temp.path().join("fs"), temp.path().join("recipe"));
            std::fs::create_dir(&fs).unwrap();
            std::fs::write(&recipe, "r").unwrap();
            let info = LayerInfo { content, ..info(name) };
            store.publish_layer(NewLayer { fs, index: vec![], recipe: foreign.then_some(recipe), info }).unwrap()
        };
        publish_as("b", first.content, false);
        assert_eq!(store.layer_by_content(&first.content).unwrap(), Some(first));
        let foreign = publish_as("c", Digest::of(b"other"), true);
        assert!(store.layer_recipe(&foreign.diff_id).unwrap().is_some());
        assert_eq!(store.layer_by_content(&foreign.content).unwrap(), None);
    }

    #[test]
    fn a_derived_layer_has_its_own_index_and_the_files_of_its_base() {
        let (_dir, store) = store();
        let base = publish(&store, "a");
        let derived = store.publish_derived(&base.diff_id, b"clamped".to_vec(), info("d")).unwrap();
        assert_eq!(derived.fs_of, Some(base.diff_id));
        let again = store.publish_derived(&derived.diff_id, b"twice".to_vec(), info("e")).unwrap();
        assert_eq!(again.fs_of, Some(base.diff_id), "chains are cut short");
        assert_eq!(store.layer_fs(&again.diff_id).unwrap(), store.layer_fs(&base.diff_id).unwrap());
        assert_eq!(store.layer_index(&derived.diff_id).unwrap(), b"clamped");
        assert!(store.publish_derived(&Digest::of(b"no"), vec![], info("f")).is_err());
    }

    #[test]
    fn many_threads_may_publish_the_same_layer() {
        let (_dir, store) = store();
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    assert_eq!(publish(&store, "same"), info("same"));
                });
            }
        });
        assert_eq!(std::fs::read(store.layer_fs(&info("same").diff_id).unwrap().join("file")).unwrap(), b"same");
        let session = store.session_dir().unwrap();
        assert_eq!(layout::list(&session).unwrap().len(), 0, "losers leave nothing in tmp/");
    }

    #[test]
    fn a_damaged_layer_counts_as_absent_and_is_replaced() {
        let (_dir, store) = store();
        let made = publish(&store, "a");
        let path = store.layer_dir(&made.diff_id).join(INFO);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(store.layer(&made.diff_id).unwrap(), None);
        assert_eq!(store.layer_by_content(&made.content).unwrap(), None);
        publish(&store, "a");
        assert_eq!(store.layer(&made.diff_id).unwrap(), Some(made));
    }

    #[test]
    fn a_layer_of_an_earlier_boot_is_trusted_only_if_it_was_synced() {
        let (_dir, store) = store();
        let rewrite = |made: &LayerInfo| {
            let file = InfoFile { layer: made.clone(), boot: "an earlier boot".into() };
            let sealed = layout::seal(&serde_json::to_vec(&file).unwrap());
            std::fs::write(store.layer_dir(&made.diff_id).join(INFO), sealed).unwrap();
        };
        let synced = publish(&store, "synced");
        store.set_ref("tag", &Digest::of(b"manifest")).unwrap();
        let lost = publish(&store, "lost");
        rewrite(&synced);
        rewrite(&lost);
        assert_eq!(store.layer(&synced.diff_id).unwrap(), Some(synced));
        assert_eq!(store.layer(&lost.diff_id).unwrap(), None);
    }

    #[test]
    fn a_name_syncs_what_an_earlier_build_left_unsynced_and_nothing_twice() {
        let (dir, store) = store();
        let made = publish(&store, "a");
        drop(store);
        let store = Store::open(&dir.path().join("store"), super::super::Access::Shared).unwrap();
        assert!(!store.sync().unwrap(), "nothing was used yet");
        store.layer(&made.diff_id).unwrap();
        assert!(store.sync().unwrap());
        store.layer(&made.diff_id).unwrap();
        assert!(!store.sync().unwrap());
    }
}
