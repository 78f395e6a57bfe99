//! removed-too-late

use super::paths::{Placed, absolute, is_below, placed};
use super::shell::{Call, calls};
use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::dockerfile::ast::Kind;

/// A RUN removes what an earlier layer holds, which makes the image no smaller.
pub fn find(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for index in subject.shipped() {
        let mut workdir = String::from("/");
        let mut there: Vec<Placed> = Vec::new();
        for instruction in subject.stages[index].body {
            match &instruction.kind {
                Kind::Workdir(path) => workdir = absolute(&path.value, &workdir).unwrap_or_else(|| path.value.clone()),
                Kind::Copy(_) => there.extend(placed(instruction, &workdir)),
                Kind::Run(run) => {
                    let calls = calls(subject, run);
                    for removed in calls.iter().filter(|call| call.program() == "rm").flat_map(Call::operands) {
                        let Some(path) = absolute(removed.value.trim_end_matches(['*', '/']), &workdir) else {
                            continue;
                        };
                        if let Some(earlier) =
                            there.iter().find(|earlier| path != "/" && is_below(&earlier.path, &path))
                        {
                            let message =
                                format!("`{}` stays in the layer of an earlier {}", removed.value, earlier.name);
                            found.push(
                                subject.finding(message, removed.span).also(earlier.span, "put there here").help(
                                    if earlier.name == "RUN" {
                                        "remove it in the RUN that makes it".to_owned()
                                    } else {
                                        "mount it for the RUN that needs it: RUN --mount=type=bind,source=…,target=…"
                                            .to_owned()
                                    },
                                ),
                            );
                        }
                    }
                    there.extend(downloaded(&calls, &workdir).into_iter().map(|path| Placed {
                        path,
                        name: "RUN".into(),
                        span: instruction.name.span,
                    }));
                }
                _ => {}
            }
        }
    }
    found
}

/// What the calls of one RUN write and leave: downloads, and apt's lists.
fn downloaded(calls: &[Call], workdir: &str) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for call in calls {
        let option = |names: &[&str]| {
            let at = call.words.iter().position(|word| names.contains(&word.value.as_str()))?;
            absolute(&call.words.get(at + 1)?.value, workdir)
        };
        match (call.program(), call.verb()) {
            ("curl", _) => paths.extend(option(&["-o", "--output", "-fsSLo", "-sSLo", "-Lo", "-fLo"])),
            ("wget", _) => paths.extend(option(&["-O", "-qO", "--output-document"])),
            ("apt-get" | "apt", "update") => paths.push("/var/lib/apt/lists".into()),
            _ => {}
        }
    }
    let gone = |path: &String| {
        let removed = calls.iter().filter(|call| call.program() == "rm").flat_map(Call::operands);
        removed
            .filter_map(|word| absolute(word.value.trim_end_matches(['*', '/']), workdir))
            .any(|removed| is_below(path, &removed))
    };
    paths.retain(|path| !gone(path));
    paths
}
