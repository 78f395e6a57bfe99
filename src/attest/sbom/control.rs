//! Paragraphs of `Field: value` lines (deb822(5)), as dpkg and Python write them.

/// The fields of a paragraph, in order; a value's continued lines are left out.
pub type Paragraph<'p> = Vec<(&'p str, &'p str)>;

/// The paragraphs of a text.
pub fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    // Lines that only look empty end a paragraph, too.
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut fields = Paragraph::new();
        for line in lines.by_ref() {
            if line.trim().is_empty() {
                if fields.is_empty() {
                    continue;
                }
                return Some(fields);
            }
            if line.starts_with([' ', '\t', '#']) {
                continue;
            }
            if let Some((name, value)) = line.split_once(':') {
                fields.push((name, value.trim()));
            }
        }
        (!fields.is_empty()).then_some(fields)
    })
}

/// The value of a field, whose name's letter case does not count.
pub fn field<'p>(paragraph: &Paragraph<'p>, name: &str) -> Option<&'p str> {
    paragraph.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_end_at_empty_lines_and_continuations_are_skipped() {
        let text = "\nPackage: a\nDescription: one\n two: three\n .\nVersion:1:2-3\n \nPackage: b\nbroken\n";
        let all: Vec<_> = paragraphs(text).collect();
        assert_eq!(all, [vec![("Package", "a"), ("Description", "one"), ("Version", "1:2-3")], vec![("Package", "b")]]);
        assert_eq!(field(&all[0], "version"), Some("1:2-3"));
        assert_eq!(field(&all[1], "version"), None);
    }
}
