//! A moment of fuzzing with every test run: the functions of `fuzz/`, on seeds and on what mutations make of them. The
//! random numbers start from a constant, so that a failure comes again. `RBUILD_FUZZ_SECONDS` says how long each runs.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use crate::env::{project, trial};
use libtest_mimic::{Failed, Trial};
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than any input of these sizes may take.
const HANG: Duration = Duration::from_secs(10);

/// The longest input.
const LONGEST: usize = 16 << 10;

/// Words that mutations put in.
const WORDS: [&str; 36] = [
    "\nFROM ",
    "\nRUN ",
    "\nCOPY ",
    "\nENV ",
    "\n#",
    "\\\n",
    "<<E",
    "\nE\n",
    "${",
    "}",
    ":-",
    "##",
    "\"",
    "'",
    "[\"",
    "\"]",
    "--from=",
    "--mount=type=",
    "=",
    "$",
    "\u{e9}",
    "\0",
    "**",
    "!",
    "{",
    "sha256:",
    ".wh.",
    "99999999999",
    "%{ for x in ",
    "%{ endfor }",
    "(",
    ")",
    "&a ",
    "*a",
    "\n  - ",
    " ? 1 : ",
];

/// One trial a target.
pub fn trials() -> Vec<Trial> {
    let run = |target: targets::Target| trial(&format!("fuzz/{}", target.0), &[], move || fuzz(target));
    targets::TARGETS.into_iter().map(run).collect()
}

fn fuzz((name, target): targets::Target) -> Result<(), Failed> {
    let mut seeds = Vec::new();
    files(&project().join("fuzz/seeds").join(name), "", &mut seeds);
    if seeds.is_empty() {
        return Err(format!("fuzz/seeds/{name} is empty").into());
    }
    // The tests' own files are seeds, too.
    match name {
        "parse" => files(&project().join("golden-tests/cases"), "Dockerfile", &mut seeds),
        "bake" => files(&project().join("golden-tests/bake"), "", &mut seeds),
        _ => {}
    }
    let seconds = std::env::var("RBUILD_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut inputs = seeds.clone().into_iter();
    while Instant::now() < end {
        let input = inputs.next().unwrap_or_else(|| random.mutated(&seeds));
        let start = Instant::now();
        let outcome = catch_unwind(|| target(&input));
        let told = |what: &str| Failed::from(format!("{name} {what} on the input b\"{}\"", input.escape_ascii()));
        outcome.map_err(|_| told("panics"))?;
        if start.elapsed() > HANG {
            return Err(told("takes too long"));
        }
    }
    Ok(())
}

/// Contents of the files below a directory whose names begin with `prefix`, in a settled order.
fn files(dir: &Path, prefix: &str, found: &mut Vec<Vec<u8>>) {
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().filter_map(Result::ok) {
        if entry.file_type().is_file() && entry.file_name().to_string_lossy().starts_with(prefix) {
            found.extend(std::fs::read(entry.path()).ok().filter(|bytes| bytes.len() <= LONGEST));
        }
    }
}

/// Xorshift: enough to pick places.
struct Random(u64);

impl Random {
    /// Less than `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn pick<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[self.below(list.len())]
    }

    fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.pick(seeds).clone();
        for _ in 0..=self.below(6) {
            let from = self.below(bytes.len() + 1);
            let to = (from + self.below(24)).min(bytes.len());
            match self.below(6) {
                0 if from < bytes.len() => bytes[from] = self.below(256) as u8,
                1 => drop(bytes.drain(from..to)),
                2 => {
                    let word = *self.pick(&WORDS);
                    bytes.splice(from..from, word.bytes());
                }
                3 => {
                    let part = bytes[from..to].to_vec();
                    let at = self.below(bytes.len() + 1);
                    bytes.splice(at..at, part);
                }
                4 => {
                    let other = self.pick(seeds).clone();
                    let at = self.below(other.len() + 1);
                    bytes.truncate(from);
                    bytes.extend(&other[at..]);
                }
                _ => {
                    let word = *self.pick(&WORDS);
                    bytes.splice(from..to, word.bytes());
                }
            }
        }
        bytes.truncate(LONGEST);
        bytes
    }
}
