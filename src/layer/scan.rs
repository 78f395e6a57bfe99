//! From a written directory (an overlay's upper, or a layer's `fs/`) to an index, reading each file once.

use super::pump::{self, BIG, open_regular, read_exactly};
use super::tar_out::WHITEOUT_PREFIX;
use super::xattr::{self, Marks, Xattrs};
use super::{Entry, Index, Kind, tar_out};
use crate::base::fs::Context;
use crate::base::root::Root;
use crate::base::{Cancel, Digest, Hasher, IoError};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::path::Path;

/// What one walk of a layer directory yields.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// The entries.
    pub index: Index,
    /// sha256 of the canonical tar.
    pub diff_id: Digest,
    /// Length of the canonical tar in bytes.
    pub tar_size: u64,
}

/// Content digests that the caller knows already and vouches for: path → sha256.
pub type Known = HashMap<Vec<u8>, Digest>;

/// Walks `fs` (an overlay upper layout: whiteouts are character devices 0:0, opaque directories carry
/// `user.overlay.opaque`), hashes every file and the canonical tar in one pass. Contents in `known` are hashed for the
/// tar only.
///
/// The root directory becomes an entry (with the empty path) only if it is not plain 0755 0:0. Sockets have no place
/// in a layer: they are removed from `fs`, so that directory and index agree. A name that begins with `.wh.` is an
/// error: in a layer it would be a removal.
pub fn scan(fs: &Path, known: &Known, cancel: &Cancel) -> Result<Scanned, IoError> {
    let mut tar = Hasher::new();
    let index = walk(fs, known, Some(&mut tar), cancel)?;
    tar.update(&tar_out::TRAILER);
    let tar_size = tar.len();
    Ok(Scanned { index, diff_id: tar.finish(), tar_size })
}

/// The entries alone, for a layer whose diffID is known: files with a `known` digest are not read.
pub fn index(fs: &Path, known: &Known, cancel: &Cancel) -> Result<Index, IoError> {
    walk(fs, known, None, cancel)
}

/// A path as the first pass finds it.
struct Seen {
    path: Vec<u8>,
    stat: Stat,
    /// Of directories, which the first pass opens anyway.
    xattrs: Xattrs,
    opaque: bool,
}

/// What the second pass reads of a path, ahead and in parallel.
#[derive(Default)]
struct Loaded {
    xattrs: Xattrs,
    target: Vec<u8>,
    /// A small file's contents, when they are needed, and their digest.
    bytes: Vec<u8>,
    content: Option<Digest>,
    /// What a file stands in for.
    device: Option<Kind>,
}

