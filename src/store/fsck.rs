//! Verifying everything that the store can verify without knowing OCI: blobs, layers' parts, records, refs, maps,
//! leftovers. What is inside layers and trees is verified by the caller's checks.
//!
//! Repair removes what is damaged, so that it counts as absent and is built or fetched again. Things are checked in
//! the order of publication: what names something removed by a repair is found in the same run.

use super::layers::{FS, INDEX, LayerInfo, LayerState};
use super::refs::RefFile;
use super::{Store, StoreError, gc, layout, referrers, steps};
use crate::base::fs::Context;
use crate::base::{Digest, Hasher, fs};
use rayon::prelude::*;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// What a killed build or a power cut leaves: nothing leads to it, `gc` removes it.
    Leftover,
    /// Something is not what its name says, or names something that is not there.
    Damage,
}

/// What was done about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: no repair was asked for.
    None,
    /// It was removed (or set right, for permissions).
    Repaired,
    /// Repair failed, for this reason.
    Failed(String),
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
    /// What was done.
    pub action: Action,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)?;
        match &self.action {
            Action::None => Ok(()),
            Action::Repaired => f.write_str(" (repaired)"),
            Action::Failed(reason) => write!(f, " (not repaired: {reason})"),
        }
    }
}

/// How many things were looked at and what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Blobs, layers, trees, records, refs and map entries.
    pub things: u64,
    /// Findings of [`Severity::Leftover`].
    pub leftovers: u64,
    /// Findings of [`Severity::Damage`].
    pub damaged: u64,
    /// Findings that repair could not put right.
    pub failed: u64,
}

/// Checks of what the store itself can't read. Each gives what is wrong in a sentence, nothing if all is well.
pub struct Checks<'a> {
    /// The files of a layer against its index, and its index against its diffID.
    pub layer: &'a mut dyn FnMut(&LayerInfo) -> Result<Option<String>, StoreError>,
    /// A file of `trees/`.
    pub tree: &'a mut dyn FnMut(&Path) -> Result<Option<String>, StoreError>,
}

impl fmt::Debug for Checks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checks")
    }
}

impl Store {
    /// Checks the whole store and tells `report` of each finding; with `repair` (for which the store must be open for
    /// exclusive use) damaged things and leftovers are removed. Fails only where it can't go on.
    pub fn fsck(
        &self,
        checks: &mut Checks<'_>,
        report: &mut dyn FnMut(Finding),
        repair: bool,
    ) -> Result<Checked, StoreError> {
        if repair {
            self.exclusive()?;
        }
        let mut run = Run { store: self, report, repair, checked: Checked::default() };
        run.permissions()?;
        run.blobs()?;
        run.layers(checks)?;
        run.contents()?;
        run.trees(checks)?;
        run.steps()?;
        run.builds()?;
        run.refs()?;
        run.referrers()?;
        run.leftovers()?;
        Ok(run.checked)
    }
}

struct Run<'a> {
    store: &'a Store,
    report: &'a mut dyn FnMut(Finding),
    repair: bool,
    checked: Checked,
}

