//! Says nothing while all is well; if a step fails, its last output.

use super::Renderer;
use super::state::State;
use crate::solver::event::Event;
use std::time::Instant;

/// Keeps what a failed step said.
#[derive(Debug, Default)]
pub struct Quiet {
    state: State,
}

impl Renderer for Quiet {
    fn event(&mut self, event: &Event, now: Instant) {
        self.state.apply(event, now);
    }

    fn finish(&mut self, _now: Instant) {
        crate::ui::report::show(&self.state.failures());
    }

    fn shows_warnings(&self) -> bool {
        false
    }
}
