//! Physical lines → logical lines: byte order mark, comments, continuations, heredoc bodies, and the way back to spans.
//!
//! A logical line is one instruction with its continuations joined. Everything after this pass speaks of bytes of the
//! *folded* text; [`Folded::span`] is the one way back to bytes of the file.

use super::ast::{Spanned, Word};
use crate::diag::Span;
use std::collections::HashMap;
use std::ops::Range;

/// A logical line: text without continuations and comments, and where each part of it stood in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    text: String,
    /// Parts in order, each as (first byte in `text`, first byte in the file). Never empty once a part was added.
    parts: Vec<(usize, usize)>,
}

impl Folded {
    /// The joined text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The place in the file of bytes `range` of the text. A range over several parts spans what lies between them;
    /// an empty range at a seam belongs to the part before it.
    pub fn span(&self, range: Range<usize>) -> Span {
        if range.is_empty() {
            let at = match range.start.checked_sub(1) {
                Some(before) => self.file_offset(before) + 1,
                None => self.file_offset(0),
            };
            return Span::new(at..at);
        }
        Span::new(self.file_offset(range.start)..self.file_offset(range.end - 1) + 1)
    }

    /// The text of `range` with its place.
    pub fn word(&self, range: Range<usize>) -> Word {
        Spanned { value: self.text[range.clone()].to_owned(), span: self.span(range) }
    }

    fn file_offset(&self, folded: usize) -> usize {
        let part = self.parts.partition_point(|(start, _)| *start <= folded).saturating_sub(1);
        self.parts.get(part).map_or(folded, |(start, file)| file + (folded - start))
    }

    fn push(&mut self, part: &str, file: usize) {
        if self.parts.last().is_some_and(|(start, _)| *start == self.text.len()) {
            self.parts.pop();
        }
        self.parts.push((self.text.len(), file));
        self.text.push_str(part);
    }
}

/// One instruction's text and what stands around it.
#[derive(Clone, Debug)]
pub struct Logical {
    /// Its text.
    pub folded: Folded,
    /// From its first character to the end of its last line.
    pub span: Span,
    /// Comment lines directly above it, without `#` and one space.
    pub comments: Vec<Word>,
    /// Blank lines inside its continuation.
    pub empty_continuations: Vec<Span>,
}

/// A heredoc's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The lines, each ended by `\n` (a `\r` before it is dropped), leading tabs stripped if so asked.
    pub text: Spanned<String>,
    /// End of the terminator line.
    pub end: usize,
}

/// A physical line: `start..end` without its line end.
#[derive(Clone, Copy)]
struct Line {
    start: usize,
    end: usize,
}

/// Walks over a file, one logical line or heredoc body at a time.
#[derive(Debug)]
pub struct Lines<'s> {
    text: &'s str,
    at: usize,
    escape: char,
    /// Last place of each line's text, leading tabs stripped; made when first asked for.
    last_seen: Option<HashMap<&'s str, usize>>,
}

const BYTE_ORDER_MARK: char = '\u{feff}';

