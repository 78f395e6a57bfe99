//! RUN: a process in a sandbox on a fresh snapshot.
//!
//! The key holds what the process can see: the root's tree, argv, environment, user, working directory, network,
//! platform, and for each mount what it shows (bind: content; cache: name; secret and ssh: id, never content).

use super::key::Preimage;
use super::{Cx, Inputs, OpError, Written, copy, user};
use crate::graph::{CopyOp, CopySource, RunMount, RunOp, StepId};
use crate::sandbox::{self, Exit, Mount, Spec, Streams};
use crate::snapshot::Snapshot;
use crate::tree::{Rootfs, Trees, View};
use std::io::Read;
use std::sync::mpsc;

/// The host name that a step sees; BuildKit's, since some packages write it into their configuration.
const HOSTNAME: &str = "buildkitsandbox";

/// /etc/hosts of a step.
const HOSTS: &str = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// Size of a step's /dev/shm in bytes, as docker has it.
const SHM_SIZE: u64 = 64 << 20;

/// A RUN with its key; bind mounts are selected and hashed.
#[derive(Debug)]
pub struct Planned {
    /// What enters the key.
    pub preimage: Preimage,
    binds: Vec<Option<copy::Planned>>,
}

/// A chunk of output: stream (1 or 2) and bytes.
pub type Output<'a> = dyn FnMut(u8, &[u8]) + 'a;

/// Computes the key.
pub fn plan(cx: &Cx<'_>, op: &RunOp, inputs: &Inputs<'_>) -> Result<Planned, OpError> {
    let mut preimage = Preimage::new("run");
    preimage.part("root", inputs(op.base).tree.to_string());
    preimage.part("platform", std::env::consts::ARCH);
    for word in &op.argv {
        preimage.part("argv", word);
    }
    for variable in &op.env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        preimage.part(format!("env {name}"), value);
    }
    preimage.part("user", &op.user).part("workdir", &op.workdir).part("network", op.network.name());
    if let Some(script) = &op.script {
        preimage.part(format!("script {}", script.name), &script.data);
    }
    let mut binds = Vec::new();
    for mount in &op.mounts {
        binds.push(plan_mount(cx, mount, inputs, &mut preimage)?);
    }
    Ok(Planned { preimage, binds })
}

/// Adds to the key what a mount shows. A bind is planned as a COPY of its source into an empty root: selection, ignore
/// rules, ownership and hashing are the same.
fn plan_mount(
    cx: &Cx<'_>,
    mount: &RunMount,
    inputs: &Inputs<'_>,
    preimage: &mut Preimage,
) -> Result<Option<copy::Planned>, OpError> {
    match mount {
        RunMount::Bind { target, source, writable } => {
            let planned = plan_bind(cx, source, inputs)?;
            preimage.part(format!("bind {target}"), planned.preimage.digest().to_string());
            preimage.part("writable", writable.to_string());
            return Ok(Some(planned));
        }
        RunMount::Cache { target, id, readonly, .. } => {
            preimage.part(format!("cache {target}"), id).part("readonly", readonly.to_string());
        }
        RunMount::Tmpfs { target, size } => {
            preimage.part(format!("tmpfs {target}"), size.map_or(String::new(), |s| s.to_string()));
        }
        RunMount::Secret { id, target, env, mode, uid, gid, .. } => {
            let shown =
                format!("{} {} {mode:o} {uid}:{gid}", target.as_deref().unwrap_or(""), env.as_deref().unwrap_or(""));
            preimage.part(format!("secret {id}"), shown);
        }
        RunMount::Ssh { id, target, .. } => {
            preimage.part(format!("ssh {id}"), target);
        }
    }
    Ok(None)
}

/// Where a bind's files land in its staging root.
const STAGED: &str = "/bind";

/// A step id that stands for the empty root a bind is staged on.
const NOWHERE: StepId = StepId(u32::MAX);

fn bind_copy(source: &CopySource) -> CopyOp {
    CopyOp {
        base: NOWHERE,
        sources: vec![source.clone()],
        dest: STAGED.into(),
        chown: None,
        chmod: None,
        link: true,
        parents: false,
        exclude: Vec::new(),
        unpack: false,
        with_libs: false,
        is_add: false,
    }
}

fn plan_bind(cx: &Cx<'_>, source: &CopySource, inputs: &Inputs<'_>) -> Result<copy::Planned, OpError> {
    let empty = empty_root();
    copy::plan(cx, &bind_copy(source), &with_empty(inputs, &empty))
}

fn empty_root() -> Rootfs {
    Rootfs { layers: Vec::new(), tree: Trees::empty() }
}

fn with_empty<'a, 'i: 'a>(inputs: &'a Inputs<'i>, empty: &'a Rootfs) -> impl Fn(StepId) -> &'a Rootfs + 'a {
    move |id| if id == NOWHERE { empty } else { inputs(id) }
}

/// Runs the process and gives the directory of its changes. Output goes to `output` as it comes.
pub fn run(
    cx: &Cx<'_>,
    op: &RunOp,
    inputs: &Inputs<'_>,
    planned: &Planned,
    output: &mut Output<'_>,
) -> Result<Written, OpError> {
    let base = inputs(op.base);
    let snapshot = cx.snapshotter.prepare(cx.store, cx.trees, base)?;
    let (spec, held) = spec(cx, op, inputs, planned, base, &snapshot)?;
    let exit = execute(cx, &spec, output)?;
    drop(held);
    if cx.cancel.is_set() {
        return Err(OpError::Cancelled);
    }
    if exit != Exit::Code(0) {
        return Err(OpError::Failed { argv: show_argv(&op.argv), exit });
    }
    let fs = cx.snapshotter.changes(cx.store, cx.trees, &snapshot)?;
    Ok(Written { dir: snapshot.dir, fs, known: Default::default() })
}

