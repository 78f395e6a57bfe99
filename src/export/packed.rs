//! Reading what may be compressed: the packing is told from the first bytes, never from a name or a media type.

use std::cell::Cell;
use std::io::{self, Chain, Cursor, Read};
use std::rc::Rc;

/// Largest unpacked stream that is read, in bytes.
pub const MAX_UNPACKED: u64 = 256 << 30;
/// Memory that an xz stream may ask for, in bytes: what `xz -9` needs is 65 MiB.
const XZ_MEMORY: u64 = 512 << 20;
/// log2 of the largest zstd window: what `zstd --long=27` and less need.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Beyond this many unpacked bytes, a stream that grew more than [`MAX_RATIO`]-fold is refused. gzip never reaches
/// that ratio, not even with zeros alone.
const RATIO_FROM: u64 = 1 << 30;
/// See [`RATIO_FROM`].
const MAX_RATIO: u64 = 2000;

/// How a stream is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, also of several members.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The .xz format.
    Xz,
    /// bzip2.
    Bzip2,
}

impl Compression {
    /// Tells the packing from a stream's first bytes.
    pub fn detect(head: &[u8]) -> Compression {
        match head {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
            _ => Compression::None,
        }
    }
}

/// A stream, unpacked while it is read, within limits.
pub struct Unpacked<'r> {
    inner: Box<dyn Read + 'r>,
    compression: Compression,
    packed: Rc<Cell<u64>>,
    unpacked: u64,
}

impl<'r> Unpacked<'r> {
    /// Looks at the first bytes of `reader` and sets up what unpacks it.
    ///
    /// # Errors
    /// Reading failed.
    pub fn new(mut reader: impl Read + 'r) -> io::Result<Unpacked<'r>> {
        let mut head = Vec::with_capacity(6);
        reader.by_ref().take(6).read_to_end(&mut head)?;
        let compression = Compression::detect(&head);
        let packed = Rc::new(Cell::new(0));
        let source: Counted<Chain<Cursor<Vec<u8>>, _>> =
            Counted { inner: Cursor::new(head).chain(reader), count: Rc::clone(&packed) };
        let inner: Box<dyn Read + 'r> = match compression {
            Compression::None => Box::new(source),
            Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(source)),
            Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(source)),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::new(source)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Compression::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
                Box::new(liblzma::read::XzDecoder::new_stream(source, stream))
            }
        };
        Ok(Unpacked { inner, compression, packed, unpacked: 0 })
    }

    /// How the stream is packed.
    pub fn compression(&self) -> Compression {
        self.compression
    }
}

impl Read for Unpacked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.unpacked += n as u64;
        let refused = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        if self.unpacked > MAX_UNPACKED {
            return refused(format!("it unpacks to more than {MAX_UNPACKED} bytes"));
        }
        let grown = self.unpacked / self.packed.get().max(1);
        if self.compression != Compression::None && self.unpacked > RATIO_FROM && grown > MAX_RATIO {
            return refused(format!("it unpacks to more than {MAX_RATIO} times its size"));
        }
        Ok(n)
    }
}

impl std::fmt::Debug for Unpacked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacked").field("compression", &self.compression).finish_non_exhaustive()
    }
}

struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.set(self.count.get() + n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => bytes.to_vec(),
            Compression::Gzip => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
            Compression::Xz => {
                let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
            Compression::Bzip2 => {
                let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
        }
    }

    #[test]
    fn every_packing_is_told_from_its_bytes_and_may_have_several_members() {
        use Compression::{Bzip2, Gzip, None, Xz, Zstd};
        for compression in [None, Gzip, Zstd, Xz, Bzip2] {
            let mut bytes = packed(compression, b"one ");
            bytes.extend(packed(compression, b"two"));
            let mut unpacked = Unpacked::new(&bytes[..]).unwrap();
            assert_eq!(unpacked.compression(), compression);
            let mut text = String::new();
            unpacked.read_to_string(&mut text).unwrap();
            assert_eq!(text, "one two", "{compression:?}");
        }
    }

    #[test]
    fn a_cut_stream_is_an_error_and_a_short_one_is_not() {
        let bytes = packed(Compression::Gzip, &[7; 1000]);
        let mut cut = Unpacked::new(&bytes[..bytes.len() - 4]).unwrap();
        assert!(cut.read_to_end(&mut Vec::new()).is_err());
        let mut short = Unpacked::new(&b"abc"[..]).unwrap();
        let mut text = String::new();
        short.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }
}
