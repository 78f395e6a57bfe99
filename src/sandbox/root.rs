//! The new root and the mount points in it. A mount needs something to be mounted on, and a minimal image has no
//! `/proc` and no `/etc/resolv.conf`. What is missing must not get into the layer that the step makes:
//!
//! - On an overlay the usual names are in one more lower layer, in memory, below the image's: what the image has hides
//!   them, and the upper directory never sees them. Should some still be missing (whiteouts, opaque directories, links
//!   to nowhere, mounts that the caller asks for), the overlay is made anew with a layer above the image's too, in
//!   which directories that exist are repeated with the very metadata they have, so that the merged view does not
//!   change but for the new names.
//! - In a plain directory they are made, reported, and removed by the caller afterwards.

use super::mountfd::{self, OverlayDirs};
use super::plan::{Placed, What, inside_earlier};
use super::wire::{Blame, Failure, Inode, Stub};
use crate::snapshot::RootMount;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// A private file system in memory for what the set-up needs: the root's mount point, an empty directory, the
/// contents of file mounts. It goes with the old root.
#[derive(Debug)]
pub(super) struct Stage {
    /// Its root.
    pub dir: OwnedFd,
}

impl Stage {
    /// Makes it and attaches it over the host directory `at`, in this mount namespace only.
    fn make(at: &OwnedFd) -> Result<Stage, Failure> {
        let dir = mountfd::fresh("tmpfs", &[("mode", "755".into())], mountfd::NODEV | mountfd::NOSUID)?;
        mountfd::attach(&dir, at, "the staging directory")?;
        Ok(Stage { dir })
    }

    /// Makes a directory in it and opens it.
    pub fn directory(&self, name: &str) -> Result<OwnedFd, Failure> {
        make_dir(self.dir.as_fd(), OsStr::new(name)).blame("create directory", name)
    }
}

/// The mounted root.
#[derive(Debug)]
pub(super) struct NewRoot {
    /// Handle of its top directory.
    pub dir: OwnedFd,
    /// Scratch space.
    pub stage: Stage,
    /// Mount points that had to be made in the root's own directory.
    pub stubs: Vec<Stub>,
}

/// Mounts the root with every mount point that the plan needs in it.
pub(super) fn make(root: &RootMount, plan: &[Placed]) -> Result<NewRoot, Failure> {
    match root {
        RootMount::Dir(path) => {
            let host = mountfd::handle(path)?;
            let mount = mountfd::clone_tree(&host, mountfd::NODEV, path.display())?;
            let stage = Stage::make(&host)?;
            attach_root(&mount, &stage)?;
            let mut stubs = Vec::new();
            for (target, directory) in missing(&mount, plan)? {
                make_missing(&mount, &target, directory, &mut stubs)?;
            }
            Ok(NewRoot { dir: mount, stage, stubs })
        }
        RootMount::Overlay { lowers, upper, work } => {
            let open =
                |paths: &[PathBuf]| paths.iter().rev().map(|p| mountfd::handle(p)).collect::<Result<Vec<_>, _>>();
            allow_descriptors(lowers.len());
            let (lowers, upper, work) = (open(lowers)?, mountfd::handle(upper)?, mountfd::handle(work)?);
            let stage = Stage::make(&upper)?;
            let usual = usual_mount_points(&stage)?;
            let mut dirs = OverlayDirs {
                lowers: lowers.iter().chain([&usual]).map(AsFd::as_fd).collect(),
                upper: upper.as_fd(),
                work: work.as_fd(),
            };
            let mut mount = mountfd::overlay(&dirs, &stage.dir)?;
            let missing = missing(&mount, plan)?;
            if !missing.is_empty() {
                let stubs = stage.directory("stubs")?;
                for (target, directory) in &missing {
                    repeat_with(&mount, stubs.as_fd(), target, *directory)?;
                }
                // Gone with its last descriptor; the next one may use the same upper directory then.
                drop(mount);
                forget_volatile(&work)?;
                dirs.lowers.insert(0, stubs.as_fd());
                mount = mountfd::overlay(&dirs, &stage.dir)?;
            }
            attach_root(&mount, &stage)?;
            Ok(NewRoot { dir: mount, stage, stubs: Vec::new() })
        }
    }
}

/// A directory with every mount point that a root is likely to lack.
fn usual_mount_points(stage: &Stage) -> Result<OwnedFd, Failure> {
    let top = stage.directory("usual")?;
    let make = || -> io::Result<()> {
        for name in ["dev", "proc", "sys"] {
            make_dir(top.as_fd(), OsStr::new(name))?;
        }
        let etc = make_dir(top.as_fd(), OsStr::new("etc"))?;
        for name in ["hostname", "hosts", "resolv.conf"] {
            make_file(etc.as_fd(), OsStr::new(name))?;
        }
        Ok(())
    };
    make().blame("create", "mount points")?;
    Ok(top)
}

fn attach_root(mount: &OwnedFd, stage: &Stage) -> Result<(), Failure> {
    mountfd::attach(mount, stage.directory("root")?, "the staging directory")
}

