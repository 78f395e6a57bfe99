//! What is known of a running build: the steps, how far each is, the last lines of each one's output. Draws nothing.

use super::exchanges::Exchanges;
use crate::graph::StepId;
use crate::solver::event::{Event, Outcome};
use crate::ui::sanitize;
use std::collections::VecDeque;
use std::time::Instant;

/// Lines of output kept of each step, to be shown if it fails.
const KEPT_LINES: usize = 1000;
/// Characters after which a line without an end is taken as one.
const LONGEST_LINE: usize = 16 * 1024;

/// All steps of a build.
#[derive(Debug, Default)]
pub struct State {
    /// By step number.
    pub steps: Vec<Step>,
    /// What is being written after the steps.
    pub exporting: Option<String>,
    /// Images on their way from or to registries.
    pub exchanges: Exchanges,
}

/// One step.
#[derive(Debug, Default)]
pub struct Step {
    /// `[builder 2/5] RUN make`, one line, safe to show.
    pub label: String,
    /// When it began to run.
    pub started: Option<Instant>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Last lines of output, oldest first, safe to show.
    pub output: VecDeque<String>,
    /// How many lines were dropped before those.
    pub dropped: usize,
    /// Lines that do not end yet, by stream.
    partial: [String; 2],
}

impl Step {
    /// Whether it runs now.
    pub fn is_running(&self) -> bool {
        self.started.is_some() && self.outcome.is_none()
    }

    /// Takes output; gives the lines that are complete now, safe to show.
    fn push(&mut self, stream: u8, text: &str) -> Vec<String> {
        let partial = &mut self.partial[usize::from(stream == 2)];
        let mut lines = Vec::new();
        for piece in text.split_inclusive('\n') {
            partial.push_str(piece);
            if piece.ends_with('\n') || partial.len() > LONGEST_LINE {
                lines.push(sanitize::line(&std::mem::take(partial)));
            }
        }
        self.keep(&lines);
        lines
    }

    /// The lines that never got their line feed, once the step has ended.
    fn flush(&mut self) -> Vec<String> {
        let rest = self.partial.iter_mut().map(std::mem::take).filter(|p| !p.is_empty());
        let lines: Vec<String> = rest.map(|p| sanitize::line(&p)).collect();
        self.keep(&lines);
        lines
    }

    fn keep(&mut self, lines: &[String]) {
        self.output.extend(lines.iter().cloned());
        while self.output.len() > KEPT_LINES {
            self.output.pop_front();
            self.dropped += 1;
        }
    }
}

impl State {
    /// Takes an event in. Gives the lines of output that it completed.
    pub fn apply(&mut self, event: &Event, now: Instant) -> Vec<String> {
        match event {
            Event::Planned { steps } => {
                self.steps.clear();
                for step in steps {
                    self.step(step.id).label = sanitize::line(&step.label.replace('\n', " "));
                }
            }
            Event::Started { step, .. } => self.step(*step).started = Some(now),
            Event::Output { step, stream, text } => return self.step(*step).push(*stream, text),
            Event::Finished { step, outcome, .. } => {
                let step = self.step(*step);
                step.outcome = Some(*outcome);
                let rest = step.flush();
                if *outcome != Outcome::Failed {
                    step.output = VecDeque::new();
                }
                return rest;
            }
            Event::Exporting { what, .. } => self.exporting = Some(sanitize::line(what)),
            Event::Image { .. } => self.exporting = None,
            // Told of by whoever applies them to `exchanges`.
            Event::Exchange { .. } => {}
            Event::Diagnostic { .. } | Event::Note { .. } | Event::Missed { .. } => {}
        }
        Vec::new()
    }

    /// The step with this id, made if no plan has named it.
    pub fn step(&mut self, id: StepId) -> &mut Step {
        if self.steps.len() <= id.index() {
            self.steps.resize_with(id.index() + 1, Step::default);
        }
        &mut self.steps[id.index()]
    }

    /// How many steps have ended, and how many of them were not run.
    pub fn done(&self) -> (usize, usize) {
        let ended = self.steps.iter().filter_map(|s| s.outcome);
        let cached = ended.clone().filter(|o| matches!(o, Outcome::Cached | Outcome::Shared)).count();
        (ended.count(), cached)
    }

    /// The output of failed steps, each under its label.
    pub fn failures(&self) -> String {
        let mut text = String::new();
        for step in self.steps.iter().filter(|s| s.outcome == Some(Outcome::Failed) && !s.output.is_empty()) {
            text += &format!("--- output of {}\n", step.label);
            if step.dropped > 0 {
                text += &format!("… {} earlier lines\n", step.dropped);
            }
            for line in &step.output {
                text += line;
                text.push('\n');
            }
            text += "---\n";
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(state: &mut State, text: &str) -> Vec<String> {
        state.apply(&Event::Output { step: StepId(0), stream: 1, text: text.into() }, Instant::now())
    }

    #[test]
    fn lines_are_put_together_and_stripped() {
        let mut state = State::default();
        assert_eq!(output(&mut state, "one\ntw"), ["one"]);
        assert_eq!(output(&mut state, "o\x1b[3"), [""; 0]);
        assert_eq!(output(&mut state, "1m!\n"), ["two!"]);
        output(&mut state, "no end");
        let outcome = Outcome::Failed;
        let end = Event::Finished { step: StepId(0), at: 0, outcome, key: None, layer: None, millis: 0, from: None };
        assert_eq!(state.apply(&end, Instant::now()), ["no end"]);
        assert_eq!(state.failures(), "--- output of \none\ntwo!\nno end\n---\n");
    }

    #[test]
    fn endless_output_is_bounded() {
        let mut state = State::default();
        for i in 0..KEPT_LINES + 5 {
            output(&mut state, &format!("{i}\n"));
        }
        assert_eq!((state.steps[0].output.len(), state.steps[0].dropped), (KEPT_LINES, 5));
        assert_eq!(state.steps[0].output[0], "5");
        assert_eq!(output(&mut state, &"x".repeat(LONGEST_LINE + 1)).len(), 1);
    }
}
