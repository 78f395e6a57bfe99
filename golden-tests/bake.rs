//! `bake --print` held against what `docker buildx bake --print` says: a folder a case in `golden-tests/bake/`, recorded by
//! `golden-tests/bake/record`. `args` are the command line's, `env` is added to the environment; `buildx.json` is what must
//! come out, and with `buildx.refused` nothing may. Where rbuild means to differ, `rbuild.json` is what comes out instead, and
//! `rbuild.refused` says why nothing does.

use crate::env::{Place, project, trial};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn trials() -> Vec<Trial> {
    let root = project().join("golden-tests/bake");
    let entries = std::fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    let mut cases: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| p.is_dir()).collect();
    cases.sort();
    let name = |case: &Path| format!("bake-print/{}", case.file_name().unwrap_or_default().to_string_lossy());
    cases.into_iter().map(|case| trial(&name(&case), &[], move || run(&case))).collect()
}

fn run(case: &Path) -> Result<(), Failed> {
    let place = Place::new();
    let work = place.work();
    let copied = Command::new("cp").arg("-a").arg(format!("{}/.", case.display())).arg(&work).status()?;
    if !copied.success() {
        return Err("cannot copy the case".into());
    }
    let text = |name: &str| std::fs::read_to_string(case.join(name)).unwrap_or_default();
    let line = format!("\"$RBUILD\" bake --print {}", text("args").trim());
    let mut command = place.command("/bin/sh");
    command.args(["-c", &line]).env("RBUILD", crate::env::RBUILD.as_str());
    for variable in text("env").lines() {
        let (name, value) = variable.split_once('=').ok_or("a line of `env` is no variable")?;
        command.env(name, value);
    }
    let output = command.output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let wanted = ["rbuild.json", "rbuild.refused", "buildx.json"].map(|name| case.join(name));
    match wanted.iter().find(|path| path.is_file()) {
        Some(path) if path.extension().is_some_and(|ending| ending == "json") => {
            if !output.status.success() {
                return Err(format!("refused:\n{told}").into());
            }
            compare(&std::fs::read_to_string(path)?, &String::from_utf8_lossy(&output.stdout))
        }
        refused => {
            if refused.is_none() && !case.join("buildx.refused").is_file() {
                return Err("nothing is recorded for this case".into());
            }
            match output.status.code() {
                Some(2..=4) => Ok(()),
                Some(0) => Err("accepted what must be refused".into()),
                other => Err(format!("ended with {other:?}:\n{told}").into()),
            }
        }
    }
}

/// The same text, order of names included.
fn compare(wanted: &str, found: &str) -> Result<(), Failed> {
    serde_json::from_str::<Value>(found)?;
    if wanted == found {
        return Ok(());
    }
    let differ = wanted.lines().zip(found.lines()).find(|(a, b)| a != b);
    let (wanted, found) = differ.unwrap_or(("(another length)", ""));
    Err(format!("buildx says {}, rbuild says {}", wanted.trim(), found.trim()).into())
}
