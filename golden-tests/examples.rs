//! Every folder of `examples/` is built; the servers serve.
//!
//! `RBUILD_TEST_ROOTFS` names a `rootfs.tar.zst` made earlier by `examples/base-os/make-rootfs`; without it one is made.
//! `RBUILD_TEST_IDS` names a directory that gets the image IDs of the reproducible examples, so that runs by different
//! users can be compared.

use crate::env::{Need, Place, RBUILD, check, contains, project, same, trial};
use crate::registry::{PASSWORD, Registry};
use libtest_mimic::{Failed, Trial};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// All example tests.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("examples/hello", &[Need::Sandbox], hello),
        trial("examples/hello-has-one-digest", &[Need::Sandbox], hello_digest),
        trial("examples/bake", &[Need::Sandbox], bake),
        trial("examples/debian", &[Need::Sandbox, Need::Ids, Need::Debian, Need::Curl, Need::Registry], debian),
    ]
}

fn example(name: &str) -> String {
    project().join("examples").join(name).display().to_string()
}

/// The README's first command, where there is no network at all.
fn hello() -> Result<(), Failed> {
    let place = Place::new();
    let rbuild = RBUILD.as_str();
    let script = format!("{rbuild} -t hello --build-context host=/ {} && {rbuild} run --rm hello", example("hello"));
    let offline = Command::new("unshare").args(["-rn", "true"]).status().is_ok_and(|s| s.success());
    let output = if crate::env::is_root() && offline {
        place.command("unshare").args(["-n", "/bin/sh", "-c", &script]).output()?
    } else {
        place.command("/bin/sh").args(["-c", &script]).output()?
    };
    check(&["hello"], &output)?;
    contains(&String::from_utf8_lossy(&output.stdout), "says rbuild")
}

/// A copy of an example as another person's checkout would have it: other times, another umask.
fn checkout(place: &Place, name: &str, umask: &str, rootfs: Option<&Path>) -> Result<String, Failed> {
    let to = place.path().join(format!("checkout-{umask}")).join(name);
    let script = format!(
        "umask {umask}; mkdir -p {t} && cd {f} && find . -type f ! -name '*.zst' | while read -r p; do mkdir -p {t}/$(dirname $p); cat $p > {t}/$p; done; \
         find {t} -exec touch -d '20{year}-02-03 04:05:06' {{}} +",
        t = to.display(),
        f = example(name),
        // One before the image's date and one after.
        year = if umask == "022" { "01" } else { "25" },
    );
    check(&["checkout"], &place.command("/bin/sh").args(["-c", &script]).output()?)?;
    if let Some(rootfs) = rootfs {
        std::os::unix::fs::symlink(rootfs, to.join("rootfs.tar.zst"))?;
    }
    Ok(to.display().to_string())
}

