//! How reasons put values into words: shortened around what differs, with secrets masked.

use crate::dockerfile::check::is_secret;
use std::collections::BTreeMap;

/// Characters of a value that a reason shows.
const SHOWN: usize = 60;

/// Characters before the first difference that give it context.
const LEAD: usize = 20;

/// What stands for a value that must not be shown.
const MASKED: &str = "***";

/// Hides secrets: values of variables whose name tells one, and the bytes of the secrets given to the build wherever
/// they occur.
#[derive(Clone, Debug, Default)]
pub struct Mask<'a> {
    secrets: Vec<&'a str>,
}

impl<'a> Mask<'a> {
    /// For a build with these secrets.
    pub fn new(secrets: &'a BTreeMap<String, Vec<u8>>) -> Mask<'a> {
        let texts = secrets.values().filter_map(|value| std::str::from_utf8(value).ok()).map(str::trim);
        Mask { secrets: texts.filter(|text| !text.is_empty()).collect() }
    }

    /// The value of a variable.
    pub fn value(&self, name: &str, value: &str) -> String {
        if is_secret(name) { MASKED.to_owned() } else { self.text(value) }
    }

    /// Any other text.
    pub fn text(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASKED))
    }
}

/// The first line in which two texts differ, with its number from 1 if either has more than one line.
pub fn first_line<'t>(old: &'t str, new: &'t str) -> (Option<usize>, &'t str, &'t str) {
    if !old.contains('\n') && !new.contains('\n') {
        return (None, old, new);
    }
    let same = old.lines().zip(new.lines()).take_while(|(a, b)| a == b).count();
    let line = |text: &'t str| text.lines().nth(same).unwrap_or_default();
    (Some(same + 1), line(old), line(new))
}

/// Both texts, cut to where they differ.
pub fn around_difference(old: &str, new: &str) -> (String, String) {
    let same = old.chars().zip(new.chars()).take_while(|(a, b)| a == b).count();
    (cut(old, same), cut(new, same))
}

/// A part of `text` that shows the character number `at`.
pub fn cut(text: &str, at: usize) -> String {
    let length = text.chars().count();
    if length <= SHOWN {
        return text.to_owned();
    }
    let start = at.saturating_sub(LEAD).min(length - SHOWN);
    let (head, tail) = (if start > 0 { "…" } else { "" }, if start + SHOWN < length { "…" } else { "" });
    let middle: String = text.chars().skip(start).take(SHOWN).collect();
    format!("{head}{middle}{tail}")
}

/// A value in a sentence.
pub fn shown(value: &str) -> String {
    if value.is_empty() { "empty".to_owned() } else { format!("`{value}`") }
}

/// Whether a part's value describes a file, as the keys of COPY do.
pub fn is_entry(value: &str) -> bool {
    !noun(value).is_empty()
}

/// What such a value describes.
pub fn noun(value: &str) -> &'static str {
    match value.split(' ').next().unwrap_or_default() {
        "file" => "file",
        "dir" => "directory",
        "symlink" => "link",
        "char" | "block" => "device",
        "fifo" => "named pipe",
        "socket" => "socket",
        "inline" => "heredoc",
        "unpack" => "archive",
        "tree" => "directory",
        word if word.starts_with("sha256:") => "group",
        _ => "",
    }
}

/// What happened to a described file: `file a has other contents`.
pub fn entry_change(what: &str, old: Option<&str>, new: Option<&str>) -> String {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (Entry::read(old), Entry::read(new)),
        (None, Some(_)) => return format!("{what} is new"),
        (Some(_), None) => return format!("{what} is gone"),
        (None, None) => return format!("{what} changed"),
    };
    if old.kind != new.kind {
        return format!("{what} was a {}", old.kind);
    }
    if old.content != new.content {
        return match old.kind {
            "group" | "" => format!("{what} changed"),
            "link" => format!("{what} points elsewhere: {} → {}", shown(old.content), shown(new.content)),
            "directory" => format!("{what} holds something else"),
            _ => format!("{what} has other contents"),
        };
    }
    let pairs = [("mode", old.mode, new.mode), ("owner", old.owner, new.owner)];
    for (aspect, old, new) in pairs {
        if old != new && ![old, new].contains(&"") {
            return format!("{what} has another {aspect}: {old} → {new}");
        }
    }
    match (old.target, new.target) {
        // Only on one side its looks or its place count.
        _ if old.mode != new.mode => format!("{what} is taken in another way"),
        (old, new) if old == new => format!("{what} has other attributes or links"),
        ("", _) | (_, "") => format!("{what} is taken in another way"),
        (old, new) => format!("{what} goes to {new}, went to {old}"),
    }
}