fn walk(fs: &Path, known: &Known, mut tar: Option<&mut Hasher>, cancel: &Cancel) -> Result<Index, IoError> {
    let root = Root::open(fs)?;
    let seen = enumerate(&root, cancel)?;
    let hard = hard_links(&seen);
    let mut entries: Vec<Entry> = Vec::with_capacity(seen.len());
    let mut firsts: HashMap<(u64, u64), usize> = HashMap::new();
    let with_tar = tar.is_some();
    let mut header = Vec::new();
    let take = |seen: &Seen, mut loaded: Loaded| -> Result<(), IoError> {
        let key = (seen.stat.st_dev, seen.stat.st_ino);
        let mut entry = Entry {
            path: seen.path.clone(),
            kind: Kind::Fifo,
            mode: seen.stat.st_mode & 0o7777,
            uid: seen.stat.st_uid,
            gid: seen.stat.st_gid,
            mtime: seen.stat.st_mtime,
            xattrs: std::mem::take(&mut loaded.xattrs),
        };
        let size = seen.stat.st_size as u64;
        match (FileType::from_raw_mode(seen.stat.st_mode), loaded.device.take()) {
            (_, Some(device)) => entry.kind = device,
            (FileType::RegularFile, None) => {
                if let Some(first) = firsts.get(&key).map(|i| &entries[*i]) {
                    entry.xattrs.clone_from(&first.xattrs);
                    let Kind::File { size, content } = first.kind else { return Err(changed(&root, &seen.path)) };
                    entry.kind = Kind::HardLink { first: first.path.clone(), size, content };
                    if let Some(tar) = tar.as_deref_mut() {
                        header.clear();
                        tar_out::header(&entry, &mut header);
                        tar.update(&header);
                    }
                } else {
                    // The header does not hold the digest, so it can be written before the contents are read.
                    let unknown = Digest::from_bytes([0; 32]);
                    entry.kind = Kind::File { size, content: loaded.content.unwrap_or(unknown) };
                    if let Some(tar) = tar.as_deref_mut() {
                        header.clear();
                        tar_out::header(&entry, &mut header);
                        tar.update(&header);
                    }
                    if size < BIG {
                        if let Some(tar) = tar.as_deref_mut() {
                            tar.update(&loaded.bytes);
                        }
                    } else if with_tar || loaded.content.is_none() {
                        let content = hash_big(&root, seen, loaded.content, tar.as_deref_mut(), cancel)?;
                        entry.kind = Kind::File { size, content };
                    }
                    if let Some(tar) = tar.as_deref_mut() {
                        tar.update(tar_out::padding(size));
                    }
                    if hard.contains_key(&key) {
                        firsts.insert(key, entries.len());
                    }
                }
                entries.push(entry);
                return Ok(());
            }
            (FileType::Directory, _) => {
                entry.xattrs.clone_from(&seen.xattrs);
                entry.kind = Kind::Dir { opaque: seen.opaque };
            }
            (FileType::Symlink, _) => entry.kind = Kind::Symlink(std::mem::take(&mut loaded.target)),
            (FileType::Fifo, _) => entry.kind = Kind::Fifo,
            (kind, _) => {
                let (major, minor) = (rustix::fs::major(seen.stat.st_rdev), rustix::fs::minor(seen.stat.st_rdev));
                entry.kind = match kind {
                    FileType::BlockDevice => Kind::Block { major, minor },
                    _ if (major, minor) == (0, 0) => Kind::Whiteout,
                    _ => Kind::Char { major, minor },
                };
            }
        }
        if entry.kind == Kind::Whiteout {
            // Whiteouts share one inode, whose metadata mean nothing.
            entry = Entry { mode: 0, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new(), ..entry };
        }
        if let Some(tar) = tar.as_deref_mut() {
            header.clear();
            tar_out::header(&entry, &mut header);
            tar.update(&header);
        }
        entries.push(entry);
        Ok(())
    };
    let load = |seen: &Seen| load(&root, seen, known.get(&seen.path), with_tar);
    pump::in_order(&seen, memory, load, take, cancel)?;
    Ok(Index { entries })
}

/// Inodes of regular files that have more than one name here. A count above 1 alone says little: a layer may share
/// inodes with the layer it was made after.
fn hard_links(seen: &[Seen]) -> HashMap<(u64, u64), usize> {
    let mut names = HashMap::new();
    for seen in seen {
        if seen.stat.st_nlink > 1 && FileType::from_raw_mode(seen.stat.st_mode) == FileType::RegularFile {
            *names.entry((seen.stat.st_dev, seen.stat.st_ino)).or_insert(0) += 1;
        }
    }
    names.retain(|_, count| *count > 1);
    names
}

