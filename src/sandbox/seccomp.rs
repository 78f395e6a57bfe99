//! The system call filter (seccomp(2), BPF): three answers. What ordinary programs need is allowed. What reaches at the
//! kernel or out of the namespaces is `EPERM`, as without the privilege for it. All else, above all calls newer than
//! this table, is `ENOSYS`, so that programs fall back as they do on an older kernel. Calls by a foreign ABI (i386 or
//! x32 on x86-64, arm on arm64), whose numbers this table does not speak about, kill the process.
//!
//! The table goes by number into a balanced tree of comparisons; a few calls are decided by their arguments.

use libc::{c_long, sock_filter};
use rustix::thread::CapabilitySet;

mod table;

#[cfg(target_arch = "x86_64")]
const NATIVE_ABI: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE_ABI: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const NATIVE_ABI: u32 = 0xc000_00f3;

/// x32 calls have the native ABI's token and this bit in their number.
const X32_BIT: u32 = 0x4000_0000;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

const fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Always this (a `SECCOMP_RET_*` value).
    Return(u32),
    /// The first matching test decides, else the last value.
    Tests(Vec<(Test, u32)>, u32),
}

/// A test of one argument's low 32 bits, which is all that the kernel looks at in the arguments tested here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    /// `args[arg] == value`.
    Equals(u32, u32),
    /// `args[arg] & mask != 0`.
    AnyOf(u32, u32),
    /// `args[arg] & mask == value`.
    Masked(u32, u32, u32),
    /// `args[a] == x && args[b] == y`.
    Both((u32, u32), (u32, u32)),
}

const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
/// In clone(2) this bit belongs to the exit signal, in unshare(2) it asks for a time namespace.
const CLONE_NEWTIME: u32 = 0x80;

/// Execution domains that change nothing that matters: Linux, Linux with a 32-bit uname, both with UNAME26, and the
/// question "which is it now?". The others turn protections (address randomisation, `NULL` mapping) off.
const HARMLESS_PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The calls that are decided by their arguments. `kept`: the process's capabilities.
fn conditional(kept: CapabilitySet) -> Vec<(c_long, Verdict)> {
    const EPERM: u32 = errno(libc::EPERM);
    // Opening a device node is stopped by `nodev`, but a node in a layer may be opened elsewhere.
    let node = |argument| {
        if kept.contains(CapabilitySet::MKNOD) {
            return Verdict::Return(ALLOW);
        }
        let tests = [libc::S_IFCHR, libc::S_IFBLK].map(|t| (Test::Masked(argument, libc::S_IFMT, t), EPERM));
        Verdict::Tests(tests.to_vec(), ALLOW)
    };
    let mut socket =
        vec![(Test::Equals(0, libc::AF_ALG as u32), EPERM), (Test::Equals(0, libc::AF_VSOCK as u32), EPERM)];
    if !kept.contains(CapabilitySet::AUDIT_WRITE) {
        // libaudit takes EINVAL as "no audit in this kernel" and stands down; EPERM makes useradd and PAM fail.
        let audit = ((0, libc::AF_NETLINK as u32), (2, libc::NETLINK_AUDIT as u32));
        socket.push((Test::Both(audit.0, audit.1), errno(libc::EINVAL)));
    }
    let terminal = [libc::TIOCSTI as u32, libc::TIOCLINUX as u32].map(|request| (Test::Equals(1, request), EPERM));
    let personality = HARMLESS_PERSONALITIES.map(|domain| (Test::Equals(0, domain), ALLOW));
    let mut all = vec![
        (libc::SYS_clone, Verdict::Tests(vec![(Test::AnyOf(0, NEW_NAMESPACES), EPERM)], ALLOW)),
        (libc::SYS_unshare, Verdict::Tests(vec![(Test::AnyOf(0, NEW_NAMESPACES | CLONE_NEWTIME), EPERM)], ALLOW)),
        (libc::SYS_mknodat, node(2)),
        (libc::SYS_socket, Verdict::Tests(socket, ALLOW)),
        (libc::SYS_ioctl, Verdict::Tests(terminal.to_vec(), ALLOW)),
        (libc::SYS_personality, Verdict::Tests(personality.to_vec(), EPERM)),
    ];
    #[cfg(target_arch = "x86_64")]
    all.push((libc::SYS_mknod, node(1)));
    all
}

