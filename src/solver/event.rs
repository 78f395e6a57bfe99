//! What a build says while it runs: the only thing that user interfaces see of it.

use crate::base::Digest;
use crate::diag::Diagnostic;
use crate::graph::StepId;
use crate::net::transfer::News;
use crate::solver::reason::Reason;
use serde::{Deserialize, Serialize};

/// One event. Times are milliseconds since the build began.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The graph is known; all steps in order.
    Planned {
        /// Labels by step.
        steps: Vec<PlannedStep>,
    },
    /// A warning or error about the Dockerfile.
    Diagnostic {
        /// It.
        diagnostic: Diagnostic,
    },
    /// A step begins to run (it missed the cache).
    Started {
        /// Which.
        step: StepId,
        /// When.
        at: u64,
    },
    /// Why a step missed the cache; told only on request ([`crate::solver::Options::explain`]).
    Missed {
        /// Which.
        step: StepId,
        /// Why.
        reason: Reason,
    },
    /// Output of a step; whole lines where it wrote whole lines.
    Output {
        /// Which.
        step: StepId,
        /// `1` stdout, `2` stderr.
        stream: u8,
        /// Raw bytes as text (lossy); may drive a terminal, so whoever draws must strip it.
        text: String,
    },
    /// A warning about a step that is no diagnostic of the Dockerfile's text.
    Note {
        /// Which.
        step: StepId,
        /// It.
        text: String,
    },
    /// A step ended.
    Finished {
        /// Which.
        step: StepId,
        /// When.
        at: u64,
        /// How.
        outcome: Outcome,
        /// The key it was looked up under; none for sources, and for steps that never came so far.
        key: Option<Digest>,
        /// Its layer, if it made one.
        layer: Option<Digest>,
        /// How long it ran, milliseconds; 0 for a hit.
        millis: u64,
        /// The cache that has it (`--cache-from`), for a hit that this store did not have.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
    /// An image comes from a registry or goes there, beside the steps.
    Exchange {
        /// Its name.
        name: String,
        /// How it goes.
        #[serde(flatten)]
        news: News,
        /// When.
        at: u64,
    },
    /// Work after the steps: "writing image", "exporting to x.tar".
    Exporting {
        /// What.
        what: String,
        /// When.
        at: u64,
    },
    /// The image is in the store.
    Image {
        /// Digest of the config: the image ID.
        id: Digest,
        /// Digest of the manifest.
        manifest: Digest,
        /// Names it was given.
        names: Vec<String>,
        /// When.
        at: u64,
    },
}

/// A step before it runs.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedStep {
    /// Its id.
    pub id: StepId,
    /// Its label.
    pub label: String,
    /// Its stage.
    pub stage: String,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Found in the store; nothing was run.
    Cached,
    /// Another build ran it while this one waited.
    Shared,
    /// Was run.
    Ran,
    /// Was run and yielded what an earlier run had yielded: its layer is the earlier one.
    Same,
    /// Failed.
    Failed,
    /// Was stopped, or never begun, because another step failed or the user interrupted.
    Cancelled,
}
