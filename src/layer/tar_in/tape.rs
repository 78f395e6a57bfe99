//! A tar archive as a stream of members, for hostile input: parsed once, by the very bytes that are hashed.
//!
//! Reading and hashing the stream happens on a thread of its own, beside the writing of files.

use super::error::ApplyError;
use crate::base::{Digest, Hasher};
use std::io::{self, Read};
use std::sync::mpsc;
use tar_core::EntryType;
use tar_core::parse::{Limits as ParserLimits, ParseEvent, ParsedEntry, Parser};

/// Bytes handed from thread to thread at a time.
const CHUNK: usize = 256 * 1024;

/// Longest path, as the kernel's PATH_MAX.
const MAX_PATH: u32 = 4096;

/// What one member's header blocks may take together: pax records of 1 MiB and the longest sparse map.
const MAX_HEADERS: usize = 4 << 20;

/// One member of an archive, with pax and GNU extensions applied.
#[derive(Debug)]
pub(super) struct Member {
    pub path: Vec<u8>,
    pub kind: EntryType,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: i64,
    /// Bytes that follow in the archive.
    pub stored: u64,
    /// (offset, length) of what is stored, and the file's full size.
    pub sparse: Option<(Vec<(u64, u64)>, u64)>,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The stream of an archive.
#[derive(Debug)]
pub(super) struct Tape {
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    window: Vec<u8>,
    start: usize,
    parser: Parser,
    /// Bytes consumed so far.
    position: u64,
    ended: bool,
}

/// Lets `body` read the archive, to its end; gives what it gives with sha256 and length of the stream.
pub(super) fn with_tape<T>(
    reader: &mut (dyn Read + Send),
    body: impl FnOnce(&mut Tape) -> Result<T, ApplyError>,
) -> Result<(T, Digest, u64), ApplyError> {
    std::thread::scope(|scope| {
        let (sender, chunks) = mpsc::sync_channel(4);
        let hashing = scope.spawn(move || {
            let mut hasher = Hasher::new();
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                let read = reader.take(CHUNK as u64).read_to_end(&mut chunk);
                if let Err(e) = read {
                    // The other side may have given up; then nobody is there to tell.
                    let _ = sender.send(Err(e));
                    break;
                }
                hasher.update(&chunk);
                if chunk.is_empty() || sender.send(Ok(chunk)).is_err() {
                    break;
                }
            }
            let length = hasher.len();
            (hasher.finish(), length)
        });
        let limits = ParserLimits { max_path_len: Some(MAX_PATH), ..ParserLimits::default() };
        let mut parser = Parser::new(limits);
        // Negative times are legal in pax, but not to this parser: it is told to look away, and numbers are checked here.
        parser.set_ignore_pax_errors(true);
        // A name may stand for the root; what that may be is told by who applies it.
        parser.set_allow_empty_path(true);
        let mut tape = Tape { chunks, window: Vec::new(), start: 0, parser, position: 0, ended: false };
        let result = body(&mut tape);
        drop(tape);
        let (digest, length) = hashing.join().map_err(|_| ApplyError::Read(io::Error::other("a thread failed")))?;
        Ok((result?, digest, length))
    })
}

