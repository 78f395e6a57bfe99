//! Dockerfiles that are only looked at: `syntax/*.list` hold many small ones, each with what BuildKit's frontend says of it
//! and what `rbuild check` says.

use super::builder::{BuildKit, complaints};
use super::material::escaped;
use super::{files, overwriting, recording, said};
use crate::env::{Place, project, trial};
use libtest_mimic::{Failed, Trial};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

/// One Dockerfile of a list.
#[derive(Clone)]
struct Entry {
    name: String,
    dockerfile: String,
    differs: Option<String>,
    buildkit: String,
    rbuild: String,
}

/// A list's file; entries of one list rewrite it one after the other.
struct List {
    file: PathBuf,
    entries: Mutex<Vec<Entry>>,
}

const ACCEPTED: &str = "accepted";

/// One trial an entry.
pub fn trials() -> Vec<Trial> {
    let buildkit: Arc<OnceLock<Result<BuildKit, String>>> = Arc::default();
    let mut trials = Vec::new();
    for file in files(&project().join("golden-tests/conformance/syntax"), "list") {
        let entries = read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let list = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let count = entries.len();
        let names: Vec<String> = entries.iter().map(|e| format!("conformance/syntax/{list}/{}", e.name)).collect();
        let shared = Arc::new(List { file, entries: Mutex::new(entries) });
        for (at, name) in (0..count).zip(names) {
            let (shared, buildkit) = (Arc::clone(&shared), Arc::clone(&buildkit));
            trials.push(trial(&name, &[], move || run(&shared, at, &buildkit)));
        }
    }
    trials
}

fn run(list: &List, at: usize, buildkit: &OnceLock<Result<BuildKit, String>>) -> Result<(), Failed> {
    let mut entry = lock(list)[at].clone();
    let bytes = match entry.dockerfile.strip_prefix("escaped: ") {
        Some(text) => escaped(text)?,
        None => format!("{}\n", entry.dockerfile).into_bytes(),
    };
    if recording(!entry.buildkit.is_empty()) {
        let made = buildkit.get_or_init(|| BuildKit::new(Place::new()).map_err(|e| said(&e)));
        let answer = made.as_ref().map_err(|e| Failed::from(e.clone()))?.accepts(&bytes)?;
        entry.buildkit = answer.map_or_else(|reason| format!("rejected: {reason}"), |()| ACCEPTED.into());
    }
    let place = Place::new();
    let file = place.write("Dockerfile", &bytes).display().to_string();
    let output = place.rbuild(&["check", "-f", &file, "."]).output()?;
    let found = match output.status.success() {
        true => ACCEPTED.into(),
        false => format!("rejected: {}", complaints(&output)?.join("; ")),
    };
    if found != ACCEPTED && !found.contains(" at ") {
        return Err(format!("a rejection without a place: {found}").into());
    }
    let agrees = (found == ACCEPTED) == (entry.buildkit == ACCEPTED);
    if overwriting() {
        entry.rbuild.clone_from(&found);
        let mut entries = lock(list);
        entries[at] = entry.clone();
        write(&list.file, &entries)?;
    }
    match entry.differs {
        None if !agrees => Err(format!("BuildKit: {}\nrbuild: {found}", entry.buildkit).into()),
        Some(_) if agrees => Err("no longer differs from BuildKit: the `differs` line is to go".into()),
        _ if entry.rbuild != found => Err(format!("was: {}\nis now: {found}", entry.rbuild).into()),
        _ => Ok(()),
    }
}

fn lock(list: &List) -> std::sync::MutexGuard<'_, Vec<Entry>> {
    list.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Entries begin with `=== NAME`; after the Dockerfile, a line `---` and what is known of it. A Dockerfile that begins with
/// `escaped: ` is text with escapes.
fn read(file: &Path) -> Result<Vec<Entry>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let text = text.strip_prefix("=== ").ok_or("must begin with `=== NAME`")?;
    let mut entries: Vec<Entry> = Vec::new();
    for block in text.split("\n=== ") {
        let (name, rest) = block.split_once('\n').ok_or_else(|| format!("{block}: nothing follows"))?;
        let (dockerfile, known) =
            match rest.split_once("\n---\n").or_else(|| rest.strip_prefix("---\n").map(|k| ("", k))) {
                Some((dockerfile, known)) => (dockerfile, known),
                None => (rest.trim_end_matches('\n'), ""),
            };
        if entries.iter().any(|e| e.name == name) {
            return Err(format!("two entries are named {name}"));
        }
        let field = |key: &str| known.lines().find_map(|l| l.strip_prefix(key)).map(str::to_owned);
        entries.push(Entry {
            name: name.to_owned(),
            dockerfile: dockerfile.to_owned(),
            differs: field("differs: "),
            buildkit: field("buildkit: ").unwrap_or_default(),
            rbuild: field("rbuild: ").unwrap_or_default(),
        });
    }
    Ok(entries)
}

fn write(file: &Path, entries: &[Entry]) -> std::io::Result<()> {
    let mut text = String::new();
    for entry in entries {
        let _ = writeln!(text, "=== {}\n{}\n---", entry.name, entry.dockerfile);
        if let Some(reason) = &entry.differs {
            let _ = writeln!(text, "differs: {reason}");
        }
        let _ = writeln!(text, "buildkit: {}\nrbuild: {}", entry.buildkit, entry.rbuild);
    }
    std::fs::write(file, text)
}
