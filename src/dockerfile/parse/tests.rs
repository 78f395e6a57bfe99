use super::super::ast::{Command, Flag, Healthcheck, Operand, Pair};
use super::*;
use proptest::prelude::*;

/// An instruction in a few words, for tables.
fn brief(instruction: &Instruction) -> String {
    let name = instruction.name.value.to_uppercase();
    let words = |words: &[Word]| words.iter().map(|w| w.value.as_str()).collect::<Vec<_>>().join("|");
    let body = match &instruction.kind {
        Kind::From(from) => {
            let platform = from.platform.as_ref().map(|p| format!("<{}> ", p.value)).unwrap_or_default();
            let name = from.name.as_ref().map(|n| format!(" as {}", n.value)).unwrap_or_default();
            format!("{platform}{}{name}", from.image.value)
        }
        Kind::Run(run) => {
            let heredocs: String = run.heredocs.iter().map(heredoc).collect();
            format!("{}{}{heredocs}", flags(&run.flags), command(&run.command))
        }
        Kind::Cmd(c) | Kind::Entrypoint(c) => command(c),
        Kind::Label { pairs, legacy } | Kind::Env { pairs, legacy } => {
            let pair = |p: &Pair| format!("{}={}", p.key.value, p.value.value);
            let pairs: Vec<_> = pairs.iter().map(pair).collect();
            format!("{}{}", if *legacy { "old " } else { "" }, pairs.join("|"))
        }
        Kind::Arg(args) => {
            let one = |(name, value): &(Word, Option<Word>)| match value {
                Some(value) => format!("{}={}", name.value, value.value),
                None => name.value.clone(),
            };
            args.iter().map(one).collect::<Vec<_>>().join("|")
        }
        Kind::Maintainer(w) | Kind::User(w) | Kind::Workdir(w) | Kind::Stopsignal(w) => w.value.clone(),
        Kind::Expose(list) | Kind::Volume(list) | Kind::Shell(list) => words(list),
        Kind::Copy(copy) => {
            assert_eq!(copy.is_add, name == "ADD");
            let one = |operand: &Operand| match operand {
                Operand::Path(path) => format!("{}|", path.value),
                Operand::Heredoc(doc) => heredoc(doc),
            };
            let sources: String = copy.sources.iter().map(one).collect();
            format!("{}{sources} -> {}", flags(&copy.flags), copy.dest.value)
        }
        Kind::Onbuild { instruction, text } => format!("{} stored {text:?}", brief(instruction)),
        Kind::Healthcheck { flags: found, check } => match check {
            Healthcheck::None => format!("{}none", flags(found)),
            Healthcheck::Cmd(c) => format!("{}{}", flags(found), command(c)),
        },
    };
    format!("{name} {body}")
}

fn flags(flags: &[Flag]) -> String {
    let value = |f: &Flag| f.value.as_ref().map(|v| format!("={}", v.value)).unwrap_or_default();
    flags.iter().map(|f| format!("--{}{} ", f.name.value, value(f))).collect()
}

fn command(command: &Command) -> String {
    match command {
        Command::Shell { text, almost_json: None } => format!("sh({})", text.value),
        Command::Shell { text, .. } => format!("sh?({})", text.value),
        Command::Exec { argv, .. } => format!("exec{:?}", argv.iter().map(|w| w.value.as_str()).collect::<Vec<_>>()),
    }
}

fn heredoc(heredoc: &Heredoc) -> String {
    let kind = if heredoc.expand { "" } else { "'" };
    let strip = if heredoc.strip_tabs { "-" } else { "" };
    format!("<{strip}{kind}{}:{:?}>", heredoc.name.value, heredoc.body.value)
}

fn source(text: &str) -> Source {
    Source::new("Dockerfile", text)
}

/// Parses `text` with a stage before it, and gives the instructions after that.
fn instructions(text: &str) -> Vec<String> {
    let text = format!("FROM scratch\n{text}");
    match parse(&source(&text)) {
        Ok((file, _)) => file.instructions[1..].iter().map(brief).collect(),
        Err(errors) => panic!("{text}: {errors:#?}"),
    }
}

