//! How to reproduce a foreign layer's tar byte by byte: its headers and padding as they were, its files' contents by
//! reference to the unpacked layer.
//!
//! The file is one zstd stream: a magic, then segments. `1`: raw bytes behind their length (4 bytes). `2`: a path
//! behind its length, an offset and a length (8 bytes each) in that file of the layer. `0`: the end, and the length of
//! the whole tar (8 bytes).

use super::pump::open_regular;
use super::{Index, Kind, pump, tar_out};
use crate::base::fs::{Context, rename};
use crate::base::root::Root;
use crate::base::{Cancel, Digest, Hasher, IoError};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"rbrecip\x01";
/// Longest raw segment that is written or believed.
const MAX_RAW: usize = 1 << 20;
const MAX_PATH: usize = 4096;

type Encoder = zstd::stream::write::Encoder<'static, BufWriter<File>>;

/// Writes a recipe.
pub(super) struct Writer {
    path: PathBuf,
    out: Encoder,
    raw: Vec<u8>,
    total: u64,
    /// For every reference written: the spooled file that must stand in for it, if its own was replaced.
    references: Vec<Option<usize>>,
    by_path: HashMap<Vec<u8>, Vec<usize>>,
    /// Files that were replaced after they were referred to.
    spool: Option<tempfile::TempDir>,
    spooled: usize,
}

impl Writer {
    pub fn create(path: &Path) -> Result<Writer, IoError> {
        let mut out = encoder(path)?;
        out.write_all(MAGIC).at("write", path)?;
        Ok(Writer {
            path: path.to_owned(),
            out,
            raw: Vec::new(),
            total: 0,
            references: Vec::new(),
            by_path: HashMap::new(),
            spool: None,
            spooled: 0,
        })
    }

    /// Adds bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        self.total += bytes.len() as u64;
        for part in bytes.chunks(MAX_RAW) {
            if self.raw.len() + part.len() > MAX_RAW {
                self.flush_raw()?;
            }
            self.raw.extend_from_slice(part);
        }
        Ok(())
    }

    /// Adds `length` bytes at `offset` of a file of the layer.
    pub fn file(&mut self, path: &[u8], offset: u64, length: u64) -> Result<(), IoError> {
        if length == 0 {
            return Ok(());
        }
        self.flush_raw()?;
        put_reference(&mut self.out, path, offset, length).at("write", &self.path)?;
        self.by_path.entry(path.to_vec()).or_default().push(self.references.len());
        self.references.push(None);
        self.total += length;
        Ok(())
    }

    /// Where to move a file of the layer that is about to be replaced, if the recipe refers to it.
    pub fn spool(&mut self, path: &[u8]) -> Result<Option<(&Path, String)>, IoError> {
        let Some(references) = self.by_path.remove(path) else { return Ok(None) };
        for reference in references {
            self.references[reference] = Some(self.spooled);
        }
        if self.spool.is_none() {
            let beside = self.path.parent().unwrap_or(Path::new("."));
            self.spool = Some(tempfile::tempdir_in(beside).at("create a temporary directory in", beside)?);
        }
        let name = self.spooled.to_string();
        self.spooled += 1;
        Ok(self.spool.as_ref().map(|spool| (spool.path(), name)))
    }

    fn flush_raw(&mut self) -> Result<(), IoError> {
        if !self.raw.is_empty() {
            put_raw(&mut self.out, &self.raw).at("write", &self.path)?;
            self.raw.clear();
        }
        Ok(())
    }

    /// Completes the file.
    pub fn finish(mut self) -> Result<(), IoError> {
        self.flush_raw()?;
        finish(self.out, self.total, &self.path)?;
        let Some(spool) = self.spool else { return Ok(()) };
        // Some references lead to files that later members replaced: those become raw bytes.
        let fuller = self.path.with_extension("full");
        let mut out = encoder(&fuller)?;
        out.write_all(MAGIC).at("write", &fuller)?;
        let mut reader = Reader::open(&self.path)?;
        let mut references = self.references.iter();
        while let Some(segment) = reader.next()? {
            match segment {
                Segment::Raw(bytes) => put_raw(&mut out, &bytes).at("write", &fuller)?,
                Segment::File { path, offset, length } => match references.next() {
                    Some(Some(number)) => {
                        let mut file = crate::base::fs::open(spool.path().join(number.to_string()))?;
                        let mut put = |bytes: &[u8]| put_raw(&mut out, bytes).at("write", &fuller);
                        copy_range(&mut file, offset, length, &mut put)
                            .map_err(|e| failed("read back", &fuller, e))??;
                    }
                    _ => put_reference(&mut out, &path, offset, length).at("write", &fuller)?,
                },
            }
        }
        finish(out, self.total, &fuller)?;
        rename(&fuller, &self.path)
    }
}

fn encoder(path: &Path) -> Result<Encoder, IoError> {
    let file = File::create(path).at("create", path)?;
    zstd::stream::write::Encoder::new(BufWriter::new(file), 1).at("create", path)
}

fn finish(mut out: Encoder, total: u64, path: &Path) -> Result<(), IoError> {
    let end = [&[0][..], &total.to_le_bytes()].concat();
    out.write_all(&end).and_then(|()| out.finish()).and_then(|mut file| file.flush()).at("write", path)
}

fn put_raw(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(&[1])?;
    out.write_all(&(bytes.len() as u32).to_le_bytes())?;
    out.write_all(bytes)
}

fn put_reference(out: &mut dyn Write, path: &[u8], offset: u64, length: u64) -> io::Result<()> {
    out.write_all(&[2])?;
    out.write_all(&(path.len() as u32).to_le_bytes())?;
    out.write_all(path)?;
    out.write_all(&offset.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())
}

