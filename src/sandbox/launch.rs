//! The parent's side: start the launcher (this binary again, single-threaded), feed it, watch it.

use super::wire::{self, Inode, Report, Stub};
use super::{SandboxError, Spec, init, sys};
use crate::base::Cancel;
use crate::snapshot::RootMount;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::mount::OpenTreeFlags;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Code(i32),
    /// By this signal; `oom`: the kernel killed it for memory.
    Signal {
        /// Number.
        signal: i32,
        /// Out of memory.
        oom: bool,
    },
}

/// Where the process's standard streams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// stdin is /dev/null, stdout and stderr are pipes to the caller (steps).
    Piped,
    /// stdin is /dev/null, stdout and stderr are the caller's (containers in the foreground without `-i`).
    Output,
    /// The caller's own three (containers with `-i` and no terminal).
    Inherited,
    /// A pseudo-terminal whose master the caller gets (containers with `-t`); `spec.tty` is implied.
    Terminal,
}

/// A started sandbox. Dropped without [`Launched::wait`], it is killed.
///
/// Process 1 is tied to the *thread* that called [`launch`] (`PR_SET_PDEATHSIG`): that thread has to live as long as
/// the sandbox is wanted.
#[derive(Debug)]
pub struct Launched {
    /// Output, for [`Streams::Piped`].
    pub stdout: Option<ChildStdout>,
    /// Errors, for [`Streams::Piped`].
    pub stderr: Option<ChildStderr>,
    /// Master of the pseudo-terminal, for [`Streams::Terminal`].
    pub terminal: Option<File>,
    running: Running,
}

/// The processes, killed and reaped when dropped.
#[derive(Debug)]
struct Running {
    launcher: Child,
    socket: UnixStream,
    /// Process 1, unless the launcher failed before it; gone once reaped.
    first: Option<OwnedFd>,
    /// Reports that came while another was waited for.
    reports: Vec<Report>,
    /// The root, where it is a plain directory.
    plain_root: Option<std::path::PathBuf>,
}

/// How often a wait looks whether it is cancelled, in milliseconds.
const CANCEL_INTERVAL: u8 = 50;

impl Launched {
    /// Waits for the end. When `cancel` is set meanwhile the whole sandbox is killed. When it returns, no process of
    /// the sandbox is left.
    pub fn wait(self, cancel: &Cancel) -> Result<Exit, SandboxError> {
        self.wait_until(cancel, None).map(|(exit, _)| exit)
    }

    /// As [`Launched::wait`], and kills the sandbox at `deadline`: whether it came to that is the second result.
    pub fn wait_until(self, cancel: &Cancel, deadline: Option<Instant>) -> Result<(Exit, bool), SandboxError> {
        let mut late = false;
        while !self.poll(&[], PollTimeout::from(CANCEL_INTERVAL))? {
            late |= deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if late || cancel.is_set() {
                self.signal(libc::SIGKILL);
            }
        }
        Ok((self.running.finish()?, late))
    }

    /// Waits until process 1 has ended (true), one of `also` is readable or `timeout` has passed (false).
    pub fn poll(&self, also: &[BorrowedFd<'_>], timeout: PollTimeout) -> Result<bool, SandboxError> {
        let Some(first) = &self.running.first else { return Ok(true) };
        let mut polled = vec![PollFd::new(first.as_fd(), PollFlags::POLLIN)];
        polled.extend(also.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)));
        match nix::poll::poll(&mut polled, timeout) {
            Ok(_) => Ok(polled[0].any() == Some(true)),
            Err(nix::Error::EINTR) => Ok(false),
            Err(errno) => Err(SandboxError::Launcher(format!("cannot wait for the sandbox: {errno}"))),
        }
    }

    /// Sends a signal to process 1 of the sandbox (which passes it on, if it is rbuild's init). One that has ended is
    /// no error.
    pub fn signal(&self, signal: i32) {
        if let Some(first) = &self.running.first {
            let _ = sys::send_signal_to(first, signal);
        }
    }
}

impl Running {
    /// Reads reports up to and including the first that `stop` accepts, or to the end.
    fn read_until(&mut self, stop: impl Fn(&Report) -> bool) -> io::Result<Option<OwnedFd>> {
        while let Some((report, descriptor)) = wire::receive::<Report>(&self.socket)? {
            let stopped = stop(&report);
            self.reports.push(report);
            if stopped {
                return Ok(descriptor);
            }
        }
        Ok(None)
    }

