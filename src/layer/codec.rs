//! The bytes that stand for an entry, in index files, in tree nodes and in the digests over both: fixed field order,
//! little-endian numbers, every string behind its length. See docs/digests.md.

use super::{Entry, Kind};
use crate::base::Digest;

/// An index file that can't be trusted.
#[derive(Debug, thiserror::Error)]
#[error("layer index is damaged: {0}")]
pub struct Damaged(pub &'static str);

/// Appends a string behind its length (4 bytes).
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // Paths, link targets and attributes are all far below 4 GiB: the kernel and the archive reader bound them.
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends everything of an entry but its mtime, under `name` (its path, or its bare name in a tree node).
pub(crate) fn put_entry(out: &mut Vec<u8>, name: &[u8], entry: &Entry) {
    put_bytes(out, name);
    for number in [entry.mode, entry.uid, entry.gid] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    match &entry.kind {
        Kind::File { size, content } => {
            out.push(b'f');
            out.extend_from_slice(&size.to_le_bytes());
            out.extend_from_slice(content.as_bytes());
        }
        Kind::HardLink { first, size, content } => {
            out.push(b'h');
            put_bytes(out, first);
            out.extend_from_slice(&size.to_le_bytes());
            out.extend_from_slice(content.as_bytes());
        }
        Kind::Dir { opaque } => out.extend_from_slice(&[b'd', u8::from(*opaque)]),
        Kind::Symlink(target) => {
            out.push(b'l');
            put_bytes(out, target);
        }
        Kind::Char { major, minor } => put_device(out, b'c', *major, *minor),
        Kind::Block { major, minor } => put_device(out, b'b', *major, *minor),
        Kind::Fifo => out.push(b'p'),
        Kind::Whiteout => out.push(b'w'),
    }
    out.extend_from_slice(&(entry.xattrs.len() as u32).to_le_bytes());
    for (name, value) in &entry.xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
}

fn put_device(out: &mut Vec<u8>, tag: u8, major: u32, minor: u32) {
    out.push(tag);
    out.extend_from_slice(&major.to_le_bytes());
    out.extend_from_slice(&minor.to_le_bytes());
}

/// Reads what the `put_` functions wrote. Never allocates more than the input holds.
#[derive(Debug)]
pub(crate) struct Decoder<'b> {
    rest: &'b [u8],
}

impl<'b> Decoder<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Decoder<'b> {
        Decoder { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'b [u8], Damaged> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Damaged("it ends in the middle of a field"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Damaged("it ends in the middle of a field"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damaged> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damaged> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damaged> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Damaged> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, Damaged> {
        Ok(Digest::from_bytes(self.array()?))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'b [u8], Damaged> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    /// An entry as [`put_entry`] wrote it; its mtime is 0.
    pub(crate) fn entry(&mut self) -> Result<Entry, Damaged> {
        let path = self.bytes()?.to_vec();
        let (mode, uid, gid) = (self.u32()?, self.u32()?, self.u32()?);
        let kind = match self.u8()? {
            b'f' => Kind::File { size: self.u64()?, content: self.digest()? },
            b'h' => Kind::HardLink { first: self.bytes()?.to_vec(), size: self.u64()?, content: self.digest()? },
            b'd' => Kind::Dir { opaque: self.u8()? != 0 },
            b'l' => Kind::Symlink(self.bytes()?.to_vec()),
            b'c' => Kind::Char { major: self.u32()?, minor: self.u32()? },
            b'b' => Kind::Block { major: self.u32()?, minor: self.u32()? },
            b'p' => Kind::Fifo,
            b'w' => Kind::Whiteout,
            _ => return Err(Damaged("an entry is of an unknown kind")),
        };
        let count = self.u32()?;
        let mut xattrs = Vec::new();
        for _ in 0..count {
            xattrs.push((self.bytes()?.to_vec(), self.bytes()?.to_vec()));
        }
        Ok(Entry { path, kind, mode, uid, gid, mtime: 0, xattrs })
    }
}
