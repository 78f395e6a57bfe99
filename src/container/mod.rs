//! Containers in the foreground: `rbuild run`. The same sandbox as a step's, on a writable root of its own, with an
//! image's configuration instead of an instruction. What the options mean is as docker has it.

mod attach;
mod kept;
mod options;
mod scene;
mod shell;

pub use kept::{Kept, kept, remove};
pub use options::{RunOptions, Volume};
pub use scene::{Scene, Wanted};
pub use shell::{ShellOptions, shell};

use crate::base::{Cancel, IoError};
use crate::image::config::Execution;
use crate::ops::{OpError, user};
use crate::sandbox::{Exit, Mount, SandboxError, Spec, Streams, caps, launch};
use crate::snapshot::{SnapshotError, Snapshotter};
use crate::store::{Store, StoreError};
use crate::tree::{Rootfs, Trees, View};

/// A container that could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Neither the image nor the caller says what to run.
    #[error("the image has no command (CMD, ENTRYPOINT) and none was given")]
    NoCommand,
    /// Something named is not there.
    #[error("{0}")]
    Absent(String),
    /// An option that can't be met.
    #[error("{0}")]
    Option(String),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No writable root could be made.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The user is not in the image, or the image can't be read.
    #[error(transparent)]
    User(#[from] OpError),
    /// The sandbox could not be made, or the program not be executed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl ContainerError {
    /// The exit code that docker gives for it: 127 for a program that is not there, 126 for one that can't be
    /// executed, 125 for everything before.
    pub fn exit_code(&self) -> u8 {
        match self {
            ContainerError::Sandbox(SandboxError::Exec { source, .. }) => {
                if source.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 }
            }
            _ => 125,
        }
    }
}

/// Bytes of /dev/shm, docker's default.
const SHM_SIZE: u64 = 64 << 20;

/// Runs a container to its end and gives its exit code: the program's own, or 128 and the number of the signal that
/// ended it. To be called by a thread that stays: the container dies with it.
///
/// SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 that this process gets meanwhile go to the container's first
/// process; the third SIGINT or SIGTERM kills it.
pub fn run(
    store: &Store,
    snapshotter: &dyn Snapshotter,
    rootfs: &Rootfs,
    config: &Execution,
    options: &RunOptions,
) -> Result<i32, ContainerError> {
    let trees = Trees::new(store);
    let id = kept::new_id();
    let view = View::new(&trees, rootfs);
    let user = options.user.as_deref().or(config.user.as_deref()).unwrap_or_default();
    let identity = user::resolve(&view, user)?;
    let hostname = options::hostname(options, &id);
    let argv = options::argv(config, options)?;
    let snapshot = snapshotter.prepare(store, &trees, rootfs)?;
    let spec = Spec {
        root: snapshot.mount.clone(),
        readonly_root: options.readonly,
        mounts: volumes(&options.volumes)?,
        env: options::environment(config, options, &identity.home, &hostname),
        cwd: options
            .workdir
            .clone()
            .or_else(|| config.working_dir.clone())
            .filter(|d| !d.is_empty())
            .unwrap_or_else(|| "/".into()),
        make_cwd: true,
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups,
        network: options.network,
        capabilities: caps::default_names(),
        seccomp: true,
        unmasked: false,
        init: options.init,
        tty: options.tty,
        shm_size: options.shm_size.unwrap_or(SHM_SIZE),
        resolv_conf: None,
        hosts: options::hosts(options.network, &hostname),
        limits: Vec::new(),
        hostname,
        argv,
        oom_score_adj: 0,
    };
    let streams = match (options.tty, options.interactive) {
        (true, _) => Streams::Terminal,
        (false, true) => Streams::Inherited,
        (false, false) => Streams::Output,
    };
    let code = foreground(&spec, streams, options.interactive)?;
    if !options.remove {
        kept::keep(store, snapshot, &Kept { id, rootfs: rootfs.clone(), argv: spec.argv, code, ended: 0 })?;
    }
    Ok(code)
}

/// Runs a process with the caller's terminal and signals to its end, and gives its exit code.
fn foreground(spec: &Spec, streams: Streams, interactive: bool) -> Result<i32, ContainerError> {
    // Before the container exists, so that no signal is lost between.
    let signals = attach::Signals::block().map_err(|e| ContainerError::Option(format!("cannot take signals: {e}")))?;
    let launched = launch(spec, streams)?;
    attach::attach(&launched, &signals, interactive)?;
    Ok(match launched.wait(&Cancel::new())? {
        Exit::Code(code) => code,
        Exit::Signal { signal, .. } => 128 + signal,
    })
}

fn volumes(volumes: &[Volume]) -> Result<Vec<Mount>, ContainerError> {
    let bind = |volume: &Volume| {
        // Absolute, since the container's first process looks it up from another directory.
        let source = std::path::absolute(&volume.source).and_then(|path| path.metadata().map(|_| path));
        let source = source.map_err(|source| IoError { act: "mount", path: volume.source.clone(), source })?;
        Ok(Mount::Bind { source, target: volume.target.clone(), readonly: volume.readonly })
    };
    volumes.iter().map(bind).collect()
}
