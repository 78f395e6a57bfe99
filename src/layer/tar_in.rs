//! Applying a foreign tar (a layer of `load`/`pull`, a root filesystem of `import`, an archive of ADD) beneath a
//! directory: the one applier, for hostile input.
//!
//! Every name is resolved beneath the destination, never through a symbolic link, and every act is on a name in an
//! open directory. What is written is in overlay-upper layout, as [`super::scan`] reads it.

mod error;
mod place;
mod tape;

use super::mode::ModeChange;
use super::scan::Known;
use super::tar_out::{OPAQUE_NAME, WHITEOUT_PREFIX};
use super::{device, recipe, xattr};
use crate::base::fs::Context;
use crate::base::root::Root;
use crate::base::{Cancel, Digest, Hasher, IoError};
pub use error::ApplyError;
use place::{failed, kind_of, open_dir, split};
use rustix::fs::{AtFlags, FileType, Mode as Bits, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tape::{Member, Tape, with_tape};
use tar_core::EntryType;

/// What `.wh.` names mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A layer: removals (OCI image-spec, "Whiteouts").
    Layer,
    /// A root filesystem or an archive of ADD: names like any other.
    Plain,
}

/// What an archive may ask for at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Members.
    pub entries: u64,
    /// Sum of the sizes of files, in bytes; a sparse file counts in full.
    pub bytes: u64,
    /// Directories above a name.
    pub depth: usize,
}

impl Default for Limits {
    /// Far above any image: 8 million members, 1 TiB, 256 directories deep.
    fn default() -> Limits {
        Limits { entries: 8 << 20, bytes: 1 << 40, depth: 256 }
    }
}

/// How to apply an archive.
#[derive(Clone, Copy, Debug)]
pub struct Options<'o> {
    /// What `.wh.` names mean.
    pub mode: Mode,
    /// What it may ask for.
    pub limits: Limits,
    /// Where to write how the archive is reproduced byte by byte (see [`recipe::replay`]); on the destination's file
    /// system.
    pub recipe: Option<&'o Path>,
    /// Owner and group of everything, instead of what the archive says.
    pub owner: Option<(u32, u32)>,
    /// A change of every mode but those of symbolic links.
    pub chmod: Option<&'o ModeChange>,
    /// Whether metadata for `./` are those of the destination directory; else they are ignored.
    pub root_metadata: bool,
    /// Stops it.
    pub cancel: &'o Cancel,
}

impl<'o> Options<'o> {
    /// A layer.
    pub fn layer(recipe: Option<&'o Path>, cancel: &'o Cancel) -> Options<'o> {
        Options { mode: Mode::Layer, recipe, root_metadata: true, ..Options::plain(cancel) }
    }

    /// An archive of files.
    pub fn plain(cancel: &'o Cancel) -> Options<'o> {
        let limits = Limits::default();
        Options { mode: Mode::Plain, limits, recipe: None, owner: None, chmod: None, root_metadata: false, cancel }
    }
}

/// What was applied.
#[derive(Debug)]
pub struct Applied {
    /// sha256 of the uncompressed archive: for a layer, its diffID.
    pub diff_id: Digest,
    /// Its length in bytes.
    pub tar_size: u64,
    /// Members.
    pub entries: u64,
    /// sha256 of every regular file that was written, by its path beneath the destination: spares
    /// [`super::scan::index`] a second reading.
    pub contents: Known,
    /// Directories that the archive does not name but that its members lie in.
    pub unnamed: BTreeSet<Vec<u8>>,
}

/// Applies an uncompressed archive beneath `dest`, a directory in overlay-upper layout on which nobody else works.
///
/// The last member of a name wins. Parents that the archive does not name are made as 0755 0:0, as docker does. Hard
/// links lead to what the archive has (or the destination had) before them. After an error the destination holds a
/// part of the archive and is good for nothing but removal.
pub fn apply(reader: &mut (dyn Read + Send), dest: &Path, options: &Options<'_>) -> Result<Applied, ApplyError> {
    let root = Root::open(dest)?;
    let recipe = options.recipe.map(recipe::Writer::create).transpose()?;
    let mut applier = Applier {
        root: &root,
        options,
        parent: None,
        dirs: BTreeMap::new(),
        unnamed: BTreeSet::new(),
        opaque: BTreeSet::new(),
        contents: Known::new(),
        recipe,
        entries: 0,
        bytes: 0,
    };
    let ((), diff_id, tar_size) = with_tape(reader, |tape| applier.run(tape))?;
    applier.drop_idle_whiteouts()?;
    applier.finish_dirs()?;
    if let Some(recipe) = applier.recipe {
        recipe.finish()?;
    }
    let (entries, contents, unnamed) = (applier.entries, applier.contents, applier.unnamed);
    Ok(Applied { diff_id, tar_size, entries, contents, unnamed })
}

