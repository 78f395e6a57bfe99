//! Solving a graph: key each step, look it up, run what misses, in parallel; early cutoff comes by itself, since a
//! key names the merged tree a step stands on and not how it came about.

pub mod event;
pub mod explain;
mod lookup;
mod order;
pub mod plan;
pub mod reason;
pub mod record;
mod remember;
pub mod words;

use crate::base::{Digest, clock};
use crate::graph::{CopyOp, CopySource, Graph, Op, Remote, Step, StepId};
use crate::ops::key::Preimage;
use crate::ops::publish::publish;
use crate::ops::remote::{Fetcher, How};
use crate::ops::{self, Cx, OpError, Written};
use crate::store::steps::StepRecord;
use crate::tree::{Rootfs, Trees};
use event::{Event, Outcome, PlannedStep};
use explain::Explainer;
use lookup::{Found, look_up};
use reason::Reason;
use record::{BuildRecord, BuiltStep};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Instant;

/// How to solve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Run every step even if it is known.
    pub no_cache: bool,
    /// Most steps at once.
    pub jobs: usize,
    /// Tell the reason of every miss ([`Event::Missed`]).
    pub explain: bool,
    /// The project's last build, if it is known.
    pub last: Option<BuildRecord>,
}

/// What a step came to.
#[derive(Clone, Debug)]
pub struct Solution {
    /// The root filesystem after it.
    pub rootfs: Rootfs,
    /// The layer it added, if any.
    pub layer: Option<Digest>,
    /// When that layer was first made, seconds since the epoch.
    pub created: Option<i64>,
    /// The key it was looked up under; none for sources.
    pub key: Option<Digest>,
    /// How it ended.
    pub outcome: Outcome,
    /// How long its run took, now or when it was recorded, milliseconds; none for sources.
    pub millis: Option<u64>,
    /// When that was, seconds since the epoch.
    pub ran: Option<i64>,
    /// The cache that it is from; `None`: this store.
    pub from: Option<Arc<str>>,
    /// Its record, if it is from a cache: the store keeps it once it has the layer.
    pub unrecorded: Option<Arc<StepRecord>>,
}

/// What came of a graph.
#[derive(Debug)]
pub struct Solved {
    /// One solution per step, in order, or the first failure.
    pub result: Result<Vec<Solution>, SolveError>,
    /// What is to be remembered of each step, also after a failure.
    pub steps: Vec<BuiltStep>,
}

/// The build stopped at a step.
#[derive(Debug, thiserror::Error)]
#[error("{label}: {error}")]
pub struct SolveError {
    /// Which.
    pub step: StepId,
    /// Its label.
    pub label: String,
    /// Why.
    #[source]
    pub error: Box<OpError>,
}

/// Receives events from all threads.
pub type Sink<'a> = dyn Fn(Event) + Sync + 'a;

/// Solves the whole graph. On the first failure all running steps are cancelled and nothing new is begun.
pub fn solve(graph: &Graph, cx: &Cx<'_>, options: &Options, began: Instant, sink: &Sink<'_>) -> Solved {
    let solver = Solver {
        graph,
        cx,
        options,
        began,
        sink,
        explainer: Explainer::new(graph, cx, options.last.as_ref(), options.no_cache),
        solved: graph.steps.iter().map(|_| OnceLock::new()).collect(),
        misses: graph.steps.iter().map(|_| OnceLock::new()).collect(),
        ended: graph.steps.iter().map(|_| OnceLock::new()).collect(),
    };
    let steps = graph.steps.iter().map(|s| PlannedStep { id: s.id, label: s.label.clone(), stage: s.stage.clone() });
    sink(Event::Planned { steps: steps.collect() });
    let result = solver.schedule();
    let steps = graph.steps.iter().map(|step| solver.built(step)).collect();
    Solved { result: result.map(|()| solver.solved.into_iter().filter_map(OnceLock::into_inner).collect()), steps }
}

struct Solver<'a> {
    graph: &'a Graph,
    cx: &'a Cx<'a>,
    options: &'a Options,
    began: Instant,
    sink: &'a Sink<'a>,
    explainer: Explainer<'a>,
    solved: Vec<OnceLock<Solution>>,
    /// Keys of the steps that missed, and why.
    misses: Vec<OnceLock<(Digest, Reason)>>,
    ended: Vec<OnceLock<Outcome>>,
}

