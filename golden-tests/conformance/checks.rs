//! Cases that are not built but looked at: what `docker build --check` and `rbuild check` find in them, by name and line.
//! rbuild's own checks, whose names are written otherwise, are left aside.

use super::builder::{BuildKit, Rbuild, Scratch, arguments, inside, reason};
use super::case::Case;
use super::outcome::Outcome;
use libtest_mimic::Failed;
use serde_json::Value;
use std::path::Path;

/// A warning: where it is, from line to line, and its name.
type Found = (u64, u64, String);

/// What a builder found; and whether the file asks that it be errors.
fn outcome(mut found: Vec<Found>, refused: bool) -> Outcome {
    found.sort();
    let place = |first: &u64, last: &u64| if first == last { first.to_string() } else { format!("{first}-{last}") };
    let mut text: String = found.iter().map(|(first, last, name)| format!("{name} {}\n", place(first, last))).collect();
    if refused {
        text.push_str("refused\n");
    }
    Outcome::read(&text)
}

/// Our findings with the places that the other builder gives them: it tells the lines of the whole instruction, we the one
/// that is meant.
fn widened(ours: Vec<Found>, theirs: &Outcome) -> Vec<Found> {
    let theirs = theirs.to_string();
    let mut known: Vec<Found> = theirs.lines().filter_map(read).collect();
    let widen = |(line, last, name): Found| {
        let fits = |(first, last, known): &Found| *known == name && (*first..=*last).contains(&line);
        match known.iter().position(fits) {
            Some(at) => known.swap_remove(at),
            None => (line, last, name),
        }
    };
    ours.into_iter().map(widen).collect()
}

fn read(line: &str) -> Option<Found> {
    let (name, place) = line.split_once(' ')?;
    let (first, last) = place.split_once('-').unwrap_or((place, place));
    Some((first.parse().ok()?, last.parse().ok()?, name.to_owned()))
}

impl Rbuild {
    /// What `rbuild check` says of a case.
    pub fn check(&self, case: &Case) -> Result<Outcome, Failed> {
        let scratch = Scratch::new(case)?;
        let file = scratch.write("Dockerfile", &case.dockerfile)?;
        let mut command = self.place.rbuild(&["check", "--format", "json"]);
        let output = command.args(arguments(case, &file, &scratch.context.display().to_string())).output()?;
        let document: Value = serde_json::from_slice(&output.stdout)
            .map_err(|e| Failed::from(format!("rbuild check: {e}:\n{}", String::from_utf8_lossy(&output.stderr))))?;
        let findings = document["findings"].as_array().cloned().unwrap_or_default();
        let shared = |code: &str| code.starts_with(|c: char| c.is_ascii_uppercase());
        let mut warnings = Vec::new();
        let mut errors = Vec::new();
        for finding in &findings {
            let code = finding["code"].as_str().unwrap_or_default();
            let place = &finding["places"][0];
            if shared(code) {
                let line = place["line"].as_u64().unwrap_or(1);
                warnings.push((line, line, code.to_owned()));
            } else if finding["severity"] == "error" {
                errors.push(format!("{code} at {}:{}", place["line"], place["column"]));
            }
        }
        if !errors.is_empty() {
            return Ok(Outcome::failure(&errors));
        }
        Ok(outcome(widened(warnings, &case.result), !output.status.success()))
    }
}

impl BuildKit {
    /// What `docker build --check` says of a case.
    pub fn check(&self, case: &Case) -> Result<Outcome, Failed> {
        let scratch = Scratch::new(case)?;
        let file = scratch.write("Dockerfile", &case.dockerfile)?;
        let arguments = arguments(case, Path::new(&inside(&file)), &inside(&scratch.context));
        let mut words = vec!["buildx", "build", "--call=check,format=json"];
        words.extend(arguments.iter().map(String::as_str));
        let output = self.docker(&words)?;
        let Ok(document) = serde_json::from_slice::<Value>(&output.stdout) else {
            return Ok(Outcome::failure(&[reason(&output)?]));
        };
        let refused = match document["buildError"]["message"].as_str() {
            Some(message) if message.starts_with("lint violation found") => true,
            Some(message) => return Ok(Outcome::failure(&[message.to_owned()])),
            None => false,
        };
        let warnings = document["warnings"].as_array().cloned().unwrap_or_default();
        let found = warnings.iter().map(|warning| {
            let ranges = warning["location"]["ranges"].as_array().cloned().unwrap_or_default();
            let line = |range: Option<&Value>| range.and_then(|r| r["start"]["line"].as_u64()).unwrap_or(1);
            (line(ranges.first()), line(ranges.last()), warning["ruleName"].as_str().unwrap_or_default().to_owned())
        });
        Ok(outcome(found.collect(), refused))
    }
}
