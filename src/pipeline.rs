//! The narrative: from a Dockerfile to a tagged image. `build` reads like the picture in ARCHITECTURE.md.

mod bases;
mod failure;
mod image;
mod output;
pub mod recall;

pub use bases::{Pull, Pulling};
pub use output::{Output, OutputKind, PushedTo};

use crate::base::{Cancel, Digest, IoError};
use crate::container::Scene;
use crate::diag::{Diagnostic, Severity, Source};
use crate::dockerfile::check::{Depth, check};
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::lower::{self, ContextTarget, Lowered, NamedContext};
use crate::dockerfile::{self, Dockerfile};
use crate::export::{ExportError, images};
use crate::graph::{Graph, Network};
use crate::image::Annotation;
use crate::image::reference::{Reference, ReferenceError};
use crate::ops::context::{ContextSpec, Contexts, LocalContext};
use crate::ops::{Cx, OpError, run};
use crate::registry::RegistryError;
use crate::snapshot::{self, Lazy};
use crate::solver::event::{Event, Outcome};
use crate::solver::record::BuiltStep;
use crate::solver::{self, SolveError, Solved};
use crate::store::{Access, Store, StoreError};
use crate::tree::Trees;
use output::Writer;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The Dockerfile's text and name.
#[derive(Clone, Debug)]
pub struct DockerfileInput {
    /// The name to show: the path as the user gave it, or `stdin`.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Its path on the host, if it has one: beside it a `<Dockerfile>.dockerignore` is looked for.
    pub path: Option<PathBuf>,
}

/// A `--build-context`.
#[derive(Clone, Debug)]
pub struct BuildContext {
    /// Its name.
    pub name: String,
    /// What it stands for.
    pub target: ContextTarget,
    /// The directory, for [`ContextTarget::Directory`].
    pub dir: Option<PathBuf>,
}

/// All that a build is told.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Store root.
    pub root: PathBuf,
    /// The Dockerfile.
    pub dockerfile: DockerfileInput,
    /// The main context's directory; `None`: none (`build -`).
    pub context: Option<PathBuf>,
    /// `--build-context`.
    pub contexts: Vec<BuildContext>,
    /// `-t`, in order.
    pub tags: Vec<String>,
    /// `--target`.
    pub target: Option<String>,
    /// `--build-arg`, values resolved.
    pub build_args: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--secret`, contents by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// `--ssh`, `--retry`, `--timeout`, `--allow secret-in-layer`.
    pub run: run::Policy,
    /// `--allow security.insecure`.
    pub allow_insecure: bool,
    /// `--network`.
    pub network: Network,
    /// `--pull`, and how registries are reached.
    pub pulling: Pulling,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--explain`: tell why steps miss the cache.
    pub explain: bool,
    /// `--jobs`; `None`: [`crate::solver::default_jobs`].
    pub jobs: Option<usize>,
    /// `--snapshotter`.
    pub snapshotter: snapshot::Choice,
    /// `-o`, `--push`.
    pub outputs: Vec<Output>,
    /// `--annotation`.
    pub annotations: Vec<Annotation>,
    /// `--squash`: the build's own layers become one.
    pub squash: bool,
    /// SOURCE_DATE_EPOCH or `--reproducible`: no time in the image is later than this.
    pub epoch: Option<i64>,
    /// Stop flag, set by signals.
    pub cancel: Cancel,
}

/// What a build yields.
#[derive(Clone, Debug)]
pub struct BuildResult {
    /// Digest of the config.
    pub id: Digest,
    /// Digest of the manifest.
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
    /// Stopped by a signal.
    #[error("interrupted")]
    Interrupted,
}

fn name(diagnostics: &[Diagnostic]) -> &str {
    diagnostics.iter().find_map(|d| d.source.as_ref()).map_or("the Dockerfile", Source::name)
}

/// Builds. Events go to `sink` from any thread.
pub fn build(request: &BuildRequest, sink: &solver::Sink<'_>) -> Result<BuildResult, BuildError> {
    let began = Instant::now();
    output::check(request)?;
    let tags = request.tags.iter().map(|t| t.parse()).collect::<Result<Vec<Reference>, _>>()?;
    let file = parse(&request.dockerfile, sink)?;
    let store = Store::open(&request.root, Access::Shared)?;
    let trees = Trees::new(&store);
    let contexts = Contexts::open(&store, context_specs(request))?;
    let ignore = contexts.get(None).map(LocalContext::ignore);
    let lowered = lower(request, &file, &store, ignore, sink)?;
    let snapshotter = Lazy::new(request.snapshotter);
    // A failed step stops the others by this flag, which is not the caller's: that one says "interrupted".
    let stop = request.cancel.child();
    let cx = Cx {
        store: &store,
        trees: &trees,
        snapshotter: &snapshotter,
        contexts: &contexts,
        secrets: &request.secrets,
        run: &request.run,
        cancel: &stop,
    };
    let project = recall::project(request);
    let options = recall::options(request, &store, &project)?;
    let solved = solver::solve(&lowered.graph, &cx, &options, began, sink);
    if let Some(reason) = snapshotter.refusal() {
        warn(vec![slow_snapshots(reason)], sink);
    }
    // Hashes that were computed stay useful whether or not the build came through.
    contexts.save()?;
    let told = (&lowered.graph, &file.source);
    let kept = keep_scene(&store, request, &lowered.graph, &solved);
    let remembered = recall::remember(&store, project, options.last.as_ref(), solved.steps, told);
    let solutions = solved.result.map_err(|error| failure::of_step(error, &lowered.graph, &file.source))?;
    remembered?;
    kept?;
    let mut image = image::write(request, &store, &trees, lowered, &solutions)?;
    image.manifest = image::annotate(request, &store, &image.manifest)?;
    for tag in &tags {
        images::tag(&store, &image.manifest, tag)?;
    }
    let at = began.elapsed().as_millis() as u64;
    let names: Vec<String> = tags.iter().map(ToString::to_string).collect();
    sink(Event::Image { id: image.id, manifest: image.manifest, names: names.clone(), at });
    let tell = |what: &str| sink(Event::Exporting { what: what.to_owned(), at: began.elapsed().as_millis() as u64 });
    let writer = Writer { request, store: &store, tags: &tags, tell: &tell };
    let mut pushed = Vec::new();
    for output in &request.outputs {
        pushed.extend(writer.write(output, &image.manifest)?);
    }
    if tags.is_empty() && request.outputs.iter().all(|o| o.kind == OutputKind::Image && o.names.is_empty()) {
        images::keep(&store, &image.manifest)?;
    }
    Ok(BuildResult { id: image.id, manifest: image.manifest, names, pushed })
}

