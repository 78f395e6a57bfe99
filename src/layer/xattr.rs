//! Extended attributes: which of them belong to an image, and how an overlay keeps its own among them.
//!
//! The layer directories are mounted with `userxattr`, so overlayfs keeps its marks under `user.overlay.`. What a step
//! itself sets under that prefix the kernel stores one level deeper, as `user.overlay.overlay.` (Documentation/
//! filesystems/overlayfs.rst, "Nesting overlayfs mounts"); here it is brought back to the name that the step used.

use super::{Kind, device};
use crate::base::IoError;
use crate::base::fs::Context;
use rustix::fs::XattrFlags;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Attributes as an entry has them: sorted by name, each name once.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Prefix of overlayfs's own marks.
const MARK: &[u8] = b"user.overlay.";
/// Prefix of attributes a step set under [`MARK`].
const ESCAPED: &[u8] = b"user.overlay.overlay.";
/// Marks a directory that hides what lower layers hold in it.
pub const OPAQUE: &[u8] = b"user.overlay.opaque";
const CAPABILITY: &[u8] = b"security.capability";

/// What an attribute found on a file of a layer directory means.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// Part of the image, under this name.
    Image(Vec<u8>),
    /// The mark of an opaque directory, if its value is `y`.
    Opaque,
    /// The mark of a file that stands in for a device.
    Device,
    /// Overlayfs's own, or of this machine only (`security.selinux`, `trusted.*`).
    Local,
}

fn meaning(name: &[u8]) -> Meaning {
    if name == OPAQUE {
        return Meaning::Opaque;
    }
    if name == device::MARK {
        return Meaning::Device;
    }
    if let Some(rest) = name.strip_prefix(ESCAPED) {
        return Meaning::Image([MARK, rest].concat());
    }
    if name.starts_with(MARK) || !belongs(name) {
        return Meaning::Local;
    }
    Meaning::Image(name.to_vec())
}

/// Whether an attribute of this name is image content at all.
pub fn belongs(name: &[u8]) -> bool {
    name == CAPABILITY
        || name.starts_with(b"user.")
        || matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default")
}

/// The name under which an image's attribute is stored on a file of a layer directory.
pub fn stored_name(name: &[u8]) -> Vec<u8> {
    match name.strip_prefix(MARK) {
        Some(rest) => [ESCAPED, rest].concat(),
        None => name.to_vec(),
    }
}

/// Capabilities that a user namespace wrote carry the id of its root (version 3, 24 bytes). An image has no such id:
/// version 2 is the same without it (linux/capability.h, `struct vfs_ns_cap_data`).
fn normal_value(name: &[u8], value: Vec<u8>) -> Vec<u8> {
    const REVISION: u8 = 3;
    if name != CAPABILITY || value.len() != 24 || value[3] != REVISION {
        return value;
    }
    let mut value = value[..20].to_vec();
    value[3] = 2;
    value
}

/// What our own attributes on a file of a layer directory say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// A directory that hides what lower layers hold in it.
    pub opaque: bool,
    /// A file that stands in for this device (see [`super::device`]).
    pub device: Option<Kind>,
}

/// Reads the attributes of an open file or directory: those of the image, and our own.
pub fn read(fd: impl AsFd, path: &Path) -> Result<(Xattrs, Marks), IoError> {
    let fd = fd.as_fd();
    gather(path, |buffer| rustix::fs::flistxattr(fd, buffer), |name, buffer| rustix::fs::fgetxattr(fd, name, buffer))
}

/// The same for something that can't be opened without effect (a device, a named pipe), by its own path.
pub fn read_unopened(path: &Path) -> Result<(Xattrs, Marks), IoError> {
    gather(
        path,
        |buffer| rustix::fs::llistxattr(path, buffer),
        |name, buffer| rustix::fs::lgetxattr(path, name, buffer),
    )
}

