//! From a layer's plain tar to a stored layer.

use super::ExportError;
use crate::base::{Cancel, Digest, Hasher, clock, fs};
use crate::layer::tar_in::{self, Applied, Options};
use crate::layer::{Index, scan, tar_out};
use crate::store::Store;
use crate::store::layers::{LayerInfo, NewLayer};
use std::io::{self, Read, Write};
use std::path::Path;

/// How much of a foreign tar is compared with the canonical one before that is made whole.
const HEAD: usize = 64 << 10;

/// Stores a layer that came from elsewhere and must have the diffID it was announced under. Its tar can be given back
/// byte by byte: where it is not the canonical one, with a recipe.
///
/// # Errors
/// The tar is not valid, exceeds a limit or has another digest; the store failed; the work was called off.
pub fn foreign_layer(
    store: &Store,
    reader: &mut (dyn Read + Send),
    diff_id: &Digest,
    place: &Path,
    cancel: &Cancel,
) -> Result<LayerInfo, ExportError> {
    let dir = store.temp_dir()?;
    let (files, recipe) = (dir.path().join("fs"), dir.path().join("recipe"));
    fs::create_dir_all(&files)?;
    let mut tee = Head { inner: reader, head: Vec::new() };
    let applied = apply(&mut tee, &files, &Options::layer(Some(&recipe), cancel), place)?;
    if applied.diff_id != *diff_id {
        let reason = format!("a layer announced as {diff_id} is {}", applied.diff_id);
        return Err(ExportError::Archive { archive: place.to_owned(), reason });
    }
    let index = scan::index(&files, &applied.contents, cancel)?;
    let canonical = is_canonical(&index, &files, &tee.head, diff_id, cancel)?;
    let info = info(&index, *diff_id, applied.tar_size);
    let recipe = if canonical { None } else { Some(recipe) };
    Ok(store.publish_layer(NewLayer { fs: files, index: index.encode(), recipe, info })?)
}

/// Stores the files of an archive as a layer of our own making: in canonical order and form, so that the same files
/// give the same layer.
///
/// # Errors
/// As [`foreign_layer`].
pub fn canonical_layer(
    store: &Store,
    reader: &mut (dyn Read + Send),
    place: &Path,
    cancel: &Cancel,
) -> Result<LayerInfo, ExportError> {
    let dir = store.temp_dir()?;
    let files = dir.path().join("fs");
    fs::create_dir_all(&files)?;
    let options = Options { root_metadata: true, ..Options::plain(cancel) };
    let applied = apply(reader, &files, &options, place)?;
    let scanned = scan::scan(&files, &applied.contents, cancel)?;
    let info = info(&scanned.index, scanned.diff_id, scanned.tar_size);
    Ok(store.publish_layer(NewLayer { fs: files, index: scanned.index.encode(), recipe: None, info })?)
}

fn apply(
    reader: &mut (dyn Read + Send),
    files: &Path,
    options: &Options<'_>,
    place: &Path,
) -> Result<Applied, ExportError> {
    let named = |reason| ExportError::Apply { archive: place.to_owned(), reason };
    tar_in::apply(reader, files, options).map_err(named)
}

fn info(index: &Index, diff_id: Digest, tar_size: u64) -> LayerInfo {
    let (content, size) = (index.content_digest(), index.size());
    LayerInfo { diff_id, content, tar_size, size, created: clock::now(), fresh_from: None, fs_of: None }
}

/// Whether the canonical tar of these files has this digest. Nearly every tar of another program differs in its first
/// header, which `head` shows without reading a file.
fn is_canonical(
    index: &Index,
    files: &Path,
    head: &[u8],
    diff_id: &Digest,
    cancel: &Cancel,
) -> Result<bool, ExportError> {
    let mut check = Check { head, hasher: Hasher::new(), differs: false };
    match tar_out::write(index, files, &mut check, cancel) {
        Err(_) if check.differs => Ok(false),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(check.hasher.finish() == *diff_id),
    }
}

/// Keeps the first bytes of what is read.
struct Head<'r> {
    inner: &'r mut (dyn Read + Send),
    head: Vec<u8>,
}

impl Read for Head<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let wanted = n.min(HEAD - self.head.len());
        self.head.extend_from_slice(&buffer[..wanted]);
        Ok(n)
    }
}

/// Hashes what is written, and stops at the first byte that differs from the head.
struct Check<'h> {
    head: &'h [u8],
    hasher: Hasher,
    differs: bool,
}

impl Write for Check<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let compared = bytes.len().min(self.head.len());
        if bytes[..compared] != self.head[..compared] {
            self.differs = true;
            return Err(io::Error::other("it is not canonical"));
        }
        self.head = &self.head[compared..];
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
