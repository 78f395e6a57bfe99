//! A live view: running steps with their last lines of output at the bottom, finished ones folded into lines above.
//!
//! What is drawn is computed as plain lines ([`frame`]) and set as one bar's text, so that a frame is one write, never
//! more lines are live than the terminal has rows, and none is ever wrapped: wrapped and surplus lines leave ghosts.

use super::exchanges::Kind;
use super::screen::{self, Screen};
use super::state::State;
use super::{REDRAWS, Renderer, seconds};
use crate::solver::event::{Event, Outcome};
use crate::ui::{report, sanitize};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::{OwoColorize, Style};
use std::time::{Duration, Instant};

/// Lines of output shown below a running step.
const OUTPUT_LINES: usize = 4;
/// Columns for the indent before and the time behind a bar.
const TIME: usize = 9;
/// A build shorter than this never shows a live view, only its lines.
const FIRST_FRAME: Duration = Duration::from_millis(120);

/// The view.
#[derive(Debug)]
pub struct Tty {
    /// Once there is something to show.
    live: Option<ProgressBar>,
    state: State,
    began: Instant,
    colour: bool,
}

impl Tty {
    /// A view on standard error, which is a terminal.
    pub fn new() -> Tty {
        Tty {
            live: None,
            state: State::default(),
            began: Instant::now(),
            colour: anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never,
        }
    }

    /// Prints a line above the live ones.
    fn fold(&self, mark: &str, style: Style, text: &str) {
        let text = sanitize::fit(text, width().saturating_sub(MARK + 1));
        let mark = paint(self.colour, style, &format!("{mark:>MARK$}"));
        match &self.live {
            Some(bar) => bar.println(format!("{mark} {text}")),
            None => report::show(&format!("{mark} {text}\n")),
        }
    }

    fn draw(&mut self, lines: &[Line]) {
        let paint = |line: &Line| match line {
            Line::Head(text) => paint(self.colour, Style::new().bold(), text),
            Line::Step(text) => text.clone(),
            Line::Output(text) => paint(self.colour, Style::new().dimmed(), text),
        };
        let text = lines.iter().map(paint).collect::<Vec<_>>().join("\n");
        // Setting the text draws it; nothing else does.
        self.live.get_or_insert_with(bar).set_message(text);
    }
}

fn bar() -> ProgressBar {
    let screen = Screen::new(std::io::stderr(), screen::size);
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen), REDRAWS);
    let bar = ProgressBar::with_draw_target(None, target);
    match ProgressStyle::with_template("{msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Columns of the mark before a folded step.
const MARK: usize = 8;

/// A live line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Head(String),
    Step(String),
    Output(String),
}

/// The live lines: a summary, then running steps, the longest-running first, with output as far as rows allow.
fn frame(state: &State, began: Instant, now: Instant, columns: usize, rows: usize) -> Vec<Line> {
    let most = rows.saturating_sub(2);
    let mut running: Vec<_> = state.steps.iter().filter(|s| s.is_running()).collect();
    running.sort_by_key(|step| step.started);
    let (done, cached) = state.done();
    let mut head = match (&state.exporting, state.exchanges.title()) {
        (Some(what), _) => what.clone(),
        (None, Some(title)) if state.steps.is_empty() => title.to_owned(),
        (None, _) => format!("building: {done} of {} steps", state.steps.len()),
    };
    if cached > 0 {
        head += &format!(", {cached} cached");
    }
    let mut lines = vec![Line::Head(with_time(&head, now.duration_since(began), columns))];
    let shown = running.len().min(most.saturating_sub(1));
    let for_output = most.saturating_sub(1 + shown).checked_div(shown).unwrap_or(0).min(OUTPUT_LINES);
    for step in running.iter().take(shown) {
        let time = step.started.map_or(Duration::ZERO, |start| now.duration_since(start));
        lines.push(Line::Step(with_time(&format!("  {}", step.label), time, columns)));
        let said: Vec<&String> = step.output.iter().filter(|line| !line.trim().is_empty()).collect();
        for line in &said[said.len().saturating_sub(for_output)..] {
            lines.push(Line::Output(sanitize::fit(&format!("    {line}"), columns)));
        }
    }
    for (text, since) in state.exchanges.lines(columns.saturating_sub(TIME)) {
        lines.push(Line::Step(with_time(&format!("  {text}"), now.duration_since(since), columns)));
    }
    lines.truncate(most);
    lines
}

/// `text` and, at the right edge, a time.
fn with_time(text: &str, time: Duration, columns: usize) -> String {
    let time = seconds(time);
    let text = sanitize::fit(text, columns.saturating_sub(time.len() + 1));
    let gap = columns.saturating_sub(sanitize::width(&text) + time.len());
    format!("{text}{:gap$}{time}", "")
}

