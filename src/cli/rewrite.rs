//! Changing a file of the user's in place: `check --fix` and `fmt`.

use super::failure::{Code, Failure};
use crate::base::IoError;
use crate::base::fs::Context;
use crate::diag::Source;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Refuses a text that is not all of the file: comments in another encoding, which would be lost.
pub fn is_whole(source: &Source, bytes: &[u8]) -> Result<(), Failure> {
    if source.text().as_bytes() == bytes {
        return Ok(());
    }
    Err(Failure::new(Code::Manifest, format!("{} is not changed: not all of it is UTF-8 text", source.name()))
        .help("save the file as UTF-8, for instance with iconv"))
}

/// Replaces what a file holds, so that a reader sees the old or the new text and never a part. The mode stays, and a
/// symbolic link keeps pointing at the file.
pub fn replace(path: &Path, text: &str) -> Result<(), IoError> {
    let real = fs::canonicalize(path).at("find", path)?;
    let dir = real.parent().unwrap_or(Path::new("/"));
    let mode = fs::metadata(&real).at("read the mode of", path)?.permissions();
    let mut file = tempfile::NamedTempFile::new_in(dir).at("create a temporary file in", dir)?;
    file.write_all(text.as_bytes()).at("write", path)?;
    file.as_file().set_permissions(mode).at("set permissions of", path)?;
    file.persist(&real).map_err(|e| e.error).at("rename into place", path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn mode_and_link_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
        symlink("file", &link).expect("linked");
        replace(&link, "new").expect("replaced");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read_to_string(&file).expect("read"), "new");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o640);
    }
}
