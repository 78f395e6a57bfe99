//! The two builders, and what they make of a case.

use super::case::Case;
use super::material::settle;
use super::network::Network;
use super::outcome::Outcome;
use super::tree::{self, Tree};
use crate::env::{Place, check};
use libtest_mimic::Failed;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The image that cases begin `FROM`.
const BASE: &str = "conf-base";

/// rbuild with a store of its own.
pub struct Rbuild {
    pub(super) place: Place,
    base: Tree,
}

impl Rbuild {
    /// Imports the base image.
    pub fn new(place: Place) -> Result<Rbuild, Failed> {
        let (tar, base) = base(&place)?;
        place.ok(&["import", &tar.display().to_string(), BASE])?;
        Ok(Rbuild { place, base })
    }

    /// Builds a case.
    pub fn build(&self, case: &Case) -> Result<Outcome, Failed> {
        let scratch = Scratch::new(case)?;
        let tar = scratch.dir.path().join("image.tar");
        for (name, dockerfile) in &case.images {
            let file = scratch.write("Dockerfile.image", dockerfile)?;
            self.place.ok(&["build", "-q", "-t", name, "-f", &text(&file), &text(&scratch.context)])?;
        }
        let file = scratch.write("Dockerfile", &case.dockerfile)?;
        let mut command = self.place.rbuild(&["build", "-q", "-o"]);
        command.arg(format!("type=tar,dest={}", tar.display())).args(["-t", &case.tag()]);
        command.args(arguments(case, &file, &text(&scratch.context)));
        let output = command.output()?;
        if !output.status.success() {
            let place = scratch.dir.path().display().to_string();
            let complaints: Vec<String> = complaints(&output)?.iter().map(|c| c.replace(&place, "…")).collect();
            return Ok(scratch.steady(&Outcome::failure(&complaints)));
        }
        let inspected: Value = serde_json::from_str(&self.place.ok(&["inspect", &case.tag()])?)?;
        let history = inspected[0]["History"].as_array().cloned().unwrap_or_default();
        let history =
            history.iter().filter_map(|h| h["created_by"].as_str()).filter(|by| !by.starts_with("rbuild import"));
        let outcome = outcome(case, &tar, &self.base, &inspected[0]["Config"], history.map(str::to_owned).collect())?;
        Ok(scratch.steady(&outcome))
    }
}

/// What BuildKit says of a Dockerfile that it only looks at.
pub enum Look {
    /// It can be built, as far as that can be told.
    Accepted {
        /// Names and lines of what its checks found.
        warnings: BTreeSet<(String, u64)>,
    },
    /// It can't.
    Rejected {
        /// What it says.
        reason: String,
        /// The instruction's lines, if it names them.
        lines: BTreeSet<u64>,
    },
}

/// BuildKit behind a docker command.
pub struct BuildKit {
    place: Place,
    base: Tree,
}

impl BuildKit {
    /// Imports the base image.
    pub fn new(place: Place) -> Result<BuildKit, Failed> {
        let (tar, base) = base(&place)?;
        let buildkit = BuildKit { place, base };
        check(&["docker", "import"], &buildkit.docker(&["import", &inside(&tar), BASE])?)?;
        Ok(buildkit)
    }

