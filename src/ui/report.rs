//! Diagnostics, drawn as rustc draws them, and all other errors: `error: …`, its causes, its ways out.

use super::sanitize::strip;
use crate::diag::{Diagnostic, Severity, Source, Span};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use owo_colors::OwoColorize;
use std::error::Error;
use std::io::Write;
use std::ops::Range;

/// Says on standard error why a command failed.
pub fn failure(diagnostics: &[Diagnostic], error: Option<&(dyn Error + Send + Sync + 'static)>, help: &[String]) {
    let mut text: Vec<String> = diagnostics.iter().map(diagnostic).collect();
    let mut last = error.map(|e| self::error(e)).unwrap_or_default();
    for help in help {
        last += &format!("{}: {}\n", "help".cyan().bold(), indented(help));
    }
    text.push(last);
    text.retain(|part| !part.is_empty());
    show(&text.join("\n"));
}

/// Tells of diagnostics that are no failure, a blank line after each.
pub fn warnings(diagnostics: &[Diagnostic]) {
    show(&diagnostics.iter().map(|d| diagnostic(d) + "\n").collect::<String>());
}

/// Writes coloured text to standard error; colours are dropped where it is no terminal, or NO_COLOR is set.
pub fn show(text: &str) {
    // If standard error is gone there is nobody left to tell.
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// A warning on standard error.
pub fn warning(text: &str) {
    show(&format!("{}: {}\n", "warning".yellow().bold(), indented(text)));
}

/// A way out, on standard error.
pub fn help(text: &str) {
    show(&format!("{}: {}\n", "help".cyan().bold(), indented(text)));
}

/// `error: …` and a `caused by: …` line for each cause that says something new.
pub fn error(error: &(dyn Error + 'static)) -> String {
    let mut said = strip(&error.to_string());
    let mut text = format!("{}: {}\n", "error".red().bold(), indented(&said));
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = strip(&error.to_string());
        // Many errors end with their source's text.
        if !said.contains(&message) {
            text += &format!("  caused by: {}\n", indented(&message));
            said = message;
        }
        cause = error.source();
    }
    text
}

/// A message whose further lines, if it has any, stand below its first.
fn indented(text: &str) -> String {
    strip(text).trim_end().replace('\n', "\n    ")
}

/// A diagnostic with its source lines, marked; ends with a line feed.
pub fn diagnostic(diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(strip(&diagnostic.message)).id(diagnostic.code.as_str()));
    if let Some(source) = &diagnostic.source {
        let mut snippet = Snippet::source(source.text()).path(strip(source.name()));
        for (i, label) in diagnostic.labels.iter().enumerate() {
            let kind = if i == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let annotation = kind.span(valid(source, label.span));
            let text = Some(strip(&label.text)).filter(|text| !text.is_empty());
            snippet = snippet.annotation(annotation.label(text));
        }
        group = group.element(snippet);
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(strip(note)));
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(strip(help)));
    }
    format!("{}\n", Renderer::styled().render(&[group]).trim_end())
}

/// The span as a range that lies in the text, on character boundaries, and does not reach over the end of its last line.
fn valid(source: &Source, span: Span) -> Range<usize> {
    let text = source.text();
    let floor = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = floor(span.start);
    let end = floor(span.end).max(start);
    start..start + text[start..end].trim_end_matches(['\n', '\r']).len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::IoError;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_diagnostic_shows_place_line_mark_note_and_help() {
        let source = Source::new("Dockerfile", "FROM base AS a\nCOPY --from=aa /x /y\n");
        let shown = plain(&diagnostic(
            &Diagnostic::error("unknown-stage", "there is no stage 'aa'", &source, Span::new(27..29))
                .label("not a stage")
                .also(Span::new(13..14), "this one?")
                .note("stages are named by AS")
                .help("did you mean 'a'?"),
        ));
        let expected = "\
error[unknown-stage]: there is no stage 'aa'
 --> Dockerfile:2:13
  |
1 | FROM base AS a
  |              - this one?
2 | COPY --from=aa /x /y
  |             ^^ not a stage
  |
  = note: stages are named by AS
  = help: did you mean 'a'?
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn no_span_however_wrong_makes_it_panic() {
        let source = Source::new("Dockerfile", "FROM é");
        for (start, end) in [(0, 999), (6, 6), (6, 7), (7, 7), (99, 999), (3, 1), (0, 0)] {
            let shown = diagnostic(&Diagnostic::error("x", "y", &source, Span { start, end }));
            assert!(plain(&shown).contains("Dockerfile:1:"), "{start}..{end}");
        }
        let empty = Source::new("Dockerfile", "");
        assert!(plain(&diagnostic(&Diagnostic::error("x", "y", &empty, Span::new(0..0)))).contains("error[x]: y"));
    }

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot load the image")]
        struct Outer(#[source] IoError);
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        let outer = Outer(IoError { act: "read", path: "/x".into(), source });
        let expected = "error: cannot load the image\n  caused by: cannot read /x: entity not found\n";
        assert_eq!(plain(&error(&outer)), expected);
    }

    #[test]
    fn messages_cannot_drive_the_terminal() {
        let error: Box<dyn Error> = "file '\x1b]0;owned\x07x' is missing".into();
        assert_eq!(plain(&self::error(&*error)), "error: file 'x' is missing\n");
    }
}
