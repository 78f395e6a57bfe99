//! RUN: a process in a sandbox on a fresh snapshot.
//!
//! The key holds what the process can see: the root's tree, argv, environment, user, working directory, network,
//! security mode, platform, and for each mount what it shows (bind: content; cache: name; secret and ssh: id, never
//! content). How often a failed process is tried again and how long it may take is no part of it.

mod agent;
mod cache;
mod failed;
mod mounts;
mod process;
mod ssh;
mod staging;

pub use agent::{Agent, AgentError};
pub use process::Output;

use super::key::Preimage;
use super::leak::{self, Secrets};
use super::{Cx, Inputs, Kept, OpError, Written, copy, user};
use crate::graph::{RunOp, Security};
use crate::sandbox::{Exit, Mount, SandboxError, Spec, caps, emulation};
use crate::snapshot::{RootMount, Snapshot};
use crate::tree::{Rootfs, View};
use mounts::Mounted;
use process::{End, Journal, execute};
use staging::Scope;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// The host name that a step sees where the caller gives none; BuildKit's, since some packages write it into their configuration.
const HOSTNAME: &str = "buildkitsandbox";

/// /etc/hosts of a step.
fn hosts(hostname: &str, more: &[(String, IpAddr)]) -> String {
    let own = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    more.iter().fold(own, |lines, (name, address)| format!("{lines}{address}\t{name}\n"))
}

/// Size of a step's /dev/shm in bytes, as docker has it.
const SHM_SIZE: u64 = 64 << 20;

/// What the caller of a build decides about its RUNs. No part of any key.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The ssh agents by id, for `--mount=type=ssh`.
    pub ssh: BTreeMap<String, Agent>,
    /// How many more times a failed process is started, where RUN does not say.
    pub retry: u32,
    /// How long a process may take, where RUN does not say.
    pub timeout: Option<Duration>,
    /// A secret's bytes may be in a layer.
    pub allow_secret_in_layer: bool,
}

/// A RUN with its key; bind mounts are selected and hashed.
#[derive(Debug)]
pub struct Planned {
    /// What enters the key.
    pub preimage: Preimage,
    binds: Vec<Option<copy::Planned>>,
}

/// Computes the key.
pub fn plan(cx: &Cx<'_>, op: &RunOp, inputs: &Inputs<'_>) -> Result<Planned, OpError> {
    let mut preimage = Preimage::new("run");
    preimage.part("root", inputs(op.base).tree.to_string());
    preimage.part("platform", op.platform.to_string());
    for word in &op.argv {
        preimage.part("argv", word);
    }
    for variable in &op.env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        preimage.part(format!("env {name}"), value);
    }
    preimage.part("user", &op.user).part("workdir", &op.workdir).part("network", op.network.name());
    if op.security == Security::Insecure {
        preimage.part("security", "insecure");
    }
    for (name, value) in op.surroundings.parts() {
        preimage.part(name, value);
    }
    if let Some(script) = &op.script {
        preimage.part(format!("script {}", script.name), &script.data);
    }
    let mut binds = Vec::new();
    for mount in &op.mounts {
        binds.push(mounts::plan(cx, mount, inputs, &mut preimage)?);
    }
    Ok(Planned { preimage, binds })
}

/// Runs the process and gives the directory of its changes. Output goes to `output` as it comes. A process that fails is
/// started again as often as the instruction or the caller says, each time on a clean snapshot.
///
/// # Errors
/// [`OpError::Failed`] and [`OpError::Late`] name what was kept of the last try.
pub fn run(
    cx: &Cx<'_>,
    op: &RunOp,
    inputs: &Inputs<'_>,
    planned: &Planned,
    output: &mut Output<'_>,
) -> Result<Written, OpError> {
    let secrets = Secrets::new(cx.secrets);
    let retries = op.retry.unwrap_or(cx.run.retry);
    let limit = op.timeout.or(cx.run.timeout).filter(|limit| !limit.is_zero());
    let mut show = |stream: u8, bytes: &[u8]| output(stream, bytes);
    let mut journal = Journal::new(cx.store, &secrets, &mut show);
    for tried in 0.. {
        let base = inputs(op.base);
        let snapshot = cx.snapshotter.prepare(cx.store, cx.trees, base)?;
        let (spec, mounted) = prepare(cx, op, inputs, planned, base, snapshot.mount.clone())?;
        let end = execute(cx, &spec, limit, &mut journal)?;
        if cx.cancel.is_set() {
            return Err(OpError::Cancelled);
        }
        if end == End::Exit(Exit::Code(0)) {
            return finish(cx, snapshot, mounted);
        }
        if tried >= retries {
            drop(mounted);
            return Err(failure(op, end, failed::keep(cx, journal, snapshot)));
        }
        let said = failure(op, end, Kept::default());
        journal.write(2, format!("try {} of {}: {said}; trying again\n", tried + 1, retries + 1).as_bytes());
    }
    Err(OpError::Cancelled)
}