fn failed(act: &'static str, path: &Path, source: io::Error) -> IoError {
    IoError { act, path: path.to_owned(), source }
}

/// Calls `put` with the bytes of a range of a file. The outer error is of reading, the inner one `put`'s own.
fn copy_range<E>(
    file: &mut File,
    offset: u64,
    length: u64,
    put: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> io::Result<Result<(), E>> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; length.min(MAX_RAW as u64) as usize];
    let (mut at, mut left) = (offset, length);
    while left > 0 {
        let chunk = &mut buffer[..left.min(MAX_RAW as u64) as usize];
        file.read_exact_at(chunk, at)?;
        if let Err(e) = put(chunk) {
            return Ok(Err(e));
        }
        at += chunk.len() as u64;
        left -= chunk.len() as u64;
    }
    Ok(Ok(()))
}

/// A part of the tar.
#[derive(Debug)]
pub(super) enum Segment {
    /// These bytes.
    Raw(Vec<u8>),
    /// Bytes of a file of the layer.
    File { path: Vec<u8>, offset: u64, length: u64 },
}

/// Reads a recipe.
pub(super) struct Reader {
    path: PathBuf,
    input: zstd::stream::read::Decoder<'static, BufReader<File>>,
    total: u64,
}

impl Reader {
    pub fn open(path: &Path) -> Result<Reader, IoError> {
        let file = crate::base::fs::open(path)?;
        let mut input = zstd::stream::read::Decoder::new(file).at("read", path)?;
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic).at("read", path)?;
        if magic != *MAGIC {
            return Err(damaged("it is no recipe of this version")).at("read", path);
        }
        Ok(Reader { path: path.to_owned(), input, total: 0 })
    }

    /// The next segment; `None` after the last, when all lengths add up.
    pub fn next(&mut self) -> Result<Option<Segment>, IoError> {
        self.segment().map_err(|e| failed("read", &self.path, e))
    }

    fn segment(&mut self) -> io::Result<Option<Segment>> {
        let mut tag = [0];
        self.input.read_exact(&mut tag)?;
        let segment = match tag[0] {
            0 if self.u64()? == self.total => return Ok(None),
            0 => return Err(damaged("its parts do not add up to the tar's length")),
            1 => {
                let bytes = self.bytes(MAX_RAW)?;
                self.total += bytes.len() as u64;
                Segment::Raw(bytes)
            }
            2 => {
                let path = self.bytes(MAX_PATH)?;
                let (offset, length) = (self.u64()?, self.u64()?);
                self.total = self.total.checked_add(length).ok_or_else(|| damaged("a length is out of range"))?;
                Segment::File { path, offset, length }
            }
            _ => return Err(damaged("it has a segment of an unknown kind")),
        };
        Ok(Some(segment))
    }

    fn u64(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.input.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn bytes(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > limit {
            return Err(damaged("a segment is too long"));
        }
        let mut bytes = vec![0; length];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn damaged(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Writes the tar that `recipe` was recorded from, with the files' contents from the unpacked layer `fs`. The caller
/// compares the digest of what is written: a changed file shows there.
pub fn replay(recipe: &Path, fs: &Path, out: &mut dyn Write, cancel: &Cancel) -> Result<(), IoError> {
    let root = Root::open(fs)?;
    let mut reader = Reader::open(recipe)?;
    let mut out = BufWriter::with_capacity(256 * 1024, out);
    while let Some(segment) = reader.next()? {
        pump::check(cancel)?;
        match segment {
            Segment::Raw(bytes) => out.write_all(&bytes).at("write", "the layer's tar")?,
            Segment::File { path, offset, length } => {
                let mut file = open_regular(&root, &path)?;
                let mut put = |bytes: &[u8]| {
                    pump::check(cancel)?;
                    out.write_all(bytes).at("write", "the layer's tar")
                };
                copy_range(&mut file, offset, length, &mut put).at("read", root.show(&path))??;
            }
        }
    }
    out.flush().at("write", "the layer's tar")
}

/// Whether the archive that `recipe` was recorded from is the canonical tar of `index` (the layer is one of rbuild's
/// own): then the recipe is not needed. No contents are read.
pub fn is_canonical(recipe: &Path, index: &Index) -> Result<bool, IoError> {
    let mut canonical = Pieces::default();
    let mut header = Vec::new();
    for entry in &index.entries {
        header.clear();
        tar_out::header(entry, &mut header);
        canonical.raw(&header);
        if let Kind::File { size, .. } = entry.kind {
            canonical.file(entry.path.clone(), 0, size);
            canonical.raw(tar_out::padding(size));
        }
    }
    canonical.raw(&tar_out::TRAILER);
    let mut recorded = Pieces::default();
    let mut reader = Reader::open(recipe)?;
    while let Some(segment) = reader.next()? {
        match segment {
            Segment::Raw(bytes) => recorded.raw(&bytes),
            Segment::File { path, offset, length } => recorded.file(path, offset, length),
        }
    }
    Ok(canonical.finish() == recorded.finish())
}

/// An archive as runs of bytes and references between them, to compare two of them.
#[derive(Default)]
struct Pieces {
    run: Hasher,
    files: Vec<Reference>,
}

/// The digest of the bytes before it, a path, offset and length.
type Reference = (Digest, Vec<u8>, u64, u64);

impl Pieces {
    fn raw(&mut self, bytes: &[u8]) {
        self.run.update(bytes);
    }

    fn file(&mut self, path: Vec<u8>, offset: u64, length: u64) {
        if length > 0 {
            self.files.push((std::mem::take(&mut self.run).finish(), path, offset, length));
        }
    }

    fn finish(self) -> (Vec<Reference>, Digest) {
        (self.files, self.run.finish())
    }
}
