//! What a cache needs of the place that it lies in.

use super::CacheError;
use crate::base::lock::Lock;
use crate::image::Descriptor;
use std::io::Read;
use std::path::Path;

/// Where a cache lies: blobs by digest, and one document, the manifest, under the cache's own name.
///
/// Who implements this moves bytes and verifies none: lengths and digests are checked by the reader, a manifest by what
/// it says. Blobs never change, so all acts but [`Place::put_manifest`] may be repeated and may race. Nothing is ever
/// deleted through this; a place that can tell which blobs no manifest lists may drop them.
///
/// For an object store with keys and no more: blobs are objects `PREFIX/blobs/sha256/HEX` (get, put unless it exists,
/// exists), the manifest is the object `PREFIX/manifests/NAME` (get, put: the last one wins). Ranges are not asked for.
pub trait Place: std::fmt::Debug + Send + Sync {
    /// What people call it: `registry.example/app:cache`, `/srv/cache`.
    fn name(&self) -> &str;

    /// The bytes of the manifest; `None`: there is none, so there is no cache yet.
    ///
    /// # Errors
    /// The place cannot be asked, or the document is longer than [`crate::image::MAX_DOCUMENT`].
    fn manifest(&self) -> Result<Option<Vec<u8>>, CacheError>;

    /// The manifests that a build may read steps from: of an image for several platforms those of the build's platforms,
    /// elsewhere the one of [`Place::manifest`]. Empty: there is no cache yet.
    ///
    /// # Errors
    /// As [`Place::manifest`]; or the image is for none of the platforms.
    fn manifests(&self) -> Result<Vec<Vec<u8>>, CacheError> {
        Ok(self.manifest()?.into_iter().collect())
    }

    /// The content of a blob, as it comes.
    ///
    /// # Errors
    /// It is not there, or the place cannot be asked.
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send + '_>, CacheError>;

    /// Whether the blob is there, as far as its name and length tell.
    ///
    /// # Errors
    /// The place cannot be asked.
    fn has(&self, blob: &Descriptor) -> Result<bool, CacheError>;

    /// Puts a blob there: the whole of a file. One that is there stays as it is.
    ///
    /// # Errors
    /// The place does not take it.
    fn put(&self, blob: &Descriptor, file: &Path) -> Result<(), CacheError>;

    /// Puts the manifest there, in place of the one before. All that it lists is there.
    ///
    /// # Errors
    /// The place does not take it.
    fn put_manifest(&self, bytes: &[u8]) -> Result<(), CacheError>;

    /// Keeps others from changing the cache between a look at its manifest and a new one, where the place can do that.
    /// Where it cannot, of two builds that write at the same time one loses what it adds, and that is all.
    ///
    /// # Errors
    /// The lock cannot be had.
    fn lock(&self) -> Result<Option<Lock>, CacheError> {
        Ok(None)
    }
}
