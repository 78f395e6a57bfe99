//! What to run and in what surroundings: plain data, passed to the launcher as JSON over a descriptor.

use crate::graph::Network;
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
    /// Added to the oom score.
    pub oom_score_adj: i32,
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
    /// A host directory under an overlay whose writes are thrown away.
    Scratch {
        /// Host directory.
        source: PathBuf,
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
