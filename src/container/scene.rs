//! The scene of a build: what it takes to open a shell at one of its steps afterwards. The last build's is kept in the
//! store's `last-build`, and that of a failed step beside what was kept of its root filesystem.

use super::ContainerError;
use crate::base::Digest;
use crate::base::fs::Context;
use crate::graph::{Graph, Op, RunOp, Security, StepId};
use crate::image::Platform;
use crate::ops::context::ContextSpec;
use crate::store::{Store, StoreError};
use crate::tree::{Rootfs, Trees};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A build as it was left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scene {
    /// Its steps.
    pub graph: Graph,
    /// For each step its layer, if it made one; `None` if it did not come through.
    pub done: Vec<Option<Option<Digest>>>,
    /// Its build contexts.
    pub contexts: Vec<ContextPlace>,
    /// The step that failed.
    pub failed: Option<StepId>,
}

/// Where a build context was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContextPlace {
    name: Option<String>,
    dir: PathBuf,
    ignore_file: Option<PathBuf>,
}

impl From<ContextSpec> for ContextPlace {
    /// With absolute paths, since the shell may be opened from somewhere else.
    fn from(spec: ContextSpec) -> ContextPlace {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        ContextPlace { name: spec.name, dir: absolute(spec.dir), ignore_file: spec.ignore_file.map(absolute) }
    }
}

impl From<ContextPlace> for ContextSpec {
    fn from(place: ContextPlace) -> ContextSpec {
        ContextSpec { name: place.name, dir: place.dir, ignore_file: place.ignore_file }
    }
}

/// Which step a shell is wanted at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Where a step failed: the id of what was kept, or the latest.
    Failed(Option<String>),
    /// Before a step of the last build, by number or a part of its label.
    Before(String),
    /// After one.
    After(String),
}

/// Name of a failed step's scene in its directory.
const FAILED_SCENE: &str = "scene";

impl Scene {
    /// Keeps it as that of the last build, and, if `kept` of a failed step's root was, beside that.
    pub fn keep(&self, store: &Store, kept: Option<&str>) -> Result<(), StoreError> {
        store.put_sealed(&store.last_build_path(), self)?;
        match kept {
            Some(id) => store.put_sealed(&store.failed_dir().join(id).join(FAILED_SCENE), self),
            None => Ok(()),
        }
    }

    /// That of the last build.
    pub fn last(store: &Store) -> Result<Scene, ContainerError> {
        let none = || ContainerError::Absent("nothing was built in this store yet".into());
        store.sealed(&store.last_build_path())?.ok_or_else(none)
    }

    /// That of a failed step, and the directory of what was kept. `id`: the latest if none is given.
    pub fn failed(store: &Store, id: Option<&str>) -> Result<(Scene, PathBuf), ContainerError> {
        let dir = store.failed_dir();
        let mut all: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.at("list", &dir)?.path();
            if id.is_none_or(|id| path.file_name().is_some_and(|name| name == id))
                && let Ok(metadata) = path.join(FAILED_SCENE).metadata()
            {
                all.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), path));
            }
        }
        let latest = all.into_iter().max();
        let Some((_, path)) = latest else {
            let what = id.map_or("no failed step is kept".to_owned(), |id| format!("no failed step '{id}' is kept"));
            return Err(ContainerError::Absent(what));
        };
        let none = || ContainerError::Absent(format!("{} is not complete", path.display()));
        let scene = store.sealed(&path.join(FAILED_SCENE))?.ok_or_else(none)?;
        Ok((scene, path))
    }

    /// The step of this number (from 1, as progress shows it) or with this text in its label.
    pub fn find(&self, wanted: &str) -> Result<StepId, ContainerError> {
        let steps = &self.graph.steps;
        let number = wanted.trim_start_matches('#').parse::<usize>().ok();
        if let Some(step) = number.and_then(|number| steps.get(number.checked_sub(1)?)) {
            return Ok(step.id);
        }
        let found: Vec<_> = steps.iter().filter(|step| step.label.contains(wanted)).collect();
        match found.as_slice() {
            [one] => Ok(one.id),
            [] => Err(ContainerError::Absent(format!("the last build had no step '{wanted}'"))),
            several => {
                let labels: Vec<String> =
                    several.iter().map(|step| format!("#{} {}", step.id.index() + 1, step.label)).collect();
                Err(ContainerError::Option(format!("'{wanted}' is in several steps:\n{}", labels.join("\n"))))
            }
        }
    }

    /// The root filesystem after a step.
    pub fn rootfs(&self, trees: &Trees<'_>, step: StepId) -> Result<Rootfs, ContainerError> {
        let mut layers: Vec<Digest> = Vec::new();
        let mut at = step;
        loop {
            let here = self.graph.step(at);
            match &here.op {
                Op::Scratch => break,
                Op::Image(image) => {
                    layers.extend(image.layers.iter().rev());
                    break;
                }
                _ => match self.done.get(at.index()).copied().flatten() {
                    Some(layer) => layers.extend(layer),
                    None => return Err(ContainerError::Absent(format!("step {} did not come through", here.label))),
                },
            }
            match here.base() {
                Some(base) => at = base,
                None => break,
            }
        }
        layers.reverse();
        trees.of_layers(&layers).map_err(|e| ContainerError::User(e.into()))
    }

    /// What a process at this step gets: the step's own, or, if it is no RUN, the nearest one's before it in its stage,
    /// without mounts.
    pub fn surroundings(&self, step: StepId) -> RunOp {
        let mut at = Some(step);
        while let Some(id) = at {
            let here = self.graph.step(id);
            if let Op::Run(op) = &here.op {
                let mounts = if id == step { op.mounts.clone() } else { Vec::new() };
                return RunOp { mounts, script: op.script.clone().filter(|_| id == step), ..(**op).clone() };
            }
            at = here.base();
        }
        RunOp {
            base: step,
            argv: Vec::new(),
            env: vec![format!("PATH={DEFAULT_PATH}")],
            env_unkeyed: Vec::new(),
            user: String::new(),
            workdir: "/".into(),
            platform: Platform::default(),
            network: Default::default(),
            script: None,
            mounts: Vec::new(),
            security: Security::Sandbox,
            surroundings: Default::default(),
            retry: None,
            timeout: None,
        }
    }
}

/// PATH where no step says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What was kept of a root filesystem in the directory of a failed step.
pub(super) fn kept_root(dir: &Path) -> Result<KeptRoot, ContainerError> {
    let (upper, whole) = (dir.join("upper"), dir.join("root"));
    match (upper.is_dir(), whole.is_dir()) {
        (true, _) => Ok(KeptRoot::Upper(upper)),
        (false, true) => Ok(KeptRoot::Whole(whole)),
        (false, false) => Err(ContainerError::Absent(format!("{} holds no root filesystem", dir.display()))),
    }
}

/// A failed step's root filesystem as its snapshotter left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeptRoot {
    /// What differs from its base.
    Upper(PathBuf),
    /// All of it.
    Whole(PathBuf),
}
