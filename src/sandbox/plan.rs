//! Spec → ordered list of mounts: pure, so that it can be tested without privilege.

use super::spec::{Mount, Spec, Upper};
use std::path::PathBuf;

/// One thing put at a path of the new root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Absolute path inside.
    pub target: String,
    /// What.
    pub what: What,
}

/// What is put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A new instance of a kernel file system.
    Fresh {
        /// Its type.
        kind: &'static str,
        /// Its options.
        options: Vec<(&'static str, String)>,
        /// Programs in it may be executed.
        exec: bool,
        /// Device nodes in it work.
        devices: bool,
        /// The kernel may refuse it and the sandbox be made all the same.
        optional: bool,
    },
    /// The kernel's device tree, read-only.
    Sys,
    /// The control groups of the sandbox, read-only, where the host has the unified hierarchy.
    Cgroups,
    /// One of the harmless character devices, with this major and minor number.
    Device(u32, u32),
    /// A symbolic link.
    Link(&'static str),
    /// A file in memory.
    File {
        /// Contents.
        data: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A host file or directory.
    Bind {
        /// Host path.
        source: PathBuf,
        /// No writing.
        readonly: bool,
    },
    /// Host directories stacked as an overlay.
    Overlay {
        /// Bottom first.
        lowers: Vec<PathBuf>,
        /// Where writes go; `None`: to memory.
        upper: Option<Upper>,
        /// The directory of the stack that is shown.
        path: String,
        /// No writing once all mounts are made.
        readonly: bool,
    },
    /// What an earlier entry of the plan put at this target.
    Again {
        /// That target.
        of: String,
    },
    /// Covered: a file reads as empty, a directory is empty. Nothing where there is nothing.
    Masked,
    /// The same again, read-only. Nothing where there is nothing.
    ReadOnly,
}

impl What {
    /// Whether a mount point that is missing is a directory (`None`: it depends on the source, or none is made).
    pub fn needs_directory(&self) -> Option<bool> {
        match self {
            What::Fresh { .. } | What::Sys | What::Overlay { .. } | What::Again { .. } => Some(true),
            What::File { .. } | What::Device(..) => Some(false),
            What::Cgroups | What::Bind { .. } | What::Link(_) | What::Masked | What::ReadOnly => None,
        }
    }
}

/// Paths that tell of or reach at the host's kernel and devices, which namespaces do not part.
const MASKED: [&str; 19] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
    "/sys/kernel/notes",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
];

/// Kernel settings, to be read only.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Devices without any state of the host's: name, major, minor.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The mounts of a sandbox in the order they are made. `resolv_conf`: the host's, for a spec that has none of its own.
pub fn plan(spec: &Spec, resolv_conf: &[u8]) -> Vec<Placed> {
    let mut out = Vec::with_capacity(64);
    let mut put = |target: String, what: What| out.push(Placed { target, what });
    let fresh = |kind, options: &[(&'static str, String)], exec, devices, optional| What::Fresh {
        kind,
        options: options.to_vec(),
        exec,
        devices,
        optional,
    };
    put("/proc".into(), fresh("proc", &[], false, false, false));
    put("/dev".into(), fresh("tmpfs", &[("mode", "755".into()), ("size", "64k".into())], false, true, false));
    for (name, major, minor) in DEVICES {
        put(format!("/dev/{name}"), What::Device(major, minor));
    }
    for (name, target) in LINKS {
        put(format!("/dev/{name}"), What::Link(target));
    }
    // No `gid=5`: the group need not be in the map of ids, and programs that care are set-id no more.
    let pts = [("ptmxmode", "666".into()), ("mode", "620".into())];
    put("/dev/pts".into(), fresh("devpts", &pts, false, true, false));
    let shm = [("mode", "1777".into()), ("size", spec.shm_size.to_string())];
    put("/dev/shm".into(), fresh("tmpfs", &shm, false, false, false));
    put("/dev/mqueue".into(), fresh("mqueue", &[], false, false, true));
    put("/sys".into(), What::Sys);
    put("/sys/fs/cgroup".into(), What::Cgroups);
    if !spec.unmasked {
        MASKED.iter().for_each(|path| put((*path).into(), What::Masked));
        READ_ONLY.iter().for_each(|path| put((*path).into(), What::ReadOnly));
    }
    let mut file = |name: &str, data: Vec<u8>| {
        put(format!("/etc/{name}"), What::File { data, mode: 0o644, uid: 0, gid: 0 });
    };
    file("resolv.conf", spec.resolv_conf.as_ref().map_or_else(|| resolv_conf.to_vec(), |s| s.clone().into_bytes()));
    file("hosts", spec.hosts.clone().into_bytes());
    file("hostname", format!("{}\n", spec.hostname).into_bytes());
    for mount in &spec.mounts {
        put(target_of(mount).to_owned(), ours(mount));
    }
    // A later mount at the same path replaces an earlier file (`-v ./hosts:/etc/hosts`) and the memory of /dev/shm.
    let last: Vec<bool> = (0..out.len())
        .map(|i| {
            let earlier: &Placed = &out[i];
            let replaceable = matches!(earlier.what, What::File { .. }) || earlier.target == "/dev/shm";
            !replaceable || out[i + 1..].iter().all(|p| p.target != earlier.target)
        })
        .collect();
    let mut keep = last.into_iter();
    out.retain(|_| keep.next().unwrap_or(true));
    out
}

fn target_of(mount: &Mount) -> &str {
    match mount {
        Mount::Bind { target, .. }
        | Mount::Overlay { target, .. }
        | Mount::Again { target, .. }
        | Mount::Tmpfs { target, .. }
        | Mount::File { target, .. } => target,
    }
}

fn ours(mount: &Mount) -> What {
    match mount {
        Mount::Bind { source, readonly, .. } => What::Bind { source: source.clone(), readonly: *readonly },
        Mount::Overlay { lowers, upper, path, readonly, .. } => {
            What::Overlay { lowers: lowers.clone(), upper: upper.clone(), path: path.clone(), readonly: *readonly }
        }
        Mount::Again { of, .. } => What::Again { of: of.clone() },
        Mount::Tmpfs { size, mode, .. } => {
            let mut options = vec![("mode", format!("{mode:o}"))];
            options.extend(size.map(|bytes| ("size", bytes.to_string())));
            What::Fresh { kind: "tmpfs", options, exec: true, devices: false, optional: false }
        }
        Mount::File { data, mode, uid, gid, .. } => {
            What::File { data: data.clone(), mode: *mode, uid: *uid, gid: *gid }
        }
    }
}

/// Whether `target` lies in something that an earlier entry of the plan puts there, so that its mount point is no
/// matter of the root's.
pub fn inside_earlier(plan: &[Placed], index: usize) -> bool {
    let target = &plan[index].target;
    plan[..index].iter().any(|earlier| {
        matches!(
            earlier.what,
            What::Fresh { .. } | What::Sys | What::Bind { .. } | What::Overlay { .. } | What::Again { .. }
        ) && target.strip_prefix(earlier.target.as_str()).is_some_and(|rest| rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Network;
    use crate::snapshot::RootMount;

    fn spec(mounts: Vec<Mount>) -> Spec {
        Spec {
            root: RootMount::Dir("/r".into()),
            readonly_root: false,
            mounts,
            argv: vec!["true".into()],
            env: vec![],
            cwd: "/".into(),
            make_cwd: false,
            uid: 0,
            gid: 0,
            groups: vec![],
            hostname: "box".into(),
            network: Network::Host,
            capabilities: vec![],
            seccomp: true,
            unmasked: false,
            init: true,
            tty: false,
            shm_size: 1 << 26,
            resolv_conf: None,
            hosts: String::new(),
            limits: Vec::new(),
            oom_score_adj: 0,
        }
    }

    fn position(plan: &[Placed], target: &str) -> usize {
        plan.iter().position(|p| p.target == target).unwrap_or_else(|| panic!("{target} is planned"))
    }

    #[test]
    fn covers_come_after_what_they_cover_and_the_callers_mounts_come_last() {
        let plan = plan(&spec(vec![Mount::Tmpfs { target: "/run".into(), size: None, mode: 0o755 }]), b"");
        assert!(position(&plan, "/proc") < position(&plan, "/proc/kcore"));
        assert!(position(&plan, "/proc") < position(&plan, "/proc/sys"));
        assert!(position(&plan, "/sys") < position(&plan, "/sys/firmware"));
        assert!(position(&plan, "/dev") < position(&plan, "/dev/null"));
        // Masked files are covered with the sandbox's own null device.
        assert!(position(&plan, "/dev/null") < position(&plan, "/proc/kcore"));
        assert_eq!(position(&plan, "/run"), plan.len() - 1);
    }

    #[test]
    fn an_unmasked_sandbox_hides_nothing() {
        let all = plan(&Spec { unmasked: true, ..spec(vec![]) }, b"");
        assert!(all.iter().all(|placed| !matches!(placed.what, What::Masked | What::ReadOnly)));
        assert!(plan(&spec(vec![]), b"").iter().any(|placed| placed.what == What::Masked));
    }

    #[test]
    fn a_callers_mount_replaces_a_default_file_at_the_same_path() {
        let own = Mount::Bind { source: "/h".into(), target: "/etc/hosts".into(), readonly: true };
        let plan = plan(&spec(vec![own]), b"");
        let at: Vec<_> = plan.iter().filter(|p| p.target == "/etc/hosts").collect();
        assert!(matches!(at[..], [Placed { what: What::Bind { .. }, .. }]));
    }

    #[test]
    fn the_hosts_resolver_is_used_unless_the_spec_has_its_own() {
        let data = |spec: &Spec| match plan(spec, b"host").into_iter().find(|p| p.target == "/etc/resolv.conf") {
            Some(Placed { what: What::File { data, .. }, .. }) => data,
            other => panic!("{other:?}"),
        };
        let mut spec = spec(vec![]);
        assert_eq!(data(&spec), b"host");
        spec.resolv_conf = Some("own".into());
        assert_eq!(data(&spec), b"own");
    }

    #[test]
    fn mount_points_inside_other_mounts_are_told_from_those_of_the_root() {
        let plan = plan(
            &spec(vec![
                Mount::Tmpfs { target: "/run".into(), size: None, mode: 0o755 },
                Mount::File { target: "/run/secrets/a".into(), data: vec![], mode: 0o400, uid: 0, gid: 0 },
                Mount::File { target: "/running".into(), data: vec![], mode: 0o400, uid: 0, gid: 0 },
            ]),
            b"",
        );
        for (target, inside) in
            [("/proc", false), ("/dev/shm", true), ("/run/secrets/a", true), ("/running", false), ("/etc/hosts", false)]
        {
            assert_eq!(inside_earlier(&plan, position(&plan, target)), inside, "{target}");
        }
    }
}
