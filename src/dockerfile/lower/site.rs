//! Where an instruction comes from, and how its mistakes are told.

use crate::diag::{Diagnostic, Source, Span};
use crate::dockerfile::ast::{Flag, Word};
use crate::dockerfile::expand::{Expanded, Quotes, expand_word, locate};
use std::ops::Range;

/// A mistake that ends the lowering of one instruction; the next one is still looked at.
pub type Fault = Box<Diagnostic>;

/// The text that an instruction stands in.
#[derive(Clone, Debug)]
pub struct Site<'a> {
    /// The Dockerfile, or the text of an ONBUILD trigger.
    pub source: &'a Source,
    /// Its escape character.
    pub escape: char,
    /// For a trigger of a base image: the image, and the FROM that ran it.
    pub trigger: Option<(&'a str, Span)>,
}

impl Site<'_> {
    /// An error at `span`.
    pub fn error(&self, code: &str, message: impl Into<String>, span: Span) -> Diagnostic {
        self.explain(Diagnostic::error(code, message, self.source, span))
    }

    /// A warning at `span`.
    pub fn warning(&self, code: &str, message: impl Into<String>, span: Span) -> Diagnostic {
        self.explain(Diagnostic::warning(code, message, self.source, span))
    }

    /// Says so where the text is not the user's own Dockerfile.
    fn explain(&self, diagnostic: Diagnostic) -> Diagnostic {
        match self.trigger {
            Some((image, _)) => {
                diagnostic.note(format!("this instruction is an ONBUILD trigger of base image `{image}`"))
            }
            None => diagnostic,
        }
    }

    /// The place in the Dockerfile that a step is shown at: a trigger's is its FROM.
    pub fn step_span(&self, own: Span) -> Span {
        self.trigger.map_or(own, |(_, from)| from)
    }

    /// Expands a word; a mistake in it is told at its place.
    pub fn expand(
        &self,
        word: &Word,
        escape: char,
        quotes: Quotes,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Expanded, Fault> {
        expand_word(self.source, word, escape, quotes, lookup).map_err(|fault| self.explain(*fault).into())
    }

    /// The place of bytes `range` of a word.
    pub fn part(&self, word: &Word, range: Range<usize>) -> Span {
        locate(self.source, word, self.escape, range)
    }

    /// What rbuild knows and does not do yet.
    pub fn unsupported(&self, code: &str, what: impl std::fmt::Display, span: Span) -> Diagnostic {
        self.error(code, format!("{what} is not supported yet"), span)
            .note("rbuild refuses what it cannot do rather than skip it")
    }

    /// A flag that the parser knows and lowering does not.
    pub fn unsupported_flag(&self, instruction: &str, flag: &Flag) -> Fault {
        let what = format!("{instruction} --{}", flag.name.value);
        self.unsupported("flag-unsupported", what, flag.name.span).into()
    }

    /// The value of a flag that needs one.
    pub fn flag_value<'f>(&self, flag: &'f Flag) -> Result<&'f Word, Fault> {
        flag.value.as_ref().ok_or_else(|| {
            let name = &flag.name.value;
            self.error("flag-value", format!("--{name} needs a value"), flag.name.span)
                .help(format!("write --{name}=VALUE, without a space"))
                .into()
        })
    }

    /// A flag that is true when it stands alone.
    pub fn flag_bool(&self, flag: &Flag) -> Result<bool, Fault> {
        match &flag.value {
            None => Ok(true),
            Some(word) if word.value.eq_ignore_ascii_case("true") => Ok(true),
            Some(word) if word.value.eq_ignore_ascii_case("false") => Ok(false),
            Some(word) => {
                let name = &flag.name.value;
                let message = format!("--{name} is true or false, not `{}`", word.value);
                Err(self.error("flag-value", message, word.span).into())
            }
        }
    }
}

/// "`a`, `b`" for notes; says so if there are none.
pub fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
