//! AST → graph and config template.
//!
//! [`lower`] is the narrative: stages are collected, the target is found, a plan tells which stages it needs, and
//! those are walked instruction by instruction ([`walk`]), each changing a [`state::State`] (config template, scope,
//! root filesystem so far, history) and maybe adding a step to the graph. Stages that nothing needs, and stages whose
//! base is missing, are walked as a rehearsal on a graph that is thrown away, so that their mistakes are told too.

mod chmod;
mod copy;
mod expose;
mod globals;
mod health;
mod history;
mod images;
mod meta;
mod mounts;
mod path;
mod plan;
pub mod remote;
mod run;
pub(super) mod scope;
mod signal;
pub(super) mod site;
pub(super) mod stages;
mod state;
#[cfg(test)]
mod tests;
pub(super) mod walk;

use super::ast::Dockerfile;
use crate::base::Digest;
use crate::diag::Diagnostic;
use crate::graph::{ContextId, Graph, Network, Remote, StepId, Surroundings};
use crate::image::Platform;
use crate::image::config::{History, ImageConfig};
use state::State;
use std::collections::BTreeMap;

/// What the caller decides.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--target`: stage name or index; `None`: the last.
    pub target: Option<String>,
    /// `--build-arg`, values resolved (`K` alone takes it from the caller's environment, and is absent if unset there).
    pub build_args: BTreeMap<String, String>,
    /// The main build context, if there is one.
    pub context: Option<ContextId>,
    /// `--build-context` names.
    pub contexts: Vec<NamedContext>,
    /// `--label`, applied last.
    pub labels: BTreeMap<String, String>,
    /// `--network` default for RUN.
    pub network: Network,
    /// `--add-host`, `--shm-size`, `--ulimit`.
    pub surroundings: Surroundings,
    /// `--allow security.insecure`.
    pub allow_insecure: bool,
    /// The platform to build for.
    pub platform: Platform,
    /// The platform that builds: the host's.
    pub build_platform: Platform,
    /// The steps of the targets that were lowered before; the new ones are added to them. Its contexts are named.
    pub graph: Graph,
    /// What the targets before come to: for each the images of its platforms.
    pub others: Vec<Vec<Template>>,
    /// What tells the target's steps from those of others in their labels: `app`, `linux/arm64`; may be empty.
    pub title: String,
}

/// A `--build-context name=…`.
#[derive(Clone, Debug)]
pub struct NamedContext {
    /// Its name.
    pub name: String,
    /// What it stands for.
    pub target: ContextTarget,
}

/// What a named context stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextTarget {
    /// A local directory (its path is the caller's business).
    Directory(ContextId),
    /// A stored image (`docker-image://ref` or a plain stored reference).
    Image(String),
    /// Files on the network.
    Remote(Remote),
    /// The result of another target of the same build: its place in [`Options::others`].
    Target(usize),
}

/// A base image, found.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// As asked for.
    pub reference: String,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Its config, whole (`rootfs` and `history` included).
    pub config: ImageConfig,
}

/// Finds images for FROM, `COPY --from` and mounts. `Err`: a reason and a way out, to be told at the place that named it.
pub trait Images {
    /// Looks up `reference`, e.g. `ops-nginx`, `debian:12@sha256:…`, and of an index the image for `platform`.
    fn find(&self, reference: &str, platform: &Platform) -> Result<BaseImage, NotFound>;
}

/// The code of the diagnostic about an image that may be there but could not be had.
pub const PULL_FAILED: &str = "image-pull-failed";

/// An image that is not there.
#[derive(Clone, Debug, Default)]
pub struct NotFound {
    /// Whether it may be there, and the way to it failed.
    pub unreachable: bool,
    /// The code and the whole text of a diagnostic in place of the usual ones: the image may not be used.
    pub refused: Option<(&'static str, String)>,
    /// Why, as a sentence without full stop.
    pub reason: String,
    /// Facts.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Vec<String>,
}

/// One history line of the target and the step that made its layer.
#[derive(Clone, Debug)]
pub struct HistoryItem {
    /// `created_by`, e.g. `RUN /bin/sh -c make # buildkit`.
    pub created_by: String,
    /// The step whose layer it is; `None`: `empty_layer`.
    pub step: Option<StepId>,
}

/// An image as far as it is known before its steps are solved.
#[derive(Clone, Debug)]
pub struct Template {
    /// The step whose root filesystem is the image's.
    pub root: StepId,
    /// What it was asked for; what its programs are for its config says.
    pub platform: Platform,
    /// The config without `rootfs`, `history` and `created`.
    pub config: ImageConfig,
    /// History of the base image, then one item per instruction of the target's stages.
    pub base_history: Vec<History>,
    /// What this build adds.
    pub history: Vec<HistoryItem>,
}

/// A lowered Dockerfile.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// [`Options::graph`] and the steps that the target needs.
    pub graph: Graph,
    /// The target's image.
    pub image: Template,
    /// Warnings.
    pub warnings: Vec<Diagnostic>,
}

/// Lowers a parsed file to the steps that the target needs, its config template and its history.
///
/// # Errors
/// All mistakes that can be told apart, in the order of the file; nothing is skipped: what rbuild does not support is
/// an error that names it.
pub fn lower(file: &Dockerfile, options: &Options, images: &dyn Images) -> Result<Lowered, Vec<Diagnostic>> {
    let mut walk = walk::Walk::new(file, options, images)?;
    let target = walk.target()?;
    let states = walk.stages(target);
    let (errors, warnings): (Vec<_>, Vec<_>) = walk.diagnostics.drain(..).partition(Diagnostic::is_error);
    let state = match states.into_iter().nth(target) {
        Some(state) if errors.is_empty() => state,
        _ => return Err(errors),
    };
    let mut config = state.config;
    if !options.labels.is_empty() {
        let labels = config.config.labels.get_or_insert_default();
        labels.extend(options.labels.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
    let mut graph = walk.graph;
    graph.targets.push(state.root);
    let State { root, base_history, history, .. } = state;
    let image = Template { root, platform: options.platform.clone(), config, base_history, history };
    Ok(Lowered { graph, image, warnings })
}