/// Takes the changes of a process that succeeded. Its caches get theirs only after nothing can fail any more.
fn finish(cx: &Cx<'_>, snapshot: Snapshot, mounted: Mounted<'_>) -> Result<Written, OpError> {
    let fs = cx.snapshotter.changes(cx.store, cx.trees, &snapshot)?;
    leak::check(cx, &fs)?;
    mounted.keep_caches()?;
    Ok(Written { dir: snapshot.dir, fs, known: Default::default() })
}

fn failure(op: &RunOp, end: End, kept: Kept) -> OpError {
    let argv = show_argv(&op.argv);
    match end {
        End::Exit(exit) => OpError::Failed { argv, exit, kept },
        End::Late(limit) => OpError::Late { argv, limit, kept },
    }
}

/// A step's sandbox without its process: what a shell in the step's place needs.
pub struct Place<'s> {
    /// To be changed as wanted.
    pub spec: Spec,
    _mounted: Mounted<'s>,
}

/// Makes the surroundings of a step, mounts included, on the root `root`. What is written in its caches is thrown away.
pub fn place<'s>(cx: &Cx<'s>, op: &RunOp, inputs: &Inputs<'_>, root: RootMount) -> Result<Place<'s>, OpError> {
    let planned = plan(cx, op, inputs)?;
    let (spec, mounted) = prepare(cx, op, inputs, &planned, inputs(op.base), root)?;
    Ok(Place { spec, _mounted: mounted })
}

fn prepare<'s>(
    cx: &Cx<'s>,
    op: &RunOp,
    inputs: &Inputs<'_>,
    planned: &Planned,
    base: &Rootfs,
    root: RootMount,
) -> Result<(Spec, Mounted<'s>), OpError> {
    emulated(op)?;
    let who = user::resolve(&View::new(cx.trees, base), &op.user)?;
    let overlay = matches!(root, RootMount::Overlay { .. });
    let scope = Scope { cx, inputs, who: &who, overlay };
    let mut mounted = mounts::prepare(&scope, &op.mounts, &planned.binds)?;
    let mut mounts = std::mem::take(&mut mounted.mounts);
    if let Some(script) = &op.script {
        let target = format!("/dev/pipes/{}", script.name);
        let data = script.data.clone().into_bytes();
        mounts.push(Mount::File { target, data, mode: 0o755, uid: who.uid, gid: who.gid });
    }
    let mut env: Vec<String> = op.env.iter().chain(&op.env_unkeyed).chain(&mounted.env).cloned().collect();
    if !env.iter().any(|v| v.starts_with("HOME=")) {
        env.push(format!("HOME={}", who.home));
    }
    let insecure = op.security == Security::Insecure;
    let around = &op.surroundings;
    let hostname = around.hostname.as_deref().unwrap_or(HOSTNAME);
    let spec = Spec {
        root,
        readonly_root: false,
        mounts,
        argv: op.argv.clone(),
        env,
        cwd: op.workdir.clone(),
        make_cwd: true,
        uid: who.uid,
        gid: who.gid,
        groups: who.groups,
        hostname: hostname.into(),
        network: op.network,
        capabilities: if insecure { caps::all_names() } else { caps::default_names() },
        seccomp: !insecure,
        unmasked: insecure,
        init: true,
        tty: false,
        shm_size: around.shm_size.unwrap_or(SHM_SIZE),
        resolv_conf: None,
        hosts: hosts(hostname, &around.hosts),
        limits: around.limits.clone(),
        oom_score_adj: 500,
    };
    Ok((spec, mounted))
}

/// Refuses a process that this host can't start, at the instruction.
fn emulated(op: &RunOp) -> Result<(), OpError> {
    emulation::check(&op.platform).map_err(|error| match error {
        SandboxError::Host { reason, help } => {
            help.into_iter().fold(OpError::input("no-emulator", reason), OpError::with_help)
        }
        other => other.into(),
    })
}

/// The command as a person would type it: the script alone for the usual `sh -c`.
pub fn show_argv(argv: &[String]) -> String {
    match argv {
        [shell, flag, script] if shell.ends_with("sh") && flag == "-c" => format!("`{script}`"),
        words => format!("`{}`", words.join(" ")),
    }
}
