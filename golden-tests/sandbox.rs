//! What a step sees and may do: each row is a RUN whose script checks from the inside and fails the build if it finds
//! anything else. docs/sandbox.md names these rows.

use crate::env::{Need, Place, contains, same, trial};
use libtest_mimic::{Failed, Trial};

/// Name, flags of RUN, script.
const INSIDE: &[(&str, &str, &str)] = &[
    ("pid-namespace", "", "[ $$ -lt 10 ] && [ $(ls -d /proc/[0-9]* | wc -l) -le 6 ]"),
    (
        "capabilities-are-the-eleven",
        "",
        "for s in Prm Eff Bnd; do grep -q \"^Cap$s:.*00000000800405fb$\" /proc/self/status || exit 1; done",
    ),
    (
        "capabilities-not-inherited",
        "",
        "for s in Inh Amb; do grep -q \"^Cap$s:.*0000000000000000$\" /proc/self/status || exit 1; done",
    ),
    ("setuid-programs-work", "", "grep -q '^NoNewPrivs:.*0$' /proc/self/status"),
    ("seccomp-filter-is-on", "", "grep -q '^Seccomp:.*2$' /proc/self/status"),
    ("only-three-descriptors", "", "ls -l /proc/self/fd | grep -c ' [0-9]* -> ' | { read n; [ $n -le 4 ]; }"),
    ("stdin-is-empty", "", "[ -z \"$(cat)\" ]"),
    (
        "dev-is-minimal",
        "",
        "[ \"$(ls /dev | tr '\\n' ' ')\" = 'core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ' ] || [ \"$(ls /dev | tr '\\n' ' ')\" = 'fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ' ]",
    ),
    (
        "dev-null-and-zero-work",
        "",
        "echo x > /dev/null && [ $(head -c 8 /dev/zero | wc -c) = 8 ] && [ $(head -c 8 /dev/urandom | wc -c) = 8 ]",
    ),
    ("dev-shm-is-writable", "", "echo x > /dev/shm/x && [ -k /dev/shm ]"),
    ("proc-kcore-is-masked", "", "[ $(head -c 1 /proc/kcore 2>/dev/null | wc -c) = 0 ]"),
    ("proc-keys-is-masked", "", "[ $(cat /proc/keys 2>/dev/null | wc -c) = 0 ]"),
    (
        "kernel-internals-are-masked",
        "",
        "for f in kallsyms iomem interrupts timer_list config.gz sched_debug latency_stats; do [ -z \"$(cat /proc/$f 2>/dev/null)\" ] || exit 1; done; \
         for d in /proc/acpi /proc/scsi /sys/firmware /sys/kernel/debug /sys/kernel/security; do [ -z \"$(ls $d 2>/dev/null)\" ] || exit 1; done",
    ),
    ("root-has-no-devices", "", "grep -q '^[^ ]* [^ ]* [^ ]* [^ ]* / [^ ]*nodev' /proc/self/mountinfo"),
    (
        "cgroups-are-read-only",
        "",
        "! mkdir /sys/fs/cgroup/x 2>/dev/null && ! mkdir /sys/fs/cgroup/memory/x 2>/dev/null",
    ),
    ("init-cannot-be-looked-into", "", "! readlink /proc/1/exe && ! cat /proc/1/environ 2>/dev/null"),
    ("host-paths-are-not-told", "", "! grep -q rbuild-test /proc/self/mountinfo"),
    ("steps-are-killed-first-for-memory", "", "[ $(cat /proc/self/oom_score_adj) = 500 ]"),
    ("proc-sys-is-read-only", "", "! echo x > /proc/sys/kernel/domainname"),
    ("proc-sysrq-is-read-only", "", "! echo h > /proc/sysrq-trigger"),
    ("sys-is-read-only", "", "[ ! -d /sys/kernel ] || ! mkdir /sys/kernel/x 2>/dev/null"),
    ("mount-is-refused", "", "! mount -t tmpfs none /mnt 2>/dev/null"),
    ("unshare-is-refused", "", "! unshare -m true 2>/dev/null && ! unshare -U true 2>/dev/null"),
    ("block-devices-are-refused", "", "! mknod /sda b 8 0 2>/dev/null && ! mknod /mem c 1 1 2>/dev/null"),
    ("fifos-are-allowed", "", "mkfifo /fifo && [ -p /fifo ]"),
    ("chroot-cannot-leave", "", "[ \"$(ls / | grep -c '^store$')\" = 0 ] && [ ! -e /../proc/1/root/work ]"),
    ("hostname-is-fixed", "", "[ $(hostname) = buildkitsandbox ]"),
    (
        "environment-is-what-was-given",
        "",
        "[ \"$(env | grep -v '^_=\\|^PWD=\\|^SHLVL=\\|^OLDPWD=' | cut -d= -f1 | sort | tr '\\n' ' ')\" = 'HOME PATH ' ]",
    ),
    ("home-is-from-passwd", "", "[ $HOME = /root ]"),
    ("umask-is-022", "", "[ $(umask) = 0022 ]"),
    ("open-files-soft-limit-is-1024", "", "[ $(ulimit -n) = 1024 ]"),
    ("no-core-dumps", "", "[ $(ulimit -c) = 0 ]"),
    ("hosts-and-resolv-conf-are-there", "", "grep -q localhost /etc/hosts && [ -f /etc/resolv.conf ]"),
    (
        "network-none-has-loopback-alone",
        "--network=none ",
        "[ $(grep -c : /proc/net/dev) = 1 ] && grep -q 'lo:' /proc/net/dev",
    ),
    (
        "network-none-loopback-is-up",
        "--network=none ",
        "ping -c 1 -W 2 127.0.0.1 >/dev/null 2>&1 || [ -n \"$(ip addr show lo | grep 'inet 127')\" ]",
    ),
    ("root-is-writable", "", "echo x > /file && rm /file"),
    (
        "zombies-are-reaped",
        "",
        "(sh -c 'sleep 0.05 & exec true'); sleep 0.2; ! grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null",
    ),
];

