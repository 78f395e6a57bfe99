//! `.dockerignore` and the pattern language it shares with `--exclude` (moby's patternmatcher), and Go's
//! `filepath.Match` for COPY wildcards.

/// A list of ignore patterns, compiled.
#[derive(Debug, Default)]
pub struct Ignore {
    _private: (),
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

impl Ignore {
    /// Reads an ignore file's text.
    pub fn parse(text: &str) -> Result<Ignore, PatternError> {
        let _ = text;
        unreachable!("skeleton")
    }

    /// From patterns in order (`--exclude`).
    pub fn from_patterns(patterns: &[String]) -> Result<Ignore, PatternError> {
        let _ = patterns;
        unreachable!("skeleton")
    }

    /// Whether there are no rules at all.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// The last rule that matches `path` (relative, `/`-separated, no leading `/`) or one of its parent directories,
    /// if that rule excludes: the path is ignored because of it. Non-UTF-8 names are matched lossily.
    pub fn excluded_by(&self, path: &[u8]) -> Option<&Rule> {
        let _ = path;
        None
    }

    /// Whether something below the excluded directory `dir` may be brought back by a later `!` rule: only then need
    /// the directory be read.
    pub fn may_include_below(&self, dir: &[u8]) -> bool {
        let _ = dir;
        false
    }
}

/// Go's `filepath.Match` for one path component or a whole relative path: `*`, `?`, `[a-z]`, `[^a]`, `\`; `*` never
/// crosses `/`. `Err`: malformed pattern.
pub fn go_match(pattern: &[u8], name: &[u8]) -> Result<bool, &'static str> {
    let _ = (pattern, name);
    unreachable!("skeleton")
}

/// Whether a COPY source has wildcard characters at all (`*`, `?`, `[`, or an escape).
pub fn has_wildcard(pattern: &[u8]) -> bool {
    let _ = pattern;
    unreachable!("skeleton")
}
