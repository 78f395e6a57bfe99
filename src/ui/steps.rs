//! What `why` and `plan` tell of steps, for people.

use super::progress::seconds;
use super::sanitize;
use super::table::ago;
use crate::solver::event::Outcome;
use crate::solver::plan::{Forecast, Plan, Verdict};
use crate::solver::record::{BuildRecord, BuiltStep};
use std::fmt::Write;
use std::time::Duration;

/// Cells of a label.
const LABEL: usize = 100;

/// Steps that one line names.
const MOST_NAMED: usize = 3;

/// Every step of a build.
pub fn build(record: &BuildRecord, built: i64, now: i64) -> String {
    let project = &record.project;
    let dockerfile = project.dockerfile.as_deref().unwrap_or("a Dockerfile from standard input");
    let context = project.context.as_deref().map_or(String::new(), |context| format!(" on {context}"));
    let target = project.target.as_deref().map_or(String::new(), |target| format!(", target {target}"));
    let mut text = sanitize::line(&format!("last build of {dockerfile}{context}{target}: {}", ago(built, now))) + "\n";
    for (number, step) in (1..).zip(&record.steps) {
        let ran = matches!(step.outcome, Outcome::Ran | Outcome::Same);
        let time = step.millis.filter(|_| ran);
        text += &row(number, word(step.outcome), time, &step.label);
        // Of a step that was not run only a changed base image is news.
        let reason = step.reason.as_ref().filter(|_| step.key.is_none() || step.outcome != Outcome::Cached);
        if let Some(reason) = reason {
            text += &remark(&reason.to_string());
        }
    }
    text
}

/// All about one step. `differences`: see [`crate::pipeline::recall::differences`].
pub fn step(number: usize, step: &BuiltStep, differences: &[String], now: i64) -> String {
    let mut text = sanitize::line(&format!("step {number}: {}", step.label)) + "\n";
    let mut field = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<9} {}", sanitize::line(&value));
    };
    if let Some(line) = step.line {
        field("line", line.to_string());
    }
    field("outcome", word(step.outcome).to_owned());
    if let (Some(millis), Some(ran)) = (step.millis, step.ran) {
        field("last run", format!("{}, {}", seconds(Duration::from_millis(millis)), ago(ran, now)));
    }
    if let Some(reason) = &step.reason {
        field("reason", reason.to_string());
    }
    if differences.len() > 1 {
        field("changes", differences[0].clone());
        differences[1..].iter().for_each(|difference| field("", difference.clone()));
    }
    if let Some(key) = step.key {
        field("key", key.to_string());
    }
    if let Some(compared) = step.compared {
        field("before", compared.to_string());
    }
    text
}

/// A plan.
pub fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        let verdict = match step.verdict {
            Verdict::Hit => "hit",
            Verdict::Miss => "miss",
            Verdict::Unknown => "unknown",
        };
        let time = step.millis.filter(|_| step.verdict != Verdict::Hit);
        text += &row(step.step as usize, verdict, time, &step.label);
        if let Some(why) = expectation(step) {
            text += &remark(&why);
        }
    }
    if plan.steps.iter().all(|step| step.verdict == Verdict::Hit) {
        return text + "nothing would run\n";
    }
    let time = |millis| seconds(Duration::from_millis(millis));
    let _ = write!(text, "predicted: {}", time(plan.millis));
    if plan.millis_at_best < plan.millis {
        let _ = write!(text, ", at best {}", time(plan.millis_at_best));
    }
    if !plan.untimed.is_empty() {
        let _ = write!(text, ", without {}, of which no time is known", list(&plan.untimed));
    }
    if !plan.critical_path.is_empty() {
        let _ = write!(text, "; critical path: {}", list(&plan.critical_path));
    }
    text + "\n"
}

fn expectation(step: &Forecast) -> Option<String> {
    let reason = || step.reason.as_ref().map(ToString::to_string);
    if step.verdict != Verdict::Unknown {
        return reason();
    }
    if step.depends_on.is_empty() {
        let sure = if step.hit_if_same == Some(true) {
            "a hit unless the source has changed"
        } else {
            "the source is not asked now"
        };
        return Some(sure.to_owned());
    }
    let (on, yields) = match step.depends_on.len() {
        0..2 => (list(&step.depends_on), "yields"),
        2..=MOST_NAMED => (list(&step.depends_on), "yield"),
        many => (format!("{many} earlier steps"), "yield"),
    };
    Some(match step.hit_if_same {
        Some(true) if step.only_destination => format!("a hit unless {on} changed what is at its destination"),
        Some(true) => format!("runs unless {on} {yields} the same files as last time"),
        Some(false) => {
            let reason = reason().unwrap_or_default();
            format!("runs even if {on} {yields} the same files as last time: {reason}")
        }
        None => format!("cannot be told before {on} ran"),
    })
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Cached => "cached",
        Outcome::Shared => "shared",
        Outcome::Ran => "ran",
        Outcome::Same => "ran, same",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "cancelled",
    }
}

fn row(number: usize, word: &str, millis: Option<u64>, label: &str) -> String {
    let time = millis.map_or(String::new(), |millis| seconds(Duration::from_millis(millis)));
    format!("{number:>3}  {word:<9}  {time:>6}  {}\n", sanitize::fit(&sanitize::line(label), LABEL))
}

fn remark(text: &str) -> String {
    format!("{:24}{}\n", "", sanitize::line(text))
}

/// `step 2`, `steps 2, 3 and 5`.
fn list(steps: &[u32]) -> String {
    let words: Vec<String> = steps.iter().map(u32::to_string).collect();
    match words.as_slice() {
        [] => "no step".to_owned(),
        [one] => format!("step {one}"),
        [most @ .., last] => format!("steps {} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::list;

    #[test]
    fn steps_are_listed_in_words() {
        for (steps, text) in [(&[2][..], "step 2"), (&[2, 5], "steps 2 and 5"), (&[2, 3, 5], "steps 2, 3 and 5")] {
            assert_eq!(list(steps), text);
        }
    }
}