/// What must live as long as the process: staging directories of binds and locks of cache mounts.
#[derive(Default)]
struct Held {
    _staged: Vec<Written>,
    _locks: Vec<crate::base::lock::Lock>,
}

fn spec(
    cx: &Cx<'_>,
    op: &RunOp,
    inputs: &Inputs<'_>,
    planned: &Planned,
    base: &Rootfs,
    snapshot: &Snapshot,
) -> Result<(Spec, Held), OpError> {
    let who = user::resolve(&View::new(cx.trees, base), &op.user)?;
    let mut env: Vec<String> = op.env.iter().chain(&op.env_unkeyed).cloned().collect();
    let mut mounts = Vec::new();
    let mut held = Held::default();
    for (mount, bind) in op.mounts.iter().zip(&planned.binds) {
        match (mount, bind) {
            (RunMount::Bind { target, source, writable }, Some(bind)) => {
                let empty = empty_root();
                let staged = copy::run(cx, &bind_copy(source), &with_empty(inputs, &empty), bind)?;
                let source = staged.fs.join(STAGED.trim_start_matches('/'));
                let target = target.clone();
                mounts.push(if *writable {
                    Mount::Scratch { source, target }
                } else {
                    Mount::Bind { source, target, readonly: true }
                });
                held._staged.push(staged);
            }
            (RunMount::Tmpfs { target, size }, _) => {
                mounts.push(Mount::Tmpfs { target: target.clone(), size: *size, mode: 0o1777 });
            }
            (RunMount::Secret { id, target, env: variable, required, mode, uid, gid }, _) => {
                let Some(value) = cx.secrets.get(id) else {
                    if *required {
                        return Err(missing_secret(id));
                    }
                    continue;
                };
                if let Some(target) = target {
                    let (target, data) = (target.clone(), value.clone());
                    mounts.push(Mount::File { target, data, mode: *mode, uid: *uid, gid: *gid });
                }
                if let Some(name) = variable {
                    env.push(format!("{name}={}", String::from_utf8_lossy(value)));
                }
            }
            (RunMount::Cache { .. }, _) => return Err(unsupported("--mount=type=cache")),
            (RunMount::Ssh { .. }, _) => return Err(unsupported("--mount=type=ssh")),
            (RunMount::Bind { .. }, None) => return Err(unsupported("--mount=type=bind")),
        }
    }
    if let Some(script) = &op.script {
        let target = format!("/dev/pipes/{}", script.name);
        mounts.push(Mount::File {
            target,
            data: script.data.clone().into_bytes(),
            mode: 0o755,
            uid: who.uid,
            gid: who.gid,
        });
    }
    if !env.iter().any(|v| v.starts_with("HOME=")) {
        env.push(format!("HOME={}", who.home));
    }
    let spec = Spec {
        root: snapshot.mount.clone(),
        readonly_root: false,
        mounts,
        argv: op.argv.clone(),
        env,
        cwd: op.workdir.clone(),
        make_cwd: true,
        uid: who.uid,
        gid: who.gid,
        groups: who.groups,
        hostname: HOSTNAME.into(),
        network: op.network,
        capabilities: sandbox::caps::DEFAULT.iter().map(|c| (*c).to_owned()).collect(),
        seccomp: true,
        init: true,
        tty: false,
        shm_size: SHM_SIZE,
        resolv_conf: None,
        hosts: HOSTS.into(),
        oom_score_adj: 500,
    };
    Ok((spec, held))
}

fn missing_secret(id: &str) -> OpError {
    OpError::Input {
        code: "secret-missing",
        message: format!("the step requires the secret '{id}', which was not given"),
        notes: Vec::new(),
        help: vec![format!("give it with --secret id={id},src=FILE or --secret id={id},env=NAME")],
        subject: Some(id.to_owned()),
    }
}

fn unsupported(what: &str) -> OpError {
    OpError::Input {
        code: "unsupported",
        message: format!("RUN {what} is not supported yet"),
        notes: Vec::new(),
        help: Vec::new(),
        subject: Some(what.to_owned()),
    }
}

/// Starts the sandbox and passes its output on until it has ended. Two threads read, this one waits: only so can a
/// cancelled step be killed while it is silent.
fn execute(cx: &Cx<'_>, spec: &Spec, output: &mut Output<'_>) -> Result<Exit, OpError> {
    let mut launched = sandbox::launch(spec, Streams::Piped)?;
    let (sender, receiver) = mpsc::channel();
    let (stdout, stderr) = (launched.stdout.take(), launched.stderr.take());
    std::thread::scope(|scope| {
        let errors = sender.clone();
        scope.spawn(move || stdout.map(|pipe| pump(pipe, 1, &sender)));
        scope.spawn(move || stderr.map(|pipe| pump(pipe, 2, &errors)));
        let waiter = scope.spawn(move || launched.wait(cx.cancel));
        // Ends when both readers have seen the end of their pipe: all processes of the step are gone by then.
        for (stream, bytes) in receiver {
            output(stream, &bytes);
        }
        waiter.join().unwrap_or_else(|_| Err(sandbox::SandboxError::Launcher("its watcher panicked".into())))
    })
    .map_err(OpError::from)
}

fn pump(mut pipe: impl Read, stream: u8, sender: &mpsc::Sender<(u8, Vec<u8>)>) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) if sender.send((stream, buffer[..n].to_vec())).is_err() => return,
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The command as a person would type it: the script alone for the usual `sh -c`.
pub fn show_argv(argv: &[String]) -> String {
    match argv {
        [shell, flag, script] if shell.ends_with("sh") && flag == "-c" => format!("`{script}`"),
        words => format!("`{}`", words.join(" ")),
    }
}
