//! Whether two files say the same, instruction by instruction: all but where it is written.

use crate::dockerfile::ast::{
    Command, Copy, Dockerfile, Flag, From, Healthcheck, Heredoc, Instruction, Kind, Operand, Pair, Run, Word,
};

/// Instructions of `a` that `b` words differently. `None`: the files differ in more than that.
pub fn differing(a: &Dockerfile, b: &Dockerfile) -> Option<Vec<usize>> {
    let directives = |file: &Dockerfile| {
        let d = &file.directives;
        let text = |word: &Option<Word>| word.as_ref().map(|word| word.value.clone());
        (d.escape.as_ref().map(|e| e.value), text(&d.syntax), text(&d.check))
    };
    if directives(a) != directives(b) || a.instructions.len() != b.instructions.len() {
        return None;
    }
    let pairs = a.instructions.iter().zip(&b.instructions).enumerate();
    Some(pairs.filter(|(_, (a, b))| said(a) != said(b)).map(|(index, _)| index).collect())
}

/// What an instruction says, as a list of texts.
fn said(instruction: &Instruction) -> Vec<String> {
    let mut said = Said(vec![instruction.name.value.to_uppercase()]);
    for comment in &instruction.comments {
        said.text("comment", &comment.value);
    }
    said.kind(instruction);
    said.0
}

struct Said(Vec<String>);

impl Said {
    fn text(&mut self, what: &str, text: &str) {
        self.0.push(format!("{what} {text}"));
    }

    fn words<'w>(&mut self, words: impl IntoIterator<Item = &'w Word>) {
        words.into_iter().for_each(|word| self.text("word", &word.value));
    }

    fn flags(&mut self, flags: &[Flag]) {
        for flag in flags {
            self.text("flag", &flag.name.value);
            self.words(&flag.value);
        }
    }

    fn pairs(&mut self, pairs: &[Pair], legacy: bool) {
        self.text("legacy", if legacy { "yes" } else { "no" });
        self.words(pairs.iter().flat_map(|pair| [&pair.key, &pair.value]));
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Shell { text, .. } => self.text("shell", &text.value),
            Command::Exec { argv, .. } => {
                self.text("exec", "");
                self.words(argv);
            }
        }
    }

    fn heredoc(&mut self, heredoc: &Heredoc) {
        self.text("heredoc", &heredoc.marker.value);
        self.text("body", &heredoc.body.value);
    }

    fn copy(&mut self, copy: &Copy) {
        self.flags(&copy.flags);
        for source in &copy.sources {
            match source {
                Operand::Path(word) => self.text("path", &word.value),
                Operand::Heredoc(heredoc) => self.heredoc(heredoc),
            }
        }
        self.words([&copy.dest]);
    }

    fn run(&mut self, run: &Run) {
        self.flags(&run.flags);
        self.command(&run.command);
        run.heredocs.iter().for_each(|heredoc| self.heredoc(heredoc));
    }

    fn kind(&mut self, instruction: &Instruction) {
        match &instruction.kind {
            Kind::From(From { platform, image, name, .. }) => {
                self.text("platform", platform.as_ref().map_or("", |word| &word.value));
                self.words([image]);
                self.words(name);
            }
            Kind::Run(run) => self.run(run),
            Kind::Cmd(command) | Kind::Entrypoint(command) => self.command(command),
            Kind::Label { pairs, legacy } | Kind::Env { pairs, legacy } => self.pairs(pairs, *legacy),
            Kind::Arg(args) => {
                for (name, default) in args {
                    self.text("arg", &name.value);
                    self.words(default);
                }
            }
            Kind::Maintainer(word) | Kind::User(word) | Kind::Workdir(word) | Kind::Stopsignal(word) => {
                self.words([word])
            }
            Kind::Expose(words) | Kind::Volume(words) | Kind::Shell(words) => self.words(words),
            Kind::Copy(copy) => self.copy(copy),
            // The image keeps the text.
            Kind::Onbuild { text, .. } => self.text("trigger", text),
            Kind::Healthcheck { flags, check } => {
                self.flags(flags);
                // The history keeps the text.
                self.text("raw", &instruction.raw);
                match check {
                    Healthcheck::None => self.text("none", ""),
                    Healthcheck::Cmd(command) => self.command(command),
                }
            }
        }
    }
}
