//! In which order ready steps run: the one with the longest way to the end first.

use super::record::BuiltStep;
use crate::graph::{Graph, Op, Step, StepId};

/// For each step the steps that use its result.
pub fn users(graph: &Graph) -> Vec<Vec<StepId>> {
    let mut users: Vec<Vec<StepId>> = vec![Vec::new(); graph.steps.len()];
    for step in &graph.steps {
        for input in step.inputs() {
            users[input.index()].push(step.id);
        }
    }
    users
}

/// For each step the length of the longest path from its beginning to the end.
pub fn remaining(graph: &Graph, users: &[Vec<StepId>], length: impl Fn(&Step) -> u64) -> Vec<u64> {
    let mut remaining = vec![0; graph.steps.len()];
    for step in graph.steps.iter().rev() {
        let after = users[step.id.index()].iter().map(|user| remaining[user.index()]).max().unwrap_or(0);
        remaining[step.id.index()] = length(step) + after;
    }
    remaining
}

/// How long a step will take if it has to run, milliseconds: what it took last time, else a guess that only says that a
/// RUN takes longer than the rest. Never 0, so that of two paths without times the one with more steps is longer.
pub fn guess(step: &Step, before: Option<&BuiltStep>) -> u64 {
    let known = before.and_then(|before| before.millis);
    let unknown = match step.op {
        Op::Run(_) => 10_000,
        Op::Copy(_) => 200,
        _ => 10,
    };
    known.unwrap_or(unknown).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::built;
    use super::*;
    use crate::graph::MkdirOp;

    fn step(id: u32, op: Op) -> Step {
        Step { id: StepId(id), op, label: String::new(), stage: String::new(), span: None }
    }

    fn on(base: u32) -> Op {
        Op::Mkdir(MkdirOp { base: StepId(base), path: "/w".into(), user: String::new() })
    }

    #[test]
    fn recorded_times_outweigh_guesses() {
        // Two branches on one root: one step, and two steps.
        let steps = vec![step(0, Op::Scratch), step(1, on(0)), step(2, on(0)), step(3, on(2))];
        let graph = Graph { steps, targets: vec![StepId(3)], ..Graph::default() };
        let users = users(&graph);
        assert_eq!(users[0], [StepId(1), StepId(2)]);
        let unknown = remaining(&graph, &users, |step| guess(step, None));
        assert!(unknown[2] > unknown[1]);
        let slow = BuiltStep { millis: Some(60_000), ..built("a WORKDIR /w") };
        let known = remaining(&graph, &users, |step| guess(step, (step.id.0 == 1).then_some(&slow)));
        assert!(known[1] > known[2]);
        assert_eq!(known[0], 60_010);
    }
}