/// The filter for a process that keeps these capabilities.
pub fn program(kept: CapabilitySet) -> Vec<sock_filter> {
    let mut calls: Vec<(u32, Verdict)> = Vec::new();
    calls.extend(table::ALLOWED.iter().map(|nr| (*nr as u32, Verdict::Return(ALLOW))));
    calls.extend(table::SHUT.iter().map(|nr| (*nr as u32, Verdict::Return(errno(libc::EPERM)))));
    calls.extend(conditional(kept).into_iter().map(|(nr, verdict)| (nr as u32, verdict)));
    calls.sort_by_key(|(nr, _)| *nr);
    let ranges = ranges(calls);
    let mut out = vec![load(ABI_OFFSET), jump(libc::BPF_JEQ, NATIVE_ABI, 1, 0), ret(KILL), load(NUMBER_OFFSET)];
    if cfg!(target_arch = "x86_64") {
        out.extend([jump(libc::BPF_JGE, X32_BIT, 0, 1), ret(KILL)]);
    }
    out.extend(search(&ranges));
    out
}

/// Runs of numbers with one verdict, covering everything from 0 on: the start of each.
fn ranges(calls: Vec<(u32, Verdict)>) -> Vec<(u32, Verdict)> {
    let unknown = || Verdict::Return(errno(libc::ENOSYS));
    let mut out: Vec<(u32, Verdict)> = vec![(0, unknown())];
    let mut next = 0;
    let mut put = |start: u32, verdict: Verdict| match out.last_mut() {
        Some(last) if last.0 == start => last.1 = verdict,
        Some(last) if last.1 == verdict => {}
        _ => out.push((start, verdict)),
    };
    for (nr, verdict) in calls {
        if nr > next {
            put(next, unknown());
        }
        put(nr, verdict);
        next = nr + 1;
    }
    put(next, unknown());
    out
}

// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ABI_OFFSET: u32 = 4;
const fn argument_offset(argument: u32) -> u32 {
    let low_half = if cfg!(target_endian = "little") { 0 } else { 4 };
    16 + 8 * argument + low_half
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn jump(condition: u32, value: u32, if_true: u8, if_false: u8) -> sock_filter {
    let code = (libc::BPF_JMP | condition | libc::BPF_K) as u16;
    sock_filter { code, jt: if_true, jf: if_false, k: value }
}

fn and(mask: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16, jt: 0, jf: 0, k: mask }
}

fn ret(value: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: value }
}

