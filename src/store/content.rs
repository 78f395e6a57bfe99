//! `blobs/sha256/HEX`: bytes under their digest.

use super::{Store, StoreError, layout};
use crate::base::fs::Context;
use crate::base::{Digest, Hasher, fs};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

impl Store {
    /// Where the blob with this digest lies, whether or not it is there.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join(layout::BLOBS).join(digest.hex())
    }

    /// Whether the blob is there.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Stores bytes; gives their digest. Storing what is there already costs a look.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(&digest);
        // The length gives away a blob that a power cut emptied.
        if !std::fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() == bytes.len() as u64) {
            self.dirty.store(true, Ordering::SeqCst);
            self.write_file(&path, bytes)?;
        }
        Ok(digest)
    }

    /// Stores a stream, verified: refused with [`StoreError::Mismatch`] if it does not have the digest `expected` (when
    /// given), with [`StoreError::TooLong`] if it is longer than `limit` bytes. Gives digest and length.
    pub fn put_blob_from(
        &self,
        reader: &mut dyn Read,
        expected: Option<&Digest>,
        limit: u64,
    ) -> Result<(Digest, u64), StoreError> {
        let mut file = self.temp_file()?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e).at("read the source of", file.path())?,
            };
            hasher.update(&buffer[..n]);
            if hasher.len() > limit {
                return Err(StoreError::TooLong { limit });
            }
            file.write_all(&buffer[..n]).at("write", file.path())?;
        }
        let length = hasher.len();
        let found = hasher.finish();
        if let Some(expected) = expected.filter(|e| **e != found) {
            return Err(StoreError::Mismatch { expected: *expected, found });
        }
        self.dirty.store(true, Ordering::SeqCst);
        self.place(file, &self.blob_path(&found))?;
        Ok((found, length))
    }

    /// Reads a small blob (manifest, config) whole and verifies it.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        let Some(bytes) = fs::read_if_exists(&path)? else { return Err(missing(digest)) };
        if Digest::of(&bytes) != *digest {
            return Err(StoreError::Damaged { path, reason: format!("its {} bytes have another digest", bytes.len()) });
        }
        Ok(bytes)
    }

    /// Opens a blob. Its bytes are not verified: whoever passes them on hashes them.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        match File::open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Err(missing(digest)),
            result => Ok(result.at("open", path)?),
        }
    }
}

fn missing(digest: &Digest) -> StoreError {
    StoreError::Missing { what: "blob", name: digest.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::store;
    use super::*;

    #[test]
    fn blobs_come_back_as_they_went_in() {
        let (_dir, store) = store();
        let digest = store.put_blob(b"hello").unwrap();
        assert_eq!(store.read_blob(&digest).unwrap(), b"hello");
        let (streamed, length) = store.put_blob_from(&mut &b"hello"[..], Some(&digest), 5).unwrap();
        assert_eq!((streamed, length), (digest, 5));
        assert!(matches!(store.read_blob(&Digest::of(b"no")), Err(StoreError::Missing { .. })));
        assert!(matches!(store.open_blob(&Digest::of(b"no")), Err(StoreError::Missing { .. })));
    }

    #[test]
    fn a_stream_with_another_digest_or_too_long_leaves_nothing() {
        let (_dir, store) = store();
        let announced = Digest::of(b"good");
        let error = store.put_blob_from(&mut &b"evil"[..], Some(&announced), 100).unwrap_err();
        assert!(matches!(error, StoreError::Mismatch { expected, .. } if expected == announced));
        let error = store.put_blob_from(&mut std::io::repeat(0), None, 1 << 20).unwrap_err();
        assert!(matches!(error, StoreError::TooLong { limit } if limit == 1 << 20));
        assert_eq!(layout::list(&store.root().join(layout::BLOBS)).unwrap().len(), 0);
        assert_eq!(layout::list(&store.session_dir().unwrap()).unwrap().len(), 0);
    }

    #[test]
    fn a_truncated_blob_is_reported_and_replaced_by_storing_it_again() {
        let (_dir, store) = store();
        let digest = store.put_blob(b"hello").unwrap();
        std::fs::write(store.blob_path(&digest), b"").unwrap();
        assert!(matches!(store.read_blob(&digest), Err(StoreError::Damaged { .. })));
        store.put_blob(b"hello").unwrap();
        assert_eq!(store.read_blob(&digest).unwrap(), b"hello");
    }
}
