//! Compressed archives, told by their first bytes, never by their names.

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;
use std::io::{self, Cursor, Read};

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// RFC 8878.
    Zstd,
}

/// Memory that an xz stream may ask for: four times what `xz -9` needs.
const XZ_MEMORY: u64 = 256 << 20;

/// Largest window of a zstd stream, as a power of two: 128 MiB, the default limit of zstd(1).
const ZSTD_WINDOW_LOG: u32 = 27;

/// The compression that a file's first bytes announce.
pub fn sniff(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Reads an archive as what it expands to (all members, frames or streams of it), of which there may be `limit` bytes.
pub fn open_compressed<'r>(
    mut reader: impl Read + Send + 'r,
    limit: u64,
) -> io::Result<(Box<dyn Read + Send + 'r>, Compression)> {
    let mut head = Vec::with_capacity(6);
    reader.by_ref().take(6).read_to_end(&mut head)?;
    let compression = sniff(&head);
    let whole = Cursor::new(head).chain(reader);
    let expanded: Box<dyn Read + Send + 'r> = match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(MultiGzDecoder::new(whole)),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(whole)),
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(XzDecoder::new_stream(whole, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(whole)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    };
    Ok((Box::new(Limited { inner: expanded, left: limit, limit }), compression))
}

/// Whether a file is a tar archive, compressed or not: what ADD unpacks. Only its beginning is read; what can't be
/// read is none.
pub fn is_archive(reader: impl Read + Send) -> bool {
    let mut block = Vec::with_capacity(512);
    let read = open_compressed(reader, u64::MAX).and_then(|(expanded, _)| expanded.take(512).read_to_end(&mut block));
    let (Ok(_), Ok(block)) = (read, <&[u8; 512]>::try_from(block.as_slice())) else { return false };
    let header = tar_core::Header::from_bytes(block);
    !header.is_empty() && header.verify_checksum().is_ok()
}

/// Refuses to give more than a number of bytes.
struct Limited<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => {
                self.left = left;
                Ok(n)
            }
            None => Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the archive expands to more than the limit of {} bytes", self.limit),
            )),
        }
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
                let mut w = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                w.write_all(bytes).unwrap();
                w.finish().unwrap()
            }
            Compression::Bzip2 => {
                let mut w = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                w.write_all(bytes).unwrap();
                w.finish().unwrap()
            }
            Compression::Xz => {
                let mut w = liblzma::write::XzEncoder::new(Vec::new(), 0);
                w.write_all(bytes).unwrap();
                w.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        }
    }

    #[test]
    fn every_compression_is_told_by_its_bytes_read_to_its_last_member_and_limited() {
        use Compression::*;
        for compression in [None, Gzip, Bzip2, Xz, Zstd] {
            let twice = [packed(compression, b"first,"), packed(compression, b"second")].concat();
            let (mut reader, found) = open_compressed(twice.as_slice(), 12).unwrap();
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!((found, text.as_str()), (compression, "first,second"));

            let (mut reader, _) = open_compressed(twice.as_slice(), 11).unwrap();
            let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{compression:?}");
        }
        assert_eq!(open_compressed(&b"ab"[..], 9).unwrap().1, None);
    }

    #[test]
    fn an_archive_is_known_by_its_first_header() {
        let mut header = tar::Header::new_ustar();
        header.set_path("x").unwrap();
        header.set_size(0);
        header.set_cksum();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            assert!(is_archive(packed(compression, header.as_bytes()).as_slice()));
            assert!(!is_archive(packed(compression, &[b'x'; 1024]).as_slice()));
        }
        assert!(!is_archive(&[0; 1024][..]));
        assert!(!is_archive(&b"\x1f\x8bgarbage"[..]));
        assert!(!is_archive(&b""[..]));
    }
}