/// Keeps what `rbuild shell` needs to know of this build.
fn keep_scene(store: &Store, request: &BuildRequest, graph: &Graph, solved: &Solved) -> Result<(), StoreError> {
    let success =
        |step: &BuiltStep| matches!(step.outcome, Outcome::Cached | Outcome::Shared | Outcome::Ran | Outcome::Same);
    let failure = solved.result.as_ref().err();
    let scene = Scene {
        graph: graph.clone(),
        done: solved.steps.iter().map(|step| success(step).then_some(step.layer)).collect(),
        contexts: context_specs(request).into_iter().map(Into::into).collect(),
        failed: failure.map(|error| error.step),
    };
    let kept = failure.and_then(|failure| match &*failure.error {
        OpError::Failed { kept, .. } | OpError::Late { kept, .. } => kept.snapshot.as_deref(),
        _ => None,
    });
    scene.keep(store, kept)
}

/// The graph of a Dockerfile without building anything.
pub fn graph(request: &BuildRequest, sink: &solver::Sink<'_>) -> Result<Graph, BuildError> {
    let file = parse(&request.dockerfile, sink)?;
    let store = Store::open(&request.root, Access::Shared)?;
    Ok(lower(request, &file, &store, None, &|_| {})?.graph)
}

fn parse(input: &DockerfileInput, sink: &solver::Sink<'_>) -> Result<Dockerfile, BuildError> {
    let source = dockerfile::text::source(&input.name, &input.bytes).map_err(|e| BuildError::Dockerfile(vec![*e]))?;
    let (file, warnings) = dockerfile::parse(&source).map_err(BuildError::Dockerfile)?;
    warn(warnings, sink);
    Ok(file)
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

fn warn(warnings: Vec<Diagnostic>, sink: &solver::Sink<'_>) {
    for diagnostic in warnings {
        sink(Event::Diagnostic { diagnostic });
    }
}

/// Lowers the file, and passes on what the build checks find in it.
fn lower(
    request: &BuildRequest,
    file: &Dockerfile,
    store: &Store,
    ignore: Option<&Ignore>,
    sink: &solver::Sink<'_>,
) -> Result<Lowered, BuildError> {
    let contexts = request.contexts.iter();
    let options = lower::Options {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        contexts: contexts.map(|c| NamedContext { name: c.name.clone(), target: c.target.clone() }).collect(),
        labels: request.labels.clone(),
        network: request.network,
        allow_insecure: request.allow_insecure,
        ..Default::default()
    };
    let images = bases::Bases::new(store, &request.pulling, &request.cancel, sink);
    let lowered = dockerfile::lower(file, &options, &images);
    if request.cancel.is_set() {
        return Err(BuildError::Interrupted);
    }
    let mut lowered = lowered.map_err(BuildError::Dockerfile)?;
    let (errors, warnings) =
        check(file, &options, &images, ignore, Depth::Build).into_iter().partition::<Vec<_>, _>(Diagnostic::is_error);
    if !errors.is_empty() {
        return Err(BuildError::Dockerfile(errors));
    }
    lowered.warnings.extend(warnings);
    lowered.warnings.sort_by_key(|d| d.labels.first().map(|label| label.span));
    warn(std::mem::take(&mut lowered.warnings), sink);
    Ok(lowered)
}

fn context_specs(request: &BuildRequest) -> Vec<ContextSpec> {
    let main = request.context.iter().map(|dir| ContextSpec {
        name: None,
        dir: dir.clone(),
        ignore_file: ignore_file(request),
    });
    let named = request.contexts.iter().filter_map(|context| {
        let dir = context.dir.clone()?;
        let ignore_file = Some(dir.join(".dockerignore")).filter(|p| p.is_file());
        Some(ContextSpec { name: Some(context.name.clone()), dir, ignore_file })
    });
    main.chain(named).collect()
}

/// The ignore file of the main context: the one named after the Dockerfile and beside it, else the context's own.
pub fn ignore_file(request: &BuildRequest) -> Option<PathBuf> {
    let own = request.dockerfile.path.as_deref().map(|path| append(path, ".dockerignore"));
    let general = request.context.as_deref()?.join(".dockerignore");
    own.into_iter().chain([general]).find(|path| path.is_file())
}

fn append(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
