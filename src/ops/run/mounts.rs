//! `RUN --mount`: what each shows in the step's key, and what each becomes in the sandbox.
//!
//! A bind of a directory of another step is an overlay of that step's layers: nothing is copied, and writes (`rw`) end
//! up in memory. Every other bind is a private copy ([`super::staging`]).

use super::super::key::Preimage;
use super::super::{Cx, Inputs, OpError, copy};
use super::cache::{self, Wish};
use super::ssh::Forward;
use super::staging::{self, Scope, Staged, stage};
use crate::graph::{CopySource, RunMount};
use crate::sandbox::Mount;
use crate::snapshot::overlay::{self, MAX_LAYERS};
use crate::tree::View;
use std::collections::BTreeMap;

/// Adds to the key what a mount shows: a bind's content, a cache's name, a secret's and an agent's id and place. A bind
/// gives its plan.
pub(super) fn plan(
    cx: &Cx<'_>,
    mount: &RunMount,
    inputs: &Inputs<'_>,
    preimage: &mut Preimage,
) -> Result<Option<copy::Planned>, OpError> {
    match mount {
        RunMount::Bind { target, source, writable } => {
            let planned = staging::plan(cx, source, inputs)?;
            preimage.part("bind", target).part("writable", writable.to_string());
            preimage.nest(&format!("bind {target}"), &planned.preimage);
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

/// The mounts of a step, and what must live as long as its process.
#[derive(Default)]
pub(super) struct Mounted<'s> {
    /// For the sandbox, in order.
    pub mounts: Vec<Mount>,
    /// `NAME=value` that mounts bring.
    pub env: Vec<String>,
    caches: Vec<cache::InUse<'s>>,
    staged: Vec<Staged>,
    forwards: Vec<Forward>,
}

impl Mounted<'_> {
    /// The step has succeeded: its caches get what it did in them.
    pub fn keep_caches(self) -> Result<(), OpError> {
        self.caches.into_iter().try_for_each(cache::InUse::keep)
    }
}

/// Prepares every mount. `binds`: what [`plan`] gave for each.
pub(super) fn prepare<'s>(
    scope: &Scope<'_, 's, '_>,
    mounts: &[RunMount],
    binds: &[Option<copy::Planned>],
) -> Result<Mounted<'s>, OpError> {
    let mut caches = cache::take(scope.cx, mounts, scope.overlay)?;
    let mut first_targets: BTreeMap<&str, &str> = BTreeMap::new();
    let mut all = Mounted::default();
    for (mount, bind) in mounts.iter().zip(binds) {
        match mount {
            RunMount::Bind { target, source, writable } => {
                all.bind(scope, source, bind.as_ref(), target, *writable)?;
            }
            RunMount::Cache { target, id, from, mode, uid, gid, readonly, .. } => {
                let Some(cache) = caches.remove(id) else {
                    let of = first_targets.get(id.as_str()).copied().unwrap_or_default().to_owned();
                    all.mounts.push(Mount::Again { of, target: target.clone() });
                    continue;
                };
                first_targets.insert(id, target);
                let wish = Wish { from: from.as_ref(), mode: *mode, uid: *uid, gid: *gid, readonly: *readonly };
                let (mount, in_use) = cache::mount(scope, cache, &wish, target.clone())?;
                all.mounts.push(mount);
                all.caches.push(in_use);
            }
            RunMount::Tmpfs { target, size } => {
                all.mounts.push(Mount::Tmpfs { target: target.clone(), size: *size, mode: 0o1777 });
            }
            RunMount::Secret { .. } => all.secret(scope.cx, mount)?,
            RunMount::Ssh { .. } => all.ssh(scope.cx, mount)?,
        }
    }
    Ok(all)
}

