//! File access whose errors say what was tried on which path.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A failed act on a path. `Display` names both and the operating system's reason.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}: {source}", path.display())]
pub struct IoError {
    /// What was tried, as an infinitive: "read", "create directory".
    pub act: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl IoError {
    /// Whether the disk (or a quota on it) is full: worth a special word to the user.
    pub fn is_full(&self) -> bool {
        is_full(&self.source)
    }
}

/// Whether the operating system found no room: the disk, or a quota on it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Attaches act and path to a bare [`io::Error`].
pub trait Context<T> {
    /// Names what was tried on which path.
    fn at(self, act: &'static str, path: impl AsRef<Path>) -> Result<T, IoError>;
}

impl<T> Context<T> for io::Result<T> {
    fn at(self, act: &'static str, path: impl AsRef<Path>) -> Result<T, IoError> {
        self.map_err(|source| IoError { act, path: path.as_ref().to_owned(), source })
    }
}

impl<T> Context<T> for rustix::io::Result<T> {
    fn at(self, act: &'static str, path: impl AsRef<Path>) -> Result<T, IoError> {
        self.map_err(|e| IoError { act, path: path.as_ref().to_owned(), source: e.into() })
    }
}

/// Reads a whole file.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, IoError> {
    fs::read(&path).at("read", path)
}

/// Reads a whole file, or `None` where there is none.
pub fn read_if_exists(path: impl AsRef<Path>) -> Result<Option<Vec<u8>>, IoError> {
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at("read", path),
    }
}

/// Opens a file for reading.
pub fn open(path: impl AsRef<Path>) -> Result<File, IoError> {
    File::open(&path).at("open", path)
}

/// Makes a directory and its missing parents.
pub fn create_dir_all(path: impl AsRef<Path>) -> Result<(), IoError> {
    fs::create_dir_all(&path).at("create directory", path)
}

/// Renames, replacing what stood at `to`.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), IoError> {
    fs::rename(from, &to).at("rename into place", to)
}

/// Removes a file; one that is not there is no error.
pub fn remove_file(path: impl AsRef<Path>) -> Result<(), IoError> {
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).at("remove", path),
        _ => Ok(()),
    }
}

/// Removes a tree; one that is not there is no error. Directories without owner permissions (an overlay's work
/// directory has mode 000) are opened up first, which their owner may do.
pub fn remove_tree(path: impl AsRef<Path>) -> Result<(), IoError> {
    let path = path.as_ref();
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() != io::ErrorKind::PermissionDenied => return Err(e).at("remove", path),
        Err(_) => {}
    }
    use std::os::unix::fs::PermissionsExt;
    for entry in walkdir::WalkDir::new(path).follow_links(false).into_iter().filter_entry(|e| {
        if e.file_type().is_dir() {
            let _ = fs::set_permissions(e.path(), fs::Permissions::from_mode(0o700));
        }
        true
    }) {
        let _ = entry;
    }
    fs::remove_dir_all(path).at("remove", path)
}

/// Writes a file so that a reader sees either the old or the whole new contents, never a part: a temporary file in
/// the same directory, renamed into place.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), IoError> {
    let path = path.as_ref();
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).at("create a temporary file in", dir)?;
    file.write_all(bytes).at("write", path)?;
    use std::os::unix::fs::PermissionsExt;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).at("set permissions of", path)?;
    file.persist(path).map_err(|e| e.error).at("rename into place", path)?;
    Ok(())
}
