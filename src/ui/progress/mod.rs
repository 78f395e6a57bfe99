//! A build's progress: events come in from any thread, one thread draws.

mod exchanges;
mod json;
mod plain;
mod quiet;
mod screen;
mod state;
mod tty;

use crate::diag::{Diagnostic, Severity};
use crate::net::transfer::News;
use crate::solver::event::Event;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::io::{self, IsTerminal};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// `tty` on a terminal, else `plain`
    Auto,
    /// A live view on standard error
    Tty,
    /// Lines on standard error, one for each thing that happens
    Plain,
    /// One JSON object per event on standard output
    Json,
    /// Nothing but the image ID, on standard output
    Quiet,
}

/// Redraws per second at most, and how often a live view moves by itself.
const REDRAWS: u8 = 20;

/// Something that shows events.
trait Renderer: Send {
    /// Something happened.
    fn event(&mut self, event: &Event, now: Instant);

    /// Called [`REDRAWS`] times a second, events or not.
    fn tick(&mut self, _now: Instant) {}

    /// No more events come. Live views are cleared and what is still to be told is told.
    fn finish(&mut self, now: Instant);

    /// Whether warnings about the Dockerfile are shown after the end.
    fn shows_warnings(&self) -> bool {
        true
    }
}

/// A running display. Drop it or call [`Progress::finish`] to wait until all has been shown.
#[derive(Debug)]
pub struct Progress {
    events: Option<Sender<Event>>,
    thread: Option<JoinHandle<()>>,
    began: Instant,
}

impl Progress {
    /// Starts the display.
    pub fn start(style: Style) -> Progress {
        let renderer: Box<dyn Renderer> = match style {
            Style::Json => Box::new(json::Json::new(io::stdout())),
            Style::Quiet => Box::new(quiet::Quiet::default()),
            Style::Plain => Box::new(plain::Plain::of_build(anstream::stderr())),
            // A live view that is asked for where there is no terminal would be escape sequences in a file.
            Style::Auto | Style::Tty => match is_live_terminal() {
                true => Box::new(tty::Tty::new()),
                false => Box::new(plain::Plain::of_build(anstream::stderr())),
            },
        };
        Progress::of(renderer)
    }

    /// Starts the display of images on their way from or to registries: live on a terminal, else lines.
    pub fn of_exchanges(quiet: bool) -> Progress {
        match (quiet, is_live_terminal()) {
            (true, _) => Progress::of(Box::new(quiet::Quiet::default())),
            (false, true) => Progress::of(Box::new(tty::Tty::new())),
            (false, false) => Progress::of(Box::new(plain::Plain::of_exchanges(anstream::stderr()))),
        }
    }

    /// Takes news of an exchange; from any thread.
    pub fn exchange(&self, name: &str, news: News) {
        self.send(Event::Exchange { name: name.to_owned(), news, at: self.began.elapsed().as_millis() as u64 });
    }

    fn of(mut renderer: Box<dyn Renderer>) -> Progress {
        let (events, receiver) = crossbeam_channel::unbounded();
        let builder = std::thread::Builder::new().name("progress".into());
        // Without a thread the build goes on unseen: its result and its errors are told by the caller.
        let thread = builder.spawn(move || draw(&mut *renderer, &receiver)).ok();
        Progress { events: Some(events), thread, began: Instant::now() }
    }

    /// Takes an event; from any thread.
    pub fn send(&self, event: Event) {
        if let Some(events) = &self.events {
            // Fails only if the display's thread has gone, and then nobody looks.
            let _ = events.send(event);
        }
    }

    /// Waits until everything has been shown.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.events.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_live_terminal() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The drawing thread.
fn draw(renderer: &mut dyn Renderer, events: &Receiver<Event>) {
    let frame = Duration::from_secs(1) / u32::from(REDRAWS);
    let mut warnings: Vec<Diagnostic> = Vec::new();
    let mut next = Instant::now() + frame;
    loop {
        let event = events.recv_deadline(next);
        let now = Instant::now();
        match event {
            Ok(event) => {
                renderer.event(&event, now);
                if let Event::Diagnostic { diagnostic } = event
                    && diagnostic.severity == Severity::Warning
                {
                    warnings.push(diagnostic);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if now >= next {
            renderer.tick(now);
            next = now + frame;
        }
    }
    renderer.finish(Instant::now());
    if renderer.shows_warnings() {
        super::report::warnings(&warnings);
    }
}

/// A duration for people: `0.3s`, `12.3s`, `2m05s`, `1h02m`.
pub fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    match whole {
        0..60 => format!("{:.1}s", time.as_secs_f64()),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (millis, text) in [(0, "0.0s"), (320, "0.3s"), (59_900, "59.9s"), (125_000, "2m05s"), (3_720_000, "1h02m")]
        {
            assert_eq!(seconds(Duration::from_millis(millis)), text);
        }
    }
}
