//! An image of an OCI manifest into the store, wherever its blobs come from: an archive or a registry. Packed blobs are
//! kept, so that the manifest can be stored as it came; layers are unpacked and must have the diffIDs of the config.

use super::archive::MAX_UNPACKED;
use super::{ExportError, unpack};
use crate::base::fs::Context;
use crate::base::{Cancel, Digest, Hasher, parallel};
use crate::image::{Descriptor, ImageConfig, Manifest, Packing};
use crate::layer::compress;
use crate::store::packed::Packed;
use crate::store::{Store, StoreError};
use std::io::Read;
use std::path::Path;

/// Most layers that one image may have.
pub const MAX_LAYERS: usize = 1000;
/// Under which way of packing ([`Store::packed`]) a blob is noted that came with a layer: gzip.
pub const KEPT_GZIP: &str = "kept-gzip";
/// The same for zstd.
pub const KEPT_ZSTD: &str = "kept-zstd";
/// Layers that are taken in at once: enough to fetch one while another is unpacked.
const WORKERS: usize = 4;

/// Where the blobs of an image come from.
pub trait Blobs: Sync {
    /// What errors name: an archive, or the image's name.
    fn place(&self) -> &Path;

    /// The content of a blob, which whoever reads verifies.
    ///
    /// # Errors
    /// It is not there, or is not as long as the descriptor says.
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>, ExportError>;

    /// The content from a byte on, where that costs less than all of it. `None`: it does not, or all of it is there.
    ///
    /// # Errors
    /// As [`Blobs::open`].
    fn open_from(&self, _: &Descriptor, _offset: u64) -> Result<Option<Box<dyn Read + Send + '_>>, ExportError> {
        Ok(None)
    }
}

/// Takes images into a store.
#[allow(missing_debug_implementations)]
pub struct Intake<'i> {
    /// Where to.
    pub store: &'i Store,
    /// Where from.
    pub blobs: &'i dyn Blobs,
    /// Stop flag.
    pub cancel: &'i Cancel,
}

impl Intake<'_> {
    /// Stores layers, config and manifest, in this order; gives the manifest's digest. No name is given to it yet.
    ///
    /// # Errors
    /// Config and manifest contradict each other, a blob is not what its descriptor says or a layer not what the config
    /// says; the store failed; the work was called off.
    pub fn image(&self, manifest: &Manifest, bytes: &[u8], config: &[u8]) -> Result<Digest, ExportError> {
        let id = manifest.config.digest;
        let parsed = ImageConfig::from_bytes(config).map_err(|reason| {
            let place = format!("{}: {id}", self.blobs.place().display());
            ExportError::Document { place, reason }
        })?;
        let diff_ids = &parsed.rootfs.diff_ids;
        self.check_count(&id, manifest.layers.len(), diff_ids.len())?;
        let layers: Vec<_> = manifest.layers.iter().zip(diff_ids).collect();
        parallel::try_map(WORKERS, &layers, |(descriptor, diff_id)| self.layer(descriptor, diff_id))?;
        self.store.put_blob(config)?;
        Ok(self.store.put_blob(bytes)?)
    }

    /// Refuses an image whose manifest and config disagree about the number of layers.
    pub(super) fn check_count(&self, id: &Digest, listed: usize, diff_ids: usize) -> Result<(), ExportError> {
        if listed == diff_ids && listed <= MAX_LAYERS {
            return Ok(());
        }
        Err(self.refused(format!("image {} lists {listed} layers and its config {diff_ids}", id.short())))
    }

    /// Stores one layer: unpacked, and its blob if that is packed.
    ///
    /// # Errors
    /// The blob is not what its descriptor says, or not a layer of that diffID; the store failed.
    pub fn layer(&self, descriptor: &Descriptor, diff_id: &Digest) -> Result<(), ExportError> {
        let Descriptor { digest, size, media_type, .. } = descriptor;
        let packing =
            descriptor.packing().ok_or_else(|| self.refused(format!("'{media_type}' is no layer that is known")))?;
        if packing == Packing::Plain {
            if digest != diff_id {
                return Err(self.refused(format!("layer {digest} is {diff_id} in the config")));
            }
            if let Some(info) = self.store.held_layer(diff_id)? {
                if info.tar_size == *size {
                    return Ok(());
                }
                return Err(self.refused(format!("layer {digest} has {} bytes and not {size}", info.tar_size)));
            }
            self.unpack(&mut self.blobs.open(descriptor)?, diff_id)?;
            return Ok(());
        }
        let whole = |length: u64| length == *size;
        if !std::fs::metadata(self.store.blob_path(digest)).is_ok_and(|m| whole(m.len())) {
            let length = self.fetch(descriptor)?;
            if !whole(length) {
                return Err(self.refused(format!("layer {digest} has {length} bytes and not {size}")));
            }
        }
        // Also where the layer is known: another blob may claim to be it.
        self.unpack(&mut self.store.open_blob(digest)?, diff_id)?;
        // A push of an image on top of this one sends the same blob.
        let way = if packing == Packing::Zstd { KEPT_ZSTD } else { KEPT_GZIP };
        Ok(self.store.remember_packed(diff_id, way, Packed { digest: *digest, size: *size })?)
    }

    /// Stores a blob, of which a part may be there from an earlier try; its length in bytes.
    fn fetch(&self, descriptor: &Descriptor) -> Result<u64, ExportError> {
        let Descriptor { digest, size, .. } = descriptor;
        let whole = |store: &Store| {
            let (_, length) = store.put_blob_from(&mut self.blobs.open(descriptor)?, Some(digest), *size)?;
            Ok(length)
        };
        let Some(partial) = self.store.partial(digest, *size)? else { return whole(self.store) };
        let begun = partial.len();
        let Some(mut rest) = self.blobs.open_from(descriptor, begun)? else { return whole(self.store) };
        match partial.complete(&mut rest, *size) {
            // What was there may have been the damaged part.
            Err(StoreError::Mismatch { .. }) if begun > 0 => whole(self.store),
            result => Ok(result?),
        }
    }

    /// Makes the layer of a tar, packed or not, or checks the tar if the store has that layer; its unpacked length in
    /// bytes.
    pub(super) fn unpack(&self, packed: &mut (dyn Read + Send), diff_id: &Digest) -> Result<u64, ExportError> {
        let place = self.blobs.place();
        let (mut reader, _) = compress::open_compressed(packed, MAX_UNPACKED).at("read", place)?;
        if let Some(info) = self.store.held_layer(diff_id)? {
            let (found, _) = Hasher::read(&mut reader).at("read", place)?;
            if found != *diff_id {
                return Err(self.refused(format!("a layer announced as {diff_id} is {found}")));
            }
            return Ok(info.tar_size);
        }
        Ok(unpack::foreign_layer(self.store, &mut reader, diff_id, place, self.cancel)?.tar_size)
    }

    fn refused(&self, reason: String) -> ExportError {
        ExportError::Archive { archive: self.blobs.place().to_owned(), reason }
    }
}
