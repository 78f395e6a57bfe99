//! The narrative: from a Dockerfile to a tagged image. `build` reads like the picture in ARCHITECTURE.md.

use crate::base::{Cancel, Digest};
use crate::diag::Diagnostic;
use crate::dockerfile::lower::ContextTarget;
use crate::graph::Network;
use crate::snapshot;
use std::collections::BTreeMap;
use std::path::PathBuf;

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

/// Where a result goes besides the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// In which form.
    pub kind: OutputKind,
    /// File or directory; `None`: standard output.
    pub dest: Option<PathBuf>,
    /// For `oci`: one tar file (true) or a directory layout.
    pub tar: bool,
}

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// OCI layout.
    Oci,
    /// Docker archive.
    Docker,
    /// The root filesystem as one tar.
    Tar,
    /// The root filesystem as files in a directory.
    Local,
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
    /// `--network`.
    pub network: Network,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--jobs`; `None`: [`crate::solver::default_jobs`].
    pub jobs: Option<usize>,
    /// `--snapshotter`.
    pub snapshotter: snapshot::Choice,
    /// `-o`.
    pub outputs: Vec<Output>,
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
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile is not valid, or names what is not there.
    #[error("the Dockerfile has {} error{}", .0.iter().filter(|d| d.is_error()).count(), if .0.len() == 1 { "" } else { "s" })]
    Dockerfile(Vec<Diagnostic>),
}
