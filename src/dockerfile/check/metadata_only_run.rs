//! metadata-only-run

use super::paths::{Placed, absolute, is_below, placed};
use super::shell::calls;
use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::dockerfile::ast::Kind;

/// A RUN changes modes or owners of files that COPY put there: the layer holds them a second time.
pub fn find(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for stage in &subject.stages {
        let mut workdir = String::from("/");
        let mut there: Vec<Placed> = Vec::new();
        for instruction in stage.body {
            match &instruction.kind {
                Kind::Workdir(path) => workdir = absolute(&path.value, &workdir).unwrap_or_else(|| path.value.clone()),
                Kind::Copy(_) => there.extend(placed(instruction, &workdir)),
                Kind::Run(run) => {
                    for call in calls(subject, run) {
                        let flag = match call.program() {
                            "chmod" => "chmod",
                            "chown" | "chgrp" => "chown",
                            _ => continue,
                        };
                        let all = call.has(&["-R", "--recursive"]);
                        let touched = |placed: &&Placed| {
                            let path = |word: &str| absolute(word.trim_end_matches('*'), &workdir);
                            call.objects().filter_map(|word| path(&word.value)).any(|path| {
                                placed.path == path
                                    || is_below(&path, &placed.path)
                                    || (all && is_below(&placed.path, &path))
                            })
                        };
                        let Some(copy) = there.iter().find(touched) else { continue };
                        let message = format!(
                            "this layer holds again what {} put there, with another {}",
                            copy.name,
                            match flag {
                                "chmod" => "mode",
                                _ => "owner",
                            }
                        );
                        found.push(
                            subject.finding(message, call.span()).also(copy.span, "put there here").help(format!(
                                "say it there: {} --{flag}={}",
                                copy.name,
                                call.verb()
                            )),
                        );
                    }
                }
                _ => {}
            }
        }
    }
    found
}
