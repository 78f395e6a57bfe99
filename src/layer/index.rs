//! A layer's entries as one sorted, compact, checksummed file: the source of truth for its tar, its content digest
//! and the tree it makes.

use super::Entry;
use super::codec::{Damaged, Decoder, put_entry};
use crate::base::{Digest, Hasher};

/// The entries of a layer, sorted by path bytes (a directory before what it holds).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Sorted, each path once.
    pub entries: Vec<Entry>,
}

/// First bytes of an index file; the last one is the version.
const MAGIC: &[u8; 8] = b"rbindex\x01";

/// First field of every content digest; a change of meaning changes it.
const CONTENT_VERSION: &[u8] = b"rbuild.layer.1";

impl Index {
    /// The entry at exactly `path`.
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.entries.binary_search_by(|e| e.path.as_slice().cmp(path)).ok().map(|i| &self.entries[i])
    }

    /// The layer's identity for early cutoff: every field of every entry but mtime, length-prefixed, versioned.
    pub fn content_digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.field(CONTENT_VERSION).number(self.entries.len() as u64);
        let mut encoded = Vec::new();
        for entry in &self.entries {
            encoded.clear();
            put_entry(&mut encoded, &entry.path, entry);
            hasher.field(&encoded);
        }
        hasher.finish()
    }

    /// Sum of the sizes of its regular files in bytes, each hard-linked file once.
    pub fn size(&self) -> u64 {
        self.entries.iter().map(|e| if let super::Kind::File { size, .. } = e.kind { size } else { 0 }).sum()
    }

    /// The file form, with a magic, a version and a checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.entries.len() * 128);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&(self.entries.len() as u64).to_le_bytes());
        for entry in &self.entries {
            put_entry(&mut out, &entry.path, entry);
            out.extend_from_slice(&entry.mtime.to_le_bytes());
        }
        let checksum = Digest::of(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    /// Reads the file form.
    pub fn decode(bytes: &[u8]) -> Result<Index, Damaged> {
        let (body, checksum) = bytes.split_last_chunk::<32>().ok_or(Damaged("it is too short"))?;
        let mut decoder = Decoder::new(body);
        if decoder.take(MAGIC.len())? != MAGIC {
            return Err(Damaged("it does not begin as an index of this version does"));
        }
        if Digest::of(body).as_bytes() != checksum {
            return Err(Damaged("its checksum does not match"));
        }
        let count = decoder.u64()?;
        let mut entries: Vec<Entry> = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(body.len() / 32));
        for _ in 0..count {
            let mut entry = decoder.entry()?;
            entry.mtime = decoder.i64()?;
            if entries.last().is_some_and(|last| last.path >= entry.path) {
                return Err(Damaged("its entries are not sorted"));
            }
            entries.push(entry);
        }
        if !decoder.is_empty() {
            return Err(Damaged("something follows its last entry"));
        }
        Ok(Index { entries })
    }

    /// The same entries dated for an image of the time `epoch` (SOURCE_DATE_EPOCH): no mtime is later, and those from
    /// `fresh_from` on, which tell only when the layer was made, are `epoch` itself.
    pub fn dated(&self, epoch: i64, fresh_from: Option<i64>) -> Index {
        let fresh = |mtime: i64| fresh_from.is_some_and(|from| mtime >= from);
        let date = |mtime: i64| if fresh(mtime) { epoch } else { mtime.min(epoch) };
        let clamp = |entry: &Entry| Entry { mtime: date(entry.mtime), ..entry.clone() };
        Index { entries: self.entries.iter().map(clamp).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn sample() -> Index {
        let entry = |path: &str, kind| Entry {
            path: path.into(),
            kind,
            mode: 0o755,
            uid: 1,
            gid: 2,
            mtime: 1_700_000_000,
            xattrs: vec![(b"user.k".to_vec(), b"v\n\0".to_vec())],
        };
        let content = Digest::of(b"x");
        Index {
            entries: vec![
                entry("a", Kind::Dir { opaque: true }),
                entry("a/b", Kind::File { size: 1, content }),
                entry("a/c", Kind::HardLink { first: b"a/b".to_vec(), size: 1, content }),
                entry("dev", Kind::Char { major: 1, minor: 3 }),
                entry("fifo", Kind::Fifo),
                entry("gone", Kind::Whiteout),
                entry("link", Kind::Symlink(b"../\xff".to_vec())),
                entry("sda", Kind::Block { major: 8, minor: 0 }),
            ],
        }
    }

    #[test]
    fn file_form_round_trips() {
        let index = sample();
        assert_eq!(Index::decode(&index.encode()).unwrap(), index);
        assert_eq!(index.get(b"a/c"), Some(&index.entries[2]));
        assert_eq!(index.size(), 1, "a hard-linked file counts once");
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let good = sample().encode();
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 0x20;
            assert!(Index::decode(&bad).is_err(), "byte {position}");
            assert!(Index::decode(&good[..position]).is_err(), "cut at {position}");
        }
    }

    #[test]
    fn content_digest_is_pinned_and_blind_to_mtime_alone() {
        let index = sample();
        assert_eq!(index.content_digest().hex(), PINNED);
        assert_eq!(index.dated(7, None).content_digest(), index.content_digest());
        assert!(index.dated(7, None).entries.iter().all(|e| e.mtime == 7));
        let late = 1_800_000_000;
        assert_eq!(index.dated(late, None), index);
        assert!(index.dated(late, Some(1_700_000_000)).entries.iter().all(|e| e.mtime == late));
        assert_eq!(index.dated(late, Some(1_700_000_001)), index);
        type Change = fn(&mut Entry);
        let changes: [Change; 6] = [
            |e| e.mode ^= 1,
            |e| e.uid += 1,
            |e| e.gid += 1,
            |e| e.path.push(b'x'),
            |e| e.xattrs.clear(),
            |e| e.kind = Kind::Dir { opaque: false },
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut other = index.clone();
            change(&mut other.entries[0]);
            assert_ne!(other.content_digest(), index.content_digest(), "change {number}");
        }
    }

    /// A change of this value is a change of format: raise `CONTENT_VERSION` and say so in docs/digests.md.
    const PINNED: &str = "80962e7462d5e01fe58cd3a46f940a0c1d3ab4e4037bc6d7d94fa9be3343972e";
}