impl Solver<'_> {
    /// Runs ready steps, longest remaining path first. A step that is alone ready runs on this thread: a chain of hits
    /// starts no thread at all.
    fn schedule(&self) -> Result<(), SolveError> {
        let users = order::users(self.graph);
        let mut missing: Vec<usize> = self.graph.steps.iter().map(|step| step.inputs().len()).collect();
        let length = |step: &Step| order::guess(step, self.explainer.before(step.id));
        let weight = order::remaining(self.graph, &users, length);
        // Ordered by weight, then by place in the file; `pop_last` takes the heaviest, earliest.
        let rank = |id: StepId| (weight[id.index()], std::cmp::Reverse(id));
        let mut ready: BTreeSet<_> =
            self.graph.steps.iter().filter(|s| missing[s.id.index()] == 0).map(|s| rank(s.id)).collect();
        let mut failure = None;
        let mut running = 0;
        let jobs = self.options.jobs.max(1);
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel::<(StepId, Result<(), SolveError>)>();
            loop {
                let open = failure.is_none() && !self.cx.cancel.is_set();
                while open && running < jobs && (ready.len() > 1 || (running > 0 && !ready.is_empty())) {
                    let Some((_, std::cmp::Reverse(id))) = ready.pop_last() else { break };
                    running += 1;
                    let sender = sender.clone();
                    scope.spawn(move || {
                        let result = self.step(self.graph.step(id));
                        let _ = sender.send((id, result));
                    });
                }
                let (id, result) = if running > 0 {
                    match receiver.recv() {
                        Ok(message) => {
                            running -= 1;
                            message
                        }
                        Err(_) => return,
                    }
                } else if open && let Some((_, std::cmp::Reverse(id))) = ready.pop_last() {
                    (id, self.step(self.graph.step(id)))
                } else {
                    return;
                };
                match result {
                    Ok(()) => {
                        for user in &users[id.index()] {
                            missing[user.index()] -= 1;
                            if missing[user.index()] == 0 {
                                ready.insert(rank(*user));
                            }
                        }
                    }
                    Err(error) => {
                        self.cx.cancel.cancel();
                        // A step that was cancelled because another one failed is not the failure to report.
                        if failure.as_ref().is_none_or(|f: &SolveError| matches!(*f.error, OpError::Cancelled)) {
                            failure = Some(error);
                        }
                    }
                }
            }
        });
        if let Some(failure) = failure {
            self.report_unsolved(failure.step);
            return Err(failure);
        }
        if let Some(step) = self.graph.steps.iter().find(|s| self.solved[s.id.index()].get().is_none()) {
            self.report_unsolved(step.id);
            return Err(SolveError { step: step.id, label: step.label.clone(), error: Box::new(OpError::Cancelled) });
        }
        Ok(())
    }

    /// Says of every step that will not be solved that it was cancelled.
    fn report_unsolved(&self, failed: StepId) {
        for step in &self.graph.steps {
            if step.id != failed && self.solved[step.id.index()].get().is_none() {
                self.finished(step.id, Outcome::Cancelled, None, 0);
            }
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn finished(&self, step: StepId, outcome: Outcome, solution: Option<&Solution>, millis: u64) {
        let _ = self.ended[step.index()].set(outcome);
        let (key, layer) = solution.map_or((None, None), |s| (s.key, s.layer));
        let from = solution.and_then(|s| s.from.as_deref()).map(str::to_owned);
        (self.sink)(Event::Finished { step, at: self.now(), outcome, key, layer, millis, from });
    }

    fn step(&self, step: &Step) -> Result<(), SolveError> {
        let begin = Instant::now();
        match self.solve_step(step) {
            Ok(solution) => {
                let ran = matches!(solution.outcome, Outcome::Ran | Outcome::Same);
                let millis = if ran { begin.elapsed().as_millis() as u64 } else { 0 };
                self.finished(step.id, solution.outcome, Some(&solution), millis);
                let _ = self.solved[step.id.index()].set(solution);
                Ok(())
            }
            Err(error) => {
                let outcome = if matches!(error, OpError::Cancelled) { Outcome::Cancelled } else { Outcome::Failed };
                self.finished(step.id, outcome, None, begin.elapsed().as_millis() as u64);
                Err(SolveError { step: step.id, label: step.label.clone(), error: Box::new(error) })
            }
        }
    }

    fn rootfs(&self, id: StepId) -> &Rootfs {
        match self.solved[id.index()].get() {
            Some(solution) => &solution.rootfs,
            None => unreachable!("the schedule begins a step only after its inputs"),
        }
    }

    fn solve_step(&self, step: &Step) -> Result<Solution, OpError> {
        if self.cx.cancel.is_set() {
            return Err(OpError::Cancelled);
        }
        let inputs = |id: StepId| self.rootfs(id);
        let cx = self.cx;
        match &step.op {
            Op::Scratch => Ok(source(Rootfs { layers: Vec::new(), tree: Trees::empty() })),
            Op::Image(op) => Ok(source(cx.trees.of_layers(&op.layers)?)),
            Op::Fetch(remote) => self.fetch(step, remote),
            Op::Copy(op) => {
                let planned = ops::copy::plan(cx, op, &inputs)?;
                for text in &planned.warnings {
                    (self.sink)(Event::Note { step: step.id, text: text.clone() });
                }
                self.cached(step, self.rootfs(op.base), &planned.preimage, false, || {
                    let fresh_from = self.fresh_from(op, &planned)?;
                    // Who wants no cache wants nothing of earlier builds.
                    let before = self.explainer.before(step.id).filter(|_| !self.options.no_cache);
                    let previous = before.and_then(|before| before.layer.as_ref());
                    let written = ops::copy::run(cx, op, &inputs, &planned, previous)?;
                    ops::leak::check(cx, &written.fs)?;
                    Ok((written, fresh_from))
                })
            }
            Op::Mkdir(op) => {
                let planned = ops::mkdir::plan(cx, op, &inputs)?;
                self.cached(step, self.rootfs(op.base), &planned.preimage, false, || {
                    let begin = clock::now();
                    Ok((ops::mkdir::run(cx, op, &inputs, &planned)?, begin))
                })
            }
            Op::Run(op) => {
                let planned = ops::run::plan(cx, op, &inputs)?;
                self.cached(step, self.rootfs(op.base), &planned.preimage, true, || {
                    let mut output = |stream, bytes: &[u8]| {
                        let text = String::from_utf8_lossy(bytes).into_owned();
                        (self.sink)(Event::Output { step: step.id, stream, text });
                    };
                    let begin = clock::now();
                    Ok((ops::run::run(cx, op, &inputs, &planned, &mut output)?, begin))
                })
            }
        }
    }

    /// Fetches from the network what has changed there.
    fn fetch(&self, step: &Step, remote: &Remote) -> Result<Solution, OpError> {
        let Cx { store, secrets, cancel, .. } = *self.cx;
        let fetcher = Fetcher { store, secrets, cancel, fresh: self.options.no_cache };
        let fetched = fetcher.fetch(remote, &|| (self.sink)(Event::Started { step: step.id, at: self.now() }))?;
        let rootfs = self.cx.trees.of_layers(&[fetched.layer.diff_id])?;
        if fetched.how != How::Known {
            self.missed(step, &fetched.key, self.explainer.fetch(step, remote, Some(&rootfs.tree)));
        }
        let outcome = match fetched.how {
            How::Known => Outcome::Cached,
            How::Same => Outcome::Same,
            How::New => Outcome::Ran,
        };
        let key = Some(fetched.key);
        Ok(Solution {
            rootfs,
            layer: None,
            created: None,
            key,
            outcome,
            millis: Some(fetched.millis),
            ran: Some(fetched.ran),
            from: None,
            unrecorded: None,
        })
    }

    /// Looks the key up; runs on a miss, under the key's lock, so that of several builds one runs it and the others take
    /// its result. `whole`: the key names the whole base tree, so the record's tree is the result's tree.
    fn cached(
        &self,
        step: &Step,
        base: &Rootfs,
        preimage: &Preimage,
        whole: bool,
        run: impl FnOnce() -> Result<(Written, i64), OpError>,
    ) -> Result<Solution, OpError> {
        let store = self.cx.store;
        let key = preimage.digest();
        if !self.options.no_cache
            && let Some(found) = look_up(self.cx, &key, base, whole)?
        {
            return Ok(taken(step, preimage, found, Outcome::Cached));
        }
        let _lock = match store.try_lock_step(&key)? {
            Some(lock) => lock,
            None => {
                let lock = store.lock_step(&key)?;
                if let Some(found) = look_up(self.cx, &key, base, whole)? {
                    return Ok(taken(step, preimage, found, Outcome::Shared));
                }
                lock
            }
        };
        // Another build may have finished it between the first look and the lock.
        if !self.options.no_cache
            && let Some(found) = look_up(self.cx, &key, base, whole)?
        {
            return Ok(taken(step, preimage, found, Outcome::Shared));
        }
        (self.sink)(Event::Started { step: step.id, at: self.now() });
        self.explain(step, &key, preimage);
        let begin = Instant::now();
        let (written, fresh_from) = run()?;
        let (layer, new) = publish(store, written, Some(fresh_from), self.cx.cancel)?;
        let rootfs = self.cx.trees.push(base, &layer.diff_id)?;
        let (ran, millis) = (clock::now(), begin.elapsed().as_millis() as u64);
        store.put_step(&StepRecord {
            key,
            layer: Some(layer.diff_id),
            tree: rootfs.tree,
            created: ran,
            millis,
            label: step.label.clone(),
            place: place(step),
            preimage: preimage.parts().to_vec(),
        })?;
        let outcome = if new { Outcome::Ran } else { Outcome::Same };
        Ok(Solution {
            rootfs,
            layer: Some(layer.diff_id),
            created: Some(layer.created),
            key: Some(key),
            outcome,
            millis: Some(millis),
            ran: Some(ran),
            from: None,
            unrecorded: None,
        })
    }

    /// From when on the times in a COPY's layer tell when it was made, or when its context was checked out, rather than
    /// what was copied (see [`LayerInfo::fresh_from`]). An archive's own times belong to it.
    fn fresh_from(&self, op: &CopyOp, planned: &ops::copy::Planned) -> Result<i64, OpError> {
        if planned.unpacks() {
            return Ok(clock::now());
        }
        let mut from = clock::now();
        for source in &op.sources {
            let (CopySource::Step { step, .. } | CopySource::Remote { step, .. }) = source else { return Ok(i64::MIN) };
            for layer in &self.rootfs(*step).layers {
                let fresh = self.cx.store.layer(layer)?.and_then(|info| info.fresh_from);
                from = fresh.map_or(from, |fresh| from.min(fresh));
            }
        }
        Ok(from)
    }
}

/// A step that need not run. What is from a cache is to be recorded here, with the preimage that only this side knows.
fn taken(step: &Step, preimage: &Preimage, found: Found, outcome: Outcome) -> Solution {
    let solution = found.solution(outcome);
    let (Some(_), Some(key), Some(millis), Some(created)) =
        (&solution.from, solution.key, solution.millis, solution.ran)
    else {
        return solution;
    };
    let record = StepRecord {
        key,
        layer: solution.layer,
        tree: solution.rootfs.tree,
        created,
        millis,
        label: step.label.clone(),
        place: place(step),
        preimage: preimage.parts().to_vec(),
    };
    Solution { unrecorded: Some(Arc::new(record)), ..solution }
}

fn source(rootfs: Rootfs) -> Solution {
    let outcome = Outcome::Cached;
    let (layer, created, key, millis, ran) = (None, None, None, None, None);
    Solution { rootfs, layer, created, key, outcome, millis, ran, from: None, unrecorded: None }
}

/// Where a step stands: the bracketed head of its label, `[builder 2/5]`.
pub fn place(step: &Step) -> String {
    step.label.split_inclusive(']').next().unwrap_or_default().to_owned()
}

/// Most steps at once unless the user says otherwise. Far above the number of cores: steps mostly wait, for the network
/// and for their own children, and BuildKit sets no limit at all.
pub fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get()).saturating_mul(2).max(16)
}
