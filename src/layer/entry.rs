//! One changed path of a layer.

use crate::base::Digest;

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// sha256 of the contents.
        content: Digest,
    },
    /// One more name of a regular file of the same layer: the first (in path order) is a [`Kind::File`], the others
    /// name it. Metadata is the file's.
    HardLink {
        /// Path of the first name, relative to the root.
        first: Vec<u8>,
        /// Bytes, as the first name has it.
        size: u64,
        /// Contents, as the first name has it.
        content: Digest,
    },
    /// A directory. `opaque`: what lower layers hold in it is hidden (`.wh..wh..opq`).
    Dir {
        /// Hides what lies below.
        opaque: bool,
    },
    /// A symbolic link and its target, verbatim.
    Symlink(Vec<u8>),
    /// A character device.
    Char {
        /// Major and minor number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The path is removed (`.wh.NAME`). Metadata means nothing.
    Whiteout,
}

/// One path of a layer with its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root, no leading or trailing `/`, no `.` or `..`; any bytes but NUL. The root is the empty path.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `0..=0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, whole seconds since the epoch (what a layer tar keeps).
    pub mtime: i64,
    /// Extended attributes that belong to an image (`security.capability` as v2, `user.*`, ACLs), sorted by name;
    /// never `user.overlay.*` / `trusted.overlay.*` marks of our own.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}
