//! Carries out a mount plan on a new root, in the mount namespace of process 1.

use super::mountfd::{self, NODEV, NOEXEC, NOSUID, OverlayDirs, RDONLY};
use super::plan::{Placed, What};
use super::root::{self, NewRoot};
use super::spec::Upper;
use super::sys;
use super::wire::{Blame, Failure};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Magic number of the unified control group file system (linux/magic.h).
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

/// Makes every mount of the plan, in order.
pub(super) fn carry_out(plan: &[Placed], new: &NewRoot) -> Result<(), Failure> {
    // Overlays that are to be read-only become so at the end: later mounts may need mount points in them.
    let mut to_close = Vec::new();
    for (number, placed) in plan.iter().enumerate() {
        one(placed, number, new, &mut to_close)?;
    }
    for (mount, target) in to_close {
        sys::set_mount_attributes(&mount, false, RDONLY, 0).blame("make read-only", target)?;
    }
    Ok(())
}

fn one<'p>(
    placed: &'p Placed,
    number: usize,
    new: &NewRoot,
    to_close: &mut Vec<(OwnedFd, &'p str)>,
) -> Result<(), Failure> {
    let target = placed.target.as_str();
    match &placed.what {
        What::Fresh { kind, options, exec, devices, optional } => {
            let attributes = NOSUID | if *exec { 0 } else { NOEXEC } | if *devices { 0 } else { NODEV };
            match mountfd::fresh(kind, options, attributes) {
                Ok(mount) => put(new, &mount, target, true),
                Err(_) if *optional => Ok(()),
                Err(failure) => Err(failure),
            }
        }
        What::Sys => match sys() {
            Some(mount) => put(new, &mount, target, true),
            None => Ok(()),
        },
        What::Cgroups => match cgroups() {
            Some(mount) => cover(new, &mount, target),
            None => Ok(()),
        },
        What::Device(major, minor) => device(new, target, *major, *minor),
        What::Link(to) => {
            let (dir, name) = parent(new, target)?;
            rustix::fs::symlinkat(*to, &dir, name).blame("create link", target)
        }
        What::File { data, mode, uid, gid } => {
            let name = format!("file-{number}");
            write_file(new, &name, data).blame("write the contents of", target)?;
            let fd = rustix::fs::openat(&new.stage.dir, &name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .blame("open the contents of", target)?;
            rustix::fs::chownat(
                &new.stage.dir,
                &name,
                Some(Uid::from_raw(*uid)),
                Some(Gid::from_raw(*gid)),
                AtFlags::empty(),
            )
            .blame("set the owner of", target)?;
            // After the owner, whose change clears set-id bits.
            rustix::fs::chmodat(&new.stage.dir, &name, Mode::from_raw_mode(*mode & 0o7777), AtFlags::empty())
                .blame("set the mode of", target)?;
            put(new, &mountfd::clone_tree(fd, 0, target)?, target, false)
        }
        What::Bind { source, readonly } => {
            let handle = mountfd::handle(source)?;
            let stat = rustix::fs::fstat(&handle).blame("look at", source.display())?;
            let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let attributes = NODEV | if *readonly { RDONLY } else { 0 };
            put(new, &mountfd::clone_tree(handle, attributes, source.display())?, target, directory)
        }
        What::Overlay { lowers, upper, path, readonly } => {
            let mount = overlay(new, number, lowers, upper.as_ref())?;
            let mount = if path.trim_matches('/').is_empty() {
                mount
            } else {
                // A part of a mount can be cloned from where it is attached, on older kernels only from there.
                mountfd::attach(&mount, new.stage.directory(&format!("stack-{number}"))?, target)?;
                let part = mountfd::beneath(&mount, path)?.ok_or(Errno::NOENT).blame("open", path)?;
                mountfd::clone_tree(part, 0, target)?
            };
            put(new, &mount, target, true)?;
            if *readonly {
                to_close.push((mount, target));
            }
            Ok(())
        }
        What::Again { of } => {
            let first = mountfd::beneath(&new.dir, of)?.ok_or(Errno::NOENT).blame("open", of)?;
            put(new, &mountfd::clone_tree(first, 0, target)?, target, true)
        }
        What::Masked => masked(new, target),
        What::ReadOnly => match mountfd::beneath(&new.dir, target)? {
            Some(here) => mountfd::attach(mountfd::clone_tree(&here, RDONLY, target)?, &here, target),
            None => Ok(()),
        },
    }
}

/// An overlay of host directories, bottom first, detached.
fn overlay(new: &NewRoot, number: usize, lowers: &[PathBuf], upper: Option<&Upper>) -> Result<OwnedFd, Failure> {
    root::allow_descriptors(lowers.len());
    let opened = lowers.iter().rev().map(|path| mountfd::handle(path)).collect::<Result<Vec<_>, _>>()?;
    let (upper, work) = match upper {
        Some(upper) => (mountfd::handle(&upper.dir)?, mountfd::handle(&upper.work)?),
        None => {
            let upper = new.stage.directory(&format!("upper-{number}"))?;
            if let (Some(top), Some(path)) = (opened.first(), lowers.last()) {
                repeat_top(top, &upper, path)?;
            }
            (upper, new.stage.directory(&format!("work-{number}"))?)
        }
    };
    let lowers = opened.iter().map(AsFd::as_fd).collect();
    mountfd::overlay(&OverlayDirs { lowers, upper: upper.as_fd(), work: work.as_fd() }, &new.stage.dir)
}

/// Attaches a mount, making its mount point where another mount holds it and it is missing.
fn put(new: &NewRoot, mount: &OwnedFd, target: &str, directory: bool) -> Result<(), Failure> {
    let at = match mountfd::beneath(&new.dir, target)? {
        Some(at) => at,
        None => {
            // Not in the root itself, where all were made before: in a file system of the sandbox or of the caller,
            // who named a path in it.
            root::make_missing(&new.dir, target, directory, &mut Vec::new())?;
            mountfd::beneath(&new.dir, target)?.ok_or(Errno::NOENT).blame("open the mount point", target)?
        }
    };
    mountfd::attach(mount, at, target)
}

/// Attaches a mount where there is something, or not at all.
fn cover(new: &NewRoot, mount: &OwnedFd, target: &str) -> Result<(), Failure> {
    match mountfd::beneath(&new.dir, target)? {
        Some(at) => mountfd::attach(mount, at, target),
        None => Ok(()),
    }
}

fn masked(new: &NewRoot, target: &str) -> Result<(), Failure> {
    let Some(here) = mountfd::beneath(&new.dir, target)? else { return Ok(()) };
    let stat = rustix::fs::fstat(&here).blame("look at", target)?;
    let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let empty = new.stage.directory("empty")?;
        mountfd::clone_tree(empty, RDONLY | NOSUID | NODEV | NOEXEC, target)?
    } else {
        // The sandbox's own null device, which was checked to be it.
        let null = mountfd::beneath(&new.dir, "/dev/null")?.ok_or(Errno::NOENT).blame("open", "/dev/null")?;
        mountfd::clone_tree(null, 0, target)?
    };
    mountfd::attach(cover, here, target)
}

