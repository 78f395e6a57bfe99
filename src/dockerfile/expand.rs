//! Variable expansion: `$v`, `${v:-w}` and the rest, and quote removal.
//!
//! The forms are a shell's, with the differences BuildKit has: patterns know `*` and `?` only, `${v/p/r}` takes both
//! slashes, and the word of a modifier may hold variables and quotes but is not split. A word that is not used, as `w`
//! in `${v:-w}` when `v` is set, is read but neither looked up nor failed on.

use super::ast::Word;
use super::lines;
use crate::diag::{Diagnostic, Source, Span};
use regex::Regex;
use std::collections::BTreeSet;

/// How deep `${…${…}…}` may nest.
pub const MAX_DEPTH: usize = 64;

/// The longest text an expansion may yield, in bytes.
pub const MAX_LEN: usize = 1 << 20;

/// How much pattern matching one expansion may do: the sum of pattern length times value length, in bytes.
const MAX_MATCHING: usize = 1 << 26;

/// Why a text can't be expanded. `offset` is in bytes of the given text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpandError {
    /// Byte in the text where it went wrong.
    pub offset: usize,
    /// How many bytes from there on are to blame; 0: only the place is known.
    pub len: usize,
    /// One sentence.
    pub message: String,
}

/// What an expansion yields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// Names that were used and set.
    pub used: BTreeSet<String>,
    /// Names that were used and not set (and had no default), for UndefinedVar.
    pub unset: BTreeSet<String>,
}

/// How quotes are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotes {
    /// Removed: words of instructions.
    Remove,
    /// Left as they are: heredoc bodies.
    Keep,
}

