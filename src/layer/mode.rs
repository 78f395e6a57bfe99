//! `--chmod`: octal or symbolic modes (chmod(1), umask 0).

/// A change of permission bits, as `--chmod` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModeChange {
    /// These bits exactly.
    Absolute(u32),
    /// One symbolic change after the other.
    Symbolic(Vec<Clause>),
}

/// One `who op what` of a symbolic mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clause {
    /// The bits that may change: all of the named classes.
    affected: u32,
    op: Op,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Bits of every class, and whether `X` was among the letters.
    Bits { bits: u32, search: bool },
    /// What the class whose bits lie this far left has now.
    CopyOf { shift: u32 },
}

/// A text that is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a file mode: {reason}")]
pub struct ModeError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o1007;
const ALL: u32 = 0o7777;
const SET_ID: u32 = 0o6000;

/// Reads an octal (`755`, `0o1777` is not one) or symbolic (`u=rwX,go-w`) mode.
pub fn parse_mode(text: &str) -> Result<ModeChange, ModeError> {
    let bad = |reason| ModeError { text: text.to_owned(), reason };
    if text.is_empty() {
        return Err(bad("it is empty"));
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= ALL => Ok(ModeChange::Absolute(mode)),
            _ => Err(bad("an octal mode lies between 0 and 7777")),
        };
    }
    let mut clauses = Vec::new();
    for part in text.split(',') {
        parse_part(part.as_bytes(), &mut clauses).map_err(bad)?;
    }
    Ok(ModeChange::Symbolic(clauses))
}

/// `[ugoa]*` followed by one or more `[-+=]` with `[rwxXst]*` or one of `[ugo]`.
fn parse_part(part: &[u8], clauses: &mut Vec<Clause>) -> Result<(), &'static str> {
    let ops = part.iter().position(|b| b"+-=".contains(b)).ok_or("an operator (+, - or =) is missing")?;
    let mut affected = 0;
    for class in &part[..ops] {
        affected |= match class {
            b'u' => USER,
            b'g' => GROUP,
            b'o' => OTHER,
            b'a' => ALL,
            _ => return Err("the classes are u, g, o and a"),
        };
    }
    if ops == 0 {
        affected = ALL;
    }
    let mut rest = &part[ops..];
    while let Some((op, after)) = rest.split_first() {
        let op = match op {
            b'+' => Op::Add,
            b'-' => Op::Remove,
            _ => Op::Set,
        };
        let end = after.iter().position(|b| b"+-=".contains(b)).unwrap_or(after.len());
        clauses.push(Clause { affected, op, what: parse_what(&after[..end])? });
        rest = &after[end..];
    }
    Ok(())
}

fn parse_what(letters: &[u8]) -> Result<What, &'static str> {
    match letters {
        b"u" => return Ok(What::CopyOf { shift: 6 }),
        b"g" => return Ok(What::CopyOf { shift: 3 }),
        b"o" => return Ok(What::CopyOf { shift: 0 }),
        _ => {}
    }
    let (mut bits, mut search) = (0, false);
    for letter in letters {
        match letter {
            b'r' => bits |= 0o444,
            b'w' => bits |= 0o222,
            b'x' => bits |= 0o111,
            b'X' => search = true,
            b's' => bits |= SET_ID,
            b't' => bits |= 0o1000,
            _ => return Err("the permissions are r, w, x, X, s, t, or one of u, g, o"),
        }
    }
    Ok(What::Bits { bits, search })
}

impl ModeChange {
    /// The mode (`0..=0o7777`) that a file or directory of mode `old` gets.
    pub fn apply(&self, old: u32, is_dir: bool) -> u32 {
        match self {
            ModeChange::Absolute(mode) => *mode,
            ModeChange::Symbolic(clauses) => clauses.iter().fold(old & ALL, |mode, clause| clause.apply(mode, is_dir)),
        }
    }
}

impl Clause {
    fn apply(self, mode: u32, is_dir: bool) -> u32 {
        let value = match self.what {
            What::Bits { bits, search } if search && (is_dir || mode & 0o111 != 0) => bits | 0o111,
            What::Bits { bits, .. } => bits,
            What::CopyOf { shift } => ((mode >> shift) & 0o7) * 0o111,
        };
        match self.op {
            Op::Add => mode | (value & self.affected),
            Op::Remove => mode & !(value & self.affected),
            Op::Set => {
                // As GNU chmod: `=` leaves a directory's set-id bits alone unless it names them.
                let kept = if is_dir { SET_ID & !value } else { 0 };
                let cleared = self.affected & !kept;
                (mode & !cleared) | (value & self.affected)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_chmod_does_with_umask_0() {
        for (text, old, is_dir, new) in [
            ("755", 0o644, false, 0o755),
            ("0", 0o644, false, 0),
            ("04755", 0o644, false, 0o4755),
            ("+x", 0o644, false, 0o755),
            ("u+x", 0o644, false, 0o744),
            ("go-rwx", 0o755, false, 0o700),
            ("a=rX", 0o644, false, 0o444),
            ("a=rX", 0o744, false, 0o555),
            ("a=rX", 0o600, true, 0o555),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("g=u", 0o740, false, 0o770),
            ("o=g,g=", 0o750, false, 0o705),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("+s", 0o755, false, 0o6755),
            ("o+s", 0o755, false, 0o755),
            ("+t", 0o777, true, 0o1777),
            ("o+t", 0o777, true, 0o1777),
            ("u+t", 0o777, true, 0o777),
            ("u=rw", 0o4755, false, 0o655),
            ("g=rx", 0o2755, true, 0o2755),
            ("u-s+w", 0o4555, false, 0o755),
            ("=", 0o777, false, 0),
        ] {
            let change = parse_mode(text).unwrap();
            assert_eq!(change.apply(old, is_dir), new, "{text} on {old:o}, got {:o}", change.apply(old, is_dir));
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "888", "10000", "7z", "rwx", "u", "q+x", "u+q", "u+x,", "u=gr", "0o755", "-1"] {
            assert!(parse_mode(text).is_err(), "{text}");
        }
    }
}
