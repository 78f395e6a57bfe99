//! What to tell about source text: where (spans), how bad, what, why and what to do. How it looks is `ui`'s business.

pub mod fix;
pub mod suggest;

use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// A source text with a name, usually a Dockerfile. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Source(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

/// Bytes `start..end` of a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The span of `range`.
    pub fn new(range: Range<usize>) -> Span {
        Span { start: range.start, end: range.end }
    }

    /// The smallest span that holds both.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// As a range, for slicing.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

impl Source {
    /// Names a text, e.g. `Dockerfile`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Source(Arc::new(Inner { name: name.into(), text, line_starts }))
    }

    /// The name to show.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let byte = byte.min(self.0.text.len());
        let line = self.0.line_starts.partition_point(|start| *start <= byte);
        let start = self.0.line_starts[line - 1];
        let column = self.0.text.get(start..byte).map_or(byte - start, |s| s.chars().count());
        (line, column + 1)
    }

    /// The text of line `line` (from 1), without its line end.
    pub fn line(&self, line: usize) -> &str {
        let start = self.0.line_starts[line - 1];
        let end = self.0.line_starts.get(line).copied().unwrap_or(self.0.text.len());
        self.0.text[start..end].trim_end_matches(['\n', '\r'])
    }

    /// How many lines there are.
    pub fn lines(&self) -> usize {
        self.0.line_starts.len()
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The build cannot go on.
    Error,
    /// Builds, but likely not as meant.
    Warning,
}

/// A marked span with a word about it.
#[derive(Clone, Debug, Serialize)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What about it; may be empty.
    pub text: String,
}

/// One thing to tell about a source text. The first label is the primary one.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// Stable name: BuildKit's rule name where it has one (`StageNameCasing`), else kebab-case (`unknown-instruction`).
    pub code: String,
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// Marked places, primary first.
    pub labels: Vec<Label>,
    /// Facts that explain the cause.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Vec<String>,
    /// The same as edits of the text, where that needs no judgement: all of them or none. Empty: there is no such fix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<fix::Edit>,
    /// The text it is about. Not part of the serialised form.
    #[serde(skip)]
    pub source: Option<Source>,
}

impl Diagnostic {
    /// An error at a span.
    pub fn error(code: &str, message: impl Into<String>, source: &Source, span: Span) -> Diagnostic {
        Diagnostic::new(Severity::Error, code, message, source, span)
    }

    /// A warning at a span.
    pub fn warning(code: &str, message: impl Into<String>, source: &Source, span: Span) -> Diagnostic {
        Diagnostic::new(Severity::Warning, code, message, source, span)
    }

    fn new(severity: Severity, code: &str, message: impl Into<String>, source: &Source, span: Span) -> Diagnostic {
        Diagnostic {
            severity,
            code: code.to_owned(),
            message: message.into(),
            labels: vec![Label { span, text: String::new() }],
            notes: Vec::new(),
            help: Vec::new(),
            fixes: Vec::new(),
            source: Some(source.clone()),
        }
    }

    /// Says something beside the primary span.
    pub fn label(mut self, text: impl Into<String>) -> Diagnostic {
        self.labels[0].text = text.into();
        self
    }

    /// Marks one more place.
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds a fact.
    pub fn note(mut self, text: impl Into<String>) -> Diagnostic {
        self.notes.push(text.into());
        self
    }

    /// Adds a way out.
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help.push(text.into());
        self
    }

    /// Adds an edit to the fix: `text` in place of what stands at `span`.
    pub fn fix(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.fixes.push(fix::Edit { span, text: text.into() });
        self
    }

    /// Whether it stops the build.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// `Dockerfile:7:6`, or nothing where there is no source.
    pub fn place(&self) -> Option<String> {
        let source = self.source.as_ref()?;
        let (line, column) = source.position(self.labels.first()?.span.start);
        Some(format!("{}:{line}:{column}", source.name()))
    }
}
