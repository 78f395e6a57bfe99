//! Several layers as one: what a stack of change sets amounts to, and its files in one directory.
//!
//! The rules are the overlay file system's, which are those of the OCI image-spec for whiteouts: an upper entry
//! replaces a lower one, directories merge unless the upper is opaque or stands on something that is no directory.

use super::ExportError;
use crate::base::fs::Context;
use crate::base::root::Root;
use crate::base::{Cancel, Digest, IoError};
use crate::layer::{Entry, Index, Kind, xattr};
use crate::store::Store;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;

/// An entry and the layer that its file lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The entry.
    pub entry: Entry,
    /// Position of its layer in the stack.
    pub layer: usize,
}

/// What lies at a path below the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// Nothing.
    Nothing,
    /// A directory.
    Dir,
    /// Anything else.
    Other,
}

/// Merges a stack of change sets, lowest first, into the one change set with the same effect on what lies below them.
/// `below` tells what is there at a path (symbolic links not followed); it is asked only where a removal could matter.
/// The result is sorted by path and holds no removal of what is not there.
///
/// # Errors
/// Those of `below`.
pub fn merge<E>(stack: &[Index], mut below: impl FnMut(&[u8]) -> Result<Below, E>) -> Result<Vec<Merged>, E> {
    let mut merged: BTreeMap<Vec<u8>, Merged> = BTreeMap::new();
    for (layer, index) in stack.iter().enumerate() {
        for entry in &index.entries {
            let mut entry = entry.clone();
            let before = merged.get(&entry.path).map(|m| m.entry.kind.clone());
            match (&entry.kind, before) {
                (Kind::Dir { opaque: false }, Some(kind @ Kind::Dir { .. })) => entry.kind = kind,
                (Kind::Dir { opaque: false }, None) => {}
                (Kind::Dir { .. }, _) => {
                    // It stands on a removal, on something else, or hides on purpose: what is below stays hidden.
                    remove_below(&mut merged, &entry.path);
                    let opaque = visible(&merged, &entry.path, &mut below)? == Below::Dir;
                    entry.kind = Kind::Dir { opaque };
                }
                (Kind::Whiteout, _) => {
                    remove_below(&mut merged, &entry.path);
                    merged.remove(&entry.path);
                    if visible(&merged, &entry.path, &mut below)? == Below::Nothing {
                        continue;
                    }
                }
                _ => remove_below(&mut merged, &entry.path),
            }
            merged.insert(entry.path.clone(), Merged { entry, layer });
        }
    }
    let mut out: Vec<Merged> = merged.into_values().collect();
    mend_hard_links(&mut out);
    Ok(out)
}

fn remove_below(merged: &mut BTreeMap<Vec<u8>, Merged>, path: &[u8]) {
    let gone: Vec<Vec<u8>> = if path.is_empty() {
        merged.keys().filter(|p| !p.is_empty()).cloned().collect()
    } else {
        // All that begins with "path/": '0' is the byte after '/'.
        merged.range([path, b"/"].concat()..[path, b"0"].concat()).map(|(p, _)| p.clone()).collect()
    };
    for path in gone {
        merged.remove(&path);
    }
}

/// What shows through from below at `path`: nothing under a directory that is opaque by now.
fn visible<E>(
    merged: &BTreeMap<Vec<u8>, Merged>,
    path: &[u8],
    below: &mut impl FnMut(&[u8]) -> Result<Below, E>,
) -> Result<Below, E> {
    let parents = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| &path[..i]);
    for parent in std::iter::once(&b""[..]).chain(parents) {
        let opaque = merged.get(parent).is_some_and(|m| m.entry.kind == Kind::Dir { opaque: true });
        if opaque && !path.is_empty() {
            return Ok(Below::Nothing);
        }
    }
    below(path)
}

/// Makes the first surviving name of each hard-linked file the one that the others point to.
fn mend_hard_links(merged: &mut [Merged]) {
    let mut firsts: HashMap<(usize, Vec<u8>), Vec<u8>> = HashMap::new();
    for item in merged {
        match &item.entry.kind {
            Kind::File { .. } => {
                firsts.insert((item.layer, item.entry.path.clone()), item.entry.path.clone());
            }
            Kind::HardLink { first, size, content } => {
                let (size, content) = (*size, *content);
                let key = (item.layer, first.clone());
                item.entry.kind = match firsts.get(&key) {
                    Some(first) => Kind::HardLink { first: first.clone(), size, content },
                    None => {
                        firsts.insert(key, item.entry.path.clone());
                        Kind::File { size, content }
                    }
                };
            }
            _ => {}
        }
    }
}