#[test]
fn each_instruction_has_its_shape() {
    let cases = [
        ("FROM a", "FROM a"),
        ("from --platform=$P a:1@sha256:x AS b.c-d_e", "FROM <$P> a:1@sha256:x as b.c-d_e"),
        ("FROM -- a", "FROM a"),
        ("FROM a as B", "FROM a as B"),
        ("RUN  a  b # c ", "RUN sh(a  b # c)"),
        ("rUn [\"a b\", \"\\u0041\\n\"]", "RUN exec[\"a b\", \"A\\n\"]"),
        ("RUN [ -f /x ] && y", "RUN sh([ -f /x ] && y)"),
        ("RUN [ \"$a\" = b ] || c", "RUN sh([ \"$a\" = b ] || c)"),
        ("RUN ['a']", "RUN sh?(['a'])"),
        (
            "RUN --mount=type=cache,target=/a --mount=\"type=tmpfs,target=/b c\" --network=none x",
            "RUN --mount=type=cache,target=/a --mount=type=tmpfs,target=/b c --network=none sh(x)",
        ),
        (
            "RUN --retry=3 --timeout=1m30s --security=insecure x",
            "RUN --retry=3 --timeout=1m30s --security=insecure sh(x)",
        ),
        ("RUN -- --x", "RUN sh(--x)"),
        ("RUN --mount=a\\ b x", "RUN --mount=a b sh(x)"),
        ("CMD []", "CMD exec[]"),
        ("CMD [\"\\ud83d\\ude00 \\ud800 \\/\\t\\\\\"]", "CMD exec[\"\u{1f600} \u{fffd} /\\t\\\\\"]"),
        ("CMD a \"b\"", "CMD sh(a \"b\")"),
        ("ENTRYPOINT [ ]", "ENTRYPOINT exec[]"),
        ("LABEL a=b \"c d\"=\"e f\" g.h='i j'", "LABEL a=b|\"c d\"=\"e f\"|g.h='i j'"),
        ("LABEL a b=c d", "LABEL old a=b=c d"),
        ("ENV A=1 B= C=x\\ y", "ENV A=1|B=|C=x\\ y"),
        ("ENV ONE TWO= THREE=w", "ENV old ONE=TWO= THREE=w"),
        ("ENV A  it's  ok ", "ENV old A=it's  ok"),
        ("ENV A=\"b \\\" c\" D='\\'", "ENV A=\"b \\\" c\"|D='\\'"),
        ("ENV A==", "ENV A=="),
        ("ARG a b=1 c= d=\"x y\"", "ARG a|b=1|c=|d=\"x y\""),
        ("MAINTAINER A B <c>", "MAINTAINER A B <c>"),
        ("EXPOSE 80 $P/udp 1-2/tcp", "EXPOSE 80|$P/udp|1-2/tcp"),
        ("COPY a b c/", "COPY a|b| -> c/"),
        ("COPY \"a b\" c", "COPY \"a|b\"| -> c"),
        ("COPY [\"a b\", \"c\"]", "COPY a b| -> c"),
        ("COPY [ab]* c", "COPY [ab]*| -> c"),
        (
            "COPY --from=x --chown=1:2 --chmod=u+x --link --parents=TRUE --exclude=a --exclude=b --with-libs d e",
            "COPY --from=x --chown=1:2 --chmod=u+x --link --parents=TRUE --exclude=a --exclude=b --with-libs d| -> e",
        ),
        (
            "ADD --checksum=sha256:0 --keep-git-dir --unpack=false http://x/y z",
            "ADD --checksum=sha256:0 --keep-git-dir --unpack=false http://x/y| -> z",
        ),
        ("VOLUME /a $b", "VOLUME /a|$b"),
        ("VOLUME [\"/a b\"]", "VOLUME /a b"),
        ("USER a b:c", "USER a b:c"),
        ("WORKDIR /a  b", "WORKDIR /a  b"),
        ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGTERM"),
        ("HEALTHCHECK none", "HEALTHCHECK none"),
        (
            "HEALTHCHECK --interval=1m --timeout=0 --start-period=1s --start-interval=5ms --retries=3 cmd curl x",
            "HEALTHCHECK --interval=1m --timeout=0 --start-period=1s --start-interval=5ms --retries=3 sh(curl x)",
        ),
        ("HEALTHCHECK CMD [\"a\"]", "HEALTHCHECK exec[\"a\"]"),
        ("SHELL [\"/bin/bash\", \"-c\"]", "SHELL /bin/bash|-c"),
        ("ONBUILD RUN a", "ONBUILD RUN sh(a) stored \"RUN a\""),
        ("onbuild  copy --from=x a b", "ONBUILD COPY --from=x a| -> b stored \"copy --from=x a b\""),
    ];
    for (text, expected) in cases {
        assert_eq!(instructions(text), [expected], "{text}");
    }
}