/// Code that ends with the verdict for the number in the accumulator, by binary search.
fn search(ranges: &[(u32, Verdict)]) -> Vec<sock_filter> {
    if let [(_, verdict)] = ranges {
        return decide(verdict);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (low_code, high_code) = (search(low), search(high));
    // A conditional jump reaches 255 instructions; an unconditional one any distance.
    let mut out = match u8::try_from(low_code.len()) {
        Ok(distance) => vec![jump(libc::BPF_JGE, high[0].0, distance, 0)],
        Err(_) => {
            let far =
                sock_filter { code: (libc::BPF_JMP | libc::BPF_JA) as u16, jt: 0, jf: 0, k: low_code.len() as u32 };
            vec![jump(libc::BPF_JGE, high[0].0, 0, 1), far]
        }
    };
    out.extend(low_code);
    out.extend(high_code);
    out
}

fn decide(verdict: &Verdict) -> Vec<sock_filter> {
    let (tests, otherwise) = match verdict {
        Verdict::Return(value) => return vec![ret(*value)],
        Verdict::Tests(tests, otherwise) => (tests, otherwise),
    };
    let mut out = Vec::new();
    for (test, value) in tests {
        match *test {
            Test::Equals(argument, wanted) => {
                out.extend([load(argument_offset(argument)), jump(libc::BPF_JEQ, wanted, 0, 1)]);
            }
            Test::AnyOf(argument, mask) => {
                out.extend([load(argument_offset(argument)), jump(libc::BPF_JSET, mask, 0, 1)]);
            }
            Test::Masked(argument, mask, wanted) => {
                out.extend([load(argument_offset(argument)), and(mask), jump(libc::BPF_JEQ, wanted, 0, 1)]);
            }
            Test::Both((a, x), (b, y)) => out.extend([
                load(argument_offset(a)),
                jump(libc::BPF_JEQ, x, 0, 3),
                load(argument_offset(b)),
                jump(libc::BPF_JEQ, y, 0, 1),
            ]),
        }
        out.push(ret(*value));
    }
    out.push(ret(*otherwise));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would on one call.
    fn run(program: &[sock_filter], abi: u32, nr: u32, args: [u32; 6]) -> u32 {
        let word = |offset: u32| match offset {
            NUMBER_OFFSET => nr,
            ABI_OFFSET => abi,
            other => args[((other - 16) / 8) as usize],
        };
        let (mut at, mut a) = (0, 0);
        loop {
            let i = program[at];
            at += 1;
            let class = u32::from(i.code) & 7;
            if class == libc::BPF_LD {
                a = word(i.k);
            } else if class == libc::BPF_ALU {
                a &= i.k;
            } else if class == libc::BPF_RET {
                return i.k;
            } else {
                let holds = match u32::from(i.code) & 0xf0 {
                    x if x == libc::BPF_JEQ => a == i.k,
                    x if x == libc::BPF_JGE => a >= i.k,
                    x if x == libc::BPF_JSET => a & i.k != 0,
                    _ => {
                        at += i.k as usize;
                        continue;
                    }
                };
                at += usize::from(if holds { i.jt } else { i.jf });
            }
        }
    }

    fn verdict(nr: c_long, args: [u32; 6]) -> u32 {
        run(&program(CapabilitySet::empty()), NATIVE_ABI, nr as u32, args)
    }

    #[test]
    fn every_listed_call_gets_its_verdict_and_every_other_is_unknown() {
        let program = program(CapabilitySet::empty());
        let special: Vec<c_long> = conditional(CapabilitySet::empty()).into_iter().map(|(nr, _)| nr).collect();
        for nr in 0..1000 {
            if special.contains(&nr) {
                continue;
            }
            let expected = if table::ALLOWED.contains(&nr) {
                ALLOW
            } else if table::SHUT.contains(&nr) {
                errno(libc::EPERM)
            } else {
                errno(libc::ENOSYS)
            };
            assert_eq!(run(&program, NATIVE_ABI, nr as u32, [0; 6]), expected, "call {nr}");
        }
    }

    #[test]
    fn no_call_is_in_two_lists() {
        let special = conditional(CapabilitySet::empty());
        let mut all: Vec<c_long> = table::ALLOWED.iter().chain(table::SHUT).copied().collect();
        all.extend(special.iter().map(|(nr, _)| *nr));
        all.sort_unstable();
        for pair in all.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
    }

    #[test]
    fn arguments_decide_where_they_should() {
        let eperm = errno(libc::EPERM);
        let chr = libc::S_IFCHR | 0o666;
        let table: &[(c_long, [u32; 6], u32)] = &[
            (libc::SYS_clone, [libc::SIGCHLD as u32, 0, 0, 0, 0, 0], ALLOW),
            (libc::SYS_clone, [libc::CLONE_NEWUSER as u32 | 17, 0, 0, 0, 0, 0], eperm),
            (libc::SYS_unshare, [libc::CLONE_FILES as u32, 0, 0, 0, 0, 0], ALLOW),
            (libc::SYS_unshare, [libc::CLONE_NEWNS as u32, 0, 0, 0, 0, 0], eperm),
            (libc::SYS_clone3, [0; 6], errno(libc::ENOSYS)),
            (libc::SYS_mknodat, [0, 0, chr, 0, 0, 0], eperm),
            (libc::SYS_mknodat, [0, 0, libc::S_IFBLK, 0, 0, 0], eperm),
            (libc::SYS_mknodat, [0, 0, libc::S_IFIFO | 0o600, 0, 0, 0], ALLOW),
            (libc::SYS_socket, [libc::AF_INET as u32, 1, 0, 0, 0, 0], ALLOW),
            (libc::SYS_socket, [libc::AF_ALG as u32, 1, 0, 0, 0, 0], eperm),
            (libc::SYS_socket, [libc::AF_VSOCK as u32, 1, 0, 0, 0, 0], eperm),
            (libc::SYS_socket, [libc::AF_NETLINK as u32, 3, 9, 0, 0, 0], errno(libc::EINVAL)),
            (libc::SYS_socket, [libc::AF_NETLINK as u32, 3, 0, 0, 0, 0], ALLOW),
            (libc::SYS_ioctl, [0, libc::TIOCSTI as u32, 0, 0, 0, 0], eperm),
            (libc::SYS_ioctl, [0, libc::TIOCGWINSZ as u32, 0, 0, 0, 0], ALLOW),
            (libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0], ALLOW),
            (libc::SYS_personality, [libc::ADDR_NO_RANDOMIZE as u32, 0, 0, 0, 0, 0], eperm),
            (libc::SYS_mount, [0; 6], eperm),
            (libc::SYS_keyctl, [0; 6], eperm),
        ];
        for (nr, args, expected) in table {
            assert_eq!(verdict(*nr, *args), *expected, "call {nr} {args:?}");
        }
    }

    #[test]
    fn capabilities_of_the_caller_open_what_belongs_to_them() {
        let program = program(CapabilitySet::MKNOD | CapabilitySet::AUDIT_WRITE);
        let run = |nr: c_long, args| run(&program, NATIVE_ABI, nr as u32, args);
        assert_eq!(run(libc::SYS_mknodat, [0, 0, libc::S_IFCHR, 0, 0, 0]), ALLOW);
        assert_eq!(run(libc::SYS_socket, [libc::AF_NETLINK as u32, 3, 9, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn foreign_abis_are_killed() {
        let program = program(CapabilitySet::empty());
        const I386: u32 = 0x4000_0003;
        assert_eq!(run(&program, I386, libc::SYS_read as u32, [0; 6]), KILL);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(run(&program, NATIVE_ABI, X32_BIT, [0; 6]), KILL);
        }
    }
}