impl Mounted<'_> {
    fn bind(
        &mut self,
        scope: &Scope<'_, '_, '_>,
        source: &CopySource,
        planned: Option<&copy::Planned>,
        target: &str,
        writable: bool,
    ) -> Result<(), OpError> {
        let Scope { cx, inputs, overlay, .. } = *scope;
        let target = target.to_owned();
        if overlay && let Some(mount) = stacked(cx, inputs, source, &target, writable)? {
            self.mounts.push(mount);
            return Ok(());
        }
        let staged = stage(cx, inputs, source, planned)?;
        self.mounts.push(if overlay && staged.is_dir {
            // A stack of one: mount points of other mounts can be made in it.
            let lowers = vec![staged.path.clone()];
            Mount::Overlay { lowers, upper: None, path: "/".into(), target, readonly: !writable }
        } else {
            Mount::Bind { source: staged.path.clone(), target, readonly: !writable }
        });
        self.staged.push(staged);
        Ok(())
    }

    fn secret(&mut self, cx: &Cx<'_>, mount: &RunMount) -> Result<(), OpError> {
        let RunMount::Secret { id, target, env, required, mode, uid, gid } = mount else { return Ok(()) };
        let Some(value) = cx.secrets.get(id) else {
            return if *required { Err(missing_secret(id)) } else { Ok(()) };
        };
        if let Some(target) = target {
            let (target, data) = (target.clone(), value.clone());
            self.mounts.push(Mount::File { target, data, mode: *mode, uid: *uid, gid: *gid });
        }
        if let Some(name) = env {
            match std::str::from_utf8(value).ok().filter(|text| !text.contains('\0')) {
                Some(text) => self.env.push(format!("{name}={text}")),
                None => {
                    let message = format!("the secret '{id}' is no text and can't be the variable {name}");
                    return Err(OpError::input("secret-not-text", message)
                        .with_help("mount it as a file: drop env= from the mount")
                        .about(id.clone()));
                }
            }
        }
        Ok(())
    }

    fn ssh(&mut self, cx: &Cx<'_>, mount: &RunMount) -> Result<(), OpError> {
        let RunMount::Ssh { id, target, required, mode, uid, gid } = mount else { return Ok(()) };
        let Some(agent) = cx.run.ssh.get(id) else {
            return if *required { Err(missing_agent(id)) } else { Ok(()) };
        };
        let forward = Forward::new(cx.store, agent.socket(), *mode, *uid, *gid)?;
        self.mounts.push(Mount::Bind { source: forward.socket.clone(), target: target.clone(), readonly: false });
        if self.forwards.is_empty() {
            self.env.push(format!("SSH_AUTH_SOCK={target}"));
        }
        self.forwards.push(forward);
        Ok(())
    }
}

/// A bind of a directory of another step as its layers; `None` where that can't be.
fn stacked(
    cx: &Cx<'_>,
    inputs: &Inputs<'_>,
    source: &CopySource,
    target: &str,
    writable: bool,
) -> Result<Option<Mount>, OpError> {
    let CopySource::Step { step, pattern } = source else { return Ok(None) };
    let rootfs = inputs(*step);
    let found = View::new(cx.trees, rootfs).find(pattern.as_bytes(), true)?;
    if rootfs.layers.is_empty() || !found.is_some_and(|found| found.is_dir()) {
        return Ok(None);
    }
    let lowers = overlay::lowers(cx.store, rootfs)?;
    if lowers.len() > MAX_LAYERS {
        return Ok(None);
    }
    let (path, target) = (pattern.clone(), target.to_owned());
    Ok(Some(Mount::Overlay { lowers, upper: None, path, target, readonly: !writable }))
}

fn missing_secret(id: &str) -> OpError {
    OpError::input("secret-missing", format!("the step requires the secret '{id}', which was not given"))
        .with_help(format!("give it with --secret id={id},src=FILE or --secret id={id},env=NAME"))
        .about(id)
}

fn missing_agent(id: &str) -> OpError {
    let given =
        if id == "default" { "--ssh default".to_owned() } else { format!("--ssh {id}=SOCKET or --ssh {id}=KEYFILE") };
    OpError::input("ssh-missing", format!("the step requires the ssh agent '{id}', which was not given"))
        .with_help(format!("give it with {given}"))
        .about(id)
}
