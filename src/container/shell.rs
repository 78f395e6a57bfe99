//! `rbuild shell`: a process where a step of a build was, with what the step had: environment, user, working directory,
//! network and mounts. What it changes is thrown away, in its caches too.

use super::scene::{self, KeptRoot, Scene, Wanted};
use super::{ContainerError, foreground};
use crate::base::Cancel;
use crate::graph::{Op, RunMount, RunOp, StepId};
use crate::ops::Cx;
use crate::ops::context::Contexts;
use crate::ops::run::{self, Policy};
use crate::sandbox::Streams;
use crate::snapshot::{RootMount, Snapshotter};
use crate::store::Store;
use crate::tree::{Rootfs, Trees};
use std::collections::BTreeMap;

/// What the caller of `shell` asks for.
#[derive(Clone, Debug)]
pub struct ShellOptions {
    /// Where.
    pub wanted: Wanted,
    /// What to run instead of the step's shell.
    pub command: Vec<String>,
    /// Instead of the step's user.
    pub user: Option<String>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Agents and the like.
    pub run: Policy,
    /// Give it a terminal.
    pub tty: bool,
}

/// Opens the shell and gives its exit code. `tell` is told where it is, before it begins.
pub fn shell(
    store: &Store,
    snapshotter: &dyn Snapshotter,
    options: &ShellOptions,
    tell: &dyn Fn(&str),
) -> Result<i32, ContainerError> {
    let trees = Trees::new(store);
    let (scene, step, kept) = match &options.wanted {
        Wanted::Failed(id) => {
            let (scene, dir) = Scene::failed(store, id.as_deref())?;
            let step = scene.failed.ok_or_else(|| ContainerError::Absent("no step failed".into()))?;
            (scene, step, Some(scene::kept_root(&dir)?))
        }
        Wanted::Before(step) | Wanted::After(step) => {
            let scene = Scene::last(store)?;
            let step = scene.find(step)?;
            (scene, step, None)
        }
    };
    let label = &scene.graph.step(step).label;
    let (below, when) = match &options.wanted {
        Wanted::After(_) => (step, "after"),
        Wanted::Before(_) => (base_of(&scene, step)?, "before"),
        Wanted::Failed(_) => (base_of(&scene, step)?, "where it failed:"),
    };
    let mut op = scene.surroundings(step);
    op.base = below;
    op.user = options.user.clone().unwrap_or(op.user);
    for missing in drop_missing(&mut op, options) {
        tell(&missing);
    }
    let roots = roots(&scene, &trees, &op)?;
    let empty = Rootfs { layers: Vec::new(), tree: Trees::empty() };
    let inputs = |id: StepId| roots.get(&id).unwrap_or(&empty);
    let contexts = match op.mounts.iter().any(reads_context) {
        true => Contexts::open(store, scene.contexts.iter().cloned().map(Into::into).collect())?,
        false => Contexts::default(),
    };
    let cancel = Cancel::new();
    let cx = Cx {
        store,
        trees: &trees,
        snapshotter,
        contexts: &contexts,
        secrets: &options.secrets,
        run: &options.run,
        imported: None,
        cancel: &cancel,
    };
    // A whole copy is used as it is: another one would take its time.
    let stays = matches!(kept, Some(KeptRoot::Whole(_)));
    let snapshot = snapshotter.prepare(store, &trees, inputs(below))?;
    let root = on_kept(snapshot.mount.clone(), kept)?;
    let mut place = run::place(&cx, &op, &inputs, root)?;
    place.spec.argv = match options.command.as_slice() {
        [] => vec![shell_of(&op)],
        command => command.to_vec(),
    };
    place.spec.init = false;
    place.spec.oom_score_adj = 0;
    if options.tty && !place.spec.env.iter().any(|v| v.starts_with("TERM=")) {
        let term = std::env::var("TERM").unwrap_or_else(|_| "xterm".into());
        place.spec.env.push(format!("TERM={term}"));
    }
    let fate = if stays { "stays until the next step fails" } else { "is thrown away" };
    tell(&format!("{when} {label}; what changes here {fate}"));
    foreground(&place.spec, if options.tty { Streams::Terminal } else { Streams::Inherited }, true)
}

fn base_of(scene: &Scene, step: StepId) -> Result<StepId, ContainerError> {
    let here = scene.graph.step(step);
    here.base().ok_or_else(|| ContainerError::Option(format!("there is nothing before {}", here.label)))
}

/// The root filesystems that the surroundings need.
fn roots(scene: &Scene, trees: &Trees<'_>, op: &RunOp) -> Result<BTreeMap<StepId, Rootfs>, ContainerError> {
    let as_step = crate::graph::Step { op: Op::Run(Box::new(op.clone())), ..scene.graph.step(op.base).clone() };
    as_step.inputs().into_iter().map(|id| Ok((id, scene.rootfs(trees, id)?))).collect()
}

/// The root of the shell with what a failed step did to it.
fn on_kept(root: RootMount, kept: Option<KeptRoot>) -> Result<RootMount, ContainerError> {
    match (root, kept) {
        (root, None) => Ok(root),
        (_, Some(KeptRoot::Whole(path))) => Ok(RootMount::Dir(path)),
        (RootMount::Overlay { mut lowers, upper, work }, Some(KeptRoot::Upper(kept))) => {
            lowers.push(kept);
            Ok(RootMount::Overlay { lowers, upper, work })
        }
        (RootMount::Dir(_), Some(KeptRoot::Upper(_))) => {
            Err(ContainerError::Option("the failed step ran on an overlay, which this host does not mount now".into()))
        }
    }
}

/// Takes mounts away that nobody gave contents for, and says so.
fn drop_missing(op: &mut RunOp, options: &ShellOptions) -> Vec<String> {
    let mut said = Vec::new();
    op.mounts.retain(|mount| match mount {
        RunMount::Secret { id, .. } if !options.secrets.contains_key(id) => {
            said.push(format!("the secret '{id}' is missing; --secret id={id},src=FILE gives it"));
            false
        }
        RunMount::Ssh { id, .. } if !options.run.ssh.contains_key(id) => {
            said.push(format!("the ssh agent '{id}' is missing; --ssh {id} gives it"));
            false
        }
        _ => true,
    });
    said
}

fn reads_context(mount: &RunMount) -> bool {
    let source = match mount {
        RunMount::Bind { source, .. } => Some(source),
        RunMount::Cache { from, .. } => from.as_ref(),
        _ => None,
    };
    matches!(source, Some(crate::graph::CopySource::Context { .. }))
}

/// The program that reads the step's script, if it has one.
fn shell_of(op: &RunOp) -> String {
    match op.argv.first() {
        Some(first) if op.argv.len() > 1 && first.ends_with("sh") => first.clone(),
        _ => "/bin/sh".into(),
    }
}
