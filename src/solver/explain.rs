//! Finds the reason of a miss: compares a step with what it was in the last build.

use super::reason::{self, Kind, Reason};
use super::record::{self, BuildRecord, BuiltStep};
use super::words::{Mask, entry_change, shown};
use crate::base::Digest;
use crate::graph::{CopySource, Graph, Op, Remote, Step, StepId};
use crate::layer;
use crate::ops::Cx;
use crate::ops::key::Preimage;
use crate::tree::diff::{self, Change};

/// Explains the misses of one build.
#[derive(Debug)]
pub struct Explainer<'a> {
    graph: &'a Graph,
    cx: &'a Cx<'a>,
    last: Option<&'a BuildRecord>,
    /// For each step what it was in `last`.
    before: Vec<Option<usize>>,
    no_cache: bool,
}

impl<'a> Explainer<'a> {
    /// For a build of `graph` after the build `last`.
    pub fn new(graph: &'a Graph, cx: &'a Cx<'a>, last: Option<&'a BuildRecord>, no_cache: bool) -> Explainer<'a> {
        let before = record::align(last.map_or(&[], |l| &l.steps), &graph.steps);
        Explainer { graph, cx, last, before, no_cache }
    }

    /// What a step was in the last build.
    pub fn before(&self, id: StepId) -> Option<&'a BuiltStep> {
        self.last?.steps.get(self.before[id.index()]?)
    }

    /// Why a step that was looked up under `key` has to run. `tree_of`: the trees after the steps before it, as far as
    /// they are known. Whatever can't be read for it makes the answer less precise, and fails nothing.
    pub fn miss(
        &self,
        step: &Step,
        key: &Digest,
        preimage: &Preimage,
        tree_of: &dyn Fn(StepId) -> Option<Digest>,
    ) -> Reason {
        let before = match self.comparable(step) {
            Ok(before) => before,
            Err(reason) => return reason,
        };
        if before.stored == Some(*key) {
            return Reason::new(Kind::Collected, "nothing changed, but its result is no longer in the store");
        }
        if before.key == Some(*key) {
            return Reason::new(Kind::Failed, "nothing changed, but it did not succeed last time");
        }
        let Some(stored) = before.stored else {
            return Reason::new(Kind::Failed, "it has not succeeded before");
        };
        let Ok(Some(old)) = self.cx.store.step(&stored) else {
            return Reason::new(Kind::Incomparable, "it changed; what it was before is no longer in the store");
        };
        let mask = Mask::new(self.cx.secrets);
        let mut all = reason::differences(&old.preimage, preimage.parts(), &mask).into_iter();
        let Some(first) = all.next() else {
            return Reason::new(Kind::Collected, "nothing changed, but its result is no longer in the store");
        };
        let first = Reason { more: all.len(), ..first };
        match first.kind {
            Kind::Files => self.inherited(step, first, &root_of(&old.preimage), &root_of(preimage.parts()), tree_of),
            Kind::File => self.with_source(step, first),
            _ => first,
        }
    }

    /// What a step is compared with, or why with nothing.
    fn comparable(&self, step: &Step) -> Result<&'a BuiltStep, Reason> {
        if self.no_cache {
            return Err(Reason::no_cache());
        }
        if self.last.is_none() {
            return Err(Reason::new(Kind::FirstBuild, "first build of this Dockerfile, context and target"));
        }
        self.before(step.id).ok_or_else(|| Reason::new(Kind::NewStep, "new step"))
    }

    /// Why a source on the network is fetched. `tree`: what it is now, if it has been.
    pub fn fetch(&self, step: &Step, remote: &Remote, tree: Option<&Digest>) -> Reason {
        let before = match self.comparable(step) {
            Ok(before) => before,
            Err(reason) => return reason,
        };
        let source = shown(&remote.to_string());
        match (before.tree, tree) {
            (Some(old), Some(new)) if old != *new => {
                let what =
                    self.difference(&old, new).map_or(String::new(), |difference| format!(": {}", difference.text));
                Reason {
                    name: Some(remote.to_string()),
                    old: Some(old.to_string()),
                    new: Some(new.to_string()),
                    ..Reason::new(Kind::Source, format!("{source} gives something else{what}"))
                }
            }
            (_, Some(_)) => Reason::new(Kind::Source, format!("{source} could have changed, and did not")),
            (_, None) => Reason::new(Kind::Collected, format!("what {source} gives is not in the store")),
        }
    }

    /// What changed of a step that is not looked up: a base image.
    pub fn source(&self, step: &Step, tree: &Digest) -> Option<Reason> {
        let Op::Image(op) = &step.op else { return None };
        let old = self.before(step.id)?.tree?;
        (old != *tree).then(|| base_image(&op.reference, &old, tree, self.difference(&old, tree)))
    }

    /// The tree a step stands on is another one: says what in it, and which step made it so.
    fn inherited(
        &self,
        step: &Step,
        reason: Reason,
        old: &Option<Digest>,
        new: &Option<Digest>,
        tree_of: &dyn Fn(StepId) -> Option<Digest>,
    ) -> Reason {
        let (Some(old), Some(new)) = (old, new) else { return reason };
        let difference = self.difference(old, new);
        let origin = self.origin(step, tree_of);
        let number = origin.map(|id| id.0 + 1);
        if let Some(Op::Image(op)) = origin.map(|id| &self.graph.step(id).op) {
            return Reason { step: number, more: reason.more, ..base_image(&op.reference, old, new, difference) };
        }
        let mut text = reason.text;
        if let Some(difference) = &difference {
            text += &format!(": {}", difference.text);
        }
        if let Some(number) = number {
            text += &format!(" (step {number})");
        }
        let (old, new) = (Some(old.to_string()), Some(new.to_string()));
        Reason { text, name: difference.map(|d| d.path), old, new, step: number, ..reason }
    }

    /// The lowest step below `step` whose result is another than in the last build.
    fn origin(&self, step: &Step, tree_of: &dyn Fn(StepId) -> Option<Digest>) -> Option<StepId> {
        let mut origin = None;
        let mut next = step.base();
        while let Some(id) = next {
            let known = self.before(id).and_then(|before| before.tree);
            if known.is_some() && known == tree_of(id) {
                break;
            }
            origin = Some(id);
            next = self.graph.step(id).base();
        }
        origin
    }

    /// Names the step that a changed file is copied from, if there is one source and it is a step.
    fn with_source(&self, step: &Step, reason: Reason) -> Reason {
        let Op::Copy(op) = &step.op else { return reason };
        match op.sources.as_slice() {
            [CopySource::Step { step, .. } | CopySource::Remote { step, .. }] => {
                let number = step.0 + 1;
                Reason { step: Some(number), text: format!("{} (from step {number})", reason.text), ..reason }
            }
            _ => reason,
        }
    }

    fn difference(&self, old: &Digest, new: &Digest) -> Option<Difference> {
        let trees = self.cx.trees;
        if !trees.has(old) || !trees.has(new) {
            return None;
        }
        let first = diff::first(trees, old, new).ok()??;
        Some(Difference { path: path_of(&first), text: change(&first) })
    }
}

