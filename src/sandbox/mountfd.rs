//! Mounts by descriptor (fsopen(2), open_tree(2), move_mount(2)): a file system or a clone of a tree is made detached,
//! given its attributes, and only then attached to a target that was opened beneath the new root. No path is looked
//! up twice.

use super::sys;
use super::wire::{Blame, Failure};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use std::ffi::CString;
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
/// directory would not be a complete layer. `stage` is an attached directory of the sandbox's own.
pub(super) fn overlay(dirs: &OverlayDirs<'_>, stage: &OwnedFd) -> Result<OwnedFd, Failure> {
    match overlay_by_layer(dirs) {
        // Linux before 6.8 knows no `lowerdir+`. If that was not the reason, the first failure says more.
        Err(failure) if failure.errno == libc::EINVAL => overlay_by_string(dirs, stage).map_err(|_| failure),
        result => result,
    }
}

/// Names a directory to the kernel by its descriptor: the strings stay short however long the store's path is, and the
/// sandbox's mountinfo tells nothing of the host's directories.
fn by_descriptor(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn overlay_by_layer(dirs: &OverlayDirs<'_>) -> Result<OwnedFd, Failure> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).blame("open file system", "overlay")?;
    for (key, value) in [("source", "overlay"), ("userxattr", ""), ("volatile", "")] {
        configure(&context, "overlay", key, value)?;
    }
    for lower in &dirs.lowers {
        configure(&context, "overlay", "lowerdir+", &by_descriptor(*lower))?;
    }
    configure(&context, "overlay", "upperdir", &by_descriptor(dirs.upper))?;
    configure(&context, "overlay", "workdir", &by_descriptor(dirs.work))?;
    create(&context, "overlay", NODEV)
}

/// All layers in the one page of options that mount(2) takes: some 230. That call only makes attached mounts, so what it
/// made is cloned and taken off again.
fn overlay_by_string(dirs: &OverlayDirs<'_>, stage: &OwnedFd) -> Result<OwnedFd, Failure> {
    let lowers: Vec<String> = dirs.lowers.iter().map(|fd| by_descriptor(*fd)).collect();
    let (upper, work) = (by_descriptor(dirs.upper), by_descriptor(dirs.work));
    let options = format!("userxattr,volatile,lowerdir={},upperdir={upper},workdir={work}", lowers.join(":"));
    let options = CString::new(options).map_err(io::Error::from).blame("mount file system", "overlay")?;
    match rustix::fs::mkdirat(stage, "overlay", Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).blame("create directory", "overlay"),
    }
    let target = format!("{}/overlay", by_descriptor(stage.as_fd()));
    rustix::mount::mount("overlay", target.as_str(), "overlay", MountFlags::NODEV, Some(options.as_c_str()))
        .blame("mount file system", "overlay")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mounted = rustix::fs::openat(stage, "overlay", flags, Mode::empty()).blame("open", "the mounted overlay")?;
    let tree = clone_tree(mounted, 0, "the overlay")?;
    rustix::mount::unmount(target.as_str(), UnmountFlags::DETACH).blame("detach", "the mounted overlay")?;
    Ok(tree)
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