/// A description taken apart; see `describe` in `ops::copy::key`.
#[derive(Debug, Default, PartialEq)]
struct Entry<'v> {
    kind: &'static str,
    mode: &'v str,
    owner: &'v str,
    content: &'v str,
    target: &'v str,
}

impl<'v> Entry<'v> {
    fn read(value: &'v str) -> Entry<'v> {
        let (looks, target) = value.rsplit_once(" -> ").unwrap_or((value, ""));
        let kind = noun(looks);
        let mut words = looks.split(' ');
        let word = words.next().unwrap_or_default();
        let mut next = || words.next().unwrap_or_default();
        match kind {
            "group" => Entry { kind, content: word, target, ..Entry::default() },
            "heredoc" | "archive" => Entry { kind, content: next(), target, ..Entry::default() },
            "directory" if word == "tree" => Entry { kind, content: next(), target, ..Entry::default() },
            "link" => Entry { kind, owner: next(), content: next(), target, ..Entry::default() },
            "directory" => {
                let (mode, owner) = (next(), next());
                let content = if next() == "tree" { next() } else { "" };
                Entry { kind, mode, owner, content, target }
            }
            _ => Entry { kind, mode: next(), owner: next(), content: next(), target },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_around_the_first_difference() {
        let (old, new) = (format!("{}1{}", "a".repeat(100), "b".repeat(100)), format!("{}2", "a".repeat(100)));
        let (old, new) = around_difference(&old, &new);
        assert_eq!(old, format!("…{}1{}…", "a".repeat(20), "b".repeat(39)));
        assert_eq!(new, format!("…{}2", "a".repeat(59)));
        assert_eq!(around_difference("1", "2"), ("1".into(), "2".into()));
        assert_eq!(cut(&"ö".repeat(61), 0), format!("{}…", "ö".repeat(60)));
    }

    #[test]
    fn the_differing_line_of_a_script_is_told() {
        assert_eq!(first_line("a", "b"), (None, "a", "b"));
        assert_eq!(first_line("a\nb\nc\n", "a\nx\nc\n"), (Some(2), "b", "x"));
        assert_eq!(first_line("a\n", "a\nb\n"), (Some(2), "", "b"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let secrets = BTreeMap::from([("id".to_owned(), b"hunter2\n".to_vec()), ("empty".to_owned(), b"\n".to_vec())]);
        let mask = Mask::new(&secrets);
        assert_eq!(mask.value("DB_PASSWORD", "x"), "***");
        assert_eq!(mask.value("URL", "http://u:hunter2@h"), "http://u:***@h");
        assert_eq!(mask.text("plain"), "plain");
    }

    #[test]
    fn what_happened_to_a_file_is_told() {
        let (a, b) = ("sha256:aa", "sha256:bb");
        let file = |mode: &str, owner: &str, content: &str, to: &str| format!("file {mode} {owner} {content} -> {to}");
        let old = file("0644", "0:0", a, "/f");
        for (new, expected) in [
            (file("0644", "0:0", b, "/f"), "f has other contents"),
            (file("0600", "0:0", a, "/f"), "f has another mode: 0644 → 0600"),
            (file("0644", "1:2", a, "/f"), "f has another owner: 0:0 → 1:2"),
            (file("0644", "0:0", a, "/g"), "f goes to /g, went to /f"),
            (file("0644", "0:0", a, ""), "f is taken in another way"),
            ("dir 0755 0:0 -> /f".to_owned(), "f was a file"),
            (format!("{} user.x={a} -> /f", old.trim_end_matches(" -> /f")), "f has other attributes or links"),
        ] {
            assert_eq!(entry_change("f", Some(&old), Some(&new)), expected);
        }
        assert_eq!(entry_change("f", None, Some(&old)), "f is new");
        assert_eq!(entry_change("f", Some(&old), None), "f is gone");
        assert_eq!(
            entry_change("l", Some("symlink 0:0 a -> /l"), Some("symlink 0:0 b -> /l")),
            "l points elsewhere: `a` → `b`"
        );
        assert_eq!(entry_change("d", Some("dir -> /"), Some("dir 0755 0:0 -> /d")), "d is taken in another way");
        assert_eq!(
            entry_change("d", Some("dir 0755 0:0 tree sha256:1"), Some("dir 0755 0:0 tree sha256:2")),
            "d holds something else"
        );
    }
}
