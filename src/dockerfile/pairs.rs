//! The `key=value` instructions: ENV, LABEL and ARG.

use super::ast::{Pair, Word};
use super::instruction::{Failure, Reader};
use super::words::{self, shown};
use crate::diag::Diagnostic;
use std::ops::Range;

impl Reader<'_> {
    /// ENV and LABEL: `key=value …`, or the old form `key value`; says whether it is the old one.
    pub(super) fn pairs(&self, diagnostics: &mut Vec<Diagnostic>) -> Result<(Vec<Pair>, bool), Failure> {
        let rest = self.rest();
        let form = format!("{} KEY=VALUE", self.name);
        let found = words::assignments(self.text(rest.clone()), self.escape);
        let Some(first) = found.first() else { return Err(self.missing("a key and a value", &form)) };
        let at = |r: &Range<usize>| rest.start + r.start..rest.start + r.end;
        if first.value.is_none() && first.open_quote.is_none() {
            self.check_quoted_pair(at(&first.whole))?;
            return self.legacy_pair(rest, &form, diagnostics);
        }
        let mut pairs = Vec::new();
        for pair in &found {
            if let Some(open) = &pair.open_quote {
                return Err(self.error("unterminated-quote", self.span(at(open)), "this quote is not closed"));
            }
            let Some(value) = &pair.value else { return Err(self.stray_word(at(&pair.whole), pairs.last())) };
            if pair.key.is_empty() {
                let failure = self.error("empty-name", self.span(at(&pair.whole)), "the name before `=` is missing");
                return Err(Box::new(failure.help(format!("write `{form}`, without blanks around `=`"))));
            }
            pairs.push(Pair { key: self.folded.word(at(&pair.key)), value: self.folded.word(at(value)) });
        }
        Ok((pairs, false))
    }

    /// A word whose only `=` is inside quotes.
    fn check_quoted_pair(&self, range: Range<usize>) -> Result<(), Failure> {
        if !self.text(range.clone()).contains('=') {
            return Ok(());
        }
        let failure = self.error("pair-without-equals", self.span(range), "the quotes enclose the whole pair");
        Err(Box::new(failure.help("quote the value alone: `KEY=\"VALUE\"`")))
    }

    /// A word without `=` among pairs: a comment, or a value with a blank in it.
    fn stray_word(&self, range: Range<usize>, before: Option<&Pair>) -> Failure {
        let word = self.text(range.clone());
        let failure = self.error(
            "pair-without-equals",
            self.span(range.clone()),
            format!("`{}` is not of the form KEY=VALUE", shown(word)),
        );
        Box::new(match before {
            _ if word.starts_with('#') => failure.help("a comment needs a line of its own"),
            Some(pair) if !pair.value.value.contains(['"', '\'']) && shown(word) == word => failure.help(format!(
                "if it belongs to the value of `{key}`, put that in quotes: `{key}=\"{value} {word}\"`",
                key = pair.key.value,
                value = pair.value.value,
            )),
            _ => *failure,
        })
    }

    /// `KEY VALUE…`: everything after the first blanks is the value.
    fn legacy_pair(
        &self,
        rest: Range<usize>,
        form: &str,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(Vec<Pair>, bool), Failure> {
        let text = self.text(rest.clone());
        let is_blank = |c| matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}');
        let Some((key, tail)) = text.split_once(is_blank) else {
            let failure = self.error("missing-argument", self.span(rest), format!("`{}` has no value", shown(text)));
            return Err(Box::new(failure.help(format!("write `{form}`"))));
        };
        let value = tail.trim_start_matches(is_blank);
        let key = self.folded.word(rest.start..rest.start + key.len());
        let value = self.folded.word(rest.end - value.len()..rest.end);
        if value.value.starts_with('=') {
            let message = format!("the value of `{}` begins with `=`", shown(&key.value));
            diagnostics.push(
                Diagnostic::warning("blank-before-equals", message, self.source, value.span)
                    .note("a first word without `=` is a key, and all that follows is its value")
                    .help(format!("write `{form}`, without blanks around `=`")),
            );
        }
        Ok((vec![Pair { key, value }], true))
    }

    /// ARG: names, each with or without a default.
    pub(super) fn arg(&self) -> Result<Vec<(Word, Option<Word>)>, Failure> {
        let rest = self.rest();
        let found = words::assignments(self.text(rest.clone()), self.escape);
        if found.is_empty() {
            return Err(self.missing("a name", "ARG NAME[=DEFAULT]"));
        }
        let at = |r: &Range<usize>| rest.start + r.start..rest.start + r.end;
        let one = |pair: &words::Assignment| {
            if let Some(open) = &pair.open_quote {
                return Err(self.error("unterminated-quote", self.span(at(open)), "this quote is not closed"));
            }
            let key = self.folded.word(at(&pair.key));
            if key.value.is_empty() {
                return Err(self.error("empty-name", self.span(at(&pair.whole)), "the name before `=` is missing"));
            }
            if key.value.starts_with('#') {
                let failure = self.error("bad-name", key.span, format!("`{}` cannot be a name", shown(&key.value)));
                return Err(Box::new(failure.help("a comment needs a line of its own")));
            }
            if pair.value.is_none() {
                self.check_quoted_pair(at(&pair.whole))?;
            }
            Ok((key, pair.value.as_ref().map(|v| self.folded.word(at(v)))))
        };
        found.iter().map(one).collect()
    }
}