fn path_of(change: &Change) -> String {
    format!("/{}", String::from_utf8_lossy(change.path()))
}

/// A difference of two trees in words: `/etc/passwd has other contents`.
pub fn change(change: &Change) -> String {
    let path = path_of(change);
    match change {
        Change::Added(..) => entry_change(&path, None, Some("")),
        Change::Removed(..) => entry_change(&path, Some(""), None),
        Change::Modified(_, old, new) => entry_change(&path, Some(&describe(&old.entry)), Some(&describe(&new.entry))),
    }
}

/// A difference of two trees.
struct Difference {
    path: String,
    text: String,
}

fn base_image(reference: &str, old: &Digest, new: &Digest, difference: Option<Difference>) -> Reason {
    let mut text = format!("base image {} changed: {} → {}", shown(reference), old.short(), new.short());
    if let Some(difference) = difference {
        text += &format!(", {}", difference.text);
    }
    Reason {
        name: Some(reference.to_owned()),
        old: Some(old.to_string()),
        new: Some(new.to_string()),
        ..Reason::new(Kind::BaseImage, text)
    }
}

/// The tree that a RUN stood on.
pub fn root_of(parts: &reason::Parts) -> Option<Digest> {
    parts.iter().find(|part| part.0 == "root").and_then(|part| part.1.parse().ok())
}

/// A tree's entry in the form of a COPY's key.
fn describe(entry: &layer::Entry) -> String {
    let looks = format!("{:04o} {}:{}", entry.mode, entry.uid, entry.gid);
    match &entry.kind {
        layer::Kind::File { content, .. } | layer::Kind::HardLink { content, .. } => format!("file {looks} {content}"),
        layer::Kind::Dir { .. } => format!("dir {looks}"),
        layer::Kind::Symlink(target) => {
            format!("symlink {}:{} {}", entry.uid, entry.gid, String::from_utf8_lossy(target))
        }
        layer::Kind::Char { major, minor } => format!("char {looks} {major}:{minor}"),
        layer::Kind::Block { major, minor } => format!("block {looks} {major}:{minor}"),
        layer::Kind::Fifo | layer::Kind::Whiteout => format!("fifo {looks}"),
    }
}
