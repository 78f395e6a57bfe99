//! Which `--flags` each instruction has and what they take.

use super::ast::{Flag, Spanned};
use super::lines::Folded;
use super::words::{HeadFlag, unquote_flag};
use super::{duration, words};
use crate::diag::{Diagnostic, Source, Span, suggest};
use std::time::Duration;

/// What stands after a flag's `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// Any text; checked where it is used, since it may hold variables.
    Text,
    /// Any text, and the flag may be repeated.
    Texts,
    /// Nothing, or `true` or `false`.
    Bool,
    /// One of a few words.
    OneOf(&'static [&'static str]),
    /// A duration of zero or at least a millisecond.
    Duration,
    /// A whole number.
    Count,
}

type Table = &'static [(&'static str, Takes)];

const FROM: Table = &[("platform", Takes::Text)];
const RUN: Table = &[
    ("mount", Takes::Texts),
    ("network", Takes::OneOf(&["default", "none", "host"])),
    ("security", Takes::OneOf(&["sandbox", "insecure"])),
    ("device", Takes::Texts),
    ("retry", Takes::Count),
    ("timeout", Takes::Duration),
];
const COPY: Table = &[
    ("from", Takes::Text),
    ("chown", Takes::Text),
    ("chmod", Takes::Text),
    ("link", Takes::Bool),
    ("parents", Takes::Bool),
    ("exclude", Takes::Texts),
    ("with-libs", Takes::Bool),
];
const ADD: Table = &[
    ("chown", Takes::Text),
    ("chmod", Takes::Text),
    ("link", Takes::Bool),
    ("checksum", Takes::Text),
    ("keep-git-dir", Takes::Bool),
    ("unpack", Takes::Bool),
    ("exclude", Takes::Texts),
    ("with-libs", Takes::Bool),
];
const HEALTHCHECK: Table = &[
    ("interval", Takes::Duration),
    ("timeout", Takes::Duration),
    ("start-period", Takes::Duration),
    ("start-interval", Takes::Duration),
    ("retries", Takes::Count),
];

fn table(instruction: &str) -> Table {
    match instruction {
        "FROM" => FROM,
        "RUN" => RUN,
        "COPY" => COPY,
        "ADD" => ADD,
        "HEALTHCHECK" => HEALTHCHECK,
        _ => &[],
    }
}

/// Where flags stand and who is told about mistakes.
pub(super) struct Place<'a> {
    /// The file.
    pub source: &'a Source,
    /// The instruction.
    pub folded: &'a Folded,
    /// Where its text starts in `folded`.
    pub base: usize,
    /// The escape character.
    pub escape: char,
}

impl Place<'_> {
    fn span(&self, range: &std::ops::Range<usize>) -> Span {
        self.folded.span(self.base + range.start..self.base + range.end)
    }
}

