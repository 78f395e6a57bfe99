//! The targets of a build as one graph: each file is lowered for each platform of its target, and what two of them do
//! alike is one step.

use super::{BuildError, BuildRequest, Origin, Target, bases, failure, inputs, warn};
use crate::cache::Imports;
use crate::diag::{Diagnostic, Source};
use crate::dockerfile::check::{Depth, check};
use crate::dockerfile::lower::{self, ContextTarget, NamedContext, Template};
use crate::dockerfile::{self, Dockerfile};
use crate::graph::{ContextId, Graph, StepId};
use crate::image::{Platform, Reference};
use crate::ops::context::{ContextSpec, Contexts, LocalContext};
use crate::registry::lazy::Promised;
use crate::solver::{self, SolveError};
use crate::store::Store;
use std::collections::HashSet;

/// The targets of a build, lowered.
#[derive(Debug)]
pub(super) struct Lowered {
    /// The steps of all of them.
    pub graph: Graph,
    /// For each target the image of each of its platforms.
    pub images: Vec<Vec<Template>>,
    /// For each step the file it stands in: that of the first target that has it.
    sources: Vec<Source>,
    /// Images whose layers may not be here: they are named when they are.
    pub promised: Vec<(Reference, Promised)>,
}

/// What is around the targets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around<'a> {
    /// What [`contexts`] says, opened; without, checks that ask what is ignored find nothing.
    pub contexts: Option<&'a Contexts>,
    /// Caches that may know what the layers of base images hold.
    pub imports: Option<&'a Imports>,
}

impl Lowered {
    /// The file that a step stands in.
    pub fn source(&self, step: StepId) -> &Source {
        &self.sources[step.index()]
    }

    /// What to tell of a step that failed.
    pub fn failure(&self, error: SolveError) -> BuildError {
        let instruction = self.graph.step(error.step).span.unwrap_or_default();
        let source = self.source(error.step);
        failure::of_step(error, instruction, source)
    }

    /// The line of a step's instruction, from 1.
    pub fn line(&self, step: StepId) -> Option<usize> {
        let span = self.graph.step(step).span?;
        Some(self.source(step).position(span.start).0)
    }
}

/// Parses the targets' Dockerfiles.
pub(super) fn parse(request: &BuildRequest, sink: &solver::Sink<'_>) -> Result<Vec<Dockerfile>, BuildError> {
    let mut told = Told::default();
    let mut parse = |target: &Target| {
        let input = &target.dockerfile;
        let source =
            dockerfile::text::source(&input.name, &input.bytes).map_err(|e| BuildError::Dockerfile(vec![*e]))?;
        let (file, warnings) = dockerfile::parse(&source).map_err(BuildError::Dockerfile)?;
        warn(told.unseen(warnings), sink);
        Ok(file)
    };
    request.targets.iter().map(&mut parse).collect()
}

/// The directories that the targets read, each once.
pub(super) fn contexts(targets: &[Target]) -> Vec<ContextSpec> {
    let mut all: Vec<ContextSpec> = Vec::new();
    for target in targets {
        for spec in target.main_context().into_iter().chain(target.contexts.iter().filter_map(|c| c.spec())) {
            if !all.contains(&spec) {
                all.push(spec);
            }
        }
    }
    all
}

