use super::*;
use crate::dockerfile::ast::Spanned;
use proptest::prelude::*;

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "A" => "a",
        "EMPTY" => "",
        "PATH" => "/usr/local/bin:/usr/bin",
        "FILE" => "archive.tar.gz",
        "STAR" => "a*b",
        "é1" => "accent",
        _ => return None,
    };
    Some(value.to_owned())
}

fn with(text: &str, escape: char, quotes: Quotes) -> Result<Expanded> {
    expand(text, escape, quotes, &lookup)
}

#[test]
fn words_expand() {
    let cases = [
        ("plain", "plain"),
        ("$A-$A.x", "a-a.x"),
        ("${A}b$NOPE", "ab"),
        ("$é1", "accent"),
        ("$1x $12", "x "),
        ("$", "$"),
        ("$/ $.", "$/ $."),
        ("a$$b", "ab"),
        ("$@$*$#$?$-$!", ""),
        ("${NOPE:-d}${EMPTY:-d}${A:-d}", "dda"),
        ("${NOPE-d}${EMPTY-d}${A-d}", "da"),
        ("${NOPE:+d}${EMPTY:+d}${A:+d}", "d"),
        ("${NOPE+d}${EMPTY+d}${A+d}", "dd"),
        ("${A:?no}${A?no}${EMPTY?no}", "aa"),
        ("${NOPE:-${A:-x}}", "a"),
        ("${NOPE:-${NOPE:-x y}}", "x y"),
        ("${NOPE:-'$A}'}", "$A}"),
        ("${NOPE:-\"$A }\"}", "a }"),
        ("${NOPE:-a\\}b}", "a}b"),
        ("${A:-${NOPE:?unused}}", "a"),
        ("${A+${A}${A}}", "aa"),
        ("${PATH#*/}", "usr/local/bin:/usr/bin"),
        ("${PATH##*/}", "bin"),
        ("${PATH%/*}", "/usr/local/bin:/usr"),
        ("${PATH%%/*}", ""),
        ("${PATH%%:*}", "/usr/local/bin"),
        ("${FILE%.*}", "archive.tar"),
        ("${FILE%%.*}", "archive"),
        ("${FILE#arch?}", "ve.tar.gz"),
        ("${FILE#x}", "archive.tar.gz"),
        ("${FILE%$NOPE.gz}", "archive.tar"),
        ("${STAR#a\\*}", "b"),
        ("${STAR%[b]}", "a*b"),
        ("${NOPE#x}", ""),
        ("${PATH/usr/opt}", "/opt/local/bin:/usr/bin"),
        ("${PATH//usr/opt}", "/opt/local/bin:/opt/bin"),
        ("${PATH//\\//_}", "_usr_local_bin:_usr_bin"),
        ("${PATH/:*/}", "/usr/local/bin"),
        ("${PATH/u*b/X}", "/Xin"),
        ("${PATH//usr/$A}", "/a/local/bin:/a/bin"),
        ("${FILE/./$1}", "archivetar.gz"),
        ("${FILE//?/x}", "xxxxxxxxxxxxxx"),
        ("'$A' \"$A\"", "$A a"),
        ("\"a'b'\" 'a\"b'", "a'b' a\"b"),
        ("\\$A \\\\ \\x \\'", "$A \\ x '"),
        ("\"\\$A \\\" \\\\ \\x\"", "$A \" \\ \\x"),
        ("'a\\'", "a\\"),
        ("x\\", "x"),
        ("\"\"''", ""),
    ];
    for (text, expected) in cases {
        let found = with(text, '\\', Quotes::Remove);
        assert_eq!(found.map(|e| e.text), Ok(expected.to_owned()), "{text}");
    }
}

#[test]
fn the_escape_character_is_the_file_s() {
    for (text, expected) in [("`$A \\$A", "$A \\a"), ("\"`\" \\\"", "\" \\"), ("${NOPE:-a`}b}", "a}b")] {
        assert_eq!(with(text, '`', Quotes::Remove).map(|e| e.text), Ok(expected.to_owned()), "{text}");
    }
}

#[test]
fn heredoc_bodies_keep_their_quotes() {
    let cases =
        [("\"$A\" '$A' it's\n", "\"a\" 'a' it's\n"), ("\\$A \\\\\n", "$A \\\n"), ("${NOPE:-\"x\"}\n", "\"x\"\n")];
    for (text, expected) in cases {
        assert_eq!(with(text, '\\', Quotes::Keep).map(|e| e.text), Ok(expected.to_owned()), "{text}");
    }
}

