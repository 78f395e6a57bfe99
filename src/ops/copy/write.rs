//! Writing what was planned into the layer directory: directories first, then files in parallel, hard links last.

use super::bytes::Copier;
use super::dest::Dest;
use super::libs::Extra;
use super::pick::{Pick, Picked};
use super::reuse::{self, Previous};
use super::select::changed;
use super::{Looks, Planned, unpack};
use crate::base::fs::Context as _;
use crate::base::{Digest, Hasher, clock};
use crate::graph::{CopyOp, CopySource};
use crate::ops::source::{Item, Source, Time, Verdict, What, join, mtime, parent, stamp};
use crate::ops::upper::{Meta, Upper, apply, apply_open, replacing};
use crate::ops::{Cx, OpError, Written};
use crate::store::statcache::StatKey;
use crate::tree::View;
use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// How many files one task copies at most.
const BATCH: usize = 64;

/// How many bytes make a task complete, whatever the number of its files.
const BATCH_BYTES: u64 = 4 << 20;

/// A file that was touched so shortly before it was looked at may be written again within the same tick of the file
/// system's clock, which its times then do not show. In nanoseconds.
const RACY: i128 = 2_000_000_000;

/// Writes the layer of a planned COPY. `previous`: the layer of its last run.
pub(super) fn write<'a>(
    cx: &Cx<'_>,
    op: &CopyOp,
    sources: &[Option<Source<'_>>],
    base: Option<View<'a>>,
    planned: &Planned,
    previous: Option<Previous>,
) -> Result<Written, OpError> {
    let upper = Upper::create(cx.store, base)?;
    let mut writer = Writer { cx, planned, upper, previous, copier: Copier::default() };
    for extra in &planned.extras {
        writer.extra(extra, sources)?;
    }
    for pick in &planned.picks {
        match (&sources[pick.source], &op.sources[pick.source]) {
            (Some(source), _) => writer.pick(source, pick)?,
            (None, CopySource::Inline { data, .. }) => writer.inline(pick, data)?,
            (None, _) => {}
        }
    }
    writer.upper.finish()
}

struct Writer<'w, 'a> {
    cx: &'w Cx<'w>,
    planned: &'w Planned,
    upper: Upper<'a>,
    previous: Option<Previous>,
    copier: Copier,
}

/// The directory that neighbours are written to, and its like in the previous layer.
struct Place<'p> {
    path: &'p [u8],
    dir: OwnedFd,
    old: Option<OwnedFd>,
}

/// A file to write and where.
type Job<'j> = (&'j Item, Vec<u8>);

impl Writer<'_, '_> {
    fn pick(&mut self, source: &Source<'_>, pick: &Pick) -> Result<(), OpError> {
        let time = match &pick.what {
            Picked::Inline => (clock::now(), 0),
            Picked::One(item) | Picked::Archive(item) | Picked::Tree { dir: item, .. } => source.mtime(item)?,
        };
        let made = self.made(time);
        for (path, dir) in pick.kept.iter().flat_map(|k| &k.above) {
            let target = join(&self.planned.dest.path, path);
            self.upper.ensure_dir(parent(&target), &made)?;
            let meta = meta(&self.planned.looks, dir, source.mtime(dir)?);
            self.upper.put_dir(&target, meta)?;
        }
        match &pick.what {
            Picked::Inline => Ok(()),
            Picked::One(item) => {
                self.upper.ensure_dir(parent(&pick.target), &made)?;
                self.files(source, vec![(item, pick.target.clone())])
            }
            Picked::Archive(item) => {
                // What is unpacked has its own modes, and the directory for it the usual one (dockerfile.md C27).
                self.upper.ensure_dir(&pick.target, &Meta { mode: 0o755, ..made })?;
                unpack::unpack(self.cx, &mut self.upper, source, item, &pick.target, self.planned.looks.owner)
            }
            Picked::Tree { dir, below } => {
                self.top(pick, dir, &made)?;
                match below {
                    Some(below) => self.tree(source, pick, dir, below),
                    None => self.tree(source, pick, dir, &source.walk(dir, &|_| Verdict::Keep)?),
                }
            }
        }
    }