/// All sandbox tests.
pub fn trials() -> Vec<Trial> {
    let needs = &[Need::Busybox, Need::Sandbox];
    let mut trials: Vec<Trial> = INSIDE
        .iter()
        .map(|(name, flags, script)| trial(&format!("sandbox/{name}"), needs, move || inside(flags, script)))
        .collect();
    trials.push(trial("sandbox/user-and-groups", &[Need::Busybox, Need::Ids], user_and_groups));
    trials.push(trial("sandbox/nothing-is-left-in-the-layer", needs, nothing_left));
    trials.push(trial("sandbox/exit-codes-of-run", needs, exit_codes));
    trials.push(trial("sandbox/descriptors-of-the-caller-do-not-leak", needs, no_leak));
    trials.push(trial("sandbox/mount-points-leave-no-trace", needs, mount_points));
    trials.push(trial("sandbox/background-processes-end-with-the-step", needs, background));
    trials.push(trial("sandbox/dies-with-rbuild", needs, dies_with_rbuild));
    #[cfg(target_arch = "x86_64")]
    trials.push(trial("sandbox/foreign-system-calls-are-killed", needs, foreign_abi));
    for snapshotter in ["overlay", "copy"] {
        trials.push(trial(&format!("snapshot/{snapshotter}"), needs, move || snapshot(snapshotter)));
    }
    trials.push(trial("snapshot/more-layers-than-overlay-stacks", needs, deep));
    trials
}

fn inside(flags: &str, script: &str) -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    place.write("Dockerfile", format!("FROM busybox\nRUN {flags}{script}\n"));
    place.ok(&["build", "-t", "x", "."]).map(drop)
}

