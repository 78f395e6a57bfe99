//! What the last build of a project did, kept so that the next one can tell what changed and how long things take.

use super::event::Outcome;
use super::reason::Reason;
use crate::base::{Digest, Hasher};
use crate::graph::Step;
use serde::{Deserialize, Serialize};

/// What makes two builds comparable: the same Dockerfile on the same context, for the same target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Canonical path of the main build context; `None`: there was none.
    pub context: Option<String>,
    /// Canonical path of the Dockerfile; `None`: standard input.
    pub dockerfile: Option<String>,
    /// `--target`.
    pub target: Option<String>,
    /// What is built together with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Project>,
}

impl Project {
    /// Names its record in the store.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        for part in [&self.context, &self.dockerfile, &self.target] {
            hasher.number(u64::from(part.is_some())).field(part.as_deref().unwrap_or_default().as_bytes());
        }
        for other in &self.others {
            hasher.field(other.digest().to_string().as_bytes());
        }
        hasher.finish()
    }
}

/// A build. Its time is that of its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// Of what.
    pub project: Project,
    /// In the order of the graph.
    pub steps: Vec<BuiltStep>,
}

/// A step of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltStep {
    /// `[builder 2/5] RUN make`.
    pub label: String,
    /// Its stage.
    pub stage: String,
    /// Line of its instruction in the Dockerfile, from 1.
    pub line: Option<usize>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it had to run, the last time it did.
    pub reason: Option<Reason>,
    /// How long its last run took, milliseconds.
    pub millis: Option<u64>,
    /// When that was, seconds since the epoch.
    pub ran: Option<i64>,
    /// The key it was looked up under; none for sources, and for steps that never came so far.
    pub key: Option<Digest>,
    /// The key that it was compared with.
    pub compared: Option<Digest>,
    /// The last key at this place under which there is a step record: what the next build compares with.
    pub stored: Option<Digest>,
    /// The merged tree after it; of a step that did not succeed, after its last success.
    pub tree: Option<Digest>,
    /// Its layer, likewise.
    pub layer: Option<Digest>,
}

/// What is at most worth comparing to find which step is which.
const MOST_PAIRS: usize = 1 << 20;

/// For each step of `new` the index of the step of `old` that it was: the same instruction, or one in its place that
/// resembles it. Order is kept.
pub fn align(old: &[BuiltStep], new: &[Step]) -> Vec<Option<usize>> {
    let same = |(a, b): &(&BuiltStep, &Step)| a.stage == b.stage && text(&a.label) == text(&b.label);
    let head = old.iter().zip(new).take_while(same).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(same).count();
    let (rows, columns) = (old.len() - head - tail, new.len() - head - tail);
    let mut found: Vec<Option<usize>> = (0..head).map(Some).collect();
    found.extend(between(&old[head..head + rows], &new[head..head + columns]).into_iter().map(|i| Some(i? + head)));
    found.extend((old.len() - tail..old.len()).map(Some));
    found
}

/// The alignment of greatest total likeness (Needleman and Wunsch), with nothing lost for what stands alone.
fn between(old: &[BuiltStep], new: &[Step]) -> Vec<Option<usize>> {
    if old.is_empty() || new.is_empty() || old.len() * new.len() > MOST_PAIRS {
        return vec![None; new.len()];
    }
    let width = new.len() + 1;
    let mut best = vec![0u32; (old.len() + 1) * width];
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            let paired = likeness(a, b).map_or(0, |like| like + best[(i + 1) * width + j + 1]);
            best[i * width + j] = paired.max(best[(i + 1) * width + j]).max(best[i * width + j + 1]);
        }
    }
    let mut found = vec![None; new.len()];
    let (mut i, mut j) = (0, 0);
    while i < old.len() && j < new.len() {
        let here = best[i * width + j];
        if likeness(&old[i], &new[j]).is_some_and(|like| here == like + best[(i + 1) * width + j + 1]) {
            found[j] = Some(i);
            (i, j) = (i + 1, j + 1);
        } else if here == best[(i + 1) * width + j] {
            i += 1;
        } else {
            j += 1;
        }
    }
    found
}

/// How likely a step is to have been another one; `None`: not at all.
fn likeness(old: &BuiltStep, new: &Step) -> Option<u32> {
    let (a, b) = (text(&old.label), text(&new.label));
    let stage = u32::from(old.stage == new.stage) * 50;
    if a == b {
        return Some(1000 + stage);
    }
    if a.split(' ').next() != b.split(' ').next() {
        return None;
    }
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let shorter = a.len().min(b.len());
    let head = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count().min(shorter - head);
    let percent = u32::try_from(100 * (head + tail) / a.len().max(b.len()).max(1)).unwrap_or_default();
    (stage > 0 || percent >= 50).then_some(stage + percent)
}

/// A label without its place: `RUN make`.
pub fn text(label: &str) -> &str {
    label.split_once("] ").map_or(label, |(_, text)| text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::graph::{Op, StepId};

    /// A step that was run, by `STAGE TEXT`.
    pub fn built(line: &str) -> BuiltStep {
        let (stage, text) = line.split_once(' ').unwrap();
        BuiltStep {
            label: format!("[{stage} 1/9] {text}"),
            stage: stage.into(),
            line: None,
            outcome: Outcome::Ran,
            reason: None,
            millis: None,
            ran: None,
            key: None,
            compared: None,
            stored: None,
            tree: None,
            layer: None,
        }
    }

    fn step(line: &str) -> Step {
        let built = built(line);
        Step { id: StepId(0), op: Op::Scratch, label: built.label, stage: built.stage, span: None }
    }

    #[test]
    fn steps_are_recognised_when_others_come_go_and_change() {
        let old =
            ["a FROM x", "a COPY . /src", "a RUN make -j2", "a RUN make test", "b FROM y", "b COPY --from=a /o /o"];
        for (new, expected) in [
            (old.to_vec(), vec![Some(0), Some(1), Some(2), Some(3), Some(4), Some(5)]),
            (
                vec!["a FROM x", "a RUN apt-get update", "a COPY . /src", "a RUN make -j4"],
                vec![Some(0), None, Some(1), Some(2)],
            ),
            (vec!["a FROM z", "a RUN make test"], vec![Some(0), Some(3)]),
            (vec!["c FROM x", "c COPY . /src", "c RUN cargo build"], vec![Some(0), Some(1), None]),
            (vec!["a RUN cargo build"], vec![Some(2)]),
            (vec![], vec![]),
        ] {
            let found = align(&old.map(built), &new.iter().map(|line| step(line)).collect::<Vec<_>>());
            assert_eq!(found, expected, "{new:?}");
        }
        assert_eq!(align(&[], &[step("a RUN x")]), [None]);
    }

    #[test]
    fn a_record_reads_back_and_names_its_project() {
        let project = Project { context: Some("/c".into()), ..Project::default() };
        assert_ne!(project.digest(), Project::default().digest());
        let other = Project { dockerfile: Some("/c".into()), ..Project::default() };
        assert_ne!(project.digest(), other.digest());
        let record = BuildRecord { project, steps: vec![built("a RUN x")] };
        let json = serde_json::to_vec(&record).unwrap();
        assert_eq!(serde_json::from_slice::<BuildRecord>(&json).unwrap(), record);
    }
}
