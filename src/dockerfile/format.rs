//! Formatting: another text that says the same.
//!
//! What may change is the letter case of keywords, blanks around them, blank lines, and the indentation of continuations
//! where it means nothing. Shell text (its blanks are part of the command, and of the step's key), heredoc bodies and
//! comments stay. Whether a file means the same afterwards is not reasoned but looked at: the result is parsed, and an
//! instruction that would say something else is left as it was.

mod same;

use super::ast::{Command, Dockerfile, Heredoc, Instruction, Kind, Operand};
use super::parse;
use crate::diag::{Diagnostic, Source, Span};
use std::collections::BTreeMap;

/// Blanks before a line that continues another.
const INDENT: &str = "    ";

/// How often it is tried again with more left as it was. Each instruction has two steps to go, and they go together.
const ROUNDS: usize = 6;

/// Formats a file that parses. A second time changes nothing.
///
/// # Errors
/// What the parser says of a file that does not parse.
pub fn format(source: &Source) -> Result<String, Vec<Diagnostic>> {
    let (file, _) = parse(source)?;
    let mut care = BTreeMap::new();
    for _ in 0..ROUNDS {
        let text = Formatter::new(&file, &care).text();
        let Ok((formatted, _)) = parse(&Source::new(source.name(), text.as_str())) else { break };
        match same::differing(&file, &formatted) {
            Some(other) if other.is_empty() => return Ok(text),
            Some(other) => {
                for index in other {
                    let known = care.contains_key(&index) || is_shell(&file.instructions[index].kind);
                    care.insert(index, if known { Care::Whole } else { Care::Indent });
                }
            }
            None => break,
        }
    }
    // A text so odd that nothing can be done for it.
    Ok(source.text().to_owned())
}

/// What must stay of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// The indentation of its continuations.
    Indent,
    /// All of it.
    Whole,
}

/// Whether a command for a shell is in it, whose blanks are its own.
fn is_shell(kind: &Kind) -> bool {
    let shell = |command: &Command| matches!(command, Command::Shell { .. });
    match kind {
        Kind::Run(run) => shell(&run.command),
        Kind::Cmd(command) | Kind::Entrypoint(command) => shell(command),
        Kind::Healthcheck { .. } | Kind::Onbuild { .. } => true,
        _ => false,
    }
}

/// What a physical line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Nothing but blanks.
    Blank,
    /// A parser directive.
    Directive,
    /// A comment between instructions.
    Comment,
    /// The first line of instruction N.
    First(usize),
    /// A further line of instruction N.
    Continued(usize),
    /// A comment within instruction N.
    Inner,
    /// Of a heredoc body, or its end: nobody's business.
    Body,
    /// None of these, such as a lone escape character.
    Other,
}

struct Formatter<'a> {
    file: &'a Dockerfile,
    /// Instructions that are not free to change.
    care: &'a BTreeMap<usize, Care>,
    escape: char,
}

