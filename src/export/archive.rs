//! The outer shell of a saved image: a tar (packed or not, from a file or a stream) or a directory, seen as named
//! byte ranges.
//!
//! Members of a tar never become files under their names: a name is a key to look up, and the bytes stay where they
//! are (a plain tar file) or lie in one spool file (anything that cannot be read twice). So no name can lead anywhere.

use super::ExportError;
use crate::base::fs::Context;
use crate::base::root::Root;
use crate::base::{Cancel, Digest, IoError};
use crate::layer::compress::{self, Compression};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tar_core::EntryType;
use tar_core::parse::{Limits, ParseEvent, Parser};

/// Most members that an archive may have.
const MAX_MEMBERS: usize = 100_000;
/// Largest archive or layer, unpacked, in bytes.
pub(super) const MAX_UNPACKED: u64 = 256 << 30;
/// Longest chain of links between members.
const MAX_LINKS: usize = 8;

/// A saved image's shell.
#[derive(Debug)]
pub struct Archive {
    /// For messages: the path, or "standard input".
    name: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Dir(Root),
    Tar { members: BTreeMap<String, Member>, links: BTreeMap<String, String> },
}

/// A range of bytes of a file.
#[derive(Clone, Debug)]
pub struct Member {
    file: Arc<File>,
    offset: u64,
    size: u64,
}

impl Archive {
    /// Opens a directory or an archive file. A packed archive is unpacked into a spool file under `tmp`.
    ///
    /// # Errors
    /// It cannot be read, or is no tar within the limits.
    pub fn open(path: &Path, tmp: &Path, cancel: &Cancel) -> Result<Archive, ExportError> {
        if path.is_dir() {
            return Ok(Archive { name: path.to_owned(), content: Content::Dir(Root::open(path)?) });
        }
        let file = crate::base::fs::open(path)?;
        if !file.metadata().at("look at", path)?.is_file() {
            return Archive::from_stream(file, path, tmp, cancel);
        }
        let mut head = [0; 6];
        let n = file.read_at(&mut head, 0).at("read", path)?;
        if compress::sniff(&head[..n]) != Compression::None {
            return Archive::from_stream(file, path, tmp, cancel);
        }
        let length = file.metadata().at("look at", path)?.len();
        let file = Arc::new(file);
        let whole = Member { file: Arc::clone(&file), offset: 0, size: length };
        index(whole.reader(), path, None, &file, cancel)
    }

    /// Reads an archive from a stream, packed or not, into a spool file under `tmp`. `name` is for messages.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn from_stream(
        reader: impl Read + Send,
        name: &Path,
        tmp: &Path,
        cancel: &Cancel,
    ) -> Result<Archive, ExportError> {
        let spool = tempfile::tempfile_in(tmp).at("create a temporary file in", tmp)?;
        let (unpacked, _) = compress::open_compressed(reader, MAX_UNPACKED).at("read", name)?;
        let writer = BufWriter::with_capacity(256 << 10, spool.try_clone().at("open again", tmp)?);
        let spool = Arc::new(spool);
        index(Stream(BufReader::with_capacity(256 << 10, unpacked)), name, Some(writer), &spool, cancel)
    }

    /// For messages: the path, or "standard input".
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// The member of that name, links between members followed; `None` if there is none or it is no regular file.
    ///
    /// # Errors
    /// A file of a directory cannot be opened.
    pub fn get(&self, name: &str) -> Result<Option<Member>, ExportError> {
        match &self.content {
            Content::Dir(root) => {
                if root.lstat(name.as_bytes())?.is_none() {
                    return Ok(None);
                }
                let file = root.open_file(name.as_bytes())?;
                let metadata = file.metadata().at("look at", root.show(name.as_bytes()))?;
                let member = Member { file: Arc::new(file), offset: 0, size: metadata.len() };
                Ok(metadata.is_file().then_some(member))
            }
            Content::Tar { members, links } => {
                let mut name = normal("", name).unwrap_or_default();
                for _ in 0..MAX_LINKS {
                    if let Some(member) = members.get(&name) {
                        return Ok(Some(member.clone()));
                    }
                    match links.get(&name) {
                        Some(target) => name.clone_from(target),
                        None => return Ok(None),
                    }
                }
                Ok(None)
            }
        }
    }
}