/// Every path below the root in path order, with directories' attributes; the root itself if it is not the default.
fn enumerate(root: &Root, cancel: &Cancel) -> Result<Vec<Seen>, IoError> {
    let mut seen = Vec::new();
    let mut pending = vec![(Vec::new(), None)];
    let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
    while let Some((dir, place)) = pending.pop() {
        pump::check(cancel)?;
        let shown = root.show(&dir);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd = root.open_with(&dir, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).at("open directory", &shown)?;
        let (xattrs, Marks { opaque, .. }) = xattr::read(&fd, &shown)?;
        match place {
            Some(place) => {
                let this: &mut Seen = &mut seen[place];
                (this.xattrs, this.opaque) = (xattrs, opaque);
            }
            None => {
                let stat = rustix::fs::fstat(&fd).at("look at", &shown)?;
                let plain = stat.st_mode & 0o7777 == 0o755 && (stat.st_uid, stat.st_gid) == (0, 0);
                if !plain || opaque || !xattrs.is_empty() {
                    seen.push(Seen { path: Vec::new(), stat, xattrs, opaque });
                }
            }
        }
        let mut names = RawDir::new(&fd, &mut buffer);
        while let Some(entry) = names.next() {
            let entry = entry.at("read directory", &shown)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let mut path = dir.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            let stat = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW).at("look at", root.show(&path))?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Socket => {
                    rustix::fs::unlinkat(&fd, name, AtFlags::empty()).at("remove socket", root.show(&path))?;
                    continue;
                }
                FileType::Directory => pending.push((path.clone(), Some(seen.len()))),
                _ => {}
            }
            if name.to_bytes().starts_with(WHITEOUT_PREFIX) {
                let source =
                    io::Error::new(io::ErrorKind::InvalidData, "a name that begins with '.wh.' means a removal");
                return Err(IoError { act: "put into a layer", path: root.show(&path), source });
            }
            seen.push(Seen { path, stat, xattrs: Xattrs::new(), opaque: false });
        }
    }
    seen.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(seen)
}

/// How much memory the loaded form of a path takes.
fn memory(seen: &Seen) -> u64 {
    let size = seen.stat.st_size as u64;
    if FileType::from_raw_mode(seen.stat.st_mode) == FileType::RegularFile && size < BIG { size } else { 0 }
}

fn load(root: &Root, seen: &Seen, known: Option<&Digest>, with_tar: bool) -> Result<Loaded, IoError> {
    let shown = || root.show(&seen.path);
    match FileType::from_raw_mode(seen.stat.st_mode) {
        FileType::RegularFile => {
            let mut file = open_regular(root, &seen.path)?;
            let (xattrs, Marks { device, .. }) = xattr::read(&file, &shown())?;
            let size = seen.stat.st_size as u64;
            if device.is_some() && size != 0 {
                let reason = "a file with contents stands for no device";
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason)).at("read", shown());
            }
            let mut loaded = Loaded { xattrs, content: known.copied(), device, ..Loaded::default() };
            if size < BIG && (with_tar || known.is_none()) {
                loaded.bytes = read_exactly(&mut file, size).at("read", shown())?;
                loaded.content.get_or_insert_with(|| Digest::of(&loaded.bytes));
            }
            Ok(loaded)
        }
        FileType::Symlink => {
            let Some((dir, name)) = root.parent_of(&seen.path).at("open the directory of", shown())? else {
                return Err(changed(root, &seen.path));
            };
            let target = rustix::fs::readlinkat(&dir, name, Vec::new()).at("read symbolic link", shown())?;
            Ok(Loaded { target: target.into_bytes(), ..Loaded::default() })
        }
        FileType::Directory => Ok(Loaded::default()),
        FileType::CharacterDevice if seen.stat.st_rdev == 0 => Ok(Loaded::default()),
        _ => {
            // Opening a device or a pipe has effects, so it is named beneath its open directory.
            let Some((dir, name)) = root.parent_of(&seen.path).at("open the directory of", shown())? else {
                return Err(changed(root, &seen.path));
            };
            let through = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
            Ok(Loaded { xattrs: xattr::read_unopened(&through)?.0, ..Loaded::default() })
        }
    }
}

fn changed(root: &Root, path: &[u8]) -> IoError {
    let source = io::Error::new(io::ErrorKind::InvalidData, "it changed while the layer was read");
    IoError { act: "read", path: root.show(path), source }
}