fn gather(
    path: &Path,
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> Result<(Xattrs, Marks), IoError> {
    let mut small = [0; 256];
    let names = match list(&mut small) {
        Ok(0) | Err(rustix::io::Errno::NOTSUP) => return Ok((Xattrs::new(), Marks::default())),
        Ok(n) => small[..n].to_vec(),
        Err(rustix::io::Errno::RANGE) => {
            // The kernel's limit on a list (XATTR_LIST_MAX).
            let mut large = vec![0; 64 * 1024];
            let n = list(&mut large).at("list extended attributes of", path)?;
            large.truncate(n);
            large
        }
        Err(e) => return Err(e).at("list extended attributes of", path),
    };
    let (mut xattrs, mut marks) = (Xattrs::new(), Marks::default());
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let meaning = meaning(name);
        if meaning == Meaning::Local {
            continue;
        }
        // The kernel's limit on a value (XATTR_SIZE_MAX).
        let mut value = vec![0; 64 * 1024];
        let n = get(name, &mut value).at("read an extended attribute of", path)?;
        value.truncate(n);
        value.shrink_to_fit();
        match meaning {
            Meaning::Opaque => marks.opaque = value == b"y",
            Meaning::Device => {
                let unknown = || {
                    let text = format!("its mark '{}' stands for no device", value.escape_ascii());
                    io::Error::new(io::ErrorKind::InvalidData, text)
                };
                marks.device = Some(device::parse(&value).ok_or_else(unknown).at("read", path)?);
            }
            Meaning::Image(name) => {
                if name.contains(&b'=') || std::str::from_utf8(&name).is_err() {
                    let text = format!("a layer's tar cannot hold the name '{}'", name.escape_ascii());
                    let source = io::Error::new(io::ErrorKind::InvalidData, text);
                    return Err(IoError { act: "keep an extended attribute of", path: path.to_owned(), source });
                }
                let value = normal_value(&name, value);
                xattrs.push((name, value));
            }
            Meaning::Local => {}
        }
    }
    xattrs.sort();
    Ok((xattrs, marks))
}

/// Sets an image's attributes on an open file or directory of a layer directory.
pub fn write(fd: impl AsFd, xattrs: &Xattrs, path: &Path) -> Result<(), IoError> {
    for (name, value) in xattrs {
        let stored = stored_name(name);
        rustix::fs::fsetxattr(fd.as_fd(), std::ffi::OsStr::from_bytes(&stored), value, XattrFlags::empty())
            .at("set an extended attribute of", path)?;
    }
    Ok(())
}

/// Marks an open directory opaque.
pub fn mark_opaque(fd: impl AsFd, path: &Path) -> Result<(), IoError> {
    rustix::fs::fsetxattr(fd, OPAQUE, b"y", XattrFlags::empty()).at("mark as opaque", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_dropped_escaped_names_come_back_and_foreign_namespaces_stay_out() {
        let image = |name: &[u8]| Meaning::Image(name.to_vec());
        for (name, expected) in [
            (&b"user.overlay.opaque"[..], Meaning::Opaque),
            (b"user.overlay.origin", Meaning::Local),
            (b"user.overlay.impure", Meaning::Local),
            (b"user.overlay.rbuild.node", Meaning::Device),
            (b"user.overlay.overlay.rbuild.node", image(b"user.overlay.rbuild.node")),
            (b"user.overlay.overlay.opaque", image(b"user.overlay.opaque")),
            (b"user.overlay.overlay.overlay.x", image(b"user.overlay.overlay.x")),
            (b"user.overlayx", image(b"user.overlayx")),
            (b"user.mime_type", image(b"user.mime_type")),
            (b"trusted.overlay.opaque", Meaning::Local),
            (b"trusted.md5", Meaning::Local),
            (b"security.selinux", Meaning::Local),
            (b"security.ima", Meaning::Local),
            (b"security.capability", image(b"security.capability")),
            (b"system.posix_acl_access", image(b"system.posix_acl_access")),
            (b"system.nfs4_acl", Meaning::Local),
        ] {
            assert_eq!(meaning(name), expected, "{}", name.escape_ascii());
            if let Meaning::Image(inner) = expected {
                assert_eq!(stored_name(&inner), name);
            }
        }
    }

    #[test]
    fn namespaced_capabilities_lose_their_root_id() {
        let v2 = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut v3 = v2.to_vec();
        v3[3] = 3;
        v3.extend_from_slice(&1001u32.to_le_bytes());
        assert_eq!(normal_value(CAPABILITY, v3.clone()), v2);
        assert_eq!(normal_value(CAPABILITY, v2.to_vec()), v2);
        assert_eq!(normal_value(b"user.x", v3.clone()), v3);
    }
}
