//! `RUN --mount`: what no transcript can show: layers without mount points, agents, caches of builds at the same time.

use crate::env::{Need, Place, check, contains, same, trial};
use libtest_mimic::{Failed, Trial};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// All of them.
pub fn trials() -> Vec<Trial> {
    const NEEDS: &[Need] = &[Need::Busybox, Need::Sandbox, Need::Ids];
    vec![
        trial("mounts/no-mount-point-is-left", NEEDS, no_stubs),
        trial("mounts/ssh-agent", NEEDS, agent),
        trial("mounts/ssh-keys", &[NEEDS, &[Need::Ssh]].concat(), keys),
        trial("mounts/cache-shared-by-two-builds", NEEDS, || two_builds("shared")),
        trial("mounts/cache-private-by-two-builds", NEEDS, || two_builds("private")),
        trial("mounts/cache-locked-by-two-builds", NEEDS, || two_builds("locked")),
        trial("mounts/an-interrupted-step-leaves-its-cache", NEEDS, interrupted),
        trial("mounts/caches-in-any-order-do-not-deadlock", NEEDS, crossed),
    ]
}

/// Every type, with both snapshotters, as root and as another user, where parents are missing and where they are not.
fn no_stubs() -> Result<(), Failed> {
    for snapshotter in ["overlay", "copy"] {
        let place = Place::new();
        place.busybox()?;
        place.write("file", "x");
        let _agent = UnixListener::bind(place.work().join("agent"))?;
        let types = [
            "type=bind,target=T",
            "type=bind,target=T,rw",
            "type=bind,source=file,target=T",
            "type=bind,from=stage,source=/etc,target=T",
            "type=cache,target=T",
            "type=tmpfs,target=T",
            "type=secret,id=s,target=T,mode=0444",
            "type=ssh,target=T",
        ];
        let mut text = String::from("FROM busybox AS stage\nFROM busybox\n");
        for user in ["root", "app"] {
            text += &format!("USER {user}\n");
            for mount in types {
                for target in ["/new", "/a/b/c", "/etc/new/x", "/tmp/x"] {
                    text += &format!("RUN --mount={} [ -e {target} ]\n", mount.replace('T', target));
                }
            }
        }
        place.write("Dockerfile", text);
        let arguments = ["build", "--snapshotter", snapshotter, "--secret", "id=s,src=file", "--ssh", "default=agent"];
        place.ok(&[&arguments[..], &["-t", "x", "."]].concat())?;
        same(&format!("what {snapshotter} left"), place.ok(&["diff", "busybox", "x"])?.trim(), "")?;
    }
    Ok(())
}

fn agent() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    let _agent = UnixListener::bind(place.work().join("agent"))?;
    place.write(
        "Dockerfile",
        "FROM busybox\n\
         RUN --mount=type=ssh [ \"$SSH_AUTH_SOCK $(stat -c '%a %u' $SSH_AUTH_SOCK)\" = '/run/buildkit/ssh_agent.0 600 0' ] && [ -S $SSH_AUTH_SOCK ]\n\
         USER app\n\
         RUN --mount=type=ssh,id=git,target=/x/agent,uid=1000,mode=0640 [ \"$SSH_AUTH_SOCK $(stat -c '%a %u' /x/agent)\" = '/x/agent 640 1000' ]\n\
         RUN --mount=type=ssh,id=none [ -z \"$SSH_AUTH_SOCK\" ]\n",
    );
    let build = |more: &[&str]| {
        let mut command = place.rbuild(&["build", "--progress", "plain", "-t", "x"]);
        command.args(more).arg(".").env("SSH_AUTH_SOCK", place.work().join("agent"));
        command.output()
    };
    check(&["build"], &build(&["--ssh", "default", "--ssh", "git=agent"])?)?;
    place.write("Dockerfile", "FROM busybox\nRUN --mount=type=ssh,id=none,required true\n");
    let missing = build(&["--ssh", "default"])?;
    same("exit code", missing.status.code(), Some(4))?;
    contains(&String::from_utf8_lossy(&missing.stderr), "give it with --ssh none=SOCKET or --ssh none=KEYFILE")?;
    contains(&place.fails(4, &["build", "--ssh", "default=nothing", "."])?, "nothing")?;
    contains(&place.fails(2, &["build", "--ssh", "default", "."])?, "SSH_AUTH_SOCK is not set")
}