fn paint(colour: bool, style: Style, text: &str) -> String {
    if colour { text.style(style).to_string() } else { text.to_owned() }
}

/// Columns that may be used.
fn width() -> usize {
    screen::size().0.saturating_sub(screen::MARGIN)
}

impl Renderer for Tty {
    fn event(&mut self, event: &Event, now: Instant) {
        self.state.apply(event, now);
        match event {
            Event::Finished { step, outcome, millis, from, .. } => {
                let label = self.state.step(*step).label.clone();
                let from = from.as_ref().map_or(String::new(), |from| format!(" (from {})", sanitize::line(from)));
                let took = seconds(Duration::from_millis(*millis));
                let (done, faint) = (Style::new().green(), Style::new().cyan());
                match outcome {
                    Outcome::Cached => self.fold("CACHED", faint, &(label + &from)),
                    Outcome::Shared => self.fold("SHARED", faint, &label),
                    Outcome::Ran => self.fold(&took, done, &label),
                    Outcome::Same => self.fold(&took, done, &format!("{label} (same result as before)")),
                    Outcome::Failed => self.fold("FAILED", Style::new().red().bold(), &label),
                    // Of steps that never began there is nothing to tell.
                    Outcome::Cancelled => {
                        if self.state.step(*step).started.is_some() {
                            self.fold("STOPPED", Style::new().yellow(), &label);
                        }
                    }
                }
            }
            Event::Exchange { name, news, .. } => {
                let told = self.state.exchanges.apply(name, news, now);
                match told.kind {
                    Kind::Arrived(time) => self.fold(&seconds(time), Style::new().green(), &told.text),
                    Kind::Known => self.fold("", Style::new(), &told.text),
                    Kind::Said => self.fold("note", Style::new().yellow(), &told.text),
                    Kind::Going | Kind::Ended(_) => {}
                }
            }
            Event::Note { text, .. } => self.fold("warning", Style::new().yellow(), &sanitize::line(text)),
            Event::Missed { step, reason } => {
                let label = self.state.step(*step).label.clone();
                let reason = sanitize::line(&reason.to_string());
                self.fold("miss", Style::new().magenta(), &format!("{label}: {reason}"));
            }
            Event::Image { id, names, .. } => {
                let names: Vec<String> = names.iter().map(|name| sanitize::line(name)).collect();
                let named = if names.is_empty() { String::new() } else { format!(" {}", names.join(", ")) };
                self.fold("image", Style::new().green().bold(), &format!("sha256:{}{named}", id.short()));
            }
            _ => {}
        }
    }

    fn tick(&mut self, now: Instant) {
        if now.duration_since(self.began) < FIRST_FRAME {
            return;
        }
        let lines = frame(&self.state, self.began, now, width(), screen::size().1);
        self.draw(&lines);
    }

    fn finish(&mut self, _now: Instant) {
        if let Some(bar) = self.live.take() {
            bar.finish_and_clear();
        }
        report::show(&self.state.failures());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::StepId;

    fn running(labels: &[&str], output: &str) -> (State, Instant) {
        let mut state = State::default();
        let now = Instant::now();
        for (i, label) in labels.iter().enumerate() {
            let step = StepId(u32::try_from(i).unwrap());
            state.step(step).label = (*label).to_owned();
            state.apply(&Event::Started { step, at: 0 }, now);
            state.apply(&Event::Output { step, stream: 1, text: output.to_owned() }, now);
        }
        (state, now)
    }

    #[test]
    fn a_frame_never_outgrows_the_terminal() {
        let labels: Vec<String> = (0..30).map(|i| format!("[{i}/30] RUN {}", "long ".repeat(50))).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let (state, now) = running(&labels, "日本語日本語日本語日本語日本語日本語\nx\n");
        for (columns, rows) in [(80, 24), (20, 5), (10, 3), (5, 2), (1, 1), (200, 100)] {
            let lines = frame(&state, now, now + Duration::from_secs(3), columns, rows);
            assert!(lines.len() <= rows.saturating_sub(2), "{columns}x{rows}");
            for line in lines {
                let (Line::Head(text) | Line::Step(text) | Line::Output(text)) = line;
                assert!(sanitize::width(&text) <= columns.max(4), "{columns}x{rows}: {text}");
            }
        }
    }

    #[test]
    fn a_frame_shows_time_and_the_last_lines() {
        let (state, now) = running(&["[1/2] RUN make"], "1\n2\n3\n4\n\n5\n");
        let lines = frame(&state, now, now + Duration::from_millis(1500), 30, 24);
        let expected = [
            Line::Head("building: 0 of 1 steps    1.5s".into()),
            Line::Step("  [1/2] RUN make          1.5s".into()),
            Line::Output("    2".into()),
            Line::Output("    3".into()),
            Line::Output("    4".into()),
            Line::Output("    5".into()),
        ];
        assert_eq!(lines, expected);
    }
}