impl Run<'_> {
    /// Reports a finding after `mend` has had its try.
    fn found(
        &mut self,
        severity: Severity,
        path: &Path,
        what: impl Into<String>,
        mend: impl FnOnce(&Store) -> Result<(), StoreError>,
    ) {
        let action = match self.repair.then(|| mend(self.store)) {
            None => Action::None,
            Some(Ok(())) => Action::Repaired,
            Some(Err(e)) => {
                self.checked.failed += 1;
                Action::Failed(e.to_string())
            }
        };
        match severity {
            Severity::Leftover => self.checked.leftovers += 1,
            Severity::Damage => self.checked.damaged += 1,
        }
        (self.report)(Finding { severity, path: path.to_owned(), what: what.into(), action });
    }

    fn damaged(&mut self, path: &Path, what: impl Into<String>) {
        self.found(Severity::Damage, path, what, |_| gc::remove(path));
    }

    fn entries(&self, directory: &str) -> Result<Vec<PathBuf>, StoreError> {
        let directory = self.store.root().join(directory);
        let mut paths: Vec<PathBuf> = layout::list(&directory)?.into_iter().map(|n| directory.join(n)).collect();
        paths.sort();
        Ok(paths)
    }

    fn permissions(&mut self) -> Result<(), StoreError> {
        let root = self.store.root();
        let mode = std::fs::metadata(root).at("look at", root)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let what = format!("its mode {mode:03o} lets other users in");
            self.found(Severity::Damage, root, what, |store| {
                let private = std::fs::Permissions::from_mode(0o700);
                Ok(std::fs::set_permissions(store.root(), private).at("set permissions of", store.root())?)
            });
        }
        Ok(())
    }

    fn blobs(&mut self) -> Result<(), StoreError> {
        let paths = self.entries(layout::BLOBS)?;
        self.checked.things += paths.len() as u64;
        let wrong: Vec<(&PathBuf, String)> =
            paths.par_iter().filter_map(|path| check_blob(path).map(|what| (path, what))).collect();
        for (path, what) in wrong {
            self.damaged(path, what);
        }
        Ok(())
    }

    fn layers(&mut self, checks: &mut Checks<'_>) -> Result<(), StoreError> {
        for path in self.entries(layout::LAYERS)? {
            self.checked.things += 1;
            let (severity, what) = match self.check_layer(&path, checks)? {
                None => continue,
                Some(wrong) => wrong,
            };
            self.found(severity, &path, what, |store| store.discard_layer(&path));
        }
        Ok(())
    }

    fn check_layer(&self, path: &Path, checks: &mut Checks<'_>) -> Result<Option<(Severity, String)>, StoreError> {
        let damage = |what: &str| Ok(Some((Severity::Damage, what.to_owned())));
        let Some(diff_id) = digest_of(path) else { return damage("its name is no digest") };
        let info = match self.store.layer_state(&diff_id)? {
            LayerState::Trusted(info) => info,
            LayerState::Damaged => return damage("its info is missing or damaged"),
            LayerState::Unsynced => {
                let what = "it was not yet synced to disk when the machine last went down, and counts as absent";
                return Ok(Some((Severity::Leftover, what.into())));
            }
        };
        if !path.join(INDEX).is_file() {
            return damage("it has no index");
        }
        match info.fs_of {
            None if !path.join(FS).is_dir() => return damage("it has no files"),
            Some(base) if self.store.layer(&base)?.is_none() => {
                return damage(&format!("it shares the files of layer {base}, which is not in the store"));
            }
            _ => {}
        }
        Ok(verdict((checks.layer)(&info)).map(|what| (Severity::Damage, what)))
    }

    fn contents(&mut self) -> Result<(), StoreError> {
        for path in self.entries(layout::CONTENTS)? {
            self.checked.things += 1;
            let target: Option<Digest> = layout::read_sealed(&path)?;
            match (digest_of(&path), target) {
                (Some(content), Some(diff_id)) => {
                    if self.store.layer(&diff_id)?.is_none_or(|info| info.content != content) {
                        let what = format!("it maps to layer {diff_id}, which is not in the store");
                        self.found(Severity::Leftover, &path, what, |_| gc::remove(&path));
                    }
                }
                _ => self.damaged(&path, "it does not match its checksum, or its name is no digest"),
            }
        }
        Ok(())
    }

    fn builds(&mut self) -> Result<(), StoreError> {
        for path in self.entries(layout::BUILDS)? {
            self.checked.things += 1;
            if digest_of(&path).is_none() || layout::read_sealed::<serde::de::IgnoredAny>(&path)?.is_none() {
                self.damaged(&path, "it does not match its checksum, or its name is no digest");
            }
        }
        Ok(())
    }

    fn trees(&mut self, checks: &mut Checks<'_>) -> Result<(), StoreError> {
        for path in layout::files_below(&self.store.trees_dir()) {
            if layout::is_temporary(&path) {
                continue;
            }
            self.checked.things += 1;
            if let Some(what) = verdict((checks.tree)(&path)) {
                self.damaged(&path, what);
            }
        }
        Ok(())
    }

    fn steps(&mut self) -> Result<(), StoreError> {
        for path in self.store.step_files()? {
            self.checked.things += 1;
            let record = steps::decode(&fs::read_if_exists(&path)?.unwrap_or_default());
            let Some(record) = record.filter(|r| self.store.step_path(&r.key) == path) else {
                self.damaged(&path, "it does not match its checksum or its name");
                continue;
            };
            if let Some(layer) = record.layer
                && self.store.layer(&layer)?.is_none()
            {
                let what = format!("the record of '{}' names layer {layer}, which is not in the store", record.label);
                self.damaged(&path, what);
            }
        }
        Ok(())
    }

    fn refs(&mut self) -> Result<(), StoreError> {
        for path in self.entries(layout::REFS)? {
            self.checked.things += 1;
            let Some(file) = layout::read_sealed::<RefFile>(&path)?.filter(|f| self.store.ref_path(&f.name) == path)
            else {
                self.damaged(&path, "it does not match its checksum or its name");
                continue;
            };
            if !self.store.has_blob(&file.target) {
                let what = format!("'{}' stands for {}, which is not in the store", file.name, file.target);
                self.damaged(&path, what);
            }
        }
        Ok(())
    }

    fn referrers(&mut self) -> Result<(), StoreError> {
        for directory in self.entries(layout::REFERRERS)? {
            self.checked.things += 1;
            let Some(subject) = referrers::subject(&directory) else {
                self.damaged(&directory, "its name is no digest");
                continue;
            };
            if !self.store.has_blob(&subject) {
                let what = format!("it is about {subject}, which is not in the store");
                self.found(Severity::Leftover, &directory, what, |_| referrers::discard(&directory));
                continue;
            }
            for (path, what) in referrers::check(self.store, &directory)? {
                self.damaged(&path, what);
            }
        }
        Ok(())
    }

    fn leftovers(&mut self) -> Result<(), StoreError> {
        for path in self.store.leftover_paths()? {
            self.found(Severity::Leftover, &path, "left by a build that was killed", |store| {
                store.remove_leftover(&path)
            });
        }
        Ok(())
    }
}