/// Reads the indexes of stored layers.
///
/// # Errors
/// A layer is not stored, or its index is damaged.
pub fn indexes(store: &Store, layers: &[Digest]) -> Result<Vec<Index>, ExportError> {
    layers
        .iter()
        .map(|layer| {
            let bytes = store.layer_index(layer)?;
            Index::decode(&bytes)
                .map_err(|e| ExportError::Inconsistent { image: format!("layer {layer}"), reason: e.to_string() })
        })
        .collect()
}

/// Makes the merged files in the empty directory `dest`, in layer layout: directories are made, everything else is a
/// hard link to the layer's own inode, so that nothing is copied.
///
/// # Errors
/// The operating system refused, or the work was called off.
pub fn materialise(
    store: &Store,
    layers: &[Digest],
    merged: &[Merged],
    dest: &Path,
    cancel: &Cancel,
) -> Result<(), ExportError> {
    let sources =
        layers.iter().map(|l| Ok(Root::open(store.layer_fs(l)?)?)).collect::<Result<Vec<_>, ExportError>>()?;
    let root = Root::open(dest)?;
    // Inodes that are in use here by another file of the image: layers share inodes, files within one must not.
    let mut taken: HashSet<(u64, u64)> = HashSet::new();
    let mut dirs = Vec::new();
    for Merged { entry, layer } in merged {
        super::archive::cancelled(cancel, dest)?;
        if let Kind::Dir { .. } = entry.kind {
            make_dir(&root, &entry.path)?;
            dirs.push(entry);
            continue;
        }
        link(&sources[*layer], &root, entry, &mut taken)?;
    }
    // Deepest first: the times of a directory change while it is filled.
    for entry in dirs.into_iter().rev() {
        finish_dir(&root, entry)?;
    }
    Ok(())
}

fn make_dir(root: &Root, path: &[u8]) -> Result<(), IoError> {
    match root.parent_of(path).at("open the directory of", root.show(path))? {
        Some((dir, name)) => rustix::fs::mkdirat(&dir, name, Mode::RWXU).at("create directory", root.show(path)),
        None => Ok(()),
    }
}

fn finish_dir(root: &Root, entry: &Entry) -> Result<(), IoError> {
    let shown = root.show(&entry.path);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let fd = root.open_with(&entry.path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).at("open", &shown)?;
    if entry.kind == (Kind::Dir { opaque: true }) {
        xattr::mark_opaque(&fd, &shown)?;
    }
    xattr::write(&fd, &entry.xattrs, &shown)?;
    let owner = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    rustix::fs::fchown(&fd, Some(owner.0), Some(owner.1)).at("set owner of", &shown)?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(entry.mode)).at("set permissions of", &shown)?;
    let time = Timespec { tv_sec: entry.mtime, tv_nsec: 0 };
    rustix::fs::futimens(&fd, &Timestamps { last_access: time, last_modification: time }).at("set times of", &shown)
}

fn link(source: &Root, dest: &Root, entry: &Entry, taken: &mut HashSet<(u64, u64)>) -> Result<(), ExportError> {
    let shown = source.show(&entry.path);
    let within = |root: &Root| -> Result<_, IoError> {
        let root_itself = || io::Error::other("it is the root directory");
        let place = root.parent_of(&entry.path).at("open the directory of", root.show(&entry.path))?;
        place.ok_or_else(root_itself).at("link", root.show(&entry.path))
    };
    let ((from, name), (to, _)) = (within(source)?, within(dest)?);
    let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW).at("look at", &shown)?;
    let shared = matches!(entry.kind, Kind::File { .. }) && !taken.insert((stat.st_dev, stat.st_ino));
    if !shared {
        match rustix::fs::linkat(&from, name, &to, name, AtFlags::empty()) {
            Err(rustix::io::Errno::MLINK) => {}
            other => return Ok(other.at("link", &shown)?),
        }
    }
    Ok(copy(source, dest, entry)?)
}