/// Metadata on their way to a file.
#[derive(Clone, Debug)]
struct Meta {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    xattrs: xattr::Xattrs,
}

struct Applier<'a> {
    root: &'a Root,
    options: &'a Options<'a>,
    /// The directory last written to, which is mostly the next one, too.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Directories get their metadata last: writing in them changes their times, and default ACLs would be inherited.
    dirs: BTreeMap<Vec<u8>, Meta>,
    unnamed: BTreeSet<Vec<u8>>,
    opaque: BTreeSet<Vec<u8>>,
    contents: Known,
    recipe: Option<recipe::Writer>,
    entries: u64,
    bytes: u64,
}

impl Applier<'_> {
    fn run(&mut self, tape: &mut Tape) -> Result<(), ApplyError> {
        loop {
            super::pump::check(self.options.cancel)?;
            let recipe = &mut self.recipe;
            let mut raw = |bytes: &[u8]| recipe.as_mut().map_or(Ok(()), |r| r.raw(bytes)).map_err(ApplyError::from);
            let Some(member) = tape.next(&mut raw)? else { return Ok(()) };
            self.entries += 1;
            if self.entries > self.options.limits.entries {
                return Err(ApplyError::Limit { what: "entries", limit: self.options.limits.entries });
            }
            self.member(tape, member)?;
        }
    }

    fn member(&mut self, tape: &mut Tape, member: Member) -> Result<(), ApplyError> {
        let path = self.normal(&member.path, &member.path)?;
        let is_file = member.kind.is_file() || member.kind.is_contiguous() || member.kind.is_gnu_sparse();
        // Before ustar had directories, a name that ends with a slash was one.
        let old_directory = is_file && member.path.ends_with(b"/");
        if (!is_file || old_directory) && member.stored != 0 {
            return Err(refused(&member.path, "only regular files have contents"));
        }
        if self.options.mode == Mode::Layer
            && let Some(done) = self.whiteout(&path, &member, is_file)?
        {
            return Ok(done);
        }
        let meta = self.meta(&member, old_directory)?;
        if member.kind.is_dir() || old_directory {
            return self.directory(path, meta);
        }
        if path.is_empty() {
            return match self.options.mode {
                Mode::Layer => Err(refused(&member.path, "only a directory can be the root")),
                // The root is there already, and stays: as docker does.
                Mode::Plain => self.pass_over(tape, &member),
            };
        }
        match member.kind {
            _ if is_file => self.file(tape, &path, &member, &meta),
            EntryType::Link => self.hard_link(&path, &member),
            EntryType::Symlink => self.symlink(&path, &member, &meta),
            EntryType::Char | EntryType::Block | EntryType::Fifo => self.node(&path, &member, &meta),
            _ => Err(refused(&member.path, "it is of a kind that no layer has")),
        }
    }

    /// A member's name as a path beneath the destination: no leading `/`, no `.`; `..` is refused.
    fn normal(&self, name: &[u8], member: &[u8]) -> Result<Vec<u8>, ApplyError> {
        if name.contains(&0) {
            return Err(refused(member, "its name contains a NUL byte"));
        }
        let mut path: Vec<u8> = Vec::with_capacity(name.len());
        let mut depth = 0;
        for component in name.split(|b| *b == b'/').filter(|c| !matches!(*c, b"" | b".")) {
            if component == b".." {
                return Err(refused(member, "its name leads out of its directory with '..'"));
            }
            depth += 1;
            if depth > self.options.limits.depth {
                let limit = self.options.limits.depth;
                return Err(refused(member, format!("it lies more than {limit} directories deep")));
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
        }
        Ok(path)
    }

    fn meta(&self, member: &Member, old_directory: bool) -> Result<Meta, ApplyError> {
        let id = |id: u64| match u32::try_from(id) {
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(refused(&member.path, format!("its owner {id} is no user or group id"))),
        };
        let (uid, gid) = match self.options.owner {
            Some(owner) => owner,
            None => (id(member.uid)?, id(member.gid)?),
        };
        let is_dir = member.kind.is_dir() || old_directory;
        let mode = match self.options.chmod {
            Some(change) if !member.kind.is_symlink() => change.apply(member.mode, is_dir),
            _ => member.mode,
        };
        let mut xattrs: xattr::Xattrs = member.xattrs.clone();
        xattrs.retain(|(name, _)| xattr::belongs(name));
        Ok(Meta { mode, uid, gid, mtime: member.mtime, xattrs })
    }

    /// Handles names that mean removals; `None` for all others.
    fn whiteout(&mut self, path: &[u8], member: &Member, is_file: bool) -> Result<Option<()>, ApplyError> {
        let (dir, name) = split(path);
        if dir.split(|b| *b == b'/').any(|component| component.starts_with(WHITEOUT_PREFIX)) {
            return Err(refused(&member.path, "a name that begins with '.wh.' is a removal and holds nothing"));
        }
        let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX) else { return Ok(None) };
        if !is_file || member.stored != 0 {
            return Err(refused(&member.path, "a removal is an empty file"));
        }
        if name == OPAQUE_NAME {
            let fd = self.directory_at(dir, member)?;
            self.mark_opaque(&fd, dir)?;
            return Ok(Some(()));
        }
        if matches!(hidden, b"" | b"." | b"..") || hidden.starts_with(WHITEOUT_PREFIX) {
            return Err(refused(&member.path, "there is no such removal"));
        }
        let hidden_path = if dir.is_empty() { hidden.to_vec() } else { [dir, b"/", hidden].concat() };
        self.enter(dir, member)?;
        let (parent, name) = (self.here()?, OsStr::from_bytes(hidden));
        let shown = self.root.show(&hidden_path);
        match kind_of(parent, name).at("look at", &shown)? {
            // A removal hides what lower layers have, never what this one has: a directory stays, and starts empty.
            Some((FileType::Directory, _)) => {
                let fd = open_dir(parent, name).at("open directory", &shown)?;
                self.mark_opaque(&fd, &hidden_path)?;
            }
            Some(_) => {}
            None => rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Bits::empty(), 0)
                .at("make a whiteout", &shown)?,
        }
        Ok(Some(()))
    }

    fn directory(&mut self, path: Vec<u8>, meta: Meta) -> Result<(), ApplyError> {
        if path.is_empty() {
            if self.options.root_metadata {
                self.dirs.insert(path, meta);
            }
            return Ok(());
        }
        let (dir, name) = split(&path);
        self.enter_path(dir, &path)?;
        self.make_directory(&path, OsStr::from_bytes(name))?;
        self.unnamed.remove(&path);
        self.dirs.insert(path, meta);
        Ok(())
    }

    fn file(&mut self, tape: &mut Tape, path: &[u8], member: &Member, meta: &Meta) -> Result<(), ApplyError> {
        let size = member.sparse.as_ref().map_or(member.stored, |(_, size)| *size);
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.options.limits.bytes {
            return Err(ApplyError::Limit { what: "bytes of files", limit: self.options.limits.bytes });
        }
        let (dir, name) = split(path);
        self.enter(dir, member)?;
        let name = OsStr::from_bytes(name);
        let shown = self.root.show(path);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |parent: &OwnedFd| rustix::fs::openat(parent, name, flags, Bits::RUSR | Bits::WUSR);
        let fd = self.replacing(path, name, open)?.at("create", &shown)?;
        let mut file = File::from(fd);
        let mut hasher = Hasher::new();
        match &member.sparse {
            None => {
                self.refer(path, 0, size)?;
                tape.content(size, &mut |bytes| {
                    super::pump::check(self.options.cancel)?;
                    hasher.update(bytes);
                    Ok(file.write_all(bytes).at("write", &shown)?)
                })?;
            }
            Some((map, size)) => {
                self.sparse(tape, path, member, map, &file)?;
                file.set_len(*size).at("write", &shown)?;
                let mut whole = &file;
                io::Seek::rewind(&mut whole).at("read", &shown)?;
                io::copy(&mut whole, &mut hasher).at("read", &shown)?;
            }
        }
        let recipe = &mut self.recipe;
        let padding = member.stored.wrapping_neg() % 512;
        tape.content(padding, &mut |bytes| Ok(recipe.as_mut().map_or(Ok(()), |r| r.raw(bytes))?))?;
        self.finish_open(&file, meta, &shown)?;
        self.contents.insert(path.to_vec(), hasher.finish());
        Ok(())
    }

    /// Reads past what a member stores; nothing of it is written.
    fn pass_over(&mut self, tape: &mut Tape, member: &Member) -> Result<(), ApplyError> {
        let recipe = &mut self.recipe;
        let length = member.stored + member.stored.wrapping_neg() % 512;
        tape.content(length, &mut |bytes| Ok(recipe.as_mut().map_or(Ok(()), |r| r.raw(bytes))?))
    }

    /// Writes the stored parts of a sparse file to their places.
    fn sparse(
        &mut self,
        tape: &mut Tape,
        path: &[u8],
        member: &Member,
        map: &[(u64, u64)],
        file: &File,
    ) -> Result<(), ApplyError> {
        let size = member.sparse.as_ref().map_or(0, |(_, size)| *size);
        let (mut end, mut stored) = (0, 0u64);
        for (offset, length) in map {
            let part_end = offset.checked_add(*length).filter(|end| *end <= size);
            let (Some(part_end), true) = (part_end, *offset >= end) else {
                return Err(refused(&member.path, "its map of sparse parts is out of order or out of range"));
            };
            stored += length;
            self.refer(path, *offset, *length)?;
            let mut at = *offset;
            tape.content(*length, &mut |bytes| {
                super::pump::check(self.options.cancel)?;
                file.write_all_at(bytes, at).at("write", self.root.show(path))?;
                at += bytes.len() as u64;
                Ok(())
            })?;
            end = part_end;
        }
        if stored != member.stored {
            return Err(refused(&member.path, "its map of sparse parts does not match its size"));
        }
        Ok(())
    }

    fn refer(&mut self, path: &[u8], offset: u64, length: u64) -> Result<(), IoError> {
        self.recipe.as_mut().map_or(Ok(()), |recipe| recipe.file(path, offset, length))
    }

    fn hard_link(&mut self, path: &[u8], member: &Member) -> Result<(), ApplyError> {
        let target = self.normal(&member.link, &member.path)?;
        let to = String::from_utf8_lossy(&target).into_owned();
        let missing =
            || refused(&member.path, format!("it is a hard link to '{to}', which is not in the archive before it"));
        let (target_dir, target_name) = split(&target);
        let removal = self.options.mode == Mode::Layer && target_name.starts_with(WHITEOUT_PREFIX);
        if target == path || target.is_empty() || removal {
            return Err(refused(&member.path, format!("it is a hard link to '{to}'")));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let from = match self.root.open_with(target_dir, flags, Bits::empty(), ResolveFlags::NO_SYMLINKS) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(missing()),
            Err(e) => return Err(failed(e, "open the directory of", self.root.show(&target))),
        };
        let target_name = OsStr::from_bytes(target_name);
        let found = kind_of(&from, target_name).at("look at", self.root.show(&target))?;
        match found {
            None | Some((FileType::CharacterDevice, 0)) => return Err(missing()),
            Some((FileType::Directory, _)) => {
                return Err(refused(&member.path, format!("it is a hard link to the directory '{to}'")));
            }
            Some(_) => {}
        }
        let (dir, name) = split(path);
        self.enter(dir, member)?;
        let name = OsStr::from_bytes(name);
        let link = |parent: &OwnedFd| rustix::fs::linkat(&from, target_name, parent, name, AtFlags::empty());
        self.replacing(path, name, link)?.at("link", self.root.show(path))?;
        if let Some(digest) = self.contents.get(&target).copied() {
            self.contents.insert(path.to_vec(), digest);
        }
        Ok(())
    }

    fn symlink(&mut self, path: &[u8], member: &Member, meta: &Meta) -> Result<(), ApplyError> {
        if member.link.is_empty() || member.link.contains(&0) {
            return Err(refused(&member.path, "the target of a symbolic link is empty or contains a NUL byte"));
        }
        let (dir, name) = split(path);
        self.enter(dir, member)?;
        let name = OsStr::from_bytes(name);
        let target = OsStr::from_bytes(&member.link);
        let shown = self.root.show(path);
        self.replacing(path, name, |parent| rustix::fs::symlinkat(target, parent, name))?
            .at("create symbolic link", &shown)?;
        self.finish_named(name, meta, true, &shown)
    }

    fn node(&mut self, path: &[u8], member: &Member, meta: &Meta) -> Result<(), ApplyError> {
        let kind = match member.kind {
            EntryType::Char => FileType::CharacterDevice,
            EntryType::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let (major, minor) = if kind == FileType::Fifo { (0, 0) } else { member.device };
        if kind == FileType::CharacterDevice && (major, minor) == (0, 0) {
            // On disk that would be a removal which no `.wh.` name announced.
            return Err(refused(&member.path, "the character device 0:0 is no device"));
        }
        let (dir, name) = split(path);
        self.enter(dir, member)?;
        let name = OsStr::from_bytes(name);
        let shown = self.root.show(path);
        let make = |parent: &OwnedFd| match kind {
            FileType::Fifo => rustix::fs::mknodat(parent, name, kind, Bits::empty(), 0),
            _ => device::make(parent, name, kind, (major, minor)),
        };
        self.replacing(path, name, make)?.at("create device", &shown)?;
        self.finish_named(name, meta, false, &shown)
    }
}

/// A refusal that names the member, without what a terminal would act on.
fn refused(path: &[u8], reason: impl Into<String>) -> ApplyError {
    let clean = |text: &str| text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    ApplyError::Refused { path: clean(&String::from_utf8_lossy(path)), reason: clean(&reason.into()) }
}

#[cfg(test)]
mod tests;