/// Lowers the targets one after the other into one graph, and passes on what the build checks find in their files.
pub(super) fn lower(
    request: &BuildRequest,
    files: &[Dockerfile],
    store: &Store,
    around: &Around<'_>,
    sink: &solver::Sink<'_>,
) -> Result<Lowered, BuildError> {
    let Around { contexts, imports } = *around;
    let specs = self::contexts(&request.targets);
    let asked = bases::Asked::default();
    let mut graph = Graph { contexts: specs.iter().map(|spec| spec.name.clone()).collect(), ..Graph::default() };
    let mut lowered =
        Lowered { graph: Graph::default(), images: Vec::new(), sources: Vec::new(), promised: Vec::new() };
    let mut told = Told::default();
    for (target, file) in request.targets.iter().zip(files) {
        let images = bases::Bases::new(store, request, &target.inputs, &asked, imports, sink)?;
        let mut variants = Vec::new();
        for platform in target.all_platforms() {
            let options = lower::Options {
                title: title(request, target, &platform),
                graph,
                others: lowered.images.clone(),
                platform,
                ..options_with(target, &specs)
            };
            let result = dockerfile::lower(file, &options, &images);
            if request.cancel.is_set() {
                return Err(BuildError::Interrupted);
            }
            let mut result = result.map_err(BuildError::Dockerfile)?;
            let ignore = options.context.and_then(|id| contexts?.get(id)).map(LocalContext::ignore);
            let found = check(file, &options, &images, ignore, Depth::Build);
            let (errors, warnings) = found.into_iter().partition::<Vec<_>, _>(Diagnostic::is_error);
            if !errors.is_empty() {
                return Err(BuildError::Dockerfile(errors));
            }
            result.warnings.extend(warnings);
            let new = options.graph.steps.len();
            result.warnings.extend(inputs::settle(&mut result.graph.steps[new..], request, target, file, store)?);
            result.warnings.sort_by_key(|d| d.labels.first().map(|label| label.span));
            warn(told.unseen(result.warnings), sink);
            graph = result.graph;
            let places = graph.share(options.graph.steps.len());
            variants.push(moved(result.image, &places));
            lowered.sources.resize(graph.steps.len(), file.source.clone());
        }
        lowered.images.push(variants);
    }
    graph.targets = lowered.images.iter().flatten().map(|image| image.root).collect();
    lowered.graph = graph;
    lowered.promised = asked.into_promised();
    Ok(lowered)
}

/// What a target's Dockerfile is lowered with if it is the only one, on the first of its platforms.
pub fn options(target: &Target) -> lower::Options {
    let platform = target.all_platforms().swap_remove(0);
    lower::Options { platform, ..options_with(target, &contexts(std::slice::from_ref(target))) }
}

/// What a Dockerfile is lowered with, but for its platform and what was lowered before it. `specs`: the contexts of the
/// build it is part of.
fn options_with(target: &Target, specs: &[ContextSpec]) -> lower::Options {
    let place = |spec: &ContextSpec| specs.iter().position(|s| s == spec).and_then(|at| u32::try_from(at).ok());
    let id = |spec: Option<ContextSpec>| spec.as_ref().and_then(place).map(ContextId);
    let named = target.contexts.iter().filter_map(|context| {
        let stands_for = match &context.origin {
            Origin::Directory(_) => ContextTarget::Directory(id(context.spec())?),
            Origin::Image(reference) => ContextTarget::Image(reference.clone()),
            Origin::Remote(remote) => ContextTarget::Remote(remote.clone()),
            Origin::Target(other) => ContextTarget::Target(*other),
        };
        Some(NamedContext { name: context.name.clone(), target: stands_for })
    });
    lower::Options {
        target: target.stage.clone(),
        build_args: target.build_args.clone(),
        context: id(target.main_context()),
        contexts: named.collect(),
        labels: target.labels.clone(),
        network: target.network,
        surroundings: target.surroundings.clone(),
        allow_insecure: target.allow_insecure,
        ..lower::Options::default()
    }
}

/// What tells the steps of a target and platform from those of the others: nothing, if there are no others.
fn title(request: &BuildRequest, target: &Target, platform: &Platform) -> String {
    let name = (request.targets.len() > 1).then(|| target.name.clone()).filter(|name| !name.is_empty());
    let platform = (target.platforms.len() > 1).then(|| platform.to_string());
    name.into_iter().chain(platform).collect::<Vec<_>>().join(" ")
}

/// An image whose steps are where [`Graph::share`] put them.
fn moved(mut image: Template, places: &[StepId]) -> Template {
    image.root = places[image.root.index()];
    for item in &mut image.history {
        item.step = item.step.map(|step| places[step.index()]);
    }
    image
}

/// What was told already: a file is read for each target and platform that it is built for.
#[derive(Default)]
struct Told(HashSet<String>);

impl Told {
    fn unseen(&mut self, warnings: Vec<Diagnostic>) -> Vec<Diagnostic> {
        warnings.into_iter().filter(|warning| self.0.insert(format!("{warning:?}"))).collect()
    }
}
