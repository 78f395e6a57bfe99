//! Where `save` and `export` write: a file that appears whole or not at all, or standard output.

use super::failure::Failure;
use crate::base::fs::{Context, IoError};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Runs `write` on the file `path`, or on standard output if there is none or it is `-`. A regular file is written
/// beside its place and renamed when it is complete; a device or pipe is written to as it is.
pub fn write<F>(path: Option<&Path>, write: F) -> Result<(), Failure>
where
    F: FnOnce(&mut dyn Write) -> Result<(), Failure>,
{
    let path = match path {
        Some(path) if path.as_os_str() != "-" => path,
        _ => {
            let mut out = io::stdout().lock();
            if out.is_terminal() {
                return Err(Failure::usage("an archive would go to the terminal").help("name a file with `-o FILE`"));
            }
            return write(&mut out);
        }
    };
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        let mut file = File::options().write(true).open(path).at("open", path)?;
        return write(&mut file);
    }
    let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As any program's output: less whatever the umask takes.
    let mode = std::fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new()
        .prefix(".rbuild-")
        .permissions(mode)
        .tempfile_in(directory)
        // Its own message would name the temporary file.
        .map_err(|e| io::Error::from(e.kind()))
        .at("create a file in", directory)?;
    write(file.as_file_mut())?;
    file.persist(path).map_err(|e| IoError { act: "rename into place", path: path.to_owned(), source: e.error })?;
    Ok(())
}
