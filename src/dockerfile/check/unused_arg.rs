//! unused-arg

use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::dockerfile::ast::{Instruction, Kind, Word};

/// ARGs that mean something by themselves.
const MEANINGFUL: [&str; 7] =
    ["SOURCE_DATE_EPOCH", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "BUILDKIT_SYNTAX"];

/// An ARG that nothing can see: before the first FROM and in neither a FROM nor a stage's ARG; or in a stage and in no
/// instruction after it, none of them a RUN, which gets every ARG as a variable.
pub fn find(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let all = &subject.file.instructions;
    let mut found = Vec::new();
    for (at, instruction) in subject.head.iter().enumerate() {
        let in_stages = |name: &str| subject.stages.iter().any(|stage| redeclared(stage.body, name));
        for word in names(instruction) {
            let in_from = |other: &Instruction| {
                matches!(other.kind, Kind::From(_) | Kind::Arg(_)) && mentions(&other.raw, &word.value)
            };
            // The file's head comes first in it, so that positions are the same.
            if !all[at..].iter().any(in_from) && !in_stages(&word.value) {
                let finding = subject.finding(format!("no FROM and no stage uses ARG `{}`", word.value), word.span);
                found.push(finding.help(format!("remove it, or declare it again in the stage: ARG {}", word.value)));
            }
        }
    }
    for (index, stage) in subject.stages.iter().enumerate() {
        let has_child = (index + 1..subject.stages.len()).any(|child| subject.parent(child) == Some(index));
        for (at, instruction) in stage.body.iter().enumerate().filter(|_| !has_child) {
            let after = &stage.body[at..];
            for word in names(instruction) {
                let runs = after.iter().any(|i| matches!(i.kind, Kind::Run(_)));
                if !runs && !after.iter().any(|i| mentions(&text_of(subject, i), &word.value)) {
                    let finding = subject.finding(format!("nothing after it uses ARG `{}`", word.value), word.span);
                    found.push(finding.help("remove it, or move it above its use"));
                }
            }
        }
    }
    found
}

/// What an ARG declares, but for what means something by itself.
fn names(instruction: &Instruction) -> impl Iterator<Item = &Word> {
    let list = match &instruction.kind {
        Kind::Arg(list) => list.as_slice(),
        _ => &[],
    };
    let is_meaningful =
        |name: &str| MEANINGFUL.iter().any(|known| known.eq_ignore_ascii_case(name)) || name.starts_with("BUILDKIT_");
    list.iter().map(|(name, _)| name).filter(move |name| !is_meaningful(&name.value))
}

fn redeclared(body: &[Instruction], name: &str) -> bool {
    body.iter().flat_map(names).any(|word| word.value == name)
}

/// An instruction with its heredocs.
fn text_of<'s>(subject: &'s Subject<'_>, instruction: &Instruction) -> std::borrow::Cow<'s, str> {
    subject.file.source.text().get(instruction.span.range()).unwrap_or_default().into()
}

/// Whether `$name` or `${name…` is in the text, also within the word of another variable.
fn mentions(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = &text[..at];
        let ends = text[at + name.len()..].chars().next().is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
        ends && (before.ends_with('$') || before.ends_with("${"))
    })
}
