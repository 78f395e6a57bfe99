//! Transcripts: `golden-tests/cases/GROUP/NAME/` holds `run` (one shell command a line), the files that the commands use,
//! and `expected`: every command with what it printed and its exit code. The commands run in a copy of the folder, with
//! `rbuild` on the PATH, a fresh store, and SOURCE_DATE_EPOCH=0.
//!
//! A first line `# needs: busybox sandbox` in `run` names what the case needs from the machine; `busybox` also imports
//! the image of that name.

use crate::env::{Need, Place, RBUILD, project, trial};
use libtest_mimic::{Failed, Trial};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One trial a folder.
pub fn trials() -> Vec<Trial> {
    let root = project().join("golden-tests/cases");
    let mut trials = Vec::new();
    for group in sorted(&root) {
        for case in sorted(&group) {
            let name = format!("{}/{}", file_name(&group), file_name(&case));
            let script = std::fs::read_to_string(case.join("run")).unwrap_or_else(|e| panic!("{name}/run: {e}"));
            let needs = needs(&name, &script);
            let busybox = needs.contains(&Need::Busybox);
            trials.push(trial(&name, &needs, move || run(&case, &script, busybox)));
        }
    }
    trials
}

fn sorted(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| p.is_dir()).collect();
    paths.sort();
    paths
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn needs(name: &str, script: &str) -> Vec<Need> {
    let Some(words) = script.lines().next().and_then(|l| l.strip_prefix("# needs:")) else { return Vec::new() };
    let need = |word: &str| match word {
        "busybox" => Need::Busybox,
        "sandbox" => Need::Sandbox,
        "ids" => Need::Ids,
        other => panic!("{name}/run: unknown need '{other}'"),
    };
    words.split_whitespace().map(need).collect()
}

fn run(case: &Path, script: &str, busybox: bool) -> Result<(), Failed> {
    let place = Place::new();
    let work = place.work();
    let copied = Command::new("cp").arg("-a").arg(format!("{}/.", case.display())).arg(&work).status()?;
    if !copied.success() {
        return Err("cannot copy the case".into());
    }
    for own in ["run", "expected"] {
        let _ = std::fs::remove_file(work.join(own));
    }
    // Git keeps no other modes than these two, and a clone's umask must not show in a transcript.
    place
        .command("/bin/sh")
        .args(["-c", "find . -type d -exec chmod 755 {} + && find . -type f ! -perm -100 -exec chmod 644 {} +"])
        .status()?;
    if busybox {
        place.busybox()?;
    }
    let bin = place.path().join("bin");
    std::fs::create_dir_all(&bin)?;
    std::os::unix::fs::symlink(RBUILD.as_str(), bin.join("rbuild"))?;
    let mut path = std::ffi::OsString::from(&bin);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut transcript = String::new();
    for line in script.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
        let output =
            place.command("/bin/sh").args(["-c", line]).env("PATH", &path).env("SOURCE_DATE_EPOCH", "0").output()?;
        let _ = writeln!(transcript, "$ {line}");
        for (text, mark) in [(&output.stdout, ""), (&output.stderr, "! ")] {
            let mut text = normalise(&String::from_utf8_lossy(text), &place);
            if busybox {
                // The image was imported now, from this machine's busybox.
                text = image_ids(&text);
            }
            for line in text.lines() {
                let _ = writeln!(transcript, "{}", format!("{mark}{line}").trim_end());
            }
        }
        if !output.status.success() {
            let _ = writeln!(transcript, "? {}", output.status.code().map_or("signal".into(), |c| c.to_string()));
        }
    }
    compare(&case.join("expected"), &transcript)
}

/// What differs from run to run: the test's own directories and times.
fn normalise(text: &str, place: &Place) -> String {
    let text = text
        .replace(&place.store().display().to_string(), "[STORE]")
        .replace(&place.work().display().to_string(), "[WORK]")
        .replace(&place.path().display().to_string(), "[TEMP]");
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        out.push_str(&logs(&ages(&log_times(&seconds(line)))));
    }
    out
}

/// `#3 image sha256:…` becomes `#3 image [ID]`.
fn image_ids(text: &str) -> String {
    let mask = |line: &str| match line.split_once(" image sha256:") {
        Some((step, _)) if step.starts_with('#') => format!("{step} image [ID]\n"),
        _ => line.to_owned(),
    };
    text.split_inclusive('\n').map(mask).collect()
}

/// `[STORE]/logs/0123456789ab.log` becomes `[STORE]/logs/[ID].log`.
fn logs(line: &str) -> String {
    const LOGS: &str = "[STORE]/logs/";
    match line.split_once(LOGS).and_then(|(before, after)| Some((before, after.split_once(".log")?.1))) {
        Some((before, after)) => format!("{before}{LOGS}[ID].log{after}"),
        None => line.to_owned(),
    }
}

/// `56 years ago` becomes `[N] years ago`.
fn ages(line: &str) -> String {
    let Some((before, after)) = line.split_once(" years ago") else { return line.to_owned() };
    format!("{}[N] years ago{after}", before.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// The time in `#2 0.123 output of a step` becomes `[T]`.
fn log_times(line: &str) -> String {
    let parts: Vec<&str> = line.splitn(3, ' ').collect();
    let is_time = |word: &str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    match parts[..] {
        [step, time, text] if step.starts_with('#') && is_time(time) => format!("{step} [T] {text}"),
        _ => line.to_owned(),
    }
}

/// `1.23s` and `12ms` become `[T]`.
fn seconds(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        let (number, after) = number.split_at(end);
        let unit = ["ms", "s"]
            .into_iter()
            .find(|u| after.strip_prefix(u).is_some_and(|tail| !tail.starts_with(|c: char| c.is_alphanumeric())));
        let word_start = before.chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '-' && c != ':');
        out.push_str(before);
        match unit {
            Some(unit) if word_start && (number.contains('.') || unit == "ms") => {
                out.push_str("[T]");
                rest = &after[unit.len()..];
            }
            _ => {
                out.push_str(number);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn compare(expected: &Path, found: &str) -> Result<(), Failed> {
    if std::env::var("GOLDEN").is_ok_and(|v| v == "overwrite") {
        std::fs::write(expected, found)?;
        return Ok(());
    }
    let wanted = std::fs::read_to_string(expected).unwrap_or_default();
    if wanted == found {
        return Ok(());
    }
    let mut report = String::from("differs from its expected file (GOLDEN=overwrite rewrites it)\n");
    let (wanted, found): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), found.lines().collect());
    let same = wanted.iter().zip(&found).take_while(|(a, b)| a == b).count();
    for line in &wanted[same.saturating_sub(2)..same] {
        let _ = writeln!(report, "  {line}");
    }
    for line in wanted[same..].iter().take(15) {
        let _ = writeln!(report, "- {line}");
    }
    for line in found[same..].iter().take(15) {
        let _ = writeln!(report, "+ {line}");
    }
    Err(report.into())
}
