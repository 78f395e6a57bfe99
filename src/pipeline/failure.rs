//! A failed step, told at its instruction.

use super::BuildError;
use crate::diag::{Diagnostic, Source, Span};
use crate::graph::StepId;
use crate::ops::OpError;
use crate::solver::SolveError;

/// Points at the instruction of a failed step, at the very word if the failure names one.
pub(super) fn of_step(error: SolveError, instruction: Span, source: &Source) -> BuildError {
    match *error.error {
        OpError::Cancelled => BuildError::Interrupted,
        _ => pointed(error, instruction, source),
    }
}

/// The same for a source on the network that is looked at before its graph is solved.
pub(super) fn of_source(error: OpError, label: String, instruction: Span, source: &Source) -> BuildError {
    of_step(SolveError { step: StepId(0), label, error: error.into() }, instruction, source)
}

fn pointed(error: SolveError, instruction: Span, source: &Source) -> BuildError {
    let mut diagnostic = match &*error.error {
        OpError::Input { code, message, notes, help, subject } => {
            let span = subject.as_deref().and_then(|word| find(source, instruction, word)).unwrap_or(instruction);
            let mut diagnostic = Diagnostic::error(code, message.clone(), source, span);
            diagnostic.notes.clone_from(notes);
            diagnostic.help.clone_from(help);
            diagnostic
        }
        OpError::Failed { kept, .. } | OpError::Late { kept, .. } => {
            let mut diagnostic = Diagnostic::error("step-failed", error.error.to_string(), source, instruction);
            if let Some(log) = &kept.log {
                diagnostic.notes.push(format!("its whole output is in {}", log.display()));
            }
            if kept.full {
                diagnostic.notes.push("the store's file system is full; the step's files were not kept".into());
                diagnostic.help.push(MAKE_ROOM.into());
            }
            if kept.snapshot.is_some() {
                diagnostic.help.push("open a shell where it failed: `rbuild shell --failed`".into());
            }
            diagnostic
        }
        // These say their cause themselves.
        other => {
            let mut diagnostic = Diagnostic::error("step-failed", other.to_string(), source, instruction);
            if is_full(other) {
                diagnostic.help.push(MAKE_ROOM.into());
            }
            diagnostic
        }
    };
    diagnostic.notes.insert(0, format!("in step {}", error.label));
    BuildError::Step { diagnostic: Box::new(diagnostic), error: Box::new(error) }
}

/// What to do about a full disk.
const MAKE_ROOM: &str = "make room on the store's file system: `rbuild prune`, or another store with --root";

/// Whether a full disk is behind a failure.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    std::iter::from_fn(|| {
        let this = cause?;
        cause = this.source();
        Some(this)
    })
    .filter_map(|e| e.downcast_ref::<std::io::Error>())
    .any(crate::base::fs::is_full)
}

fn find(source: &Source, within: Span, word: &str) -> Option<Span> {
    let text = source.text().get(within.range())?;
    let at = within.start + text.find(word)?;
    Some(Span::new(at..at + word.len()))
}
