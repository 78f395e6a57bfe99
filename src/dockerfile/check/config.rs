//! `# check=skip=A,B;error=true;experimental=all`.

use super::{Depth, RULES, Rule};
use crate::diag::Diagnostic;
use crate::diag::suggest::nearest;
use crate::dockerfile::ast::{Dockerfile, Word};
use crate::dockerfile::lower::Options;

/// What one directive says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    skip: Vec<String>,
    experimental: Vec<String>,
    /// Findings are errors.
    pub error: bool,
}

impl Config {
    /// The file's directive, or the build argument `BUILDKIT_DOCKERFILE_CHECK` in its place; and what is wrong with it.
    pub fn of(file: &Dockerfile, options: &Options) -> (Config, Vec<Diagnostic>) {
        let directive = file.directives.check.as_ref();
        let (text, span) = match (options.build_args.get("BUILDKIT_DOCKERFILE_CHECK"), directive) {
            (Some(given), _) => (given.as_str(), None),
            (None, Some(word)) => (word.value.as_str(), Some(word.span)),
            (None, None) => return (Config::default(), Vec::new()),
        };
        let tell = |error: bool, message: String| {
            let make = if error { Diagnostic::error } else { Diagnostic::warning };
            let finding = make("invalid-check", message, &file.source, span.unwrap_or_default());
            // A build argument stands in no file.
            if span.is_some() { finding } else { Diagnostic { labels: Vec::new(), source: None, ..finding } }
        };
        match Config::parse(text) {
            Ok(config) => {
                let unknown = config.unknown().map(|name| {
                    let finding = tell(false, format!("there is no check `{name}`"));
                    match nearest(name, RULES.iter().map(|rule| rule.name)) {
                        Some(near) => finding.help(format!("did you mean {near}?")),
                        None => finding,
                    }
                });
                let unknown = unknown.collect();
                (config, unknown)
            }
            Err(message) => {
                let fault = tell(true, message).help("write # check=skip=RULE,RULE or # check=error=true");
                (Config::default(), vec![fault])
            }
        }
    }

    fn parse(text: &str) -> Result<Config, String> {
        let mut config = Config::default();
        for option in text.split(';').map(str::trim).filter(|option| !option.is_empty()) {
            let (key, value) =
                option.split_once('=').ok_or_else(|| format!("`{option}` is not of the form key=value"))?;
            let names = || value.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
            match key.trim().to_ascii_lowercase().as_str() {
                "skip" => config.skip.extend(names()),
                "experimental" => config.experimental.extend(names()),
                "error" => {
                    config.error = match value.trim().to_ascii_lowercase().as_str() {
                        "true" | "1" => true,
                        "false" | "0" => false,
                        other => return Err(format!("error is true or false, not `{other}`")),
                    }
                }
                other => return Err(format!("`{other}` is no option of check; there are skip, error, experimental")),
            }
        }
        Ok(config)
    }

    /// Whether findings of `rule` are not wanted.
    pub fn skips(&self, rule: &str) -> bool {
        names(&self.skip, rule)
    }

    /// Whether `rule` is to be looked at.
    pub fn runs(&self, rule: &Rule, depth: Depth) -> bool {
        !self.skips(rule.name) && (rule.depth <= depth || names(&self.experimental, rule.name))
    }

    fn unknown(&self) -> impl Iterator<Item = &str> {
        let known =
            |name: &str| name.eq_ignore_ascii_case("all") || RULES.iter().any(|r| r.name.eq_ignore_ascii_case(name));
        self.skip.iter().chain(&self.experimental).map(String::as_str).filter(move |name| !known(name))
    }
}

fn names(list: &[String], rule: &str) -> bool {
    list.iter().any(|name| name.eq_ignore_ascii_case("all") || name.eq_ignore_ascii_case(rule))
}

/// What the comments above an instruction say. One that can't be read is a plain comment.
pub fn of_comments(comments: &[Word]) -> Config {
    let mut whole = Config::default();
    for comment in comments {
        let Some((key, value)) = comment.value.split_once('=') else { continue };
        if let (true, Ok(config)) = (key.trim().eq_ignore_ascii_case("check"), Config::parse(value)) {
            whole.skip.extend(config.skip);
            whole.error |= config.error;
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn directives_are_read_or_refused() {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let config = |skip: &[&str], error, experimental: &[&str]| Config {
            skip: list(skip),
            experimental: list(experimental),
            error,
        };
        assert_eq!(Config::parse("skip=A, B;error=true"), Ok(config(&["A", "B"], true, &[])));
        assert_eq!(Config::parse("experimental=all ; error=False"), Ok(config(&[], false, &["all"])));
        assert_eq!(Config::parse(""), Ok(Config::default()));
        for bad in ["skip", "error=maybe", "skp=A"] {
            assert!(Config::parse(bad).is_err(), "{bad}");
        }
    }
}