/// A copy with all metadata, for a file that cannot be linked.
fn copy(source: &Root, dest: &Root, entry: &Entry) -> Result<(), IoError> {
    let shown = dest.show(&entry.path);
    let mut from = source.open_file(&entry.path)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let fd =
        dest.open_with(&entry.path, flags, Mode::RUSR | Mode::WUSR, ResolveFlags::NO_SYMLINKS).at("create", &shown)?;
    let mut to = std::fs::File::from(fd);
    io::copy(&mut from, &mut to).at("write", &shown)?;
    rustix::fs::fchown(&to, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
        .at("set owner of", &shown)?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(entry.mode)).at("set permissions of", &shown)?;
    xattr::write(&to, &entry.xattrs, &shown)?;
    let time = Timespec { tv_sec: entry.mtime, tv_nsec: 0 };
    rustix::fs::futimens(&to, &Timestamps { last_access: time, last_modification: time }).at("set times of", &shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: path.into(), kind, mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: vec![] }
    }

    /// `d x` directory, `o x` opaque directory, `f x` file, `l x y` hard link x to y, `w x` whiteout.
    fn index(lines: &[&str]) -> Index {
        let content = Digest::of(b"");
        let mut entries: Vec<Entry> = lines
            .iter()
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                let kind = match words[0] {
                    "d" => Kind::Dir { opaque: false },
                    "o" => Kind::Dir { opaque: true },
                    "f" => Kind::File { size: 0, content },
                    "l" => Kind::HardLink { first: words[2].into(), size: 0, content },
                    _ => Kind::Whiteout,
                };
                entry(words[1], kind)
            })
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Index { entries }
    }

    fn show(merged: &[Merged]) -> Vec<String> {
        merged
            .iter()
            .map(|Merged { entry, layer }| {
                let path = String::from_utf8_lossy(&entry.path);
                match &entry.kind {
                    Kind::Dir { opaque: false } => format!("d {path} {layer}"),
                    Kind::Dir { opaque: true } => format!("o {path} {layer}"),
                    Kind::File { .. } => format!("f {path} {layer}"),
                    Kind::HardLink { first, .. } => format!("l {path} {} {layer}", String::from_utf8_lossy(first)),
                    _ => format!("w {path} {layer}"),
                }
            })
            .collect()
    }

    #[test]
    fn a_stack_amounts_to_what_an_overlay_of_it_shows() {
        // What lies below: directories a and a/b, file a/f.
        let below = |path: &[u8]| {
            Ok::<_, Infallible>(match path {
                b"" | b"a" | b"a/b" => Below::Dir,
                b"a/f" => Below::Other,
                _ => Below::Nothing,
            })
        };
        type Case<'c> = (&'c [&'c [&'c str]], &'c [&'c str]);
        let cases: &[Case<'_>] = &[
            (&[&["d a", "f a/x"], &["d a", "f a/x"]], &["d a 1", "f a/x 1"]),
            // A removal of what only the stack had, and one of what lies below.
            (&[&["d a", "f a/x"], &["d a", "w a/x"]], &["d a 1"]),
            (&[&["d a"], &["d a", "w a/f"]], &["d a 1", "w a/f 1"]),
            // Removed and made anew: the directory hides what lies below.
            (&[&["w a"], &["d a", "f a/y"]], &["o a 1", "f a/y 1"]),
            (&[&["d a", "f a/b"], &["d a", "d a/b"]], &["d a 1", "o a/b 1"]),
            (&[&["f n"], &["d n"]], &["d n 1"]),
            // Under an opaque directory there is nothing to remove; a file takes a directory's place.
            (&[&["o a", "f a/x", "f a/y"], &["d a", "w a/f", "w a/x"]], &["o a 1", "f a/y 0"]),
            (&[&["d a", "d a/b", "f a/b/x", "f a/b-c"], &["d a", "f a/b"]], &["d a 1", "f a/b 1", "f a/b-c 0"]),
            (&[&["d n", "f n/x"], &["o n", "f n/y"]], &["d n 1", "f n/y 1"]),
            // The first name of a hard-linked file goes; the next takes its place.
            (&[&["f p", "l q p", "l r p"], &["w p"]], &["f q 0", "l r q 0"]),
            (&[&["f p", "l q p"], &["f p"]], &["f p 1", "f q 0"]),
            (&[&["f p", "l q p"], &["f s", "l t s"]], &["f p 0", "l q p 0", "f s 1", "l t s 1"]),
        ];
        for (stack, expected) in cases {
            let stack: Vec<Index> = stack.iter().map(|lines| index(lines)).collect();
            let merged = merge(&stack, below).unwrap();
            assert_eq!(show(&merged), *expected);
        }
    }

    #[test]
    fn on_nothing_a_stack_has_no_removals() {
        let stack = [index(&["d a", "f a/x", "f z"]), index(&["o a", "w z", "w gone", "f a/y"])];
        let merged = merge(&stack, |_| Ok::<_, Infallible>(Below::Nothing)).unwrap();
        assert_eq!(show(&merged), ["d a 1", "f a/y 1"]);
    }
}
