//! Path patterns: Go's `filepath.Match` for COPY wildcards, and moby's extension of it by `**` for ignore rules.

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern(Vec<Token>);

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// `*`: any run without `/`.
    Star,
    /// `**/` before something: any number of whole components, none included.
    Components,
    /// `**` at the end: whatever follows.
    Rest,
    /// `?`: one character but `/`.
    Any,
    Literal(u32),
    Class {
        negated: bool,
        ranges: Vec<(u32, u32)>,
    },
}

impl Token {
    /// Whether what comes next begins a component, or may as well.
    fn ends_component(&self) -> bool {
        matches!(self, Token::Components | Token::Rest) || *self == Token::Literal(u32::from(b'/'))
    }

    fn matches(&self, c: u32) -> bool {
        match self {
            Token::Star | Token::Components | Token::Rest => false,
            Token::Any => c != u32::from(b'/'),
            Token::Literal(literal) => *literal == c,
            // As in Go, a class may match a slash.
            Token::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

/// Go's `filepath.Match` for one path component or a whole relative path: `*`, `?`, `[a-z]`, `[^a]`, `\`; `*` never
/// crosses `/`. `Err`: malformed pattern. Unlike in Go the whole pattern is checked even if the names differ early.
pub fn go_match(pattern: &[u8], name: &[u8]) -> Result<bool, &'static str> {
    Ok(compile(pattern, false)?.matches(name))
}

/// Whether a COPY source has wildcard characters at all (`*`, `?`, `[`, or an escape).
pub fn has_wildcard(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

/// Compiles a pattern with `**`. Like in moby, `**name` (no slash) matches any path that ends in `name`, if nothing
/// else in it is special.
pub fn compile_moby(pattern: &[u8]) -> Result<Pattern, &'static str> {
    match pattern.strip_prefix(b"**") {
        Some(suffix @ [first, ..]) if *first != b'/' && !has_wildcard(suffix) => {
            let literals = compile(suffix, true)?.0;
            Ok(Pattern(std::iter::once(Token::Rest).chain(literals).collect()))
        }
        _ => compile(pattern, true),
    }
}

fn compile(pattern: &[u8], double_star: bool) -> Result<Pattern, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = Cursor(pattern);
    while let Some(c) = rest.next() {
        tokens.push(match u8::try_from(c) {
            Ok(b'*') if double_star && rest.skip(b'*') => {
                rest.skip(b'/');
                if rest.0.is_empty() { Token::Rest } else { Token::Components }
            }
            Ok(b'*') if tokens.last() == Some(&Token::Star) => continue,
            Ok(b'*') => Token::Star,
            Ok(b'?') => Token::Any,
            Ok(b'\\') => Token::Literal(rest.next().ok_or("it ends in a lone backslash")?),
            Ok(b'[') => class(&mut rest)?,
            _ => Token::Literal(c),
        });
    }
    Ok(Pattern(tokens))
}

/// After `[`.
fn class(rest: &mut Cursor<'_>) -> Result<Token, &'static str> {
    let negated = rest.skip(b'^');
    let mut ranges = Vec::new();
    while ranges.is_empty() || !rest.skip(b']') {
        let low = class_character(rest)?;
        let high = if rest.skip(b'-') { class_character(rest)? } else { low };
        ranges.push((low, high));
    }
    Ok(Token::Class { negated, ranges })
}

fn class_character(rest: &mut Cursor<'_>) -> Result<u32, &'static str> {
    const OPEN: &str = "a '[' is not closed";
    match rest.next().ok_or(OPEN)? {
        0x5c => rest.next().ok_or(OPEN),
        0x2d | 0x5d => Err("in a character class, `-` and `]` themselves need a backslash"),
        c => Ok(c),
    }
}

/// Characters of a byte string. A byte that is not part of a UTF-8 character is a character of its own, beyond Unicode.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn next(&mut self) -> Option<u32> {
        let (c, len) = character(self.0)?;
        self.0 = &self.0[len..];
        Some(c)
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }
}

fn character(bytes: &[u8]) -> Option<(u32, usize)> {
    let first = *bytes.first()?;
    if first.is_ascii() {
        return Some((u32::from(first), 1));
    }
    let head = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).ok(),
    };
    match valid.and_then(|text| text.chars().next()) {
        Some(c) => Some((u32::from(c), c.len_utf8())),
        None => Some((0x11_0000 + u32::from(first), 1)),
    }
}

