//! The programs that a RUN calls, as far as a glance at its text tells: enough for checks, which may miss a call but should
//! not invent one.

use super::subject::Subject;
use crate::diag::Span;
use crate::dockerfile::ast::{Command, Run, Word};
use crate::dockerfile::expand::locate;

/// One simple command.
#[derive(Debug)]
pub struct Call {
    /// Program and arguments, quotes removed, assignments and words such as `sudo` before it left out.
    pub words: Vec<Word>,
}

impl Call {
    /// The program's name without directories.
    pub fn program(&self) -> &str {
        self.words.first().map_or("", |word| word.value.rsplit('/').next().unwrap_or_default())
    }

    /// Arguments that are no options.
    pub fn operands(&self) -> impl Iterator<Item = &Word> {
        self.words.iter().skip(1).filter(|word| !word.value.starts_with('-'))
    }

    /// The first argument that is no option: `install` of `apt-get -y install`.
    pub fn verb(&self) -> &str {
        self.operands().next().map_or("", |word| word.value.as_str())
    }

    /// Operands behind the verb.
    pub fn objects(&self) -> impl Iterator<Item = &Word> {
        self.operands().skip(1)
    }

    /// Whether one of the words is an argument.
    pub fn has(&self, options: &[&str]) -> bool {
        self.words.iter().skip(1).any(|word| options.contains(&word.value.as_str()))
    }

    /// From program to last argument.
    pub fn span(&self) -> Span {
        let spans = self.words.iter().map(|word| word.span);
        spans.reduce(Span::to).unwrap_or_default()
    }
}

/// The calls of a RUN in order: of its shell text, of its heredoc scripts, or the one of its JSON form.
pub fn calls(subject: &Subject<'_>, run: &Run) -> Vec<Call> {
    let mut calls = Vec::new();
    match &run.command {
        Command::Exec { argv, .. } => calls.extend(call(argv.clone())),
        Command::Shell { text, .. } => calls.extend(of_text(subject, text)),
    }
    let is_script = matches!(&run.command, Command::Shell { text, .. } if text.value.is_empty());
    for script in run.heredocs.iter().filter(|script| is_script && !script.body.value.starts_with("#!")) {
        calls.extend(of_text(subject, &script.body));
    }
    calls
}

fn of_text(subject: &Subject<'_>, text: &Word) -> Vec<Call> {
    let escape = subject.file.directives.escape.as_ref().map_or('\\', |escape| escape.value);
    let place = |at: usize, end: usize| locate(&subject.file.source, text, escape, at..end);
    let spell = |(value, at, end): (String, usize, usize)| Word { value, span: place(at, end) };
    split(&text.value).into_iter().filter_map(|words| call(words.into_iter().map(spell).collect())).collect()
}

/// Words before a program that do not change which it is.
const BEFORE: [&str; 14] =
    ["sudo", "env", "exec", "time", "command", "then", "do", "else", "if", "elif", "while", "until", "!", "{"];

fn call(words: Vec<Word>) -> Option<Call> {
    let is_assignment = |word: &str| {
        let name = word.split_once('=').map_or("", |(name, _)| name);
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let passed = |word: &Word| BEFORE.contains(&word.value.as_str()) || is_assignment(&word.value);
    let words: Vec<Word> = words.into_iter().skip_while(passed).collect();
    (!words.is_empty()).then_some(Call { words })
}

/// Commands of a shell text, each as words with their first byte and end. Redirections are left out.
fn split(text: &str) -> Vec<Vec<(String, usize, usize)>> {
    let mut reader = Reader { commands: vec![Vec::new()], word: None, target: false };
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, '\n')) => {}
                Some((next, c)) => reader.push(c, at, next + c.len_utf8()),
                None => {}
            },
            '\'' | '"' => {
                reader.open(at);
                while let Some((at, inner)) = chars.next() {
                    if inner == c {
                        reader.grow(at + 1);
                        break;
                    }
                    let escaped = c == '"' && inner == '\\';
                    let taken = if escaped { chars.next() } else { Some((at, inner)) };
                    if let Some((at, inner)) = taken {
                        reader.push(inner, at, at + inner.len_utf8());
                    }
                }
            }
            '#' if reader.word.is_none() => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            '$' if chars.peek().is_some_and(|(_, c)| *c == '(') => {
                // What a substitution calls is not looked at: it is part of a word.
                let mut depth = 0;
                reader.push(c, at, at + 1);
                for (at, inner) in chars.by_ref() {
                    reader.push(inner, at, at + inner.len_utf8());
                    depth += i32::from(inner == '(') - i32::from(inner == ')');
                    if depth == 0 {
                        break;
                    }
                }
            }
            '<' | '>' => {
                reader.redirect();
                while chars.next_if(|(_, c)| matches!(c, '<' | '>' | '&' | '|')).is_some() {}
            }
            ';' | '&' | '|' | '\n' | '(' | ')' => reader.end_command(),
            c if c.is_whitespace() => reader.end_word(),
            c => reader.push(c, at, at + c.len_utf8()),
        }
    }
    reader.end_command();
    reader.commands.retain(|words| !words.is_empty());
    reader.commands
}

struct Reader {
    commands: Vec<Vec<(String, usize, usize)>>,
    word: Option<(String, usize, usize)>,
    /// The next word is what a redirection names.
    target: bool,
}

impl Reader {
    fn open(&mut self, at: usize) {
        self.word.get_or_insert_with(|| (String::new(), at, at));
    }

    fn grow(&mut self, end: usize) {
        if let Some(word) = &mut self.word {
            word.2 = end;
        }
    }

    fn push(&mut self, c: char, at: usize, end: usize) {
        self.open(at);
        if let Some(word) = &mut self.word {
            word.0.push(c);
        }
        self.grow(end);
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && !std::mem::take(&mut self.target)
            && let Some(command) = self.commands.last_mut()
        {
            command.push(word);
        }
    }

    fn redirect(&mut self) {
        // A number right before it is the file descriptor.
        if self.word.as_ref().is_some_and(|(word, ..)| word.chars().all(|c| c.is_ascii_digit())) {
            self.word = None;
        }
        self.end_word();
        self.target = true;
    }

    fn end_command(&mut self) {
        self.end_word();
        self.target = false;
        self.commands.push(Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn commands_are_told_apart() {
        let cases: [(&str, &[&[&str]]); 10] = [
            ("a b && c|d; e", &[&["a", "b"], &["c"], &["d"], &["e"]]),
            ("a 'b c' \"d \\\" e\"f", &[&["a", "b c", "d \" ef"]]),
            ("a >/dev/null 2>&1 b", &[&["a", "b"]]),
            ("a x2>f", &[&["a", "x2"]]),
            ("a # b && c\nd", &[&["a"], &["d"]]),
            ("a $(b && (c) ) d", &[&["a", "$(b && (c) )", "d"]]),
            ("a b#c", &[&["a", "b#c"]]),
            ("(a; b)", &[&["a"], &["b"]]),
            ("a \\\n b", &[&["a", "b"]]),
            ("a 'open", &[&["a", "open"]]),
        ];
        for (text, want) in cases {
            let got = split(text);
            let got: Vec<Vec<&str>> = got.iter().map(|c| c.iter().map(|w| w.0.as_str()).collect()).collect();
            assert_eq!(got, want, "{text}");
        }
    }
}
