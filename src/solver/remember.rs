//! What a running build notes for the record of it: why steps missed, and how each ended.

use super::Solver;
use super::event::{Event, Outcome};
use super::reason::Reason;
use super::record::BuiltStep;
use crate::base::Digest;
use crate::graph::{Step, StepId};
use crate::ops::key::Preimage;

impl Solver<'_> {
    /// Finds out why a step missed, while what it is compared with is sure to be there still.
    pub(super) fn explain(&self, step: &Step, key: &Digest, preimage: &Preimage) {
        let tree_of = |id: StepId| self.solved[id.index()].get().map(|solution| solution.rootfs.tree);
        self.missed(step, key, self.explainer.miss(step, key, preimage, &tree_of));
    }

    /// Tells and notes why a step missed.
    pub(super) fn missed(&self, step: &Step, key: &Digest, reason: Reason) {
        if self.options.explain {
            (self.sink)(Event::Missed { step: step.id, reason: reason.clone() });
        }
        let _ = self.misses[step.id.index()].set((*key, reason));
    }

    /// What is to be remembered of a step.
    pub(super) fn built(&self, step: &Step) -> BuiltStep {
        let at = step.id.index();
        let before = self.explainer.before(step.id);
        let built = BuiltStep {
            label: step.label.clone(),
            stage: step.stage.clone(),
            line: None,
            outcome: self.ended[at].get().copied().unwrap_or(Outcome::Cancelled),
            reason: None,
            millis: before.and_then(|b| b.millis),
            ran: before.and_then(|b| b.ran),
            key: None,
            compared: None,
            stored: before.and_then(|b| b.stored),
            tree: before.and_then(|b| b.tree),
            layer: before.and_then(|b| b.layer),
        };
        let built = match self.misses[at].get() {
            Some((key, reason)) => {
                BuiltStep { key: Some(*key), compared: built.stored, reason: Some(reason.clone()), ..built }
            }
            None => built,
        };
        let Some(solution) = self.solved[at].get() else { return built };
        let (reason, compared) = match (before, &built.reason) {
            (_, Some(_)) => (built.reason, built.compared),
            _ if solution.key.is_none() => (self.explainer.source(step, &solution.rootfs.tree), None),
            // It was not run this time; what is known of its last run stays known.
            (Some(before), None) if before.key == solution.key => (before.reason.clone(), before.compared),
            _ => (None, None),
        };
        BuiltStep {
            reason,
            millis: solution.millis,
            ran: solution.ran,
            key: solution.key,
            compared,
            stored: solution.key,
            tree: Some(solution.rootfs.tree),
            layer: solution.layer,
            ..built
        }
    }
}