/// Key files are served by an agent that ends with the build.
fn keys() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    let keygen = |name: &str, passphrase: &str| {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", name]);
        check(&["ssh-keygen"], &command.current_dir(place.work()).output()?)
    };
    keygen("one", "")?;
    keygen("two", "")?;
    keygen("locked", "secret")?;
    place.write(
        "Dockerfile",
        "FROM busybox\n\
         COPY --from=host --with-libs /usr/bin/ssh-add /bin/ssh-add\n\
         RUN --mount=type=ssh ssh-add -L | cut -d ' ' -f 3 > /keys\n\
         RUN --mount=type=ssh,id=other ssh-add -L | cut -d ' ' -f 3 > /other\n",
    );
    let build = ["build", "-q", "--build-context", "host=/", "--ssh", "default=one,two", "--ssh", "other=two"];
    place.ok(&[&build[..], &["-o", "out", "."]].concat())?;
    same("keys of default", std::fs::read_to_string(place.work().join("out/keys"))?.as_str(), "one\ntwo\n")?;
    same("keys of other", std::fs::read_to_string(place.work().join("out/other"))?.as_str(), "two\n")?;
    contains(&place.fails(2, &["build", "--ssh", "default=locked", "."])?, "ssh-add does not take")?;
    contains(&place.fails(2, &["build", "--ssh", "default=Dockerfile", "."])?, "ssh-add does not take")
}

fn start(place: &Place, directory: &str, script: &str) -> Result<Child, Failed> {
    place.write(&format!("{directory}/Dockerfile"), format!("FROM busybox\n{script}\n"));
    let mut command = place.rbuild(&["build", "--progress", "plain", "-t", directory, directory]);
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// Two builds, two seconds each, of which the later sees what the earlier left: at once unless `locked`; `private` ones have
/// a cache each.
fn two_builds(sharing: &str) -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    let run = |name: &str| {
        format!(
            "RUN --mount=type=cache,id=c,target=/c,sharing={sharing} ls /c; touch /c/{name}; sleep 2; ls /c | wc -l"
        )
    };
    let begun = Instant::now();
    let builds = [start(&place, "one", &run("one"))?, start(&place, "two", &run("two"))?];
    let mut seen = Vec::new();
    for build in builds {
        let output = build.wait_with_output()?;
        check(&["build"], &output)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let count = text.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).next_back();
        seen.push(count.unwrap_or_default());
    }
    let took = begun.elapsed();
    seen.sort_unstable();
    let one_after_the_other = took > Duration::from_millis(3900);
    match sharing {
        "locked" => same("the later sees the earlier's file", (seen, one_after_the_other), (vec![1, 2], true))?,
        _ => same("each sees its own file only", seen, vec![1, 1])?,
    }
    // What they left: both files, or, of private ones, those of the first cache.
    place.write("Dockerfile", "FROM busybox\nRUN --mount=type=cache,id=c,target=/c echo left: $(ls /c)\n");
    let output = place.rbuild(&["build", "--progress", "plain", "-t", "x", "."]).output()?;
    check(&["build"], &output)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match sharing {
        "private" if text.contains("left: one two") => Err("private caches were mixed".into()),
        "private" => contains(&text, "left: "),
        _ => contains(&text, "left: one two"),
    }
}

/// Asked to end, and killed.
fn interrupted() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    let mount = "--mount=type=cache,id=c,target=/c";
    check(&["build"], &start(&place, "first", &format!("RUN {mount} touch /c/kept"))?.wait_with_output()?)?;
    for signal in [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGKILL] {
        let step = format!("RUN {mount} rm /c/kept; touch /c/lost; echo {signal} has begun; sleep 60");
        let mut build = start(&place, "second", &step)?;
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(build.stderr.take().ok_or("no output")?));
        let begun = lines.by_ref().any(|line| line.is_ok_and(|line| line.ends_with(" has begun")));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(build.id() as i32), signal)?;
        let status = build.wait()?;
        same("the step began, and the build ended badly", (begun, status.success()), (true, false))?;
        let looks = start(&place, "third", &format!("RUN {mount} echo {signal} left: $(ls /c)"))?.wait_with_output()?;
        check(&["build"], &looks)?;
        contains(&String::from_utf8_lossy(&looks.stderr), &format!("{signal} left: kept\n"))?;
    }
    Ok(())
}

/// Steps that name the same locked caches in different orders.
fn crossed() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    let mount = |id: &str| format!("--mount=type=cache,sharing=locked,id={id},target=/{id}");
    let run = |first: &str, second: &str| {
        let steps: String = (0..4).map(|i| format!("RUN {} {} sleep 0.0{i}\n", mount(first), mount(second))).collect();
        steps
    };
    let builds = [start(&place, "one", &run("a", "b"))?, start(&place, "two", &run("b", "a"))?];
    for build in builds {
        check(&["build"], &build.wait_with_output()?)?;
    }
    Ok(())
}
