//! What a build says about its images, where it is told to: attached to each manifest, before the image gets its names.

use super::{BuildError, Built, Target, warn};
use crate::attest::provenance::{self, Base, Facts};
use crate::attest::sbom::{self, spdx};
use crate::attest::{Mode, PROVENANCE, SPDX, Statement};
use crate::base::{Digest, clock};
use crate::diag::{Diagnostic, Severity};
use crate::dockerfile::lower::Images;
use crate::export::{Image, StoredImages, images, referrers};
use crate::graph::{CopySource, Op, StepId};
use crate::image::{ImageIndex, Platform, Reference};
use crate::ops::leak::{Masker, Secrets};
use crate::solver::Sink;
use crate::solver::event::Event;
use crate::store::Store;
use serde_json::Value;
use std::collections::BTreeSet;

/// Says of each image of `manifest` (an image's, or an index's) what the target wants said. `roots` are the steps whose
/// root filesystems the images are, in the order of the index.
pub(super) fn attach(
    built: &Built<'_>,
    target: &Target,
    roots: &[StepId],
    names: &[Reference],
    manifest: &Digest,
    sink: &Sink<'_>,
) -> Result<(), BuildError> {
    if target.attest.provenance.is_none() && !target.attest.sbom {
        return Ok(());
    }
    for (root, manifest) in roots.iter().zip(manifests(built.store, manifest)?) {
        let image = images::read(built.store, &manifest)?;
        let about = About { built, target, root: *root, names, platform: image.config.platform() };
        if let Some(mode) = target.attest.provenance {
            about.say(&image, PROVENANCE, about.provenance(mode))?;
        }
        if target.attest.sbom {
            about.say(&image, SPDX, about.sbom(&image, sink)?)?;
        }
    }
    Ok(())
}

/// The manifests of images that a digest leads to.
fn manifests(store: &Store, manifest: &Digest) -> Result<Vec<Digest>, BuildError> {
    Ok(match ImageIndex::from_bytes(&store.read_blob(manifest)?) {
        Ok(index) => index.manifests.iter().filter(|d| d.is_image()).map(|d| d.digest).collect(),
        Err(_) => vec![*manifest],
    })
}

/// One image.
struct About<'a> {
    built: &'a Built<'a>,
    target: &'a Target,
    root: StepId,
    names: &'a [Reference],
    platform: String,
}

impl About<'_> {
    /// Attaches a statement, in place of an earlier one of its kind.
    fn say(&self, image: &Image, predicate_type: &str, predicate: Value) -> Result<(), BuildError> {
        let store = self.built.store;
        let manifest = image.descriptor();
        let statement = Statement::new(predicate_type, predicate, self.names, &self.platform, &manifest);
        let artifact = statement.artifact(&manifest);
        Ok(referrers::replace(store, &image.manifest_digest, std::iter::once(&artifact))?)
    }

    fn provenance(&self, mode: Mode) -> Value {
        let Built { request, store, graph, solutions, began, .. } = *self.built;
        let steps = self.steps();
        let (dockerfile, machine) = (&self.target.dockerfile, Platform::default().to_string());
        let read = |context: &&str| self.reads_context(&steps, context);
        let locals = std::iter::once("context").chain(self.target.contexts.iter().map(|c| c.name.as_str()));
        let bases: Vec<Base> = steps.iter().filter_map(|id| self.base(*id)).collect();
        let now = clock::now();
        let began = now - i64::try_from(began.elapsed().as_secs()).unwrap_or_default();
        let facts = Facts {
            mode,
            dockerfile: &dockerfile.name,
            text: &String::from_utf8_lossy(&dockerfile.bytes),
            target: self.target.stage.as_deref(),
            args: &self.target.build_args,
            labels: &self.target.labels,
            secrets: request.secrets.keys().map(String::as_str).collect(),
            ssh: request.run.ssh.keys().map(String::as_str).collect(),
            locals: locals.filter(read).collect(),
            platform: &self.platform,
            machine: &machine,
            graph,
            steps: &steps,
            solutions,
            bases: &bases,
            times: self.target.epoch.is_none().then_some((began, now)),
        };
        let predicate = facts.predicate(&|key| store.step(key).ok().flatten());
        let secrets = Secrets::new(&request.secrets);
        provenance::masked(predicate, &|text| self.masked(&secrets, text))
    }

    /// `text` without values of secrets; `None`: there are none in it.
    fn masked(&self, secrets: &Secrets, text: &str) -> Option<String> {
        // One that is too short to be looked for everywhere is still not told as a whole.
        let whole = |value: &Vec<u8>| !text.is_empty() && value.trim_ascii_end() == text.as_bytes();
        if self.built.request.secrets.values().any(whole) {
            return Some("***".to_owned());
        }
        let mut masker = Masker::new(secrets);
        let mut shown = masker.push(text.as_bytes());
        shown.extend(masker.finish());
        (shown != text.as_bytes()).then(|| String::from_utf8_lossy(&shown).into_owned())
    }

    /// The steps that the image needs, in order.
    fn steps(&self) -> Vec<StepId> {
        let mut needed: BTreeSet<StepId> = BTreeSet::new();
        let mut ahead = vec![self.root];
        while let Some(id) = ahead.pop() {
            if needed.insert(id) {
                ahead.extend(self.built.graph.step(id).inputs());
            }
        }
        needed.into_iter().collect()
    }

    fn wanted(&self) -> Platform {
        Platform::parse(&self.platform, &Platform::default()).unwrap_or_default()
    }

    /// Whether a step reads the context of this name on this machine.
    fn reads_context(&self, steps: &[StepId], name: &str) -> bool {
        let graph = self.built.graph;
        let named = |source: &CopySource| match source {
            CopySource::Context { context: Some(id), .. } => {
                graph.contexts.get(id.index()).is_some_and(|known| known.as_deref().unwrap_or("context") == name)
            }
            _ => false,
        };
        steps.iter().any(|id| provenance::sources(graph.step(*id)).into_iter().any(named))
    }

    /// The image that a step stands on. Its name may have been given to another since.
    fn base(&self, id: StepId) -> Option<Base> {
        let Op::Image(image) = &self.built.graph.step(id).op else { return None };
        let found = StoredImages::new(self.built.store).find(&image.reference, &self.wanted()).ok();
        let manifest = found.filter(|found| found.config.rootfs.diff_ids == image.layers).map(|found| found.manifest);
        Some(Base { reference: image.reference.clone(), manifest })
    }

    fn sbom(&self, image: &Image, sink: &Sink<'_>) -> Result<Value, BuildError> {
        let Built { trees, began, .. } = *self.built;
        let inventory = sbom::inventory(trees, &images::rootfs(trees, &image.config)?)?;
        let what = format!("bill of materials: {} packages", inventory.packages.len());
        sink(Event::Exporting { what, at: began.elapsed().as_millis() as u64 });
        warn(inventory.gaps.iter().map(|gap| incomplete(gap)).collect(), sink);
        let created = image.config.created.clone().unwrap_or_else(|| clock::rfc3339(0));
        let about = spdx::About {
            name: self.names.first(),
            id: &image.id,
            platform: &self.platform,
            // SPDX has whole seconds.
            created: &clock::parse_rfc3339(&created).map_or(created, clock::rfc3339),
        };
        Ok(spdx::document(&about, &inventory))
    }
}

fn incomplete(gap: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: "sbom-incomplete".into(),
        message: format!("the bill of materials is not complete: {gap}"),
        labels: Vec::new(),
        notes: Vec::new(),
        help: Vec::new(),
        fixes: Vec::new(),
        source: None,
    }
}
