//! Caches outside the store, around a build: what they know is asked while steps are solved, what the result needs of
//! their layers is fetched after, and what the build knows is written to them at the end.

use super::{BuildError, BuildRequest, Built, Target, warn};
use crate::base::{Digest, parallel};
use crate::cache::document::Record;
use crate::cache::spec::{self, Mode, Reach, To};
use crate::cache::{Content, Exporter, Imports, Keys, inline};
use crate::diag::{Diagnostic, Severity};
use crate::dockerfile::lower::Template;
use crate::export::images;
use crate::graph::{Graph, Op, StepId};
use crate::image::{Manifest, Reference};
use crate::ops::Cx;
use crate::registry::lazy::Promised;
use crate::solver::event::Event;
use crate::solver::{self, Options, Solution, SolveError, Solved};
use crate::store::{Store, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// Layers of the result that are fetched at once.
const WORKERS: usize = 6;

/// `--cache-from`, `--cache-key`.
#[derive(Clone, Debug, Default)]
pub struct Caching {
    /// Asked in this order.
    pub from: Vec<spec::From>,
    /// Whose records are believed, and who signs.
    pub keys: Arc<Keys>,
}

/// The caches that a build asks; `None`: no `--cache-from`.
pub(super) fn imports(request: &BuildRequest) -> Option<Imports> {
    let Caching { from, keys, .. } = &request.caching;
    if from.is_empty() || request.no_cache {
        return None;
    }
    let reach = reach(request);
    let places = from.iter().map(|from| from.0.place(false, &reach)).collect();
    Some(Imports::new(places, keys, &request.cancel))
}

fn reach(request: &BuildRequest) -> Reach {
    let pulling = &request.pulling;
    let platforms: BTreeSet<_> = request.targets.iter().flat_map(super::Target::all_platforms).collect();
    Reach {
        settings: pulling.settings.clone(),
        keyring: pulling.keyring.clone(),
        platforms: platforms.into_iter().collect(),
        cancel: request.cancel.clone(),
    }
}

/// Solves the graph (`cx.cancel`: interrupted by the user), and has the layers of its result fetched that only a cache has. A layer that turns out not to be
/// what its cache promised is promised no more, and the graph is solved again: steps that are done are hits then.
pub(super) fn solve(
    graph: &Graph,
    cx: &Cx<'_>,
    options: &Options,
    imports: Option<&Imports>,
    began: Instant,
    sink: &solver::Sink<'_>,
) -> Solved {
    let interrupt = cx.cancel;
    loop {
        // A failed step stops the others by this flag, which is not the caller's: that one says "interrupted".
        let stop = interrupt.child();
        let cx = Cx { cancel: &stop, ..*cx };
        let solved = solver::solve(graph, &cx, options, began, sink);
        let Some(imports) = imports else { return solved };
        let mut failed = None;
        if let Ok(solutions) = &solved.result {
            let results = graph.targets.iter().map(|target| &solutions[target.index()].rootfs);
            let layers: BTreeSet<Digest> = results.flat_map(|rootfs| &rootfs.layers).copied().collect();
            failed = fetch(cx.store, &layers, began, sink).err();
        }
        let broken = cx.store.take_broken();
        // A layer of a base image comes from nowhere else.
        let lost = graph.steps.iter().find(|step| match &step.op {
            Op::Image(image) => broken.iter().any(|l| image.layers.contains(l) && !is_here(cx.store, l)),
            _ => false,
        });
        if let (Some(step), Some(error)) = (lost, failed) {
            let error = SolveError { step: step.id, label: step.label.clone(), error: Box::new(error.into()) };
            return Solved { result: Err(error), ..solved };
        }
        if broken.is_empty() || lost.is_some() || interrupt.is_set() {
            return solved;
        }
        cx.trees.forget_promised();
        imports.forget();
    }
}

fn is_here(store: &Store, layer: &Digest) -> bool {
    matches!(store.held_layer(layer), Ok(Some(_)))
}

fn fetch(store: &Store, layers: &BTreeSet<Digest>, began: Instant, sink: &solver::Sink<'_>) -> Result<(), StoreError> {
    let absent: Vec<&Digest> = layers.iter().filter(|layer| store.promised_index(layer).is_some()).collect();
    if !absent.is_empty() {
        let what = format!("fetching {}", count(absent.len() as u64, "layer"));
        sink(Event::Exporting { what, at: began.elapsed().as_millis() as u64 });
    }
    parallel::try_map(WORKERS, &absent, |layer| store.materialise(layer)).map(drop)
}

/// Keeps the records of steps that came from a cache and whose layers the store has now.
pub(super) fn record(store: &Store, solutions: &[Solution]) -> Result<(), StoreError> {
    for record in solutions.iter().filter_map(|solution| solution.unrecorded.as_ref()) {
        if record.layer.is_some_and(|layer| is_here(store, &layer)) {
            store.put_step(record)?;
        }
    }
    Ok(())
}

/// Names the images that were promised and whose layers are all here now, as if they had been pulled.
pub(super) fn name_bases(store: &Store, promised: &[(Reference, Promised)]) -> Result<(), BuildError> {
    for (name, Promised { manifest, layers }) in promised {
        if layers.iter().all(|layer| is_here(store, layer)) {
            match name.digest {
                Some(_) => images::pin(store, manifest, name)?,
                None => images::tag(store, manifest, name)?,
            };
        }
    }
    Ok(())
}

/// Tells what came of the caches that were asked.
pub(super) fn tell(imports: &Imports, began: Instant, sink: &solver::Sink<'_>) {
    for told in imports.told() {
        let mut texts = Vec::new();
        if told.absent {
            texts.push(format!("no cache is at {} yet", told.name));
        } else if told.requests > 0 {
            let (steps, layers) = (count(told.hits, "step"), count(told.layers, "layer"));
            let requests = count(told.requests, "request");
            texts.push(format!("cache {}: {steps}, {layers}; {} bytes in {requests}", told.name, told.bytes));
        }
        if told.unsigned > 0 {
            let lists = count(told.unsigned, "list");
            texts.push(format!("cache {}: {lists} not signed by a key of --cache-key, not used", told.name));
        }
        for what in texts {
            sink(Event::Exporting { what, at: began.elapsed().as_millis() as u64 });
        }
        if let Some((first, number)) = told.trouble {
            let more = if number > 1 { format!(" (and {} more)", number - 1) } else { String::new() };
            let message = format!("cache {} is used as far as it is sound: {first}{more}", told.name);
            warn(vec![warning("cache-import", message)], sink);
        }
    }
}

/// `1 step`, `2 steps`.
fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn warning(code: &str, message: String) -> Diagnostic {
    let (labels, notes, help, fixes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Diagnostic { severity: Severity::Warning, code: code.into(), message, labels, notes, help, fixes, source: None }
}

/// What a target's build knows that others may want.
#[derive(Debug)]
pub(super) struct Known {
    all: Content,
    /// Of the steps whose layers are in the result.
    result: Content,
}

/// What is known of the steps that a target needed; `None`: nobody wants to know.
pub(super) fn known(built: &Built<'_>, target: &Target, images: &[Template]) -> Option<Known> {
    if target.cache_to.is_empty() {
        return None;
    }
    let Built { graph, solutions, .. } = *built;
    let mut needed: BTreeSet<StepId> = BTreeSet::new();
    let mut ahead: Vec<StepId> = images.iter().map(|image| image.root).collect();
    while let Some(id) = ahead.pop() {
        if needed.insert(id) {
            ahead.extend(graph.step(id).inputs());
        }
    }
    let result: BTreeSet<&Digest> =
        images.iter().flat_map(|image| &solutions[image.root.index()].rootfs.layers).collect();
    let mut all = Content::default();
    for id in needed {
        let (step, solution) = (graph.step(id), &solutions[id.index()]);
        if let Op::Image(image) = &step.op {
            all.bases.extend(&image.layers);
        }
        let Solution { layer: Some(layer), key: Some(key), rootfs, .. } = solution else { continue };
        all.records.push(Record {
            key: *key,
            layer: *layer,
            tree: rootfs.tree,
            created: solution.ran.unwrap_or_default(),
            millis: solution.millis.unwrap_or_default(),
            label: step.label.clone(),
            place: solver::place(step),
            used: 0,
        });
    }
    let in_result = |record: &&Record| result.contains(&record.layer);
    let result = Content { records: all.records.iter().filter(in_result).cloned().collect(), bases: Vec::new() };
    Some(Known { all, result })
}

/// Puts the records of the result into its manifest, if that is asked for; the digest of the manifest.
pub(super) fn carry(
    built: &Built<'_>,
    target: &Target,
    known: Option<&Known>,
    manifest: &Digest,
) -> Result<Digest, BuildError> {
    let Built { request, store, .. } = *built;
    let Some(known) = known.filter(|_| target.cache_to.contains(&To::Inline)) else { return Ok(*manifest) };
    let bytes = store.read_blob(manifest)?;
    let invalid =
        |e: crate::image::DocumentError| StoreError::Damaged { path: store.blob_path(manifest), reason: e.to_string() };
    let mut document = Manifest::from_bytes(&bytes).map_err(invalid)?;
    let diff_ids = document.layers.iter().map(|d| d.digest).collect();
    let carried = inline::carry(store, &known.result, diff_ids, &request.caching.keys)?;
    document.annotations.insert(inline::ANNOTATION.to_owned(), carried.encode());
    Ok(store.put_blob(&document.to_bytes())?)
}

/// Writes the caches of `--cache-to`.
pub(super) fn export(
    built: &Built<'_>,
    target: &Target,
    known: Option<&Known>,
    sink: &solver::Sink<'_>,
) -> Result<(), BuildError> {
    let Built { request, store, began, .. } = *built;
    let Some(known) = known else { return Ok(()) };
    let tell = |what: String| sink(Event::Exporting { what, at: began.elapsed().as_millis() as u64 });
    let reach = reach(request);
    for to in &target.cache_to {
        let To::Place(target) = to else { continue };
        tell(format!("writing cache {}", target.location));
        let place = target.location.place(true, &reach);
        let exporter = Exporter::new(store, &*place, target.packing, &request.caching.keys, &request.cancel);
        let content = if target.mode == Mode::Max { &known.all } else { &known.result };
        match exporter.export(content) {
            Ok(done) => {
                let (steps, blobs) = (count(done.records as u64, "step"), count(done.sent, "blob"));
                let text = format!("{steps}, {} new; {blobs} sent, {} bytes", done.new, done.bytes);
                tell(format!("cache {}: {text}", target.location));
            }
            Err(_) if request.cancel.is_set() => return Err(BuildError::Interrupted),
            Err(error) if target.ignore_error => {
                warn(
                    vec![warning("cache-export", format!("cache {} was not written: {error}", target.location))],
                    sink,
                );
            }
            Err(error) => return Err(BuildError::Cache(error)),
        }
    }
    Ok(())
}
