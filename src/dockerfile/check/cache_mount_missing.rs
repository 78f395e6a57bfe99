//! cache-mount-missing

use super::packages::{has_cache_mount, manager_of};
use super::shell::calls;
use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::dockerfile::ast::Kind;

/// A package manager downloads everything anew whenever its RUN runs.
pub fn find(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for stage in &subject.stages {
        for instruction in stage.body {
            let Kind::Run(run) = &instruction.kind else { continue };
            if has_cache_mount(run) {
                continue;
            }
            let calls = calls(subject, run);
            if let Some((call, manager)) = calls.iter().find_map(|call| Some((call, manager_of(call)?))) {
                found.push(
                    subject
                        .finding(
                            format!("`{}` downloads everything anew whenever this runs", call.program()),
                            call.span(),
                        )
                        .help(format!("keep its downloads: RUN --mount=type=cache,target={}", manager.cache)),
                );
            }
        }
    }
    found
}