impl<'a> Formatter<'a> {
    fn new(file: &'a Dockerfile, care: &'a BTreeMap<usize, Care>) -> Formatter<'a> {
        Formatter { file, care, escape: file.directives.escape.as_ref().map_or('\\', |escape| escape.value) }
    }

    fn text(&self) -> String {
        let whole = self.file.source.text();
        let lines = self.lines();
        let begins_stage = self.stage_begins(&lines);
        // A blank line at the top parts a comment from the place where it would be a directive.
        let first = lines.iter().find(|(kind, _)| *kind != Line::Blank);
        let parts_top = first.is_some_and(|(kind, span)| *kind == Line::Comment && whole[span.range()].contains('='));
        let mut out: Vec<(Line, String)> = Vec::with_capacity(lines.len());
        for ((kind, span), begins_stage) in lines.into_iter().zip(begins_stage) {
            let line = &whole[span.range()];
            let before = out.last().map(|(kind, _)| *kind);
            if begins_stage && !matches!(before, None | Some(Line::Blank | Line::Comment)) {
                out.push((Line::Blank, String::new()));
            }
            let text = match kind {
                Line::Blank if before == Some(Line::Blank) || (before.is_none() && !parts_top) => continue,
                Line::Blank => String::new(),
                Line::Directive | Line::Comment => line.trim().to_owned(),
                Line::First(index) => self.first(index, line),
                Line::Continued(index) => self.continued(index, line),
                Line::Inner => line.trim_end().to_owned(),
                Line::Body | Line::Other => line.to_owned(),
            };
            out.push((kind, text));
        }
        while matches!(out.last(), Some((Line::Blank, _))) {
            out.pop();
        }
        out.into_iter().map(|(_, line)| line + "\n").collect()
    }

    /// For each line: whether it is the first of a FROM, or of comments directly above one.
    fn stage_begins(&self, lines: &[(Line, Span)]) -> Vec<bool> {
        let mut begins = vec![false; lines.len()];
        let mut below = false;
        for (nth, (kind, _)) in lines.iter().enumerate().rev() {
            below = match kind {
                Line::First(index) => matches!(self.file.instructions[*index].kind, Kind::From(_)),
                Line::Comment => below,
                _ => false,
            };
            begins[nth] = below;
        }
        begins
    }

    /// Every line of the file with its place, line ends and a byte order mark left out. Blank lines within an
    /// instruction are left out too.
    fn lines(&self) -> Vec<(Line, Span)> {
        let text = self.file.source.text();
        let bodies: Vec<Span> = self.file.instructions.iter().flat_map(|i| bodies(&i.kind)).collect();
        let directives_end = self.directives_end();
        let (mut instruction, mut body) = (0, 0);
        let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let mut lines = Vec::new();
        while at < text.len() {
            let next = text[at..].find('\n').map_or(text.len(), |i| at + i + 1);
            let span = Span::new(at..at + text[at..next].trim_end_matches(['\n', '\r']).len());
            let content = text[span.range()].trim();
            // An instruction's last line may have blanks behind the span.
            while self.file.instructions.get(instruction).is_some_and(|i| i.span.end <= at) {
                instruction += 1;
            }
            // A body ends where its terminator begins, which belongs to it here.
            while bodies.get(body).is_some_and(|b| self.after_terminator(*b) <= at) {
                body += 1;
            }
            let current = self.file.instructions.get(instruction).filter(|i| i.span.start < next);
            let kind = match current {
                _ if bodies.get(body).is_some_and(|b| b.start <= at) => Some(Line::Body),
                Some(i) if i.span.start >= at => Some(Line::First(instruction)),
                Some(_) if content.is_empty() => None,
                Some(_) if content.starts_with('#') => Some(Line::Inner),
                Some(_) => Some(Line::Continued(instruction)),
                None if content.is_empty() => Some(Line::Blank),
                None if next <= directives_end => Some(Line::Directive),
                None if content.starts_with('#') => Some(Line::Comment),
                None => Some(Line::Other),
            };
            lines.extend(kind.map(|kind| (kind, span)));
            at = next;
        }
        lines
    }

    /// First byte behind the directives' lines.
    fn directives_end(&self) -> usize {
        let directives = &self.file.directives;
        let ends = [
            directives.escape.as_ref().map(|word| word.span.end),
            directives.syntax.as_ref().map(|word| word.span.end),
            directives.check.as_ref().map(|word| word.span.end),
        ];
        let last = ends.into_iter().flatten().max();
        last.map_or(0, |end| self.line_end(end))
    }

    fn after_terminator(&self, body: Span) -> usize {
        self.line_end(body.end)
    }

    /// The end of the line that a byte is on, its line end included.
    fn line_end(&self, at: usize) -> usize {
        let text = self.file.source.text();
        text[at..].find('\n').map_or(text.len(), |i| at + i + 1)
    }

    /// `  from   x as y` → `FROM x AS y`.
    fn first(&self, index: usize, line: &str) -> String {
        let Instruction { name, kind, .. } = &self.file.instructions[index];
        let whole = self.care.get(&index) == Some(&Care::Whole);
        let Some(rest) = line.trim_start().strip_prefix(name.value.as_str()).filter(|_| !whole) else {
            return line.to_owned();
        };
        let rest = self.trim_end(rest).trim_start();
        let rest = match kind {
            Kind::From(from) => from_words(rest, from.as_word.as_ref().map(|word| word.value.as_str())),
            _ => rest.to_owned(),
        };
        format!("{} {rest}", name.value.to_uppercase()).trim_end().to_owned()
    }

    fn continued(&self, index: usize, line: &str) -> String {
        match self.care.get(&index) {
            Some(Care::Whole) => return line.to_owned(),
            Some(Care::Indent) => return self.trim_end(line).to_owned(),
            None if is_shell(&self.file.instructions[index].kind) => return self.trim_end(line).to_owned(),
            None => {}
        }
        let content = line.trim_start();
        // A word may go on here: blanks would cut it in two.
        let indent = if content.len() == line.len() { "" } else { INDENT };
        format!("{indent}{}", self.trim_end(content))
    }

    /// Without blanks at the end, unless they are escaped.
    fn trim_end<'l>(&self, line: &'l str) -> &'l str {
        let trimmed = line.trim_end();
        // What is escaped there is a blank, not the line's end, if there are two of them before it.
        let escapes = trimmed.chars().rev().take_while(|c| *c == self.escape).count();
        if escapes > 1 { line } else { trimmed }
    }
}

/// The arguments of a FROM with one blank between them, and AS in upper case.
fn from_words(rest: &str, as_word: Option<&str>) -> String {
    let mut words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
    let as_at = words.len().checked_sub(2);
    if let Some(word) = as_at.and_then(|at| words.get_mut(at)).filter(|word| Some(word.as_str()) == as_word) {
        *word = word.to_uppercase();
    }
    words.join(" ")
}

/// Bodies of an instruction's heredocs, without the lines that end them.
fn bodies(kind: &Kind) -> Vec<Span> {
    let span = |heredoc: &Heredoc| heredoc.body.span;
    match kind {
        Kind::Run(run) => run.heredocs.iter().map(span).collect(),
        Kind::Copy(copy) => copy
            .sources
            .iter()
            .filter_map(|source| match source {
                Operand::Heredoc(heredoc) => Some(span(heredoc)),
                Operand::Path(_) => None,
            })
            .collect(),
        Kind::Onbuild { instruction, .. } => bodies(&instruction.kind),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
