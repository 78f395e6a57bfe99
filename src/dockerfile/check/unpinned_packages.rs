//! unpinned-packages

use super::packages::{named, over};
use super::shell::{Call, calls};
use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::dockerfile::ast::{Kind, Word};

/// Packages are installed without saying which version.
pub fn find(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for stage in &subject.stages {
        for instruction in stage.body {
            let Kind::Run(run) = &instruction.kind else { continue };
            for call in calls(subject, run) {
                let (loose, example) = unpinned(&call);
                let (Some(first), span) = (loose.first(), over(loose.iter().copied())) else { continue };
                let more = match loose.len() {
                    1 => String::new(),
                    n => format!(" and {} more", n - 1),
                };
                found.push(
                    subject
                        .finding(format!("the version of `{}`{more} is whatever is newest then", first.value), span)
                        .help(format!("say which version: {}{example}", first.value)),
                );
            }
        }
    }
    found
}

/// What a call installs without a version, and how one is written.
fn unpinned(call: &Call) -> (Vec<&Word>, &'static str) {
    let verb = call.verb();
    let is_package = |word: &&Word| {
        let first = word.value.chars().next().unwrap_or('.');
        !matches!(first, '.' | '/' | '$' | '*') && !word.value.contains("://") && !word.value.contains('$')
    };
    let pick = |with_value, is_pinned: fn(&str) -> bool| -> Vec<&Word> {
        named(call, with_value).filter(is_package).filter(|word| !is_pinned(&word.value)).collect()
    };
    match call.program() {
        "apt-get" | "apt" if verb == "install" => {
            let is_pinned = |word: &str| word.contains('=') || word.ends_with(".deb") || word.contains('/');
            (pick(&["-t", "--target-release", "-o", "-c"], is_pinned), "=VERSION")
        }
        "apk" if verb == "add" => {
            let is_pinned =
                |word: &str| word.contains(['=', '~', '<', '>']) || word.starts_with('.') || word.ends_with(".apk");
            (pick(&["-t", "--virtual", "-X", "--repository", "-p", "--root"], is_pinned), "=VERSION")
        }
        "pip" | "pip3" if verb == "install" => {
            let is_pinned = |word: &str| word.contains(['=', '@', '<', '>', '~']) || word.ends_with(".whl");
            let options = &["-r", "--requirement", "-c", "--constraint", "-e", "--editable", "-i", "--index-url"];
            (pick(options, is_pinned), "==VERSION")
        }
        "npm" if matches!(verb, "install" | "i") => {
            let is_pinned = |word: &str| word.get(1..).is_some_and(|rest| rest.contains('@')) || word.ends_with(".tgz");
            (pick(&["--prefix", "--registry"], is_pinned), "@VERSION")
        }
        _ => (Vec::new(), ""),
    }
}
