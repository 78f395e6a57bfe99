//! The narrative: from a Dockerfile to a tagged image. `build` reads like the picture in ARCHITECTURE.md.

mod attestation;
mod bases;
mod caching;
mod failure;
mod image;
pub mod inputs;
mod layout;
mod output;
pub mod recall;
mod request;
mod targets;

pub use bases::{Pull, Pulling};
pub use caching::Caching;
pub use layout::Layout;
pub use output::{Output, OutputKind, PushedTo};
pub use request::{BuildContext, BuildRequest, DockerfileInput, Origin, Target};
pub use targets::options;

use crate::attest::AttestError;
use crate::base::{Digest, IoError};
use crate::cache::CacheError;
use crate::container::Scene;
use crate::diag::{Diagnostic, Severity, Source};
use crate::dockerfile::lower::Template;
use crate::export::{ExportError, images};
use crate::graph::{Graph, StepId};
use crate::image::reference::{Reference, ReferenceError};
use crate::net::transfer::News;
use crate::ops::context::Contexts;
use crate::ops::imported::Imported;
use crate::ops::{Cx, OpError};
use crate::registry::RegistryError;
use crate::snapshot::Lazy;
use crate::solver::event::{Event, Outcome};
use crate::solver::record::BuiltStep;
use crate::solver::{Sink, Solution, SolveError, Solved};
use crate::store::{Access, Store, StoreError};
use crate::tree::Trees;
use output::Writer;
use std::time::Instant;
use targets::Around;

