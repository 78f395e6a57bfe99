//! What stays of a step that failed: its output in `logs/ID.log`, and its root filesystem, as its process left it, in
//! `failed/ID/`, for `rbuild shell --failed`. Only the latest few.

use super::super::{Cx, Kept, OpError, leak};
use super::process::Journal;
use crate::base::IoError;
use crate::base::fs::{self, Context};
use crate::snapshot::Snapshot;
use crate::store::Store;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// So many root filesystems of failed steps are kept.
const SNAPSHOTS: usize = 3;
/// With less room than this, in bytes, a root filesystem is not kept.
const LITTLE_ROOM: u64 = 16 << 20;
/// So many logs of failed steps are kept.
const LOGS: usize = 20;

/// Keeps both, as far as that can be done: the step has failed already, and that is what has to be told.
pub(super) fn keep(cx: &Cx<'_>, journal: Journal<'_>, snapshot: Snapshot) -> Kept {
    let (store, id) = (cx.store, new_id());
    let log = journal.keep(store.logs_dir().join(format!("{id}.log"))).ok();
    let full = is_full(store);
    let clean = cx.secrets.is_empty() || is_clean(cx, &snapshot);
    let snapshot = if clean && !full { keep_snapshot(store, snapshot, &id).ok().map(|()| id) } else { None };
    let _ = forget(&store.logs_dir(), LOGS).and_then(|()| forget(&store.failed_dir(), SNAPSHOTS));
    Kept { log, snapshot, full }
}

/// Whether the store's file system has next to no room left: then what a failed step wrote may be what fills it, and the
/// next build needs that room.
fn is_full(store: &Store) -> bool {
    rustix::fs::statvfs(store.root()).is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) < LITTLE_ROOM)
}

fn new_id() -> String {
    let mut bytes = [0; 6];
    // Without randomness (a kernel that is still starting) the time is unique enough.
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK).unwrap_or(0) < bytes.len() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        bytes.copy_from_slice(&now.to_le_bytes()[..6]);
    }
    hex::encode(bytes)
}

/// Whether the step wrote no secret: those are not to stay on the disk.
fn is_clean(cx: &Cx<'_>, snapshot: &Snapshot) -> bool {
    let changes = cx.snapshotter.changes(cx.store, cx.trees, snapshot);
    changes.is_ok_and(|fs| leak::check(cx, &fs).is_ok())
}

fn keep_snapshot(store: &Store, snapshot: Snapshot, id: &str) -> Result<(), OpError> {
    fs::create_dir_all(store.failed_dir())?;
    let dir = snapshot.dir.keep();
    Ok(fs::rename(&dir, store.failed_dir().join(id))?)
}

/// Removes the oldest entries of a directory until there are `most`.
fn forget(dir: &Path, most: usize) -> Result<(), IoError> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.at("list", dir)?,
    };
    let mut all: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in entries {
        let entry = entry.at("list", dir)?;
        let changed = entry.metadata().and_then(|m| Ok(m.created().unwrap_or(m.modified()?)));
        all.push((changed.unwrap_or(SystemTime::UNIX_EPOCH), entry.path()));
    }
    all.sort();
    let surplus = all.len().saturating_sub(most);
    for (_, path) in all.drain(..surplus) {
        if path.is_dir() { fs::remove_tree(&path)? } else { fs::remove_file(&path)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        forget(dir.path(), 2).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["b", "c"]);
        forget(&dir.path().join("missing"), 2).unwrap();
    }
}
