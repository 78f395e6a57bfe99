//! Text from outside, made safe to show: no escape sequences, no control characters, nothing that reorders a line.

use unicode_width::UnicodeWidthChar;

/// Removes from `text` whatever could drive a terminal or mislead a reader: ANSI and C1 sequences with their parameters
/// and strings (ECMA-48), other control characters, and the bidirectional controls (Unicode TR 36). Tabs and line feeds
/// stay.
pub fn strip(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\t' | '\n' => clean.push(c),
            '\x1b' => escape(&mut chars),
            '\u{9b}' => control_sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => control_string(&mut chars),
            c if c.is_control() || is_format(c) => {}
            c => clean.push(c),
        }
    }
    clean
}

/// As [`strip`], for one line: a carriage return starts the line over, as progress bars of programs use it; what
/// remains is what a terminal would show last.
pub fn line(text: &str) -> String {
    let text = text.trim_end_matches(['\n', '\r']);
    let last = text.rsplit('\r').find(|part| !part.is_empty()).unwrap_or("");
    strip(last).replace('\n', " ")
}

type Chars<'t> = std::iter::Peekable<std::str::Chars<'t>>;

fn escape(chars: &mut Chars<'_>) {
    match chars.next() {
        Some('[') => control_sequence(chars),
        Some(']' | 'P' | 'X' | '^' | '_') => control_string(chars),
        // Intermediate bytes, then one final byte (`ESC ( B`).
        Some(' '..='/') => while chars.next().is_some_and(|c| (' '..='/').contains(&c)) {},
        _ => {}
    }
}

/// Parameters and intermediates up to and with the final byte. A character that can't be part of it ends it and is kept.
fn control_sequence(chars: &mut Chars<'_>) {
    while let Some(&c) = chars.peek() {
        match c {
            ' '..='?' => {
                chars.next();
            }
            '@'..='~' => {
                chars.next();
                return;
            }
            _ => return,
        }
    }
}

/// A string up to BEL or ST. One that does not end is cut at the line's end, so that it can't hide what follows.
fn control_string(chars: &mut Chars<'_>) {
    while let Some(&c) = chars.peek() {
        if c == '\n' {
            return;
        }
        chars.next();
        match c {
            '\x07' | '\u{9c}' => return,
            '\x1b' => {
                if chars.peek() == Some(&'\\') {
                    chars.next();
                }
                return;
            }
            _ => {}
        }
    }
}

/// Characters without a shape of their own that change how their neighbours are shown.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}')
        || ('\u{e0000}'..='\u{e007f}').contains(&c)
}

/// Cells that a text takes on a terminal; a tab counts as what [`fit`] makes of it.
pub fn width(text: &str) -> usize {
    text.chars().map(cells).sum()
}

/// Cuts a line to at most `limit` cells, with `…` where something is missing; tabs become spaces.
pub fn fit(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.replace('\t', TAB);
    }
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        // One cell is kept for the ellipsis.
        if used + cells(c) + 1 > limit {
            break;
        }
        used += cells(c);
        if c == '\t' { cut.push_str(TAB) } else { cut.push(c) }
    }
    if limit > 0 {
        cut.push('…');
    }
    cut
}

const TAB: &str = "    ";

fn cells(c: char) -> usize {
    if c == '\t' { TAB.len() } else { c.width().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_drives_a_terminal_is_left() {
        let cases = [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\x1b[31;1mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1bPq#0\x1b\\dcs", "dcs"),
            ("\x1b(Bcharset", "charset"),
            ("\x1b7saved\x1bc", "saved"),
            ("\u{9b}2Jc1", "c1"),
            ("\u{9d}52;c;Zm9v\u{9c}osc", "osc"),
            ("bell\x07 back\x08 del\x7f nul\0", "bell back del nul"),
            ("\x1b]never ends\nnext line", "\nnext line"),
            ("\x1b[31é", "é"),
            ("a\u{202e}b\u{2066}c\u{200b}d\u{feff}", "abcd"),
            ("tag\u{e0041}s", "tags"),
            ("\x1b", ""),
            ("\x1b[", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(strip(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_carriage_return_shows_what_came_last() {
        assert_eq!(line("10%\r50%\r100%\n"), "100%");
        assert_eq!(line("10%\r50%\r"), "50%");
        assert_eq!(line("done\r\n"), "done");
        assert_eq!(line(""), "");
    }

    #[test]
    fn lines_are_cut_by_cells_not_characters() {
        assert_eq!(fit("hello", 5), "hello");
        assert_eq!(fit("hello!", 5), "hell…");
        assert_eq!(fit("日本語", 6), "日本語");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("a\tb", 10), "a    b");
        assert_eq!(fit("x", 0), "");
    }
}
