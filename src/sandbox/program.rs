//! The last steps of a process before it is the program: identity, limits, capabilities, filter, exec.

use super::wire::{Blame, Failure};
use super::{Spec, caps, seccomp, sys};
use crate::graph::{self, Limit};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, Signal};
use std::convert::Infallible;
use std::ffi::{CString, NulError};
use std::io;

/// Soft limit of open files: programs of old loop over all descriptors up to it.
const NOFILE_SOFT: u64 = 1024;
/// Hard limit of open files.
const NOFILE_HARD: u64 = 524_288;

/// Turns the process into the spec's program. Returns only to say why it could not.
pub(super) fn turn_into(spec: &Spec) -> Result<Infallible, Failure> {
    // A session of its own: no controlling terminal of the caller's to push characters into.
    rustix::process::setsid().blame("start a session", "")?;
    if spec.tty {
        rustix::process::ioctl_tiocsctty(io::stdin()).blame("set the controlling terminal", "")?;
    }
    // A kernel without keyrings has none to part from, and a user at the quota keeps the shared one: the filter shuts
    // the calls in any case.
    let _ = sys::join_new_session_keyring();
    let program = prepare(spec)?;
    enter_directory(spec)?;
    limits(&spec.limits)?;
    restrict(spec)?;
    // Cleared by each change of credentials, so this late: process 1 must not outlive the launcher's parent. (For the
    // child of an init, its end is process 1's end.)
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).blame("tie to the parent process", "")?;
    sys::close_on_exec_from(3).blame("close descriptors", "")?;
    sys::reset_signals();
    Err(program.execute())
}

/// Identity, capabilities and filter. The filter first: without `no_new_privs`, which would break set-id programs,
/// installing it takes a privilege that is given up here; it lets the calls below pass.
fn restrict(spec: &Spec) -> Result<(), Failure> {
    let keep = caps::parse(&spec.capabilities).map_err(|name| Failure {
        exec: false,
        act: "keep capability".into(),
        subject: name,
        errno: libc::EINVAL,
    })?;
    if spec.seccomp {
        sys::install_seccomp(&seccomp::program(keep)).blame("install the system call filter", "")?;
    }
    caps::bound(keep).blame("limit the capability bounding set", "")?;
    set_identity(spec)?;
    caps::limit(keep).blame("drop capabilities", "")
}

fn set_identity(spec: &Spec) -> Result<(), Failure> {
    use nix::unistd::{Gid, Uid};
    let groups: Vec<Gid> = spec.groups.iter().map(|g| Gid::from_raw(*g)).collect();
    match nix::unistd::setgroups(&groups) {
        // With a single mapped id the kernel forbids the call; there are no further groups then anyway.
        Err(nix::Error::EPERM) if spec.groups.iter().all(|group| *group == spec.gid) => {}
        other => other.blame("set supplementary groups", format_args!("{:?}", spec.groups))?,
    }
    let gid = Gid::from_raw(spec.gid);
    nix::unistd::setresgid(gid, gid, gid).blame("switch to group", outside_map(spec.gid))?;
    let uid = Uid::from_raw(spec.uid);
    nix::unistd::setresuid(uid, uid, uid).blame("switch to user", outside_map(spec.uid))
}

/// An id for a message; the one reason that a switch fails is that the user namespace does not have the id.
fn outside_map(id: u32) -> String {
    if id == 0 {
        return "0".into();
    }
    format!("{id} (is it in the range of subordinate ids, /etc/subuid and /etc/subgid?)")
}

fn limits(more: &[Limit]) -> Result<(), Failure> {
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum.map_or(NOFILE_HARD, |have| have.min(NOFILE_HARD));
    let limit = Rlimit { current: Some(hard.min(NOFILE_SOFT)), maximum: Some(hard) };
    rustix::process::setrlimit(Resource::Nofile, limit).blame("limit open files", "")?;
    let limit = Rlimit { current: Some(0), maximum: rustix::process::getrlimit(Resource::Core).maximum };
    rustix::process::setrlimit(Resource::Core, limit).blame("limit core dumps", "")?;
    for Limit { resource, soft, hard } in more {
        let limit = Rlimit { current: *soft, maximum: *hard };
        rustix::process::setrlimit(kernel_resource(*resource), limit).blame("set the limit", resource.name())?;
    }
    Ok(())
}

