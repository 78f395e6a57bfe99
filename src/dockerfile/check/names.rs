//! Names of stages, and the comments that describe them.

use super::subject::Subject;
use crate::diag::{Diagnostic, Span};
use crate::dockerfile::ast::{Kind, Word};

/// Stage names of the file with their index.
fn named<'s>(subject: &'s Subject<'_>) -> impl Iterator<Item = (usize, &'s Word)> {
    subject.stages.iter().enumerate().filter_map(|(index, stage)| Some((index, stage.from.name.as_ref()?)))
}

/// StageNameCasing
pub fn stage_name_casing(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let upper = named(subject).filter(|(_, name)| name.value != name.value.to_lowercase());
    upper
        .map(|(_, name)| {
            let lower = name.value.to_lowercase();
            subject
                .finding(format!("stage name `{}` should be lowercase", name.value), name.span)
                .help(format!("write {lower}: FROM finds the stage only by that name"))
                .fix(name.span, lower)
        })
        .collect()
}

/// DuplicateStageName
pub fn duplicate_stage_name(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, name) in named(subject) {
        let same = |(other, word): &(usize, &Word)| *other < index && word.value.eq_ignore_ascii_case(&name.value);
        if let Some((_, first)) = named(subject).find(same) {
            found.push(
                subject
                    .finding(format!("stage name `{}` is already taken", name.value), name.span)
                    .also(first.span, "first used here")
                    .help("give each stage a name of its own: a later stage hides the earlier one"),
            );
        }
    }
    found
}

/// ReservedStageName
pub fn reserved_stage_name(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let reserved = |name: &str| matches!(name.to_lowercase().as_str(), "context" | "scratch");
    named(subject)
        .filter(|(_, name)| reserved(&name.value))
        .map(|(_, name)| subject.finding(format!("`{}` is a reserved word", name.value), name.span))
        .collect()
}

/// InvalidDefinitionDescription
pub fn invalid_definition_description(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for instruction in &subject.file.instructions {
        let (names, span): (Vec<&str>, Span) = match &instruction.kind {
            Kind::From(from) => match &from.name {
                Some(name) => (vec![&name.value], name.span),
                None => continue,
            },
            Kind::Arg(args) => match args.first() {
                Some((first, _)) => (args.iter().map(|(name, _)| name.value.as_str()).collect(), first.span),
                None => continue,
            },
            _ => continue,
        };
        // An empty comment line parts the description from what stands above it.
        let block = instruction.comments.rsplit(|line| line.value.trim().is_empty()).next().unwrap_or_default();
        let is_directive =
            |line: &&Word| line.value.split_once('=').is_some_and(|(key, _)| key.trim().eq_ignore_ascii_case("check"));
        let Some(first) = block.iter().find(|line| !is_directive(line)) else { continue };
        let begins = |name: &str| first.value.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '));
        if !names.iter().any(|name| begins(name)) {
            let name = names[0];
            found.push(
                subject
                    .finding(format!("the comment above `{name}` does not describe it"), span)
                    .also(first.span, "this comment")
                    .help(format!("begin it with '{name} ', or part it with an empty comment line")),
            );
        }
    }
    found
}