    /// Reaps both processes and makes the result of what was reported.
    fn finish(mut self) -> Result<Exit, SandboxError> {
        let lost = |e: io::Error| SandboxError::Launcher(format!("cannot wait for the sandbox: {e}"));
        let status = match self.first.take() {
            Some(first) => rustix::process::waitid(WaitId::PidFd(first.as_fd()), WaitIdOptions::EXITED)
                .map_err(|e| lost(e.into()))?,
            None => None,
        };
        self.read_until(|_| false).map_err(lost)?;
        let launcher = self.launcher.wait().map_err(lost)?;
        self.remove_stubs();
        for report in self.reports.drain(..) {
            match report {
                Report::Failed(failure) => return Err(failure.into()),
                Report::Exited(code) => return Ok(Exit::Code(code)),
                Report::Killed(signal) => return Ok(killed(signal)),
                Report::Started { .. } | Report::Stubs(_) | Report::Terminal => {}
            }
        }
        let status = status.ok_or_else(|| SandboxError::Launcher(format!("it ended early, {launcher}")))?;
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ok(Exit::Code(code)),
            (None, Some(signal)) => Ok(killed(signal)),
            (None, None) => Err(SandboxError::Launcher("process 1 neither exited nor was killed".into())),
        }
    }

    /// Removes mount points that were made in a plain directory root, where they are still as they were made. What
    /// can't be removed was put to use by the sandbox and stays.
    fn remove_stubs(&self) {
        let Some(root) = &self.plain_root else { return };
        let Ok(root) = crate::base::root::Root::open(root) else { return };
        let stubs = self.reports.iter().filter_map(|r| if let Report::Stubs(s) = r { Some(s) } else { None });
        for stub in stubs.flatten().rev() {
            let _ = remove_stub(&root, stub);
        }
    }
}

fn remove_stub(root: &crate::base::root::Root, stub: &Stub) -> rustix::io::Result<()> {
    let Some((parent, name)) = root.parent_of(&stub.path)? else { return Ok(()) };
    let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if Inode::of(&parent, name)? != stub.inode || (!directory && stat.st_size != 0) {
        return Ok(());
    }
    let parent = rustix::fs::openat(&parent, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&parent)?;
    let untouched = (stat.st_mtime, stat.st_mtime_nsec as i64) == stub.after;
    rustix::fs::unlinkat(&parent, name, if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() })?;
    if untouched {
        let time = Timespec { tv_sec: stub.before.0, tv_nsec: stub.before.1 as _ };
        rustix::fs::futimens(&parent, &Timestamps { last_access: time, last_modification: time })?;
    }
    Ok(())
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(first) = self.first.take() {
            let _ = sys::send_signal_to(&first, libc::SIGKILL);
            let _ = rustix::process::waitid(WaitId::PidFd(first.as_fd()), WaitIdOptions::EXITED);
        }
        let _ = self.launcher.wait();
    }
}

/// Starts `spec` in a new sandbox. Returns once process 1 exists; set-up failures come from [`Launched::wait`] (with
/// [`Streams::Terminal`], once the terminal exists).
pub fn launch(spec: &Spec, streams: Streams) -> Result<Launched, SandboxError> {
    let launcher_failed = |e: io::Error| SandboxError::Launcher(e.to_string());
    remember_oom_kills();
    let program = sealed_program()?;
    let (ours, theirs) = UnixStream::pair().map_err(launcher_failed)?;
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    // Neither pre_exec nor ids nor a working directory: any of those makes the standard library fork this whole
    // process instead of posix_spawn(3), which costs milliseconds with a large heap.
    command.arg0("rbuild").arg(init::LAUNCH).env_clear().stdin(OwnedFd::from(theirs));
    let output = || match streams {
        Streams::Piped => Stdio::piped(),
        Streams::Output | Streams::Inherited => Stdio::inherit(),
        Streams::Terminal => Stdio::null(),
    };
    let mut launcher = command.stdout(output()).stderr(output()).spawn().map_err(launcher_failed)?;
    // The child's end must not stay open here, or the end of the stream would never come.
    drop(command);
    let (stdout, stderr) = (launcher.stdout.take(), launcher.stderr.take());
    let plain_root = if let RootMount::Dir(path) = &spec.root { Some(path.clone()) } else { None };
    let mut running = Running { launcher, socket: ours, first: None, reports: Vec::new(), plain_root };
    let stdin = io::stdin();
    let descriptor = (streams == Streams::Inherited).then(|| stdin.as_fd());
    let sent = if streams == Streams::Terminal && !spec.tty {
        wire::send(&running.socket, &Spec { tty: true, ..spec.clone() }, descriptor)
    } else {
        wire::send(&running.socket, spec, descriptor)
    };
    // A launcher that died before it read everything: its own report, or its status, says more than this error.
    let _ = sent;
    running.read_until(|report| matches!(report, Report::Started { .. })).map_err(launcher_failed)?;
    if let Some(Report::Started { pid }) = running.reports.last()
        && let Some(pid) = Pid::from_raw(*pid)
    {
        let first = rustix::process::pidfd_open(pid, PidfdFlags::empty());
        running.first = Some(first.map_err(|e| launcher_failed(e.into()))?);
    }
    let mut terminal = None;
    if streams == Streams::Terminal {
        terminal = running.read_until(|report| matches!(report, Report::Terminal)).map_err(launcher_failed)?;
    }
    Ok(Launched { stdout, stderr, terminal: terminal.map(File::from), running })
}