    /// The directory that a directory's contents go to.
    fn top(&mut self, pick: &Pick, dir: &Item, made: &Meta) -> Result<(), OpError> {
        if Dest::takes_likeness(pick) && !pick.target.is_empty() {
            self.upper.ensure_dir(parent(&pick.target), made)?;
            return self.upper.put_dir(&pick.target, meta(&self.planned.looks, dir, made.mtime));
        }
        self.upper.ensure_dir(&pick.target, made)?;
        // Its mode and owner stay, its time becomes the source's (dockerfile.md C32).
        self.upper.set_dir_time(&pick.target, made.mtime);
        Ok(())
    }

    fn tree(&mut self, source: &Source<'_>, pick: &Pick, dir: &Item, below: &[Item]) -> Result<(), OpError> {
        let mut jobs = Vec::with_capacity(below.len());
        for item in below {
            let target = pick.target_of(dir, item);
            if item.is_dir() {
                let meta = meta(&self.planned.looks, item, source.mtime(item)?);
                self.upper.put_dir(&target, meta)?;
            } else {
                jobs.push((item, target));
            }
        }
        self.files(source, jobs)
    }

    /// Writes what is no directory; the directories it goes to are there.
    fn files(&mut self, source: &Source<'_>, jobs: Vec<Job<'_>>) -> Result<(), OpError> {
        let (jobs, links) = split_links(jobs);
        let done: Vec<Vec<(Vec<u8>, Digest)>> =
            batches(&jobs).into_par_iter().map(|batch| self.batch(source, batch)).collect::<Result<_, _>>()?;
        for (path, digest) in done.into_iter().flatten() {
            self.upper.known(path, digest);
        }
        for (first, target, content) in links {
            self.link(&first, &target)?;
            if let Some(content) = content {
                self.upper.known(target, content);
            }
        }
        Ok(())
    }