fn digest_of(path: &Path) -> Option<Digest> {
    layout::digest_of_name(path.file_name()?)
}

fn check_blob(path: &Path) -> Option<String> {
    let Some(named) = digest_of(path) else { return Some("its name is no digest".into()) };
    match std::fs::File::open(path).and_then(Hasher::read) {
        Ok((found, _)) if found == named => None,
        Ok((found, bytes)) => Some(format!("its {bytes} bytes have digest {found}")),
        Err(e) => Some(format!("it can't be read: {e}")),
    }
}

/// What a check says; one that could not be made says that.
fn verdict(result: Result<Option<String>, StoreError>) -> Option<String> {
    result.unwrap_or_else(|e| Some(format!("it can't be checked: {e}")))
}

#[cfg(test)]
mod tests {
    use super::super::layers::tests::publish;
    use super::super::steps::tests::record;
    use super::super::tests::{exclusive, store};
    use super::*;

    /// Runs fsck with checks that find nothing; gives findings as (severity, path in the store, words).
    fn fsck(store: &Store, repair: bool) -> Vec<(Severity, String, String)> {
        let mut findings = vec![];
        let mut checks = Checks { layer: &mut |_| Ok(None), tree: &mut |_| Ok(None) };
        let mut report = |f: Finding| {
            assert_eq!(f.action, if repair { Action::Repaired } else { Action::None }, "{f}");
            let path = f.path.strip_prefix(store.root()).unwrap().to_string_lossy().into_owned();
            findings.push((f.severity, path, f.what));
        };
        let checked = store.fsck(&mut checks, &mut report, repair).unwrap();
        assert_eq!(checked.leftovers + checked.damaged, findings.len() as u64);
        findings
    }

    /// A store with one of everything.
    fn full() -> (tempfile::TempDir, Store, LayerInfo) {
        let (dir, store) = store();
        let layer = publish(&store, "a");
        let blob = store.put_blob(b"{}").unwrap();
        store.put_step(&record("make", Some(layer.diff_id))).unwrap();
        store.write_file(&store.trees_dir().join("ab/node"), b"node").unwrap();
        store.set_ref("x:latest", &blob).unwrap();
        (dir, exclusive(store), layer)
    }

    #[test]
    fn a_sound_store_has_no_findings() {
        let (_dir, store, _) = full();
        assert_eq!(fsck(&store, false), []);
        let mut checks = Checks { layer: &mut |_| Ok(None), tree: &mut |_| Ok(None) };
        let checked = store.fsck(&mut checks, &mut |_| {}, false).unwrap();
        assert_eq!(checked, Checked { things: 6, ..Checked::default() });
    }

    /// What is done to the store, and which findings (severity, start of the path, part of the words) that makes.
    type Damage = (&'static str, fn(&Store, &LayerInfo), &'static [(Severity, &'static str, &'static str)]);

