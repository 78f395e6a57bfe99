//! CMD, ENTRYPOINT, HEALTHCHECK and the commands of RUN.

use super::subject::Subject;
use crate::diag::{Diagnostic, Span};
use crate::dockerfile::ast::{Command, Kind};

/// JSONArgsRecommended. A SHELL, also a base image's or an earlier stage's, says that the shell is wanted.
pub fn json_args_recommended(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let image_has_shell = |index: usize, reference: &str| {
        let image = subject.platform(index).map(|platform| subject.images.find(reference, &platform));
        image.is_some_and(|image| {
            image.is_ok_and(|image| image.config.config.shell.is_some_and(|shell| !shell.is_empty()))
        })
    };
    let mut ended: Vec<bool> = Vec::with_capacity(subject.stages.len());
    let mut found = Vec::new();
    for (index, stage) in subject.stages.iter().enumerate() {
        let image = &stage.from.image.value;
        let mut shell = match subject.parent(index) {
            Some(parent) => ended[parent],
            None => image != "scratch" && !image.contains('$') && image_has_shell(index, image),
        };
        for instruction in stage.body {
            match &instruction.kind {
                Kind::Shell(_) => shell = true,
                Kind::Cmd(Command::Shell { text, .. }) | Kind::Entrypoint(Command::Shell { text, .. }) if !shell => {
                    let name = instruction.name.value.to_uppercase();
                    let finding = subject
                        .finding(format!("{name} in shell form runs below a shell that gets the signals"), text.span)
                        .help(format!("write {name} [\"program\", \"argument\"], or set SHELL to say it is meant"));
                    found.push(match as_json(&text.value) {
                        Some(json) => finding.fix(text.span, json),
                        None => finding,
                    });
                }
                _ => {}
            }
        }
        ended.push(shell);
    }
    found
}

/// The JSON form of a command that means the same without a shell: plain words, and no command of the shell's own.
fn as_json(text: &str) -> Option<String> {
    const OF_SHELL: [&str; 14] = [
        ".", "alias", "cd", "eval", "exec", "exit", "export", "read", "set", "source", "trap", "ulimit", "umask",
        "wait",
    ];
    let plain = |c: char| c.is_ascii_alphanumeric() || " _./:=@%+,-".contains(c);
    let words: Vec<&str> = text.split_whitespace().collect();
    let program = words.first()?;
    let simple = text.chars().all(plain) && !program.contains('=') && !OF_SHELL.contains(program);
    simple.then(|| format!("[{}]", words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")))
}

/// MultipleInstructionsDisallowed
pub fn multiple_instructions_disallowed(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let group = |kind: &Kind| match kind {
        Kind::Cmd(_) => Some("CMD"),
        Kind::Entrypoint(_) => Some("ENTRYPOINT"),
        Kind::Healthcheck { .. } => Some("HEALTHCHECK"),
        _ => None,
    };
    let mut found = Vec::new();
    for stage in &subject.stages {
        for (nth, instruction) in stage.body.iter().enumerate() {
            let Some(name) = group(&instruction.kind) else { continue };
            let later = stage.body[nth + 1..].iter().rfind(|other| group(&other.kind) == Some(name));
            if let Some(last) = later {
                found.push(
                    subject
                        .finding(
                            format!("this {name} has no effect: a later one of the stage replaces it"),
                            instruction.name.span,
                        )
                        .also(last.name.span, "this one counts")
                        .help(format!("remove this {name}"))
                        .fix(subject.line_of(instruction.span), ""),
                );
            }
        }
    }
    found
}

/// heredoc-failures-ignored. A shell's status is its last command's; scripts with `#!` know what they do, and so does
/// who gives the shell `-e`.
pub fn heredoc_failures_ignored(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let stops = |words: &[String]| {
        words.iter().skip(1).any(|w| w == "errexit" || (w.starts_with('-') && !w.starts_with("--") && w.contains('e')))
    };
    let mut found = Vec::new();
    for stage in &subject.stages {
        let mut shell_stops = false;
        for instruction in stage.body {
            let run = match &instruction.kind {
                Kind::Shell(words) => {
                    shell_stops = stops(&words.iter().map(|w| w.value.clone()).collect::<Vec<_>>());
                    continue;
                }
                Kind::Run(run) => run,
                _ => continue,
            };
            let Command::Shell { text, .. } = &run.command else { continue };
            let [script, ..] = run.heredocs.as_slice() else { continue };
            let body = &script.body.value;
            if shell_stops || !text.value.is_empty() || body.starts_with("#!") || !ignores_failures(body) {
                continue;
            }
            let span: Span = script.marker.span;
            let written = subject.file.source.text().get(script.body.span.range()).unwrap_or_default();
            let tabs: String = written.chars().take_while(|c| *c == '\t').collect();
            found.push(
                subject
                    .finding("only the last command of this script decides whether the RUN fails", span)
                    .help("begin the script with: set -e")
                    .fix(Span::new(script.body.span.start..script.body.span.start), format!("{tabs}set -e\n")),
            );
        }
    }
    found
}

/// Whether a script has more than one command line and nothing that stops it at a failure.
fn ignores_failures(body: &str) -> bool {
    let lines = || body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let sets = |line: &str| {
        let mut words = line.split([' ', ';', '&', '\t']).filter(|word| !word.is_empty());
        words.next() == Some("set")
            && words.any(|w| w == "errexit" || (w.starts_with('-') && !w.starts_with("--") && w.contains('e')))
    };
    lines().count() > 1 && !lines().any(sets)
}

#[cfg(test)]
mod tests {
    use super::ignores_failures;

    #[test]
    fn scripts_that_go_on_after_a_failure_are_known() {
        let cases = [
            ("a\nb\n", true),
            ("a\n", false),
            ("# x\n\na\n", false),
            ("set -e\na\nb\n", false),
            ("set -eux; a\nb\n", false),
            ("set -o errexit\na\n", false),
            ("set -x\na\n", true),
        ];
        for (body, want) in cases {
            assert_eq!(ignores_failures(body), want, "{body:?}");
        }
    }
}
