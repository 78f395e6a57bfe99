//! From a solved graph to an image in the store.

use super::{BuildError, BuildRequest};
use crate::base::Digest;
use crate::dockerfile::lower::Lowered;
use crate::export::assemble::{self, HistoryLine};
use crate::export::{self, images, variant};
use crate::graph::{Graph, Op};
use crate::image::annotation;
use crate::solver::Solution;
use crate::store::Store;
use crate::tree::Trees;

/// How many of the target's layers are its base image's.
fn base_layers(graph: &Graph) -> usize {
    let mut step = graph.target;
    while let Some(id) = step {
        match &graph.step(id).op {
            Op::Image(image) => return image.layers.len(),
            _ => step = graph.step(id).base(),
        }
    }
    0
}

/// Config, manifest and, where times are clamped or layers merged, the layers that they name.
pub(super) fn write(
    request: &BuildRequest,
    store: &Store,
    trees: &Trees<'_>,
    lowered: Lowered,
    solutions: &[Solution],
) -> Result<assemble::Written, BuildError> {
    let Some(target) = lowered.graph.target else { return Err(BuildError::Interrupted) };
    let rootfs = &solutions[target.index()].rootfs;
    let (base, own) = rootfs.layers.split_at(base_layers(&lowered.graph));
    let mut own = own.to_vec();
    let mut history: Vec<HistoryLine> = lowered
        .history
        .into_iter()
        .map(|item| {
            let solution = item.step.map(|s| &solutions[s.index()]);
            HistoryLine {
                created_by: item.created_by,
                layer: solution.and_then(|s| s.layer),
                created: solution.and_then(|s| s.created),
            }
        })
        .collect();
    if let Some(epoch) = request.epoch {
        let clamped = export::clamp_layers(store, &own, epoch, &request.cancel)?;
        let mut renamed = clamped.iter();
        for line in history.iter_mut().filter(|l| l.layer.is_some()) {
            line.layer = renamed.next().copied();
        }
        own = clamped;
    }
    if request.squash && own.len() > 1 {
        let merged = export::squash(store, trees, base, &own, &request.cancel)?;
        own = vec![merged];
        let mut created = None;
        for line in &mut history {
            created = created.max(line.created);
            line.layer = None;
        }
        history.push(HistoryLine { created_by: "rbuild --squash".into(), layer: Some(merged), created });
    }
    let layers: Vec<Digest> = base.iter().copied().chain(own).collect();
    Ok(assemble::assemble(store, lowered.config, lowered.base_history, &history, &layers, request.epoch)?)
}

/// The image of `manifest` with the annotations that the build is told.
pub(super) fn annotate(request: &BuildRequest, store: &Store, manifest: &Digest) -> Result<Digest, BuildError> {
    if request.annotations.is_empty() {
        return Ok(*manifest);
    }
    let platform = images::read(store, manifest)?.config.platform();
    let annotations = annotation::of_manifest(&request.annotations, &platform);
    Ok(variant::annotated(store, manifest, &annotations)?.manifest_digest)
}
