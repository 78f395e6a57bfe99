//! What a Dockerfile says, with spans and nothing resolved: variables stand as written.

use crate::diag::{Source, Span};

/// A value with the place it was written at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands in the source (over all its physical lines if it was continued).
    pub span: Span,
}

/// A text as written (continuations folded), quotes and variables untouched.
pub type Word = Spanned<String>;

/// A parsed file.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// The text.
    pub source: Source,
    /// Parser directives.
    pub directives: Directives,
    /// All instructions in order, the ARGs before the first FROM included.
    pub instructions: Vec<Instruction>,
}

/// `# key=value` lines at the top.
#[derive(Clone, Debug, Default)]
pub struct Directives {
    /// `# escape=`; `\` by default.
    pub escape: Option<Spanned<char>>,
    /// `# syntax=`, cut at the first space.
    pub syntax: Option<Word>,
    /// `# check=`, verbatim.
    pub check: Option<Word>,
}

/// One instruction.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// The whole of it, heredoc bodies included.
    pub span: Span,
    /// Its name as written, e.g. `run`.
    pub name: Word,
    /// The whole argument text as written with continuations folded (flags included, heredoc bodies not): what
    /// `created_by` of the history shows.
    pub raw: String,
    /// What it says.
    pub kind: Kind,
    /// Comment lines directly above it, without `#` and one space, for doc comments and `# check=skip=…`.
    pub comments: Vec<Word>,
    /// Blank lines that were met inside its continuation (lint NoEmptyContinuation).
    pub empty_continuations: Vec<Span>,
}

/// A builder flag, `--name=value` or `--name`.
#[derive(Clone, Debug)]
pub struct Flag {
    /// Without the dashes.
    pub name: Word,
    /// After `=`; `None` where there is no `=`. Quotes and escapes are resolved, variables are not.
    pub value: Option<Word>,
}

/// Shell or exec form.
#[derive(Clone, Debug)]
pub enum Command {
    /// Text for SHELL.
    Shell {
        /// The text with continuations folded.
        text: Word,
        /// Set if the text looks like a JSON array but is not one (single quotes, trailing comma …): why.
        almost_json: Option<String>,
    },
    /// JSON array.
    Exec {
        /// The words.
        argv: Vec<Word>,
        /// The array's place.
        span: Span,
    },
}

/// A heredoc of RUN, COPY or ADD.
#[derive(Clone, Debug)]
pub struct Heredoc {
    /// Delimiter, quotes removed.
    pub name: Word,
    /// The word as written: `<<-"EOF"`, `3<<EOF`.
    pub marker: Word,
    /// Delimiter had no quotes: variables in the body are expanded by COPY and ADD (RUN leaves it to the shell).
    pub expand: bool,
    /// `<<-`: leading tabs are stripped (already done in `body`).
    pub strip_tabs: bool,
    /// The lines between, each ended by `\n`.
    pub body: Spanned<String>,
}

/// `key=value` of ENV and LABEL.
#[derive(Clone, Debug)]
pub struct Pair {
    /// As written, quotes kept.
    pub key: Word,
    /// As written, quotes kept.
    pub value: Word,
}

/// Arguments of FROM.
#[derive(Clone, Debug)]
pub struct From {
    /// `--platform`.
    pub platform: Option<Word>,
    /// Image, stage or `scratch`, variables unexpanded.
    pub image: Word,
    /// Name after AS, as written.
    pub name: Option<Word>,
    /// The word `AS` as written (lint FromAsCasing).
    pub as_word: Option<Word>,
}

/// A path operand of COPY or ADD.
#[derive(Clone, Debug)]
pub enum Operand {
    /// A path, pattern, URL or git reference; `quoted`: from the JSON form (still expanded).
    Path(Word),
    /// A heredoc.
    Heredoc(Heredoc),
}

/// COPY or ADD.
#[derive(Clone, Debug)]
pub struct Copy {
    /// ADD, not COPY.
    pub is_add: bool,
    /// All flags, known names only, repeats checked.
    pub flags: Vec<Flag>,
    /// At least one.
    pub sources: Vec<Operand>,
    /// Destination.
    pub dest: Word,
}

/// RUN.
#[derive(Clone, Debug)]
pub struct Run {
    /// All flags, known names only; `mount` may repeat.
    pub flags: Vec<Flag>,
    /// The command. For `RUN <<EOF` alone: the text is empty and `heredocs[0]` is the script; for a command with
    /// heredocs: the text with the markers still in it, bodies in `heredocs`.
    pub command: Command,
    /// In order.
    pub heredocs: Vec<Heredoc>,
}

/// HEALTHCHECK.
#[derive(Clone, Debug)]
pub enum Healthcheck {
    /// `NONE`.
    None,
    /// `CMD …`.
    Cmd(Command),
}

/// What an instruction says.
#[derive(Clone, Debug)]
pub enum Kind {
    /// FROM.
    From(From),
    /// RUN.
    Run(Run),
    /// CMD.
    Cmd(Command),
    /// ENTRYPOINT.
    Entrypoint(Command),
    /// LABEL. `legacy`: `LABEL key value`.
    Label {
        /// In order.
        pairs: Vec<Pair>,
        /// Form without `=`.
        legacy: bool,
    },
    /// ENV. `legacy`: `ENV key value`.
    Env {
        /// In order.
        pairs: Vec<Pair>,
        /// Form without `=`.
        legacy: bool,
    },
    /// ARG, several per line.
    Arg(Vec<(Word, Option<Word>)>),
    /// MAINTAINER.
    Maintainer(Word),
    /// EXPOSE, words as written.
    Expose(Vec<Word>),
    /// COPY and ADD.
    Copy(Copy),
    /// VOLUME, words as written (JSON form: its strings).
    Volume(Vec<Word>),
    /// USER.
    User(Word),
    /// WORKDIR.
    Workdir(Word),
    /// ONBUILD and the instruction it keeps.
    Onbuild {
        /// Parsed, with spans in the same source.
        instruction: Box<Instruction>,
        /// Its text with heredoc bodies re-attached: what the image config stores.
        text: String,
    },
    /// STOPSIGNAL.
    Stopsignal(Word),
    /// HEALTHCHECK with its flags.
    Healthcheck {
        /// `interval`, `timeout`, `start-period`, `start-interval`, `retries`.
        flags: Vec<Flag>,
        /// NONE or CMD.
        check: Healthcheck,
    },
    /// SHELL.
    Shell(Vec<Word>),
}
