//! The step graph: what to do and on what, as pure data. Knows no grammar and no host path.
//!
//! A step yields one root filesystem (a stack of layers and the merged tree they make). An edge is a step's use of
//! another's result, either as the base it builds on or as a source it reads from. Steps stand in topological order:
//! a step only refers to steps before it.

pub mod dump;
pub mod remote;
mod share;
pub mod surroundings;

pub use remote::{GitSource, HttpSource, Remote};
pub use surroundings::{Limit, Resource, Surroundings};

use crate::diag::Span;
use crate::image::Platform;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Index of a step in [`Graph::steps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u32);

impl StepId {
    /// As a vector index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// All steps that the targets of a build need, in topological order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Graph {
    /// The steps; `steps[i].id.index() == i`.
    pub steps: Vec<Step>,
    /// The build contexts that they may read.
    pub contexts: Vec<ContextName>,
    /// The steps whose root filesystems are the targets', in the order of the targets.
    pub targets: Vec<StepId>,
}

/// Index of a build context in [`Graph::contexts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContextId(pub u32);

impl ContextId {
    /// As a vector index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a build context is called: the name of a `--build-context`; `None`: a target's main one.
pub type ContextName = Option<String>;

/// One vertex.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Its own index.
    pub id: StepId,
    /// What it does.
    pub op: Op,
    /// What to call it: `[builder 2/5] RUN make` (stage name or index, position in the stage, instruction).
    pub label: String,
    /// The stage it belongs to: name, or `stage-N`.
    pub stage: String,
    /// The instruction in the Dockerfile that made it, for messages.
    pub span: Option<Span>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Op {
    /// The empty root filesystem.
    Scratch,
    /// The root filesystem of a stored image.
    Image(ImageOp),
    /// Files from the network, as a root filesystem of their own.
    Fetch(Remote),
    /// Files into the root filesystem (COPY, ADD).
    Copy(CopyOp),
    /// A process on the root filesystem (RUN).
    Run(Box<RunOp>),
    /// A directory made if missing (WORKDIR).
    Mkdir(MkdirOp),
}

/// The source of an image's root filesystem. Resolved while the graph is made, so that it is fixed by content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageOp {
    /// As the Dockerfile names it, for messages.
    pub reference: String,
    /// diffIDs of its layers, bottom first (OCI config `rootfs.diff_ids`).
    pub layers: Vec<crate::base::Digest>,
}

/// COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CopyOp {
    /// The root filesystem copied onto.
    pub base: StepId,
    /// What is copied, in the order written.
    pub sources: Vec<CopySource>,
    /// Destination, made absolute by WORKDIR; a trailing `/` is kept and means "into this directory".
    pub dest: String,
    /// `--chown`, expanded, verbatim: `user`, `user:group`, `1000:1000`.
    pub chown: Option<String>,
    /// `--chmod`, expanded, verbatim: octal or symbolic.
    pub chmod: Option<String>,
    /// `--link`: the layer does not depend on what the base holds.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, in order.
    pub exclude: Vec<String>,
    /// Local tar archives are unpacked (ADD without `--unpack=false`).
    pub unpack: bool,
    /// Archives from the network are unpacked, too (ADD `--unpack`).
    pub unpack_remote: bool,
    /// `--with-libs`: ELF programs bring their interpreter and shared libraries.
    pub with_libs: bool,
    /// COPY and ADD differ in words only.
    pub is_add: bool,
}

impl CopyOp {
    /// A COPY without flags.
    pub fn new(base: StepId, sources: Vec<CopySource>, dest: impl Into<String>) -> CopyOp {
        CopyOp {
            base,
            sources,
            dest: dest.into(),
            chown: None,
            chmod: None,
            link: false,
            parents: false,
            exclude: Vec::new(),
            unpack: false,
            unpack_remote: false,
            with_libs: false,
            is_add: false,
        }
    }
}

/// One source of a COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CopySource {
    /// A path or pattern in a build context.
    Context {
        /// Which; `None`: the main one of a target that has none.
        context: Option<ContextId>,
        /// As written, expanded; leading `/` and `..` are still there (dockerfile.md C13 strips them).
        pattern: String,
    },
    /// A path or pattern in another step's root filesystem.
    Step {
        /// Whose.
        step: StepId,
        /// As written, expanded.
        pattern: String,
    },
    /// What was fetched from the network.
    Remote {
        /// The step that fetches it.
        step: StepId,
        /// As written, expanded.
        url: String,
        /// Its path in that step's root filesystem; empty: all of it.
        path: String,
    },
    /// A heredoc: a file with these contents.
    Inline {
        /// File name: the delimiter word.
        name: String,
        /// Contents, expanded if the delimiter was not quoted.
        data: String,
    },
}

