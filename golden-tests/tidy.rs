//! What the project says of its own shape, held against its sources: the order of modules in ARCHITECTURE.md, `unsafe` in
//! one file, no crate that nothing uses.

use libtest_mimic::{Failed, Trial};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("tidy/modules-import-from-above", modules_import_from_above),
        Trial::test("tidy/unsafe-is-in-one-file", unsafe_is_in_one_file),
        Trial::test("tidy/every-crate-is-used", every_crate_is_used),
    ]
}

/// The one file that may hold `unsafe`.
const UNSAFE: &str = "sandbox/sys.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> Result<String, Failed> {
    let path = path.as_ref();
    fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()).into())
}

/// Every Rust file below `directory`: its path below it, and its text.
fn sources(directory: &str) -> Result<Vec<(String, String)>, Failed> {
    let top = root().join(directory);
    let mut work: Vec<PathBuf> = vec![top.clone()];
    let mut found = Vec::new();
    while let Some(path) = work.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                work.push(entry?.path());
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push((path.strip_prefix(&top)?.to_string_lossy().into_owned(), read(&path)?));
        }
    }
    found.sort();
    if found.is_empty() { Err(format!("no Rust file below {directory}").into()) } else { Ok(found) }
}

fn verdict(wrong: &[String]) -> Result<(), Failed> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Modules as the table in ARCHITECTURE.md names them, lowest first.
fn table() -> Result<Vec<String>, Failed> {
    let text = read(root().join("ARCHITECTURE.md"))?;
    let rows = text.lines().skip_while(|line| *line != "| module | job |").skip(2);
    let name = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    Ok(rows.map_while(name).collect())
}

fn modules_import_from_above() -> Result<(), Failed> {
    let order = table()?;
    let rank = |module: &str| order.iter().position(|name| name == module);
    let mut wrong = Vec::new();
    let mut present = BTreeSet::new();
    for (path, text) in sources("src")? {
        let own = path.split('/').next().unwrap_or(&path).trim_end_matches(".rs");
        if matches!(own, "lib" | "main") {
            continue;
        }
        present.insert(own.to_owned());
        let Some(here) = rank(own) else {
            wrong.push(format!("src/{path}: the table has no row `{own}`"));
            continue;
        };
        for (number, module) in imports(&text) {
            match rank(&module) {
                Some(there) if there <= here => {}
                Some(_) => wrong.push(format!("src/{path}:{number}: `{own}` imports `{module}`, a row below its own")),
                None => wrong.push(format!("src/{path}:{number}: the table has no row `{module}`")),
            }
        }
    }
    let gone = order.iter().filter(|name| !present.contains(*name));
    wrong.extend(gone.map(|name| format!("ARCHITECTURE.md: there is no module `{name}`")));
    verdict(&wrong)
}

/// The modules that a text names as `crate::MODULE`, or in `use crate::{…}`, each with its line. Comments do not count:
/// they may point anywhere.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, code) in code(text) {
        for (_, rest) in code.match_indices("crate::").map(|(at, word)| code.split_at(at + word.len())) {
            if let Some(group) = rest.strip_prefix('{') {
                // A group on one line, as rustfmt leaves short ones; a longer one names one module a line.
                let heads = group.split(',').map(word).filter(|head| !head.is_empty());
                found.extend(heads.map(|head| (line, head.to_owned())));
            } else {
                found.push((line, word(rest).to_owned()));
            }
        }
    }
    found
}

/// The lines of a text that are no comments, counted from 1.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The identifier that a text begins with.
fn word(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn unsafe_is_in_one_file() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    let mut there = false;
    for (path, text) in sources("src")? {
        for (number, line) in code(&text) {
            let is_unsafe = line.match_indices("unsafe").any(|(at, _)| word(&line[at..]) == "unsafe")
                || line.contains("allow(unsafe_code)");
            if path == UNSAFE {
                there |= is_unsafe;
            } else if is_unsafe {
                wrong.push(format!("src/{path}:{number}: `unsafe` belongs in src/{UNSAFE}"));
            }
        }
    }
    if !there {
        wrong.push(format!("src/{UNSAFE} holds no `unsafe`: is this test looking at the right file?"));
    }
    verdict(&wrong)
}

fn every_crate_is_used() -> Result<(), Failed> {
    let manifest: toml::Table = read(root().join("Cargo.toml"))?.parse()?;
    let (own, tests) = (sources("src")?, sources("golden-tests")?);
    let mut wrong = Vec::new();
    for section in ["dependencies", "dev-dependencies"] {
        let crates = manifest.get(section).and_then(toml::Value::as_table).ok_or("Cargo.toml has no such section")?;
        for name in crates.keys().map(|name| name.replace('-', "_")) {
            let names = |line: &str| {
                line.match_indices(&name).any(|(at, _)| {
                    let free = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
                    free && word(&line[at..]) == name && line[at + name.len()..].starts_with("::")
                })
            };
            let mut files = own.iter().chain(tests.iter().filter(|_| section == "dev-dependencies"));
            if !files.any(|(_, text)| code(text).any(|(_, line)| names(line))) {
                wrong.push(format!("Cargo.toml: nothing uses `{name}` of [{section}]"));
            }
        }
    }
    verdict(&wrong)
}
