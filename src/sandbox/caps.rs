//! Capability sets: what a step keeps (capabilities(7)).

use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;

/// What a step or container keeps unless told otherwise: docker's list without MKNOD, NET_RAW and AUDIT_WRITE. Enough
/// for package managers (chown, set-id files, file capabilities, system users, chroot), nothing that reaches out of
/// the namespaces.
pub const DEFAULT: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "SETFCAP",
];

/// Names in the order of their numbers (linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// [`DEFAULT`] as the owned list that a [`super::Spec`] has.
pub fn default_names() -> Vec<String> {
    DEFAULT.map(str::to_owned).to_vec()
}

/// Every capability there is, for `RUN --security=insecure`.
pub fn all_names() -> Vec<String> {
    NAMES.map(str::to_owned).to_vec()
}

/// The set of the named capabilities (`CHOWN` or `CAP_CHOWN`, any case); the first unknown name as the error.
pub fn parse(names: &[String]) -> Result<CapabilitySet, String> {
    let mut set = CapabilitySet::empty();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match NAMES.iter().position(|known| *known == bare) {
            Some(number) => set |= CapabilitySet::from_bits_retain(1 << number),
            None => return Err(name.clone()),
        }
    }
    Ok(set)
}

/// Takes everything but `keep` out of the bounding set, for good. Needs SETPCAP.
pub fn bound(keep: CapabilitySet) -> io::Result<()> {
    for number in 0..NAMES.len() {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if !keep.contains(one) {
            match rustix::thread::remove_capability_from_bounding_set(one) {
                // A kernel that does not know this capability has none to drop.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(())
}

/// Makes `keep` the effective and permitted set, as far as the process has it, and empties the inheritable and
/// ambient ones.
pub fn limit(keep: CapabilitySet) -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    let have = rustix::thread::capabilities(None)?.permitted;
    let keep = keep & have;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_is_the_documented_mask() {
        assert_eq!(parse(&default_names()).unwrap().bits(), 0x8004_05fb);
    }

    #[test]
    fn names_are_read_with_and_without_prefix_and_unknown_ones_are_named() {
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(parse(&names(&["CAP_MKNOD", "net_raw"])).unwrap(), CapabilitySet::MKNOD | CapabilitySet::NET_RAW);
        assert_eq!(parse(&names(&["CHOWN", "MKNODE"])), Err("MKNODE".to_owned()));
    }

    #[test]
    fn the_name_table_agrees_with_the_kernel_headers() {
        for (number, set) in [
            (0, CapabilitySet::CHOWN),
            (21, CapabilitySet::SYS_ADMIN),
            (27, CapabilitySet::MKNOD),
            (31, CapabilitySet::SETFCAP),
            (40, CapabilitySet::CHECKPOINT_RESTORE),
        ] {
            assert_eq!(parse(&[NAMES[number].to_owned()]).unwrap(), set);
        }
    }
}
