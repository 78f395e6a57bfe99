//! `rbuild run`: what a container gets of its image and of the options, and what becomes of signals.

use crate::env::{Need, Place, contains, same, trial};
use libtest_mimic::{Failed, Trial};
use std::io::{Read, Write};
use std::process::Stdio;

/// Name, options, command, standard output.
const CASES: &[(&str, &[&str], &[&str], &str)] = &[
    ("image-user", &["app"], &["id", "-un"], "app\n"),
    ("other-user", &["-u", "1234:1001", "app"], &["sh", "-c", "id -u; id -g"], "1234\n1001\n"),
    ("groups-of-a-user", &["-u", "app", "busybox"], &["id", "-G"], "1000 1001\n"),
    ("home-of-a-user", &["-u", "app", "busybox"], &["sh", "-c", "echo $HOME"], "/home/app\n"),
    ("variables", &["-e", "A=1", "-e", "B=x y", "app"], &["sh", "-c", "echo $A $B $FROM_IMAGE"], "1 x y yes\n"),
    ("image-command", &["app"], &[], "from cmd\n"),
    ("entrypoint", &["--entrypoint", "echo", "app"], &["a", "b"], "a b\n"),
    ("working-directory-is-made", &["-w", "/new/dir", "busybox"], &["pwd"], "/new/dir\n"),
    ("image-working-directory", &["app"], &["pwd"], "/srv\n"),
    ("hostname", &["--hostname", "box", "--network", "none", "busybox"], &["hostname"], "box\n"),
    ("hostname-resolves", &["--hostname", "box", "busybox"], &["sh", "-c", "grep -cw box /etc/hosts"], "1\n"),
    ("no-network", &["--network", "none", "busybox"], &["sh", "-c", "grep -c : /proc/net/dev"], "1\n"),
    ("first-process-is-the-program", &["busybox"], &["sh", "-c", "echo $$"], "1\n"),
    ("with-init-it-is-not", &["--init", "busybox"], &["sh", "-c", "[ $$ != 1 ] && echo child"], "child\n"),
    ("no-input", &["busybox"], &["cat"], ""),
    ("read-only", &["--read-only", "busybox"], &["sh", "-c", "touch /x 2>/dev/null || echo refused"], "refused\n"),
];

/// All container tests.
pub fn trials() -> Vec<Trial> {
    let needs = &[Need::Busybox, Need::Sandbox, Need::Ids];
    let mut trials: Vec<Trial> = CASES
        .iter()
        .map(|(name, options, command, expected)| {
            trial(&format!("container/{name}"), needs, move || {
                let place = place()?;
                let found = place.ok(&[&["run", "--rm"], *options, *command].concat())?;
                same("standard output", found.as_str(), expected)
            })
        })
        .collect();
    trials.push(trial("container/input", needs, input));
    trials.push(trial("container/volumes", needs, volumes));
    trials.push(trial("container/changes-are-thrown-away", needs, thrown_away));
    trials.push(trial("container/signals-are-passed-on", needs, signals));
    trials.push(trial("container/third-request-kills", needs, third_request));
    trials
}

/// A place with images `busybox` and `app`.
fn place() -> Result<Place, Failed> {
    let place = Place::new();
    place.busybox()?;
    place.write(
        "Dockerfile",
        "FROM busybox\nENV FROM_IMAGE=yes\nWORKDIR /srv\nUSER app\nCMD [\"echo\", \"from cmd\"]\n",
    );
    place.ok(&["build", "-q", "-t", "app", "."])?;
    Ok(place)
}

fn input() -> Result<(), Failed> {
    let place = place()?;
    let mut run = place.rbuild(&["run", "--rm", "-i", "busybox", "tr", "a-z", "A-Z"]);
    let mut run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    run.stdin.take().ok_or("no pipe")?.write_all(b"hello")?;
    same("standard output", String::from_utf8_lossy(&run.wait_with_output()?.stdout).as_ref(), "HELLO")
}

fn volumes() -> Result<(), Failed> {
    let place = place()?;
    let file = place.write("shared/file", "shared\n");
    let directory = file.parent().ok_or("no parent")?.display().to_string();
    let script = "cat /a/b/file && echo new > /a/b/new && ! echo x > /ro/file && cat /ro/new";
    let found = place.ok(&[
        "run",
        "--rm",
        "-v",
        &format!("{directory}:/a/b"),
        "-v",
        &format!("{directory}:/ro:ro"),
        "busybox",
        "sh",
        "-c",
        script,
    ])?;
    same("standard output", found.as_str(), "shared\nnew\n")?;
    same("what the container wrote", std::fs::read_to_string(file.with_file_name("new"))?.as_str(), "new\n")?;
    let refused = place.fails(125, &["run", "--rm", "-v", "/no/such:/x", "busybox", "true"])?;
    contains(&refused, "/no/such")
}

fn thrown_away() -> Result<(), Failed> {
    let place = place()?;
    place.ok(&["run", "--rm", "busybox", "sh", "-c", "echo x > /file; rm /bin/vi"])?;
    let found = place.ok(&["run", "--rm", "busybox", "sh", "-c", "[ ! -e /file ] && [ -e /bin/vi ] && echo clean"])?;
    same("standard output", found.as_str(), "clean\n")?;
    same("containers kept", std::fs::read_dir(place.store().join("containers"))?.count(), 0)
}

/// Starts a container whose script first prints a line, and waits for the line.
fn started(place: &Place, script: &str) -> Result<std::process::Child, Failed> {
    let mut run = place.rbuild(&["run", "--rm", "busybox", "sh", "-c", script]).stdout(Stdio::piped()).spawn()?;
    let mut byte = [0];
    run.stdout.as_mut().ok_or("no pipe")?.read_exact(&mut byte)?;
    Ok(run)
}

fn kill(child: &std::process::Child, signal: nix::sys::signal::Signal) -> Result<(), Failed> {
    Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal)?)
}

fn signals() -> Result<(), Failed> {
    use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    let place = place()?;
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2] {
        let name = signal.as_str().trim_start_matches("SIG");
        let script = format!("trap 'exit 11' {name}; echo r; while :; do sleep 0.02; done");
        let mut run = started(&place, &script)?;
        kill(&run, signal)?;
        same(&format!("exit code after {name}"), run.wait()?.code(), Some(11))?;
    }
    Ok(())
}

/// A first process without a handler is not ended by SIGTERM: that is the kernel's rule for process 1.
fn third_request() -> Result<(), Failed> {
    use nix::sys::signal::Signal::SIGTERM;
    let place = place()?;
    let mut run = started(&place, "echo r; exec sleep 1000")?;
    let mut sent = 0;
    // Requests that come at once are one request to the kernel.
    while run.try_wait()?.is_none() && sent < 50 {
        kill(&run, SIGTERM)?;
        sent += 1;
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    same("exit code", run.wait()?.code(), Some(137))?;
    same("three requests were needed", sent >= 3, true)
}
