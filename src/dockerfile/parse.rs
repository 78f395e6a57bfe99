//! Text → AST: logical lines one by one, heredoc bodies after them, and on after a mistake.

use super::ast::{Dockerfile, Heredoc, Instruction, Kind, Spanned, Word};
use super::directives::{self, DEFAULT_ESCAPE};
use super::instruction::{self, Placed, Reader};
use super::lines::{Lines, Logical};
use super::words::{self, Head, Marker};
use crate::diag::{Diagnostic, Source, Span, suggest};

/// Names of all instructions, common ones first: of two equally near to a slip, the common one is suggested.
pub const INSTRUCTIONS: [&str; 18] = [
    "FROM",
    "RUN",
    "COPY",
    "ENV",
    "ARG",
    "CMD",
    "WORKDIR",
    "ADD",
    "ENTRYPOINT",
    "EXPOSE",
    "LABEL",
    "USER",
    "VOLUME",
    "SHELL",
    "HEALTHCHECK",
    "STOPSIGNAL",
    "ONBUILD",
    "MAINTAINER",
];

/// The longest text that is parsed, in bytes: 16 MiB.
pub const MAX_LEN: usize = 16 << 20;

/// Parses a Dockerfile. All mistakes that can be told apart are reported at once; `Ok` may carry warnings.
pub fn parse(source: &Source) -> Result<(Dockerfile, Vec<Diagnostic>), Vec<Diagnostic>> {
    if source.text().len() > MAX_LEN {
        let message =
            format!("the file is {} bytes long, more than the {MAX_LEN} that are allowed", source.text().len());
        return Err(vec![Diagnostic::error("file-too-long", message, source, Span::default())]);
    }
    let mut diagnostics = Vec::new();
    let top = directives::read(source, &mut diagnostics);
    let escape = top.directives.escape.as_ref().map_or(DEFAULT_ESCAPE, |e| e.value);
    let lines = Lines::new(source.text(), top.end, escape);
    let mut parser = Parser { source, escape, lines, diagnostics, seen: Vec::new() };
    let instructions = parser.instructions();
    let mut diagnostics = parser.diagnostics;
    diagnostics.extend(missing_stage(source, &parser.seen));
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    Ok((Dockerfile { source: source.clone(), directives: top.directives, instructions }, diagnostics))
}

/// Parses one instruction text as stored by ONBUILD (heredoc bodies follow it in the same text). Its spans are in a
/// source of its own, named `ONBUILD`; the escape character is `\`.
pub fn parse_onbuild(text: &str) -> Result<Instruction, Vec<Diagnostic>> {
    let source = Source::new("ONBUILD", text);
    let lines = Lines::new(source.text(), 0, DEFAULT_ESCAPE);
    let mut parser =
        Parser { source: &source, escape: DEFAULT_ESCAPE, lines, diagnostics: Vec::new(), seen: Vec::new() };
    let mut instructions = parser.instructions();
    let mut diagnostics = parser.diagnostics;
    if let Some(second) = instructions.get(1) {
        let message = "a trigger holds one instruction";
        diagnostics.push(Diagnostic::error("bad-trigger", message, &source, second.name.span));
    }
    if let Some(first) = instructions.first() {
        diagnostics.extend(forbidden_trigger(&source, &first.name.value, first.name.span));
    } else if diagnostics.is_empty() {
        diagnostics.push(Diagnostic::error("bad-trigger", "the trigger is empty", &source, Span::default()));
    }
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    Ok(instructions.swap_remove(0))
}

struct Parser<'s> {
    source: &'s Source,
    escape: char,
    lines: Lines<'s>,
    diagnostics: Vec<Diagnostic>,
    /// Names of the instructions met, sound or not, as they were meant.
    seen: Vec<Word>,
}

