//! A layer as canonical tar (see docs/digests.md): entries sorted by path, ustar with pax records only where a field
//! does not fit, numeric owners only, whole seconds, hard links to the first path, whiteouts as `.wh.` files.

use super::pump::{self, BIG, open_regular, read_exactly};
use super::{Entry, Index, Kind};
use crate::base::fs::Context;
use crate::base::root::Root;
use crate::base::{Cancel, Digest, Hasher, IoError};
use std::io::{BufWriter, Write};
use std::path::Path;
use tar::{EntryType, Header};

/// The two zero blocks that end an archive.
pub(super) const TRAILER: [u8; 1024] = [0; 1024];

/// Prefix of the names that mean removals in a layer's tar (OCI image-spec, "Whiteouts").
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";

/// Name of the file that marks its directory opaque.
pub const OPAQUE_NAME: &[u8] = b".wh..wh..opq";

/// Largest numbers that the octal fields hold.
const MAX_8: u64 = 0o777_7777;
const MAX_12: u64 = 0o777_7777_7777;

/// Writes the canonical tar of `index`, whose files lie under `fs`. An error about the archive itself names
/// "the layer's tar".
pub fn write(index: &Index, fs: &Path, out: &mut dyn Write, cancel: &Cancel) -> Result<(), IoError> {
    let root = Root::open(fs)?;
    let mut out = BufWriter::with_capacity(256 * 1024, out);
    let mut block = Vec::with_capacity(4096);
    let load = |entry: &Entry| match entry.kind {
        Kind::File { size, .. } if size < BIG => {
            let mut file = open_regular(&root, &entry.path)?;
            read_exactly(&mut file, size).at("read", root.show(&entry.path))
        }
        _ => Ok(Vec::new()),
    };
    let size = |entry: &Entry| match entry.kind {
        Kind::File { size, .. } if size < BIG => size,
        _ => 0,
    };
    let take = |entry: &Entry, bytes: Vec<u8>| {
        block.clear();
        header(entry, &mut block);
        put(&mut out, &block)?;
        if let Kind::File { size, .. } = entry.kind {
            if size < BIG {
                put(&mut out, &bytes)?;
            } else {
                let file = open_regular(&root, &entry.path)?;
                pump::stream(file, size, &root.show(&entry.path), |piece| put(&mut out, piece), cancel)?;
            }
            put(&mut out, padding(size))?;
        }
        Ok(())
    };
    pump::in_order(&index.entries, size, load, take, cancel)?;
    put(&mut out, &TRAILER)?;
    out.flush().at("write", "the layer's tar")
}

/// sha256 and length in bytes of the canonical tar of `index`, whose files lie under `fs`.
pub fn diff_id(index: &Index, fs: &Path, cancel: &Cancel) -> Result<(Digest, u64), IoError> {
    let mut hasher = Hasher::new();
    write(index, fs, &mut hasher, cancel)?;
    let length = hasher.len();
    Ok((hasher.finish(), length))
}

fn put(out: &mut dyn Write, bytes: &[u8]) -> Result<(), IoError> {
    out.write_all(bytes).at("write", "the layer's tar")
}

/// The zeros that fill the last block of `size` bytes.
pub(super) fn padding(size: u64) -> &'static [u8] {
    &[0; 512][..(size.wrapping_neg() % 512) as usize]
}

/// Appends the header blocks of an entry: pax records where they are needed, the ustar header, and for an opaque
/// directory the marker file in it. Contents and their padding are the caller's.
pub(super) fn header(entry: &Entry, out: &mut Vec<u8>) {
    let mut name = entry.path.clone();
    let mut shape = Shape { kind: EntryType::Regular, link: &[], size: 0, device: None };
    match &entry.kind {
        Kind::File { size, .. } => shape.size = *size,
        Kind::HardLink { first, .. } => (shape.kind, shape.link) = (EntryType::Link, first),
        Kind::Dir { .. } => {
            shape.kind = EntryType::Directory;
            name.extend_from_slice(if name.is_empty() { b"./" } else { b"/" });
        }
        Kind::Symlink(target) => (shape.kind, shape.link) = (EntryType::Symlink, target),
        Kind::Char { major, minor } => (shape.kind, shape.device) = (EntryType::Char, Some((*major, *minor))),
        Kind::Block { major, minor } => (shape.kind, shape.device) = (EntryType::Block, Some((*major, *minor))),
        Kind::Fifo => shape.kind = EntryType::Fifo,
        Kind::Whiteout => {
            let base = name.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
            name.splice(base..base, WHITEOUT_PREFIX.iter().copied());
        }
    }
    block(&name, entry, &shape, out);
    if entry.kind == (Kind::Dir { opaque: true }) {
        if entry.path.is_empty() {
            name.clear();
        }
        name.extend_from_slice(OPAQUE_NAME);
        let marker =
            Entry { path: Vec::new(), kind: Kind::Whiteout, mode: 0, uid: 0, gid: 0, mtime: 0, xattrs: vec![] };
        block(&name, &marker, &Shape { kind: EntryType::Regular, link: &[], size: 0, device: None }, out);
    }
}