/// This program as a file that nobody can write to, not even root of a sandbox by way of `/proc/PID/exe` of a process
/// that was made to execute it: a read-only mount of its own, or where that can't be had, a sealed copy in memory.
fn sealed_program() -> Result<&'static OwnedFd, SandboxError> {
    static PROGRAM: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(program) = PROGRAM.get() {
        return Ok(program);
    }
    let made = readonly_mount_of_program()
        .or_else(|_| sealed_copy_of_program())
        .map_err(|e| SandboxError::Launcher(format!("cannot seal the program: {e}")))?;
    Ok(PROGRAM.get_or_init(|| made))
}

fn readonly_mount_of_program() -> io::Result<OwnedFd> {
    // By path: the mount that /proc/self/exe is on belongs to the namespace that the program was started in.
    let path = std::env::current_exe()?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, &path, flags)?;
    let (found, running) = (rustix::fs::fstat(&tree)?, rustix::fs::stat("/proc/self/exe")?);
    if (found.st_dev, found.st_ino) != (running.st_dev, running.st_ino) {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    sys::set_mount_attributes(&tree, false, libc::MOUNT_ATTR_RDONLY, 0)?;
    Ok(tree)
}

fn sealed_copy_of_program() -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let copy = rustix::fs::memfd_create("rbuild", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(copy);
    io::copy(&mut File::open("/proc/self/exe")?, &mut copy)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    Ok(copy.into())
}

/// The kernel's count of processes killed for memory, when last looked at.
static OOM_KILLS: AtomicU64 = AtomicU64::new(u64::MAX);

fn remember_oom_kills() {
    if OOM_KILLS.load(Ordering::Relaxed) == u64::MAX {
        OOM_KILLS.store(oom_kills(), Ordering::Relaxed);
    }
}

fn oom_kills() -> u64 {
    let counters = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    counters.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
}

/// The kernel does not tell a process killed for memory from one killed by kill(1); that it killed some for memory
/// since the last time is taken to mean this one.
fn killed(signal: i32) -> Exit {
    let mut oom = false;
    if signal == libc::SIGKILL {
        let now = oom_kills();
        oom = now > OOM_KILLS.swap(now, Ordering::Relaxed);
    }
    Exit::Signal { signal, oom }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::StatVfsMountFlags;
    use std::io::Write;

    #[test]
    fn nobody_can_write_to_the_program_that_sandboxes_are_started_with() {
        let write = |fd: &OwnedFd| {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            File::options().write(true).open(path).and_then(|mut file| file.write_all(b"x"))
        };
        assert_eq!(write(&sealed_copy_of_program().unwrap()).unwrap_err().raw_os_error(), Some(libc::EPERM));
        // The mount takes a privilege that the test may lack; where it is made it holds.
        match readonly_mount_of_program() {
            // Writing to it tells nothing here: this very file is being executed, which alone forbids it.
            Ok(mount) => assert!(rustix::fs::fstatvfs(mount).unwrap().f_flag.contains(StatVfsMountFlags::RDONLY)),
            Err(e) => assert_eq!(e.raw_os_error(), Some(libc::EPERM)),
        }
    }

    #[test]
    fn a_stub_that_was_put_to_use_stays_and_times_come_back_where_nothing_else_happened() {
        let dir = tempfile::tempdir().unwrap();
        let root = crate::base::root::Root::open(dir.path()).unwrap();
        let time = |path: &std::path::Path| {
            let stat = rustix::fs::stat(path).unwrap();
            (stat.st_mtime, stat.st_mtime_nsec as i64)
        };
        let before = time(dir.path());
        let stub = |name: &str| {
            let inode = Inode::of(&root, std::ffi::OsStr::new(name)).unwrap();
            Stub { path: name.into(), inode, before, after: time(dir.path()) }
        };
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(dir.path().join("file"), "").unwrap();
        let empty = stub("file");
        remove_stub(&root, &empty).unwrap();
        assert!(!dir.path().join("file").exists());
        assert_eq!(time(dir.path()), before);

        std::fs::write(dir.path().join("file"), "").unwrap();
        let used = stub("file");
        std::fs::write(dir.path().join("file"), "contents").unwrap();
        remove_stub(&root, &used).unwrap();
        assert!(dir.path().join("file").exists());

        std::fs::remove_file(dir.path().join("file")).unwrap();
        std::fs::create_dir(dir.path().join("file")).unwrap();
        remove_stub(&root, &used).unwrap();
        assert!(dir.path().join("file").is_dir(), "another inode of that name is not the stub");
    }
}