impl Pattern {
    /// Whether the whole of `path` matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        if self.0.windows(2).all(|pair| pair[1] != Token::Components || pair[0].ends_component()) {
            self.matches_greedily(path)
        } else {
            self.matches_everywhere(path)
        }
    }

    /// By all places that each token can lead to, for patterns with a `**` in the middle of a component.
    fn matches_everywhere(&self, path: &[u8]) -> bool {
        let mut places = vec![false; path.len() + 1];
        places[0] = true;
        for token in &self.0 {
            let mut next = vec![false; path.len() + 1];
            for from in (0..=path.len()).filter(|at| places[*at]) {
                let mut at = from;
                match token {
                    Token::Star | Token::Rest | Token::Components => next[from] = true,
                    single => {
                        if let Some((_, len)) = character(&path[from..]).filter(|(c, _)| single.matches(*c)) {
                            next[from + len] = true;
                        }
                        continue;
                    }
                }
                while let Some((c, len)) = character(&path[at..]) {
                    let slash = c == u32::from(b'/');
                    if slash && *token == Token::Star {
                        break;
                    }
                    at += len;
                    next[at] |= slash || *token != Token::Components;
                }
            }
            places = next;
        }
        places[path.len()]
    }

    /// Only the last `*` and the last `**` are ever tried again: an earlier one could only leave less for what follows.
    fn matches_greedily(&self, path: &[u8]) -> bool {
        let tokens = &self.0;
        let (mut token, mut at) = (0, 0);
        // (token after the wildcard, how far the wildcard reaches)
        let mut star: Option<(usize, usize)> = None;
        let mut deep: Option<(usize, usize)> = None;
        loop {
            match tokens.get(token) {
                Some(Token::Star) => {
                    token += 1;
                    star = Some((token, at));
                    continue;
                }
                Some(Token::Components | Token::Rest) => {
                    token += 1;
                    deep = Some((token, at));
                    star = None;
                    continue;
                }
                Some(single) => {
                    if let Some((c, len)) = character(&path[at..])
                        && single.matches(c)
                    {
                        token += 1;
                        at += len;
                        continue;
                    }
                }
                None if at == path.len() => return true,
                None => {}
            }
            if let Some((after, reach)) = star
                && let Some((c, len)) = character(&path[reach..])
                && c != u32::from(b'/')
            {
                star = Some((after, reach + len));
                (token, at) = (after, reach + len);
                continue;
            }
            star = None;
            let Some((after, reach)) = deep else { return false };
            let Some(next) = next_reach(&tokens[after - 1], path, reach) else { return false };
            deep = Some((after, next));
            (token, at) = (after, next);
        }
    }
}

/// The next place up to which a `**` may reach: behind a slash if whole components are asked for.
fn next_reach(token: &Token, path: &[u8], reach: usize) -> Option<usize> {
    let rest = &path[reach..];
    match token {
        Token::Rest => character(rest).map(|(_, len)| reach + len),
        _ => rest.iter().position(|byte| *byte == b'/').map(|slash| reach + slash + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn go_match_follows_filepath_match() {
        let cases = [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*", "", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a\u{263a}b", true),
            ("a[^a]b", "a\u{263a}b", true),
            ("a???b", "a\u{263a}b", false),
            ("[a-\u{3b6}]*", "\u{3b1}", true),
            ("*[a-\u{3b6}]", "A", false),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("[x\\-]", "-", true),
            (".*", ".x", true),
            ("*", ".x", true),
            ("**", "ab", true),
            ("a**b", "a/b", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(go_match(pattern.as_bytes(), name.as_bytes()), Ok(expected), "{pattern} on {name}");
        }
        for pattern in ["[", "[^", "[]a]", "[-]", "[x-]", "[-x]", "a[", "\\", "a\\", "[a", "[a-", "[^]"] {
            assert!(go_match(pattern.as_bytes(), b"a").is_err(), "{pattern}");
        }
    }

    #[test]
    fn wildcards_are_told_from_plain_names() {
        for (name, expected) in [("a.b/c-d_e", false), ("a*", true), ("a?", true), ("[a", true), ("a\\b", true)] {
            assert_eq!(has_wildcard(name.as_bytes()), expected, "{name}");
        }
    }

    /// The definition, without any cleverness.
    fn naive(tokens: &[Token], path: &[u8]) -> bool {
        let Some((first, rest)) = tokens.split_first() else { return path.is_empty() };
        match first {
            Token::Star => {
                let run = path.iter().position(|b| *b == b'/').unwrap_or(path.len());
                (0..=run).any(|n| naive(rest, &path[n..]))
            }
            Token::Rest => (0..=path.len()).any(|n| naive(rest, &path[n..])),
            Token::Components => {
                naive(rest, path) || (1..=path.len()).any(|n| path[n - 1] == b'/' && naive(rest, &path[n..]))
            }
            single => path.split_first().is_some_and(|(c, tail)| single.matches(u32::from(*c)) && naive(rest, tail)),
        }
    }

    #[test]
    fn a_double_star_may_stand_within_a_component() {
        for (pattern, path, expected) in
            [("***?**?", "aaa", true), ("a*?**b", "axxb", true), ("a*?**b", "ax/y/b", true), ("a*?**b", "ax/yb", false)]
        {
            assert_eq!(
                compile_moby(pattern.as_bytes()).unwrap().matches(path.as_bytes()),
                expected,
                "{pattern} on {path}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab/*?]{0,10}", path in "[ab/]{0,12}") {
            let compiled = compile_moby(pattern.as_bytes()).unwrap();
            prop_assert_eq!(compiled.matches(path.as_bytes()), naive(&compiled.0, path.as_bytes()), "{} on {}", pattern, path);
        }

        #[test]
        fn any_bytes_are_a_pattern_or_an_error(pattern: Vec<u8>, path: Vec<u8>) {
            if let Ok(compiled) = compile_moby(&pattern) {
                compiled.matches(&path);
            }
            let _ = go_match(&pattern, &path);
        }
    }
}
