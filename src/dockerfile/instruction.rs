//! One logical line → [`Kind`]: which shape each instruction has, and what its syntax alone can get wrong.

use super::ast::{Command, Copy, Flag, From, Healthcheck, Heredoc, Kind, Operand, Run, Spanned, Word};
use super::flags;
use super::lines::Folded;
use super::words::{self, Head, shown};
use crate::diag::{Diagnostic, Source, Span};
use std::ops::Range;

/// Why an instruction cannot be read.
pub(super) type Failure = Box<Diagnostic>;

/// A heredoc and where its marker stands in the text.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// Range of the marker in the folded text.
    pub range: Range<usize>,
    /// The heredoc.
    pub heredoc: Heredoc,
}

/// Reads one instruction. All ranges of `head` count from `base` of the folded text.
pub(super) struct Reader<'a> {
    /// The file.
    pub source: &'a Source,
    /// The instruction's text.
    pub folded: &'a Folded,
    /// Where the instruction begins in it: 0, or after ONBUILD.
    pub base: usize,
    /// Its parts.
    pub head: &'a Head,
    /// Its name in upper case.
    pub name: &'a str,
    /// The escape character.
    pub escape: char,
    /// Its heredocs.
    pub heredocs: Vec<Placed>,
}

impl Reader<'_> {
    /// Reads the instruction. Mistakes and warnings are pushed; `None`: it cannot be used.
    pub(super) fn read(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Option<Kind> {
        let errors = diagnostics.iter().filter(|d| d.is_error()).count();
        let place = flags::Place { source: self.source, folded: self.folded, base: self.base, escape: self.escape };
        let flags = flags::read(self.name, &self.head.flags, &place, diagnostics);
        let bad_flags = flags.len() < self.head.flags.len();
        if bad_flags && (self.head.rest.is_empty() || self.head.flags.iter().any(|flag| flag.open_quote.is_some())) {
            // The arguments are inside an open quote, or were taken for a flag: no use in missing them.
            return None;
        }
        let kind = match self.name {
            "FROM" => self.from(flags),
            "RUN" => self.run(flags, diagnostics),
            "CMD" => self.command(self.rest(), diagnostics).map(Kind::Cmd),
            "ENTRYPOINT" => self.command(self.rest(), diagnostics).map(Kind::Entrypoint),
            "LABEL" => self.pairs(diagnostics).map(|(pairs, legacy)| Kind::Label { pairs, legacy }),
            "ENV" => self.pairs(diagnostics).map(|(pairs, legacy)| Kind::Env { pairs, legacy }),
            "ARG" => self.arg().map(Kind::Arg),
            "MAINTAINER" => self.one(diagnostics).map(Kind::Maintainer),
            "EXPOSE" => self.plain_words(diagnostics).map(Kind::Expose),
            "COPY" => self.copy(false, flags, diagnostics).map(Kind::Copy),
            "ADD" => self.copy(true, flags, diagnostics).map(Kind::Copy),
            "VOLUME" => self.volume(diagnostics).map(Kind::Volume),
            "USER" => self.one(diagnostics).map(Kind::User),
            "WORKDIR" => self.one(diagnostics).map(Kind::Workdir),
            "STOPSIGNAL" => self.stopsignal(diagnostics).map(Kind::Stopsignal),
            "HEALTHCHECK" => self.healthcheck(diagnostics).map(|check| Kind::Healthcheck { flags, check }),
            "SHELL" => self.shell().map(Kind::Shell),
            other => Err(self.error("unknown-instruction", self.keyword(), format!("unknown instruction `{other}`"))),
        };
        match kind {
            Ok(kind) if diagnostics.iter().filter(|d| d.is_error()).count() == errors => Some(kind),
            Ok(_) => None,
            Err(diagnostic) => {
                diagnostics.push(*diagnostic);
                None
            }
        }
    }

    pub(super) fn text(&self, range: Range<usize>) -> &str {
        &self.folded.text()[range]
    }

    pub(super) fn span(&self, range: Range<usize>) -> Span {
        self.folded.span(range)
    }

    fn keyword(&self) -> Span {
        self.span(self.base + self.head.keyword.start..self.base + self.head.keyword.end)
    }

    /// What follows the flags, in the folded text.
    pub(super) fn rest(&self) -> Range<usize> {
        self.base + self.head.rest.start..self.base + self.head.rest.end
    }

    pub(super) fn error(&self, code: &str, span: Span, message: impl Into<String>) -> Failure {
        Box::new(Diagnostic::error(code, message, self.source, span))
    }

    pub(super) fn missing(&self, what: &str, form: &str) -> Failure {
        let after = self.base + flags::end(self.head);
        let span = match self.rest() {
            rest if rest.is_empty() => self.keyword().to(self.span(after..after)),
            rest => self.span(rest),
        };
        let failure = self.error("missing-argument", span, format!("{} needs {what}", self.name));
        Box::new(failure.help(format!("write `{form}`")))
    }

    /// The words between blanks of what follows the flags, in the folded text.
    fn word_ranges(&self) -> Vec<Range<usize>> {
        let start = self.rest().start;
        words::words(self.text(self.rest())).into_iter().map(|w| w.start + start..w.end + start).collect()
    }

    fn from(&self, flags: Vec<Flag>) -> Result<Kind, Failure> {
        let form = "FROM IMAGE [AS NAME]";
        let words: Vec<Word> = self.word_ranges().into_iter().map(|w| self.folded.word(w)).collect();
        let (image, alias) = match words.as_slice() {
            [] => return Err(self.missing("an image, an earlier stage or `scratch`", form)),
            [image] => (image, None),
            [image, as_word, name] if as_word.value.eq_ignore_ascii_case("as") => (image, Some((as_word, name))),
            [image, as_word] if as_word.value.eq_ignore_ascii_case("as") => {
                let failure = self.error("from-arguments", as_word.span, "the stage name after `AS` is missing");
                return Err(Box::new(failure.help(format!("write `FROM {} AS NAME`", image.value))));
            }
            [image, second, rest @ ..] => {
                let named = second.value.eq_ignore_ascii_case("as") && rest.len() > 1;
                let wrong = if named { &rest[1] } else { second };
                let failure = self.error(
                    "from-arguments",
                    wrong.span,
                    format!("FROM takes an image and a stage name, `{}` is too much", shown(&wrong.value)),
                );
                return Err(if wrong.value.starts_with('#') {
                    Box::new(failure.help("a comment needs a line of its own"))
                } else if rest.is_empty() {
                    Box::new(
                        failure.help(format!("to name the stage, write `FROM {} AS {}`", image.value, second.value)),
                    )
                } else {
                    Box::new(failure.help(format!("write `{form}`")))
                });
            }
        };
        if let Some((_, name)) = alias {
            self.check_stage_name(name)?;
        }
        Ok(Kind::From(From {
            platform: flags.into_iter().find(|f| f.name.value == "platform").and_then(|f| f.value),
            image: image.clone(),
            name: alias.map(|(_, name)| name.clone()),
            as_word: alias.map(|(word, _)| word.clone()),
        }))
    }

    /// A stage name begins with a letter and goes on with letters, digits, `-`, `_`, `.`; it holds no variables.
    fn check_stage_name(&self, name: &Word) -> Result<(), Failure> {
        let lower = name.value.to_lowercase();
        let sound = lower.starts_with(|c: char| c.is_ascii_lowercase())
            && lower.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'));
        if sound {
            return Ok(());
        }
        let failure =
            self.error("invalid-stage-name", name.span, format!("`{}` cannot be a stage name", shown(&name.value)));
        Err(Box::new(if name.value.contains('$') {
            failure.note("variables are not expanded in stage names")
        } else {
            failure.help("begin with a letter and go on with letters, digits, `-`, `_` or `.`")
        }))
    }

    fn run(&mut self, flags: Vec<Flag>, diagnostics: &mut Vec<Diagnostic>) -> Result<Kind, Failure> {
        let rest = self.rest();
        let alone = self.heredocs.first().is_some_and(|first| first.range == rest);
        let command = if alone {
            let span = self.span(rest);
            Command::Shell { text: Spanned { value: String::new(), span }, almost_json: None }
        } else {
            self.command(rest, diagnostics)?
        };
        let heredocs = std::mem::take(&mut self.heredocs).into_iter().map(|placed| placed.heredoc).collect();
        Ok(Kind::Run(Run { flags, command, heredocs }))
    }

    /// Shell or exec form.
    fn command(&self, range: Range<usize>, diagnostics: &mut Vec<Diagnostic>) -> Result<Command, Failure> {
        if range.is_empty() {
            return Err(match self.name {
                "CMD" | "ENTRYPOINT" => {
                    let form = format!("{} COMMAND", self.name);
                    Box::new(self.missing("a command", &form).help(format!("to clear it, write `{} []`", self.name)))
                }
                "HEALTHCHECK" => self.missing("a command after `CMD`", "HEALTHCHECK CMD COMMAND"),
                name => self.missing("a command", &format!("{name} COMMAND")),
            });
        }
        let span = self.span(range.clone());
        match self.json(range.clone())? {
            Json::Strings(argv) if argv.is_empty() && matches!(self.name, "RUN" | "HEALTHCHECK") => {
                Err(self.error("missing-argument", span, format!("the command of {} is empty", self.name)))
            }
            Json::Strings(argv) => Ok(Command::Exec { argv, span }),
            Json::Almost { at, reason } => {
                diagnostics.push(self.almost_json(at, reason, "it is run as a shell command instead"));
                Ok(Command::Shell { text: self.folded.word(range), almost_json: Some(reason.to_owned()) })
            }
            Json::No => Ok(Command::Shell { text: self.folded.word(range), almost_json: None }),
        }
    }

    fn almost_json(&self, at: usize, reason: &str, effect: &str) -> Diagnostic {
        let len = self.text(at..self.folded.text().len()).chars().next().map_or(0, char::len_utf8);
        Diagnostic::warning(
            "almost-json",
            "this looks like a JSON array but is none",
            self.source,
            self.span(at..at + len),
        )
        .label(reason)
        .note(effect)
        .help("write it like `[\"word\", \"word\"]`")
    }

    /// Tries the JSON form. `Err`: a JSON array, but not of strings.
    fn json(&self, range: Range<usize>) -> Result<Json, Failure> {
        let text = self.text(range.clone());
        if !text.starts_with('[') {
            return Ok(Json::No);
        }
        if let Some(strings) = words::json_strings(text) {
            let word = |(r, value): (Range<usize>, String)| Spanned {
                value,
                span: self.span(range.start + r.start..range.start + r.end),
            };
            return Ok(Json::Strings(strings.into_iter().map(word).collect()));
        }
        if serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text).is_ok() {
            let failure = self.error("json-not-strings", self.span(range), "the JSON form takes strings only");
            return Err(Box::new(failure.help("put every element in double quotes")));
        }
        Ok(match words::almost_json(text) {
            Some((at, reason)) => Json::Almost { at: range.start + at, reason },
            None => Json::No,
        })
    }

    /// The whole rest as one argument.
    fn one(&self, diagnostics: &mut Vec<Diagnostic>) -> Result<Word, Failure> {
        let (what, form) = match self.name {
            "USER" => ("a user", "USER NAME[:GROUP]"),
            "WORKDIR" => ("a path", "WORKDIR /PATH"),
            "STOPSIGNAL" => ("a signal", "STOPSIGNAL SIGTERM"),
            _ => ("a name", "MAINTAINER NAME"),
        };
        if self.rest().is_empty() {
            return Err(self.missing(what, form));
        }
        if self.name != "MAINTAINER" {
            self.warn_of_comment(&self.word_ranges(), diagnostics);
        }
        Ok(self.folded.word(self.rest()))
    }

    /// A word that begins with `#` was likely meant to begin a comment.
    fn warn_of_comment(&self, words: &[Range<usize>], diagnostics: &mut Vec<Diagnostic>) {
        let comment = words.iter().skip(1).find(|word| self.text((*word).clone()).starts_with('#'));
        if let Some(word) = comment {
            let span = self.span(word.start..self.rest().end);
            diagnostics.push(
                Diagnostic::warning(
                    "trailing-comment",
                    "this is part of the instruction, not a comment",
                    self.source,
                    span,
                )
                .help("a comment needs a line of its own"),
            );
        }
    }

    fn stopsignal(&self, diagnostics: &mut Vec<Diagnostic>) -> Result<Word, Failure> {
        let word = self.one(diagnostics)?;
        match self.word_ranges().as_slice() {
            [_, second, ..] if !word.value.contains('$') => {
                let message = "STOPSIGNAL takes one signal";
                Err(self.error("too-many-arguments", self.span(second.clone()), message))
            }
            _ => Ok(word),
        }
    }

    fn plain_words(&self, diagnostics: &mut Vec<Diagnostic>) -> Result<Vec<Word>, Failure> {
        let ranges = self.word_ranges();
        self.warn_of_comment(&ranges, diagnostics);
        let words: Vec<Word> = ranges.into_iter().map(|w| self.folded.word(w)).collect();
        if words.is_empty() {
            return Err(match self.name {
                "VOLUME" => self.missing("a path", "VOLUME /PATH"),
                _ => self.missing("a port", "EXPOSE PORT[/PROTOCOL]"),
            });
        }
        Ok(words)
    }

    /// The JSON form if it is one, else the words between blanks.
    fn list(&self, diagnostics: &mut Vec<Diagnostic>) -> Result<Option<Vec<Word>>, Failure> {
        match self.json(self.rest())? {
            Json::Strings(words) => Ok(Some(words)),
            Json::Almost { at, reason } => {
                diagnostics.push(self.almost_json(at, reason, "it is split into words at blanks instead"));
                Ok(None)
            }
            Json::No => Ok(None),
        }
    }

    fn volume(&self, diagnostics: &mut Vec<Diagnostic>) -> Result<Vec<Word>, Failure> {
        let words = match self.list(diagnostics)? {
            Some(words) => words,
            None => self.plain_words(diagnostics)?,
        };
        if words.is_empty() {
            return Err(self.missing("a path", "VOLUME /PATH"));
        }
        match words.iter().find(|w| w.value.trim().is_empty()) {
            Some(empty) => Err(self.error("empty-name", empty.span, "the path of a volume cannot be empty")),
            None => Ok(words),
        }
    }

    fn copy(&mut self, is_add: bool, flags: Vec<Flag>, diagnostics: &mut Vec<Diagnostic>) -> Result<Copy, Failure> {
        let mut operands: Vec<Operand> = match self.list(diagnostics)? {
            Some(words) => words.into_iter().map(Operand::Path).collect(),
            None => self.operands(diagnostics)?,
        };
        let form = format!("{} SOURCE… DESTINATION", self.name);
        let dest = match (operands.pop(), operands.is_empty()) {
            (None, _) => return Err(self.missing("a source and a destination", &form)),
            (Some(Operand::Path(only)), true) => {
                let failure = self.error("missing-argument", only.span, format!("{} needs a destination", self.name));
                let failure = failure.label("this is the only argument").help(format!("write `{form}`"));
                return Err(Box::new(failure));
            }
            (Some(Operand::Heredoc(heredoc)), alone) => {
                let message = if alone { "needs a destination" } else { "cannot copy to a heredoc" };
                let failure = self.error("missing-argument", heredoc.marker.span, format!("{} {message}", self.name));
                return Err(Box::new(
                    failure.help(format!("write `{} {} DESTINATION`", self.name, heredoc.marker.value)),
                ));
            }
            (Some(Operand::Path(dest)), false) => dest,
        };
        Ok(Copy { is_add, flags, sources: operands, dest })
    }

    /// The words between blanks, with heredoc markers (which may hold blanks in quotes) in one piece.
    fn operands(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Result<Vec<Operand>, Failure> {
        let words = self.word_ranges();
        self.warn_of_comment(&words, diagnostics);
        let mut heredocs = std::mem::take(&mut self.heredocs).into_iter().peekable();
        let mut operands = Vec::new();
        let mut covered = 0;
        for word in words {
            if word.start < covered {
                continue;
            }
            if let Some(placed) = heredocs.next_if(|placed| placed.range.start == word.start) {
                covered = placed.range.end;
                operands.push(Operand::Heredoc(placed.heredoc));
            } else if self.text(word.clone()).starts_with("<<") {
                let failure = self.error("bad-heredoc", self.span(word.clone()), "this does not begin a heredoc");
                return Err(Box::new(failure.help("write `<<NAME` or `<<\"NAME\"`, with the quotes closed")));
            } else {
                operands.push(Operand::Path(self.folded.word(word)));
            }
        }
        Ok(operands)
    }

    fn healthcheck(&self, diagnostics: &mut Vec<Diagnostic>) -> Result<Healthcheck, Failure> {
        let rest = self.rest();
        let text = self.text(rest.clone());
        let kind = text.split(char::is_whitespace).next().unwrap_or_default();
        let kind_range = rest.start..rest.start + kind.len();
        let tail = words::trim(self.folded.text(), kind_range.end..rest.end);
        match kind.to_ascii_uppercase().as_str() {
            "" => Err(self.missing("`CMD COMMAND` or `NONE`", "HEALTHCHECK CMD COMMAND")),
            "NONE" if tail.is_empty() => Ok(Healthcheck::None),
            "NONE" => Err(self.error("too-many-arguments", self.span(tail), "HEALTHCHECK NONE takes no arguments")),
            "CMD" => Ok(Healthcheck::Cmd(self.command(tail, diagnostics)?)),
            _ => {
                let message = format!("HEALTHCHECK takes CMD or NONE, not `{}`", shown(kind));
                let failure = self.error("bad-healthcheck", self.span(kind_range), message);
                Err(Box::new(failure.help(format!("write `HEALTHCHECK CMD {}`", shown(text)))))
            }
        }
    }

    fn shell(&self) -> Result<Vec<Word>, Failure> {
        let rest = self.rest();
        let form = "SHELL [\"/bin/sh\", \"-c\"]";
        if rest.is_empty() {
            return Err(self.missing("a JSON array", form));
        }
        let (span, reason) = match self.json(rest.clone())? {
            Json::Strings(words) if words.is_empty() => (self.span(rest), "the array is empty"),
            Json::Strings(words) => return Ok(words),
            Json::Almost { at, reason } => (self.span(at..rest.end), reason),
            Json::No => (self.span(rest), "this is no JSON array"),
        };
        let failure = self.error("not-json", span, "SHELL takes a JSON array of strings");
        Err(Box::new(failure.label(reason).help(format!("write it like `{form}`"))))
    }
}

/// What trying the JSON form gave.
enum Json {
    Strings(Vec<Word>),
    /// Meant to be one, it seems; the first byte that is wrong, in the folded text.
    Almost {
        at: usize,
        reason: &'static str,
    },
    No,
}

/// Whether heredocs may stand in an instruction (upper case).
pub(super) fn takes_heredocs(name: &str) -> bool {
    matches!(name, "RUN" | "COPY" | "ADD")
}

/// Whether the arguments of `head` are in JSON form, where `<<` means nothing.
pub(super) fn is_json(text: &str, head: &Head) -> bool {
    text[head.rest.clone()].starts_with('[') && words::json_strings(&text[head.rest.clone()]).is_some()
}