    const DAMAGES: &[Damage] = &[
        (
            "truncated blob",
            |s, _| std::fs::write(s.blob_path(&Digest::of(b"{}")), b"{").unwrap(),
            &[(Severity::Damage, "blobs/", "have digest"), (Severity::Damage, "refs/", "'x:latest' stands for")],
        ),
        (
            "blob under no digest",
            |s, _| std::fs::write(s.root().join("blobs/sha256/note.txt"), b"").unwrap(),
            &[(Severity::Damage, "blobs/sha256/note.txt", "no digest")],
        ),
        (
            "half-written record",
            |s, _| {
                let path = s.step_path(&record("make", None).key);
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
            },
            &[(Severity::Damage, "steps/", "checksum")],
        ),
        (
            "layer without index",
            |s, l| std::fs::remove_file(s.layer_dir(&l.diff_id).join(INDEX)).unwrap(),
            &[
                (Severity::Damage, "layers/", "no index"),
                (Severity::Leftover, "contents/", "not in the store"),
                (Severity::Damage, "steps/", "not in the store"),
            ],
        ),
        (
            "layer without files",
            |s, l| std::fs::remove_dir_all(s.layer_dir(&l.diff_id).join(FS)).unwrap(),
            &[
                (Severity::Damage, "layers/", "no files"),
                (Severity::Leftover, "contents/", "not in the store"),
                (Severity::Damage, "steps/", "not in the store"),
            ],
        ),
        (
            "flipped bit in a layer's info",
            |s, l| {
                let path = s.layer_dir(&l.diff_id).join("info");
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[100] ^= 1;
                std::fs::write(&path, bytes).unwrap();
            },
            &[
                (Severity::Damage, "layers/", "info is missing or damaged"),
                (Severity::Leftover, "contents/", "not in the store"),
                (Severity::Damage, "steps/", "not in the store"),
            ],
        ),
        (
            "half-written ref",
            |s, _| std::fs::write(s.ref_path("x:latest"), b"12").unwrap(),
            &[(Severity::Damage, "refs/", "checksum")],
        ),
        (
            "emptied content map entry",
            |s, l| std::fs::write(s.content_path(&l.content), b"").unwrap(),
            &[(Severity::Damage, "contents/", "checksum")],
        ),
        (
            "open permissions",
            |s, _| std::fs::set_permissions(s.root(), std::fs::Permissions::from_mode(0o755)).unwrap(),
            &[(Severity::Damage, "", "mode 755")],
        ),
        (
            "killed build",
            |s, _| {
                std::fs::create_dir_all(s.root().join("tmp/1-dead/d")).unwrap();
                std::fs::write(s.root().join("tmp/1-dead.lock"), "").unwrap();
                std::fs::write(s.trees_dir().join("ab/.tmpXyZ"), "").unwrap();
            },
            &[(Severity::Leftover, "tmp/1-dead", "killed"), (Severity::Leftover, "trees/ab/.tmpXyZ", "killed")],
        ),
    ];

    #[test]
    fn each_kind_of_damage_is_found_and_repaired() {
        for (name, damage, expected) in DAMAGES {
            let (_dir, store, layer) = full();
            damage(&store, &layer);
            let seen = fsck(&store, false);
            assert!(!seen.is_empty(), "{name}: found nothing");
            let found = fsck(&store, true);
            assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
            for (found, expected) in found.iter().zip(*expected) {
                assert_eq!(found.0, expected.0, "{name}: {found:?}");
                assert!(found.1.starts_with(expected.1) && found.2.contains(expected.2), "{name}: {found:?}");
            }
            assert_eq!(fsck(&store, false), [], "{name}: after repair");
        }
    }

    #[test]
    fn what_the_callers_checks_find_is_removed() {
        let (_dir, store, layer) = full();
        let node = store.trees_dir().join("ab/node");
        let mut checks = Checks {
            layer: &mut |l| Ok(Some(format!("{} is bad", l.diff_id))),
            tree: &mut |_| Ok(Some("rotten".into())),
        };
        let mut words = vec![];
        store.fsck(&mut checks, &mut |f| words.push(f.what), true).unwrap();
        assert_eq!(words[0], format!("{} is bad", layer.diff_id));
        assert!(words.contains(&"rotten".to_owned()));
        assert!(store.layer(&layer.diff_id).unwrap().is_none() && !node.exists());
    }

    #[test]
    fn repair_needs_the_store_alone() {
        let (_dir, store) = store();
        let mut checks = Checks { layer: &mut |_| Ok(None), tree: &mut |_| Ok(None) };
        assert!(matches!(store.fsck(&mut checks, &mut |_| {}, true), Err(StoreError::NotExclusive { .. })));
        assert!(store.fsck(&mut checks, &mut |_| {}, false).is_ok());
    }
}