/// Expands variables in `text`. `lookup` gives a variable's value.
pub fn expand(
    text: &str,
    escape: char,
    quotes: Quotes,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Expanded, ExpandError> {
    let mut lexer =
        Lexer { text, at: 0, escape, quotes, lookup, depth: 0, unused: 0, matching: 0, found: Expanded::default() };
    let (text, _) = lexer.until(None, Escapes::Resolve)?;
    Ok(Expanded { text, ..lexer.found })
}

/// Expands a word of `source` and tells a failure at the part of the word that is to blame.
pub fn expand_word(
    source: &Source,
    word: &Word,
    escape: char,
    quotes: Quotes,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Expanded, Box<Diagnostic>> {
    expand(&word.value, escape, quotes, lookup).map_err(|error| {
        let span = locate(source, word, escape, error.offset..error.offset + error.len);
        let mut diagnostic = Diagnostic::error("bad-expansion", error.message, source, span);
        if span != word.span {
            diagnostic = diagnostic.also(word.span, "in this word");
        }
        if word.value.contains(['\'', '"']) && diagnostic.message.contains("quote") {
            diagnostic = diagnostic.help(format!("for the character itself, write `{escape}'` or `{escape}\"`"));
        }
        Box::new(diagnostic)
    })
}

/// The place of bytes `range` of a word. A word that went through continuations is folded again to find them; where
/// the word is not what stands in the file (JSON strings, flag values), it is the whole word.
pub fn locate(source: &Source, word: &Word, escape: char, range: std::ops::Range<usize>) -> Span {
    let written = source.text().get(word.span.range()).unwrap_or_default();
    if written == word.value {
        return Span::new(word.span.start + range.start..word.span.start + range.end);
    }
    let folded = lines::refold(source.text(), word.span, escape);
    if folded.text() == word.value { folded.span(range) } else { word.span }
}

/// What becomes of escape characters outside quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// Removed; the character after one is literal.
    Resolve,
    /// Kept, for a pattern that gives them a meaning of its own; the character after one ends nothing.
    Keep,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    escape: char,
    quotes: Quotes,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    depth: usize,
    /// How many unused words we are inside of.
    unused: usize,
    matching: usize,
    found: Expanded,
}

type Result<T, E = ExpandError> = std::result::Result<T, E>;

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn error(&self, start: usize, message: impl Into<String>) -> ExpandError {
        ExpandError { offset: start, len: self.at - start, message: message.into() }
    }

    fn append(&self, out: &mut String, part: &str) -> Result<()> {
        if out.len() + part.len() > MAX_LEN {
            return Err(self.error(self.at, format!("the expanded text is longer than {MAX_LEN} bytes")));
        }
        out.push_str(part);
        Ok(())
    }

    fn append_char(&self, out: &mut String, c: char) -> Result<()> {
        self.append(out, c.encode_utf8(&mut [0; 4]))
    }

    /// Expands up to the character `stop`, which is taken but not returned, or to the end; says whether it was met.
    fn until(&mut self, stop: Option<char>, escapes: Escapes) -> Result<(String, bool)> {
        let mut out = String::new();
        while let Some(c) = self.peek() {
            let from = self.at;
            if Some(c) == stop {
                self.next();
                return Ok((out, true));
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    self.append(&mut out, &value)?;
                }
                '\'' if self.quotes == Quotes::Remove => {
                    self.next();
                    let Some(len) = self.text[self.at..].find('\'') else {
                        self.at = self.text.len();
                        return Err(self.error(from, "a single quote is not closed"));
                    };
                    let inner = &self.text[self.at..self.at + len];
                    self.at += len + 1;
                    self.append(&mut out, inner)?;
                }
                '"' if self.quotes == Quotes::Remove => {
                    let inner = self.double_quoted(escapes)?;
                    self.append(&mut out, &inner)?;
                }
                c if c == self.escape => {
                    self.next();
                    if escapes == Escapes::Keep {
                        self.append_char(&mut out, c)?;
                    }
                    // One at the very end protects nothing and is dropped.
                    if let Some(literal) = self.next() {
                        self.append_char(&mut out, literal)?;
                    }
                }
                c => {
                    self.next();
                    self.append_char(&mut out, c)?;
                }
            }
        }
        Ok((out, false))
    }

    /// In double quotes `$` expands, and the escape character protects `"`, `$` and itself only.
    fn double_quoted(&mut self, escapes: Escapes) -> Result<String> {
        let start = self.at;
        let mut out = String::new();
        self.next();
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    self.next();
                    return Ok(out);
                }
                '$' => {
                    let value = self.dollar()?;
                    self.append(&mut out, &value)?;
                }
                c if c == self.escape => {
                    self.next();
                    let protected = self.peek().filter(|n| matches!(n, '"' | '$') || *n == self.escape);
                    if escapes == Escapes::Keep || protected.is_none() {
                        self.append_char(&mut out, c)?;
                    }
                    if let Some(protected) = protected {
                        self.next();
                        self.append_char(&mut out, protected)?;
                    }
                }
                c => {
                    self.next();
                    self.append_char(&mut out, c)?;
                }
            }
        }
        Err(self.error(start, "a double quote is not closed"))
    }

    /// At a `$`.
    fn dollar(&mut self) -> Result<String> {
        let start = self.at;
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() { "$".to_owned() } else { self.value(name) });
        }
        self.next();
        if self.depth == MAX_DEPTH {
            return Err(self.error(start, format!("`${{…}}` is nested more than {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        let value = self.braced(start);
        self.depth -= 1;
        value
    }

    /// After `${`, which stands at `start`.
    fn braced(&mut self, start: usize) -> Result<String> {
        let name = self.name();
        if name.is_empty() {
            let message = match self.next() {
                None => "`${` is not closed by `}`",
                Some(_) => "bad substitution: a variable's name must follow `${`",
            };
            return Err(self.error(start, message));
        }
        let modifier_at = self.at;
        let modifier = self.next();
        let (modifier, or_empty) = match modifier {
            Some(':') => (self.next(), true),
            other => (other, false),
        };
        match modifier {
            None => Err(self.error(start, format!("`${{{name}` is not closed by `}}`"))),
            Some('}') if !or_empty => Ok(self.value(name)),
            Some(m @ ('-' | '+' | '?')) => self.conditional(start, name, m, or_empty),
            Some(side @ ('#' | '%')) if !or_empty => self.strip(start, name, side),
            Some('/') if !or_empty => self.replace(start, name),
            Some(_) => {
                let written = &self.text[modifier_at..self.at];
                Err(self.error(start, format!("unsupported modifier `{written}` in the substitution of `{name}`")))
            }
        }
    }

    /// The text up to `stop` inside `${` at `start`.
    fn word(&mut self, start: usize, stop: char, escapes: Escapes, used: bool) -> Result<String> {
        self.unused += usize::from(!used);
        let word = self.until(Some(stop), escapes);
        self.unused -= usize::from(!used);
        match word? {
            (word, true) => Ok(word),
            (_, false) => Err(self.error(start, format!("`${{` is not closed: `{stop}` is missing"))),
        }
    }

    /// `${v-w}`, `${v+w}`, `${v?w}` and the same with `:`.
    fn conditional(&mut self, start: usize, name: &str, modifier: char, or_empty: bool) -> Result<String> {
        let value = (self.lookup)(name);
        let present = value.as_ref().is_some_and(|v| !or_empty || !v.is_empty());
        if value.is_some() && self.unused == 0 {
            self.found.used.insert(name.to_owned());
        }
        let word = self.word(start, '}', Escapes::Resolve, present == (modifier == '+'))?;
        match (modifier, present) {
            ('-', false) | ('+', true) => Ok(word),
            ('+', false) => Ok(String::new()),
            ('?', false) if self.unused == 0 => {
                let message = match (word.is_empty(), value.is_some()) {
                    (false, _) => word,
                    (true, true) => "it must not be empty".to_owned(),
                    (true, false) => "it must be set".to_owned(),
                };
                Err(self.error(start, format!("{name}: {message}")))
            }
            _ => Ok(value.unwrap_or_default()),
        }
    }

    /// `${v#p}`, `${v##p}` from the front, `${v%p}`, `${v%%p}` from the back.
    fn strip(&mut self, start: usize, name: &str, side: char) -> Result<String> {
        let longest = self.peek() == Some(side);
        if longest {
            self.next();
        }
        let pattern = self.word(start, '}', Escapes::Keep, true)?;
        let value = self.value(name);
        let tokens = self.pattern(start, &pattern, &value)?;
        if side == '#' {
            let regex = self.compile(start, &tokens, longest, true)?;
            return Ok(regex.find(&value).map_or(value.clone(), |m| value[m.end()..].to_owned()));
        }
        // A suffix is a prefix of the reverse; a regular expression looks for the leftmost match, not the shortest.
        let backwards: Vec<Token> = tokens.into_iter().rev().collect();
        let reversed: String = value.chars().rev().collect();
        let regex = self.compile(start, &backwards, longest, true)?;
        let cut = regex.find(&reversed).map_or(0, |m| m.end());
        Ok(value[..value.len() - cut].to_owned())
    }

    /// `${v/p/r}` the first, `${v//p/r}` all.
    fn replace(&mut self, start: usize, name: &str) -> Result<String> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.word(start, '/', Escapes::Keep, true)?;
        // Escapes stay in what is put in, too, as with BuildKit.
        let replacement = self.word(start, '}', Escapes::Keep, true)?;
        let value = self.value(name);
        let tokens = self.pattern(start, &pattern, &value)?;
        let regex = self.compile(start, &tokens, true, false)?;
        let mut out = String::new();
        let mut end = 0;
        for found in regex.find_iter(&value).take(if all { usize::MAX } else { 1 }) {
            self.append(&mut out, &value[end..found.start()])?;
            self.append(&mut out, &replacement)?;
            end = found.end();
        }
        self.append(&mut out, &value[end..])?;
        Ok(out)
    }

    /// A name: letters, digits and `_`; or a run of digits; or one special character. Empty: none stands here.
    fn name(&mut self) -> &'a str {
        let text = self.text;
        let rest = &text[self.at..];
        let is_digit = |c: char| c.is_numeric();
        let len = match rest.chars().next() {
            Some(c) if is_digit(c) => rest.find(|c| !is_digit(c)).unwrap_or(rest.len()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()),
        };
        self.at += len;
        &rest[..len]
    }

    fn value(&mut self, name: &str) -> String {
        if self.unused > 0 {
            return String::new();
        }
        match (self.lookup)(name) {
            Some(value) => {
                self.found.used.insert(name.to_owned());
                value
            }
            None => {
                self.found.unset.insert(name.to_owned());
                String::new()
            }
        }
    }

    /// Reads a pattern, and counts what matching it will cost.
    fn pattern(&mut self, start: usize, pattern: &str, value: &str) -> Result<Vec<Token>> {
        self.matching += (pattern.len() + 1).saturating_mul(value.len() + 1);
        if self.matching > MAX_MATCHING {
            return Err(self.error(start, "the pattern and the value are too long to match"));
        }
        let mut tokens = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' if tokens.last() == Some(&Token::Run) => continue,
                '*' => Token::Run,
                '?' => Token::One,
                '\\' => match chars.next() {
                    // The last two would end the pattern if they were not escaped.
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Token::Literal(c),
                    Some(c) => return Err(self.error(start, format!("invalid escape `\\{c}` in a pattern"))),
                    None => return Err(self.error(start, "a pattern ends in a lone escape character")),
                },
                c => Token::Literal(c),
            });
        }
        Ok(tokens)
    }

    fn compile(&self, start: usize, tokens: &[Token], longest: bool, anchored: bool) -> Result<Regex> {
        let mut source = String::from(if anchored { "(?s)^" } else { "(?s)" });
        for token in tokens {
            match token {
                Token::Run => source.push_str(if longest { ".*" } else { ".*?" }),
                Token::One => source.push('.'),
                Token::Literal(c) => source.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            }
        }
        Regex::new(&source).map_err(|_| self.error(start, "the pattern is too long"))
    }
}

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// `*`
    Run,
    /// `?`
    One,
    Literal(char),
}

#[cfg(test)]
mod tests;
