//! Advisory file locks (flock(2)), held as long as the guard lives and freed by the kernel if the process dies.

use super::fs::{Context, IoError, create_dir_all};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

/// A held lock.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

fn lock_file(path: &Path) -> Result<File, IoError> {
    if let Some(dir) = path.parent() {
        create_dir_all(dir)?;
    }
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).at("open lock file", path)
}

/// Waits for the lock that others may share.
pub fn shared(path: impl AsRef<Path>) -> Result<Lock, IoError> {
    let path = path.as_ref();
    let file = lock_file(path)?;
    file.lock_shared().at("lock", path)?;
    Ok(Lock { _file: file })
}

/// Waits for the lock that nobody shares.
pub fn exclusive(path: impl AsRef<Path>) -> Result<Lock, IoError> {
    let path = path.as_ref();
    let file = lock_file(path)?;
    file.lock().at("lock", path)?;
    Ok(Lock { _file: file })
}

/// Takes the lock that others may share, unless somebody has it alone; `None` if somebody has.
pub fn try_shared(path: impl AsRef<Path>) -> Result<Option<Lock>, IoError> {
    let path = path.as_ref();
    let file = lock_file(path)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e).at("lock", path),
    }
}

/// Takes the exclusive lock if nobody holds it; `None` if somebody does.
pub fn try_exclusive(path: impl AsRef<Path>) -> Result<Option<Lock>, IoError> {
    let path = path.as_ref();
    let file = lock_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e).at("lock", path),
    }
}
