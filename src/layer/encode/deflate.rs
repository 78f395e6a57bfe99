//! A block of a gzip member: deflate (RFC 1951), and what does not pack stored as it is, for trying costs far more time than
//! it saves bytes.

use flate2::{Compress, Compression, FlushCompress, Status};
use std::io;

/// Bytes that are packed or stored as one.
const PIECE: usize = 64 << 10;
/// Bytes that a stored block holds at most (RFC 1951, 3.2.4).
const STORED: usize = 65_535;
/// How far back deflate can point.
pub(super) const WINDOW: usize = 32 << 10;

/// One block as raw deflate that ends on a byte boundary, given what stands before it. A fresh state for each run of
/// pieces: a used one may give other bytes.
pub(super) fn deflate(block: &[u8], dictionary: &[u8], level: Compression) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(block.len() / 2 + 1024);
    let mut at = 0;
    for (packs, end) in runs(block, level) {
        let run = &block[at..end];
        match packs {
            false => store(run, &mut out),
            true if at == 0 => pack(run, dictionary, level, &mut out)?,
            true => pack(run, &block[at.saturating_sub(WINDOW)..at], level, &mut out)?,
        }
        at = end;
    }
    Ok(out)
}

/// Where pieces that pack and such that do not give way to each other: whether a run packs, and its end.
fn runs(block: &[u8], level: Compression) -> Vec<(bool, usize)> {
    let mut runs: Vec<(bool, usize)> = Vec::new();
    let mut end = 0;
    for piece in block.chunks(PIECE) {
        end += piece.len();
        let packs = level.level() > 0 && !is_noise(piece);
        match runs.last_mut() {
            Some(last) if last.0 == packs => last.1 = end,
            _ => runs.push((packs, end)),
        }
    }
    runs
}

/// Whether a piece is as good as random: its bytes are spread evenly, and next to nothing in it occurs twice.
fn is_noise(piece: &[u8]) -> bool {
    if piece.len() < PIECE {
        return false;
    }
    let mut counts = [0_u32; 256];
    for byte in piece {
        counts[usize::from(*byte)] += 1;
    }
    // Pearson's test against even counts: 255 on average for noise, with a deviation of 23. Integers, for the same answer
    // on every machine.
    let even = (PIECE / 256) as u64;
    let spread: u64 = counts.iter().map(|&count| u64::from(count).abs_diff(even).pow(2)).sum::<u64>() / even;
    spread < 512 && repeats(piece) < PIECE / 256
}

/// How many of the 4-byte words of a piece stood in it before, roughly: every eighth is remembered.
fn repeats(piece: &[u8]) -> usize {
    let mut seen = vec![0_u32; 1 << 14];
    let mut found = 0;
    for (at, word) in piece.windows(4).enumerate() {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        let slot = &mut seen[(word.wrapping_mul(0x9E37_79B1) >> 18) as usize];
        found += usize::from(*slot == word);
        if at % 8 == 0 {
            *slot = word;
        }
    }
    found
}

fn store(run: &[u8], out: &mut Vec<u8>) {
    for part in run.chunks(STORED) {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        // Not the last block, of the stored kind, filled up to a byte.
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(part);
    }
}

fn pack(run: &[u8], dictionary: &[u8], level: Compression, out: &mut Vec<u8>) -> io::Result<()> {
    let mut state = Compress::new(level, false);
    if !dictionary.is_empty() {
        state.set_dictionary(dictionary).map_err(io::Error::other)?;
    }
    out.reserve(run.len() / 2 + 1024);
    loop {
        let read = usize::try_from(state.total_in()).unwrap_or(usize::MAX);
        let status = state.compress_vec(&run[read..], out, FlushCompress::Sync).map_err(io::Error::other)?;
        let done = state.total_in() == run.len() as u64 && out.len() < out.capacity();
        match status {
            Status::Ok | Status::BufError if done => return Ok(()),
            Status::StreamEnd => return Err(io::Error::other("deflate ended early")),
            _ => out.reserve(out.capacity().max(1024)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 7_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        std::iter::repeat_with(|| next().to_le_bytes()).flatten().take(length).collect()
    }

    #[test]
    fn noise_is_stored_and_what_only_looks_like_it_is_packed() {
        let noise = noise(4 * PIECE);
        let text = "usr/share/doc/copyright ".repeat(PIECE / 16);
        let page_twice = [&noise[..PIECE / 2], &noise[..PIECE / 2]].concat();
        let hex: Vec<u8> = noise.iter().flat_map(|b| format!("{b:02x}").into_bytes()).take(PIECE).collect();
        for (name, piece, expected) in [
            ("noise", &noise[..PIECE], true),
            ("text", &text.as_bytes()[..PIECE], false),
            ("a random page twice", &page_twice, false),
            ("hexadecimal", &hex, false),
            ("a short rest", &noise[..PIECE - 1], false),
        ] {
            assert_eq!(is_noise(piece), expected, "{name}");
        }
    }

    #[test]
    fn runs_of_both_kinds_unpack_and_noise_grows_by_its_headers_alone() {
        let (noise, level) = (noise(4 * PIECE), Compression::new(6));
        let text = "some text that packs well ".repeat(PIECE / 16).into_bytes();
        for block in [
            noise.clone(),
            text.clone(),
            [&noise[..2 * PIECE], &text[..PIECE], &noise[..PIECE], &text[..100]].concat(),
            [&text[..PIECE + 5], &noise[..], &text[..]].concat(),
            Vec::new(),
        ] {
            let mut packed = deflate(&block, b"", level).unwrap();
            if block == noise {
                assert_eq!(packed.len(), block.len() + 5 * block.len().div_ceil(STORED));
            }
            packed.extend_from_slice(&[3, 0]);
            let mut unpacked = Vec::new();
            flate2::read::DeflateDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == block);
        }
    }
}
