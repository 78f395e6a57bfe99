//! Where a thing stands in a bake file, and what is wrong with it.

use crate::diag::{Diagnostic, Severity, Source, Span};

/// What stopped the evaluation. Boxed: it travels through every function here, and is rare.
pub type Fault = Box<Diagnostic>;

/// The result of everything that reads or evaluates.
pub type Result<T> = std::result::Result<T, Fault>;

/// A place in a file.
#[derive(Clone, Debug)]
pub struct Site {
    /// The file.
    pub source: Source,
    /// The bytes in it.
    pub span: Span,
}

impl Site {
    /// The bytes `start..end` of `source`, cut to what there is and widened to whole characters.
    pub fn new(source: &Source, start: usize, end: usize) -> Site {
        let text = source.text();
        let mut span = Span::new(start.min(text.len())..end.min(text.len()));
        while !text.is_char_boundary(span.start) {
            span.start -= 1;
        }
        span.end = span.end.max(span.start);
        while !text.is_char_boundary(span.end) {
            span.end += 1;
        }
        Site { source: source.clone(), span }
    }

    /// An error here.
    pub fn error(&self, code: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, message, &self.source, self.span)
    }

    /// A warning here.
    pub fn warning(&self, code: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(code, message, &self.source, self.span)
    }

    /// Whether both are in one file, so that one picture can show them.
    pub fn beside(&self, other: &Site) -> bool {
        self.source.name() == other.source.name()
    }
}

/// An error that no file is to blame for: the command line, or the environment.
pub fn plain(code: &str, message: impl Into<String>) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: code.to_owned(),
        message: message.into(),
        labels: Vec::new(),
        notes: Vec::new(),
        help: Vec::new(),
        fixes: Vec::new(),
        source: None,
    }
}

/// An error at a place if there is one.
pub fn at(site: Option<&Site>, code: &str, message: impl Into<String>) -> Diagnostic {
    match site {
        Some(site) => site.error(code, message),
        None => plain(code, message),
    }
}

/// Adds "did you mean", if one of the known words is near.
pub fn suggest<'c>(fault: Diagnostic, word: &str, known: impl IntoIterator<Item = &'c str>) -> Diagnostic {
    match crate::diag::suggest::nearest(word, known) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault,
    }
}