fn hello_digest() -> Result<(), Failed> {
    let mut ids = Vec::new();
    for umask in ["022", "077"] {
        let place = Place::new();
        let context = checkout(&place, "hello", umask, None)?;
        let output = place
            .rbuild(&["build", "-q", "-t", "hello", "--build-context", "host=/", &context])
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .output()?;
        check(&["hello"], &output)?;
        ids.push(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    same("image IDs of two checkouts", &ids[0], &ids[1])?;
    record("hello", &ids[0])
}

/// Several images from one definition, where there is no network; what they share runs once.
fn bake() -> Result<(), Failed> {
    let place = Place::new();
    let (rbuild, context) = (RBUILD.as_str(), checkout(&place, "bake", "022", None)?);
    let metadata = place.path().join("metadata.json");
    let script = format!(
        "cd {context} && {rbuild} bake --progress plain --metadata-file {} && {rbuild} run --rm site-en && {rbuild} run --rm site-de",
        metadata.display()
    );
    let offline = Command::new("unshare").args(["-rn", "true"]).status().is_ok_and(|s| s.success());
    let mut command = match crate::env::is_root() && offline {
        true => place.command("unshare"),
        false => place.command("/bin/sh"),
    };
    if crate::env::is_root() && offline {
        command.args(["-n", "/bin/sh"]);
    }
    let output = command.args(["-c", &script]).env("SOURCE_DATE_EPOCH", "1700000000").output()?;
    check(&["bake"], &output)?;
    let said = String::from_utf8_lossy(&output.stdout);
    contains(&said, "Three images from one definition, says rbuild")?;
    contains(&said, "Drei Abbilder aus einer Beschreibung, says rbuild")?;
    let told = String::from_utf8_lossy(&output.stderr);
    for step in ["COPY --from=host --with-libs /bin/sh /bin/sh", "COPY --chmod=755 greet /bin/greet"] {
        same(step, told.matches(step).count(), 1)?;
    }
    let built: serde_json::Value = serde_json::from_slice(&std::fs::read(metadata)?)?;
    let id = built["site-en"]["containerimage.config.digest"].as_str().ok_or("no digest of site-en")?;
    record("bake", id)
}

/// Leaves an image ID for a comparison between users.
fn record(name: &str, id: &str) -> Result<(), Failed> {
    if let Some(dir) = std::env::var_os("RBUILD_TEST_IDS") {
        std::fs::write(Path::new(&dir).join(name), format!("{id}\n"))?;
    }
    Ok(())
}

/// The chain on a real Debian: base-os, ops-nginx, website-nginx, node-app, static-tiny.
fn debian() -> Result<(), Failed> {
    let place = Place::new();
    let rootfs = match std::env::var_os("RBUILD_TEST_ROOTFS") {
        Some(path) => path.into(),
        None => {
            let path = place.path().join("rootfs.tar.zst");
            let script = project().join("examples/base-os/make-rootfs");
            check(&["make-rootfs"], &place.command("/bin/sh").arg(script).arg(&path).output()?)?;
            path
        }
    };
    // A hard link or copy, not a link: ADD takes the file from the context.
    let base = checkout(&place, "base-os", "022", None)?;
    std::fs::copy(&rootfs, Path::new(&base).join("rootfs.tar.zst"))?;
    place.ok(&["build", "-q", "-t", "base-os", &base])?;
    let ops = example("ops-nginx");
    let first = place.ok(&["build", "-q", "-t", "ops-nginx", "--sbom", "--provenance=max", &ops])?;
    crate::attest::lists_what_dpkg_lists(&place, "ops-nginx")?;
    let again = place.rbuild(&["build", "--progress", "plain", "-t", "ops-nginx", &ops]).output()?;
    check(&["ops-nginx again"], &again)?;
    same("image ID of the second build", place.ok(&["build", "-q", "-t", "ops-nginx", &ops])?, first)?;
    same("a step of the second build ran", String::from_utf8_lossy(&again.stderr).contains(" DONE 0.0s RUN"), false)?;
    contains(
        &place.ok(&["run", "--rm", "ops-nginx", "sh", "-c", "nginx -v 2>&1; id ops; sudo -l -U ops"])?,
        "nginx/1.22.1",
    )?;

    travels(&place, &Registry::start(&place, "}")?, "nginx/1.22.1")?;
    travels(&place, &Registry::guarded(&place)?, "nginx/1.22.1")?;

    let site = place.ok(&["build", "-q", "-t", "website-nginx", &example("website-nginx")])?;
    serves(&place, "website-nginx", "http://127.0.0.1:8080/", "no daemon built")?;
    place.ok(&["build", "-q", "-t", "node-app", &example("node-app")])?;
    serves(&place, "node-app", "http://127.0.0.1:3000/hi", "as uid 2000 answers /hi")?;

    // All of it once more as one build: every step is there already, and the images are the same.
    let script = format!(
        "cd {} && {} bake --progress plain --metadata-file {m} --set base-os.context={base} && cat {m}",
        project().join("examples").display(),
        RBUILD.as_str(),
        m = place.path().join("metadata.json").display(),
    );
    let baked = place.command("/bin/sh").args(["-c", &script]).output()?;
    check(&["bake"], &baked)?;
    same("a step of bake ran", String::from_utf8_lossy(&baked.stderr).contains(" DONE "), false)?;
    let built: serde_json::Value = serde_json::from_slice(&baked.stdout)?;
    let id = built["website-nginx"]["containerimage.config.digest"].as_str().unwrap_or_default();
    same("image ID of website-nginx in bake", id, site.trim())?;

    let tiny = |place: &Place, umask: &str| -> Result<String, Failed> {
        let context = checkout(place, "static-tiny", umask, None)?;
        let output = place
            .rbuild(&["build", "-q", "-t", "static-tiny", &context])
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .output()?;
        check(&["static-tiny"], &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let id = tiny(&place, "022")?;
    same("image IDs of two checkouts", tiny(&place, "077")?, id.clone())?;
    record("static-tiny", &id)?;
    contains(&place.ok(&["run", "--rm", "static-tiny", "reader"])?, "hello, reader")?;
    place.ok(&["fsck"]).map(drop)
}

/// ops-nginx by way of a registry: pushed, pushed again, pulled into an empty store, run there.
fn travels(place: &Place, registry: &Registry, version: &str) -> Result<(), Failed> {
    let name = format!("{}/team/ops-nginx:1", registry.name);
    let fresh = Place::new();
    for place in [place, &fresh] {
        registry.trusted_by(place)?;
        if registry.asks() {
            check(&["login"], &registry.login(place, PASSWORD)?)?;
        }
    }
    place.ok(&["push", "ops-nginx", &name])?;
    contains(&place.ok(&["push", "ops-nginx", &name])?, "(0 blobs sent, ")?;
    fresh.ok(&["pull", &name])?;
    contains(&fresh.ok(&["run", "--rm", &name, "sh", "-c", "nginx -v 2>&1"])?, version)?;
    fresh.ok(&["fsck"]).map(drop)
}

/// Runs an image in the background and asks it for a page until it answers; then stops it.
fn serves(place: &Place, image: &str, url: &str, expected: &str) -> Result<(), Failed> {
    let mut server = place.rbuild(&["run", "--rm", image]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let begin = Instant::now();
    let page = loop {
        let output = place.command("curl").args(["-sS", "--max-time", "5", "--noproxy", "*", url]).output()?;
        if output.status.success() {
            break String::from_utf8_lossy(&output.stdout).into_owned();
        }
        if server.try_wait()?.is_some() || begin.elapsed() > Duration::from_secs(30) {
            let _ = server.kill();
            let said = server.wait_with_output()?;
            let said = [said.stdout, said.stderr].concat();
            return Err(format!("{image} does not answer on {url}: {}", String::from_utf8_lossy(&said)).into());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    stop(&mut server)?;
    contains(&page, expected)
}

/// SIGTERM, which rbuild forwards.
fn stop(server: &mut Child) -> Result<(), Failed> {
    let pid = nix::unistd::Pid::from_raw(server.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).map_err(|e| e.to_string())?;
    let begin = Instant::now();
    while server.try_wait()?.is_none() {
        if begin.elapsed() > Duration::from_secs(15) {
            server.kill()?;
            return Err("the container did not end on SIGTERM".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
