//! Packing a layer's tar, in parallel, so that the same tar gives the same bytes on any machine and with any number of
//! threads. None of the libraries promises that on its own: the versions are pinned, the parameters fixed, and the bytes
//! a test's; whoever changes any of them changes [`Encoding::way`] too.
//!
//! gzip: one member (RFC 1952) of blocks of 1 MiB, each compressed apart with the 32 KiB before it as dictionary and
//! ended on a byte boundary, as pigz does; pieces that do not pack are stored as they are ([`deflate`]). zstd: one frame, by
//! the library's own workers, whose jobs are of fixed size.

mod deflate;

use deflate::{WINDOW, deflate};
use flate2::{Compression, Crc};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvError, TryRecvError, sync_channel};

/// Bytes of the tar in one gzip block.
const BLOCK: usize = 1 << 20;
/// What gzip's own default level is.
const GZIP_LEVEL: i32 = 6;
/// The default of zstd(1).
const ZSTD_LEVEL: i32 = 3;
/// Largest window of a zstd frame, as a power of two: 8 MiB, what every reader must be able to take (RFC 8878, 3.1.1.1.2).
const ZSTD_WINDOW: u32 = 23;
/// Bytes of the tar in one zstd job.
const ZSTD_JOB: u32 = 4 << 20;
/// No name, no time, an unknown system: nothing that is not the tar's.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block with fixed codes (RFC 1951, 3.2.3).
const GZIP_END: [u8; 2] = [3, 0];

/// How a tar is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// Encoder and version: the same of it gives the same bytes.
    pub fn way(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip-2",
            Encoding::Zstd => "zstd-1",
        }
    }

    /// As [`Encoding::way`], of a level; `None`: the usual one.
    pub fn way_at(self, level: Option<i32>) -> String {
        match level.filter(|level| *level != self.usual_level()) {
            None => self.way().to_owned(),
            Some(level) => format!("{}-level-{level}", self.way()),
        }
    }

    /// The levels there are: those of gzip(1) with 0 for none, and those of zstd(1) with `--ultra`.
    pub fn levels(self) -> std::ops::RangeInclusive<i32> {
        match self {
            Encoding::Gzip => 0..=9,
            Encoding::Zstd => 1..=22,
        }
    }

    fn usual_level(self) -> i32 {
        match self {
            Encoding::Gzip => GZIP_LEVEL,
            Encoding::Zstd => ZSTD_LEVEL,
        }
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        })
    }
}

/// Packs what is written to it.
#[allow(missing_debug_implementations)]
pub enum Encoder<W: Write> {
    /// gzip.
    Gzip(Gzip<W>),
    /// zstd.
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// An encoder on as many threads as there are processors. `level` is one of [`Encoding::levels`]; `None`: the usual
    /// one.
    ///
    /// # Errors
    /// The beginning cannot be written.
    pub fn new(encoding: Encoding, level: Option<i32>, out: W) -> io::Result<Encoder<W>> {
        Encoder::on(encoding, level, out, rayon::current_num_threads())
    }

    fn on(encoding: Encoding, level: Option<i32>, out: W, threads: usize) -> io::Result<Encoder<W>> {
        let level = level.unwrap_or(encoding.usual_level());
        match encoding {
            Encoding::Gzip => Gzip::new(out, level, threads).map(Encoder::Gzip),
            Encoding::Zstd => zstd_encoder(out, level, threads).map(Encoder::Zstd),
        }
    }

    /// Writes what is left and the end; gives back what was written to.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Encoder::Gzip(gzip) => gzip.finish(),
            Encoder::Zstd(zstd) => zstd.finish(),
        }
    }
}

fn zstd_encoder<W: Write>(out: W, level: i32, threads: usize) -> io::Result<zstd::stream::write::Encoder<'static, W>> {
    use zstd::zstd_safe::CParameter;
    let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
    // One worker gives what many give; none gives something else (zstd#2238).
    encoder.multithread(u32::try_from(threads.max(1)).unwrap_or(1))?;
    encoder.set_parameter(CParameter::JobSize(ZSTD_JOB))?;
    if level > 19 {
        encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW))?;
    }
    encoder.include_checksum(true)?;
    Ok(encoder)
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::Gzip(gzip) => gzip.write(bytes),
            Encoder::Zstd(zstd) => zstd.write(bytes),
        }
    }

    /// Does nothing: where a flush falls would show in the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Packs blocks on other threads while the next are gathered, and writes them in order.
#[allow(missing_debug_implementations)]
pub struct Gzip<W: Write> {
    out: W,
    /// The last [`WINDOW`] bytes before a block, and after them what is gathered of it.
    pending: Vec<u8>,
    /// Where in `pending` the block begins.
    start: usize,
    /// Blocks that are packed, or will be.
    blocks: VecDeque<Receiver<io::Result<Block>>>,
    /// How many of them there may be: bounds what is in memory.
    ahead: usize,
    level: Compression,
    crc: Crc,
}

/// A block that is packed.
struct Block {
    bytes: Vec<u8>,
    /// Of what it was.
    crc: Crc,
}

