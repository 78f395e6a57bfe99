//! Device nodes in a layer directory. Only a host's root may make them (mknod(2), `CAP_MKNOD`), but every root filesystem
//! that was packed by debootstrap has some, and a layer must be the same whoever stores it. Where the kernel refuses, an
//! empty file stands in for the device, marked with its numbers.
//!
//! The mark lies in overlayfs's own namespace of attributes: through an overlay no process sees it or can set it, and
//! what changes the file is copied up without it (Documentation/filesystems/overlayfs.rst, "Nesting overlayfs mounts").

use super::Kind;
use rustix::fs::{FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::AsFd;

/// Attribute that marks a stand-in; its value is `c MAJOR:MINOR` or `b MAJOR:MINOR`.
pub const MARK: &[u8] = b"user.overlay.rbuild.node";

/// Makes a device node of `kind` (character or block) under `name` in `dir`, or its stand-in; mode 0600.
///
/// # Errors
/// As mknodat(2), but for the missing privilege.
pub fn make(dir: impl AsFd, name: &OsStr, kind: FileType, device: (u32, u32)) -> rustix::io::Result<()> {
    let number = rustix::fs::makedev(device.0, device.1);
    match rustix::fs::mknodat(dir.as_fd(), name, kind, Mode::RUSR | Mode::WUSR, number) {
        Err(Errno::PERM) => make_stand_in(dir, name, kind, device),
        made => made,
    }
}

fn make_stand_in(dir: impl AsFd, name: &OsStr, kind: FileType, (major, minor): (u32, u32)) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
    let letter = if kind == FileType::BlockDevice { 'b' } else { 'c' };
    rustix::fs::fsetxattr(&file, MARK, format!("{letter} {major}:{minor}").as_bytes(), XattrFlags::empty())
}

/// The device that a mark of this value stands for.
pub(super) fn parse(value: &[u8]) -> Option<Kind> {
    let (kind, numbers) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let (major, minor) = numbers.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    match kind {
        // On disk that would be a removal.
        "c" if (major, minor) == (0, 0) => None,
        "c" => Some(Kind::Char { major, minor }),
        "b" => Some(Kind::Block { major, minor }),
        _ => None,
    }
}

/// Takes the mark off an open file that a step wrote outside an overlay, where it can forge one.
pub fn unmark(file: impl AsFd) -> rustix::io::Result<()> {
    match rustix::fs::fremovexattr(file, MARK) {
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Cancel;
    use crate::base::root::Root;
    use crate::layer::scan::{self, Known};
    use rustix::fs::AtFlags;
    use std::fs::File;
    use std::path::Path;

    const DEVICES: [(&str, FileType, (u32, u32)); 3] = [
        ("null", FileType::CharacterDevice, (1, 3)),
        ("sda", FileType::BlockDevice, (8, 0)),
        ("far", FileType::CharacterDevice, (4095, 1_048_575)),
    ];

    fn scanned(fs: &Path) -> scan::Scanned {
        scan::scan(fs, &Known::new(), &Cancel::new()).unwrap()
    }

    #[test]
    fn a_layer_with_stand_ins_is_the_layer_with_the_devices() {
        let dir = tempfile::tempdir().unwrap();
        let mut layers = Vec::new();
        for (name, stand_ins) in [("real", false), ("marked", true)] {
            let fs = dir.path().join(name);
            std::fs::create_dir(&fs).unwrap();
            let root = Root::open(&fs).unwrap();
            for (name, kind, device) in DEVICES {
                let name = OsStr::new(name);
                match stand_ins {
                    true => make_stand_in(&root, name, kind, device).unwrap(),
                    false => make(&root, name, kind, device).unwrap(),
                }
                let times = rustix::fs::Timestamps {
                    last_access: rustix::fs::Timespec { tv_sec: 5, tv_nsec: 0 },
                    last_modification: rustix::fs::Timespec { tv_sec: 5, tv_nsec: 0 },
                };
                rustix::fs::utimensat(&root, name, &times, AtFlags::empty()).unwrap();
            }
            std::fs::hard_link(fs.join("null"), fs.join("zero")).unwrap();
            layers.push(scanned(&fs));
        }
        assert_eq!(layers[0].index, layers[1].index);
        assert_eq!(layers[0].diff_id, layers[1].diff_id);
        assert_eq!(layers[1].index.get(b"null").unwrap().kind, Kind::Char { major: 1, minor: 3 });
        assert_eq!(layers[1].index.get(b"zero").unwrap().kind, Kind::Char { major: 1, minor: 3 });
        assert_eq!(layers[1].index.get(b"far").unwrap().kind, Kind::Char { major: 4095, minor: 1_048_575 });
    }

    #[test]
    fn a_mark_that_says_nothing_or_lies_on_contents_is_damage() {
        for (value, contents) in
            [("c 0:0", ""), ("c 1", ""), ("x 1:3", ""), ("c 1:-3", ""), ("", ""), ("c 1:3", "contents")]
        {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("f"), contents).unwrap();
            let file = File::open(dir.path().join("f")).unwrap();
            rustix::fs::fsetxattr(&file, MARK, value.as_bytes(), XattrFlags::empty()).unwrap();
            let error = scan::scan(dir.path(), &Known::new(), &Cancel::new()).unwrap_err();
            assert!(error.to_string().contains("stands for no device"), "{value}: {error}");
            unmark(&file).unwrap();
            unmark(&file).unwrap();
            assert_eq!(scanned(dir.path()).index.entries.len(), 1);
        }
    }
}