/// Each lower layer takes a descriptor while the overlay is configured, and the soft limit may be as low as 256.
pub(super) fn allow_descriptors(count: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = Some(count as u64 + 64);
    if now.current.is_some() && now.current < wanted {
        // Refused by a low hard limit, opening says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: now.maximum });
    }
}

/// A volatile overlay leaves a mark in its work directory that forbids mounting it again, since a crash may have lost
/// data. Nothing was written here yet.
fn forget_volatile(work: &OwnedFd) -> Result<(), Failure> {
    let directory = AtFlags::REMOVEDIR;
    let mark = [
        ("work/incompat/volatile/dirty", AtFlags::empty()),
        ("work/incompat/volatile", directory),
        ("work/incompat", directory),
    ];
    for (path, flags) in mark {
        match rustix::fs::unlinkat(work, path, flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).blame("remove the overlay's mark", path),
        }
    }
    Ok(())
}

/// Mount points of the root itself that are not there, each with whether it is to be a directory.
fn missing(root: &OwnedFd, plan: &[Placed]) -> Result<Vec<(String, bool)>, Failure> {
    let mut out = Vec::new();
    for (i, placed) in plan.iter().enumerate() {
        if inside_earlier(plan, i) {
            continue;
        }
        let Some(directory) = directory_for(&placed.what)? else { continue };
        if mountfd::beneath(root, &placed.target)?.is_none() {
            out.push((placed.target.clone(), directory));
        }
    }
    Ok(out)
}

/// Whether a missing mount point is made as a directory or a file; `None`: not made.
pub(super) fn directory_for(what: &What) -> Result<Option<bool>, Failure> {
    if let What::Bind { source, .. } = what {
        let stat = rustix::fs::stat(source).blame("look at", source.display())?;
        return Ok(Some(FileType::from_raw_mode(stat.st_mode) == FileType::Directory));
    }
    Ok(what.needs_directory())
}

/// Where a path leads inside a root: the directories that exist (no links in them), and the names that do not.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    existing: Vec<OsString>,
    missing: Vec<OsString>,
}

/// As many links as the kernel follows (`ELOOP` beyond).
const MAX_LINKS: usize = 40;

/// Follows `target` inside `root` as far as there is something; a link to nowhere leads to where it points.
fn place(root: BorrowedFd<'_>, target: &str) -> io::Result<Place> {
    let split = |path: &[u8]| -> VecDeque<OsString> {
        path.split(|b| *b == b'/')
            .filter(|c| !c.is_empty() && *c != b".")
            .map(|c| OsStr::from_bytes(c).into())
            .collect()
    };
    let mut todo = split(target.as_bytes());
    let mut place = Place::default();
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            place.existing.pop();
            continue;
        }
        let parent = open_existing(root, &place.existing)?;
        let stat = match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                place.missing.push(name);
                for name in todo {
                    if name != ".." {
                        place.missing.push(name);
                    } else if place.missing.pop().is_none() {
                        place.existing.pop();
                    }
                }
                return Ok(place);
            }
            Err(errno) => return Err(errno.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::from_raw_os_error(libc::ELOOP));
                }
                let link = rustix::fs::readlinkat(&parent, &name, Vec::new())?.into_bytes();
                if link.starts_with(b"/") {
                    place.existing.clear();
                }
                let mut rest = split(&link);
                rest.append(&mut todo);
                todo = rest;
            }
            FileType::Directory => place.existing.push(name),
            _ if todo.is_empty() => place.existing.push(name),
            _ => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
        }
    }
    Ok(place)
}

/// Opens a directory by names that are known to be no links; a link that was put there meanwhile is refused.
fn open_existing(root: BorrowedFd<'_>, names: &[OsString]) -> io::Result<OwnedFd> {
    let path: PathBuf = std::iter::once(OsStr::new(".")).chain(names.iter().map(OsString::as_os_str)).collect();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(root, &path, flags, Mode::empty(), resolve)?)
}

fn make_dir(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

fn make_file(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644))?)
}

/// Makes the mount point `target` (or the target of its link) in a root that is a plain directory, or in a mount
/// inside the new root.
pub(super) fn make_missing(
    root: &OwnedFd,
    target: &str,
    directory: bool,
    stubs: &mut Vec<Stub>,
) -> Result<(), Failure> {
    fn one(parent: &OwnedFd, name: &OsStr, directory: bool, path: Vec<u8>) -> io::Result<(OwnedFd, Stub)> {
        let mtime = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|s| (s.st_mtime, s.st_mtime_nsec as i64));
        let before = mtime(parent)?;
        let made = if directory { make_dir(parent.as_fd(), name)? } else { make_file(parent.as_fd(), name)? };
        let inode = Inode::of(&made, OsStr::new(""))?;
        Ok((made, Stub { path, inode, before, after: mtime(parent)? }))
    }
    let place = place(root.as_fd(), target).blame("resolve", target)?;
    if place.missing.is_empty() {
        return Ok(());
    }
    let mut at = open_existing(root.as_fd(), &place.existing).blame("open the directory of", target)?;
    let mut path = place.existing;
    for (i, name) in place.missing.iter().enumerate() {
        path.push(name.clone());
        let bytes = path.join(OsStr::new("/")).into_vec();
        let last = i + 1 == place.missing.len();
        let (made, stub) = one(&at, name, directory || !last, bytes).blame("create the mount point", target)?;
        stubs.push(stub);
        at = made;
    }
    Ok(())
}