    pub(super) fn docker(&self, arguments: &[&str]) -> Result<Output, Failed> {
        let prefix = std::env::var("CONFORMANCE_DOCKER").unwrap_or_else(|_| "docker".into());
        let mut words = prefix.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or("docker"));
        Ok(command.args(words).args(arguments).current_dir(self.place.path()).output()?)
    }

    /// Whether the frontend takes a Dockerfile, which is not built; and what it says if not.
    pub fn accepts(&self, dockerfile: &[u8]) -> Result<Result<(), String>, Failed> {
        let dir = tempfile::Builder::new().prefix("rbuild-test-").tempdir()?;
        std::fs::write(dir.path().join("Dockerfile"), dockerfile)?;
        let context = inside(dir.path());
        let output = self.docker(&["buildx", "build", "--call=check", &context])?;
        // Findings of its checks fail too, but are no rejection.
        let finished = String::from_utf8_lossy(&output.stdout).contains("Check complete, ");
        let failed = String::from_utf8_lossy(&output.stderr).lines().any(|line| line.starts_with("ERROR: "));
        Ok(if finished && !failed { Ok(()) } else { Err(reason(&output)?) })
    }

    /// What the frontend and its checks say of a Dockerfile, which is not built.
    pub fn look(&self, dockerfile: &[u8]) -> Result<Look, Failed> {
        let dir = tempfile::Builder::new().prefix("rbuild-test-").tempdir()?;
        std::fs::write(dir.path().join("Dockerfile"), dockerfile)?;
        let output = self.docker(&["buildx", "build", "--call=check,format=json", &inside(dir.path())])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let said: Value = match said.find('{') {
            Some(begin) => serde_json::from_str(&said[begin..])?,
            None => return Ok(Look::Rejected { reason: reason(&output)?, lines: BTreeSet::new() }),
        };
        let lines = |location: &Value| -> BTreeSet<u64> {
            let ranges = location["ranges"].as_array().into_iter().flatten();
            let line = |range: &Value, end: &str| range[end]["line"].as_u64().unwrap_or_default();
            ranges.flat_map(|range| line(range, "start")..=line(range, "end")).collect()
        };
        if let Some(reason) = said["buildError"]["message"].as_str() {
            return Ok(Look::Rejected { reason: steady(reason), lines: lines(&said["buildError"]["location"]) });
        }
        let warning = |warning: &Value| {
            let line = lines(&warning["location"]).first().copied();
            Some((warning["ruleName"].as_str()?.to_owned(), line?))
        };
        let warnings = said["warnings"].as_array().into_iter().flatten().filter_map(warning).collect();
        Ok(Look::Accepted { warnings })
    }

    /// Builds a case.
    pub fn build(&self, case: &Case) -> Result<Outcome, Failed> {
        let scratch = Scratch::new(case)?;
        let tar = scratch.dir.path().join("image.tar");
        let context = inside(&scratch.context);
        let build = ["buildx", "build", "-q", "--provenance=false", "--network=host"];
        for (name, dockerfile) in &case.images {
            let file = inside(&scratch.write("Dockerfile.image", dockerfile)?);
            let output = self.docker(&[&build[..], &["-t", name, "-f", &file, &context]].concat())?;
            check(&["docker build of", name], &output)?;
        }
        let file = scratch.write("Dockerfile", &case.dockerfile)?;
        let tag = case.tag();
        let outputs = [format!("type=tar,dest={}", inside(&tar)), format!("type=image,name={tag}")];
        let arguments = arguments(case, Path::new(&inside(&file)), &context);
        let mut all = build.to_vec();
        all.extend(["-o", &outputs[0], "-o", &outputs[1]]);
        all.extend(arguments.iter().map(String::as_str));
        let output = self.docker(&all)?;
        if !output.status.success() {
            return Ok(scratch.steady(&Outcome::failure(&[reason(&output)?])));
        }
        let inspected = self.docker(&["image", "inspect", &tag])?;
        check(&["docker inspect"], &inspected)?;
        let inspected: Value = serde_json::from_slice(&inspected.stdout)?;
        let history = self.docker(&["history", "--no-trunc", "--format", "{{json .}}", &tag])?;
        check(&["docker history"], &history)?;
        let mut entries: Vec<String> = Vec::new();
        for line in String::from_utf8_lossy(&history.stdout).lines() {
            let entry: Value = serde_json::from_str(line)?;
            if entry["Comment"] == "buildkit.dockerfile.v0" {
                entries.insert(0, entry["CreatedBy"].as_str().unwrap_or_default().to_owned());
            }
        }
        let outcome = outcome(case, &tar, &self.base, &inspected[0]["Config"], entries);
        self.docker(&["rmi", "-f", &tag])?;
        Ok(scratch.steady(&outcome?))
    }
}

/// What docker says after `ERROR:`; anything else is no answer to the question.
pub(super) fn reason(output: &Output) -> Result<String, Failed> {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let reason = stderr.lines().find_map(|l| l.strip_prefix("ERROR: failed to build: failed to solve: "));
    let reason = reason.or_else(|| stderr.lines().find_map(|l| l.strip_prefix("ERROR: ")));
    match reason.filter(|reason| !reason.contains("docker daemon")) {
        Some(reason) => Ok(steady(reason)),
        None => Err(format!("docker: {stderr}").into()),
    }
}

/// Without names of snapshots, which differ from run to run.
fn steady(reason: &str) -> String {
    let cut = |text: &str, from: &str, to: &str| match text.split_once(from) {
        Some((before, after)) => format!("{before}{from}…{}", after.find(to).map_or("", |at| &after[at..])),
        None => text.to_owned(),
    };
    cut(&cut(reason, " of ref ", ": "), " /var/lib/", " ").trim_end().to_owned()
}

/// The errors that rbuild reports: code and place of a diagnostic, or the line itself.
pub fn complaints(output: &Output) -> Result<Vec<String>, Failed> {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut found: Vec<String> = Vec::new();
    for line in stderr.lines() {
        if let Some((code, _)) = line.strip_prefix("error[").and_then(|rest| rest.split_once("]: ")) {
            found.push(code.to_owned());
        } else if let Some(message) = line.strip_prefix("error: ") {
            found.push(message.to_owned());
        } else if let Some((_, place)) = line.trim_start().strip_prefix("--> ").and_then(|l| l.split_once(':'))
            && let Some(last) = found.last_mut()
            && !last.contains(" at ")
        {
            *last = format!("{last} at {place}");
        }
    }
    let by_fault = output.status.code().is_some_and(|code| [1, 3, 4, 7].contains(&code));
    if found.is_empty() || !by_fault {
        return Err(format!("rbuild ends with {}:\n{stderr}", output.status).into());
    }
    Ok(found)
}

