//! package-lists-left

use super::packages::mounts_over;
use super::shell::{Call, calls};
use super::subject::Subject;
use crate::diag::{Diagnostic, Span};
use crate::dockerfile::ast::{Kind, Run};

/// A package manager's lists and downloads stay in a layer of the image.
pub fn find(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for index in subject.shipped() {
        for instruction in subject.stages[index].body {
            let Kind::Run(run) = &instruction.kind else { continue };
            let calls = calls(subject, run);
            for call in &calls {
                found.extend(leaves(subject, run, &calls, call));
            }
        }
    }
    found
}

fn leaves(subject: &Subject<'_>, run: &Run, calls: &[Call], call: &Call) -> Option<Diagnostic> {
    let is_left = |dir: &str| !mounts_over(run, dir) && !removed(calls, dir);
    match (call.program(), call.verb()) {
        ("apt-get" | "apt", "update") if is_left("/var/lib/apt/lists") => Some(
            subject
                .finding("the package lists stay in the layer", call.span())
                .help("end the RUN with: && rm -rf /var/lib/apt/lists/*")
                .help("or keep them out of it: RUN --mount=type=cache,target=/var/lib/apt"),
        ),
        ("apk", "add") if !call.has(&["--no-cache"]) && is_left("/var/cache/apk") => {
            let end = call.operands().next()?.span.end;
            Some(
                subject
                    .finding("the package index stays in the layer", call.span())
                    .help("write apk add --no-cache")
                    .fix(Span::new(end..end), " --no-cache"),
            )
        }
        (program @ ("dnf" | "yum" | "microdnf"), "install") => {
            let cleans = calls.iter().any(|other| other.verb() == "clean");
            (!cleans && is_left("/var/cache/dnf") && is_left("/var/cache/yum")).then(|| {
                subject
                    .finding("downloaded packages stay in the layer", call.span())
                    .help(format!("end the RUN with: && {program} clean all"))
            })
        }
        _ => None,
    }
}

/// Whether `rm` takes away `dir`, what is in it, or a directory above it.
fn removed(calls: &[Call], dir: &str) -> bool {
    let covers = |path: &str| {
        let path = path.trim_end_matches(['*', '/']);
        path.starts_with('/') && (super::paths::is_below(dir, path) || super::paths::is_below(path, dir))
    };
    calls.iter().any(|call| call.program() == "rm" && call.operands().any(|path| covers(&path.value)))
}