impl Parser<'_> {
    fn instructions(&mut self) -> Vec<Instruction> {
        let mut instructions = Vec::new();
        while let Some(logical) = self.lines.next_logical() {
            match self.instruction(logical) {
                Ok(found) => instructions.extend(found),
                Err(Unterminated) => break,
            }
        }
        instructions
    }

    /// Reads an instruction and its heredocs. `Ok(None)`: a mistake, told.
    fn instruction(&mut self, logical: Logical) -> Result<Option<Instruction>, Unterminated> {
        let text = logical.folded.text();
        let Some(head) = words::head(text, self.escape) else { return Ok(None) };
        let name = text[head.keyword.clone()].to_ascii_uppercase();
        let meant = meant(&name).unwrap_or(&name).to_owned();
        self.seen.push(Spanned { value: meant.clone(), span: logical.folded.span(head.keyword.clone()) });
        let inner = if name == "ONBUILD" { words::head(&text[head.rest.clone()], self.escape) } else { None };
        let heredocs = self.heredocs(&logical, &head, &meant, inner.as_ref())?;
        let end = heredocs.iter().map(|(_, end)| *end).fold(logical.span.end, usize::max);
        let heredocs: Vec<Placed> = heredocs.into_iter().map(|(placed, _)| placed).collect();
        if let Some(nul) = text.find('\0') {
            let message = "a NUL character cannot stand in an instruction";
            self.diagnostics.push(Diagnostic::error("nul", message, self.source, logical.folded.span(nul..nul + 1)));
            return Ok(None);
        }
        let kind = if name == "ONBUILD" {
            self.onbuild(&logical, &head, inner.as_ref(), heredocs, end)
        } else {
            self.kind(&logical, 0, &head, &name, heredocs)
        };
        Ok(kind.map(|kind| Instruction {
            span: Span::new(logical.span.start..end),
            name: logical.folded.word(head.keyword),
            raw: text[head.args].to_owned(),
            kind,
            comments: logical.comments,
            empty_continuations: logical.empty_continuations,
        }))
    }

    fn kind(&mut self, logical: &Logical, base: usize, head: &Head, name: &str, heredocs: Vec<Placed>) -> Option<Kind> {
        if !INSTRUCTIONS.contains(&name) {
            let keyword = base + head.keyword.start..base + head.keyword.end;
            let written = &logical.folded.text()[keyword.clone()];
            let unknown = unknown_instruction(self.source, written, logical.folded.span(keyword), self.seen.len() == 1);
            self.diagnostics.push(unknown);
            return None;
        }
        let (source, escape) = (self.source, self.escape);
        let mut reader = Reader { source, folded: &logical.folded, base, head, name, escape, heredocs };
        reader.read(&mut self.diagnostics)
    }

    /// ONBUILD: the rest of the line is an instruction of its own.
    fn onbuild(
        &mut self,
        logical: &Logical,
        head: &Head,
        inner: Option<&Head>,
        heredocs: Vec<Placed>,
        end: usize,
    ) -> Option<Kind> {
        let text = logical.folded.text();
        let keyword = logical.folded.span(head.keyword.clone());
        if let Some(flag) = head.flags.first() {
            let span = logical.folded.span(flag.whole.clone());
            self.diagnostics.push(
                Diagnostic::error("unknown-flag", "ONBUILD takes no flags", self.source, span)
                    .help("flags of the instruction stand after its name: `ONBUILD COPY --chown=… `"),
            );
            return None;
        }
        let base = head.rest.start;
        let Some(inner) = inner.filter(|_| !head.rest.is_empty()) else {
            let message = "ONBUILD needs an instruction";
            self.diagnostics.push(
                Diagnostic::error("missing-argument", message, self.source, keyword)
                    .help("write `ONBUILD RUN …` or another instruction"),
            );
            return None;
        };
        let name = logical.folded.word(base + inner.keyword.start..base + inner.keyword.end);
        let upper = name.value.to_ascii_uppercase();
        if let Some(diagnostic) = forbidden_trigger(self.source, &upper, name.span) {
            self.diagnostics.push(diagnostic);
            return None;
        }
        let mut stored = text[head.rest.clone()].to_owned();
        for placed in &heredocs {
            stored.push('\n');
            stored.push_str(&placed.heredoc.body.value);
            stored.push_str(&placed.heredoc.name.value);
        }
        let kind = self.kind(logical, base, inner, &upper, heredocs)?;
        let instruction = Instruction {
            span: Span::new(name.span.start..end),
            name,
            raw: text[base + inner.args.start..base + inner.args.end].to_owned(),
            kind,
            comments: Vec::new(),
            empty_continuations: Vec::new(),
        };
        Some(Kind::Onbuild { instruction: Box::new(instruction), text: stored })
    }

    /// Takes the heredoc bodies of an instruction from the lines after it, in the order of their markers. Each comes
    /// with the end of its terminator line.
    fn heredocs(
        &mut self,
        logical: &Logical,
        head: &Head,
        name: &str,
        inner: Option<&Head>,
    ) -> Result<Vec<(Placed, usize)>, Unterminated> {
        let text = logical.folded.text();
        if !text.contains("<<") {
            return Ok(Vec::new());
        }
        let may = match inner {
            Some(inner) => {
                let part = &text[head.rest.clone()];
                let name = part[inner.keyword.clone()].to_ascii_uppercase();
                instruction::takes_heredocs(&name) && !instruction::is_json(part, inner)
            }
            None => instruction::takes_heredocs(name) && !instruction::is_json(text, head),
        };
        if !may {
            return Ok(Vec::new());
        }
        let args = &text[head.args.clone()];
        let mut found = Vec::new();
        for marker in words::heredoc_markers(args) {
            let shift = |r: &std::ops::Range<usize>| r.start + head.args.start..r.end + head.args.start;
            let written = &args[marker.delimiter.clone()];
            let (delimiter, quoted) = words::unquote_delimiter(written);
            if delimiter.is_empty() || marker.spaced && !self.is_spaced_heredoc(&marker, written, &delimiter) {
                continue;
            }
            let range = shift(&marker.whole);
            let span = logical.folded.span(range.clone());
            let Some(body) = self.lines.take_body(&delimiter, marker.strip_tabs) else {
                self.diagnostics.push(self.unterminated(&delimiter, span, marker.strip_tabs));
                return Err(Unterminated);
            };
            let name = Spanned { value: delimiter, span: logical.folded.span(shift(&marker.delimiter)) };
            let heredoc = Heredoc {
                name,
                marker: logical.folded.word(range.clone()),
                expand: !quoted,
                strip_tabs: marker.strip_tabs,
                body: body.text,
            };
            found.push((Placed { range, heredoc }, body.end));
        }
        Ok(found)
    }

    /// `<< NAME` is a heredoc if the name looks like one and a line ends it; else it is a shift, as in `$((x << y))`.
    fn is_spaced_heredoc(&mut self, marker: &Marker, written: &str, delimiter: &str) -> bool {
        let plain = written.starts_with(['"', '\''])
            || written.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
                && !written.starts_with(|c: char| c.is_ascii_digit());
        marker.spaced && plain && self.lines.has_line(delimiter)
    }

    fn unterminated(&self, delimiter: &str, marker: Span, strip_tabs: bool) -> Diagnostic {
        let message = format!("the heredoc is not ended: no line is `{delimiter}`");
        let diagnostic = Diagnostic::error("unterminated-heredoc", message, self.source, marker).label("begins here");
        match self.lines.near_line(delimiter) {
            Some(near) => diagnostic.also(near, "this line was likely meant to end it").help(if strip_tabs {
                format!("`{delimiter}` must stand alone on its line; only tabs may precede it")
            } else {
                format!("`{delimiter}` must stand alone on its line, with no blanks around it; after `<<-` tabs may precede it")
            }),
            None => diagnostic.help(format!("add a line `{delimiter}` after the text")),
        }
    }
}