impl<'s> Lines<'s> {
    /// Starts at byte `from` (a byte order mark there is skipped); `escape` at a line's end continues it.
    pub fn new(text: &'s str, from: usize, escape: char) -> Lines<'s> {
        let at = if text[from..].starts_with(BYTE_ORDER_MARK) { from + BYTE_ORDER_MARK.len_utf8() } else { from };
        Lines { text, at, escape, last_seen: None }
    }

    /// The next instruction; `None` at the end of the file.
    pub fn next_logical(&mut self) -> Option<Logical> {
        let mut comments = Vec::new();
        loop {
            let line = self.take()?;
            let content = self.text[line.start..line.end].trim_start();
            let start = line.end - content.len();
            if content.is_empty() {
                comments.clear();
            } else if let Some(comment) = content.strip_prefix('#') {
                let comment = comment.strip_prefix(' ').unwrap_or(comment);
                let start = line.end - comment.len();
                let comment = comment.trim_end();
                comments.push(Spanned { value: comment.to_owned(), span: Span::new(start..start + comment.len()) });
            } else {
                let logical = self.fold(Line { start, end: line.end }, std::mem::take(&mut comments));
                if !logical.folded.text.trim().is_empty() {
                    return Some(logical);
                }
            }
        }
    }

    /// Joins `first` with the lines it is continued by.
    fn fold(&mut self, first: Line, comments: Vec<Word>) -> Logical {
        let mut folded = Folded::default();
        let mut empty_continuations = Vec::new();
        let mut end = first.start;
        let mut line = first;
        loop {
            let content = &self.text[line.start..line.end];
            let (kept, continues) = split_continuation(content, self.escape);
            folded.push(kept, line.start);
            end = end.max(line.start + kept.trim_end().len());
            if !continues {
                break;
            }
            let Some(next) = self.take_continuation(&mut empty_continuations) else { break };
            line = next;
        }
        Logical { folded, span: Span::new(first.start..end), comments, empty_continuations }
    }

    /// The next line that is neither a comment nor blank.
    fn take_continuation(&mut self, empty: &mut Vec<Span>) -> Option<Line> {
        loop {
            let line = self.take()?;
            let content = self.text[line.start..line.end].trim_start();
            if content.is_empty() {
                empty.push(Span::new(line.start..line.end));
            } else if !content.starts_with('#') {
                return Some(line);
            }
        }
    }

    /// Takes a heredoc's lines up to the line that is `name`. `None`: there is no such line; nothing is taken then.
    pub fn take_body(&mut self, name: &str, strip_tabs: bool) -> Option<Body> {
        let start = self.at;
        let mut text = String::new();
        while let Some(line) = self.take() {
            let content = &self.text[line.start..line.end];
            let content = if strip_tabs { content.trim_start_matches('\t') } else { content };
            if content == name {
                let text = Spanned { value: text, span: Span::new(start..line.start) };
                return Some(Body { text, end: line.end });
            }
            text.push_str(content);
            text.push('\n');
        }
        self.at = start;
        None
    }

    /// Whether some line from here on is `name`, but for leading tabs.
    pub fn has_line(&mut self, name: &str) -> bool {
        let text = self.text;
        let last_seen = self.last_seen.get_or_insert_with(|| {
            let mut lines = Lines::new(text, 0, '\\');
            let mut seen = HashMap::new();
            while let Some(line) = lines.take() {
                seen.insert(text[line.start..line.end].trim_start_matches('\t'), line.start);
            }
            seen
        });
        last_seen.get(name).is_some_and(|start| *start >= self.at)
    }

    /// The first line from here on that would be `name` if it had no blanks around it or the same letter case: what
    /// was likely meant to end a heredoc.
    pub fn near_line(&self, name: &str) -> Option<Span> {
        let mut rest = Lines { text: self.text, at: self.at, escape: self.escape, last_seen: None };
        while let Some(line) = rest.take() {
            let content = self.text[line.start..line.end].trim();
            if content.eq_ignore_ascii_case(name.trim()) {
                return Some(Span::new(line.start..line.end));
            }
        }
        None
    }

    fn take(&mut self) -> Option<Line> {
        let start = self.at;
        let rest = self.text.get(start..).filter(|rest| !rest.is_empty())?;
        let next = rest.find('\n').map_or(self.text.len(), |i| start + i + 1);
        let end = start + self.text[start..next].trim_end_matches(['\r', '\n']).len();
        self.at = next;
        Some(Line { start, end })
    }
}

/// Splits a line into what stays of it and whether it goes on: it ends in one escape character (not two), blanks may
/// follow.
fn split_continuation(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(kept) if !kept.ends_with(escape) => (kept, true),
        _ => (line, false),
    }
}

