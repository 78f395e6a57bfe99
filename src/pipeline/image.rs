//! From a solved graph to an image in the store.

use super::caching::{self, Known};
use super::{BuildError, Built, Target};
use crate::base::Digest;
use crate::dockerfile::lower::Template;
use crate::export::assemble::{self, HistoryLine};
use crate::export::{self, images, index, variant as variants};
use crate::graph::{Graph, Op, StepId};
use crate::image::{Platform, annotation};
use crate::store::Store;

/// How many of the layers below a target's root are its base image's.
fn base_layers(graph: &Graph, root: StepId) -> usize {
    let mut step = Some(root);
    while let Some(id) = step {
        match &graph.step(id).op {
            Op::Image(image) => return image.layers.len(),
            _ => step = graph.step(id).base(),
        }
    }
    0
}

/// The result of a target: its image, or for several platforms the index of its images.
pub(super) fn write(
    built: &Built<'_>,
    target: &Target,
    templates: Vec<Template>,
    known: Option<&Known>,
) -> Result<assemble::Written, BuildError> {
    let mut images = Vec::new();
    for template in templates {
        let platform = template.platform.clone();
        let mut image = variant(built, target, template)?;
        image.manifest = annotate(target, built.store, &image.manifest)?;
        image.manifest = caching::carry(built, target, known, &image.manifest)?;
        images.push((platform, image));
    }
    if let [(_, only)] = images[..] {
        return Ok(only);
    }
    let listed: Vec<(Platform, Digest)> =
        images.into_iter().map(|(platform, image)| (platform, image.manifest)).collect();
    let index = index::write(built.store, &listed, annotation::of_index(&target.annotations))?;
    Ok(assemble::Written { id: index, manifest: index })
}

/// Config, manifest and, where times are clamped or layers merged, the layers that they name, for one platform.
fn variant(built: &Built<'_>, target: &Target, template: Template) -> Result<assemble::Written, BuildError> {
    let Built { request, store, trees, graph, solutions, .. } = *built;
    let rootfs = &solutions[template.root.index()].rootfs;
    let (base, own) = rootfs.layers.split_at(base_layers(graph, template.root));
    let mut own = own.to_vec();
    let mut history: Vec<HistoryLine> = template
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
    if let Some(epoch) = target.epoch {
        let clamped = export::clamp_layers(store, &own, epoch, &request.cancel)?;
        let mut renamed = clamped.iter();
        for line in history.iter_mut().filter(|l| l.layer.is_some()) {
            line.layer = renamed.next().copied();
        }
        own = clamped;
    }
    if target.squash && own.len() > 1 {
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
    Ok(assemble::assemble(store, template.config, template.base_history, &history, &layers, target.epoch)?)
}

/// The image of `manifest` with the annotations that the target is told.
fn annotate(target: &Target, store: &Store, manifest: &Digest) -> Result<Digest, BuildError> {
    if target.annotations.is_empty() {
        return Ok(*manifest);
    }
    let platform = images::read(store, manifest)?.config.platform();
    let annotations = annotation::of_manifest(&target.annotations, &platform);
    Ok(variants::annotated(store, manifest, &annotations)?.manifest_digest)
}
