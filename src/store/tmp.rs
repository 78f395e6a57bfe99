//! `tmp/`: what is being built. Each store handle that writes has a session there: a directory `NAME` for its files and
//! a lock file `NAME.lock` that it holds while it lives. The lock file comes first and goes last, so whoever gets the
//! lock of another session knows that its owner is dead and may remove the directory.

use super::StoreError;
use super::{layout, partial};
use crate::base::fs::Context;
use crate::base::lock::{self, Lock};
use crate::base::{IoError, fs};
use std::path::{Path, PathBuf};

const LOCK_SUFFIX: &str = ".lock";

/// A directory under `tmp/` and the lock that says it is in use.
#[derive(Debug)]
pub(super) struct Session {
    dir: PathBuf,
    lock_path: PathBuf,
    _lock: Lock,
}

impl Session {
    /// Starts a session in `tmp`.
    pub(super) fn begin(tmp: &Path) -> Result<Session, StoreError> {
        loop {
            let lock_path = tempfile::Builder::new()
                .prefix(&format!("{}-", std::process::id()))
                .suffix(LOCK_SUFFIX)
                .tempfile_in(tmp)
                .at("create a temporary file in", tmp)?
                .into_temp_path()
                .keep()
                .map_err(|e| e.error)
                .at("create a temporary file in", tmp)?;
            // A sweeper may lock and remove the file between its making and our lock.
            let Some(lock) = lock::try_exclusive(&lock_path)? else { continue };
            if !lock_path.exists() {
                continue;
            }
            let dir = directory_of(&lock_path);
            std::fs::create_dir(&dir).at("create directory", &dir)?;
            return Ok(Session { dir, lock_path, _lock: lock });
        }
    }

    /// Its directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Only if nothing is left in it; otherwise the lock file stays to tell the next sweeper.
        if std::fs::remove_dir(&self.dir).is_ok() {
            let _ = std::fs::remove_file(&self.lock_path);
        }
    }
}

fn directory_of(lock_path: &Path) -> PathBuf {
    lock_path.with_extension("")
}

/// The lock file of a session's directory.
pub(super) fn lock_of(directory: &Path) -> PathBuf {
    let mut path = directory.as_os_str().to_owned();
    path.push(LOCK_SUFFIX);
    path.into()
}

/// Something in `tmp/` that no living process owns.
#[derive(Debug)]
pub(super) struct Leftover {
    /// File or directory to remove.
    path: PathBuf,
    /// Held, and removed after `path`.
    lock: Option<(Lock, PathBuf)>,
}

impl Leftover {
    /// What to call it. For a session this is its directory, even if the lock file alone is left.
    pub(super) fn into_path(self) -> PathBuf {
        self.path
    }

    /// Removes it.
    pub(super) fn remove(self) -> Result<(), IoError> {
        if self.path.is_dir() && !self.path.is_symlink() {
            fs::remove_tree(&self.path)?;
        } else {
            fs::remove_file(&self.path)?;
        }
        if let Some((_held, path)) = &self.lock {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Dead sessions. With `alone` (the caller holds the store's exclusive lock) also what belongs to no session.
pub(super) fn leftovers(tmp: &Path, alone: bool) -> Result<Vec<Leftover>, StoreError> {
    let mut names = layout::list(tmp)?;
    names.sort();
    let mut found = vec![];
    for name in &names {
        let path = tmp.join(name);
        let text = name.to_string_lossy();
        if text.ends_with(LOCK_SUFFIX) {
            if let Some(lock) = lock::try_exclusive(&path)? {
                found.push(Leftover { path: directory_of(&path), lock: Some((lock, path)) });
            }
        } else if alone
            && !partial::is_wanted(&path)
            && names.binary_search(&format!("{text}{LOCK_SUFFIX}").into()).is_err()
        {
            found.push(Leftover { path, lock: None });
        }
    }
    Ok(found)
}

/// Removes dead sessions. What can't be removed is left to `gc`, which says so.
pub(super) fn sweep(tmp: &Path) -> Result<(), StoreError> {
    for leftover in leftovers(tmp, false)? {
        let _ = leftover.remove();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_dead_sessions_and_leaves_living_ones() {
        let tmp = tempfile::tempdir().unwrap();
        let living = Session::begin(tmp.path()).unwrap();
        std::fs::write(living.dir().join("file"), "x").unwrap();
        let dead = tmp.path().join("1-dead");
        std::fs::create_dir_all(dead.join("sub")).unwrap();
        std::fs::write(tmp.path().join("1-dead.lock"), "").unwrap();
        let stray = tmp.path().join("stray");
        std::fs::write(&stray, "").unwrap();

        sweep(tmp.path()).unwrap();
        assert!(!dead.exists() && !tmp.path().join("1-dead.lock").exists());
        assert!(living.dir().join("file").exists());
        assert!(stray.exists(), "without the store to itself a sweep can't know whose this is");

        let alone = leftovers(tmp.path(), true).unwrap();
        assert_eq!(alone.into_iter().map(Leftover::into_path).collect::<Vec<_>>(), [stray]);
    }

    #[test]
    fn an_emptied_session_leaves_nothing_behind() {
        let tmp = tempfile::tempdir().unwrap();
        drop(Session::begin(tmp.path()).unwrap());
        assert_eq!(layout::list(tmp.path()).unwrap().len(), 0);
    }
}