fn outcome(case: &Case, tar: &Path, base: &Tree, config: &Value, history: Vec<String>) -> Result<Outcome, Failed> {
    let tree = tree::read(std::io::BufReader::new(std::fs::File::open(tar)?))?;
    let mut text = tree::render(&tree, base, case.times);
    text.push_str(&configuration(config));
    if case.history {
        for line in history {
            text.push_str(&format!("history {line}\n"));
        }
    }
    Ok(Outcome::read(&text))
}

/// A line for each field that is not as with `FROM scratch` alone.
fn configuration(config: &Value) -> String {
    let usual_path = serde_json::json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    let mut out = String::new();
    for (name, value) in config.as_object().into_iter().flatten() {
        let usual = match name.as_str() {
            "Env" => *value == usual_path,
            "WorkingDir" => value == "/" || value == "",
            _ => value.is_null() || value == "" || value == false,
        };
        if !usual {
            out.push_str(&format!("{name} {value}\n"));
        }
    }
    out
}

pub(super) fn arguments(case: &Case, dockerfile: &Path, context: &str) -> Vec<String> {
    let mut arguments: Vec<String> = case.args.iter().map(|arg| arg.replace("@/", &format!("{context}/"))).collect();
    if !case.args.iter().any(|arg| arg == "-f") {
        arguments.extend(["-f".into(), dockerfile.display().to_string()]);
    }
    arguments.push(context.to_owned());
    arguments
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The path as the docker command sees it: `CONFORMANCE_MOUNT=/here=/there` tells of a directory that it sees elsewhere.
pub(super) fn inside(path: &Path) -> String {
    let path = text(path);
    let mount = std::env::var("CONFORMANCE_MOUNT").unwrap_or_default();
    match mount.split_once('=').and_then(|(here, there)| path.strip_prefix(here).map(|rest| format!("{there}{rest}"))) {
        Some(path) => path,
        None => path,
    }
}

/// A case's own directory: the context, and the Dockerfile beside it.
pub(super) struct Scratch {
    dir: tempfile::TempDir,
    pub(super) context: PathBuf,
    network: Network,
}

impl Scratch {
    pub(super) fn new(case: &Case) -> Result<Scratch, Failed> {
        let dir = tempfile::Builder::new().prefix("rbuild-test-").tempdir()?;
        let context = dir.path().join("context");
        std::fs::create_dir(&context)?;
        for item in &case.context {
            item.make(&context)?;
        }
        settle(&context, &case.name)?;
        Ok(Scratch { dir, context, network: Network::start(&case.network)? })
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<PathBuf> {
        let path = self.dir.path().join(name);
        match std::str::from_utf8(bytes) {
            Ok(text) => std::fs::write(&path, self.network.addressed(text))?,
            Err(_) => std::fs::write(&path, bytes)?,
        }
        Ok(path)
    }

    /// An outcome without what is so in this run alone.
    fn steady(&self, outcome: &Outcome) -> Outcome {
        Outcome::read(&self.network.named(&outcome.to_string()))
    }
}

/// Applets of busybox that the base image has names for.
const APPLETS: &str = "ash basename cat chgrp chmod chown cp cut date dd dirname echo env expr false find grep head hostname id \
    install ln ls mkdir mkfifo mknod mktemp mv od pwd readlink realpath rm rmdir sed seq sh sleep sort stat stty sync tail \
    tar tee test touch tr true uname uniq wc which xargs";

/// The base image as a tar, the same wherever busybox is; and its tree.
fn base(place: &Place) -> Result<(PathBuf, Tree), Failed> {
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind, mode, owner, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_size(size);
        header.set_mtime(0);
        header
    };
    let modes = [("root", 0o700), ("tmp", 0o1777)];
    for path in ["bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr"] {
        let mode = modes.iter().find(|(name, _)| *name == path).map_or(0o755, |(_, mode)| *mode);
        tar.append_data(&mut header(tar::EntryType::Directory, mode, 0, 0), path, std::io::empty())?;
    }
    tar.append_data(&mut header(tar::EntryType::Directory, 0o755, 1000, 0), "home/app", std::io::empty())?;
    let busybox = std::fs::read("/bin/busybox")?;
    let size = busybox.len() as u64;
    tar.append_data(&mut header(tar::EntryType::Regular, 0o755, 0, size), "bin/busybox", busybox.as_slice())?;
    for applet in APPLETS.split_whitespace() {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0, 0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nsvc:x:500:600::/:/bin/sh\n";
    let group = "root:x:0:\napp:x:1000:\nsvcs:x:600:\nextra:x:1001:app,svc\nwheel:x:10:app\n";
    for (path, text) in [("etc/passwd", passwd), ("etc/group", group)] {
        let size = text.len() as u64;
        tar.append_data(&mut header(tar::EntryType::Regular, 0o644, 0, size), path, text.as_bytes())?;
    }
    let bytes = tar.into_inner()?;
    let path = place.path().join("base.tar");
    std::fs::write(&path, &bytes)?;
    Ok((path, tree::read(bytes.as_slice())?))
}
