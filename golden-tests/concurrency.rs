//! Several builds on one store at once, and several steps at once in one build.

use crate::env::{Need, Place, check, same, trial};
use libtest_mimic::{Failed, Trial};
use std::collections::BTreeMap;
use std::process::Stdio;

/// All concurrency tests.
pub fn trials() -> Vec<Trial> {
    let needs = &[Need::Busybox, Need::Sandbox];
    vec![
        trial("concurrency/two-builds-run-each-step-once", needs, once),
        trial("concurrency/independent-stages-run-at-the-same-time", needs, meet),
        trial("concurrency/first-failure-cancels-the-others", needs, cancel),
        trial("concurrency/early-cutoff-by-tree", needs, cutoff),
        trial("concurrency/early-cutoff-across-stages", needs, cutoff_across_stages),
    ]
}

/// Outcome of every step by label, read from JSON events.
fn outcomes(events: &str) -> Result<BTreeMap<String, String>, Failed> {
    let mut labels = BTreeMap::new();
    let mut outcomes = BTreeMap::new();
    for line in events.lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        match event["event"].as_str() {
            Some("planned") => {
                for step in event["steps"].as_array().into_iter().flatten() {
                    labels.insert(step["id"].to_string(), step["label"].as_str().unwrap_or_default().to_owned());
                }
            }
            Some("finished") => {
                let label = labels.get(&event["step"].to_string()).cloned().unwrap_or_default();
                outcomes.insert(label, event["outcome"].as_str().unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }
    Ok(outcomes)
}

fn build(place: &Place) -> Result<BTreeMap<String, String>, Failed> {
    let output = place.rbuild(&["build", "--progress", "json", "-t", "x", "."]).output()?;
    check(&["build"], &output)?;
    outcomes(&format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

fn ran(outcomes: &BTreeMap<String, String>) -> Vec<&str> {
    outcomes.iter().filter(|(_, o)| matches!(o.as_str(), "ran" | "same")).map(|(l, _)| l.as_str()).collect()
}

fn once() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    place.write(
        "Dockerfile",
        "FROM busybox\nRUN sleep 0.4; echo a > /a\nRUN sleep 0.4; echo b > /b\nCOPY Dockerfile /d\n",
    );
    let builds: Vec<_> = (0..2)
        .map(|_| {
            let mut command = place.rbuild(&["build", "--progress", "json", "-t", "x", "."]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        })
        .collect::<Result<_, _>>()?;
    let mut times = BTreeMap::new();
    for build in builds {
        let output = build.wait_with_output()?;
        check(&["build"], &output)?;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        for (label, outcome) in outcomes(&text)? {
            if label.contains("RUN") || label.contains("COPY") {
                *times.entry(label).or_insert(0) += u32::from(matches!(outcome.as_str(), "ran" | "same"));
            }
        }
    }
    same("steps", times.len(), 3)?;
    for (label, count) in times {
        same(&format!("runs of {label}"), count, 1)?;
    }
    Ok(())
}

/// Two stages that can only both succeed while both run: each waits for the other's mark in its own process list is
/// impossible across sandboxes, so they meet by the clock: each notes when it began and ended, and the spans overlap.
fn meet() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    place.write(
        "Dockerfile",
        "FROM busybox AS a\nRUN date +%s%N | cut -c1-13 > /a0; sleep 1; date +%s%N | cut -c1-13 > /a1\n\
         FROM busybox AS b\nRUN date +%s%N | cut -c1-13 > /b0; sleep 1; date +%s%N | cut -c1-13 > /b1\n\
         FROM busybox\nCOPY --from=a /a0 /a1 /\nCOPY --from=b /b0 /b1 /\n\
         RUN [ $(cut -c1-10 /a0) -le $(cut -c1-10 /b1) ] && [ $(cut -c1-10 /b0) -le $(cut -c1-10 /a1) ]\n",
    );
    place.ok(&["build", "--jobs", "4", "-t", "x", "."]).map(drop)
}

fn cancel() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    place.write(
        "Dockerfile",
        "FROM busybox AS slow\nRUN sleep 600\nFROM busybox AS bad\nRUN sleep 0.2; echo so it goes; exit 3\n\
         FROM busybox\nCOPY --from=slow /etc/passwd /s\nCOPY --from=bad /etc/passwd /b\n",
    );
    let stderr = place.fails(1, &["build", "--progress", "plain", "-t", "x", "."])?;
    crate::env::contains(&stderr, "exit status 3")?;
    crate::env::contains(&stderr, "so it goes")?;
    crate::env::contains(&stderr, "Dockerfile:4")
}

/// A changed file with as many lines re-runs the step that counts them and nothing after it.
fn cutoff() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    place.write("in", "one\ntwo\n");
    place.write(
        "Dockerfile",
        "FROM busybox\nCOPY in /in\nRUN wc -l < /in > /lines && rm /in\nRUN head -c8 /dev/urandom > /rnd\n",
    );
    same("steps run at first", ran(&build(&place)?).len(), 3)?;
    same("steps run again", ran(&build(&place)?).len(), 0)?;
    place.write("in", "three\nfour\n");
    let third = build(&place)?;
    let again = ran(&third);
    same("steps run after the change", again.len(), 2)?;
    same("the last step is cached", again.iter().any(|l| l.contains("urandom")), false)
}

fn cutoff_across_stages() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    place.write("in", "one\ntwo\n");
    place.write(
        "Dockerfile",
        "FROM busybox AS count\nCOPY in /in\nRUN wc -l < /in > /lines && rm /in\nFROM busybox\nCOPY --from=count /lines /lines\n\
         RUN head -c8 /dev/urandom > /rnd\n",
    );
    let first = place.ok(&["build", "-q", "-t", "x", "."])?;
    place.write("in", "three\nfour\n");
    let outcomes = build(&place)?;
    same("steps run after the change", ran(&outcomes).len(), 2)?;
    same("image ID", place.ok(&["build", "-q", "-t", "x", "."])?, first)
}
