//! What to run and in what surroundings: plain data, passed to the launcher as JSON over a descriptor.

use crate::graph::{Limit, Network};
use crate::snapshot::RootMount;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A process in a sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Its root.
    pub root: RootMount,
    /// The root is mounted read-only once set up.
    pub readonly_root: bool,
    /// More mounts, in order, after /proc, /dev and /sys.
    pub mounts: Vec<Mount>,
    /// The program (searched in the `PATH` of `env`, inside the root, if it has no `/`) and its arguments.
    pub argv: Vec<String>,
    /// `NAME=value`; nothing else is set (the caller adds PATH and HOME).
    pub env: Vec<String>,
    /// Working directory inside the root; made if missing when `make_cwd`.
    pub cwd: String,
    /// Make `cwd` (0755, root's) if it is not there, as docker does for containers.
    pub make_cwd: bool,
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Host name inside.
    pub hostname: String,
    /// Network.
    pub network: Network,
    /// Capabilities kept beyond none, by name without `CAP_`; default: [`crate::sandbox::caps::DEFAULT`].
    pub capabilities: Vec<String>,
    /// Apply the seccomp filter.
    pub seccomp: bool,
    /// Nothing of /proc and /sys is masked or read-only (`RUN --security=insecure`).
    pub unmasked: bool,
    /// Process 1 is rbuild's init, which reaps orphans and passes signals on, and the program is its child (steps).
    /// Otherwise the program itself is process 1, with the kernel's special rules for it (containers).
    pub init: bool,
    /// Give it the caller's terminal: a pseudo-terminal whose other end the launcher's parent holds.
    pub tty: bool,
    /// Size of /dev/shm in bytes.
    pub shm_size: u64,
    /// Contents of /etc/resolv.conf; `None`: the host's. Mounted, never in a layer.
    pub resolv_conf: Option<String>,
    /// Contents of /etc/hosts. Mounted, never in a layer.
    pub hosts: String,
    /// Limits beside those that every sandbox has, or in their place.
    pub limits: Vec<Limit>,
    /// Added to the oom score.
    pub oom_score_adj: i32,
}

/// The writable part of a [`Mount::Overlay`]: two host directories on one file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upper {
    /// Takes the changes. Its own mode and owner are what the top of the overlay shows.
    pub dir: PathBuf,
    /// The kernel's scratch space.
    pub work: PathBuf,
}

/// One more mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mount {
    /// A host file or directory.
    Bind {
        /// Host path; opened once, mounted by descriptor.
        source: PathBuf,
        /// Absolute path inside.
        target: String,
        /// No writing.
        readonly: bool,
    },
    /// Host directories stacked as an overlay: what is written never reaches the lower ones.
    Overlay {
        /// Host directories in overlay-upper layout, bottom first; not empty.
        lowers: Vec<PathBuf>,
        /// Where writes go; `None`: to memory, thrown away.
        upper: Option<Upper>,
        /// The directory of the stack that is shown, symbolic links followed inside it; `/` for all of it.
        path: String,
        /// Absolute path inside.
        target: String,
        /// No writing, but for the mount points of later mounts.
        readonly: bool,
    },
    /// What an earlier mount shows, at one more place.
    Again {
        /// Target of the earlier mount.
        of: String,
        /// Absolute path inside.
        target: String,
    },
    /// Memory.
    Tmpfs {
        /// Absolute path inside.
        target: String,
        /// Bytes.
        size: Option<u64>,
        /// Mode of its root.
        mode: u32,
    },
    /// A file in memory with these contents.
    File {
        /// Absolute path inside.
        target: String,
        /// Contents.
        data: Vec<u8>,
        /// Mode.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}