    fn batch(&self, source: &Source<'_>, jobs: &[Job<'_>]) -> Result<Vec<(Vec<u8>, Digest)>, OpError> {
        let mut known = Vec::with_capacity(jobs.len());
        let mut last: Option<Place<'_>> = None;
        for (item, target) in jobs {
            if self.cx.cancel.is_set() {
                return Err(OpError::Cancelled);
            }
            // Neighbours mostly lie in one directory: it is opened once.
            let path = parent(target);
            let place = match last.take().filter(|place| place.path == path) {
                Some(place) => place,
                None => {
                    Place { path, dir: self.upper.dir(path)?, old: self.previous.as_ref().and_then(|p| p.dir(path)) }
                }
            };
            let name = OsStr::from_bytes(crate::ops::source::file_name(target));
            let digest = match self.linked(source, item, target, &place, name)? {
                Some(digest) => Some(digest),
                None => self.one(source, item, &self.planned.looks, place.dir.as_fd(), name)?,
            };
            known.extend(digest.map(|digest| (target.clone(), digest)));
            last = Some(place);
        }
        Ok(known)
    }

    /// Takes an unchanged file from the previous layer; gives the digest of its contents if that could be done. The
    /// source need not be read again: what is linked is what was planned.
    fn linked(
        &self,
        source: &Source<'_>,
        item: &Item,
        target: &[u8],
        place: &Place<'_>,
        name: &OsStr,
    ) -> Result<Option<Digest>, OpError> {
        let (Some(previous), Some(old)) = (&self.previous, &place.old) else { return Ok(None) };
        let What::File { size, content: Some(content) } = item.what else { return Ok(None) };
        let Some(entry) = previous.find(target, size, content) else { return Ok(None) };
        let meta = meta(&self.planned.looks, item, source.mtime(item)?);
        Ok(reuse::link(entry, old.as_fd(), place.dir.as_fd(), name, &meta).then_some(content))
    }

    /// Writes one file, link or device; gives the digest of a file's contents.
    fn one(
        &self,
        source: &Source<'_>,
        item: &Item,
        looks: &Looks,
        dir: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<Option<Digest>, OpError> {
        let shown = source.show(&item.path);
        let node = |kind: FileType, device: (u32, u32)| -> Result<(), OpError> {
            let made = replacing(dir, name, || match kind {
                FileType::Fifo => rustix::fs::mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, 0),
                _ => crate::layer::device::make(dir, name, kind, device),
            });
            Ok(made.at("create a copy of", &shown)?)
        };
        let kind = match &item.what {
            What::File { .. } => return self.file(source, item, looks, dir, name),
            What::Symlink(target) => {
                let target = OsStr::from_bytes(target);
                replacing(dir, name, || rustix::fs::symlinkat(target, dir, name)).at("create a copy of", &shown)?;
                FileType::Symlink
            }
            What::Char(major, minor) => {
                node(FileType::CharacterDevice, (*major, *minor))?;
                FileType::CharacterDevice
            }
            What::Block(major, minor) => {
                node(FileType::BlockDevice, (*major, *minor))?;
                FileType::BlockDevice
            }
            What::Fifo => {
                node(FileType::Fifo, (0, 0))?;
                FileType::Fifo
            }
            What::Socket => {
                create(dir, name, 0).at("create a copy of", &shown)?;
                FileType::RegularFile
            }
            // Never a job: directories are made before.
            What::Dir => return Ok(None),
        };
        let meta = meta(looks, item, source.mtime(item)?);
        apply(dir, name, &meta, kind).at("set the metadata of a copy of", &shown)?;
        Ok(None)
    }

    fn file(
        &self,
        source: &Source<'_>,
        item: &Item,
        looks: &Looks,
        dir: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<Option<Digest>, OpError> {
        let What::File { size, content } = item.what else { return Ok(None) };
        let shown = source.show(&item.path);
        let from = source.open_file(item)?;
        let before = rustix::fs::fstat(&from).at("look at", &shown)?;
        let moved = |now: &StatKey| item.stamp.is_some_and(|then| then != *now);
        if moved(&stamp(&before)) {
            return Err(changed(source, item));
        }
        let meta = meta(looks, item, mtime(&before));
        let mut to = create(dir, name, meta.mode).at("create a copy of", &shown)?;
        let copied = match self.copier.copy(&from, &mut to, size, self.cx.cancel) {
            Err(e) if e.kind() == ErrorKind::Interrupted => return Err(OpError::Cancelled),
            other => other.at("copy", &shown)?,
        };
        let after = stamp(&rustix::fs::fstat(&from).at("look at", &shown)?);
        if copied != size || moved(&after) {
            return Err(changed(source, item));
        }
        if item.stamp.is_some_and(|s| s.mtime.max(s.ctime) + RACY > self.planned.looked_at) {
            to.rewind().at("read a copy of", &shown)?;
            let (digest, _) = Hasher::read(&to).at("read a copy of", &shown)?;
            if content.is_some_and(|c| c != digest) {
                return Err(changed(source, item));
            }
        }
        apply_open(&to, &meta).at("set the metadata of a copy of", &shown)?;
        Ok(content)
    }

    fn inline(&mut self, pick: &Pick, data: &str) -> Result<(), OpError> {
        let time = (clock::now(), 0);
        self.upper.ensure_dir(parent(&pick.target), &self.made(time))?;
        let (dir, name) = self.upper.place(&pick.target)?;
        let shown = self.upper.root().show(&pick.target);
        let (uid, gid) = self.planned.looks.owner.unwrap_or((0, 0));
        let mode = self.planned.looks.mode.as_ref().map_or(0o644, |m| m.apply(0o644, false));
        let meta = Meta { mode, uid, gid, mtime: time, xattrs: Vec::new() };
        let mut file = create(dir.as_fd(), name, mode).at("create", &shown)?;
        file.write_all(data.as_bytes()).at("write", &shown)?;
        apply_open(&file, &meta).at("set the metadata of", &shown)?;
        self.upper.known(pick.target.clone(), Digest::of(data.as_bytes()));
        Ok(())
    }

    /// A library or link that `--with-libs` brings; its owner and mode are not the instruction's business.
    fn extra(&mut self, extra: &Extra, sources: &[Option<Source<'_>>]) -> Result<(), OpError> {
        let Some(source) = &sources[extra.source] else { return Ok(()) };
        let made = Meta { mode: 0o755, uid: 0, gid: 0, mtime: source.mtime(&extra.item)?, xattrs: Vec::new() };
        self.upper.ensure_dir(parent(&extra.target), &made)?;
        let (dir, name) = self.upper.place(&extra.target)?;
        if let Some(digest) = self.one(source, &extra.item, &Looks::default(), dir.as_fd(), name)? {
            self.upper.known(extra.target.clone(), digest);
        }
        Ok(())
    }

    fn link(&self, first: &[u8], target: &[u8]) -> Result<(), OpError> {
        let ((from, from_name), (to, to_name)) = (self.upper.place(first)?, self.upper.place(target)?);
        replacing(to.as_fd(), to_name, || rustix::fs::linkat(&from, from_name, &to, to_name, AtFlags::empty()))
            .at("link", self.upper.root().show(target))?;
        Ok(())
    }

    /// Metadata of a directory that is made because it is missing.
    fn made(&self, mtime: Time) -> Meta {
        let (mode, uid, gid) = self.planned.looks.made();
        Meta { mode, uid, gid, mtime, xattrs: Vec::new() }
    }
}

/// Metadata of an item's copy.
fn meta(looks: &Looks, item: &Item, mtime: Time) -> Meta {
    let (uid, gid) = looks.owner.unwrap_or((item.uid, item.gid));
    let mode = looks.mode.as_ref().map_or(item.mode, |m| m.apply(item.mode, item.is_dir()));
    Meta { mode, uid, gid, mtime, xattrs: item.xattrs.clone() }
}

/// Divides files among tasks: many small ones to a task, and every large one ends its own.
fn batches<'b, 'j>(jobs: &'b [Job<'j>]) -> Vec<&'b [Job<'j>]> {
    let mut bytes = 0;
    let mut count = 0;
    jobs.chunk_by(|(item, _), _| {
        bytes += if let What::File { size, .. } = item.what { size } else { 0 };
        count += 1;
        let more = bytes < BATCH_BYTES && count < BATCH;
        if !more {
            (bytes, count) = (0, 0);
        }
        more
    })
    .collect()
}

