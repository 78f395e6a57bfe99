//! What this host allows, and how to get more: the kernel's refusals put into words.

use super::SandboxError;
use std::io;

/// Settings that decide about user namespaces; `None` where the kernel has no such setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Settings {
    /// `kernel.unprivileged_userns_clone` (Debian's kernels before 6.x, some others).
    unprivileged_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu since 23.10).
    apparmor_restricts: Option<u64>,
    /// `user.max_user_namespaces`.
    max_user_namespaces: Option<u64>,
}

impl Settings {
    fn of_host() -> Settings {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok();
        Settings {
            unprivileged_clone: read("kernel/unprivileged_userns_clone"),
            apparmor_restricts: read("kernel/apparmor_restrict_unprivileged_userns"),
            max_user_namespaces: read("user/max_user_namespaces"),
        }
    }
}

/// The error for a user namespace that could not be made or gave no privilege in itself.
pub(super) fn user_namespace_refused(error: &io::Error) -> SandboxError {
    explain(error, Settings::of_host())
}

fn explain(error: &io::Error, settings: Settings) -> SandboxError {
    let host = |reason: String, help: &[&str]| SandboxError::Host {
        reason: format!("cannot enter a user namespace, which building without root needs: {reason}"),
        help: help.iter().map(|s| (*s).to_owned()).collect(),
    };
    if settings.max_user_namespaces == Some(0) {
        return host(
            "user.max_user_namespaces is 0".into(),
            &["as root: sysctl -w user.max_user_namespaces=15000", "or run rbuild as root"],
        );
    }
    if settings.unprivileged_clone == Some(0) {
        return host(
            "kernel.unprivileged_userns_clone is 0".into(),
            &["as root: sysctl -w kernel.unprivileged_userns_clone=1", "or run rbuild as root"],
        );
    }
    if settings.apparmor_restricts == Some(1) {
        return host(
            "AppArmor restricts it (kernel.apparmor_restrict_unprivileged_userns is 1)".into(),
            &[
                "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
                "or give rbuild an AppArmor profile that says 'userns,'",
                "or run rbuild as root",
            ],
        );
    }
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => host(
            error.to_string(),
            &[
                "in a container: it has to allow user namespaces (docker: --security-opt seccomp=unconfined)",
                "in a chroot: enter it by pivot_root, the kernel makes no user namespaces in a chroot",
                "or run rbuild as root",
            ],
        ),
        Some(libc::ENOSPC | libc::EUSERS) => host(
            "too many namespaces, or too deeply nested".into(),
            &["as root: raise user.max_user_namespaces and user.max_mnt_namespaces"],
        ),
        Some(libc::EINVAL) => host(
            "this kernel has no user namespaces".into(),
            &["use a kernel with CONFIG_USER_NS", "or run rbuild as root"],
        ),
        _ => host(error.to_string(), &[]),
    }
}

/// The error for a sandbox whose namespaces could not be made although the process is root (of some namespace).
pub(super) fn namespaces_refused(error: &io::Error) -> SandboxError {
    SandboxError::Host {
        reason: format!("cannot create the namespaces of a sandbox: {error}"),
        help: vec![
            "this process is root without the capability SYS_ADMIN, as in a container".into(),
            "run the container with it (docker: --privileged), or rbuild as an ordinary user in it".into(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_its_cause_and_a_remedy() {
        let none = Settings::default();
        let table = [
            (libc::EPERM, Settings { unprivileged_clone: Some(0), ..none }, "unprivileged_userns_clone is 0"),
            (libc::EACCES, Settings { apparmor_restricts: Some(1), ..none }, "AppArmor"),
            (libc::ENOSPC, Settings { max_user_namespaces: Some(0), ..none }, "max_user_namespaces is 0"),
            (libc::ENOSPC, Settings { max_user_namespaces: Some(9), ..none }, "too many namespaces"),
            (libc::EPERM, Settings { unprivileged_clone: Some(1), ..none }, "not permitted"),
            (libc::EINVAL, none, "no user namespaces"),
        ];
        for (errno, settings, expected) in table {
            match explain(&io::Error::from_raw_os_error(errno), settings) {
                SandboxError::Host { reason, help } => {
                    assert!(reason.contains(expected), "{reason}");
                    assert!(!help.is_empty(), "{reason}");
                }
                other => panic!("{other}"),
            }
        }
    }
}
