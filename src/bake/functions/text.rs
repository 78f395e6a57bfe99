//! Functions of text.

use super::arguments::{Function, MANY, Outcome, fits, function, list, number, text, texts, whole};
use crate::bake::paths;
use crate::bake::value::Value;
use regex::{Captures, Regex, RegexBuilder};
use std::collections::BTreeMap;

pub const FUNCTIONS: &[Function] = &[
    function("basename", 1, 1, |a| Ok(basename(&text(a, 0)?).into())),
    function("chomp", 1, 1, |a| Ok(text(a, 0)?.trim_end_matches(['\n', '\r']).into())),
    function("dirname", 1, 1, |a| Ok(dirname(&text(a, 0)?).into())),
    function("indent", 2, 2, indent),
    function("join", 1, MANY, join),
    function("lower", 1, 1, |a| Ok(text(a, 0)?.to_lowercase().into())),
    function("regex", 2, 2, |a| {
        let (regex, subject) = (regex(a)?, text(a, 1)?);
        let found = regex.captures(&subject).ok_or("nothing in the text matches the pattern")?;
        Ok(captured(&regex, &found))
    }),
    function("regex_replace", 3, 3, regex_replace),
    function("regexall", 2, 2, |a| {
        let (regex, subject) = (regex(a)?, text(a, 1)?);
        Ok(Value::List(regex.captures_iter(&subject).map(|found| captured(&regex, &found)).collect()))
    }),
    function("replace", 3, 3, replace),
    function("reverse", 1, 1, |a| Ok(text(a, 0)?.chars().rev().collect::<String>().into())),
    function("sanitize", 1, 1, |a| {
        let kept = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
        Ok(text(a, 0)?.chars().map(kept).collect::<String>().into())
    }),
    function("split", 2, 2, |a| {
        let (separator, subject) = (text(a, 0)?, text(a, 1)?);
        let parts: Vec<Value> = match separator.as_str() {
            "" => subject.chars().map(|c| c.to_string().into()).collect(),
            separator => subject.split(separator).map(Value::from).collect(),
        };
        Ok(parts.into())
    }),
    function("strlen", 1, 1, |a| Ok(text(a, 0)?.chars().count().into())),
    function("substr", 3, 3, substr),
    function("title", 1, 1, |a| Ok(title(&text(a, 0)?).into())),
    function("trim", 2, 2, |a| {
        let (subject, cut) = (text(a, 0)?, text(a, 1)?);
        Ok(subject.trim_matches(|c| cut.contains(c)).into())
    }),
    function("trimprefix", 2, 2, |a| {
        let (subject, cut) = (text(a, 0)?, text(a, 1)?);
        Ok(subject.strip_prefix(cut.as_str()).unwrap_or(&subject).into())
    }),
    function("trimspace", 1, 1, |a| Ok(text(a, 0)?.trim().into())),
    function("trimsuffix", 2, 2, |a| {
        let (subject, cut) = (text(a, 0)?, text(a, 1)?);
        Ok(subject.strip_suffix(cut.as_str()).unwrap_or(&subject).into())
    }),
    function("upper", 1, 1, |a| Ok(text(a, 0)?.to_uppercase().into())),
];

/// The last element of a path, as Go's `path.Base`.
fn basename(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" if path.is_empty() => ".",
        "" => "/",
        path => path.rsplit('/').next().unwrap_or(path),
    }
}

/// All but the last element, cleaned, as Go's `path.Dir`.
fn dirname(path: &str) -> String {
    paths::clean(path.rsplit_once('/').map_or("", |(before, _)| if before.is_empty() { "/" } else { before }))
}

fn indent(arguments: &[Value]) -> Outcome {
    let (spaces, subject) = (number(arguments, 0)?, text(arguments, 1)?);
    let lines = subject.matches('\n').count();
    let spaces = if spaces >= 1.0 { spaces as usize } else { 0 };
    fits(subject.len().saturating_add(lines.saturating_mul(spaces)))?;
    Ok(subject.replace('\n', &format!("\n{}", " ".repeat(if lines > 0 { spaces } else { 0 }))).into())
}

fn join(arguments: &[Value]) -> Outcome {
    let separator = text(arguments, 0)?;
    let mut parts: Vec<String> = Vec::new();
    for index in 1..arguments.len() {
        parts.extend(texts(arguments, index)?);
    }
    fits(parts.iter().map(|part| part.len() + separator.len()).sum())?;
    Ok(parts.join(&separator).into())
}

fn replace(arguments: &[Value]) -> Outcome {
    let (subject, from, to) = (text(arguments, 0)?, text(arguments, 1)?, text(arguments, 2)?);
    fits(subject.len().saturating_add(subject.matches(&from).count().saturating_mul(to.len())))?;
    Ok(subject.replace(&from, &to).into())
}

/// A part of the text, in characters; a negative offset counts from the end, a negative length means all the rest.
fn substr(arguments: &[Value]) -> Outcome {
    let subject: Vec<char> = text(arguments, 0)?.chars().collect();
    let (offset, length) = (whole(arguments, 1)?, whole(arguments, 2)?);
    let start = if offset < 0 { (subject.len() as i64 + offset).max(0) } else { offset } as usize;
    let rest = subject.get(start..).unwrap_or_default();
    let end = if length < 0 { rest.len() } else { (length as usize).min(rest.len()) };
    Ok(rest[..end].iter().collect::<String>().into())
}

fn title(subject: &str) -> String {
    let mut out = String::with_capacity(subject.len());
    let mut inside = false;
    for c in subject.chars() {
        match inside {
            true => out.push(c),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_alphanumeric() || c == '_' || c == '\'';
    }
    out
}

fn regex(arguments: &[Value]) -> std::result::Result<Regex, String> {
    let pattern = text(arguments, 0)?;
    compile(&pattern)
}

fn compile(pattern: &str) -> std::result::Result<Regex, String> {
    let told = |error: regex::Error| format!("not a pattern: {}", error.to_string().replace('\n', " "));
    RegexBuilder::new(pattern).size_limit(1 << 20).build().map_err(told)
}

/// What a match gives: its text, or its groups, by name if they have names.
fn captured(regex: &Regex, found: &Captures<'_>) -> Value {
    let group = |index: usize| found.get(index).map_or(Value::Null, |group| group.as_str().into());
    if regex.captures_len() == 1 {
        return group(0);
    }
    let names: BTreeMap<String, Value> =
        regex.capture_names().enumerate().filter_map(|(index, name)| Some((name?.to_owned(), group(index)))).collect();
    if names.is_empty() { Value::List((1..regex.captures_len()).map(group).collect()) } else { Value::Map(names) }
}

fn regex_replace(arguments: &[Value]) -> Outcome {
    let (subject, regex, to) = (text(arguments, 0)?, compile(&text(arguments, 1)?)?, text(arguments, 2)?);
    let mut out = String::new();
    let mut at = 0;
    for found in regex.captures_iter(&subject) {
        let Some(whole) = found.get(0) else { continue };
        out.push_str(&subject[at..whole.start()]);
        found.expand(&to, &mut out);
        at = whole.end();
        fits(out.len())?;
    }
    out.push_str(&subject[at..]);
    fits(out.len())?;
    Ok(out.into())
}

/// The elements of a list as texts, empty ones left out.
pub fn compact(arguments: &[Value]) -> Outcome {
    let kept = |item: &&Value| !matches!(item, Value::Null) && item.text().is_none_or(|text| !text.is_empty());
    Ok(Value::List(list(arguments, 0)?.iter().filter(kept).cloned().collect()))
}