/// Folds the part of a file that a word spans again, to find where a byte of the word stands. The word's own first
/// line counts as already begun: nothing is stripped from it.
pub fn refold(text: &str, span: Span, escape: char) -> Folded {
    let Some(part) = text.get(span.range()) else { return Folded::default() };
    let mut lines = Lines { text: part, at: 0, escape, last_seen: None };
    let Some(first) = lines.take() else { return Folded::default() };
    let mut folded = lines.fold(first, Vec::new()).folded;
    for (_, file) in &mut folded.parts {
        *file += span.start;
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folded(text: &str) -> Vec<String> {
        let mut lines = Lines::new(text, 0, '\\');
        std::iter::from_fn(|| lines.next_logical()).map(|l| l.folded.text().to_owned()).collect()
    }

    #[test]
    fn lines_are_joined_by_the_rules() {
        let cases: [(&str, &[&str]); 20] = [
            ("a\nb\n", &["a", "b"]),
            ("a\r\nb", &["a", "b"]),
            ("\u{feff}a", &["a"]),
            ("  a", &["a"]),
            ("a \\\n  b", &["a   b"]),
            ("a\\\nb", &["ab"]),
            ("a\\  \t\nb", &["ab"]),
            ("a\\\r\nb", &["ab"]),
            ("a\\\\\nb", &["a\\\\", "b"]),
            ("a\\\\\\\nb", &["a\\\\\\", "b"]),
            ("a\\", &["a"]),
            ("a\\\n", &["a"]),
            ("\\\na", &["a"]),
            ("a \\\n\\\nb", &["a b"]),
            ("a \\\n# c\n  # d \\\nb", &["a b"]),
            ("a # b\\\nc", &["a # bc"]),
            ("# a\\\nb", &["b"]),
            ("a \\\n\n  \nb", &["a b"]),
            ("\n\n", &[]),
            ("a\\\n#b", &["a"]),
        ];
        for (text, expected) in cases {
            assert_eq!(folded(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_body_ends_at_its_name_alone() {
        let mut lines = Lines::new("\ta\nE \n E\n\tE\nE\nrest", 0, '\\');
        assert!(lines.has_line("E"));
        assert_eq!(lines.take_body("X", false), None);
        assert_eq!(lines.near_line("e"), Some(Span::new(3..5)));
        let body = lines.take_body("E", false).expect("is there");
        assert_eq!(body.text.value, "\ta\nE \n E\n\tE\n");
        assert_eq!(body.text.span, Span::new(0..12));
        assert_eq!(body.end, 13);
        assert!(!lines.has_line("E"));
        assert_eq!(lines.next_logical().expect("one more").folded.text(), "rest");
        let stripped = Lines::new("\t\ta\r\n\tE\r\n", 0, '\\').take_body("E", true).expect("is there");
        assert_eq!(stripped.text.value, "a\n");
    }

    #[test]
    fn a_word_folded_again_is_the_word() {
        let text = "ENV a=\"x \\\n # c\n\n  y\"";
        let logical = Lines::new(text, 0, '\\').next_logical().expect("one");
        let word = logical.folded.word(4..logical.folded.text().len());
        let again = refold(text, word.span, '\\');
        assert_eq!(again.text(), word.value);
        assert_eq!(&text[again.span(0..1).range()], "a");
        assert_eq!(&text[again.span(7..8).range()], "y");
    }

    proptest! {
        /// Parts joined by continuations, comments and blank lines fold to the parts joined by nothing, and each
        /// character leads back to itself.
        #[test]
        fn folding_undoes_unfolding(
            parts in prop::collection::vec(("[a-z\u{e9} $\"]{0,6}[a-z\u{e9}]", 0..4_usize), 1..8)
        ) {
            let seams = ["\\\n", "\\ \t\n", "\\\r\n# c\n", "\\\n\n \t\n  # d \\\n"];
            let mut text = String::from("X");
            let mut expected = String::from("X");
            for (part, seam) in &parts {
                text.push_str(seams[*seam]);
                text.push_str(part);
                expected.push_str(part);
            }
            let logical = Lines::new(&text, 0, '\\').next_logical().unwrap();
            prop_assert_eq!(logical.folded.text(), expected.as_str());
            for (i, c) in expected.char_indices() {
                let span = logical.folded.span(i..i + c.len_utf8());
                prop_assert_eq!(&text[span.range()], c.to_string());
            }
            prop_assert_eq!(logical.span, Span::new(0..text.trim_end().len()));
        }
    }
}
