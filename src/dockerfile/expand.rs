//! Variable expansion: `$v`, `${v:-w}` and the rest (dockerfile.md 1.4), and quote removal.

use std::collections::BTreeSet;

/// Why a text can't be expanded. `offset` is in bytes of the given text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpandError {
    /// Byte in the text where it went wrong.
    pub offset: usize,
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
    let _ = (text, escape, quotes, lookup);
    unreachable!("skeleton")
}