impl Member {
    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its bytes, from the first.
    pub fn reader(&self) -> MemberReader {
        MemberReader { member: self.clone(), at: 0 }
    }

    /// All of its bytes, if they are not more than `limit`.
    ///
    /// # Errors
    /// It is longer, or reading failed.
    pub fn read(&self, limit: u64) -> io::Result<Vec<u8>> {
        if self.size > limit {
            let reason = format!("it has {} bytes, more than the limit of {limit}", self.size);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a [`Member`] without moving a shared file position.
#[derive(Debug)]
pub struct MemberReader {
    member: Member,
    at: u64,
}

impl Read for MemberReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.member.size - self.at;
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let n = self.member.file.read_at(&mut buffer[..want], self.member.offset + self.at)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        Ok(n)
    }
}

/// A reader that may have a quicker way over bytes that nobody wants.
trait Skip: Read {
    /// Passes over up to `count` bytes; gives how many there were.
    fn skip(&mut self, count: u64) -> io::Result<u64>;
}

impl Skip for MemberReader {
    fn skip(&mut self, count: u64) -> io::Result<u64> {
        let skipped = count.min(self.member.size - self.at);
        self.at += skipped;
        Ok(skipped)
    }
}

struct Stream<R>(R);

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Skip for Stream<R> {
    fn skip(&mut self, count: u64) -> io::Result<u64> {
        io::copy(&mut (&mut self.0).take(count), &mut io::sink())
    }
}

/// Lists a tar's members. With a `spool` their bytes are copied there, without one they are ranges of `file`, which
/// the reader reads from its first byte.
fn index(
    mut reader: impl Skip,
    name: &Path,
    mut spool: Option<BufWriter<File>>,
    file: &Arc<File>,
    cancel: &Cancel,
) -> Result<Archive, ExportError> {
    let refused = |reason: String| ExportError::Archive { archive: name.to_owned(), reason };
    let mut parser = Parser::new(Limits { max_path_len: Some(4096), max_sparse_entries: 1, ..Limits::default() });
    parser.set_allow_empty_path(true);
    let (mut members, mut links) = (BTreeMap::new(), BTreeMap::new());
    let mut head = Vec::new();
    let (mut read, mut spooled) = (0_u64, 0_u64);
    loop {
        let (path, kind, target, size) = match parser.parse(&head).map_err(|e| refused(e.to_string()))? {
            ParseEvent::NeedData { min_bytes } => {
                let want = min_bytes - head.len();
                let got = (&mut reader).take(want as u64).read_to_end(&mut head).at("read", name)?;
                read += got as u64;
                if got == want {
                    continue;
                }
                // Some writers leave out the two zero blocks at the end; a cut in the middle of a header is a cut.
                if head.iter().all(|b| *b == 0) && !members.is_empty() {
                    break;
                }
                return Err(refused("it ends in the middle, or is no tar archive".to_owned()));
            }
            ParseEvent::End { .. } => break,
            ParseEvent::GlobalExtensions { consumed, .. } => {
                head.drain(..consumed);
                continue;
            }
            ParseEvent::SparseEntry { .. } => return Err(refused("it has a sparse member".to_owned())),
            ParseEvent::Entry { consumed: _, entry } => {
                let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
                (text(&entry.path), entry.entry_type, entry.link_target.as_deref().and_then(text), entry.size)
            }
        };
        head.clear();
        cancelled(cancel, name)?;
        let padded = size.checked_next_multiple_of(512).ok_or_else(|| refused("a member is too long".to_owned()))?;
        let path = path.and_then(|p| normal("", &p)).filter(|p| !p.is_empty());
        let offset = if spool.is_some() { spooled } else { read };
        let copied = match &mut spool {
            Some(spool) => io::copy(&mut (&mut reader).take(size), spool),
            None => reader.skip(size),
        }
        .at("read", name)?;
        let padding = reader.skip(padded - size).at("read", name)?;
        if copied != size || padding != padded - size {
            return Err(refused("it ends in the middle of a member".to_owned()));
        }
        (read, spooled) = (read + padded, spooled + size);
        let Some(path) = path else { continue };
        let known = members.contains_key(&path) || links.contains_key(&path);
        match (kind, target) {
            (EntryType::Regular | EntryType::Continuous, _) => {
                members.insert(path.clone(), Member { file: Arc::clone(file), offset, size });
            }
            (EntryType::Symlink, Some(target)) => {
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                links.extend(normal(parent, &target).map(|target| (path.clone(), target)));
            }
            (EntryType::Link, Some(target)) => {
                links.extend(normal("", &target).map(|target| (path.clone(), target)));
            }
            _ => continue,
        }
        if known {
            // Which of the two a reader takes is its own choice: two readers could see two images.
            return Err(refused(format!("it has the member '{}' twice", path.escape_default())));
        }
        if members.len() + links.len() > MAX_MEMBERS {
            return Err(refused(format!("it has more than {MAX_MEMBERS} members")));
        }
    }
    if let Some(mut spool) = spool {
        spool.flush().at("write a temporary copy of", name)?;
    }
    Ok(Archive { name: name.to_owned(), content: Content::Tar { members, links } })
}

/// Fails if a stop was asked for.
pub(super) fn cancelled(cancel: &Cancel, place: &Path) -> Result<(), IoError> {
    match cancel.is_set() {
        true => Err(io::Error::other("interrupted")).at("go on with", place),
        false => Ok(()),
    }
}

/// A member name without `.` and `..`, relative to `parent`; `None` if it leads out.
fn normal(parent: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    let from_parent = if name.starts_with('/') { "" } else { parent };
    for part in from_parent.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The path of a blob in an OCI layout.
pub fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        builder.into_inner().unwrap()
    }

