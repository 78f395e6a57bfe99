//! `tmp/HEX.partial`: what has come of a blob that did not come whole. Whoever wants it next asks for the rest; the digest
//! of the whole decides, as always.

use super::{Store, StoreError, layout};
use crate::base::fs::{self, Context};
use crate::base::{Digest, Hasher, clock};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

const SUFFIX: &str = ".partial";
/// Seconds after which nobody is thought to want the rest.
const KEPT: i64 = 7 * 24 * 60 * 60;

/// The beginning of a blob, ours alone while it lives. What is dropped unfinished stays for the next, unless it is empty.
#[allow(missing_debug_implementations)]
pub struct Partial<'s> {
    store: &'s Store,
    digest: Digest,
    path: PathBuf,
    /// Locked.
    file: File,
    hasher: Hasher,
    keep: bool,
}

impl Store {
    /// The beginning of a blob of `size` bytes, empty if there is none yet. `None`: another process has it in hand.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub fn partial(&self, digest: &Digest, size: u64) -> Result<Option<Partial<'_>>, StoreError> {
        let path = self.session_dir()?.with_file_name(format!("{}{SUFFIX}", digest.hex()));
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).append(true).custom_flags(libc::O_NOFOLLOW).mode(0o600);
        let mut file = options.open(&path).at("open", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e).at("lock", &path)?,
        }
        let ours = file.metadata().at("look at", &path)?;
        // Who had it before us may have finished it.
        if !std::fs::metadata(&path).is_ok_and(|there| there.ino() == ours.ino()) {
            return Ok(None);
        }
        let mut hasher = Hasher::new();
        if ours.len() > size {
            file.set_len(0).at("empty", &path)?;
        } else {
            read(&mut file, &path, &mut |bytes| {
                hasher.update(bytes);
                Ok(())
            })?;
        }
        Ok(Some(Partial { store: self, digest: *digest, path, file, hasher, keep: true }))
    }
}

impl Partial<'_> {
    /// How much of it is there, in bytes.
    pub fn len(&self) -> u64 {
        self.hasher.len()
    }

    /// Whether nothing of it is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the rest and stores the blob; its length.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] or [`StoreError::TooLong`]: then nothing is kept of it. Or the reader failed: then what has
    /// come is.
    pub fn complete(mut self, rest: &mut dyn Read, size: u64) -> Result<u64, StoreError> {
        let Partial { path, file, hasher, .. } = &mut self;
        let copied = read(rest, path, &mut |bytes| {
            if hasher.len() + bytes.len() as u64 > size {
                return Err(StoreError::TooLong { limit: size });
            }
            hasher.update(bytes);
            Ok(file.write_all(bytes).at("write", &*path)?)
        });
        let length = self.len();
        let found = self.hasher.clone().finish();
        // What is long enough and wrong will not get better.
        self.keep = !matches!(copied, Err(StoreError::TooLong { .. })) && (length < size || found == self.digest);
        copied?;
        if found != self.digest {
            self.keep = false;
            return Err(StoreError::Mismatch { expected: self.digest, found });
        }
        let target = self.store.blob_path(&found);
        self.store.dirty.store(true, Ordering::SeqCst);
        std::fs::rename(&self.path, &target).at("rename into place", &target)?;
        // The name is another's now, if anybody's.
        self.path = target;
        Ok(length)
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        let is_partial = self.path.extension() == Some(OsStr::new(&SUFFIX[1..]));
        if is_partial && (!self.keep || self.is_empty()) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn read(
    from: &mut dyn Read,
    path: &Path,
    take: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => take(&buffer[..n])?,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e).at("read the source of", path)?,
        }
    }
}

/// Whether something in `tmp/` is the beginning of a blob that somebody may still want.
pub(super) fn is_wanted(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(SUFFIX));
    name.is_some_and(|hex| layout::digest_of_name(OsStr::new(hex)).is_some())
        && std::fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.mtime() > clock::now() - KEPT)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{exclusive, store};
    use super::*;
    use std::io;
    use std::time::{Duration, SystemTime};

    /// Gives some bytes, then fails.
    struct Cut<'b>(&'b [u8]);

    impl Read for Cut<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() { Err(io::Error::other("cut")) } else { self.0.read(buffer) }
        }
    }

    #[test]
    fn what_was_cut_goes_on_where_it_ended_and_only_the_digest_makes_it_a_blob() {
        let (_dir, store) = store();
        let digest = Digest::of(b"hello world");
        let first = store.partial(&digest, 11).unwrap().unwrap();
        assert!(first.is_empty() && store.partial(&digest, 11).unwrap().is_none(), "it is in hand");
        first.complete(&mut Cut(b"hello "), 11).unwrap_err();
        assert!(!store.has_blob(&digest));
        let second = store.partial(&digest, 11).unwrap().unwrap();
        assert_eq!(second.len(), 6);
        assert_eq!(second.complete(&mut &b"world"[..], 11).unwrap(), 11);
        assert_eq!(store.read_blob(&digest).unwrap(), b"hello world");
        assert!(store.partial(&digest, 11).unwrap().unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_or_too_long_is_not_kept() {
        let (_dir, store) = store();
        let digest = Digest::of(b"hello");
        for (rest, size) in [(&b"hullo"[..], 5), (b"hello!", 5)] {
            store.partial(&digest, size).unwrap().unwrap().complete(&mut &rest[..], size).unwrap_err();
            assert!(store.partial(&digest, size).unwrap().unwrap().is_empty());
        }
        store.partial(&digest, 9).unwrap().unwrap().complete(&mut Cut(b"longer!!"), 9).unwrap_err();
        assert!(store.partial(&digest, 5).unwrap().unwrap().is_empty(), "longer than the blob is");
    }

    #[test]
    fn the_young_stay_and_the_old_are_collected() {
        let (_dir, store) = store();
        let (young, old) = (Digest::of(b"young"), Digest::of(b"old"));
        for digest in [&young, &old] {
            store.partial(digest, 100).unwrap().unwrap().complete(&mut Cut(b"x"), 100).unwrap_err();
        }
        let path = |digest: &Digest| store.root().join(format!("tmp/{}.partial", digest.hex()));
        let long_ago = SystemTime::now() - Duration::from_secs(8 * 24 * 60 * 60);
        File::options().write(true).open(path(&old)).unwrap().set_modified(long_ago).unwrap();
        let (young, old) = (path(&young), path(&old));
        let leftovers = exclusive(store).leftover_paths().unwrap();
        assert!(leftovers.contains(&old) && !leftovers.contains(&young), "{leftovers:?}");
    }
}
