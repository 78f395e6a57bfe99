//! Dockerfiles from anywhere: with `CONFORMANCE_CORPUS=DIR` every file below DIR is shown to BuildKit and to `rbuild check`, and
//! both must say the same of it: whether it is a Dockerfile, in which line it is none, and what their common checks find.

use super::builder::{BuildKit, Look};
use super::{said, walk};
use crate::env::{Place, trial};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// One trial a file.
pub fn trials() -> Vec<Trial> {
    let Some(dir) = std::env::var_os("CONFORMANCE_CORPUS").map(PathBuf::from) else { return Vec::new() };
    let buildkit: Arc<OnceLock<Result<BuildKit, String>>> = Arc::default();
    let mut files = walk(&dir);
    files.sort();
    let trials = files.into_iter().map(|file| {
        let name = file.strip_prefix(&dir).unwrap_or(&file).display().to_string();
        let buildkit = Arc::clone(&buildkit);
        trial(&format!("conformance/corpus/{name}"), &[], move || run(&file, &buildkit))
    });
    trials.collect()
}

fn run(file: &Path, buildkit: &OnceLock<Result<BuildKit, String>>) -> Result<(), Failed> {
    let text = without_syntax(&std::fs::read(file)?);
    let made = buildkit.get_or_init(|| BuildKit::new(Place::new()).map_err(|e| said(&e)));
    let theirs = made.as_ref().map_err(|e| Failed::from(e.clone()))?.look(&text)?;
    let place = Place::new();
    let dockerfile = place.write("Dockerfile", &text).display().to_string();
    let output = place.rbuild(&["check", "--format", "json", "-f", &dockerfile, "."]).output()?;
    let said: Value = serde_json::from_slice(&output.stdout)?;
    let findings = said["findings"].as_array().cloned().unwrap_or_default();
    let line = |finding: &Value| finding["places"][0]["line"].as_u64();
    let errors: Vec<&Value> = findings.iter().filter(|f| f["severity"] == "error").collect();
    match (&theirs, errors.first()) {
        (Look::Rejected { reason, .. }, _) if reason.contains("failed to resolve source metadata") => {
            Err(format!("docker does not find a base image: {reason}").into())
        }
        (Look::Rejected { reason, lines }, Some(error)) => {
            let Some(place) = line(error) else { return Err(format!("an error without a place: {error}").into()) };
            let agrees = lines.is_empty() || errors.iter().filter_map(|e| line(e)).any(|l| lines.contains(&l));
            if agrees { Ok(()) } else { Err(format!("BuildKit: {reason}\nrbuild, line {place}: {error}").into()) }
        }
        (Look::Rejected { reason, .. }, None) => Err(format!("only BuildKit rejects it: {reason}").into()),
        (Look::Accepted { .. }, Some(error)) => Err(format!("only rbuild rejects it: {error}").into()),
        (Look::Accepted { warnings }, None) => {
            // Without the base images rbuild does not tell which variables they set.
            let common = |rule: &str| rule.starts_with(char::is_uppercase) && rule != "UndefinedVar";
            let code = |f: &Value| f["code"].as_str().unwrap_or_default().to_owned();
            let ours: BTreeSet<(String, u64)> = findings.iter().filter_map(|f| Some((code(f), line(f)?))).collect();
            let only = |these: &BTreeSet<(String, u64)>, those: &BTreeSet<(String, u64)>| -> Vec<(String, u64)> {
                these.difference(those).filter(|(rule, _)| common(rule)).cloned().collect()
            };
            match (only(warnings, &ours), only(&ours, warnings)) {
                (missing, more) if missing.is_empty() && more.is_empty() => Ok(()),
                (missing, more) => Err(format!("findings missing: {missing:?}\nfindings too many: {more:?}").into()),
            }
        }
    }
}

/// The text with another directive in place of `# syntax=`: docker's own frontend is the one that is compared with.
fn without_syntax(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let is_syntax = |line: &str| {
        let key = line.strip_prefix('#').and_then(|rest| rest.split_once('=')).map(|(key, _)| key.trim());
        key.is_some_and(|key| key.eq_ignore_ascii_case("syntax"))
    };
    let lines = text.split_inclusive('\n').map(|line| if is_syntax(line) { "# check=error=false\n" } else { line });
    lines.collect::<String>().into_bytes()
}
