//! Parser directives: the unbroken run of `# key=value` lines at the very top of a file.

use super::ast::{Directives, Spanned, Word};
use crate::diag::{Diagnostic, Source, Span};

/// The escape character where no directive sets another.
pub const DEFAULT_ESCAPE: char = '\\';

/// What the top of a file says, and where the rest begins.
#[derive(Debug)]
pub struct Top {
    /// The directives.
    pub directives: Directives,
    /// First byte after the last directive line.
    pub end: usize,
}

/// Reads the directives of a file. Mistakes are pushed to `diagnostics`; reading goes on after them.
pub fn read(source: &Source, diagnostics: &mut Vec<Diagnostic>) -> Top {
    let text = source.text();
    let mut top = Top { directives: Directives::default(), end: 0 };
    let mut seen: Vec<(String, Span)> = Vec::new();
    let mut shebang = false;
    let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    while at < text.len() {
        let next = text[at..].find('\n').map_or(text.len(), |i| at + i + 1);
        let line = &text[at..next];
        if top.end == 0 && !shebang && line.starts_with("#!") {
            shebang = true;
            at = next;
            continue;
        }
        let Some((key, value)) = directive(line, at) else { break };
        let name = key.value.to_ascii_lowercase();
        if let Some((_, first)) = seen.iter().find(|(n, _)| *n == name) {
            diagnostics.push(
                Diagnostic::error("repeated-directive", format!("`{name}` is given twice"), source, key.span)
                    .also(*first, "first given here"),
            );
        } else {
            seen.push((name.clone(), key.span));
            match name.as_str() {
                "escape" if shebang => diagnostics.push(
                    Diagnostic::warning("ignored-directive", "`escape` after a `#!` line is ignored", source, key.span)
                        .help("put the directive on the first line"),
                ),
                "escape" => top.directives.escape = escape(source, value, diagnostics),
                "syntax" => top.directives.syntax = Some(syntax(source, value, diagnostics)),
                // What it holds is the checker's business.
                "check" => top.directives.check = Some(value),
                // An unknown key is an ordinary comment and ends the zone.
                _ => break,
            }
        }
        top.end = next;
        at = next;
    }
    top
}

/// Takes a line apart if it has a directive's form.
fn directive(line: &str, at: usize) -> Option<(Word, Word)> {
    let body = line.trim_start().strip_prefix('#')?;
    let (key, value) = body.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let mut letters = key.chars();
    let well_formed =
        letters.next().is_some_and(|c| c.is_ascii_alphabetic()) && letters.all(|c| c.is_ascii_alphanumeric());
    if !well_formed || value.is_empty() {
        return None;
    }
    let word = |part: &str| {
        let start = at + (part.as_ptr() as usize - line.as_ptr() as usize);
        Spanned { value: part.to_owned(), span: Span::new(start..start + part.len()) }
    };
    Some((word(key), word(value)))
}

fn escape(source: &Source, value: Word, diagnostics: &mut Vec<Diagnostic>) -> Option<Spanned<char>> {
    match value.value.as_str() {
        "\\" => Some(Spanned { value: '\\', span: value.span }),
        "`" => Some(Spanned { value: '`', span: value.span }),
        other => {
            let message = format!("`{other}` cannot be the escape character");
            diagnostics.push(
                Diagnostic::error("bad-escape-directive", message, source, value.span)
                    .help("it is either `\\` or a backtick"),
            );
            None
        }
    }
}

fn syntax(source: &Source, value: Word, diagnostics: &mut Vec<Diagnostic>) -> Word {
    let reference = value.value.split(char::is_whitespace).next().unwrap_or_default().to_owned();
    let span = Span::new(value.span.start..value.span.start + reference.len());
    let name = reference.strip_prefix("docker.io/").unwrap_or(&reference);
    if !name.starts_with("docker/dockerfile") {
        diagnostics.push(
            Diagnostic::error(
                "unsupported-frontend",
                format!("the frontend `{reference}` is not supported"),
                source,
                span,
            )
            .note("rbuild reads the language of docker/dockerfile itself and runs no frontend images")
            .help("remove the line if the file is an ordinary Dockerfile"),
        );
    }
    Spanned { value: reference, span }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(text: &str) -> (Top, Vec<String>) {
        let mut diagnostics = Vec::new();
        let top = read(&Source::new("Dockerfile", text), &mut diagnostics);
        (top, diagnostics.into_iter().map(|d| d.code).collect())
    }

    #[test]
    fn directives_are_the_unbroken_run_at_the_top() {
        let cases = [
            ("# escape=`\n", Some('`'), None, None),
            (
                "\u{feff}#ESCAPE = \\ \r\n# syntax=docker/dockerfile:1 more\n",
                Some('\\'),
                Some("docker/dockerfile:1"),
                None,
            ),
            ("# check=skip=A,B;error=true\n# escape=`", Some('`'), None, Some("skip=A,B;error=true")),
            ("\n# escape=`", None, None, None),
            ("# comment\n# escape=`", None, None, None),
            ("# other=x\n# escape=`", None, None, None),
            ("FROM x\n# escape=`", None, None, None),
            ("# escape=\n", None, None, None),
            ("# es cape=`\n", None, None, None),
            ("#!/usr/bin/rbuild\n# syntax=docker/dockerfile\n", None, Some("docker/dockerfile"), None),
            (
                "# syntax=docker.io/docker/dockerfile-upstream:master",
                None,
                Some("docker.io/docker/dockerfile-upstream:master"),
                None,
            ),
            ("  # escape=`", Some('`'), None, None),
        ];
        for (text, escape, syntax, check) in cases {
            let (top, told) = top(text);
            assert!(told.is_empty(), "{text:?}: {told:?}");
            assert_eq!(top.directives.escape.map(|e| e.value), escape, "{text:?}");
            assert_eq!(top.directives.syntax.map(|s| s.value).as_deref(), syntax, "{text:?}");
            assert_eq!(top.directives.check.map(|c| c.value).as_deref(), check, "{text:?}");
        }
    }

    #[test]
    fn mistakes_in_directives_are_told() {
        let cases = [
            ("# escape=x", "bad-escape-directive"),
            ("# escape=`\n# escape=`", "repeated-directive"),
            ("# syntax=me/mine", "unsupported-frontend"),
            ("#!x\n# escape=`", "ignored-directive"),
        ];
        for (text, code) in cases {
            assert_eq!(top(text).1, [code], "{text:?}");
        }
    }
}
