//! Mechanical fixes: edits that diagnostics offer, put into the text together.

use super::{Diagnostic, Span};
use serde::Serialize;

/// One replacement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edit {
    /// What goes; empty: nothing, the text is put in at its start.
    pub span: Span,
    /// What comes instead.
    pub text: String,
}

impl Edit {
    /// Whether both want to change the same bytes, or put something in at the same place.
    fn conflicts(&self, other: &Edit) -> bool {
        let (a, b) = (self.span, other.span);
        a.start == b.start || (a.start < b.end && b.start < a.end)
    }
}

/// Applies what the diagnostics offer. A fix whose edits conflict with an earlier one's is left for another round, as is
/// one that does not fit the text. Gives the new text and how many fixes went in; `None`: none did.
pub fn apply(text: &str, diagnostics: &[Diagnostic]) -> Option<(String, usize)> {
    let fits = |edit: &Edit| edit.span.start <= edit.span.end && text.get(edit.span.range()).is_some();
    let mut taken: Vec<&Edit> = Vec::new();
    let mut fixes = 0;
    for fix in diagnostics.iter().map(|d| &d.fixes).filter(|fix| !fix.is_empty()) {
        let free = |edit: &Edit| !taken.iter().any(|other| other.conflicts(edit));
        if fix.iter().all(|edit| fits(edit) && free(edit)) {
            taken.extend(fix);
            fixes += 1;
        }
    }
    taken.sort_by_key(|edit| edit.span);
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for edit in taken {
        // Edits of one and the same fix may still overlap: the later one is dropped rather than cutting twice.
        if let Some(kept) = text.get(at..edit.span.start) {
            out.push_str(kept);
            out.push_str(&edit.text);
            at = edit.span.end;
        }
    }
    out.push_str(&text[at..]);
    (fixes > 0).then_some((out, fixes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Source;

    #[test]
    fn fixes_that_conflict_wait_and_halves_are_not_applied() {
        let text = "abcdef";
        let source = Source::new("Dockerfile", text);
        let offer = |edits: &[(usize, usize, &str)]| {
            let finding = Diagnostic::warning("x", "y", &source, Span::default());
            edits.iter().fold(finding, |finding, (start, end, text)| finding.fix(Span::new(*start..*end), *text))
        };
        let cases = [
            (vec![offer(&[(0, 1, "A")]), offer(&[(2, 3, "")])], Some(("Abdef", 2))),
            (vec![offer(&[(0, 2, "A")]), offer(&[(1, 3, "B")])], Some(("Acdef", 1))),
            (vec![offer(&[(0, 1, "A")]), offer(&[(5, 6, "F"), (0, 1, "B")])], Some(("Abcdef", 1))),
            (vec![offer(&[(2, 2, "x")]), offer(&[(2, 2, "y")])], Some(("abxcdef", 1))),
            (vec![offer(&[(5, 9, "x")])], None),
            (vec![offer(&[])], None),
        ];
        for (offered, want) in cases {
            let got = apply(text, &offered);
            assert_eq!(got.as_ref().map(|(text, n)| (text.as_str(), *n)), want, "{offered:?}");
        }
    }
}