#[test]
fn heredocs_are_words_of_run_copy_and_add() {
    let cases = [
        ("RUN <<EOF\na\n  b\nEOF", "RUN sh()<EOF:\"a\\n  b\\n\">"),
        ("RUN <<EOF\nEOF", "RUN sh()<EOF:\"\">"),
        ("RUN 3<<EOF\nEOF", "RUN sh()<EOF:\"\">"),
        ("RUN --network=none <<EOF\na\nEOF", "RUN --network=none sh()<EOF:\"a\\n\">"),
        ("RUN <<-EOF\n\ta\n\t\tb\n c\n\tEOF", "RUN sh()<-EOF:\"a\\nb\\n c\\n\">"),
        ("RUN <<-EOF\n\ta\nEOF", "RUN sh()<-EOF:\"a\\n\">"),
        ("RUN <<'E O'\n$a\nE O", "RUN sh()<'E O:\"$a\\n\">"),
        ("RUN <<E\"OF\"\nx\nEOF", "RUN sh()<'EOF:\"x\\n\">"),
        ("RUN <<eo\\'f\nx\neo'f", "RUN sh()<eo'f:\"x\\n\">"),
        ("RUN <<$E\nx\n$E", "RUN sh()<$E:\"x\\n\">"),
        ("RUN << EOF\nx\nEOF", "RUN sh()<EOF:\"x\\n\">"),
        ("RUN cat <<- EOF > y\n\tx\n\tEOF", "RUN sh(cat <<- EOF > y)<-EOF:\"x\\n\">"),
        ("RUN python3 <<EOF\nx\nEOF", "RUN sh(python3 <<EOF)<EOF:\"x\\n\">"),
        ("RUN cat <<A >x && cat <<B\na\nA\nb\nB", "RUN sh(cat <<A >x && cat <<B)<A:\"a\\n\"><B:\"b\\n\">"),
        ("RUN <<A <<B\nB\nA\nA\nB", "RUN sh(<<A <<B)<A:\"B\\n\"><B:\"A\\n\">"),
        ("RUN a \\\n <<EOF\n# data \\\nEOF", "RUN sh(a  <<EOF)<EOF:\"# data \\\\\\n\">"),
        ("RUN <<EOF\r\na\r\nEOF\r\n", "RUN sh()<EOF:\"a\\n\">"),
        ("RUN echo \"<<EOF\" '<<EOF'", "RUN sh(echo \"<<EOF\" '<<EOF')"),
        ("RUN echo $((1<<3)) <<<word", "RUN sh(echo $((1<<3)) <<<word)"),
        ("RUN echo $((x << y)) $((1 << 3))", "RUN sh(echo $((x << y)) $((1 << 3)))"),
        ("RUN [\"<<EOF\"]", "RUN exec[\"<<EOF\"]"),
        ("CMD cat <<EOF", "CMD sh(cat <<EOF)"),
        ("COPY <<EOF /x\n$a\nEOF", "COPY <EOF:\"$a\\n\"> -> /x"),
        ("COPY a <<f.txt b <<'g h' /d/\n1\nf.txt\n2\ng h", "COPY a|<f.txt:\"1\\n\">b|<'g h:\"2\\n\"> -> /d/"),
        ("ADD <<EOF /x\nEOF", "ADD <EOF:\"\"> -> /x"),
        ("ONBUILD RUN <<-EOF\n\ta\n\tEOF", "ONBUILD RUN sh()<-EOF:\"a\\n\"> stored \"RUN <<-EOF\\na\\nEOF\""),
    ];
    for (text, expected) in cases {
        assert_eq!(instructions(text), [expected], "{text}");
    }
    assert_eq!(instructions("RUN <<EOF\nUSER x\nEOF\nUSER y"), ["RUN sh()<EOF:\"USER x\\n\">", "USER y"]);
}

