//! Signal names for STOPSIGNAL: `SIGTERM`, `TERM`, `15`, `RTMIN+3` (signal(7); numbers are x86's and arm's).

/// Standard signals that docker knows by name.
pub const NAMES: [&str; 37] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX", "UNUSED",
];

/// Whether `text` names a signal.
pub fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u32>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if NAMES.contains(&name) {
        return true;
    }
    // 34 (RTMIN) to 64 (RTMAX), counted from either end as bash's `kill -l` lists them.
    let counted = |prefix: &str, limit: u32| {
        name.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| (1..=limit).contains(&n))
    };
    counted("RTMIN+", 15) || counted("RTMAX-", 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_known() {
        for good in ["SIGTERM", "term", "9", "64", "SIGRTMIN+3", "RTMAX-14", "sigwinch"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["", "0", "65", "-1", "SIGTREM", "RTMIN+16", "RTMIN+", "RTMAX-15"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
