//! The launcher's inside and process 1. The launcher is this very binary, started anew with a hidden first argument, so
//! that it has a single thread (namespaces and fork are not for programs with more) and a small memory to copy.
//!
//! launcher: takes the specification, forks into the new namespaces, reports the id, ends.
//! process 1: mounts, pivots, then becomes the program, or forks it and reaps.

use super::wire::{self, Blame, Failure, Report};
use super::{Spec, caps, mountfd, mounts, plan, program, root, sys};
use crate::graph::Network;
use rustix::fs::Mode;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus};
use rustix::thread::CapabilitySet;
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The hidden first argument.
pub(super) const LAUNCH: &str = "__launch";

/// Status of a launcher or process 1 that could not do its work; the reason went over the socket.
const SETUP_FAILED: i32 = 125;

/// Has to be the first statement of every `main` that may start sandboxes: turns the process into the launcher if it
/// was started as one, else returns.
pub fn hook() {
    if std::env::args_os().nth(1).is_some_and(|first| first == LAUNCH) {
        launcher_main();
    }
}

fn launcher_main() -> ! {
    let socket = match take_socket() {
        Ok(socket) => socket,
        Err(e) => {
            eprintln!("rbuild {LAUNCH}: not for use by hand: {e}");
            sys::exit_now(SETUP_FAILED);
        }
    };
    match launcher(&socket) {
        Ok(never) => match never {},
        Err(failure) => fail(&socket, failure),
    }
}

fn fail(socket: &UnixStream, failure: Failure) -> ! {
    // The caller is gone if this fails, and takes everything with it.
    let _ = wire::send(socket, &Report::Failed(failure), None);
    sys::exit_now(SETUP_FAILED)
}

fn take_socket() -> std::io::Result<UnixStream> {
    sys::close_from(3)?;
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    socket.peer_addr()?;
    Ok(socket)
}

fn launcher(socket: &UnixStream) -> Result<Infallible, Failure> {
    let received = wire::receive::<Spec>(socket).blame("receive the specification", "")?;
    let Some((spec, stdin)) = received else { sys::exit_now(SETUP_FAILED) };
    let stdin = match stdin {
        Some(stdin) => stdin,
        None => std::fs::File::open("/dev/null").blame("open", "/dev/null")?.into(),
    };
    nix::unistd::dup2_stdin(stdin).blame("set standard input", "")?;
    if spec.oom_score_adj != 0 {
        // Lowering it takes a privilege; a sandbox without the adjustment still works.
        let _ = std::fs::write("/proc/self/oom_score_adj", spec.oom_score_adj.to_string());
    }
    // Until exec nobody may trace this process or look at its descriptors, which are the host's.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).blame("hide the process", "")?;
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    flags |= libc::CLONE_NEWCGROUP;
    if spec.network == Network::None {
        flags |= libc::CLONE_NEWNET;
    }
    match sys::fork_into_namespaces(flags).blame(wire::CREATE_NAMESPACES, "")? {
        sys::Fork::Parent(pid) => {
            let _ = wire::send(socket, &Report::Started { pid: pid.as_raw_pid() }, None);
            sys::exit_now(0)
        }
        sys::Fork::Child => match process_one(&spec, socket) {
            Ok(never) => match never {},
            Err(failure) => fail(socket, failure),
        },
    }
}

fn process_one(spec: &Spec, socket: &UnixStream) -> Result<Infallible, Failure> {
    tie_to_caller(socket)?;
    rustix::thread::set_name(c"rbuild-init").blame("name the process", "")?;
    // What the set-up makes has these modes whatever the caller's umask is.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let new = mount_everything(spec)?;
    if !new.stubs.is_empty() {
        wire::send(socket, &Report::Stubs(new.stubs), None).blame("report", "mount points")?;
    }
    rustix::system::sethostname(spec.hostname.as_bytes()).blame("set the host name", &spec.hostname)?;
    if spec.network == Network::None {
        sys::bring_up_loopback().blame("bring up", "the loopback device")?;
    }
    if spec.readonly_root {
        sys::set_mount_attributes(&new.dir, false, mountfd::RDONLY, 0).blame("make read-only", "the root")?;
    }
    enter(&new.dir)?;
    drop((new.dir, new.stage));
    if spec.tty {
        open_terminal(spec, socket)?;
    }
    if !spec.init {
        return program::turn_into(spec);
    }
    rustix::process::setsid().blame("start a session", "")?;
    sys::block_signals();
    match sys::fork().blame("start a process", "")? {
        sys::Fork::Child => program::turn_into(spec),
        sys::Fork::Parent(child) => {
            // All that it does from now on is to wait and to signal.
            caps::limit(CapabilitySet::KILL).blame("drop capabilities of", "init")?;
            reap(child, socket)
        }
    }
}

