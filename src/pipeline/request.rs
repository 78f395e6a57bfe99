//! What a build is told: its targets, and what they share.

use super::inputs::InputPolicy;
use super::{Caching, Output, Pulling};
use crate::attest;
use crate::base::Cancel;
use crate::cache;
use crate::graph::{Network, Remote, Surroundings};
use crate::image::reference::{Reference, ReferenceError};
use crate::image::{Annotation, Platform};
use crate::ops::context::ContextSpec;
use crate::ops::run;
use crate::snapshot;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    pub origin: Origin,
}

/// What a `--build-context` stands for.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A directory here.
    Directory(PathBuf),
    /// An image, of the store or of a registry.
    Image(String),
    /// Files on the network.
    Remote(Remote),
    /// What another target of the same build comes to: its place in [`BuildRequest::targets`], before this one's.
    Target(usize),
}

/// One image to build, for one platform or several.
#[derive(Clone, Debug)]
pub struct Target {
    /// What tells its steps from those of the other targets; not shown if it is the only one.
    pub name: String,
    /// The Dockerfile.
    pub dockerfile: DockerfileInput,
    /// The main context's directory; `None`: none (`build -`).
    pub context: Option<PathBuf>,
    /// `--build-context`.
    pub contexts: Vec<BuildContext>,
    /// `--target`.
    pub stage: Option<String>,
    /// `--platform`; none: the host's.
    pub platforms: Vec<Platform>,
    /// `--build-arg`, values resolved.
    pub build_args: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--network`.
    pub network: Network,
    /// `--add-host`, `--shm-size`, `--ulimit`.
    pub surroundings: Surroundings,
    /// `--allow security.insecure`.
    pub allow_insecure: bool,
    /// What its lock file says, `--locked`, `--offline`, `--vendor`.
    pub inputs: InputPolicy,
    /// `-t`, in order.
    pub tags: Vec<String>,
    /// `-o`, `--push`.
    pub outputs: Vec<Output>,
    /// `--cache-to`.
    pub cache_to: Vec<cache::spec::To>,
    /// `--annotation`.
    pub annotations: Vec<Annotation>,
    /// `--provenance`, `--sbom`, `--attest`.
    pub attest: attest::Wanted,
    /// `--squash`: the build's own layers become one.
    pub squash: bool,
    /// SOURCE_DATE_EPOCH or `--reproducible`: no time in the image is later than this.
    pub epoch: Option<i64>,
    /// Whether it comes to an image; otherwise only other targets use what it comes to.
    pub yields_image: bool,
}

/// All that a build is told.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Store root.
    pub root: PathBuf,
    /// What is built, as one graph; a target stands after those that its contexts name.
    pub targets: Vec<Target>,
    /// `--secret`, contents by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// `--ssh`, `--retry`, `--timeout`, `--allow secret-in-layer`.
    pub run: run::Policy,
    /// `--pull`, and how registries are reached.
    pub pulling: Pulling,
    /// `--cache-from`, `--cache-key`.
    pub caching: Caching,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--explain`: tell why steps miss the cache.
    pub explain: bool,
    /// `--jobs`; `None`: [`crate::solver::default_jobs`].
    pub jobs: Option<usize>,
    /// `--snapshotter`.
    pub snapshotter: snapshot::Choice,
    /// Stop flag, set by signals.
    pub cancel: Cancel,
}

impl Target {
    /// A Dockerfile, the context it stands in if there is one, and nothing else told.
    pub fn new(dockerfile: DockerfileInput, context: Option<PathBuf>) -> Target {
        Target {
            name: String::new(),
            dockerfile,
            context,
            contexts: Vec::new(),
            stage: None,
            platforms: Vec::new(),
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            network: Network::default(),
            surroundings: Surroundings::default(),
            allow_insecure: false,
            inputs: InputPolicy::default(),
            tags: Vec::new(),
            outputs: Vec::new(),
            cache_to: Vec::new(),
            annotations: Vec::new(),
            attest: attest::Wanted::default(),
            squash: false,
            epoch: None,
            yields_image: true,
        }
    }

    /// The names that its image gets.
    pub(super) fn references(&self) -> Result<Vec<Reference>, ReferenceError> {
        self.tags.iter().map(|tag| tag.parse()).collect()
    }

    /// The platforms it is built for; never none.
    pub fn all_platforms(&self) -> Vec<Platform> {
        if self.platforms.is_empty() { vec![Platform::default()] } else { self.platforms.clone() }
    }

    /// The ignore file of the main context: the one named after the Dockerfile and beside it, else the context's own.
    pub fn ignore_file(&self) -> Option<PathBuf> {
        let own = self.dockerfile.path.as_deref().map(|path| append(path, ".dockerignore"));
        let general = self.context.as_deref()?.join(".dockerignore");
        own.into_iter().chain([general]).find(|path| path.is_file())
    }

    /// The main context, as it is to be opened.
    pub(super) fn main_context(&self) -> Option<ContextSpec> {
        let dir = self.context.clone()?;
        Some(ContextSpec { name: None, dir, ignore_file: self.ignore_file() })
    }
}

impl BuildContext {
    /// How it is to be opened, if it is a directory.
    pub(super) fn spec(&self) -> Option<ContextSpec> {
        let Origin::Directory(dir) = &self.origin else { return None };
        let ignore_file = Some(dir.join(".dockerignore")).filter(|p| p.is_file());
        Some(ContextSpec { name: Some(self.name.clone()), dir: dir.clone(), ignore_file })
    }
}

fn append(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
