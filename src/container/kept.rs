//! What stays of a container that was run without `--rm`: `containers/ID/`, with its changes and a description.

use super::ContainerError;
use crate::base::fs::{self, Context};
use crate::base::{IoError, clock};
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::tree::Rootfs;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// An ended container. Garbage collection has to keep the layers of its root filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// 64 hexadecimal digits.
    pub id: String,
    /// What it ran on.
    pub rootfs: Rootfs,
    /// What it ran.
    pub argv: Vec<String>,
    /// Its exit code.
    pub code: i32,
    /// When it ended, seconds since the epoch.
    pub ended: i64,
}

/// Name of the description.
const DESCRIPTION: &str = "container.json";

/// A new container's id.
pub(super) fn new_id() -> String {
    let mut bytes = [0; 32];
    // Without randomness (it takes a kernel that is still starting) time and process are unique enough on one host.
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK).unwrap_or(0) < bytes.len() {
        bytes[..8].copy_from_slice(&clock::now().to_le_bytes());
        bytes[8..12].copy_from_slice(&std::process::id().to_le_bytes());
    }
    hex::encode(bytes)
}

/// Moves a container's root out of `tmp/`, complete with its description, by one rename.
pub(super) fn keep(store: &Store, snapshot: Snapshot, kept: &Kept) -> Result<(), ContainerError> {
    let described = Kept { ended: clock::now(), ..kept.clone() };
    let json = serde_json::to_vec_pretty(&described).map_err(std::io::Error::from);
    let path = snapshot.dir.path().join(DESCRIPTION);
    fs::write_atomic(&path, &json.at("describe", &path)?)?;
    fs::create_dir_all(store.containers_dir())?;
    let dir = snapshot.dir.keep();
    fs::rename(&dir, store.containers_dir().join(&kept.id))?;
    Ok(())
}

/// All ended containers that were kept, in order of their ids. A directory without a readable description is none.
pub fn kept(store: &Store) -> Result<Vec<Kept>, ContainerError> {
    let mut out: Vec<Kept> = Vec::new();
    for dir in directories(store)? {
        if let Some(json) = fs::read_if_exists(dir.join(DESCRIPTION))?
            && let Ok(kept) = serde_json::from_slice(&json)
        {
            out.push(kept);
        }
    }
    out.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(out)
}

/// Removes what was kept of a container.
pub fn remove(store: &Store, id: &str) -> Result<(), ContainerError> {
    // Only names that are ids: the argument may come from a user.
    match directories(store)?.into_iter().find(|dir| dir.file_name().is_some_and(|name| name == id)) {
        Some(dir) => Ok(fs::remove_tree(dir)?),
        None => Err(ContainerError::Option(format!("there is no container {id}"))),
    }
}

fn directories(store: &Store) -> Result<Vec<PathBuf>, IoError> {
    let path = store.containers_dir();
    let listing = match std::fs::read_dir(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.at("read directory", &path)?,
    };
    listing.map(|entry| Ok(entry.at("read directory", &path)?.path())).collect()
}
