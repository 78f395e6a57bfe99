//! The few raw system calls that no crate wraps: the only unsafe code.
#![allow(unsafe_code)]

use rustix::process::Pid;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Makes name look-ups of this process read `/etc/hosts` and ask DNS, whatever `/etc/nsswitch.conf` says. A static glibc
/// would load the modules named there as shared objects, and with them a second C library. Before the first look-up.
#[cfg(target_env = "gnu")]
pub fn use_own_name_services() {
    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const libc::c_char, services: *const libc::c_char) -> libc::c_int;
    }
    // SAFETY: both are static C strings, which glibc (nss.h) copies; it takes its own lock. A failure leaves things as
    // they were.
    let _ = unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
}

/// Other C libraries have no such modules.
#[cfg(not(target_env = "gnu"))]
pub fn use_own_name_services() {}

/// Closes every descriptor from `first` on: what a launcher inherited without being meant to. Only for a process that
/// has not opened any yet, so that nothing owns them.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: no pointers. That no owner of a descriptor is left behind is the caller's promise, and a closed
    // descriptor is an error to its user, not undefined behaviour.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })?;
    Ok(())
}

/// Marks every descriptor from `first` on close-on-exec (close_range(2)).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: no pointers; changes descriptor flags only, closes nothing.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Which side of a fork the caller is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one, and the new one's id.
    Parent(Pid),
}

fn fork_result(pid: libc::c_long) -> io::Result<Fork> {
    Ok(Pid::from_raw(check(pid)? as i32).map_or(Fork::Child, Fork::Parent))
}

/// fork(2). Only for a process with a single thread: in any other the child could find locks (of the allocator, say)
/// held by threads that it does not have.
///
/// # Errors
/// `EBUSY` when there are more threads.
pub fn fork() -> io::Result<Fork> {
    only_thread()?;
    // SAFETY: there is no other thread, so the child is a full copy of a consistent process.
    fork_result(libc::c_long::from(unsafe { libc::fork() }))
}

/// clone(2) as a fork into the new namespaces `flags` (`CLONE_NEW*`). The child is the *caller's parent's* child
/// (`CLONE_PARENT`), which therefore reaps it and may signal it without a race. Only for a single thread, as [`fork`].
pub fn fork_into_namespaces(flags: i32) -> io::Result<Fork> {
    only_thread()?;
    let flags = libc::c_long::from(flags | libc::CLONE_PARENT | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with a null stack this is fork(2), and there is no other thread. The remaining
    // arguments (thread ids, TLS) are not looked at without their flags.
    let none = std::ptr::null::<libc::c_void>();
    fork_result(unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) })
}

fn only_thread() -> io::Result<()> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, |tasks| tasks.take(2).count());
    if threads == 1 { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EBUSY)) }
}

/// Ends the process at once: no exit handlers, which belong to the process this one was forked from.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

/// mount_setattr(2) on the mount that `fd` is the root of; `set` and `clear` are `MOUNT_ATTR_*` bits.
pub fn set_mount_attributes(fd: impl AsFd, recursive: bool, set: u64, clear: u64) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a static C string and the structure lives through the call with its true size.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Installs a filter for this thread and all it starts (seccomp(2)). Without `no_new_privs`, so it takes
/// `CAP_SYS_ADMIN` in the thread's user namespace.
pub fn install_seccomp(program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions, which the slice has; it does not write to them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) })?;
    Ok(())
}

/// Gives the process a new, anonymous session keyring (keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`).
pub fn join_new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; nothing is dereferenced.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) })?;
    Ok(())
}

/// Brings the loopback device of this network namespace up.
pub fn bring_up_loopback() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: ifreq is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives through the call; the name is NUL-terminated.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into())?;
    Ok(())
}

/// Sets every signal back to its default action and unblocks all: a new program starts as if from a login, whatever
/// this one ignored (Rust's runtime ignores SIGPIPE) or inherited as ignored.
pub fn reset_signals() {
    // SAFETY: SIG_DFL installs no handler; numbers that can't be set are refused, which is fine. The empty mask is
    // initialised by sigemptyset before use.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Blocks every signal, to take them with [`next_signal`].
pub fn block_signals() {
    // SAFETY: the mask is initialised by sigfillset before use.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// Waits for any (blocked) signal and takes it. `None` when the wait was cut short.
pub fn next_signal() -> Option<i32> {
    // SAFETY: the mask is initialised by sigfillset before use; a null siginfo is allowed.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        let signal = libc::sigwaitinfo(&raw const all, std::ptr::null_mut());
        (signal > 0).then_some(signal)
    }
}

/// kill(2) by number: real-time signals too, which the typed wrappers leave out.
pub fn send_signal(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::kill(pid.as_raw_pid(), signal) }.into())?;
    Ok(())
}

/// pidfd_send_signal(2) by number.
pub fn send_signal_to(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: a null siginfo is allowed and means "as kill(2) would".
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, std::ptr::null::<libc::siginfo_t>(), 0) })?;
    Ok(())
}