/// Process 1 dies with the thread that asked for the sandbox, and all of the sandbox with process 1.
fn tie_to_caller(socket: &UnixStream) -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).blame("tie to the parent process", "")?;
    // It may have died before.
    let mut polled = [nix::poll::PollFd::new(socket.as_fd(), nix::poll::PollFlags::empty())];
    let events = nix::poll::poll(&mut polled, nix::poll::PollTimeout::ZERO).blame("look for", "the caller")?;
    if events > 0 {
        sys::exit_now(SETUP_FAILED);
    }
    Ok(())
}

fn mount_everything(spec: &Spec) -> Result<root::NewRoot, Failure> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).blame("make mounts private", "")?;
    let resolv_conf = std::fs::read("/etc/resolv.conf").unwrap_or_default();
    let plan = plan::plan(spec, &resolv_conf);
    let new = root::make(&spec.root, &plan)?;
    mounts::carry_out(&plan, &new)?;
    Ok(new)
}

/// Makes the directory the root and lets go of the old one.
fn enter(root: &OwnedFd) -> Result<(), Failure> {
    rustix::process::fchdir(root).blame("enter", "the new root")?;
    // pivot_root(2), "pivot_root(".", ".")": the old root lies on top of the new one until it is detached.
    rustix::process::pivot_root(".", ".").blame("pivot to", "the new root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).blame("detach", "the old root")?;
    rustix::process::chdir("/").blame("enter", "the new root")
}

/// A pseudo-terminal of the sandbox's own devpts: the slave becomes the three standard streams, the caller gets the
/// master.
fn open_terminal(spec: &Spec, socket: &UnixStream) -> Result<(), Failure> {
    use nix::fcntl::OFlag;
    let master = nix::pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .blame("open", "a pseudo-terminal")?;
    nix::pty::unlockpt(&master).blame("unlock", "the pseudo-terminal")?;
    let name = nix::pty::ptsname_r(&master).blame("name", "the pseudo-terminal")?;
    let slave = nix::fcntl::open(
        name.as_str(),
        OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )
    .blame("open", &name)?;
    // A program that runs as another user may want to open its terminal again.
    let _ = nix::unistd::fchown(&slave, Some(nix::unistd::Uid::from_raw(spec.uid)), None);
    nix::unistd::dup2_stdin(&slave).blame("set standard input", "")?;
    nix::unistd::dup2_stdout(&slave).blame("set standard output", "")?;
    nix::unistd::dup2_stderr(&slave).blame("set standard error", "")?;
    wire::send(socket, &Report::Terminal, Some(master.as_fd())).blame("hand over", "the pseudo-terminal")
}

/// Init: passes signals to the child, reaps whatever ends, and ends with the child; the kernel then kills the rest.
fn reap(child: Pid, socket: &UnixStream) -> ! {
    loop {
        match sys::next_signal() {
            Some(libc::SIGCHLD) | None => {}
            Some(signal) => {
                // It may have ended this moment.
                let _ = sys::send_signal(child, signal);
                continue;
            }
        }
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == child {
                let (report, code) = ended(status);
                let _ = wire::send(socket, &report, None);
                sys::exit_now(code);
            }
        }
    }
}

fn ended(status: WaitStatus) -> (Report, i32) {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (Report::Exited(code), code),
        (None, Some(signal)) => (Report::Killed(signal), 128 + signal),
        // Not asked for (WUNTRACED, WCONTINUED), so not reported by the kernel.
        (None, None) => (Report::Exited(SETUP_FAILED), SETUP_FAILED),
    }
}
