//! The pest grammar's entry rules as functions: each takes a text and gives ranges in it. Nothing here knows an
//! instruction, and none of pest's own messages leaves this file.

use grammar::{Grammar, Rule};
use pest::Parser as _;
use pest::iterators::Pair;
use std::ops::Range;

/// What pest makes of the grammar; apart, because derived items carry no doc comments.
#[allow(missing_docs)]
mod grammar {
    #[derive(pest_derive::Parser)]
    #[grammar = "grammar/dockerfile.pest"]
    pub struct Grammar;
}

/// An instruction cut into keyword, flags and the rest. Ranges are bytes of the text given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The instruction's name.
    pub keyword: Range<usize>,
    /// Words in front that start with `--`.
    pub flags: Vec<HeadFlag>,
    /// Everything after the keyword, trimmed.
    pub args: Range<usize>,
    /// What follows the flags, trimmed.
    pub rest: Range<usize>,
}

/// A word like `--name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadFlag {
    /// All of it.
    pub whole: Range<usize>,
    /// Without the dashes.
    pub name: Range<usize>,
    /// After `=`, quotes and escapes as written.
    pub value: Option<Range<usize>>,
    /// A quote that is never closed, with all that follows it.
    pub open_quote: Option<Range<usize>>,
}

/// A word of ENV, LABEL or ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// All of it.
    pub whole: Range<usize>,
    /// Up to the first `=` outside quotes; may be empty.
    pub key: Range<usize>,
    /// After that `=`; `None` where there is none.
    pub value: Option<Range<usize>>,
    /// A quote that is never closed, with all that follows it.
    pub open_quote: Option<Range<usize>>,
}

/// A word like `<<-EOF` in a shell text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// All of it.
    pub whole: Range<usize>,
    /// The delimiter as written.
    pub delimiter: Range<usize>,
    /// `<<-`.
    pub strip_tabs: bool,
    /// Blanks stand between `<<` and the delimiter: it may as well be a shift in an arithmetic expression.
    pub spaced: bool,
}

/// Puts the escape character in front of a text, where the grammar wants it. It is always one byte long.
fn with_escape(text: &str, escape: char) -> String {
    let mut input = String::with_capacity(text.len() + 1);
    input.push(escape);
    input.push_str(text);
    input
}

fn range(pair: &Pair<'_, Rule>, shift: usize) -> Range<usize> {
    let span = pair.as_span();
    span.start() - shift..span.end() - shift
}

/// `range` without white space at its ends.
pub fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let end = range.start + part.trim_end().len();
    let start = range.end - part.trim_start().len();
    start.min(end)..end
}

/// Cuts an instruction. `None`: the text is blank.
pub fn head(text: &str, escape: char) -> Option<Head> {
    let input = with_escape(text, escape);
    let instruction = Grammar::parse(Rule::instruction, &input).ok()?.next()?;
    let mut keyword = 0..0;
    let mut rest = text.len()..text.len();
    let mut flags = Vec::new();
    for pair in instruction.into_inner() {
        match pair.as_rule() {
            Rule::keyword => keyword = range(&pair, 1),
            Rule::flag => flags.push(head_flag(pair)),
            Rule::rest => rest = range(&pair, 1),
            _ => {}
        }
    }
    let args = trim(text, keyword.end..text.len());
    let rest = trim(text, rest);
    Some(Head { keyword, flags, args, rest })
}

fn head_flag(pair: Pair<'_, Rule>) -> HeadFlag {
    let mut flag = HeadFlag { whole: range(&pair, 1), name: 0..0, value: None, open_quote: None };
    for part in pair.into_inner() {
        match part.as_rule() {
            Rule::flag_name => flag.name = range(&part, 1),
            Rule::flag_value => {
                flag.value = Some(range(&part, 1));
                flag.open_quote = open_quote(part);
            }
            _ => {}
        }
    }
    flag
}

fn open_quote(pair: Pair<'_, Rule>) -> Option<Range<usize>> {
    pair.into_inner().find(|p| p.as_rule() == Rule::open_quote).map(|p| range(&p, 1))
}

/// Words between blanks.
pub fn words(text: &str) -> Vec<Range<usize>> {
    let Ok(pairs) = Grammar::parse(Rule::words, text) else { return Vec::new() };
    pairs.flat_map(Pair::into_inner).filter(|p| p.as_rule() == Rule::word).map(|p| range(&p, 0)).collect()
}

/// Words held together by quotes, each cut at its first `=`.
pub fn assignments(text: &str, escape: char) -> Vec<Assignment> {
    let input = with_escape(text, escape);
    let Ok(pairs) = Grammar::parse(Rule::assignments, &input) else { return Vec::new() };
    let words = pairs.flat_map(Pair::into_inner).filter(|p| p.as_rule() == Rule::assignment);
    words.map(assignment).collect()
}

fn assignment(pair: Pair<'_, Rule>) -> Assignment {
    let whole = range(&pair, 1);
    let mut found = Assignment { key: whole.start..whole.start, whole, value: None, open_quote: None };
    for part in pair.into_inner() {
        match part.as_rule() {
            Rule::key => found.key = range(&part, 1),
            Rule::value => found.value = Some(range(&part, 1)),
            _ => continue,
        }
        found.open_quote = found.open_quote.or_else(|| open_quote(part));
    }
    found
}

/// The strings of a JSON array, each as written (with its quotes) and decoded. `None`: the text is not a JSON array of
/// strings.
pub fn json_strings(text: &str) -> Option<Vec<(Range<usize>, String)>> {
    let array = Grammar::parse(Rule::json_array, text).ok()?;
    let strings = array.flat_map(Pair::into_inner).filter(|p| p.as_rule() == Rule::json_string);
    Some(strings.map(|p| (range(&p, 0), decode_json_string(p.as_str()))).collect())
}