/// sysfs shows the network namespace's devices, so only its owner may mount it anew; with the host's network and
/// without privilege the host's own tree is shown, as read-only. `None` where the host forbids that too.
fn sys() -> Option<OwnedFd> {
    let attributes = RDONLY | NOSUID | NODEV | NOEXEC;
    mountfd::fresh("sysfs", &[], attributes)
        .or_else(|_| mountfd::clone_tree(mountfd::handle(Path::new("/sys"))?, attributes, "/sys"))
        .ok()
}

fn cgroups() -> Option<OwnedFd> {
    let host = rustix::fs::statfs("/sys/fs/cgroup").ok()?;
    if host.f_type as i64 != CGROUP2_SUPER_MAGIC {
        return None;
    }
    mountfd::fresh("cgroup2", &[], RDONLY | NOSUID | NODEV | NOEXEC).ok()
}

/// A device node: a new one where that is allowed (root outside user namespaces), else the host's, checked to be the
/// device that its name promises.
fn device(new: &NewRoot, target: &str, major: u32, minor: u32) -> Result<(), Failure> {
    let (dir, name) = parent(new, target)?;
    let number = rustix::fs::makedev(major, minor);
    let mode = Mode::from_raw_mode(0o666);
    match rustix::fs::mknodat(&dir, name, FileType::CharacterDevice, mode, number) {
        Ok(()) => return rustix::fs::chmodat(&dir, name, mode, AtFlags::empty()).blame("set the mode of", target),
        Err(Errno::PERM) => {}
        Err(errno) => return Err(errno).blame("create device", target),
    }
    let host = Path::new("/dev").join(name);
    let handle = mountfd::handle(&host)?;
    let stat = rustix::fs::fstat(&handle).blame("look at", host.display())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || stat.st_rdev != number {
        return Err(Errno::NODEV).blame("find the expected device at", host.display());
    }
    put(new, &mountfd::clone_tree(handle, NOSUID | NOEXEC, target)?, target, false)
}

/// Directory and last name of a path of the plan's own, which is never `/`.
fn parent<'t>(new: &NewRoot, target: &'t str) -> Result<(OwnedFd, &'t str), Failure> {
    let (dir, name) = target.rsplit_once('/').unwrap_or(("", target));
    let dir = mountfd::beneath(&new.dir, dir)?.ok_or(Errno::NOENT).blame("open the directory of", target)?;
    Ok((dir, name))
}

fn write_file(new: &NewRoot, name: &str, data: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&new.stage.dir, name, flags, Mode::from_raw_mode(0o600))?;
    std::fs::File::from(fd).write_all(data)
}

/// The top directory of an overlay has the upper directory's metadata, so that has to be the source's.
fn repeat_top(source: &OwnedFd, upper: &OwnedFd, shown: &Path) -> Result<(), Failure> {
    let stat = rustix::fs::fstat(source).blame("look at", shown.display())?;
    rustix::fs::fchown(upper, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
        .blame("repeat the owner of", shown.display())?;
    rustix::fs::fchmod(upper, Mode::from_raw_mode(stat.st_mode & 0o7777)).blame("repeat the mode of", shown.display())
}