/// Makes the mount point `target` in the layer `stubs`, whose directories repeat those of the merged `root`.
fn repeat_with(root: &OwnedFd, stubs: BorrowedFd<'_>, target: &str, directory: bool) -> Result<(), Failure> {
    let place = place(root.as_fd(), target).blame("resolve", target)?;
    let mut at = stubs.try_clone_to_owned().blame("open", "the stub layer")?;
    let mut restore: Vec<(OwnedFd, Stat)> = Vec::new();
    for depth in 0..place.existing.len() {
        let original = open_existing(root.as_fd(), &place.existing[..=depth]).blame("open the directory of", target)?;
        let copy = make_dir(at.as_fd(), &place.existing[depth]).blame("create the mount point", target)?;
        let stat = copy_metadata(&original, &copy).blame("repeat the directory of", target)?;
        restore.push((copy.try_clone().blame("open", target)?, stat));
        at = copy;
    }
    for (i, name) in place.missing.iter().enumerate() {
        let last = i + 1 == place.missing.len();
        let made = if directory || !last { make_dir(at.as_fd(), name) } else { make_file(at.as_fd(), name) };
        if matches!(&made, Err(e) if e.kind() == io::ErrorKind::AlreadyExists) {
            // Two targets that lead to the same place.
            break;
        }
        at = made.blame("create the mount point", target)?;
    }
    // Times last: making a name in a directory changes its own.
    for (copy, stat) in restore {
        set_times(&copy, &stat).blame("repeat the directory of", target)?;
    }
    Ok(())
}

fn set_times(fd: &OwnedFd, stat: &Stat) -> io::Result<()> {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Ok(rustix::fs::futimens(fd, &Timestamps { last_access: time, last_modification: time })?)
}

/// Owner, mode and extended attributes of one directory for another, whose handle is open for reading.
fn copy_metadata(from: &OwnedFd, to: &OwnedFd) -> io::Result<Stat> {
    let stat = rustix::fs::fstat(from)?;
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    // A handle can't be asked for its attributes; the directory opened for reading can.
    let readable = rustix::fs::openat(from, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(&readable, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let size = rustix::fs::fgetxattr(&readable, name, &mut value[..])?;
        match rustix::fs::fsetxattr(to, name, &value[..size], XattrFlags::empty()) {
            // Labels of the host's security module are its own business.
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(stat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_place_follows_links_inside_the_root_and_names_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("usr/etc")).unwrap();
        symlink("/usr/etc", root.join("etc")).unwrap();
        symlink("../../../../run/resolve/stub.conf", root.join("usr/etc/resolv.conf")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        let fd = mountfd::handle(root).unwrap();
        let table: &[(&str, &[&str], &[&str])] = &[
            ("/", &[], &[]),
            ("/proc", &[], &["proc"]),
            ("/file", &["file"], &[]),
            ("/etc/hosts", &["usr", "etc"], &["hosts"]),
            ("/etc/resolv.conf", &[], &["run", "resolve", "stub.conf"]),
            ("/../../etc/./a/../b", &["usr", "etc"], &["b"]),
            ("/etc/a/../../x", &["usr"], &["x"]),
        ];
        for (target, existing, missing) in table {
            let found = place(fd.as_fd(), target).unwrap();
            let strings = |names: &[OsString]| names.iter().map(|n| n.to_str().unwrap().to_owned()).collect::<Vec<_>>();
            assert_eq!(
                (strings(&found.existing), strings(&found.missing)),
                (existing.iter().map(|s| s.to_string()).collect(), missing.iter().map(|s| s.to_string()).collect()),
                "{target}"
            );
        }
        assert_eq!(place(fd.as_fd(), "/loop/x").unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert_eq!(place(fd.as_fd(), "/file/x").unwrap_err().raw_os_error(), Some(libc::ENOTDIR));
    }

    #[test]
    fn made_mount_points_are_reported_parents_first() {
        let dir = tempfile::tempdir().unwrap();
        let fd = mountfd::handle(dir.path()).unwrap();
        let mut stubs = Vec::new();
        make_missing(&fd, "/etc/hosts", false, &mut stubs).unwrap();
        let paths: Vec<_> = stubs.iter().map(|s| s.path.as_slice()).collect();
        assert_eq!(paths, [&b"etc"[..], b"etc/hosts"]);
        assert!(dir.path().join("etc/hosts").is_file());
        make_missing(&fd, "/etc/hosts", false, &mut stubs).unwrap();
        assert_eq!(stubs.len(), 2);
    }
}