/// Decodes a JSON string that the grammar has accepted. Half of a surrogate pair becomes U+FFFD, as in Go, where a
/// strict reader would refuse it.
fn decode_json_string(quoted: &str) -> String {
    let inner = &quoted[1..quoted.len() - 1];
    if !inner.contains('\\') {
        return inner.to_owned();
    }
    let mut units: Vec<u16> = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let literal = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    let hex: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&hex, 16).unwrap_or(0xfffd));
                    continue;
                }
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                other => other.unwrap_or('\\'),
            },
            c => c,
        };
        units.extend_from_slice(literal.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}

/// The heredoc markers of a shell text, in order.
pub fn heredoc_markers(text: &str) -> Vec<Marker> {
    let Ok(pairs) = Grammar::parse(Rule::shell_line, text) else { return Vec::new() };
    pairs.flat_map(Pair::into_inner).filter_map(marker).collect()
}

fn marker(pair: Pair<'_, Rule>) -> Option<Marker> {
    let spaced = match pair.as_rule() {
        Rule::heredoc => false,
        Rule::spaced_heredoc => true,
        _ => return None,
    };
    let whole = range(&pair, 0);
    let mut strip_tabs = false;
    let mut delimiter = None;
    for part in pair.into_inner() {
        match part.as_rule() {
            Rule::heredoc_open => strip_tabs = part.into_inner().any(|p| p.as_rule() == Rule::strip_tabs),
            Rule::delimiter if !part.as_str().contains('<') => delimiter = Some(range(&part, 0)),
            _ => {}
        }
    }
    Some(Marker { whole, delimiter: delimiter?, strip_tabs, spaced })
}

/// A flag's value without quotes and escapes. Both kinds of quotes let the escape character protect any character.
pub fn unquote_flag(value: &str, escape: char) -> String {
    let mut out = String::with_capacity(value.len());
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match quote {
            _ if c == escape => out.extend(chars.next()),
            Some(q) if c == q => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => out.push(c),
        }
    }
    out
}

/// A heredoc delimiter without its quotes, and whether it had any: then the body is not expanded. An escaped quote is
/// part of the name and no quoting, unlike in a shell.
pub fn unquote_delimiter(written: &str) -> (String, bool) {
    let mut name = String::with_capacity(written.len());
    let mut quote = None;
    let mut quoted = false;
    let mut chars = written.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            Some(q) if c == q => quote = None,
            Some('"') if c == '\\' && chars.peek().is_some_and(|n| matches!(n, '"' | '$' | '\\')) => {
                name.extend(chars.next());
            }
            None if c == '\\' => name.extend(chars.next()),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                quoted = true;
            }
            _ => name.push(c),
        }
    }
    (name, quoted)
}

/// Why a text that starts like a JSON array is none: where, and what is wrong. `None`: it does not look as if it was
/// meant to be one (`[ -f /x ] && …` is a shell test, `[ab]*` a pattern).
pub fn almost_json(text: &str) -> Option<(usize, &'static str)> {
    let inner = text.strip_prefix('[')?;
    let body = inner.trim_start();
    let quote = body.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    if body.len() != inner.len() {
        // A blank after the bracket: only a comma after the first string tells an array from a shell test.
        let after = body[1..].split_once(quote)?.1;
        if !after.trim_start().starts_with(',') {
            return None;
        }
    }
    Some(why_not_json(text))
}

fn why_not_json(text: &str) -> (usize, &'static str) {
    let skip = |at: usize| text.len() - text[at..].trim_start_matches([' ', '\t', '\r', '\n']).len();
    let mut at = skip(1);
    let mut after_comma = false;
    loop {
        match text[at..].chars().next() {
            Some('\'') => return (at, "JSON strings take double quotes, not single ones"),
            Some(']') if after_comma => return (at, "there is a comma before the closing bracket"),
            Some('"') => {}
            Some(_) => return (at, "an element is not in double quotes"),
            None => return (at, "the closing bracket is missing"),
        }
        at = match end_of_json_string(text, at + 1) {
            Ok(end) => skip(end),
            Err(wrong) => return wrong,
        };
        match text[at..].chars().next() {
            Some(',') => at = skip(at + 1),
            Some(']') if text[at + 1..].trim().is_empty() => return (at, "it is not valid JSON"),
            Some(']') => return (skip(at + 1), "text follows the closing bracket"),
            Some(_) => return (at, "a comma is missing between two elements"),
            None => return (at, "the closing bracket is missing"),
        }
        after_comma = true;
    }
}

fn end_of_json_string(text: &str, start: usize) -> Result<usize, (usize, &'static str)> {
    let mut chars = text[start..].char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Ok(start + i + 1),
            '\\' => match chars.next() {
                Some((_, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't')) => {}
                Some((u, 'u')) if is_hex4(&text[start + u + 1..]) => {}
                _ => return Err((start + i, "that is no JSON escape: a backslash is written `\\\\`")),
            },
            c if c < ' ' => return Err((start + i, "a JSON string cannot hold a control character as such")),
            _ => {}
        }
    }
    Err((start - 1, "a string is not closed"))
}

fn is_hex4(text: &str) -> bool {
    text.len() >= 4 && text.bytes().take(4).all(|byte| byte.is_ascii_hexdigit())
}

/// A piece of the file as a message shows it: not longer than a line.
pub fn shown(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
