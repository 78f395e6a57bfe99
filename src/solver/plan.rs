//! What a build would do, told without running anything: each step is keyed and looked up as far as the trees before it
//! are known. Behind a miss they are not; there the last build's trees are assumed, and the answer says so.

use super::explain::Explainer;
use super::lookup::look_up;
use super::order;
use super::reason::Reason;
use super::{Options, SolveError};
use crate::base::Digest;
use crate::graph::{Graph, Op, Remote, Step, StepId};
use crate::ops::key::Preimage;
use crate::ops::remote::{Recalled, recall};
use crate::ops::{self, Cx, OpError};
use crate::tree::{Rootfs, Trees};
use serde::Serialize;
use std::collections::BTreeSet;

/// What a build would do.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// In the order of the graph.
    pub steps: Vec<Forecast>,
    /// Steps, counted from 1, of the chain that takes longest; those that take no time are left out.
    pub critical_path: Vec<u32>,
    /// How long the build takes if every step that is not a hit (or, see [`Forecast::only_destination`], likely one) runs
    /// as long as it did last time, milliseconds.
    pub millis: u64,
    /// The same if every step that is [`Verdict::Unknown`] and may be a hit is one.
    pub millis_at_best: u64,
    /// Steps, counted from 1, that may run and of whose time nothing is known; they count as nothing above.
    pub untimed: Vec<u32>,
}

/// What would become of a step.
#[derive(Clone, Debug, Serialize)]
pub struct Forecast {
    /// Its number, from 1.
    pub step: u32,
    /// Its label.
    pub label: String,
    /// Line of its instruction, from 1.
    pub line: Option<usize>,
    /// Hit, miss or unknown.
    pub verdict: Verdict,
    /// Why it misses; of an unknown step: why it does so even if the steps before it yield what they did last time.
    pub reason: Option<Reason>,
    /// The misses, counted from 1, that an unknown step depends on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<u32>,
    /// Of an unknown step: whether it is a hit if those yield the same files as last time; absent: that can't be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hit_if_same: Option<bool>,
    /// Of an unknown COPY or WORKDIR: of what those yield only its destination matters, so that a hit is likely.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub only_destination: bool,
    /// How long its last run took, milliseconds.
    pub millis: Option<u64>,
}

/// What is known of a step before it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Its result is in the store.
    Hit,
    /// It will run.
    Miss,
    /// It depends on what a step yields that will run.
    Unknown,
}

impl Plan {
    /// Whether any step will run for certain.
    pub fn has_miss(&self) -> bool {
        self.steps.iter().any(|step| step.verdict == Verdict::Miss)
    }
}

/// Plans a build of `graph`. `cx`'s snapshotter is not used.
///
/// Errors: what would fail the build before any step has run, such as a file to copy that is not there.
pub fn plan(graph: &Graph, cx: &Cx<'_>, options: &Options) -> Result<Plan, SolveError> {
    let explainer = Explainer::new(graph, cx, options.last.as_ref(), options.no_cache);
    let mut planner = Planner { cx, no_cache: options.no_cache, explainer, states: Vec::new() };
    let mut steps = Vec::with_capacity(graph.steps.len());
    for step in &graph.steps {
        let (forecast, state) = planner.step(step).map_err(|error| SolveError {
            step: step.id,
            label: step.label.clone(),
            error: error.into(),
        })?;
        planner.states.push(state);
        steps.push(forecast);
    }
    Ok(sum_up(graph, steps, options.jobs))
}

/// What is known of the result of a step.
#[derive(Clone, Debug)]
struct State {
    /// The root filesystem after it: as it will be, or (if `on` is not empty) as it was last time.
    rootfs: Option<Rootfs>,
    /// The misses it depends on.
    on: BTreeSet<u32>,
}

struct Planner<'a> {
    cx: &'a Cx<'a>,
    no_cache: bool,
    explainer: Explainer<'a>,
    states: Vec<State>,
}

