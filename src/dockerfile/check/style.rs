//! Spelling: letter case, continuation lines, forms that are out of date.

use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::dockerfile::ast::Kind;

fn is_lower(word: &str) -> bool {
    word == word.to_lowercase()
}

fn is_upper(word: &str) -> bool {
    word == word.to_uppercase()
}

/// FromAsCasing
pub fn from_as_casing(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for instruction in &subject.file.instructions {
        let Kind::From(from) = &instruction.kind else { continue };
        let Some(word) = &from.as_word else { continue };
        let name = instruction.name.value.as_str();
        if (is_lower(name) && !is_lower(&word.value)) || (is_upper(name) && !is_upper(&word.value)) {
            let right = if is_lower(name) { "as" } else { "AS" };
            found.push(
                subject
                    .finding(format!("`{}` and `{name}` have different casing", word.value), word.span)
                    .help(format!("write {right}"))
                    .fix(word.span, right),
            );
        }
    }
    found
}

/// NoEmptyContinuation
pub fn no_empty_continuation(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let instructions = subject.file.instructions.iter();
    let gaps = instructions.filter_map(|i| Some((i, *i.empty_continuations.first()?)));
    gaps.map(|(instruction, gap)| {
        let name = instruction.name.value.to_uppercase();
        let finding = subject
            .finding(format!("there is an empty line inside this {name}"), gap)
            .also(instruction.name.span, "continued from here")
            .help("remove the line, or put a comment there");
        let lines = instruction.empty_continuations.iter().map(|line| subject.line_of(*line));
        lines.fold(finding, |finding, line| finding.fix(line, ""))
    })
    .collect()
}

/// ConsistentInstructionCasing
pub fn consistent_instruction_casing(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let names = || subject.file.instructions.iter().map(|i| &i.name);
    let lower = names().filter(|name| is_lower(&name.value)).count();
    let upper = names().filter(|name| is_upper(&name.value)).count();
    let (like, word): (fn(&str) -> bool, _) =
        if lower > upper { (is_lower, "lowercase") } else { (is_upper, "uppercase") };
    names()
        .filter(|name| !like(&name.value))
        .map(|name| {
            let right = if lower > upper { name.value.to_lowercase() } else { name.value.to_uppercase() };
            subject
                .finding(format!("`{}` should be {word} as most instructions here are", name.value), name.span)
                .help(format!("write {right}"))
                .fix(name.span, right)
        })
        .collect()
}

/// MaintainerDeprecated
pub fn maintainer_deprecated(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for instruction in &subject.file.instructions {
        if let Kind::Maintainer(author) = &instruction.kind {
            let label = format!("LABEL org.opencontainers.image.authors=\"{}\"", author.value.replace('"', "\\\""));
            let finding =
                subject.finding("MAINTAINER is deprecated", instruction.name.span).help(format!("write {label}"));
            // In a label a variable would be looked up.
            let plain = !author.value.contains(['$', '\\', '\n']);
            found.push(if plain { finding.fix(instruction.name.span.to(author.span), label) } else { finding });
        }
    }
    found
}

/// LegacyKeyValueFormat
pub fn legacy_key_value_format(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for instruction in &subject.file.instructions {
        let (Kind::Env { pairs, legacy: true } | Kind::Label { pairs, legacy: true }) = &instruction.kind else {
            continue;
        };
        let Some(pair) = pairs.first() else { continue };
        let name = instruction.name.value.to_uppercase();
        let value = &pair.value.value;
        let quoted = value.contains(char::is_whitespace) && !value.contains('"');
        // Quotes and escapes mean something else behind a '='.
        let plain = !value.contains(['"', '\'', '\\', '`']);
        let pair_text =
            if quoted { format!("{}=\"{value}\"", pair.key.value) } else { format!("{}={value}", pair.key.value) };
        let span = pair.key.span.to(pair.value.span);
        let finding = subject
            .finding(format!("{name} without '=' takes one name and the rest of the line"), span)
            .help(format!("write {name} {pair_text}"));
        found.push(if plain { finding.fix(span, pair_text) } else { finding });
    }
    found
}
