//! One JSON object per event and line, for programs.

use super::Renderer;
use crate::solver::event::Event;
use std::io::Write;
use std::time::Instant;

/// Writes to `W`.
#[derive(Debug)]
pub struct Json<W> {
    to: W,
}

impl<W: Write> Json<W> {
    /// A renderer that writes to `to`.
    pub fn new(to: W) -> Json<W> {
        Json { to }
    }
}

impl<W: Write + Send> Renderer for Json<W> {
    fn event(&mut self, event: &Event, _now: Instant) {
        // JSON escapes control characters, so nothing needs stripping. A reader that has gone does not stop the build.
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            let _ = self.to.write_all(&line).and_then(|()| self.to.flush());
        }
    }

    fn finish(&mut self, _now: Instant) {}

    fn shows_warnings(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::StepId;

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let mut json = Json::new(Vec::new());
        json.event(&Event::Output { step: StepId(3), stream: 1, text: "a\nb\x1b[2J".into() }, Instant::now());
        let line = String::from_utf8(json.to).unwrap();
        assert_eq!(line, "{\"event\":\"output\",\"step\":3,\"stream\":1,\"text\":\"a\\nb\\u001b[2J\"}\n");
    }
}