fn user_and_groups() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    place.write(
        "Dockerfile",
        "FROM busybox\nUSER app\nRUN [ \"$(id -u):$(id -g):$(id -G)\" = '1000:1000:1000 1001' ] && [ $HOME = /home/app ]\n\
         USER 1234\nRUN [ \"$(id -u):$(id -g)\" = '1234:0' ]\nUSER app:extra\nRUN [ \"$(id -u):$(id -g):$(id -G)\" = '1000:1001:1001' ]\n",
    );
    place.ok(&["build", "-t", "x", "."]).map(drop)
}

/// Mount points of the sandbox leave no trace, whether or not the image has the files they cover.
fn nothing_left() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    place.write("Dockerfile", "FROM busybox\nRUN cat /etc/resolv.conf /etc/hosts > /dev/null\n");
    place.ok(&["build", "-t", "x", "."])?;
    same("differences between the image and its base", place.ok(&["diff", "busybox", "x"])?.trim(), "")
}

/// Neither where the image hides the names that the sandbox's own lower layer has, nor for mounts of the instruction.
fn mount_points() -> Result<(), Failed> {
    for snapshotter in ["overlay", "copy"] {
        let place = Place::new();
        place.busybox()?;
        // A link to nowhere is followed to where it points.
        std::os::unix::fs::symlink("../run/resolv.conf", place.write("etc/x", "").with_file_name("resolv.conf"))?;
        let hidden = "FROM busybox\nCOPY etc /etc\nRUN chmod 751 /etc\n";
        let mounted = "RUN --mount=type=tmpfs,target=/a/b/c --mount=type=tmpfs,target=/etc/new/x [ -d /a/b/c ] && \
                       [ -f /etc/hosts ] && [ -s /etc/resolv.conf ] && [ $(stat -c %a /etc) = 751 ]\n";
        let build = |name: &str, text: &str| {
            place.write("Dockerfile", text);
            place.ok(&["build", "--snapshotter", snapshotter, "-t", name, "."])
        };
        build("base", hidden)?;
        build("x", &format!("{hidden}{mounted}"))?;
        same(&format!("what {snapshotter} left"), place.ok(&["diff", "base", "x"])?.trim(), "")?;
    }
    Ok(())
}

/// Whether a process with this argument runs on the host.
fn runs(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("list processes").flatten();
    let mut lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.any(|line| line.split(|b| *b == 0).any(|word| word == argument.as_bytes()))
}

/// An argument that no other process has.
fn unique_duration() -> String {
    format!("{}.{}", 4000 + std::process::id(), std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.subsec_nanos()))
}

fn background() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    let duration = unique_duration();
    place.write("Dockerfile", format!("FROM busybox\nRUN (setsid sleep {duration} >/dev/null 2>&1 &)\n"));
    place.ok(&["build", "-t", "x", "."])?;
    same("the background process runs on", runs(&duration), false)
}

fn dies_with_rbuild() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    let duration = unique_duration();
    place.write("Dockerfile", format!("FROM busybox\nRUN sleep {duration} & sleep {duration}\n"));
    let mut build = place.rbuild(&["build", "-q", "-t", "x", "."]).spawn()?;
    let wait_until = |wanted: bool| {
        let begun = std::time::Instant::now();
        while runs(&duration) != wanted && begun.elapsed().as_secs() < 20 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        runs(&duration) == wanted
    };
    let started = wait_until(true);
    build.kill()?;
    build.wait()?;
    same("the step started", started, true)?;
    same("the step ended with rbuild", wait_until(false), true)
}