/// RUN.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunOp {
    /// The root filesystem it runs on.
    pub base: StepId,
    /// The process: SHELL and its text, or the exec form.
    pub argv: Vec<String>,
    /// `NAME=value`, in config order: ENV, then ARG in scope with a value. Enters the key.
    pub env: Vec<String>,
    /// `NAME=value` that the process sees but the key does not: predefined proxy arguments.
    pub env_unkeyed: Vec<String>,
    /// USER, verbatim; empty: root.
    pub user: String,
    /// WORKDIR, absolute.
    pub workdir: String,
    /// What the programs of the root filesystem are for. Enters the key.
    pub platform: Platform,
    /// `--network`, or the build's default.
    pub network: Network,
    /// A heredoc script with a `#!` line, put before the process as an executable file at `/dev/pipes/<name>`.
    pub script: Option<Script>,
    /// `--mount`s in order.
    pub mounts: Vec<RunMount>,
    /// `--security`.
    pub security: Security,
    /// What the caller of the build sets for every step.
    #[serde(default)]
    pub surroundings: Box<Surroundings>,
    /// `--retry`: how many more times a process that failed is started, each time on a clean snapshot. `None`: as the
    /// build says. No part of the key.
    pub retry: Option<u32>,
    /// `--timeout`: after this long the process is killed and has failed; zero: never. `None`: as the build says. No
    /// part of the key.
    pub timeout: Option<Duration>,
}

/// How far a RUN is fenced in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// The sandbox of docs/sandbox.md.
    #[default]
    Sandbox,
    /// All capabilities that the builder has, no system call filter, nothing masked.
    Insecure,
}

/// A script file that only the step sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Script {
    /// File name below `/dev/pipes`.
    pub name: String,
    /// Contents.
    pub data: String,
}

/// `RUN --mount=…`, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RunMount {
    /// Files of a context or step; what is written is discarded.
    Bind {
        /// Absolute path in the step.
        target: String,
        /// Where the files come from; its pattern is a plain path.
        source: CopySource,
        /// Writes are allowed (and discarded).
        writable: bool,
    },
    /// A directory that lives between builds.
    Cache {
        /// Absolute path in the step.
        target: String,
        /// The cache's name.
        id: String,
        /// `shared`, `private` or `locked`.
        sharing: String,
        /// Seed: contents it starts with.
        from: Option<CopySource>,
        /// Mode of its top directory; `None`: as it is, 0755 for a new one.
        mode: Option<u32>,
        /// Owner of its top directory; `None`: as it is, the step's user for a new one.
        uid: Option<u32>,
        /// Group of its top directory; `None`: as it is, the step's group for a new one.
        gid: Option<u32>,
        /// Mounted read-only.
        readonly: bool,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Absolute path in the step.
        target: String,
        /// Size limit in bytes.
        size: Option<u64>,
    },
    /// A secret as a file, a variable or both. The value never enters a key.
    Secret {
        /// The secret's id.
        id: String,
        /// File path in the step.
        target: Option<String>,
        /// Variable name.
        env: Option<String>,
        /// Missing is an error.
        required: bool,
        /// File mode.
        mode: u32,
        /// File owner.
        uid: u32,
        /// File group.
        gid: u32,
    },
    /// The caller's ssh agent.
    Ssh {
        /// Agent id.
        id: String,
        /// Socket path in the step.
        target: String,
        /// Missing is an error.
        required: bool,
        /// Socket mode.
        mode: u32,
        /// Socket owner.
        uid: u32,
        /// Socket group.
        gid: u32,
    },
}

/// The network of a step or container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// A loopback device of its own and nothing else.
    None,
}

impl Network {
    /// The option's word.
    pub fn name(self) -> &'static str {
        match self {
            Network::Host => "host",
            Network::None => "none",
        }
    }
}

/// WORKDIR's effect on the files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MkdirOp {
    /// The root filesystem it is made on.
    pub base: StepId,
    /// Absolute, cleaned.
    pub path: String,
    /// USER, verbatim; owns what is made.
    pub user: String,
}

impl Step {
    /// The step whose root filesystem this one builds on.
    pub fn base(&self) -> Option<StepId> {
        match &self.op {
            Op::Scratch | Op::Image(_) | Op::Fetch(_) => None,
            Op::Copy(op) => Some(op.base),
            Op::Run(op) => Some(op.base),
            Op::Mkdir(op) => Some(op.base),
        }
    }

    /// Every step whose result this one uses, base first, each once.
    pub fn inputs(&self) -> Vec<StepId> {
        let mut all: Vec<StepId> = self.base().into_iter().collect();
        let mut add = |source: &CopySource| {
            if let CopySource::Step { step, .. } | CopySource::Remote { step, .. } = source
                && !all.contains(step)
            {
                all.push(*step);
            }
        };
        match &self.op {
            Op::Copy(op) => op.sources.iter().for_each(&mut add),
            Op::Run(op) => {
                for mount in &op.mounts {
                    match mount {
                        RunMount::Bind { source, .. } => add(source),
                        RunMount::Cache { from: Some(source), .. } => add(source),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        all
    }
}

impl Graph {
    /// The step with this id.
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.index()]
    }
}
