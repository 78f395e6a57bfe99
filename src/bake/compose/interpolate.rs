//! `${}` in compose files: `$NAME`, `${NAME}`, with `:-` `-` a default, with `:?` `?` an error, with `:+` `+` a replacement,
//! which may themselves hold such; `$$` is a dollar.

use std::collections::BTreeMap;

/// How deep replacements may nest.
const DEPTH: usize = 32;

/// The most that a text may become, in bytes.
const LIMIT: usize = 1 << 20;

/// Why a text can't be interpolated.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// What is wrong, as a sentence.
    pub why: String,
    /// Where, in bytes of the text.
    pub at: usize,
}

/// The text with variables replaced, and the names of those that are not set and have no default.
///
/// # Errors
/// The text breaks the rules, or a variable that must be set is not.
pub fn interpolate(text: &str, environment: &BTreeMap<String, String>) -> Result<(String, Vec<String>), Broken> {
    let mut reader = Reader { text, at: 0, environment, unset: Vec::new() };
    let out = reader.run(false, 0)?;
    Ok((out, reader.unset))
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    environment: &'t BTreeMap<String, String>,
    unset: Vec<String>,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn broken<T>(&self, at: usize, why: impl Into<String>) -> Result<T, Broken> {
        Err(Broken { why: why.into(), at })
    }

    fn take(&mut self, prefix: &str) -> bool {
        let there = self.rest().starts_with(prefix);
        self.at += if there { prefix.len() } else { 0 };
        there
    }

    fn name(&mut self) -> String {
        let digits_too =
            |(index, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (index > 0 && c.is_ascii_digit());
        let name: String = self.rest().chars().enumerate().take_while(|ic| digits_too(*ic)).map(|(_, c)| c).collect();
        self.at += name.len();
        name
    }

    /// Reads up to the end, or within braces up to the closing one, which stays.
    fn run(&mut self, braced: bool, depth: usize) -> Result<String, Broken> {
        if depth > DEPTH {
            return self.broken(self.at, format!("replacements nest more than {DEPTH} deep"));
        }
        let mut out = String::new();
        while let Some(c) = self.rest().chars().next() {
            if braced && c == '}' {
                return Ok(out);
            }
            if c != '$' {
                out.push(c);
                self.at += c.len_utf8();
            } else if self.take("$$") {
                out.push('$');
            } else {
                out.push_str(&self.variable(depth)?);
            }
            if out.len() > LIMIT {
                return self.broken(self.at, "the text becomes too long");
            }
        }
        if braced { self.broken(self.at, "a `${` is not closed") } else { Ok(out) }
    }

    fn variable(&mut self, depth: usize) -> Result<String, Broken> {
        let start = self.at;
        self.at += 1;
        if !self.take("{") {
            let name = self.name();
            return match name.is_empty() {
                true => self.broken(start, "a `$` without a name; a dollar is written `$$`"),
                false => Ok(self.plain(name)),
            };
        }
        let name = self.name();
        if name.is_empty() {
            return self.broken(start, "a `${` without a name");
        }
        if self.take("}") {
            return Ok(self.plain(name));
        }
        let empty_counts = self.take(":");
        let Some(operator) = self.rest().chars().next().filter(|c| matches!(c, '-' | '?' | '+')) else {
            return self.broken(start, format!("`${{{name}` must go on with one of `}}`, `:-`, `:?`, `:+`"));
        };
        self.at += 1;
        let unset = self.unset.len();
        let word = self.run(true, depth + 1)?;
        self.at += 1;
        let value = self.environment.get(&name).filter(|value| !(empty_counts && value.is_empty())).cloned();
        if (operator == '+') == value.is_none() {
            // The word is not used, and so are not the variables in it.
            self.unset.truncate(unset);
        }
        match (operator, value) {
            ('-', None) => Ok(word),
            ('?', None) => {
                let said = if word.is_empty() { String::new() } else { format!(": {word}") };
                self.broken(start, format!("{name} must be set{said}"))
            }
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, value) => Ok(value.unwrap_or_default()),
        }
    }

    fn plain(&mut self, name: String) -> String {
        match self.environment.get(&name) {
            Some(value) => value.clone(),
            None => {
                self.unset.push(name);
                String::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_defaults_errors_and_replacements() {
        let environment = [("A", "a"), ("E", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let cases: [(&str, Result<&str, usize>); 18] = [
            ("x$A-${A}y", Ok("xa-ay")),
            ("$$A$$", Ok("$A$")),
            ("${E:-d}${E-d}", Ok("d")),
            ("${N:-${M:-${A}}}", Ok("a")),
            ("${A:+yes}${E:+no}${E+yes}", Ok("yesyes")),
            ("${N}", Ok("")),
            ("${N:-a}b}", Ok("ab}")),
            ("é${A}", Ok("éa")),
            ("${A:?}", Ok("a")),
            ("${N:?why}", Err(0)),
            ("x${E:?}", Err(1)),
            ("${E?}", Ok("")),
            ("$", Err(0)),
            ("${", Err(0)),
            ("${A", Err(0)),
            ("${A:-b", Err(6)),
            ("${A!}", Err(0)),
            ("$1", Err(0)),
        ];
        for (text, want) in cases {
            let got = interpolate(text, &environment).map(|(text, _)| text).map_err(|broken| broken.at);
            assert_eq!(got, want.map(str::to_owned), "{text}");
        }
        let (_, unset) = interpolate("$X ${Y:-$Z} ${A:-$W} ${Q:+$R}", &environment).unwrap();
        assert_eq!(unset, ["X", "Z"]);
        assert!(interpolate(&"${A:-".repeat(10_000), &environment).is_err());
    }
}
