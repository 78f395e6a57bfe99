//! Mounts by descriptor (fsopen(2), open_tree(2), move_mount(2)): a file system or a clone of a tree is made detached,
//! given its attributes, and only then attached to a target that was opened beneath the new root. No path is looked
//! up twice.

use super::sys;
use super::wire::{Blame, Failure};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Attributes of mounts, `MOUNT_ATTR_*` of mount_setattr(2).
pub(super) const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// Set-id bits and file capabilities are without effect.
pub(super) const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
/// Device nodes can't be opened.
pub(super) const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
/// Programs can't be executed.
pub(super) const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// Makes a file system instance and its detached mount. An option with an empty value is a flag.
pub(super) fn fresh(kind: &str, options: &[(&str, String)], attributes: u64) -> Result<OwnedFd, Failure> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).blame("open file system", kind)?;
    configure(&context, kind, "source", kind)?;
    for (key, value) in options {
        configure(&context, kind, key, value)?;
    }
    create(&context, kind, attributes)
}

fn configure(context: &OwnedFd, kind: &str, key: &str, value: &str) -> Result<(), Failure> {
    let result = if value.is_empty() {
        rustix::mount::fsconfig_set_flag(context, key)
    } else {
        rustix::mount::fsconfig_set_string(context, key, value)
    };
    result.blame("set option", format_args!("{key}={value} of {kind}"))
}

fn create(context: &OwnedFd, kind: &str, attributes: u64) -> Result<OwnedFd, Failure> {
    if let Err(errno) = rustix::mount::fsconfig_create(context) {
        return Err(errno).blame("create file system", format_args!("{kind}{}", kernel_log(context)));
    }
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).blame("mount file system", kind)
}

/// What the kernel says about a refused configuration, for the message.
fn kernel_log(context: &OwnedFd) -> String {
    let mut text = String::new();
    let mut line = [0; 512];
    while let Ok(n @ 1..) = rustix::io::read(context, &mut line) {
        text.push_str(&format!(" ({})", String::from_utf8_lossy(&line[..n]).trim_end()));
    }
    text
}

/// Directories by descriptor that make an overlay.
#[derive(Debug)]
pub(super) struct OverlayDirs<'a> {
    /// Top first.
    pub lowers: Vec<BorrowedFd<'a>>,
    /// Takes the changes.
    pub upper: BorrowedFd<'a>,
    /// The kernel's scratch space, on the same mount as `upper`.
    pub work: BorrowedFd<'a>,
}

/// Mounts an overlay (kernel's Documentation/filesystems/overlayfs.rst), detached, with `userxattr`, so that opaque
/// marks have the same form with and without privilege, and `volatile`: the upper directory is synced when it is
/// published, and worthless before. `redirect_dir` and `metacopy` are off with `userxattr`; with either an upper
/// directory would not be a complete layer.
pub(super) fn overlay(dirs: &OverlayDirs<'_>, volatile: bool) -> Result<OwnedFd, Failure> {
    // Descriptors by name: the strings stay short however long the store's path is (256 bytes is the limit), and
    // the sandbox's mountinfo tells nothing of the host's directories.
    let by_name = |fd: BorrowedFd<'_>| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).blame("open file system", "overlay")?;
    configure(&context, "overlay", "source", "overlay")?;
    configure(&context, "overlay", "userxattr", "")?;
    if volatile {
        configure(&context, "overlay", "volatile", "")?;
    }
    match append_lowers(&context, &dirs.lowers, by_name) {
        Ok(()) => {}
        Err(failure) if failure.errno == libc::EINVAL => joined_lowers(&context, &dirs.lowers, by_name)?,
        Err(failure) => return Err(failure),
    }
    configure(&context, "overlay", "upperdir", &by_name(dirs.upper))?;
    configure(&context, "overlay", "workdir", &by_name(dirs.work))?;
    create(&context, "overlay", NODEV)
}

/// One layer at a time, as Linux has it since 6.8.
fn append_lowers(
    context: &OwnedFd,
    lowers: &[BorrowedFd<'_>],
    by_name: impl Fn(BorrowedFd<'_>) -> String,
) -> Result<(), Failure> {
    for lower in lowers {
        configure(context, "overlay", "lowerdir+", &by_name(*lower))?;
    }
    Ok(())
}

/// All layers in one string, for older kernels; room for some fifteen.
fn joined_lowers(
    context: &OwnedFd,
    lowers: &[BorrowedFd<'_>],
    by_name: impl Fn(BorrowedFd<'_>) -> String,
) -> Result<(), Failure> {
    let joined: Vec<String> = lowers.iter().map(|fd| by_name(*fd)).collect();
    configure(context, "overlay", "lowerdir", &joined.join(":"))
}

/// A detached copy of the mount tree at an opened file or directory, with more attributes set on all of it.
pub(super) fn clone_tree(
    source: impl AsFd,
    attributes: u64,
    shown: impl std::fmt::Display,
) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(source, "", flags).blame("clone the mount of", &shown)?;
    if attributes != 0 {
        sys::set_mount_attributes(&tree, true, attributes, 0).blame("set attributes of the mount of", shown)?;
    }
    Ok(tree)
}

/// Attaches a detached mount to an opened target.
pub(super) fn attach(mount: impl AsFd, target: impl AsFd, shown: impl std::fmt::Display) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags).blame("mount on", shown)
}

/// Opens a host path as a handle (`O_PATH`), symbolic links followed: the caller named it.
pub(super) fn handle(path: &Path) -> Result<OwnedFd, Failure> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).blame("open", path.display())
}

/// Opens `path` beneath `root` as a handle, symbolic links followed inside it. `None` if nothing is there.
pub(super) fn beneath(root: impl AsFd, path: &str) -> Result<Option<OwnedFd>, Failure> {
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() { "." } else { relative };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        let opened =
            rustix::fs::openat2(root.as_fd(), relative, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
        return match opened {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            // A rename raced with the walk: openat2(2) says to try again.
            Err(Errno::AGAIN) => continue,
            Err(errno) => Err(io::Error::from(errno)).blame("resolve", path),
        };
    }
}