/// `int 0x80` reaches the 32-bit system calls, which a filter on the 64-bit numbers alone would let through.
#[cfg(target_arch = "x86_64")]
fn foreign_abi() -> Result<(), Failed> {
    // getpid by the 32-bit way, then exit(0) by the 64-bit one.
    const CODE: [u8; 16] = [0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    const BASE: u64 = 0x40_0000;
    let size = 64 + 56 + CODE.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [BASE + 120, 64, 0] {
        elf.extend_from_slice(&u64::to_le_bytes(word));
    }
    elf.extend_from_slice(&[0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend_from_slice(&u64::to_le_bytes(word));
    }
    elf.extend_from_slice(&CODE);
    let place = Place::new();
    place.busybox()?;
    place.write("foreign", elf);
    let killed = 128 + 31;
    let text = format!("FROM busybox\nCOPY --chmod=755 foreign /foreign\nRUN /foreign; [ $? = {killed} ]\n");
    place.write("Dockerfile", text);
    place.ok(&["build", "-t", "x", "."]).map(drop)
}

fn exit_codes() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    for (code, command) in [
        (0, &["busybox", "true"][..]),
        (7, &["busybox", "sh", "-c", "exit 7"]),
        // Without --init the shell would be process 1, which no signal of its own kills.
        (137, &["--init", "busybox", "sh", "-c", "kill -9 $$"]),
        (127, &["busybox", "no-such-program"]),
        (126, &["busybox", "/etc/passwd"]),
        (125, &["--network", "nonsense", "busybox", "true"]),
    ] {
        let status = place.rbuild(&["run", "--rm"]).args(command).output()?.status;
        same(&format!("exit code of {command:?}"), status.code(), Some(code))?;
    }
    Ok(())
}

fn no_leak() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    place.write("Dockerfile", "FROM busybox\nRUN [ ! -e /proc/self/fd/9 ] && [ ! -e /proc/1/fd/9 ]\n");
    let script = format!("exec 9</etc/passwd; exec {} build -t x .", *crate::env::RBUILD);
    let output = place.command("/bin/sh").args(["-c", &script]).output()?;
    crate::env::check(&["build with an open descriptor"], &output)
}

/// Both snapshotters see the same files and leave the same layer: deletions, replaced directories, modes, hard links.
fn snapshot(name: &str) -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    place.write(
        "Dockerfile",
        "FROM busybox\nRUN mkdir -p /d/sub /gone && echo 1 > /d/sub/a && echo 2 > /d/b && echo 3 > /gone/c && ln /d/b /d/hard\n\
         RUN rm -r /gone /d/sub && mkdir /d/sub && echo new > /d/sub/n && chmod 4755 /d/b && ln -s b /d/link\n\
         RUN [ ! -e /gone ] && [ ! -e /d/sub/a ] && [ $(cat /d/sub/n) = new ] && [ -u /d/b ] && rm /d/link && mkdir /d/link\n",
    );
    place.ok(&["build", "--snapshotter", name, "-t", "x", "."])?;
    let listing = place.ok(&["diff", "busybox", "x"])?;
    for path in ["/d", "/d/b", "/d/hard", "/d/link", "/d/sub", "/d/sub/n"] {
        if !listing.lines().any(|l| l.split_whitespace().any(|w| w.trim_end_matches('/') == path)) {
            return Err(format!("{path} is missing in:\n{listing}").into());
        }
    }
    if listing.contains("/gone") || listing.contains("/d/sub/a") {
        return Err(format!("a removed file is listed:\n{listing}").into());
    }
    contains(&place.ok(&["fsck"])?, "")
}

/// A stack far deeper than the 127 layers of other builders still builds and runs, by copies where overlay ends.
fn deep() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    let lines = |from: usize, to: usize| (from..to).map(|i| format!("COPY <<F /l/{i}\n{i}\nF\n")).collect::<String>();
    let run = |count: usize| format!("RUN [ $(ls /l | wc -l) = {count} ] && echo {count} > /seen\n");
    place.write("Dockerfile", format!("FROM busybox\n{}{}{}{}", lines(0, 450), run(450), lines(450, 510), run(510)));
    place.ok(&["build", "-q", "-t", "x", "."])?;
    same("what the last step saw", place.ok(&["run", "--rm", "x", "cat", "/seen"])?.trim(), "510")
}
