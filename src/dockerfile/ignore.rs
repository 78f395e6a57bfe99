//! `.dockerignore` and the pattern language it shares with `--exclude` (moby's patternmatcher), and Go's
//! `filepath.Match` for COPY wildcards.
//!
//! Patterns are rooted at the context and matched against the whole relative path *or any of its parent directories*;
//! the last rule that matches decides, so a `!` rule can bring back a file below an excluded directory. This is not
//! the language of `.gitignore`: `node_modules` matches at the root only.

use super::glob::{self, Pattern};
pub use super::glob::{go_match, has_wildcard};

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;

/// A list of ignore patterns, compiled.
#[derive(Debug, Default)]
pub struct Ignore {
    rules: Vec<Compiled>,
}

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Line in the ignore file, from 1.
    pub line: usize,
    /// The pattern as written, `!` included.
    pub text: String,
}

/// A pattern that can't be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: bad pattern '{pattern}': {reason}")]
pub struct PatternError {
    /// Line, from 1.
    pub line: usize,
    /// As written.
    pub pattern: String,
    /// Why.
    pub reason: String,
}

#[derive(Debug)]
struct Compiled {
    rule: Rule,
    /// `!`: brings back.
    includes: bool,
    matcher: Matcher,
    /// The pattern's components, for telling what may lie below a directory.
    components: Vec<String>,
}

#[derive(Debug)]
enum Matcher {
    /// No special characters: the path itself.
    Exact(Vec<u8>),
    Pattern(Pattern),
}

impl Matcher {
    /// Whether the path or one of its parent directories matches.
    fn covers(&self, path: &[u8]) -> bool {
        match self {
            Matcher::Exact(exact) => path.strip_prefix(exact.as_slice()).is_some_and(|r| matches!(r, [] | [b'/', ..])),
            Matcher::Pattern(pattern) => {
                let parents = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| &path[..end]);
                pattern.matches(path) || parents.into_iter().any(|parent| pattern.matches(parent))
            }
        }
    }
}

impl Ignore {
    /// Reads an ignore file's text: a comment has its `#` in the first column, blank lines are skipped, patterns are
    /// trimmed and cleaned.
    pub fn parse(text: &str) -> Result<Ignore, PatternError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
        Ignore::compile(lines.map(|(i, line)| (i + 1, line)))
    }

    /// From patterns in order (`--exclude`).
    pub fn from_patterns(patterns: &[String]) -> Result<Ignore, PatternError> {
        Ignore::compile(patterns.iter().enumerate().map(|(i, pattern)| (i + 1, pattern.as_str())))
    }

    fn compile<'p>(patterns: impl Iterator<Item = (usize, &'p str)>) -> Result<Ignore, PatternError> {
        let mut rules = Vec::new();
        for (line, written) in patterns {
            let written = written.trim();
            if written.is_empty() {
                continue;
            }
            let fail = |reason: &str| PatternError { line, pattern: written.to_owned(), reason: reason.to_owned() };
            let (includes, pattern) = match written.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, written),
            };
            if pattern.is_empty() {
                return Err(fail("nothing follows '!'"));
            }
            if pattern.len() > MAX_PATTERN {
                return Err(fail("it is too long"));
            }
            let pattern = clean(pattern);
            let matcher = if has_wildcard(pattern.as_bytes()) {
                Matcher::Pattern(glob::compile_moby(pattern.as_bytes()).map_err(fail)?)
            } else {
                Matcher::Exact(pattern.as_bytes().to_vec())
            };
            let components = pattern.split('/').map(str::to_owned).collect();
            rules.push(Compiled { rule: Rule { line, text: written.to_owned() }, includes, matcher, components });
        }
        Ok(Ignore { rules })
    }

    /// Whether there are no rules at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The last rule that matches `path` (relative, `/`-separated, no leading `/`) or one of its parent directories,
    /// if that rule excludes: the path is ignored because of it.
    pub fn excluded_by(&self, path: &[u8]) -> Option<&Rule> {
        let last = self.rules.iter().rev().find(|rule| rule.matcher.covers(path))?;
        (!last.includes).then_some(&last.rule)
    }

    /// Whether something below the excluded directory `dir` may be brought back by a later `!` rule: only then need
    /// the directory be read. Says yes where it is not sure.
    pub fn may_include_below(&self, dir: &[u8]) -> bool {
        let decided = self.rules.iter().rposition(|rule| !rule.includes && rule.matcher.covers(dir));
        let later = &self.rules[decided.map_or(0, |i| i + 1)..];
        later.iter().any(|rule| rule.includes && may_reach_below(&rule.components, dir))
    }
}

/// Whether a pattern may match something below `dir`: its first components match those of `dir`, as far as there is no
/// `**`.
fn may_reach_below(pattern: &[String], dir: &[u8]) -> bool {
    let mut components = pattern.iter();
    for part in dir.split(|byte| *byte == b'/') {
        match components.next() {
            // It matches a parent of `dir`, and so all that is below.
            None => return true,
            Some(component) if component.contains("**") => return true,
            // A component may be malformed alone, as in `[a/b]`: not sure.
            Some(component) if go_match(component.as_bytes(), part) == Ok(false) => return false,
            Some(_) => {}
        }
    }
    true
}