/// A heredoc has no end: what follows it cannot be told from its text.
struct Unterminated;

/// The instruction that a word names or was likely meant to name.
fn meant(written: &str) -> Option<&'static str> {
    const LONGEST: usize = 32;
    if written.len() > LONGEST { None } else { suggest::nearest(written, INSTRUCTIONS) }
}

fn unknown_instruction(source: &Source, written: &str, span: Span, first: bool) -> Diagnostic {
    let message = format!("unknown instruction `{}`", words::shown(written));
    let diagnostic = Diagnostic::error("unknown-instruction", message, source, span);
    if ["<<<<<<<", "=======", ">>>>>>>"].iter().any(|m| written.starts_with(m)) {
        return diagnostic.help("this is a mark of an unresolved merge");
    }
    if let Some((name, _)) = written.split_once(|c: char| c.is_whitespace() || c == '\u{200b}') {
        let note = format!("a character that only looks like a blank follows `{}`", words::shown(name));
        return diagnostic.note(note).help("put an ordinary blank there");
    }
    if let Some(near) = meant(written) {
        return diagnostic.help(format!("did you mean `{near}`?"));
    }
    if first {
        return diagnostic.help("an instruction is one of FROM, RUN, COPY, ENV and so on");
    }
    diagnostic.help("if this continues the line above, end that line with a backslash")
}

/// FROM, ONBUILD and MAINTAINER cannot be triggers.
fn forbidden_trigger(source: &Source, name: &str, span: Span) -> Option<Diagnostic> {
    let name = name.to_ascii_uppercase();
    matches!(name.as_str(), "FROM" | "ONBUILD" | "MAINTAINER")
        .then(|| Diagnostic::error("onbuild-forbidden", format!("{name} cannot be a trigger of ONBUILD"), source, span))
}

/// A file needs an instruction, a stage, and nothing but ARG before it. `seen` are the names of its instructions.
fn missing_stage(source: &Source, seen: &[Word]) -> Option<Diagnostic> {
    let Some(last) = seen.last() else {
        return Some(
            Diagnostic::error("empty-file", "file with no instructions", source, Span::default())
                .help("begin with `FROM IMAGE` or `FROM scratch`"),
        );
    };
    match seen.iter().find(|name| name.value != "ARG") {
        Some(first) if first.value == "FROM" => None,
        // Told as unknown already; what it was meant to be is anyone's guess.
        Some(first) if !INSTRUCTIONS.contains(&first.value.as_str()) => None,
        Some(early) => {
            let message = format!("no build stage in current context: {} stands before FROM", early.value);
            Some(
                Diagnostic::error("no-build-stage", message, source, early.span)
                    .help("only ARG may stand before the first FROM"),
            )
        }
        None => Some(
            Diagnostic::error("no-build-stage", "no build stage: the file has no FROM", source, last.span)
                .help("add `FROM IMAGE` or `FROM scratch`"),
        ),
    }
}

#[cfg(test)]
mod tests;
