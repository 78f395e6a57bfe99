//! Where archives are written: a file that appears whole or not at all, or standard output.

use super::ExportError;
use crate::base::IoError;
use crate::base::fs::Context;
use std::fs::{File, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where an archive goes. A regular file is written beside its place and renamed when it is complete; a device or pipe
/// is written to as it is.
#[derive(Debug)]
pub struct Output {
    to: To,
}

#[derive(Debug)]
enum To {
    Stdout(io::Stdout),
    /// A device or a pipe that the user named.
    Direct(File),
    File(tempfile::NamedTempFile, PathBuf),
}

impl Output {
    /// Opens `dest`; `None` or `-`: standard output.
    ///
    /// # Errors
    /// [`ExportError::Terminal`] if that is a terminal; or the file cannot be made.
    pub fn create(dest: Option<&Path>) -> Result<Output, ExportError> {
        let Some(path) = dest.filter(|p| *p != Path::new("-")) else {
            let stdout = io::stdout();
            if stdout.is_terminal() {
                return Err(ExportError::Terminal);
            }
            return Ok(Output { to: To::Stdout(stdout) });
        };
        if path.metadata().is_ok_and(|m| !m.is_file()) {
            let file = File::options().write(true).open(path).at("open", path)?;
            return Ok(Output { to: To::Direct(file) });
        }
        let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".rbuild-")
            // As any program's output: less whatever the umask takes.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(dir)
            // Its own message would name the temporary file.
            .map_err(|e| io::Error::from(e.kind()))
            .at("create a file in", dir)?;
        Ok(Output { to: To::File(file, path.to_owned()) })
    }

    /// Makes the file appear under its name.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn finish(mut self) -> Result<(), IoError> {
        self.flush().at("write", "the output")?;
        match self.to {
            To::Stdout(_) | To::Direct(_) => Ok(()),
            To::File(file, path) => {
                file.persist(&path).map_err(|e| e.error).at("rename into place", path)?;
                Ok(())
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            To::Stdout(out) => out.write(bytes),
            To::Direct(file) => file.write(bytes),
            To::File(file, _) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::Stdout(out) => out.flush(),
            To::Direct(file) => file.flush(),
            To::File(file, _) => file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_output_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        let mut output = Output::create(Some(&path)).unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut output = Output::create(Some(&path)).unwrap();
        output.write_all(b"whole").unwrap();
        output.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }
}
