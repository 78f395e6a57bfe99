//! From bytes to text.

use crate::diag::{Diagnostic, Source, Span};

/// The text of a Dockerfile. Comments may be in any encoding, as old files have the names of their authors; what is no
/// UTF-8 in them is replaced.
///
/// Errors: `not-utf8` at the first byte elsewhere that is no UTF-8.
pub fn source(name: &str, bytes: &[u8]) -> Result<Source, Box<Diagnostic>> {
    let mut text = String::with_capacity(bytes.len());
    let mut bad = Vec::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            let start = text.len();
            text.push(char::REPLACEMENT_CHARACTER);
            bad.push(start..text.len());
        }
    }
    let in_comment = |at: usize| {
        let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        text[line..].trim_start().starts_with('#')
    };
    let first = bad.into_iter().find(|range| !in_comment(range.start));
    let source = Source::new(name, text);
    match first {
        None => Ok(source),
        Some(range) => Err(Box::new(
            Diagnostic::error("not-utf8", "this is no UTF-8 text", &source, Span::new(range))
                .help("save the file as UTF-8, for instance with iconv"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::source;

    #[test]
    fn only_comments_may_be_in_another_encoding() {
        let accepted = |bytes: &[u8]| source("Dockerfile", bytes).map(|s| s.text().to_owned()).ok();
        assert_eq!(accepted(b"# M\xfcller\nFROM x\n").unwrap(), "# M\u{fffd}ller\nFROM x\n");
        assert_eq!(accepted("LABEL a=ü\n".as_bytes()).unwrap(), "LABEL a=ü\n");
        let error = source("Dockerfile", b"  # \xfc\nLABEL a=\xfc\xfc\n").unwrap_err();
        assert_eq!((error.code.as_str(), error.place().as_deref()), ("not-utf8", Some("Dockerfile:2:9")));
    }
}