impl<W: Write> Gzip<W> {
    fn new(mut out: W, level: i32, threads: usize) -> io::Result<Gzip<W>> {
        out.write_all(&GZIP_HEADER)?;
        let level = Compression::new(level.unsigned_abs().min(9));
        let (blocks, ahead) = (VecDeque::new(), 2 * threads.max(1));
        Ok(Gzip { out, pending: Vec::new(), start: 0, blocks, ahead, level, crc: Crc::new() })
    }

    /// Hands over what is gathered.
    fn pack(&mut self) -> io::Result<()> {
        if self.blocks.len() == self.ahead {
            self.write_first()?;
        }
        let window = &self.pending[self.pending.len().saturating_sub(WINDOW)..];
        let mut next = Vec::with_capacity(WINDOW + BLOCK);
        next.extend_from_slice(window);
        let start = std::mem::replace(&mut self.start, next.len());
        let (gathered, level) = (std::mem::replace(&mut self.pending, next), self.level);
        let (sender, receiver) = sync_channel(1);
        rayon::spawn_fifo(move || {
            let (before, block) = gathered.split_at(start);
            let mut crc = Crc::new();
            crc.update(block);
            // Nobody waits for it after an error.
            let _ = sender.send(deflate(block, before, level).map(|bytes| Block { bytes, crc }));
        });
        self.blocks.push_back(receiver);
        Ok(())
    }

    fn write_first(&mut self) -> io::Result<()> {
        let Some(receiver) = self.blocks.pop_front() else { return Ok(()) };
        let block = wait(&receiver)?;
        self.crc.combine(&block.crc);
        self.out.write_all(&block.bytes)
    }

    fn finish(mut self) -> io::Result<W> {
        if self.pending.len() > self.start {
            self.pack()?;
        }
        while !self.blocks.is_empty() {
            self.write_first()?;
        }
        self.out.write_all(&GZIP_END)?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }
}

/// What another thread has made. One of rayon's own works meanwhile, for the others may all be waiting here.
fn wait(receiver: &Receiver<io::Result<Block>>) -> io::Result<Block> {
    let lost = |_| io::Error::other("a block was lost");
    loop {
        match receiver.try_recv() {
            Err(TryRecvError::Empty) => {}
            result => return result.map_err(|_| lost(RecvError))?,
        }
        match rayon::yield_now() {
            None => return receiver.recv().map_err(lost)?,
            Some(rayon::Yield::Executed) => {}
            Some(rayon::Yield::Idle) => std::thread::yield_now(),
        }
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK - (self.pending.len() - self.start);
        let taken = room.min(bytes.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        if taken == room {
            self.pack()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;
    use crate::layer::compress;
    use std::io::Read;

    /// Text and noise that do not depend on anything, of 3 blocks and a bit.
    fn sample() -> Vec<u8> {
        let mut state = 1_u64;
        let mut out = Vec::new();
        while out.len() < 3 * BLOCK + 12_345 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match state >> 62 {
                0 => out.extend_from_slice(&state.to_le_bytes()),
                _ => out.extend_from_slice(format!("usr/share/doc/{:x}/copyright\n", (state >> 40) % 512).as_bytes()),
            }
        }
        out
    }

    fn encode(encoding: Encoding, threads: usize, piece: usize, bytes: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::on(encoding, None, Vec::new(), threads).unwrap();
        for piece in bytes.chunks(piece) {
            encoder.write_all(piece).unwrap();
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_packed_unpacks_and_depends_on_nothing_but_the_bytes() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            for bytes in [&sample()[..], &sample()[..BLOCK], &b"x"[..], b""] {
                let packed = encode(encoding, 1, 999_999, bytes);
                assert_eq!(packed, encode(encoding, 3, 4096, bytes), "{encoding:?}, {} bytes", bytes.len());
                let mut unpacked = Vec::new();
                let (mut reader, _) = compress::open_compressed(&packed[..], u64::MAX).unwrap();
                reader.read_to_end(&mut unpacked).unwrap();
                assert!(unpacked == bytes, "{encoding:?}, {} bytes", bytes.len());
            }
        }
    }

    #[test]
    fn gzip_is_one_member_that_plain_decoders_read_to_its_end() {
        let (bytes, packed) = (sample(), encode(Encoding::Gzip, 2, 1 << 16, &sample()));
        let mut decoder = flate2::bufread::GzDecoder::new(&packed[..]);
        let mut unpacked = Vec::new();
        decoder.read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == bytes && decoder.into_inner().is_empty());
    }

    /// These digests are a promise: registries hold blobs under them. Where a library changes its output, raise
    /// [`Encoding::way`] with them.
    #[test]
    fn the_bytes_are_those_of_earlier_versions() {
        for (encoding, expected) in [
            (Encoding::Gzip, "sha256:7d1dcd9026e0f91501baed5deadcf7700a2c20393db295a6c052c7d259d6e9ec"),
            (Encoding::Zstd, "sha256:57aef9a342536779039e7afa82132234301dc42f33be4de4ceeef70eff3f8da6"),
        ] {
            assert_eq!(Digest::of(&encode(encoding, 2, 1 << 16, &sample())).to_string(), expected, "{encoding:?}");
        }
    }
}
