//! Folding one change set into the one below it: entries are moved down by renames, whiteouts take away what they hide.
//!
//! At every moment the two stacked show the same files as before, so a kill half-way loses nothing: the rest is folded
//! the next time.

use crate::base::IoError;
use crate::base::fs::{self, Context};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The deepest directory that is folded: each level takes a frame and two descriptors.
const MAX_DEPTH: usize = 200;

const OPAQUE: &str = "user.overlay.opaque";

/// Moves all of `top` into `bottom`, the lowest change set, and removes `top`.
pub(super) fn fold(top: &Path, bottom: &Path) -> Result<(), IoError> {
    let open = |path: &Path| rustix::fs::open(path, DIRECTORY, Mode::empty()).at("open directory", path);
    let (from, to) = (open(top)?, open(bottom)?);
    merge(&from, &to, 0).at("fold into the change set below", top)?;
    repeat(&from, &to).at("set the metadata of", bottom)?;
    rustix::fs::rmdir(top).at("remove", top)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn merge(top: &OwnedFd, bottom: &OwnedFd, depth: usize) -> rustix::io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG);
    }
    for name in names(top)? {
        let stat = rustix::fs::statat(top, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if is_whiteout(&stat) {
            remove(bottom, &name)?;
            rustix::fs::unlinkat(top, &name, AtFlags::empty())?;
            continue;
        }
        let below = match rustix::fs::openat(bottom, &name, DIRECTORY, Mode::empty()) {
            Ok(below) => Some(below),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            Err(errno) => return Err(errno),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            if below.is_some() {
                remove(bottom, &name)?;
            }
            rustix::fs::renameat(top, &name, bottom, &name)?;
            continue;
        }
        let above = rustix::fs::openat(top, &name, DIRECTORY, Mode::empty())?;
        match below {
            Some(below) if !is_opaque(&above) => {
                merge(&above, &below, depth + 1)?;
                repeat(&above, &below)?;
                rustix::fs::unlinkat(top, &name, AtFlags::REMOVEDIR)?;
            }
            _ => {
                remove(bottom, &name)?;
                // At the bottom there is nothing left for them to hide.
                drop_whiteouts(&above, depth + 1)?;
                rustix::fs::renameat(top, &name, bottom, &name)?;
            }
        }
    }
    Ok(())
}

fn drop_whiteouts(dir: &OwnedFd, depth: usize) -> rustix::io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG);
    }
    let before = rustix::fs::fstat(dir)?;
    let mut removed = false;
    for name in names(dir)? {
        let stat = rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if is_whiteout(&stat) {
            rustix::fs::unlinkat(dir, &name, AtFlags::empty())?;
            removed = true;
        } else if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            drop_whiteouts(&rustix::fs::openat(dir, &name, DIRECTORY, Mode::empty())?, depth + 1)?;
        }
    }
    if removed { set_times(dir, &before) } else { Ok(()) }
}

fn names(dir: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(dir: &OwnedFd) -> bool {
    let mut value = [0; 1];
    rustix::fs::fgetxattr(dir, OPAQUE, &mut value[..]) == Ok(1) && value == *b"y"
}

fn remove(dir: &OwnedFd, name: &CString) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    use std::os::unix::ffi::OsStrExt;
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    fs::remove_tree(path.join(std::ffi::OsStr::from_bytes(name.to_bytes())))
        .map_err(|e| Errno::from_io_error(&e.source).unwrap_or(Errno::IO))
}

/// Owner, mode and times of a directory for the one below it, which stands in for it from now on.
fn repeat(from: &OwnedFd, to: &OwnedFd) -> rustix::io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    set_times(to, &stat)
}

fn set_times(dir: &OwnedFd, stat: &Stat) -> rustix::io::Result<()> {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    rustix::fs::futimens(dir, &Timestamps { last_access: time, last_modification: time })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn write(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, root.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
    }

    fn whiteout(path: &Path) -> bool {
        let made = rustix::fs::mknodat(rustix::fs::CWD, path, FileType::CharacterDevice, Mode::empty(), 0);
        made.is_ok()
    }

    #[test]
    fn what_the_two_show_stacked_is_what_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (bottom, top) = (dir.path().join("bottom"), dir.path().join("top"));
        write(&bottom, &["kept", "replaced", "gone", "d/kept", "d/gone/x", "opaque/old", "was-dir/x", "was-file"]);
        write(&top, &["replaced", "new", "d/new", "opaque/new", "was-dir", "n/e/w"]);
        std::fs::remove_file(bottom.join("was-file")).unwrap();
        write(&top, &["was-file/x"]);
        write(&bottom, &["was-file"]);
        symlink("/etc", top.join("link")).unwrap();
        std::fs::set_permissions(top.join("d"), std::fs::Permissions::from_mode(0o700)).unwrap();
        let opaque = rustix::fs::open(top.join("opaque"), DIRECTORY, Mode::empty()).unwrap();
        rustix::fs::fsetxattr(&opaque, OPAQUE, b"y", rustix::fs::XattrFlags::empty()).unwrap();
        // An ordinary user may make these too, since Linux 5.8.
        assert!(whiteout(&top.join("gone")) && whiteout(&top.join("d/gone")) && whiteout(&top.join("n/nothing")));

        fold(&top, &bottom).unwrap();
        assert!(!top.exists());
        let mut found: Vec<String> = walkdir::WalkDir::new(&bottom)
            .min_depth(1)
            .into_iter()
            .map(|e| e.unwrap().path().strip_prefix(&bottom).unwrap().to_str().unwrap().to_owned())
            .collect();
        found.sort();
        let expected =
            "d d/kept d/new kept link n n/e n/e/w new opaque opaque/new replaced was-dir was-file was-file/x";
        assert_eq!(found.join(" "), expected);
        for (file, from) in [("kept", "bottom"), ("replaced", "top"), ("was-dir", "top"), ("d/kept", "bottom")] {
            assert_eq!(std::fs::read_to_string(bottom.join(file)).unwrap(), from, "{file}");
        }
        assert_eq!(std::fs::metadata(bottom.join("d")).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