#[test]
fn a_stored_trigger_parses_to_what_it_was_stored_from() {
    for text in ["RUN a", "COPY --chown=1 <<-E <<'F' /x/\n\tq $a\n\tE\nr\nF", "env a=b", "HEALTHCHECK CMD x"] {
        let written = format!("FROM x\nONBUILD {text}\n");
        let (file, _) = parse(&source(&written)).expect(&written);
        let Kind::Onbuild { instruction, text: stored } = &file.instructions[1].kind else { panic!("{text}") };
        let read = parse_onbuild(stored).expect(stored);
        assert_eq!(brief(&read), brief(instruction));
        assert_eq!(read.raw, instruction.raw);
    }
    for (text, code) in [
        ("", "bad-trigger"),
        ("# x", "bad-trigger"),
        ("RUN a\nRUN b", "bad-trigger"),
        ("FROM a", "onbuild-forbidden"),
        ("ONBUILD RUN a", "onbuild-forbidden"),
        ("RNU a", "unknown-instruction"),
    ] {
        let errors = parse_onbuild(text).expect_err(text);
        assert_eq!(errors[0].code, code, "{text}");
    }
}

/// Code, marked text and all the rest of each diagnostic.
fn told(text: &str) -> Vec<(String, String, String)> {
    let source = source(text);
    let diagnostics = match parse(&source) {
        Ok((_, warnings)) => warnings,
        Err(diagnostics) => diagnostics,
    };
    let one = |d: &Diagnostic| {
        let marked = source.text()[d.labels[0].span.range()].to_owned();
        let rest = [&[d.message.clone(), d.labels[0].text.clone()][..], &d.notes, &d.help].concat().join("; ");
        (d.code.clone(), marked, rest)
    };
    diagnostics.iter().map(one).collect()
}

