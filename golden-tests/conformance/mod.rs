//! The differential suite: each case is built by rbuild and must have the result that BuildKit had for it, which stands in
//! the case's own file. README.md in this folder tells the format and how results are recorded.
//!
//! `CONFORMANCE=record` asks BuildKit again (`missing`: where nothing is recorded yet), through the docker command in `CONFORMANCE_DOCKER`; `GOLDEN=overwrite` rewrites
//! what is recorded of rbuild alone: errors, and results that differ on purpose.

mod builder;
mod case;
mod checks;
mod corpus;
mod material;
mod network;
mod outcome;
mod syntax;
mod tree;

use crate::env::{Need, Place, project, trial};
use builder::{BuildKit, Rbuild};
use case::Case;
use libtest_mimic::{Failed, Trial};
use outcome::Outcome;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// One trial a case, and one for each Dockerfile of the syntax lists.
pub fn trials() -> Vec<Trial> {
    let shared = Arc::new(Shared::default());
    let mut trials = syntax::trials();
    trials.extend(corpus::trials());
    let mut images = BTreeSet::new();
    for file in files(&project().join("golden-tests/conformance/cases"), "case") {
        let case = Case::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for (name, _) in &case.images {
            assert!(images.insert(name.clone()), "{}: another case makes the image {name} too", file.display());
        }
        let mut needs = vec![Need::Busybox, Need::Ids];
        needs.extend(case.runs().then_some(Need::Sandbox));
        needs.extend(case.network.has_repositories().then_some(Need::Git));
        let shared = Arc::clone(&shared);
        trials.push(trial(&format!("conformance/{}", case.name), &needs, move || run(case, &shared)));
    }
    trials
}

/// Whether BuildKit is to be asked (again).
fn recording(recorded: bool) -> bool {
    std::env::var("CONFORMANCE").is_ok_and(|v| v == "record" || (v == "missing" && !recorded))
}

/// Whether what is recorded of rbuild is to be rewritten.
fn overwriting() -> bool {
    std::env::var_os("CONFORMANCE").is_some() || std::env::var("GOLDEN").is_ok_and(|v| v == "overwrite")
}

/// The files below `root` whose names end so, in order.
fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = walk(root);
    files.retain(|file| file.extension().is_some_and(|e| e == extension));
    files.sort();
    files
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    entries
        .filter_map(|e| e.ok().map(|e| e.path()))
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .collect()
}

/// The store that all cases share, with the base image in it; made by the first case, removed with the last.
#[derive(Default)]
struct Shared {
    rbuild: OnceLock<Result<Rbuild, String>>,
    buildkit: OnceLock<Result<BuildKit, String>>,
}

impl Shared {
    fn rbuild(&self) -> Result<&Rbuild, Failed> {
        let made = self.rbuild.get_or_init(|| Rbuild::new(Place::new()).map_err(|e| said(&e)));
        made.as_ref().map_err(|e| e.clone().into())
    }

    fn buildkit(&self) -> Result<&BuildKit, Failed> {
        let made = self.buildkit.get_or_init(|| BuildKit::new(Place::new()).map_err(|e| said(&e)));
        made.as_ref().map_err(|e| e.clone().into())
    }
}

fn said(failed: &Failed) -> String {
    failed.message().unwrap_or("failed").to_owned()
}

fn run(mut case: Case, shared: &Shared) -> Result<(), Failed> {
    if recording(case.recorded) {
        let buildkit = shared.buildkit()?;
        case.result = if case.checked { buildkit.check(&case)? } else { buildkit.build(&case)? };
    }
    let rbuild = shared.rbuild()?;
    let own = if case.checked { rbuild.check(&case)? } else { rbuild.build(&case)? };
    let both_fail = own.is_failure() && case.result.is_failure();
    let agrees = both_fail || own == case.result;
    if overwriting() {
        case.own = (both_fail || (case.differs.is_some() && !agrees)).then(|| own.clone());
        case.write()?;
    }
    match &case.differs {
        None if !agrees => Err(differs("rbuild differs from BuildKit", &case.result, &own)),
        Some(_) if agrees => Err("no longer differs from BuildKit: the case's `differs` line is to go".into()),
        _ => match &case.own {
            Some(recorded) if *recorded != own => {
                Err(differs("rbuild's own result changed (GOLDEN=overwrite rewrites it)", recorded, &own))
            }
            None if both_fail || case.differs.is_some() => {
                Err("nothing is recorded of rbuild (GOLDEN=overwrite records it)".into())
            }
            _ => Ok(()),
        },
    }
}

/// The lines that only one side has.
fn differs(what: &str, expected: &Outcome, found: &Outcome) -> Failed {
    let (expected, found) = (expected.to_string(), found.to_string());
    let only = |these: &str, those: &str, mark: char| {
        let those: BTreeSet<&str> = those.lines().collect();
        these.lines().filter(|line| !those.contains(line)).fold(String::new(), |mut out, line| {
            let _ = writeln!(out, "{mark} {line}");
            out
        })
    };
    format!("{what}\n{}{}", only(&expected, &found, '-'), only(&found, &expected, '+')).into()
}
