//! Lines, one for each thing that happens, as `docker build --progress=plain` writes them: made to be read in a log and
//! searched with grep.

use super::exchanges::{Kind, Told};
use super::state::State;
use super::{Renderer, seconds};
use crate::graph::StepId;
use crate::solver::event::{Event, Outcome};
use crate::ui::sanitize;
use std::io::Write;
use std::time::{Duration, Instant};

/// Writes to `W`.
#[derive(Debug)]
pub struct Plain<W> {
    to: W,
    state: State,
    /// The last number that was given away.
    last: usize,
    /// The number before that of the first step.
    before: usize,
    /// Numbers of exchanges; none where there is nothing to tell them from.
    exchanges: Option<Vec<usize>>,
}

impl<W: Write> Plain<W> {
    /// A build's log, written to `to`. Each line begins with the number of what it is about, counted from 1 as in docker's
    /// output: steps, and images that are pulled, which come before the steps are known.
    pub fn of_build(to: W) -> Plain<W> {
        Plain { to, state: State::default(), last: 0, before: 0, exchanges: Some(Vec::new()) }
    }

    /// The log of a command that only pulls or pushes.
    pub fn of_exchanges(to: W) -> Plain<W> {
        Plain { exchanges: None, ..Plain::of_build(to) }
    }

    fn told(&mut self, told: &Told) {
        let Some(numbers) = &mut self.exchanges else {
            // How the command ends, it says itself.
            if !matches!(told.kind, Kind::Ended(_)) {
                let _ = writeln!(self.to, "{}", told.logged());
            }
            return;
        };
        while numbers.len() <= told.exchange {
            self.last += 1;
            numbers.push(self.last);
        }
        let number = numbers[told.exchange];
        self.line(number, &told.logged());
    }

    fn number(&self, step: StepId) -> usize {
        self.before + step.index() + 1
    }

    fn line(&mut self, number: usize, text: &str) {
        // The build goes on if nobody reads.
        let _ = writeln!(self.to, "#{number} {text}");
    }

    fn output(&mut self, step: StepId, lines: &[String], now: Instant) {
        let since = self.state.step(step).started.map_or(Duration::ZERO, |start| now.duration_since(start));
        for line in lines {
            self.line(self.number(step), &format!("{:.3} {line}", since.as_secs_f64()));
        }
    }
}

impl<W: Write + Send> Renderer for Plain<W> {
    fn event(&mut self, event: &Event, now: Instant) {
        let lines = self.state.apply(event, now);
        match event {
            Event::Planned { steps } => {
                self.before = self.last;
                self.last += steps.len();
            }
            Event::Exchange { name, news, .. } => {
                let told = self.state.exchanges.apply(name, news, now);
                self.told(&told);
            }
            Event::Started { step, .. } => {
                let label = self.state.step(*step).label.clone();
                self.line(self.number(*step), &label);
            }
            Event::Output { step, .. } => self.output(*step, &lines, now),
            Event::Note { step, text } => self.line(self.number(*step), &format!("WARNING {}", sanitize::line(text))),
            Event::Missed { step, reason } => {
                self.line(self.number(*step), &format!("MISS {}", sanitize::line(&reason.to_string())));
            }
            Event::Finished { step, outcome, millis, from, .. } => {
                self.output(*step, &lines, now);
                let known = self.state.step(*step);
                if known.started.is_none() && *outcome != Outcome::Cancelled {
                    let label = known.label.clone();
                    self.line(self.number(*step), &label);
                }
                let took = seconds(Duration::from_millis(*millis));
                let text = match (outcome, from) {
                    (Outcome::Cached, Some(from)) => format!("CACHED (from {})", sanitize::line(from)),
                    (Outcome::Cached, None) => "CACHED".to_owned(),
                    (Outcome::Shared, _) => format!("SHARED {took} (another build ran it)"),
                    (Outcome::Ran, _) => format!("DONE {took}"),
                    (Outcome::Same, _) => format!("DONE {took} (same result as before)"),
                    (Outcome::Failed, _) => format!("ERROR {took}"),
                    (Outcome::Cancelled, _) => "CANCELED".to_owned(),
                };
                self.line(self.number(*step), &text);
            }
            Event::Exporting { what, .. } => {
                self.last += 1;
                self.line(self.last, &sanitize::line(what));
            }
            Event::Image { id, names, .. } => {
                self.last += 1;
                self.line(self.last, &format!("image {id}"));
                for name in names {
                    self.line(self.last, &format!("named {}", sanitize::line(name)));
                }
            }
            Event::Diagnostic { .. } => {}
        }
    }

    fn tick(&mut self, now: Instant) {
        for told in self.state.exchanges.overdue(now) {
            self.told(&told);
        }
    }

    fn finish(&mut self, _now: Instant) {
        let _ = self.to.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::transfer::News;
    use crate::solver::event::PlannedStep;

    #[test]
    fn a_log_reads_as_dockers() {
        let mut plain = Plain::of_build(Vec::new());
        let now = Instant::now();
        let label = |text: &str| text.to_owned();
        let plan = ["[1/3] FROM base", "[2/3] RUN make", "[3/3] RUN make\ntest"];
        let steps = plan.iter().enumerate().map(|(i, text)| {
            let id = StepId(u32::try_from(i).unwrap());
            PlannedStep { id, label: label(text), stage: "stage-0".into() }
        });
        let finished = |step, outcome, millis| Event::Finished {
            step: StepId(step),
            at: 0,
            outcome,
            key: None,
            layer: None,
            millis,
            from: None,
        };
        let output = |text: &str| Event::Output { step: StepId(1), stream: 1, text: text.into() };
        let exchange = |news| Event::Exchange { name: "base".into(), news, at: 0 };
        for (event, at) in [
            (exchange(News::Begun { act: "pull" }), 0),
            (exchange(News::Ended), 0),
            (Event::Planned { steps: steps.collect() }, 0),
            (finished(0, Outcome::Cached, 0), 0),
            (Event::Started { step: StepId(1), at: 0 }, 0),
            (output("cc -c a.c\n\x1b[31mwarn"), 123),
            (output("ing\x1b[0m\nlast"), 456),
            (finished(1, Outcome::Ran, 1234), 1234),
            (Event::Started { step: StepId(2), at: 0 }, 2000),
            (Event::Note { step: StepId(2), text: "slow".into() }, 2000),
            (finished(2, Outcome::Failed, 100), 2100),
            (Event::Exporting { what: "to x".into(), at: 0 }, 2100),
        ] {
            plain.event(&event, now + Duration::from_millis(at));
        }
        let expected = "\
#1 pull base
#1 DONE 0.0s
#2 [1/3] FROM base
#2 CACHED
#3 [2/3] RUN make
#3 0.123 cc -c a.c
#3 0.456 warning
#3 1.234 last
#3 DONE 1.2s
#4 [3/3] RUN make test
#4 WARNING slow
#4 ERROR 0.1s
#5 to x
";
        assert_eq!(String::from_utf8(plain.to).unwrap(), expected);
    }
}