#[test]
fn a_mistake_is_told_at_the_word_with_a_way_out() {
    let cases = [
        ("FORM a", "unknown-instruction", "FORM", "did you mean `FROM`?"),
        ("RNU a", "unknown-instruction", "RNU", "did you mean `RUN`?"),
        ("&& b", "unknown-instruction", "&&", "end that line with a backslash"),
        ("<<<<<<< HEAD", "unknown-instruction", "<<<<<<<", "unresolved merge"),
        ("RUN\u{a0}x", "unknown-instruction", "RUN\u{a0}x", "only looks like a blank"),
        ("FROM", "missing-argument", "FROM", "FROM IMAGE [AS NAME]"),
        ("FROM a AS", "from-arguments", "AS", "the stage name"),
        ("FROM a b", "from-arguments", "b", "FROM a AS b"),
        ("FROM a AS b # c", "from-arguments", "#", "line of its own"),
        ("FROM a AS b c", "from-arguments", "c", "too much"),
        ("FROM a AS 1b", "invalid-stage-name", "1b", "begin with a letter"),
        ("FROM a AS $b", "invalid-stage-name", "$b", "not expanded"),
        ("FROM --platfrom=x a", "unknown-flag", "--platfrom=x", "`--platform`"),
        ("FROM --platform a", "flag-needs-value", "--platform", "--platform=VALUE"),
        ("COPY --form=x a b", "unknown-flag", "--form=x", "`--from`"),
        ("COPY --mount=x a b", "unknown-flag", "--mount=x", "flag of RUN"),
        ("ADD --from=x a b", "unknown-flag", "--from=x", "flag of COPY"),
        ("COPY --link=maybe a b", "bad-flag-value", "maybe", "true or false"),
        ("COPY --link= a b", "bad-flag-value", "--link=", "true or false"),
        ("COPY --chown=1 --chown=2 a b", "repeated-flag", "--chown=2", "only once"),
        ("COPY --chown='1 a b", "unterminated-quote", "'1 a b", "not closed"),
        ("ENV --x=1 a=b", "unknown-flag", "--x=1", "ENV takes no flags"),
        ("ARG --x", "unknown-flag", "--x", "ARG takes no flags"),
        ("RUN --network=hots x", "bad-flag-value", "hots", "did you mean `host`?"),
        ("RUN --retry=-1 x", "bad-flag-value", "-1", "whole number"),
        ("RUN --timeout=30 x", "bad-flag-value", "30", "write `30s`"),
        ("RUN", "missing-argument", "RUN", "RUN COMMAND"),
        ("RUN --network=none", "missing-argument", "RUN --network=none", "RUN COMMAND"),
        ("RUN []", "missing-argument", "[]", "empty"),
        ("CMD", "missing-argument", "CMD", "`CMD []`"),
        ("CMD [\"a\", 1]", "json-not-strings", "[\"a\", 1]", "double quotes"),
        ("RUN <<EOF\nx", "unterminated-heredoc", "<<EOF", "add a line `EOF`"),
        ("RUN <<EOF\nx\n EOF", "unterminated-heredoc", "<<EOF", "no blanks around it"),
        ("COPY <<'EOF x", "bad-heredoc", "<<'EOF", "quotes closed"),
        ("COPY", "missing-argument", "COPY", "SOURCE… DESTINATION"),
        ("COPY a", "missing-argument", "a", "needs a destination"),
        ("COPY <<EOF\nEOF", "missing-argument", "<<EOF", "needs a destination"),
        ("COPY a <<EOF\nEOF", "missing-argument", "<<EOF", "cannot copy to a heredoc"),
        ("COPY [\"a\"]", "missing-argument", "\"a\"", "needs a destination"),
        ("COPY []", "missing-argument", "[]", "a source and a destination"),
        ("ENV", "missing-argument", "ENV", "ENV KEY=VALUE"),
        ("ENV A", "missing-argument", "A", "no value"),
        ("ENV A=b c", "pair-without-equals", "c", "A=\"b c\""),
        ("ENV A=b # c", "pair-without-equals", "#", "line of its own"),
        ("ENV \"A=b\"", "pair-without-equals", "\"A=b\"", "quote the value alone"),
        ("ENV A=\"b c", "unterminated-quote", "\"b c", "not closed"),
        ("ENV =b", "empty-name", "=b", "before `=`"),
        ("LABEL a", "missing-argument", "a", "LABEL KEY=VALUE"),
        ("ARG", "missing-argument", "ARG", "NAME[=DEFAULT]"),
        ("ARG =1", "empty-name", "=1", "before `=`"),
        ("ARG a # b", "bad-name", "#", "line of its own"),
        ("ARG 'a=b'", "pair-without-equals", "'a=b'", "quote the value alone"),
        ("EXPOSE", "missing-argument", "EXPOSE", "PORT"),
        ("VOLUME", "missing-argument", "VOLUME", "VOLUME /PATH"),
        ("VOLUME [\"\"]", "empty-name", "\"\"", "empty"),
        ("USER", "missing-argument", "USER", "USER NAME"),
        ("WORKDIR ", "missing-argument", "WORKDIR", "WORKDIR /PATH"),
        ("STOPSIGNAL", "missing-argument", "STOPSIGNAL", "SIGTERM"),
        ("STOPSIGNAL 9 15", "too-many-arguments", "15", "one signal"),
        ("HEALTHCHECK", "missing-argument", "HEALTHCHECK", "NONE"),
        ("HEALTHCHECK NONE x", "too-many-arguments", "x", "takes no arguments"),
        ("HEALTHCHECK CMD", "missing-argument", "CMD", "a command"),
        ("HEALTHCHECK curl x", "bad-healthcheck", "curl", "HEALTHCHECK CMD curl x"),
        ("HEALTHCHECK --interval=1us CMD x", "bad-flag-value", "1us", "at least a millisecond"),
        ("HEALTHCHECK --retries=x CMD x", "bad-flag-value", "x", "whole number"),
        ("SHELL /bin/sh -c", "not-json", "/bin/sh -c", "no JSON array"),
        ("SHELL ['a']", "not-json", "'a']", "double quotes, not single"),
        ("SHELL []", "not-json", "[]", "empty"),
        ("ONBUILD", "missing-argument", "ONBUILD", "needs an instruction"),
        ("ONBUILD FROM a", "onbuild-forbidden", "FROM", "cannot be a trigger"),
        ("ONBUILD onbuild RUN a", "onbuild-forbidden", "onbuild", "cannot be a trigger"),
        ("ONBUILD MAINTAINER a", "onbuild-forbidden", "MAINTAINER", "cannot be a trigger"),
        ("ONBUILD RNU a", "unknown-instruction", "RNU", "did you mean `RUN`?"),
        ("ONBUILD COPY --form=x a b", "unknown-flag", "--form=x", "`--from`"),
        ("RUN a\0b", "nul", "\0", "NUL"),
    ];
    for (text, code, marked, hint) in cases {
        let told = told(&format!("FROM scratch\nRUN x\n{text}\n"));
        let [(found, place, rest)] = told.as_slice() else { panic!("{text}: {told:#?}") };
        assert_eq!((found.as_str(), place.as_str()), (code, marked), "{text}: {rest}");
        assert!(rest.contains(hint), "{text}: {rest}");
    }
}

