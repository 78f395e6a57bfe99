//! Contents from one file to another: shared with the file system where it can, else copied inside the kernel, else
//! read and written. Holes stay holes.

use crate::base::Cancel;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// The most that one call copies, in bytes: how long a cancellation may have to wait.
const CHUNK: u64 = 64 << 20;

/// Files at least this large are worth a look for holes, in bytes.
const SPARSE: u64 = 64 << 10;

/// Files smaller than this are read and written at once, in bytes: for them two calls cost less than the file system's
/// way of copying.
const SMALL: u64 = 128 << 10;

/// Copies contents; remembers what the file system can't do.
#[derive(Debug, Default)]
pub(super) struct Copier {
    no_reflink: AtomicBool,
}

impl Copier {
    /// Copies all of `from` to the empty file `to`; gives the length in bytes. `expected` is only a hint.
    /// A cancellation is the error kind `Interrupted`.
    pub fn copy(&self, from: &File, to: &mut File, expected: u64, cancel: &Cancel) -> io::Result<u64> {
        if expected == 0 {
            // Also files like those of /proc, which have contents but no size.
            return io::copy(&mut &*from, to);
        }
        if !self.no_reflink.load(Ordering::Relaxed) {
            match rustix::fs::ioctl_ficlone(&*to, from) {
                Ok(()) => return Ok(from.metadata()?.len()),
                // Across file systems or not regular: other files may still do.
                Err(Errno::XDEV | Errno::INVAL | Errno::TXTBSY) => {}
                Err(_) => self.no_reflink.store(true, Ordering::Relaxed),
            }
        }
        if expected < SMALL {
            let bytes = read_up_to(from, expected + 1)?;
            to.write_all(&bytes)?;
            return Ok(bytes.len() as u64);
        }
        let stat = rustix::fs::fstat(from)?;
        let size = stat.st_size as u64;
        if size >= SPARSE && (stat.st_blocks as u64) * 512 < size {
            return sparse(from, to, size, cancel);
        }
        span(from, to, u64::MAX, cancel)
    }
}

/// Reads at most `limit` bytes, in one call where that is all. A file that has grown gives all of them.
fn read_up_to(mut from: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; limit as usize];
    let mut length = 0;
    while length < bytes.len() {
        match from.read(&mut bytes[length..]) {
            // One byte less than would fit is what was expected, and a file's end.
            Ok(n) if n == 0 || length + n + 1 == bytes.len() => {
                length += n;
                break;
            }
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Copies the data between the holes, and sets the length.
fn sparse(from: &File, to: &mut File, size: u64, cancel: &Cancel) -> io::Result<u64> {
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data behind `at`.
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start))?;
        rustix::fs::seek(from, SeekFrom::Start(start))?;
        rustix::fs::seek(&*to, SeekFrom::Start(start))?;
        let copied = span(from, to, end - start, cancel)?;
        at = start + copied;
        if copied < end - start {
            break;
        }
    }
    to.set_len(size)?;
    Ok(size)
}

/// Copies up to `length` bytes from where both files stand.
fn span(from: &File, to: &mut File, length: u64, cancel: &Cancel) -> io::Result<u64> {
    let mut done = 0;
    while done < length {
        if cancel.is_set() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let want = (length - done).min(CHUNK) as usize;
        match rustix::fs::copy_file_range(from, None, &*to, None, want) {
            // Some file systems say "nothing" where they mean "can't" (copy_file_range(2), BUGS).
            Ok(0) => return Ok(done + plain(from, to, length - done, cancel)?),
            Ok(n) => done += n as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
                return Ok(done + plain(from, to, length - done, cancel)?);
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(done)
}

/// Reads and writes.
fn plain(mut from: &File, to: &mut File, length: u64, cancel: &Cancel) -> io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut done = 0;
    while done < length {
        if cancel.is_set() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let want = (length - done).min(buffer.len() as u64) as usize;
        match from.read(&mut buffer[..want]) {
            Ok(0) => break,
            Ok(n) => {
                to.write_all(&buffer[..n])?;
                done += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn contents_and_holes_arrive() {
        let dir = tempfile::tempdir().unwrap();
        let mut from = File::options().create_new(true).read(true).write(true).open(dir.path().join("from")).unwrap();
        from.write_all_at(b"head", 0).unwrap();
        from.write_all_at(b"tail", 8 << 20).unwrap();
        from.set_len(9 << 20).unwrap();
        let mut to = File::options().create_new(true).read(true).write(true).open(dir.path().join("to")).unwrap();
        let copied = Copier::default().copy(&from, &mut to, 9 << 20, &Cancel::new()).unwrap();
        assert_eq!(copied, 9 << 20);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        from.rewind().unwrap();
        to.rewind().unwrap();
        from.read_to_end(&mut a).unwrap();
        to.read_to_end(&mut b).unwrap();
        assert!(a == b);
        let (from, to) = (from.metadata().unwrap(), to.metadata().unwrap());
        assert!(from.blocks() * 512 < 1 << 20, "the test's own file must have a hole");
        assert!(to.blocks() * 512 < 1 << 20, "{} blocks", to.blocks());
    }

    #[test]
    fn a_set_flag_stops_the_copy() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("from"), vec![7; 1 << 20]).unwrap();
        let from = File::open(dir.path().join("from")).unwrap();
        let mut to = File::create_new(dir.path().join("to")).unwrap();
        let cancel = Cancel::new();
        cancel.cancel();
        let copier = Copier { no_reflink: AtomicBool::new(true) };
        assert_eq!(copier.copy(&from, &mut to, 1 << 20, &cancel).unwrap_err().kind(), io::ErrorKind::Interrupted);
    }
}
