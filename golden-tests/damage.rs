//! kill -9 at many points, then `fsck` and a right build; and damage done to a store by hand.

use crate::env::{Need, Place, check, same, trial};
use libtest_mimic::{Failed, Trial};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Builds that are killed.
const KILLS: u32 = 200;

const DOCKERFILE: &str = "FROM busybox AS one\nARG N\nRUN echo $N > /n; dd if=/dev/zero of=/zeros bs=64k count=2 2>/dev/null\nCOPY data /data\n\
                          FROM busybox\nCOPY --from=one /n /zeros /from-one/\nRUN rm /etc/group; mkdir /d; echo 1 > /d/1\nWORKDIR /w\nCOPY data .\n";

/// All damage tests.
pub fn trials() -> Vec<Trial> {
    let needs = &[Need::Busybox, Need::Sandbox];
    vec![
        trial("damage/two-hundred-kills", needs, kills),
        trial("damage/damaged-layer-is-rebuilt", needs, damaged_layer),
        trial("damage/full-disk-is-told", needs, full_disk),
    ]
}

/// Numbers that look random and are the same in every run (xorshift).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn kills() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    place.write("Dockerfile", DOCKERFILE);
    for i in 0..30 {
        place.write(&format!("data/f{i}"), format!("{i}\n").repeat(i * 50));
    }
    let begin = Instant::now();
    place.ok(&["build", "-q", "-t", "x", "--build-arg", "N=warm", "."])?;
    let whole = begin.elapsed();
    let mut random = 0x9e37_79b9_7f4a_7c15;
    for round in 0..KILLS {
        let argument = format!("N={round}");
        let mut build = place
            .rbuild(&["build", "-q", "-t", "x", "--build-arg", &argument, "."])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::sleep(Duration::from_micros(next(&mut random) % (whole.as_micros() as u64).max(1)));
        build.kill()?;
        build.wait()?;
        let output = place.rbuild(&["fsck"]).output()?;
        check(&[&format!("fsck after kill {round}")], &output)?;
        if round % 20 == 19 {
            let rebuilt = place.ok(&["build", "-q", "-t", "y", "--build-arg", &argument, "."])?;
            let shown = place.ok(&["run", "--rm", "y", "cat", "/from-one/n"])?;
            same("what the image holds", shown.trim(), &round.to_string())?;
            same("the image ID is one digest", rebuilt.trim().len(), "sha256:".len() + 64)?;
            // What the killed builds left goes, and what the image needs stays.
            place.ok(&["prune", "--force"])?;
            same("what the image still holds", place.ok(&["run", "--rm", "y", "cat", "/from-one/n"])?, shown)?;
        }
    }
    Ok(())
}

/// A layer whose file is cut short counts as absent: found by fsck, rebuilt by the next build.
fn damaged_layer() -> Result<(), Failed> {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nCOPY data /data\n");
    place.write("data", "precious\n".repeat(1000));
    // Of one date, so that the rebuilt image is the same however long that took.
    let build = || -> Result<String, Failed> {
        let output = place.rbuild(&["build", "-q", "-t", "x", "."]).env("SOURCE_DATE_EPOCH", "0").output()?;
        check(&["build"], &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let id = build()?;
    let mut damaged = 0;
    for entry in walkdir::WalkDir::new(place.store().join("layers")) {
        let entry = entry.map_err(|e| e.to_string())?;
        if entry.file_name() == "data" {
            std::fs::write(entry.path(), "cut short")?;
            damaged += 1;
        }
    }
    same("damaged files", damaged, 1)?;
    place.fails(6, &["fsck"])?;
    place.rbuild(&["fsck", "--repair"]).output()?;
    same("image ID after the repair", build()?, id)?;
    place.ok(&["fsck"]).map(drop)
}

/// Writing to a device that is always full gives an error that says so, not half a result.
fn full_disk() -> Result<(), Failed> {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    place.ok(&["build", "-q", "-t", "x", "."])?;
    let output = place.rbuild(&["save", "x", "-o", "/dev/full"]).output()?;
    same("success", output.status.success(), false)?;
    crate::env::contains(&String::from_utf8_lossy(&output.stderr), "No space left")
}