#[test]
fn what_is_likely_not_meant_is_warned_of() {
    let cases = [
        ("RUN [\"a\", 'b']", "almost-json", "'", "not single ones"),
        ("RUN [\"a\",]", "almost-json", "]", "comma before the closing bracket"),
        ("RUN [\"a\" \"b\"]", "almost-json", "\"", "comma is missing"),
        ("RUN [\"a\", b]", "almost-json", "b", "not in double quotes"),
        ("RUN [\"a\"] && b", "almost-json", "&", "text follows"),
        ("CMD [\"a\"", "almost-json", "", "bracket is missing"),
        ("CMD [\"\\w\"]", "almost-json", "\\", "no JSON escape"),
        ("CMD [\"a]", "almost-json", "\"", "not closed"),
        ("CMD [\"\\u00g0\"]", "almost-json", "\\", "no JSON escape"),
        ("RUN [ \"a\", \"b\", ]", "almost-json", "]", "comma before"),
        ("COPY ['a', 'b']", "almost-json", "'", "split into words"),
        ("USER a # b", "trailing-comment", "# b", "line of its own"),
        ("COPY a b # c", "trailing-comment", "# c", "line of its own"),
        ("EXPOSE 80 # web", "trailing-comment", "# web", "line of its own"),
        ("ENV A = b", "blank-before-equals", "= b", "without blanks"),
    ];
    for (text, code, marked, hint) in cases {
        let text = format!("FROM scratch\n{text}\n");
        assert!(parse(&source(&text)).is_ok(), "{text}");
        let told = told(&text);
        let [(found, place, rest)] = told.as_slice() else { panic!("{text}: {told:#?}") };
        assert_eq!((found.as_str(), place.as_str()), (code, marked), "{text}: {rest}");
        assert!(rest.contains(hint), "{text}: {rest}");
    }
}

#[test]
fn a_file_needs_a_stage_before_anything_but_arg() {
    let cases = [
        ("", "empty-file", ""),
        ("# only\n\n", "empty-file", ""),
        ("\\", "empty-file", ""),
        ("ARG a", "no-build-stage", "ARG"),
        ("ARG a\nRUN x\nFROM y", "no-build-stage", "RUN"),
        ("RUN x", "no-build-stage", "RUN"),
    ];
    for (text, code, marked) in cases {
        let told = told(text);
        let [(found, place, _)] = told.as_slice() else { panic!("{text}: {told:#?}") };
        assert_eq!((found.as_str(), place.as_str()), (code, marked), "{text}");
    }
}

