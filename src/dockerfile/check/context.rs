//! Paths: the build context's and WORKDIR's.

use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::dockerfile::ast::{Kind, Operand};

/// WorkdirRelativePath
pub fn workdir_relative_path(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let is_workdir = |kind: &Kind| matches!(kind, Kind::Workdir(_));
    subject.each_after(is_workdir, |instruction, placed| {
        let Kind::Workdir(path) = &instruction.kind else { return };
        let written = path.value.trim_start_matches(['"', '\'']);
        if !placed && !written.starts_with('/') && !written.starts_with('$') {
            found.push(
                subject
                    .finding(format!("relative WORKDIR `{}` depends on the base image's", path.value), path.span)
                    .help(format!("write an absolute path, e.g. WORKDIR /{}", written.trim_start_matches("./"))),
            );
        }
    });
    found
}

/// CopyIgnoredFile
pub fn copy_ignored_file(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let Some(ignore) = subject.ignore.filter(|ignore| !ignore.is_empty()) else { return Vec::new() };
    let mut found = Vec::new();
    for instruction in &subject.file.instructions {
        let Kind::Copy(copy) = &instruction.kind else { continue };
        if copy.flags.iter().any(|flag| flag.name.value == "from") {
            continue;
        }
        for source in &copy.sources {
            let Operand::Path(word) = source else { continue };
            let path = clean(&word.value);
            if path.is_empty() || word.value.contains('$') || word.value.contains("://") {
                continue;
            }
            if let Some(rule) = ignore.excluded_by(path.as_bytes())
                && !ignore.may_include_below(path.as_bytes())
            {
                let name = instruction.name.value.to_uppercase();
                found.push(
                    subject
                        .finding(format!("{name} names `{}`, which the ignore file excludes", word.value), word.span)
                        .note(format!("line {} of the ignore file: {}", rule.line, rule.text))
                        .help("change the ignore file, or drop the source"),
                );
            }
        }
    }
    found
}

/// The path within the context: no leading `/`, `.` or `..`.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}
