//! cache-order

use super::packages::manager_of;
use super::paths::context_sources;
use super::shell::calls;
use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::dockerfile::ast::{Kind, Word};

/// The whole context is copied before dependencies are installed that only a few of its files name.
pub fn find(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for stage in &subject.stages {
        let mut whole: Option<&Word> = None;
        for instruction in stage.body {
            match (&instruction.kind, whole) {
                (Kind::Copy(copy), None) => whole = context_sources(copy).find(|source| is_all(&source.value)),
                (Kind::Run(run), Some(source)) => {
                    let calls = calls(subject, run);
                    // An editable install, or one of the project itself, needs the project's files.
                    let needs_files = |word: &Word| {
                        word.value.starts_with(['.', '/']) || matches!(word.value.as_str(), "-e" | "--editable")
                    };
                    let is_install = |call: &&super::shell::Call| {
                        let system =
                            |program| matches!(program, "apt-get" | "apt" | "apk" | "dnf" | "yum" | "microdnf");
                        manager_of(call).is_some_and(|manager| manager.of_project || system(call.program()))
                            && !call.words.iter().skip(1).any(needs_files)
                    };
                    if let Some(call) = calls.iter().find(is_install) {
                        let what = format!("{} {}", call.program(), call.verb());
                        found.push(
                            subject
                                .finding("every change of any file makes the installation below run again", source.span)
                                .also(call.span(), "runs after it")
                                .help(format!(
                                    "copy only what `{}` reads, run it, and copy the rest after it",
                                    what.trim_end()
                                )),
                        );
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found
}

fn is_all(source: &str) -> bool {
    matches!(source, "." | "./" | "/" | "*" | "./*")
}
