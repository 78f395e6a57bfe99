//! One vertex for what several targets of a build have in common.

use super::{CopySource, Graph, Op, RunMount, Step, StepId};
use std::collections::HashMap;

impl Graph {
    /// Drops each step from `first` on that does what a step before `first` does, on the same inputs. Gives the place of
    /// every step of before in the graph as it is now. Steps from `first` on are not held against each other: what one
    /// target does twice stays two steps.
    pub fn share(&mut self, first: usize) -> Vec<StepId> {
        let added = self.steps.split_off(first.min(self.steps.len()));
        let known: HashMap<&Op, StepId> = self.steps.iter().rev().map(|step| (&step.op, step.id)).collect();
        let mut places: Vec<StepId> = self.steps.iter().map(|step| step.id).collect();
        let mut kept = Vec::new();
        for mut step in added {
            step.map_inputs(|id| places[id.index()]);
            match known.get(&step.op) {
                Some(same) => places.push(*same),
                None => {
                    // Fewer than before, whose ids fitted.
                    step.id = StepId((first + kept.len()) as u32);
                    places.push(step.id);
                    kept.push(step);
                }
            }
        }
        self.steps.extend(kept);
        places
    }
}

impl Step {
    /// Puts another step in the place of each that this one uses.
    fn map_inputs(&mut self, to: impl Fn(StepId) -> StepId) {
        let source = |source: &mut CopySource| {
            if let CopySource::Step { step, .. } | CopySource::Remote { step, .. } = source {
                *step = to(*step);
            }
        };
        match &mut self.op {
            Op::Scratch | Op::Image(_) | Op::Fetch(_) => {}
            Op::Mkdir(op) => op.base = to(op.base),
            Op::Copy(op) => {
                op.base = to(op.base);
                op.sources.iter_mut().for_each(source);
            }
            Op::Run(op) => {
                op.base = to(op.base);
                for mount in &mut op.mounts {
                    match mount {
                        RunMount::Bind { source: from, .. } | RunMount::Cache { from: Some(from), .. } => source(from),
                        RunMount::Cache { from: None, .. }
                        | RunMount::Tmpfs { .. }
                        | RunMount::Secret { .. }
                        | RunMount::Ssh { .. } => {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::MkdirOp;

    /// Steps by the base they stand on and the directory they make; without a base: the empty root.
    fn steps(from: u32, list: &[(Option<u32>, &str)]) -> Vec<Step> {
        let step = |(id, (base, path)): (u32, &(Option<u32>, &str))| Step {
            id: StepId(id),
            op: match base {
                Some(base) => Op::Mkdir(MkdirOp { base: StepId(*base), path: (*path).into(), user: String::new() }),
                None => Op::Scratch,
            },
            label: String::new(),
            stage: String::new(),
            span: None,
        };
        (from..).zip(list).map(step).collect()
    }

    #[test]
    fn what_two_targets_do_alike_is_one_step() {
        let mut graph = Graph { steps: steps(0, &[(None, ""), (Some(0), "/a"), (Some(0), "/a")]), ..Graph::default() };
        assert_eq!(graph.share(0), [StepId(0), StepId(1), StepId(2)], "a single target stays as it is");
        // scratch and /a again, then /b on that, /a on that, and /c on the first target's.
        graph.steps.extend(steps(3, &[(None, ""), (Some(3), "/a"), (Some(4), "/b"), (Some(5), "/a"), (Some(1), "/c")]));
        let places = graph.share(3);
        assert_eq!(places[3..], [StepId(0), StepId(1), StepId(3), StepId(4), StepId(5)]);
        let bases: Vec<_> = graph.steps.iter().map(|step| step.base().map(|base| base.0)).collect();
        assert_eq!(bases, [None, Some(0), Some(0), Some(1), Some(3), Some(1)]);
        assert!(graph.steps.iter().enumerate().all(|(nth, step)| step.id.index() == nth));
    }
}