impl Planner<'_> {
    fn step(&self, step: &Step) -> Result<(Forecast, State), OpError> {
        let number = step.id.0 + 1;
        let before = self.explainer.before(step.id);
        let forecast = Forecast {
            step: number,
            label: step.label.clone(),
            line: None,
            verdict: Verdict::Unknown,
            reason: None,
            depends_on: Vec::new(),
            hit_if_same: None,
            only_destination: false,
            millis: before.and_then(|before| before.millis),
        };
        let known = |rootfs| State { rootfs: Some(rootfs), on: BTreeSet::new() };
        let source = match &step.op {
            Op::Scratch => Some(Rootfs { layers: Vec::new(), tree: Trees::empty() }),
            Op::Image(op) => Some(self.cx.trees.of_layers(&op.layers)?),
            Op::Fetch(remote) => return self.fetch(step, remote, forecast),
            _ => None,
        };
        if let Some(rootfs) = source {
            let reason = self.explainer.source(step, &rootfs.tree);
            return Ok((Forecast { verdict: Verdict::Hit, reason, ..forecast }, known(rootfs)));
        }
        let inputs = step.inputs();
        let on: BTreeSet<u32> = inputs.iter().flat_map(|input| &self.states[input.index()].on).copied().collect();
        // What the key hangs on; the result hangs on all inputs.
        let keyed: BTreeSet<u32> = inputs
            .iter()
            .filter(|input| !(Some(**input) == step.base() && is_free_of_base(&step.op)))
            .flat_map(|input| &self.states[input.index()].on)
            .copied()
            .collect();
        let is_certain = |input: &StepId| self.states[input.index()].on.is_empty();
        let only_destination = !keyed.is_empty()
            && !matches!(step.op, Op::Run(_))
            && inputs.iter().all(|input| Some(*input) == step.base() || is_certain(input));
        let forecast = Forecast { only_destination, ..forecast };
        let verdict = |verdict| if keyed.is_empty() { verdict } else { Verdict::Unknown };
        let depends_on: Vec<u32> = keyed.iter().copied().collect();
        let missed = |on: BTreeSet<u32>| State { rootfs: self.as_last_time(step), on: with(on, number) };
        if self.no_cache {
            let reason = Reason::no_cache();
            return Ok((Forecast { verdict: Verdict::Miss, reason: Some(reason), ..forecast }, missed(on)));
        }
        if inputs.iter().any(|input| self.states[input.index()].rootfs.is_none()) {
            return Ok((Forecast { depends_on, ..forecast }, missed(on)));
        }
        let (preimage, whole) = match self.preimage(step) {
            Ok(keyed) => keyed,
            Err(error) if keyed.is_empty() => return Err(error),
            // On last time's files it would fail; on this time's it may not.
            Err(_) => return Ok((Forecast { depends_on, ..forecast }, missed(on))),
        };
        let key = preimage.digest();
        let Some(base) = step.base().and_then(|base| self.states[base.index()].rootfs.as_ref()) else {
            return Ok((Forecast { depends_on, ..forecast }, missed(on)));
        };
        if let Some(found) = look_up(self.cx, &key, base, whole)? {
            let hit_if_same = (!keyed.is_empty()).then_some(true);
            let forecast = Forecast {
                verdict: verdict(Verdict::Hit),
                depends_on,
                hit_if_same,
                millis: Some(found.millis),
                ..forecast
            };
            return Ok((forecast, State { rootfs: Some(found.rootfs), on }));
        }
        let reason = Some(self.reason(step, &key, &preimage));
        let hit_if_same = (!keyed.is_empty()).then_some(false);
        Ok((Forecast { verdict: verdict(Verdict::Miss), reason, depends_on, hit_if_same, ..forecast }, missed(on)))
    }

    /// A source on the network, which is not asked now.
    fn fetch(&self, step: &Step, remote: &Remote, forecast: Forecast) -> Result<(Forecast, State), OpError> {
        let recalled = if self.no_cache { Recalled::Never } else { recall(self.cx.store, remote)? };
        let (verdict, layer) = match recalled {
            Recalled::Certain(layer) => (Verdict::Hit, Some(layer)),
            Recalled::LastTime(layer) => (Verdict::Unknown, Some(layer)),
            Recalled::Never => (Verdict::Miss, None),
            Recalled::Unknown => (Verdict::Unknown, None),
        };
        let rootfs = layer.map(|layer| self.cx.trees.of_layers(&[layer.diff_id])).transpose()?;
        let on = if verdict == Verdict::Hit { BTreeSet::new() } else { BTreeSet::from([forecast.step]) };
        let hit_if_same = (verdict == Verdict::Unknown && rootfs.is_some()).then_some(true);
        let reason = (verdict == Verdict::Miss).then(|| self.explainer.fetch(step, remote, None));
        Ok((Forecast { verdict, hit_if_same, reason, ..forecast }, State { rootfs, on }))
    }

    fn preimage(&self, step: &Step) -> Result<(Preimage, bool), OpError> {
        let nothing = Rootfs { layers: Vec::new(), tree: Trees::empty() };
        let inputs = |id: StepId| self.states[id.index()].rootfs.as_ref().unwrap_or(&nothing);
        match &step.op {
            Op::Copy(op) => Ok((ops::copy::plan(self.cx, op, &inputs)?.preimage, false)),
            Op::Mkdir(op) => Ok((ops::mkdir::plan(self.cx, op, &inputs)?.preimage, false)),
            Op::Run(op) => Ok((ops::run::plan(self.cx, op, &inputs)?.preimage, true)),
            Op::Scratch | Op::Image(_) | Op::Fetch(_) => unreachable!("sources have no key"),
        }
    }

    fn reason(&self, step: &Step, key: &Digest, preimage: &Preimage) -> Reason {
        let tree_of = |id: StepId| self.states[id.index()].rootfs.as_ref().map(|rootfs| rootfs.tree);
        self.explainer.miss(step, key, preimage, &tree_of)
    }

    /// The root filesystem that a step that will run left in the last build, if it can still be read.
    fn as_last_time(&self, step: &Step) -> Option<Rootfs> {
        let before = self.explainer.before(step.id)?;
        let tree = before.tree.filter(|tree| self.cx.trees.has(tree))?;
        let mut layers = self.states[step.base()?.index()].rootfs.as_ref()?.layers.clone();
        layers.extend(before.layer);
        Some(Rootfs { layers, tree })
    }
}