/// What a header says beside name and common metadata.
struct Shape<'e> {
    kind: EntryType,
    link: &'e [u8],
    size: u64,
    device: Option<(u32, u32)>,
}

fn block(name: &[u8], entry: &Entry, shape: &Shape<'_>, out: &mut Vec<u8>) {
    let mut header = Header::new_ustar();
    let mut pax = Vec::new();
    header.set_entry_type(shape.kind);
    header.set_mode(entry.mode);

    let fitting = split_name(name);
    let (prefix, base) = fitting.unwrap_or((&[], &name[..name.len().min(100)]));
    if fitting.is_none() {
        record(&mut pax, b"path", name);
    }
    let fits_link = shape.link.len() <= 100 && shape.link.is_ascii();
    if !fits_link {
        record(&mut pax, b"linkpath", shape.link);
    }
    if let Some(ustar) = header.as_ustar_mut() {
        fill(&mut ustar.prefix, prefix);
        fill(&mut ustar.name, base);
        fill(&mut ustar.linkname, if fits_link { shape.link } else { &[] });
    }
    header.set_size(number(&mut pax, b"size", shape.size, MAX_12));
    header.set_uid(number(&mut pax, b"uid", entry.uid.into(), MAX_8));
    header.set_gid(number(&mut pax, b"gid", entry.gid.into(), MAX_8));
    match u64::try_from(entry.mtime) {
        Ok(mtime) if mtime <= MAX_12 => header.set_mtime(mtime),
        _ => {
            record(&mut pax, b"mtime", entry.mtime.to_string().as_bytes());
            header.set_mtime(0);
        }
    }
    let (major, minor) = shape.device.unwrap_or((0, 0));
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.set_device_major(major);
        ustar.set_device_minor(minor);
    }
    // Metadata of a hard link is its file's: said once, with the file.
    if !matches!(entry.kind, Kind::HardLink { .. }) {
        for (name, value) in &entry.xattrs {
            record(&mut pax, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
    }
    header.set_cksum();
    if !pax.is_empty() {
        let mut extended = Header::new_ustar();
        if let Some(ustar) = extended.as_ustar_mut() {
            fill(&mut ustar.name, b"PaxHeaders");
        }
        extended.set_entry_type(EntryType::XHeader);
        extended.set_mode(0o644);
        extended.set_uid(0);
        extended.set_gid(0);
        extended.set_mtime(0);
        extended.set_size(pax.len() as u64);
        extended.set_cksum();
        out.extend_from_slice(extended.as_bytes());
        out.extend_from_slice(&pax);
        out.extend_from_slice(padding(pax.len() as u64));
    }
    out.extend_from_slice(header.as_bytes());
}

/// Splits a name into ustar's prefix and name fields: at the first slash that leaves a name which fits. `None` if
/// there is no such slash or the name is not ASCII, which only pax defines.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= 100 {
        return Some((&[], name));
    }
    let from = name.len() - 101;
    let slash = from + name[from..name.len() - 1].iter().position(|b| *b == b'/')?;
    (slash <= 155).then_some((&name[..slash], &name[slash + 1..]))
}

/// The value for an octal field; 0 beside a pax record if it does not fit.
fn number(pax: &mut Vec<u8>, key: &[u8], value: u64, max: u64) -> u64 {
    if value <= max {
        return value;
    }
    record(pax, key, value.to_string().as_bytes());
    0
}

fn fill(field: &mut [u8], value: &[u8]) {
    for (to, from) in field.iter_mut().zip(value) {
        *to = *from;
    }
}

/// Appends a pax record: `LENGTH KEY=VALUE\n`, where the length counts itself (POSIX pax(1), "pax Extended Header").
pub(super) fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_records_count_their_own_length() {
        for (length, expected) in [(1, "6 k=v"), (93, "99 k="), (94, "101 k="), (992, "999 k="), (993, "1001 k=")] {
            let mut out = Vec::new();
            record(&mut out, b"k", &vec![b'v'; length]);
            assert!(out.starts_with(expected.as_bytes()), "{}", out[..6].escape_ascii());
            assert_eq!(out.len().to_string().as_bytes(), out.split(|b| *b == b' ').next().unwrap());
        }
    }

    #[test]
    fn names_are_split_only_where_both_halves_fit() {
        let long = |a: usize, b: usize| [vec![b'a'; a], vec![b'/'], vec![b'b'; b]].concat();
        assert_eq!(split_name(&long(50, 49)).unwrap().0, b"");
        assert_eq!(split_name(&long(50, 50)).unwrap().0.len(), 50);
        assert_eq!(split_name(&long(155, 100)).unwrap().1.len(), 100);
        assert!(split_name(&long(156, 100)).is_none());
        assert!(split_name(&long(10, 101)).is_none());
        assert!(split_name("é".as_bytes()).is_none());
        let dir = [long(60, 50), b"/".to_vec()].concat();
        assert!(split_name(&dir).unwrap().1.ends_with(b"b/"), "the trailing slash of a directory is no place to split");
    }
}