/// What a target came to.
#[derive(Clone, Debug)]
pub struct BuildResult {
    /// Digest of the config; of several platforms that of the index.
    pub id: Digest,
    /// Digest of the manifest or index.
    pub manifest: Digest,
    /// Full names it was given.
    pub names: Vec<String>,
    /// Where it was pushed to.
    pub pushed: Vec<PushedTo>,
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile is not valid, or names what is not there.
    #[error("{} is not valid", name(.0))]
    Dockerfile(Vec<Diagnostic>),
    /// A step failed; the diagnostic points at its instruction.
    #[error("{}", .error)]
    Step {
        /// Where and why, for people.
        diagnostic: Box<Diagnostic>,
        /// What happened.
        error: Box<SolveError>,
    },
    /// A `-t` is no name.
    #[error(transparent)]
    Tag(#[from] ReferenceError),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A context could not be used.
    #[error(transparent)]
    Context(#[from] OpError),
    /// The image could not be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The image could not be pushed.
    #[error(transparent)]
    Push(#[from] RegistryError),
    /// The outputs are not such that any result could be written to them.
    #[error("{0}")]
    Outputs(String),
    /// Nothing could be said of the image.
    #[error(transparent)]
    Attest(#[from] AttestError),
    /// A cache could not be written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Stopped by a signal.
    #[error("interrupted")]
    Interrupted,
}

impl BuildError {
    /// Adds a fact and a way out to what is told of a failed step.
    fn with_notes(mut self, told: Option<(String, String)>) -> BuildError {
        if let (BuildError::Step { diagnostic, .. }, Some((note, help))) = (&mut self, told) {
            diagnostic.notes.push(note);
            diagnostic.help.push(help);
        }
        self
    }
}

fn name(diagnostics: &[Diagnostic]) -> &str {
    diagnostics.iter().find_map(|d| d.source.as_ref()).map_or("the Dockerfile", Source::name)
}

/// Builds all targets as one graph; a result for each that yields an image. Events go to `sink` from any thread.
pub fn build(request: &BuildRequest, sink: &Sink<'_>) -> Result<Vec<BuildResult>, BuildError> {
    let began = Instant::now();
    request.targets.iter().try_for_each(output::check)?;
    let names = request.targets.iter().map(Target::references).collect::<Result<Vec<_>, _>>()?;
    let files = targets::parse(request, sink)?;
    let store = Store::open(&request.root, Access::Shared)?;
    let trees = Trees::new(&store);
    let contexts = Contexts::open(&store, targets::contexts(&request.targets))?;
    let imports = caching::imports(request);
    let around = Around { contexts: Some(&contexts), imports: imports.as_ref() };
    let lowered = targets::lower(request, &files, &store, &around, sink)?;
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
    let project = recall::project(request);
    let options = recall::options(request, &store, &project)?;
    let solved = caching::solve(&lowered.graph, &cx, &options, imports.as_ref(), began, sink);
    if let Some(imports) = &imports {
        caching::tell(imports, began, sink);
    }
    if let Some(reason) = snapshotter.refusal() {
        warn(vec![slow_snapshots(reason)], sink);
    }
    // Hashes that were computed stay useful whether or not the build came through.
    contexts.save()?;
    let kept = keep_scene(&store, request, &lowered.graph, &solved);
    let remembered = recall::remember(&store, project, options.last.as_ref(), solved.steps, &lowered);
    let solutions = solved.result.map_err(|error| {
        let told = inputs::blame(&error, &lowered.graph, &request.targets);
        lowered.failure(error).with_notes(told)
    })?;
    remembered?;
    kept?;
    caching::record(&store, &solutions)?;
    caching::name_bases(&store, &lowered.promised)?;
    let built = Built { request, store: &store, trees: &trees, graph: &lowered.graph, solutions: &solutions, began };
    let targets = request.targets.iter().zip(lowered.images).zip(&names);
    let yielding = targets.filter(|((target, _), _)| target.yields_image);
    yielding.map(|((target, images), names)| built.finish(target, images, names, sink)).collect()
}

/// A solved graph, and what turns it into images.
struct Built<'b> {
    request: &'b BuildRequest,
    store: &'b Store,
    trees: &'b Trees<'b>,
    graph: &'b Graph,
    solutions: &'b [Solution],
    began: Instant,
}

impl Built<'_> {
    /// Writes a target's image, names it, and puts it wherever else it is wanted.
    fn finish(
        &self,
        target: &Target,
        templates: Vec<Template>,
        names: &[Reference],
        sink: &Sink<'_>,
    ) -> Result<BuildResult, BuildError> {
        let Built { request, store, began, .. } = *self;
        let known = caching::known(self, target, &templates);
        let roots: Vec<StepId> = templates.iter().map(|template| template.root).collect();
        let image = image::write(self, target, templates, known.as_ref())?;
        attestation::attach(self, target, &roots, names, &image.manifest, sink)?;
        for name in names {
            images::tag(store, &image.manifest, name)?;
        }
        let at = began.elapsed().as_millis() as u64;
        let tags: Vec<String> = names.iter().map(ToString::to_string).collect();
        sink(Event::Image { id: image.id, manifest: image.manifest, names: tags.clone(), at });
        let at = || began.elapsed().as_millis() as u64;
        let tell = |what: &str| sink(Event::Exporting { what: what.to_owned(), at: at() });
        let watch = |name: &str, news: News| sink(Event::Exchange { name: name.to_owned(), news, at: at() });
        let writer = Writer { request, store, tags: names, tell: &tell, watch: &watch };
        let mut pushed = Vec::new();
        for output in &target.outputs {
            pushed.extend(writer.write(output, &image.manifest)?);
        }
        if names.is_empty() && target.outputs.iter().all(|o| o.kind == OutputKind::Image && o.names.is_empty()) {
            images::keep(store, &image.manifest)?;
        }
        caching::export(self, target, known.as_ref(), sink)?;
        Ok(BuildResult { id: image.id, manifest: image.manifest, names: tags, pushed })
    }
}

/// Keeps what `rbuild shell` needs to know of this build.
fn keep_scene(store: &Store, request: &BuildRequest, graph: &Graph, solved: &Solved) -> Result<(), StoreError> {
    let success =
        |step: &BuiltStep| matches!(step.outcome, Outcome::Cached | Outcome::Shared | Outcome::Ran | Outcome::Same);
    let failure = solved.result.as_ref().err();
    let scene = Scene {
        graph: graph.clone(),
        done: solved.steps.iter().map(|step| success(step).then_some(step.layer)).collect(),
        contexts: targets::contexts(&request.targets).into_iter().map(Into::into).collect(),
        failed: failure.map(|error| error.step),
    };
    let kept = failure.and_then(|failure| match &*failure.error {
        OpError::Failed { kept, .. } | OpError::Late { kept, .. } => kept.snapshot.as_deref(),
        _ => None,
    });
    scene.keep(store, kept)
}

/// The graph of the targets without building anything.
pub fn graph(request: &BuildRequest, sink: &Sink<'_>) -> Result<Graph, BuildError> {
    let files = targets::parse(request, sink)?;
    let store = Store::open(&request.root, Access::Shared)?;
    Ok(targets::lower(request, &files, &store, &Around::default(), &|_| {})?.graph)
}

/// A warning about the host, not about the Dockerfile.
fn slow_snapshots(reason: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: "no-overlay".into(),
        message: "each RUN worked on a full copy of its files, since overlay is not to be had here".into(),
        labels: Vec::new(),
        notes: vec![reason.to_owned()],
        help: vec![
            "put the store on a file system that overlayfs takes, such as ext4, xfs or btrfs: --root DIR".into(),
        ],
        fixes: Vec::new(),
        source: None,
    }
}

fn warn(warnings: Vec<Diagnostic>, sink: &Sink<'_>) {
    for diagnostic in warnings {
        sink(Event::Diagnostic { diagnostic });
    }
}

#[cfg(test)]
mod tests;