#[test]
fn what_cannot_be_expanded_is_told_with_its_place() {
    let cases = [
        ("a${A", 1, "not closed"),
        ("a${", 1, "not closed"),
        ("${}", 0, "bad substitution"),
        ("${:x}", 0, "bad substitution"),
        ("${{A}}", 0, "bad substitution"),
        ("${/a/b}", 0, "bad substitution"),
        ("${A!x}", 0, "unsupported modifier `!`"),
        ("${A:#x}", 0, "unsupported modifier `:#`"),
        ("${A:%x}", 0, "unsupported modifier `:%`"),
        ("${A:/x/y}", 0, "unsupported modifier `:/`"),
        ("${A:1:2}", 0, "unsupported modifier `:1`"),
        ("${A:}", 0, "unsupported modifier `:}`"),
        ("${A:", 0, "not closed"),
        ("${A:-x", 0, "`}` is missing"),
        ("${A/x}", 0, "`/` is missing"),
        ("${A/x/y", 0, "`}` is missing"),
        ("${A#\\x}", 0, "invalid escape `\\x`"),
        ("x ${NOPE:?say so}", 2, "NOPE: say so"),
        ("${NOPE?}", 0, "NOPE: it must be set"),
        ("${EMPTY:?}", 0, "EMPTY: it must not be empty"),
        ("a'b", 1, "single quote is not closed"),
        ("a\"b", 1, "double quote is not closed"),
        ("${NOPE:-'x}", 8, "single quote"),
        ("\"${A:-x\"", 1, "double quote"),
    ];
    for (text, offset, message) in cases {
        let error = with(text, '\\', Quotes::Remove).expect_err(text);
        assert!(error.message.contains(message), "{text}: {error}");
        if !text.starts_with("\"$") {
            assert_eq!(error.offset, offset, "{text}: {error}");
        }
    }
}

#[test]
fn names_used_are_sorted_into_set_and_unset() {
    let found = with("$A ${NOPE} ${ONE:-$TWO} ${A:-$THREE} ${FOUR+x} ${EMPTY#x} ${FIVE%x}", '\\', Quotes::Remove);
    let found = found.expect("sound");
    let names = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(names(found.used), "A EMPTY");
    assert_eq!(names(found.unset), "FIVE NOPE TWO");
}

#[test]
fn depth_length_and_work_are_limited() {
    let nested = |n: usize| format!("{}x{}", "${NOPE:-".repeat(n), "}".repeat(n));
    assert_eq!(with(&nested(MAX_DEPTH), '\\', Quotes::Remove).map(|e| e.text), Ok("x".to_owned()));
    let error = with(&nested(MAX_DEPTH + 1), '\\', Quotes::Remove).expect_err("too deep");
    assert!(error.message.contains("nested"), "{error}");
    let deep = with(&"${A:-".repeat(100_000), '\\', Quotes::Remove).expect_err("far too deep");
    assert!(deep.message.contains("nested"), "{deep}");

    let big = |_: &str| Some("x".repeat(MAX_LEN / 2));
    assert!(expand("$a$b", '\\', Quotes::Remove, &big).is_ok());
    for text in ["$a$b$c", "${a//x/yyy}", "\"$a${b:-$c}$d\""] {
        let error = expand(text, '\\', Quotes::Remove, &big).expect_err(text);
        assert!(error.message.contains("longer"), "{text}: {error}");
    }
    let error = expand(&format!("${{a#{}}}", "?*".repeat(1000)), '\\', Quotes::Remove, &big).expect_err("much work");
    assert!(error.message.contains("too long to match"), "{error}");
}

#[test]
fn a_failure_is_told_at_the_part_of_the_word_that_is_to_blame() {
    let text = "ENV k=one${A:\\\n  # c\n!x} v=2";
    let source = Source::new("Dockerfile", text);
    let end = text.find(" v=2").expect("is there");
    let word = Spanned { value: "one${A:!x}".to_owned(), span: Span::new(6..end) };
    let error = expand_word(&source, &word, '\\', Quotes::Remove, &lookup).expect_err("unsupported");
    assert_eq!(&text[error.labels[0].span.range()], "${A:\\\n  # c\n!");
    assert_eq!(error.code, "bad-expansion");
    // A decoded JSON string is not what stands in the file: the whole of it is marked.
    let word = Spanned { value: "$\"{A".to_owned(), span: Span::new(0..3) };
    let error = expand_word(&source, &word, '\\', Quotes::Remove, &lookup).expect_err("open quote");
    assert_eq!(error.labels[0].span, Span::new(0..3));
}

proptest! {
    #[test]
    fn any_text_expands_or_fails_inside_itself(text in "(\\$\\{|[$A}\"'\\\\:/#%?*+-]|é|x){0,40}", keep: bool) {
        let quotes = if keep { Quotes::Keep } else { Quotes::Remove };
        if let Err(error) = with(&text, '\\', quotes) {
            prop_assert!(text.get(error.offset..error.offset + error.len).is_some(), "{error:?} in {text:?}");
        }
    }

    #[test]
    fn a_text_without_special_characters_is_itself(text in "[^$\"'\\\\]{0,40}") {
        prop_assert_eq!(with(&text, '\\', Quotes::Remove).unwrap().text, text);
    }

    #[test]
    fn an_escaped_text_is_itself(text in "[ -~é]{0,40}") {
        let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
        prop_assert_eq!(with(&escaped, '\\', Quotes::Remove).unwrap().text, text);
    }
}