/// Checks the flags of `instruction` (upper case). Mistakes are pushed to `diagnostics`; the sound ones are returned.
pub(super) fn read(
    instruction: &str,
    found: &[HeadFlag],
    place: &Place<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    for flag in found {
        match read_one(instruction, flag, &flags, place) {
            Ok(flag) => flags.push(flag),
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    flags
}

fn read_one(instruction: &str, found: &HeadFlag, before: &[Flag], place: &Place<'_>) -> Result<Flag, Box<Diagnostic>> {
    let text = &place.folded.text()[place.base..];
    let error = |code: &str, span: Span, message: String| Diagnostic::error(code, message, place.source, span);
    let name = Spanned { value: text[found.name.clone()].to_owned(), span: place.span(&found.name) };
    let whole = place.span(&found.whole);
    if let Some(open) = &found.open_quote {
        let message = format!("a quote in `--{}` is not closed", words::shown(&name.value));
        return Err(Box::new(error("unterminated-quote", place.span(open), message)));
    }
    let table = table(instruction);
    let Some((_, takes)) = table.iter().find(|(known, _)| *known == name.value) else {
        return Err(Box::new(unknown(instruction, &name.value, table, error("unknown-flag", whole, String::new()))));
    };
    if let Some(first) = before.iter().find(|f| f.name.value == name.value && *takes != Takes::Texts) {
        let message = format!("{instruction} takes `--{}` only once", name.value);
        return Err(Box::new(error("repeated-flag", whole, message).also(first.name.span, "first given here")));
    }
    let value = found
        .value
        .as_ref()
        .map(|range| Spanned { value: unquote_flag(&text[range.clone()], place.escape), span: place.span(range) });
    let Some(value) = value else {
        if *takes != Takes::Bool {
            return Err(Box::new(
                error("flag-needs-value", whole, format!("`--{}` needs a value", name.value))
                    .help(format!("write `--{}=VALUE`, without a blank", name.value)),
            ));
        }
        return Ok(Flag { name, value: None });
    };
    if let Err((message, help)) = check(&name.value, *takes, &value.value) {
        let diagnostic = error("bad-flag-value", if value.value.is_empty() { whole } else { value.span }, message);
        return Err(Box::new(help.into_iter().fold(diagnostic, Diagnostic::help)));
    }
    Ok(Flag { name, value: Some(value) })
}

fn unknown(instruction: &str, name: &str, table: Table, diagnostic: Diagnostic) -> Diagnostic {
    let mut diagnostic = diagnostic;
    let shown = words::shown(name);
    if table.is_empty() {
        diagnostic.message = format!("{instruction} takes no flags, but `--{shown}` stands in front");
        return diagnostic.help("if it belongs to the arguments, put `--` before it or use the JSON form");
    }
    diagnostic.message = format!("{instruction} has no flag `--{shown}`");
    let lower = name.to_ascii_lowercase().replace('_', "-");
    if let Some(near) = suggest::nearest(&lower, table.iter().map(|(n, _)| *n)) {
        return diagnostic.help(format!("did you mean `--{near}`?"));
    }
    let other = ["COPY", "ADD", "RUN", "FROM"].into_iter().find(|i| self::table(i).iter().any(|(n, _)| *n == name));
    if let Some(other) = other {
        diagnostic = diagnostic.note(format!("`--{name}` is a flag of {other}"));
    }
    let known: Vec<_> = table.iter().map(|(n, _)| format!("`--{n}`")).collect();
    diagnostic.help(format!("{instruction} has {}", known.join(", ")))
}

/// Checks a value that is not expanded. `Err`: what is wrong, and a way out.
fn check(name: &str, takes: Takes, value: &str) -> Result<(), (String, Option<String>)> {
    let shown = words::shown(value);
    match takes {
        Takes::Text | Takes::Texts => Ok(()),
        Takes::Bool if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") => Ok(()),
        Takes::Bool => Err((format!("`--{name}` is true or false, not `{shown}`"), None)),
        Takes::OneOf(choices) if choices.contains(&value) => Ok(()),
        Takes::OneOf(choices) => {
            let help = match suggest::nearest(value, choices.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it is one of {}", choices.join(", ")),
            };
            Err((format!("`--{name}` cannot be `{shown}`"), Some(help)))
        }
        Takes::Duration => match duration::parse(value) {
            Ok(d) if d.is_zero() || d >= Duration::from_millis(1) => Ok(()),
            Ok(_) => Err((format!("`--{name}` is at least a millisecond"), None)),
            Err(reason) => Err((format!("`--{name}`: {reason}"), None)),
        },
        Takes::Count => match value.parse::<u32>() {
            Ok(n) if i32::try_from(n).is_ok() => Ok(()),
            _ => Err((format!("`--{name}` is a whole number from 0, not `{shown}`"), None)),
        },
    }
}

/// The flags' last byte in the text, for marking what is missing after them.
pub(super) fn end(head: &words::Head) -> usize {
    head.flags.last().map_or(head.keyword.end, |f| f.whole.end)
}