    fn add(builder: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    }

    fn link(builder: &mut tar::Builder<Vec<u8>>, name: &str, target: &str) {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_path(name).unwrap();
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_size(0);
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
    }

    fn text(archive: &Archive, name: &str) -> Option<String> {
        let member = archive.get(name).unwrap()?;
        Some(String::from_utf8(member.read(100).unwrap()).unwrap())
    }

    #[test]
    fn a_file_a_packed_stream_and_a_directory_give_the_same_members() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = tar(|b| {
            add(b, "./index.json", b"{}");
            add(b, "blobs/sha256/ab", &[b'x'; 700]);
            link(b, "a/layer.tar", "../blobs/sha256/ab");
            add(b, "../../etc/passwd", b"out");
        });
        std::fs::write(dir.path().join("plain.tar"), &bytes).unwrap();
        std::fs::create_dir(dir.path().join("layout")).unwrap();
        std::fs::write(dir.path().join("layout/index.json"), "{}").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("layout/escape")).unwrap();
        let open = |name: &str| Archive::open(&dir.path().join(name), dir.path(), &Cancel::new()).unwrap();

        let packed = zstd::encode_all(&bytes[..], 1).unwrap();
        let packed = Archive::from_stream(&packed[..], Path::new("-"), dir.path(), &Cancel::new()).unwrap();
        for archive in [open("plain.tar"), packed] {
            assert_eq!(text(&archive, "index.json").as_deref(), Some("{}"));
            assert_eq!(archive.get("a/layer.tar").unwrap().unwrap().read(700).unwrap(), [b'x'; 700]);
            assert_eq!(text(&archive, "etc/passwd"), None);
            assert_eq!(text(&archive, "../../etc/passwd"), None);
        }
        let layout = open("layout");
        assert_eq!(text(&layout, "index.json").as_deref(), Some("{}"));
        assert_eq!(text(&layout, "gone"), None);
        assert!(layout.get("escape").is_err(), "a link out of the layout stays inside, where nothing is");
    }

    #[test]
    fn cut_doubled_and_foreign_archives_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let whole = tar(|b| add(b, "x", &[1; 2000]));
        let cases = [
            (whole[..1500].to_vec(), "middle of a member"),
            (
                tar(|b| {
                    add(b, "x", b"1");
                    add(b, "./x", b"2")
                }),
                "twice",
            ),
            (b"PK\x03\x04 not a tar at all".to_vec(), "no tar"),
            (vec![b'z'; 4096], "header"),
        ];
        for (bytes, reason) in cases {
            let error = Archive::from_stream(&bytes[..], Path::new("in"), dir.path(), &Cancel::new()).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn members_over_the_limit_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = tar(|b| add(b, "x", b"12345"));
        let archive = Archive::from_stream(&bytes[..], Path::new("in"), dir.path(), &Cancel::new()).unwrap();
        assert!(archive.get("x").unwrap().unwrap().read(4).is_err());
    }
}