fn kernel_resource(resource: graph::Resource) -> Resource {
    match resource {
        graph::Resource::Core => Resource::Core,
        graph::Resource::Cpu => Resource::Cpu,
        graph::Resource::Data => Resource::Data,
        graph::Resource::Fsize => Resource::Fsize,
        graph::Resource::Locks => Resource::Locks,
        graph::Resource::Memlock => Resource::Memlock,
        graph::Resource::Msgqueue => Resource::Msgqueue,
        graph::Resource::Nice => Resource::Nice,
        graph::Resource::Nofile => Resource::Nofile,
        graph::Resource::Nproc => Resource::Nproc,
        graph::Resource::Rss => Resource::Rss,
        graph::Resource::Rtprio => Resource::Rtprio,
        graph::Resource::Rttime => Resource::Rttime,
        graph::Resource::Sigpending => Resource::Sigpending,
        graph::Resource::Stack => Resource::Stack,
    }
}

fn enter_directory(spec: &Spec) -> Result<(), Failure> {
    if spec.make_cwd {
        make_directories(&spec.cwd).blame("create working directory", &spec.cwd)?;
    }
    rustix::process::chdir(spec.cwd.as_str()).blame("change to working directory", &spec.cwd)?;
    // "(unreachable)" would mean a directory outside the root.
    let reached = rustix::process::getcwd(Vec::new()).blame("find working directory", &spec.cwd)?;
    if reached.as_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(rustix::io::Errno::XDEV).blame("stay inside the root in", &spec.cwd)
}

fn make_directories(path: &str) -> io::Result<()> {
    let mut made = String::new();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        made.push('/');
        made.push_str(name);
        match rustix::fs::mkdir(&made, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Everything exec needs, allocated before the filter is up.
struct Program {
    name: String,
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

/// Where programs are looked for when the environment has no PATH (execvp(3)).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

fn prepare(spec: &Spec) -> Result<Program, Failure> {
    let strings = |all: &[String]| all.iter().map(|s| CString::new(s.as_str())).collect::<Result<Vec<_>, NulError>>();
    let name = spec.argv.first().cloned().unwrap_or_default();
    let path = spec.env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let candidates = candidates(&name, path).into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
    let all = candidates.and_then(|candidates| Ok((candidates, strings(&spec.argv)?, strings(&spec.env)?)));
    let (candidates, argv, env) = all.map_err(io::Error::from).blame("pass arguments and environment to", &name)?;
    Ok(Program { name, candidates, argv, env })
}

/// The paths to try for a program's name, as execvp(3).
fn candidates(name: &str, path: &str) -> Vec<String> {
    if name.is_empty() {
        return Vec::new();
    }
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    path.split(':').map(|dir| if dir.is_empty() { format!("./{name}") } else { format!("{dir}/{name}") }).collect()
}

impl Program {
    /// Tries the candidates in order; a file that may not be executed is remembered and the search goes on.
    fn execute(self) -> Failure {
        let mut errno = nix::Error::ENOENT;
        for candidate in &self.candidates {
            match nix::unistd::execve(candidate, &self.argv, &self.env) {
                Ok(never) => match never {},
                Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => {}
                Err(nix::Error::EACCES) => errno = nix::Error::EACCES,
                Err(other) => {
                    errno = other;
                    break;
                }
            }
        }
        Failure { exec: true, act: "execute".into(), subject: self.name, errno: errno as i32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_searched_as_execvp_does() {
        assert_eq!(candidates("sh", "/a:/b"), ["/a/sh", "/b/sh"]);
        assert_eq!(candidates("sh", "/a:"), ["/a/sh", "./sh"]);
        assert_eq!(candidates("./x", "/a"), ["./x"]);
        assert_eq!(candidates("", "/a"), Vec::<String>::new());
    }
}
