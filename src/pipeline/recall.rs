//! What is remembered of builds, and what that says of the next: the record of a project's last build, `why` and `plan`.

use super::targets::{self, Around, Lowered};
use super::{BuildError, BuildRequest, Target, caching};
use crate::ops::context::Contexts;
use crate::ops::imported::Imported;
use crate::ops::{Cx, OpError};
use crate::snapshot::Lazy;
use crate::solver::plan::{self, Plan};
use crate::solver::reason::{self, Kind};
use crate::solver::record::{BuildRecord, BuiltStep, Project};
use crate::solver::words::Mask;
use crate::solver::{self, Options, explain};
use crate::store::{Access, Store, StoreError};
use crate::tree::{Rootfs, Trees, diff};
use std::path::Path;

/// Which project a build is of.
pub fn project(request: &BuildRequest) -> Project {
    let project = |target: &Target| Project {
        context: target.context.as_deref().map(canonical),
        dockerfile: target.dockerfile.path.as_deref().map(canonical),
        target: target.stage.clone(),
        others: Vec::new(),
    };
    let mut all = request.targets.iter().map(project);
    let first = all.next().unwrap_or_default();
    Project { others: all.collect(), ..first }
}

fn canonical(path: &Path) -> String {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}

/// How to solve: with what is known of the project's last build.
pub(super) fn options(request: &BuildRequest, store: &Store, project: &Project) -> Result<Options, StoreError> {
    Ok(Options {
        no_cache: request.no_cache,
        jobs: request.jobs.unwrap_or_else(solver::default_jobs),
        explain: request.explain,
        last: store.build(&project.digest())?,
    })
}

/// Keeps what a build did for the next one. A build that did what the last one did only sets the time of its record.
pub(super) fn remember(
    store: &Store,
    project: Project,
    last: Option<&BuildRecord>,
    mut steps: Vec<BuiltStep>,
    lowered: &Lowered,
) -> Result<(), StoreError> {
    for (built, step) in steps.iter_mut().zip(&lowered.graph.steps) {
        built.line = lowered.line(step.id);
    }
    let name = project.digest();
    let record = BuildRecord { project, steps };
    if last == Some(&record) { store.touch_build(&name) } else { store.put_build(&name, &record) }
}

/// Tells what a build would do. Runs nothing, makes no layer and no image.
pub fn plan(request: &BuildRequest, sink: &solver::Sink<'_>) -> Result<Plan, BuildError> {
    let files = targets::parse(request, sink)?;
    let store = Store::open(&request.root, Access::Shared)?;
    let trees = Trees::new(&store);
    let contexts = Contexts::open(&store, targets::contexts(&request.targets))?;
    let imports = caching::imports(request);
    let around = Around { contexts: None, imports: imports.as_ref() };
    let lowered = targets::lower(request, &files, &store, &around, &|_| {})?;
    let snapshotter = Lazy::new(request.snapshotter);
    let cx = Cx {
        store: &store,
        trees: &trees,
        snapshotter: &snapshotter,
        contexts: &contexts,
        secrets: &request.secrets,
        run: &request.run,
        imported: imports.as_ref().map(|imports| imports as &dyn Imported),
        cancel: &request.cancel,
    };
    let options = options(request, &store, &project(request))?;
    let planned = plan::plan(&lowered.graph, &cx, &options);
    // The build that follows need not hash the files again.
    contexts.save()?;
    let mut plan = planned.map_err(|error| lowered.failure(error))?;
    for (forecast, step) in plan.steps.iter_mut().zip(&lowered.graph.steps) {
        forecast.line = lowered.line(step.id);
    }
    Ok(plan)
}

/// Which remembered build is asked about; what is `None` may be anything.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// The build context.
    pub context: Option<&'a Path>,
    /// The Dockerfile.
    pub dockerfile: Option<&'a Path>,
    /// The target.
    pub target: Option<&'a str>,
}

/// The latest build that fits, and its time in seconds since the epoch. If nothing is asked for, one of the current
/// directory is preferred.
pub fn last_build(store: &Store, wanted: &Wanted<'_>) -> Result<Option<(BuildRecord, i64)>, StoreError> {
    let mut builds: Vec<(BuildRecord, i64)> = store.builds()?;
    let (context, dockerfile) = (wanted.context.map(canonical), wanted.dockerfile.map(canonical));
    builds.retain(|(build, _)| {
        let project = &build.project;
        (context.is_none() || project.context == context)
            && (dockerfile.is_none() || project.dockerfile == dockerfile)
            && (wanted.target.is_none() || project.target.as_deref() == wanted.target)
    });
    let here = canonical(Path::new("."));
    let is_here = |build: &BuildRecord| build.project.context.as_ref() == Some(&here);
    let at = if context.is_none() { builds.iter().position(|(build, _)| is_here(build)) } else { None };
    Ok(builds.into_iter().nth(at.unwrap_or(0)))
}

/// Every difference that a step's key had when it last missed, from the records of both runs; none if one of them is
/// gone. What differs in the files before the step is listed path by path, at most `most`.
pub fn differences(store: &Store, step: &BuiltStep, most: usize) -> Result<Vec<String>, BuildError> {
    let record = |key: Option<_>| key.map_or(Ok(None), |key| store.step(&key));
    let (Some(old), Some(new)) = (record(step.compared)?, record(step.key)?) else { return Ok(Vec::new()) };
    let trees = Trees::new(store);
    let mut all = Vec::new();
    for reason in reason::differences(&old.preimage, &new.preimage, &Mask::default()) {
        if reason.kind == Kind::Files
            && let (Some(old), Some(new)) = (explain::root_of(&old.preimage), explain::root_of(&new.preimage))
            && trees.has(&old)
            && trees.has(&new)
        {
            let rootfs = |tree| Rootfs { layers: Vec::new(), tree };
            let changes = diff::diff(&trees, &rootfs(old), &rootfs(new)).map_err(OpError::from)?;
            all.extend(changes.iter().take(most).map(explain::change));
            if changes.len() > most {
                all.push(format!("{} more files", changes.len() - most));
            }
        } else {
            all.push(reason.text);
        }
    }
    Ok(all)
}