/// A further name of a file: the first name's target, its own, and the contents.
type Link = (Vec<u8>, Vec<u8>, Option<Digest>);

/// Sets apart the further names of files that are written under another name.
fn split_links(jobs: Vec<Job<'_>>) -> (Vec<Job<'_>>, Vec<Link>) {
    // A step's tree marks further names only, by the path of the first; a context marks them all.
    let named: HashSet<&[u8]> = jobs.iter().filter_map(|(item, _)| item.group.as_deref()).collect();
    let mut firsts: HashMap<&[u8], Vec<(&Item, Vec<u8>)>> = HashMap::new();
    let (mut plain, mut links) = (Vec::with_capacity(jobs.len()), Vec::new());
    for (item, target) in jobs.iter().map(|(item, target)| (*item, target.clone())) {
        let group = item.group.as_deref().or_else(|| named.get(item.path.as_slice()).copied());
        let (What::File { content, .. }, Some(group)) = (&item.what, group) else {
            plain.push((item, target));
            continue;
        };
        // Of a context, a name may have been written anew meanwhile: only what is alike in all is one file.
        let known = firsts.entry(group).or_default();
        match known.iter().find(|(first, _)| alike(first, item)) {
            Some((_, first)) => links.push((first.clone(), target, *content)),
            None => {
                known.push((item, target.clone()));
                plain.push((item, target));
            }
        }
    }
    (plain, links)
}

fn alike(a: &Item, b: &Item) -> bool {
    (&a.what, a.mode, a.uid, a.gid, &a.xattrs) == (&b.what, b.mode, b.uid, b.gid, &b.xattrs)
}

/// A new empty file in place of whatever but a directory is there. `mode`: what it will have in the end; where that is
/// plain and the umask lets it be, nothing is left to change.
fn create(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> rustix::io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(mode & 0o777);
    replacing(dir, name, || rustix::fs::openat(dir, name, flags, mode)).map(File::from)
}