#[test]
fn mistakes_are_told_together() {
    let text = "FROM a b\nRNU <<EOF\nUSER\nEOF\nENV A=1 b\nCOPY --x=1 --y=2 a b\nUSER ok\nWORKDIR\n";
    let told: Vec<_> = told(text).into_iter().map(|(code, marked, _)| (code, marked)).collect();
    let expected = [
        ("from-arguments", "b"),
        ("unknown-instruction", "RNU"),
        ("pair-without-equals", "b"),
        ("unknown-flag", "--x=1"),
        ("unknown-flag", "--y=2"),
        ("missing-argument", "WORKDIR"),
    ];
    assert_eq!(told, expected.map(|(code, marked)| (code.to_owned(), marked.to_owned())));
}

#[test]
fn spans_lead_back_through_continuations() {
    let text = "FROM x\nCOPY --chown=1 \\\n  # why\n\n  so\\\nurce \\\n  /dest\n";
    let (file, _) = parse(&source(text)).expect("sound");
    let copy = &file.instructions[1];
    let Kind::Copy(found) = &copy.kind else { panic!() };
    let Operand::Path(from) = &found.sources[0] else { panic!() };
    assert_eq!(from.value, "source");
    assert_eq!(&text[from.span.range()], "so\\\nurce");
    assert_eq!(&text[found.dest.span.range()], "/dest");
    assert_eq!(&text[copy.span.range()], text["FROM x\n".len()..].trim_end());
    assert_eq!(copy.raw, "--chown=1   source   /dest");
    assert_eq!(copy.empty_continuations.len(), 1);
}

#[test]
fn comments_directly_above_belong_to_the_instruction() {
    let text = "# syntax=docker/dockerfile:1\n# far\n\n#near one\n  #  near two\nFROM x\nRUN y\n";
    let (file, _) = parse(&source(text)).expect("sound");
    let comments: Vec<_> = file.instructions[0].comments.iter().map(|c| c.value.as_str()).collect();
    assert_eq!(comments, ["near one", " near two"]);
    assert!(file.instructions[1].comments.is_empty());
}

#[test]
fn the_escape_directive_rules_lines_words_and_flags() {
    let text = "# escape=`\nFROM x\nENV A=b` c `\n  D=e\\\nRUN --mount=a` b c:\\\nRUN a ``\nRUN <<E\nx`\nE\n";
    let (file, _) = parse(&source(text)).expect("sound");
    let found: Vec<_> = file.instructions[1..].iter().map(brief).collect();
    let expected = ["ENV A=b` c|D=e\\", "RUN --mount=a b sh(c:\\)", "RUN sh(a ``)", "RUN sh()<E:\"x`\\n\">"];
    assert_eq!(found, expected);
}

#[test]
fn the_grammar_page_tells_the_truth() {
    let page = include_str!("../../../grammar/README.md");
    let mut blocks = 0;
    for block in page.split("\n```dockerfile").skip(1) {
        let (info, rest) = block.split_once('\n').expect("a block has lines");
        let text = rest.split_once("```").expect("a block is closed").0;
        let result = parse(&source(text));
        blocks += 1;
        match info.trim().strip_prefix("error ") {
            None => assert!(result.is_ok(), "{text}\n{:#?}", result.err()),
            Some(code) => {
                let errors = result.expect_err(text);
                assert!(errors.iter().any(|e| e.code == code), "{text}: {code} is not among {errors:#?}");
            }
        }
    }
    assert!(blocks >= 10, "the page has {blocks} blocks");
}

