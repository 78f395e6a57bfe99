//! A cache in a bucket: blobs are objects `PREFIX/blobs/sha256/HEX`, the manifest of the cache NAME is the object
//! `PREFIX/manifests/NAME`.

use super::spec::{Reach, unreachable};
use super::{CacheError, Place};
use crate::image::{Descriptor, MAX_DOCUMENT};
use crate::s3::{Bucket, Objects};
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

/// Where in which bucket a cache lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InBucket {
    /// The bucket.
    pub bucket: Bucket,
    /// What all keys begin with, without a `/` at its end; may be empty.
    pub prefix: String,
    /// The cache's own name.
    pub name: String,
}

/// `s3://BUCKET/PREFIX:NAME`.
impl fmt::Display for InBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket.name)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        write!(f, ":{}", self.name)
    }
}

impl InBucket {
    fn key(&self, rest: &str) -> String {
        if self.prefix.is_empty() { rest.to_owned() } else { format!("{}/{rest}", self.prefix) }
    }
}

/// Whether a text can be part of a key: an address would read others in another way.
pub fn is_key(text: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    text.len() <= 512 && text.split('/').all(plain) && !text.contains(char::is_control)
}

/// A cache in a bucket.
#[derive(Debug)]
pub struct Stowed {
    at: InBucket,
    name: String,
    reach: Reach,
    /// Opened when it is first needed. One failure is enough.
    objects: OnceLock<Result<Objects, String>>,
}

impl Stowed {
    /// The cache of that name; nothing is asked yet.
    pub fn new(at: &InBucket, reach: &Reach) -> Stowed {
        Stowed { at: at.clone(), name: at.to_string(), reach: reach.clone(), objects: OnceLock::new() }
    }

    fn objects(&self) -> Result<&Objects, CacheError> {
        let objects = self
            .objects
            .get_or_init(|| Objects::open(&self.at.bucket, &self.reach.cancel).map_err(|error| error.to_string()));
        objects.as_ref().map_err(|reason| unreachable(&self.name, reason))
    }

    fn blob(&self, blob: &Descriptor) -> String {
        self.at.key(&format!("blobs/sha256/{}", blob.digest.hex()))
    }

    fn manifest_key(&self) -> String {
        self.at.key(&format!("manifests/{}", self.at.name))
    }
}

impl Place for Stowed {
    fn name(&self) -> &str {
        &self.name
    }

    fn manifest(&self) -> Result<Option<Vec<u8>>, CacheError> {
        let Some(download) = self.objects()?.get(&self.manifest_key())? else { return Ok(None) };
        let mut bytes = Vec::new();
        download.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).map_err(|e| unreachable(&self.name, e))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(unreachable(&self.name, format!("its manifest is longer than {MAX_DOCUMENT} bytes")));
        }
        Ok(Some(bytes))
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send + '_>, CacheError> {
        match self.objects()?.get(&self.blob(blob))? {
            Some(download) => Ok(Box::new(download)),
            None => Err(unreachable(&self.name, format!("it has no blob {}", blob.digest))),
        }
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, CacheError> {
        Ok(self.objects()?.length(&self.blob(blob))? == Some(blob.size))
    }

    fn put(&self, blob: &Descriptor, file: &Path) -> Result<(), CacheError> {
        Ok(self.objects()?.put_file(&self.blob(blob), file, blob.size)?)
    }

    fn put_manifest(&self, bytes: &[u8]) -> Result<(), CacheError> {
        Ok(self.objects()?.put_bytes(&self.manifest_key(), bytes)?)
    }
}