impl Tape {
    /// The next member; `raw` gets the bytes of its headers, or of the archive's end and all that follows it.
    pub fn next(&mut self, raw: &mut dyn FnMut(&[u8]) -> Result<(), ApplyError>) -> Result<Option<Member>, ApplyError> {
        loop {
            let available = &self.window[self.start..];
            let event = self.parser.parse(available).map_err(|e| self.invalid(e.to_string()))?;
            let (consumed, member) = match event {
                ParseEvent::NeedData { min_bytes } => {
                    let have = available.len();
                    if min_bytes > MAX_HEADERS {
                        return Err(self.invalid("the headers of one member are too long"));
                    }
                    if self.grow()? {
                        continue;
                    }
                    // An archive may lack its end, or have one zero block where two belong.
                    if have == 0 || (have == 512 && self.window[self.start..].iter().all(|b| *b == 0)) {
                        self.rest(raw)?;
                        return Ok(None);
                    }
                    return Err(self.invalid("it ends in the middle of a header"));
                }
                ParseEvent::Entry { consumed, entry } => (consumed, Some(member(&entry, None))),
                ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
                    let map = sparse_map.iter().map(|part| (part.offset, part.length)).collect();
                    (consumed, Some(member(&entry, Some((map, real_size)))))
                }
                // Defaults for all that follows: ignored as docker and containerd do (git writes a comment there).
                ParseEvent::GlobalExtensions { consumed, .. } => (consumed, None),
                ParseEvent::End { .. } => {
                    self.rest(raw)?;
                    return Ok(None);
                }
            };
            let member = member.transpose().map_err(|reason| self.invalid(reason))?;
            raw(&self.window[self.start..self.start + consumed])?;
            self.consume(consumed);
            if member.is_some() {
                return Ok(member);
            }
        }
    }

    /// Gives the next `length` bytes in pieces.
    pub fn content(
        &mut self,
        length: u64,
        each: &mut dyn FnMut(&[u8]) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError> {
        let mut left = length;
        while left > 0 {
            if self.start == self.window.len() && !self.grow()? {
                return Err(self.invalid("it ends in the middle of a file"));
            }
            let available = &self.window[self.start..];
            let count = left.min(available.len() as u64) as usize;
            each(&available[..count])?;
            self.consume(count);
            left -= count as u64;
        }
        Ok(())
    }

    /// All bytes to the end of the stream.
    fn rest(&mut self, raw: &mut dyn FnMut(&[u8]) -> Result<(), ApplyError>) -> Result<(), ApplyError> {
        loop {
            raw(&self.window[self.start..])?;
            self.consume(self.window.len() - self.start);
            if !self.grow()? {
                return Ok(());
            }
        }
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.position += count as u64;
    }

    /// Gets more of the stream into the window; false at its end.
    fn grow(&mut self) -> Result<bool, ApplyError> {
        if self.ended {
            return Ok(false);
        }
        match self.chunks.recv() {
            Ok(chunk) => {
                let chunk = chunk.map_err(ApplyError::Read)?;
                if self.start == self.window.len() {
                    self.window = chunk;
                } else {
                    self.window.drain(..self.start);
                    self.window.extend_from_slice(&chunk);
                }
                self.start = 0;
                Ok(true)
            }
            // The other thread is done with the stream.
            Err(mpsc::RecvError) => {
                self.ended = true;
                Ok(false)
            }
        }
    }

    fn invalid(&self, reason: impl Into<String>) -> ApplyError {
        ApplyError::Invalid { position: self.position, reason: reason.into() }
    }
}

/// Takes over what the parser resolved and checks what it let pass.
fn member(entry: &ParsedEntry<'_>, sparse: Option<(Vec<(u64, u64)>, u64)>) -> Result<Member, String> {
    // GNU tar writes times before 1970 as negative binary numbers, of which the parser gives the low 64 bits.
    let mut mtime = entry.mtime.cast_signed();
    let mut size = None;
    for record in entry.pax.map(tar_core::PaxExtensions::new).into_iter().flatten() {
        let record = record.map_err(|e| e.to_string())?;
        let (key, value) = (record.key_bytes(), record.value_bytes());
        let bad = || format!("the pax record {}={} is no number", key.escape_ascii(), value.escape_ascii());
        match key {
            b"mtime" => mtime = seconds(value).ok_or_else(bad)?,
            b"uid" | b"gid" => _ = number(value).ok_or_else(bad)?,
            b"size" => size = Some(number(value).ok_or_else(bad)?),
            _ => {}
        }
    }
    // An archive whose two sizes differ is two archives, depending on who reads it.
    const LARGEST_OCTAL: u64 = 0o777_7777_7777;
    if let Some(size) = size
        && size <= LARGEST_OCTAL
    {
        let plain = entry.header.entry_size().map_err(|e| e.to_string())?;
        if plain != 0 && plain != size {
            return Err(format!("its header says {plain} bytes and its pax record {size}"));
        }
    }
    Ok(Member {
        path: entry.path.to_vec(),
        kind: entry.entry_type,
        link: entry.link_target.as_deref().unwrap_or_default().to_vec(),
        mode: entry.mode & 0o7777,
        uid: entry.uid,
        gid: entry.gid,
        mtime,
        stored: entry.size,
        sparse,
        device: (entry.dev_major.unwrap_or(0), entry.dev_minor.unwrap_or(0)),
        xattrs: entry.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
    })
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A pax time, `-1.5`, as the whole seconds before it.
fn seconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    let below = text.starts_with('-') && fraction.bytes().any(|b| b != b'0');
    if fraction.bytes().all(|b| b.is_ascii_digit()) { whole.checked_sub(i64::from(below)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_times_are_rounded_down() {
        for (text, expected) in [
            ("0", Some(0)),
            ("12.9", Some(12)),
            ("-1", Some(-1)),
            ("-1.5", Some(-2)),
            ("-0.5", Some(-1)),
            ("-3.000", Some(-3)),
            ("", None),
            ("x", None),
            ("1.x", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), expected, "{text}");
        }
    }
}