const SAMPLE: &str = "# syntax=docker/dockerfile:1\n# escape=\\\nARG V=1 W=\"a b\"\nFROM --platform=$P base:$V AS one\n\
    RUN --mount=type=cache,target=/x apt-get \\\n  # c\n\n  install 'y z' && echo \"$((1<<2))\"\nCOPY <<-A <<'B' f \\\n /d/\n\t$a\n\tA\nb\nB\n\
    ENV A=\"x y\" B=x\\ y\nENV old way\nCMD [\"a\", \"\u{e9}\"]\nENTRYPOINT ['x']\nONBUILD RUN <<E\nq\nE\n\
    HEALTHCHECK --interval=5s CMD curl x\nSHELL [\"sh\"]\nVOLUME /a /b\nSTOPSIGNAL 9\nLABEL a=b c\nUSER\n";

/// All spans in something, found in its debug form.
fn spans(thing: &impl std::fmt::Debug) -> Vec<std::ops::Range<usize>> {
    let form = format!("{thing:?}");
    let span = regex::Regex::new(r"Span \{ start: (\d+), end: (\d+) \}").unwrap();
    let number = |m: Option<regex::Match<'_>>| m.unwrap().as_str().parse().unwrap();
    span.captures_iter(&form).map(|c| number(c.get(1))..number(c.get(2))).collect()
}

fn check_spans(text: &str) {
    let found = match parse(&source(text)) {
        Ok((file, warnings)) => {
            let warnings = warnings.iter().map(|d| &d.labels);
            [spans(&file.directives), spans(&file.instructions), warnings.flat_map(spans).collect()].concat()
        }
        Err(errors) => errors.iter().flat_map(|d| spans(&d.labels)).collect(),
    };
    for span in found {
        assert!(text.get(span.clone()).is_some(), "{span:?} is not a part of {text:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed_without_panic_and_with_sound_spans(text in any::<String>()) {
        check_spans(&text);
    }

    #[test]
    fn text_of_the_language_s_pieces_is_parsed_with_sound_spans(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "FROM", "RUN", "COPY", "ENV", "ONBUILD", "HEALTHCHECK", "SHELL", "ARG", " ", "\n", "\\\n", "\\", "`", "\t", "\r\n",
            "# escape=`\n", "# check=skip=x\n", "#", "<<EOF", "<<- EOF", "\nEOF\n", "\"", "'", "[", "]", "[\"", "\",", "=", "--from=",
            "--", "$a", "${", "}", "a", "\u{e9}", "\u{feff}", "\u{a0}", "\0", "NONE", "AS",
        ]), 0..40)
    ) {
        check_spans(&pieces.concat());
    }

    #[test]
    fn a_changed_file_is_parsed_with_sound_spans(edits in prop::collection::vec((0..SAMPLE.len(), 0..30_usize, 0..SAMPLE.len()), 1..4)) {
        let mut text = SAMPLE.to_owned();
        for (at, len, from) in edits {
            let floor = |text: &str, i: usize| (0..=i.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
            let (start, end) = (floor(&text, at), floor(&text, at + len));
            let (from, to) = (floor(&text, from), floor(&text, from + len / 2));
            let inserted = text[from..to].to_owned();
            text.replace_range(start..end, &inserted);
        }
        check_spans(&text);
    }
}

/// Each of these, repeated, once was or could be the worst case of some rule; were one of them more than a little
/// worse than linear, the test would not end.
#[test]
fn long_texts_take_time_in_proportion() {
    let units = [
        "\"",
        "'",
        "${",
        "$(",
        "<<",
        "<<A ",
        "<< A ",
        "<<A\n",
        "[",
        "[\"",
        "[\"a\",",
        "\\",
        "\\\n",
        "#\n",
        "--",
        "--a ",
        "=",
        "a=\"",
        "a ",
        "ONBUILD ",
        "RUN <<A\n",
        "RUN << A\n",
        "ENV a=b\n",
        "\"a\\",
    ];
    for unit in units {
        for prefix in ["", "RUN ", "COPY ", "ENV ", "ENV a=", "RUN --mount=", "ONBUILD RUN ", "CMD [", "SHELL [\""] {
            check_spans(&format!("FROM x\n{prefix}{}", unit.repeat(10_000 / unit.len())));
        }
    }
}