/// Go's `path.Clean` on a pattern, without the leading slash: `/a//b/../c/` is `a/c`. What climbs above the root of a
/// relative pattern keeps its `..` and matches nothing.
fn clean(pattern: &str) -> String {
    let rooted = pattern.starts_with('/');
    let mut components: Vec<&str> = Vec::new();
    for component in pattern.split('/') {
        match component {
            "" | "." => {}
            ".." if components.last().is_some_and(|last| *last != "..") => {
                components.pop();
            }
            ".." if rooted => {}
            other => components.push(other),
        }
    }
    if components.is_empty() { ".".to_owned() } else { components.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(file: &str, path: &str) -> bool {
        Ignore::parse(file).expect("patterns are sound").excluded_by(path.as_bytes()).is_some()
    }

    #[test]
    fn rules_match_a_path_or_one_of_its_parents() {
        let cases = [
            ("a", "a", true),
            ("a", "a/b/c", true),
            ("a", "ab", false),
            ("a", "b/a", false),
            ("/a", "a", true),
            ("a/", "a", true),
            ("./a/../b//c/", "b/c", true),
            ("../a", "a", false),
            ("/../a", "a", true),
            (".", "a", false),
            ("*", "a/b", true),
            ("*.o", "a.o", true),
            ("*.o", "d/a.o", false),
            ("*/*.o", "d/a.o", true),
            ("*/*.o", "d/e/a.o", false),
            ("**/*.o", "a.o", true),
            ("**/*.o", "d/e/a.o", true),
            ("**/x", "d/x/f", true),
            ("**/x", "dx", false),
            ("**", "anything/at/all", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("**/a/**/b", "q/a/r/s/b/t", true),
            ("**log", "d/mylog", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("a?c", "a\u{e9}c", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a.b", "axb", false),
            ("a+(b)|c$", "a+(b)|c$", true),
            (".*", ".git/config", true),
            ("node_modules", "web/node_modules", false),
        ];
        for (file, path, expected) in cases {
            assert_eq!(excluded(file, path), expected, "{file} on {path}");
        }
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let cases = [
            ("*\n!keep", "keep", false),
            ("*\n!keep", "keep/below", false),
            ("*\n!keep\nkeep/not", "keep/not", true),
            ("d\n!d/f", "d/f", false),
            ("d\n!d/f", "d/g", true),
            ("!a\na", "a", true),
            ("**\n!**/*.go", "x/y/z.go", false),
            ("# a\n a", "a", true),
            (" # a", "# a", true),
            ("\u{feff}a\r\n\r\n!b\r\n", "a", true),
            ("*\n!  a  ", "a", false),
        ];
        for (file, path, expected) in cases {
            assert_eq!(excluded(file, path), expected, "{file:?} on {path}");
        }
    }

    #[test]
    fn the_rule_that_decided_is_named_with_its_line() {
        let ignore = Ignore::parse("# top\n\n*.log\n!a.log\n  /tmp/ \n").expect("sound");
        assert_eq!(ignore.excluded_by(b"x.log"), Some(&Rule { line: 3, text: "*.log".into() }));
        assert_eq!(ignore.excluded_by(b"a.log"), None);
        assert_eq!(ignore.excluded_by(b"tmp/x"), Some(&Rule { line: 5, text: "/tmp/".into() }));
        assert!(Ignore::parse("# only\n\n").expect("sound").is_empty());
    }

    #[test]
    fn an_excluded_directory_is_read_only_if_a_later_rule_may_reach_into_it() {
        let cases = [
            ("d", "d", false),
            ("d\n!d/f", "d", true),
            ("d\n!d/e/f", "d/e", true),
            ("d\n!d/e/f", "d/x", false),
            ("!d/f\nd", "d", false),
            ("*\n!x/*/z", "x/y", true),
            ("*\n!x/*/z", "y", false),
            ("*\n!**/z", "any/where", true),
            ("*\n!x/[a-b]/z", "x/c", false),
            ("*\n!x/[a-b]/z", "x/a", true),
            ("*\n!x", "y", false),
        ];
        for (file, dir, expected) in cases {
            let ignore = Ignore::parse(file).expect("sound");
            assert_eq!(ignore.may_include_below(dir.as_bytes()), expected, "{file:?} below {dir}");
        }
    }

    #[test]
    fn bad_patterns_are_refused_with_their_line() {
        for (file, line, reason) in [
            ("a\n!", 2, "nothing follows"),
            ("[", 1, "not closed"),
            ("a\\", 1, "backslash"),
            ("x[]", 1, "character class"),
            ("[a-]", 1, "character class"),
        ] {
            let error = Ignore::parse(file).expect_err(file);
            assert_eq!(error.line, line, "{file}");
            assert!(error.reason.contains(reason), "{file}: {error}");
        }
        let long = "a".repeat(MAX_PATTERN + 1);
        assert!(Ignore::from_patterns(&[long]).is_err());
    }

    #[test]
    fn names_that_are_not_utf8_are_matched_byte_by_byte() {
        let ignore = Ignore::from_patterns(&["a?b".into(), "*.x".into()]).expect("sound");
        assert!(ignore.excluded_by(b"a\xffb").is_some());
        assert!(ignore.excluded_by(b"\xff\xfe.x").is_some());
        assert!(ignore.excluded_by(b"a\xff\xffb").is_none());
    }
}