fn with(mut on: BTreeSet<u32>, number: u32) -> BTreeSet<u32> {
    on.insert(number);
    on
}

/// Whether a step's key does not hang on the root filesystem it builds on: a COPY with `--link`, unless an owner's name
/// has to be looked up there.
fn is_free_of_base(op: &Op) -> bool {
    let Op::Copy(op) = op else { return false };
    let is_number = |text: &String| text.split(':').all(|id| id.bytes().all(|b| b.is_ascii_digit()));
    op.link && op.chown.as_ref().is_none_or(is_number)
}

/// The whole from the parts.
fn sum_up(graph: &Graph, steps: Vec<Forecast>, jobs: usize) -> Plan {
    let users = order::users(graph);
    let takes = |forecast: &Forecast, at_best: bool| match forecast.verdict {
        Verdict::Hit => 0,
        Verdict::Unknown if forecast.hit_if_same == Some(true) && (at_best || forecast.only_destination) => 0,
        Verdict::Miss | Verdict::Unknown => forecast.millis.unwrap_or(0),
    };
    let total = |at_best: bool| {
        let remaining = order::remaining(graph, &users, |step| takes(&steps[step.id.index()], at_best));
        let longest = remaining.iter().copied().max().unwrap_or(0);
        let all: u64 = steps.iter().map(|step| takes(step, at_best)).sum();
        (longest.max(all / jobs.max(1) as u64), remaining)
    };
    let (millis_at_best, _) = total(true);
    let (millis, remaining) = total(false);
    let length = |id: StepId| remaining[id.index()];
    // From the step with the longest way on, always to the user with the longest.
    let longest = |ids: &mut dyn Iterator<Item = StepId>| ids.max_by_key(|id| (length(*id), std::cmp::Reverse(*id)));
    let mut critical_path = Vec::new();
    let mut next = longest(&mut graph.steps.iter().map(|step| step.id));
    while let Some(id) = next.filter(|id| length(*id) > 0) {
        if takes(&steps[id.index()], false) > 0 {
            critical_path.push(id.0 + 1);
        }
        next = longest(&mut users[id.index()].iter().copied());
    }
    let untimed = steps.iter().filter(|s| s.verdict != Verdict::Hit && s.millis.is_none()).map(|s| s.step).collect();
    Plan { steps, critical_path, millis, millis_at_best, untimed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::MkdirOp;

    fn forecast(step: u32, verdict: Verdict, millis: Option<u64>) -> Forecast {
        Forecast {
            step,
            label: String::new(),
            line: None,
            verdict,
            reason: None,
            depends_on: vec![],
            hit_if_same: (verdict == Verdict::Unknown).then_some(true),
            only_destination: false,
            millis,
        }
    }

    #[test]
    fn the_critical_path_is_the_longest_chain_of_what_runs() {
        let step = |id: u32, op| Step { id: StepId(id), op, label: String::new(), stage: String::new(), span: None };
        let on = |base: u32| Op::Mkdir(MkdirOp { base: StepId(base), path: "/".into(), user: String::new() });
        let steps = vec![step(0, Op::Scratch), step(1, on(0)), step(2, on(0)), step(3, on(2)), step(4, on(3))];
        let graph = Graph { steps, ..Graph::default() };
        let steps = vec![
            forecast(1, Verdict::Hit, None),
            forecast(2, Verdict::Miss, Some(900)),
            forecast(3, Verdict::Miss, Some(500)),
            forecast(4, Verdict::Hit, Some(5000)),
            forecast(5, Verdict::Unknown, Some(600)),
        ];
        let plan = sum_up(&graph, steps.clone(), 8);
        assert_eq!((plan.millis, plan.millis_at_best), (1100, 900));
        assert_eq!(plan.critical_path, [3, 5]);
        assert_eq!(sum_up(&graph, steps, 1).millis, 2000, "one job does one after the other");
        let unknown = vec![forecast(1, Verdict::Miss, None); 5];
        assert_eq!((sum_up(&graph, unknown.clone(), 8).millis, sum_up(&graph, unknown, 8).untimed.len()), (0, 5));
    }
}
