//! How layers are packed on their way out of the store, where nothing is packed but what came so.

use super::{ExportError, layers};
use crate::base::fs::Context;
use crate::base::{Cancel, Digest, Hashed};
use crate::image::Descriptor;
use crate::image::manifest::{Packing as Packed, media};
use crate::layer::encode::{Encoder, Encoding};
use crate::store::Store;
use crate::store::packed::Packed as Blob;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// How layers are packed that leave the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// `None`: not at all.
    pub encoding: Option<Encoding>,
    /// As [`Encoding::levels`] has them; `None`: the encoding's own.
    pub level: Option<i32>,
    /// Layers that came packed in another way are packed anew.
    pub force: bool,
}

/// Who is told how far the writing of a layer is.
#[allow(missing_debug_implementations)]
pub struct Notes<'n> {
    /// How many more bytes of the unpacked layer are done.
    pub read: &'n dyn Fn(u64),
    /// How many more bytes are in the file.
    pub written: &'n dyn Fn(u64),
}

impl Packing {
    /// Plain tars.
    pub const NONE: Packing = Packing { encoding: None, level: None, force: false };
    /// Read by everything.
    pub const GZIP: Packing = Packing { encoding: Some(Encoding::Gzip), ..Packing::NONE };
    /// Smaller, and faster to unpack.
    pub const ZSTD: Packing = Packing { encoding: Some(Encoding::Zstd), ..Packing::NONE };

    /// Whether there is such a level.
    ///
    /// # Errors
    /// Which levels there are.
    pub fn check(&self) -> Result<(), String> {
        match (self.level, self.encoding) {
            (None, _) => Ok(()),
            (Some(_), None) => Err("plain tars have no compression level".into()),
            (Some(level), Some(encoding)) if encoding.levels().contains(&level) => Ok(()),
            (Some(level), Some(encoding)) => {
                let levels = encoding.levels();
                Err(format!("{level} is no level of {encoding}: {} to {}", levels.start(), levels.end()))
            }
        }
    }

    /// Under which name the store notes what a layer came to when packed so; `None` for plain tars.
    pub fn way(&self) -> Option<String> {
        Some(self.encoding?.way_at(self.level))
    }

    /// Whether a layer that came packed goes out as it came.
    pub fn keeps(&self, descriptor: &Descriptor) -> bool {
        let wanted = match self.encoding {
            None => Packed::Plain,
            Some(Encoding::Gzip) => Packed::Gzip,
            Some(Encoding::Zstd) => Packed::Zstd,
        };
        // What level it was packed with does not show.
        !self.force || descriptor.packing() == Some(wanted) && self.level.is_none()
    }

    /// The descriptor of the layer `blob` in this packing, of docker's kinds where `layer` is.
    pub fn describe(&self, layer: &Descriptor, blob: &Blob) -> Descriptor {
        let docker = layer.media_type.starts_with("application/vnd.docker.");
        let kind = match self.encoding {
            None if docker => media::DOCKER_LAYER,
            None => media::LAYER,
            Some(Encoding::Gzip) if docker => media::DOCKER_LAYER_GZIP,
            Some(Encoding::Gzip) => media::LAYER_GZIP,
            Some(Encoding::Zstd) if docker => media::DOCKER_LAYER_ZSTD,
            Some(Encoding::Zstd) => media::LAYER_ZSTD,
        };
        Descriptor { media_type: kind.to_owned(), digest: blob.digest, size: blob.size, ..layer.clone() }
    }

    /// Writes a layer, packed, to a new file; its digest and length.
    ///
    /// # Errors
    /// The layer is not stored or damaged, the file cannot be written, or the work was called off.
    pub fn write(&self, store: &Store, diff_id: &Digest, path: &Path, cancel: &Cancel) -> Result<Blob, ExportError> {
        self.write_noting(store, diff_id, path, &Notes { read: &|_| {}, written: &|_| {} }, cancel)
    }

    /// As [`Packing::write`]; tells how far it is.
    ///
    /// # Errors
    /// As [`Packing::write`].
    pub fn write_noting(
        &self,
        store: &Store,
        diff_id: &Digest,
        path: &Path,
        notes: &Notes<'_>,
        cancel: &Cancel,
    ) -> Result<Blob, ExportError> {
        let file = File::create_new(path).at("create", path)?;
        let note = notes.read;
        let file = Noted { out: file, note: notes.written };
        let mut out = Hashed::new(BufWriter::with_capacity(1 << 20, file));
        match self.encoding {
            None => layers::layer_tar(store, diff_id, &mut Noted { out: &mut out, note }, cancel)?,
            Some(encoding) => {
                let encoder = Encoder::new(encoding, self.level, &mut out).at("write", path)?;
                let mut noted = Noted { out: encoder, note };
                layers::layer_tar(store, diff_id, &mut noted, cancel)?;
                noted.out.finish().at("write", path)?;
            }
        }
        out.out.flush().at("write", path)?;
        let size = out.hasher.len();
        Ok(Blob { digest: out.hasher.finish(), size })
    }
}

struct Noted<'n, W> {
    out: W,
    note: &'n dyn Fn(u64),
}

impl<W: Write> Write for Noted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        (self.note)(n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{layer, store};
    use super::*;

    #[test]
    fn a_packed_layer_is_kept_unless_another_packing_is_forced() {
        let gzip = Descriptor::new(media::DOCKER_LAYER_GZIP, Digest::of(b"x"), 1);
        let force = |packing: Packing, level| Packing { force: true, level, ..packing };
        for (packing, kept) in [
            (Packing::ZSTD, true),
            (Packing::NONE, true),
            (force(Packing::GZIP, None), true),
            (force(Packing::GZIP, Some(9)), false),
            (force(Packing::ZSTD, None), false),
            (force(Packing::NONE, None), false),
        ] {
            assert_eq!(packing.keeps(&gzip), kept, "{packing:?}");
        }
        let blob = Blob { digest: Digest::of(b"y"), size: 7 };
        let described = Packing::ZSTD.describe(&gzip, &blob);
        assert_eq!((described.media_type.as_str(), described.size), (media::DOCKER_LAYER_ZSTD, 7));
    }

    #[test]
    fn levels_show_in_the_bytes_and_in_their_name() {
        let test = store();
        let text = format!("a={}", "some text that packs well ".repeat(4000));
        let only = layer(&test.store, &[&text]);
        let mut sizes = Vec::new();
        for (index, level) in [Some(1), None, Some(9)].into_iter().enumerate() {
            let packing = Packing { level, ..Packing::GZIP };
            let path = test.dir.path().join(index.to_string());
            sizes.push(packing.write(&test.store, &only, &path, &Cancel::new()).unwrap().size);
        }
        assert!(sizes[0] > sizes[1] && sizes[1] >= sizes[2], "{sizes:?}");
        assert_eq!(Packing::GZIP.way(), Packing { level: Some(6), ..Packing::GZIP }.way());
        assert_ne!(Packing::GZIP.way(), Packing { level: Some(9), ..Packing::GZIP }.way());
        assert_eq!(Packing::NONE.way(), None);
    }
}