/// Hashes a large file for itself (unless its digest is known) and for the tar, both at once.
fn hash_big(
    root: &Root,
    seen: &Seen,
    known: Option<Digest>,
    mut tar: Option<&mut Hasher>,
    cancel: &Cancel,
) -> Result<Digest, IoError> {
    let mut content = Hasher::new();
    let take = |piece: &[u8]| {
        match tar.as_deref_mut() {
            None => {
                content.update(piece);
            }
            Some(tar) if known.is_some() => {
                tar.update(piece);
            }
            Some(tar) => {
                rayon::join(|| content.update(piece).len(), || tar.update(piece).len());
            }
        }
        Ok(())
    };
    let size = seen.stat.st_size as u64;
    pump::stream(open_regular(root, &seen.path)?, size, &root.show(&seen.path), take, cancel)?;
    Ok(known.unwrap_or_else(|| content.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    fn scanned(fs: &Path) -> Scanned {
        scan(fs, &Known::new(), &Cancel::new()).unwrap()
    }

    fn summary(index: &Index) -> Vec<String> {
        let line = |entry: &Entry| {
            let path = String::from_utf8_lossy(&entry.path);
            match &entry.kind {
                Kind::File { size, .. } => format!("file {path} {size}"),
                Kind::HardLink { first, .. } => format!("link {path} -> {}", String::from_utf8_lossy(first)),
                Kind::Dir { opaque } => format!("dir {path}{}", if *opaque { " opaque" } else { "" }),
                Kind::Symlink(target) => format!("symlink {path} -> {}", String::from_utf8_lossy(target)),
                Kind::Char { major, minor } => format!("char {path} {major}:{minor}"),
                Kind::Block { major, minor } => format!("block {path} {major}:{minor}"),
                Kind::Fifo => format!("fifo {path}"),
                Kind::Whiteout => format!("whiteout {path}"),
            }
        };
        index.entries.iter().map(line).collect()
    }

    /// An upper directory with one of everything.
    fn upper(fs: &Path) {
        let run = |program: &str, args: &[&str]| {
            assert!(Command::new(program).args(args).current_dir(fs).status().unwrap().success(), "{program}");
        };
        for dir in ["a", "a/sub", "opaque"] {
            std::fs::create_dir(fs.join(dir)).unwrap();
        }
        std::fs::write(fs.join("a/file"), "hello").unwrap();
        std::fs::hard_link(fs.join("a/file"), fs.join("a/second")).unwrap();
        std::fs::hard_link(fs.join("a/file"), fs.join("0first")).unwrap();
        std::fs::write(fs.join("a-b"), "sorts between a and a/file").unwrap();
        std::fs::write(fs.join("empty"), "").unwrap();
        std::fs::write(fs.join("big"), vec![7; 3 * BIG as usize + 1]).unwrap();
        symlink("/etc/passwd", fs.join("link")).unwrap();
        run("mkfifo", &["fifo"]);
        run("mknod", &["gone", "c", "0", "0"]);
        std::fs::hard_link(fs.join("gone"), fs.join("a/gone")).unwrap();
        let opaque = File::open(fs.join("opaque")).unwrap();
        xattr::mark_opaque(&opaque, fs).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(fs.join("a/socket")).unwrap();
    }

    #[test]
    fn an_upper_directory_becomes_sorted_entries() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        upper(dir.path());
        let all = scanned(dir.path());
        let big = format!("file big {}", 3 * BIG + 1);
        assert_eq!(
            summary(&all.index),
            [
                "file 0first 5",
                "dir a",
                "file a-b 26",
                "link a/file -> 0first",
                "whiteout a/gone",
                "link a/second -> 0first",
                "dir a/sub",
                big.as_str(),
                "file empty 0",
                "fifo fifo",
                "whiteout gone",
                "symlink link -> /etc/passwd",
                "dir opaque opaque",
            ]
        );
        assert!(!dir.path().join("a/socket").exists(), "sockets are removed");
        let content = |path: &[u8]| match all.index.get(path).map(|e| e.kind.clone()) {
            Some(Kind::File { content, .. } | Kind::HardLink { content, .. }) => content,
            other => panic!("{other:?}"),
        };
        assert_eq!(content(b"a/file"), Digest::of(b"hello"));
        assert_eq!(content(b"big"), Digest::of(&vec![7; 3 * BIG as usize + 1]));
        assert_eq!(content(b"empty"), Digest::of(b""));

        let again = tar_out::diff_id(&all.index, dir.path(), &Cancel::new()).unwrap();
        assert_eq!(again, (all.diff_id, all.tar_size), "the tar written from the index is the one that was hashed");
        let known = Known::from([(b"big".to_vec(), content(b"big")), (b"a-b".to_vec(), content(b"a-b"))]);
        let faster = scan(dir.path(), &known, &Cancel::new()).unwrap();
        assert_eq!((faster.index, faster.diff_id), (all.index.clone(), all.diff_id));
        assert_eq!(index(dir.path(), &known, &Cancel::new()).unwrap(), all.index);
    }

    #[test]
    fn gnu_tar_reads_the_canonical_tar() {
        let dir = tempfile::tempdir().unwrap();
        let fs = dir.path().join("fs");
        std::fs::create_dir(&fs).unwrap();
        upper(&fs);
        let deep = format!("{}/{}", "d".repeat(120), "é".repeat(60));
        std::fs::create_dir(fs.join("d".repeat(120))).unwrap();
        std::fs::write(fs.join(&deep), "x").unwrap();
        let early = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH - std::time::Duration::from_secs(9));
        File::options().write(true).open(fs.join(&deep)).unwrap().set_times(early).unwrap();
        symlink("t".repeat(300), fs.join("long")).unwrap();
        let mut all = scanned(&fs);
        let rich = all.index.entries.iter_mut().find(|entry| entry.path == b"empty").unwrap();
        (rich.uid, rich.gid) = (3_000_000, 7);
        let tar = dir.path().join("t.tar");
        let mut out = File::create(&tar).unwrap();
        tar_out::write(&all.index, &fs, &mut out, &Cancel::new()).unwrap();
        let written = Hasher::read(File::open(&tar).unwrap()).unwrap();
        assert_eq!(written, tar_out::diff_id(&all.index, &fs, &Cancel::new()).unwrap());
        let listing =
            Command::new("tar").args(["--numeric-owner", "--quoting-style=literal", "-tvf"]).arg(&tar).output();
        let listing = listing.unwrap();
        assert!(listing.status.success() && listing.stderr.is_empty(), "{listing:?}");
        let listing = String::from_utf8(listing.stdout).unwrap();
        for expected in [
            "a/.wh.gone",
            ".wh.gone",
            "opaque/.wh..wh..opq",
            "a/second link to 0first",
            &deep,
            "3000000/7",
            "1969-12-31",
        ] {
            assert!(listing.contains(expected), "{expected} in {listing}");
        }
        assert!(listing.contains(&format!("long -> {}", "t".repeat(300))));
    }

    #[test]
    fn names_that_would_be_removals_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".wh.passwd"), "").unwrap();
        let error = scan(dir.path(), &Known::new(), &Cancel::new()).unwrap_err();
        assert!(error.to_string().contains(".wh.passwd"), "{error}");
    }

    #[test]
    fn the_root_is_an_entry_only_if_it_is_not_plain() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let empty = scanned(dir.path());
        assert_eq!(empty.index, Index::default());
        assert_eq!(empty.diff_id.hex(), "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let private = scanned(dir.path());
        assert_eq!((summary(&private.index), private.index.entries[0].mode), (vec!["dir ".to_owned()], 0o700));
    }
}
