//! Rootless: the whole program moves into a user namespace with the subordinate id range (user_namespaces(7),
//! subuid(5), newuidmap(1)), so store, layers and steps all see the ids that images have.
//!
//! The process itself unshares, so no second one has to stay. The maps are written from outside by the set-id programs
//! newuidmap and newgidmap, which a short-lived child that was forked before runs.

use super::{SandboxError, probe, sys};
use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid};
use std::ffi::OsStr;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// How much of an image's ids the program can make on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rung {
    /// The program runs as root: all ids.
    Root,
    /// In a user namespace with the caller as root and a range of subordinate ids behind it.
    FullRange,
    /// In a user namespace with the caller as root and no other id: files of others can't be made.
    SingleId(Shortage),
}

/// Why there is no range of ids, and how to get one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// One sentence.
    pub reason: String,
    /// What to do.
    pub help: Vec<String>,
}

/// A range of subordinate ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: u32,
    count: u32,
}

/// Ids that images use: 0 to 65535. Fewer are a shortage.
const WANTED: u64 = 65_536;

/// Makes the process root of a user namespace unless it is root already. To be called before the first thread is
/// started, by every command that touches the store. Calling it again gives the first result.
///
/// # Errors
/// [`SandboxError::Host`] with a remedy when the host gives an ordinary user no namespaces.
pub fn enter_rootless() -> Result<Rung, SandboxError> {
    static RUNG: OnceLock<Rung> = OnceLock::new();
    if let Some(rung) = RUNG.get() {
        return Ok(rung.clone());
    }
    let rung = if Uid::effective().is_root() { rung_of_root() } else { enter()? };
    Ok(RUNG.get_or_init(|| rung).clone())
}

/// Root may be root of a namespace that somebody else made, with as few ids as that one has.
fn rung_of_root() -> Rung {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let counts = map.lines().filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok());
    match counts.sum::<u64>() {
        1 => Rung::SingleId(Shortage {
            reason: "this process is root of a user namespace with a single id".into(),
            help: vec!["run rbuild outside of it: it makes its own, with your range of subordinate ids".into()],
        }),
        _ => Rung::Root,
    }
}

fn enter() -> Result<Rung, SandboxError> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let mapper = Mapper::find(uid, gid);
    let mut helper = mapper.as_ref().ok().map(Helper::start).transpose().map_err(lost)?;
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .map_err(|errno| probe::user_namespace_refused(&errno.into()))?;
    let shortage = match (helper.take(), mapper) {
        (Some(helper), _) => helper.map().map_err(lost)?.map(|said| Shortage::new(said, uid)),
        (None, Err(reason)) => Some(Shortage::new(reason, uid)),
        (None, Ok(_)) => None,
    };
    if shortage.is_some() {
        map_single(uid, gid).map_err(|e| probe::user_namespace_refused(&e))?;
    }
    become_its_root().map_err(|errno| probe::user_namespace_refused(&errno.into()))?;
    Ok(shortage.map_or(Rung::FullRange, Rung::SingleId))
}

fn lost(error: io::Error) -> SandboxError {
    SandboxError::Launcher(format!("cannot map user ids: {error}"))
}

fn become_its_root() -> nix::Result<()> {
    let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
    nix::unistd::setresgid(group, group, group)?;
    nix::unistd::setresuid(root, root, root)?;
    // The change of ids took the process's own /proc files away from it.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable);
    Ok(())
}

/// Without a range the kernel lets a process map its own id alone, and only when it gives up setgroups(2).
fn map_single(uid: Uid, gid: Gid) -> io::Result<()> {
    // One of the two maps may have been written before the other failed.
    let empty = |name: &str| std::fs::read(name).map(|map| map.is_empty());
    if empty("/proc/self/gid_map")? {
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    if empty("/proc/self/uid_map")? {
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    }
    Ok(())
}

impl Shortage {
    fn new(reason: String, uid: Uid) -> Shortage {
        let name = user_name(uid).unwrap_or_else(|| "NAME".into());
        let taken = ["/etc/subuid", "/etc/subgid"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let (first, last) = free_range(&taken.concat());
        Shortage {
            reason: format!("only your own user id can be used, files of other users can't be made: {reason}"),
            help: vec![
                "as root: apt-get install uidmap (it has newuidmap and newgidmap)".into(),
                format!("as root: usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {name}"),
            ],
        }
    }
}

/// How the maps are written.
struct Mapper {
    newuidmap: PathBuf,
    newgidmap: PathBuf,
    uid_arguments: Vec<String>,
    gid_arguments: Vec<String>,
}

impl Mapper {
    /// Finds programs and ranges; what is missing as the error.
    fn find(uid: Uid, gid: Gid) -> Result<Mapper, String> {
        let name = user_name(uid);
        let ranges = |path: &str| {
            let text = std::fs::read(path).unwrap_or_default();
            let ranges = parse_ranges(&String::from_utf8_lossy(&text), uid.as_raw(), name.as_deref());
            let ids: u64 = ranges.iter().map(|r| u64::from(r.count)).sum();
            if ids + 1 < WANTED {
                return Err(format!("{path} gives you {ids} subordinate ids, {WANTED} are needed"));
            }
            Ok(ranges)
        };
        Ok(Mapper {
            newuidmap: find_program("newuidmap")?,
            newgidmap: find_program("newgidmap")?,
            uid_arguments: arguments(uid.as_raw(), &ranges("/etc/subuid")?),
            gid_arguments: arguments(gid.as_raw(), &ranges("/etc/subgid")?),
        })
    }

    /// Runs both programs on process `pid`; what they complained about as the error.
    fn run(&self, pid: u32) -> Result<(), String> {
        let start = |program: &Path, arguments: &[String]| {
            let mut command = Command::new(program);
            command.arg(pid.to_string()).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(Stdio::piped()).spawn().map_err(|e| format!("cannot run {}: {e}", program.display()))
        };
        let both = [start(&self.newuidmap, &self.uid_arguments)?, start(&self.newgidmap, &self.gid_arguments)?];
        for child in both {
            let output = child.wait_with_output().map_err(|e| e.to_string())?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
            }
        }
        Ok(())
    }
}

/// A child in the old namespace that waits for the word to write the maps.
struct Helper {
    pid: rustix::process::Pid,
    go: PipeWriter,
    said: PipeReader,
}

impl Helper {
    fn start(mapper: &Mapper) -> io::Result<Helper> {
        let target = std::process::id();
        let (mut told, go) = io::pipe()?;
        let (said, mut say) = io::pipe()?;
        match sys::fork()? {
            sys::Fork::Parent(pid) => Ok(Helper { pid, go, said }),
            sys::Fork::Child => {
                drop((go, said));
                // No word but the end: the parent could not make the namespace, or is gone.
                if told.read(&mut [0]).is_ok_and(|n| n == 1)
                    && let Err(complaint) = mapper.run(target)
                {
                    let _ = say.write_all(complaint.as_bytes());
                }
                sys::exit_now(0)
            }
        }
    }

    /// Has the maps written. Gives what the programs complained about, if they did.
    fn map(mut self) -> io::Result<Option<String>> {
        self.go.write_all(b"g")?;
        let mut complaint = String::new();
        self.said.read_to_string(&mut complaint)?;
        rustix::process::waitpid(Some(self.pid), rustix::process::WaitOptions::empty())?;
        Ok(Some(complaint).filter(|c| !c.is_empty()))
    }
}

/// The map: 0 is the caller, 1 and up its ranges, one after the other.
fn arguments(own: u32, ranges: &[Range]) -> Vec<String> {
    let mut out = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut inside = 1_u64;
    for range in ranges {
        out.extend([inside.to_string(), range.start.to_string(), range.count.to_string()]);
        inside += u64::from(range.count);
    }
    out
}

/// Lines of subuid(5), `who:start:count`, for a user by number or name. Lines of another form are skipped, as
/// newuidmap does.
fn parse_ranges(text: &str, uid: u32, name: Option<&str>) -> Vec<Range> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let who = fields.next()?;
            let range =
                Range { start: fields.next()?.trim().parse().ok()?, count: fields.next()?.trim().parse().ok()? };
            let mine = who.parse() == Ok(uid) || Some(who) == name;
            (mine && range.count > 0).then_some(range)
        })
        .collect()
}

/// First and last id of a range behind all that subuid(5) lines give to anyone.
fn free_range(text: &str) -> (u64, u64) {
    let end = |line: &str| -> Option<u64> {
        let mut fields = line.split(':').skip(1).map(|field| field.trim().parse::<u64>().ok());
        fields.next()??.checked_add(fields.next()??)
    };
    let first = text.lines().filter_map(end).max().unwrap_or(0).max(100_000);
    (first, first + WANTED - 1)
}

/// The user's name by /etc/passwd, else by `USER`. A static program asks no name service.
fn user_name(uid: Uid) -> Option<String> {
    let passwd = std::fs::read(Path::new("/etc/passwd")).unwrap_or_default();
    let by_file = passwd.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let name = fields.next()?;
        let id: u32 = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
        (id == uid.as_raw()).then(|| String::from_utf8_lossy(name).into_owned())
    });
    by_file.or_else(|| std::env::var("USER").ok()).filter(|name| !name.is_empty())
}

/// Looks in PATH and where distributions put it.
fn find_program(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let listed = path.as_bytes().split(|b| *b == b':').map(|dir| Path::new(OsStr::from_bytes(dir)));
    listed
        .chain(["/usr/bin", "/bin", "/usr/local/bin"].map(Path::new))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|file| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0))
        .ok_or_else(|| format!("the program {name} was not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "alice:100000:65536\nbob:200000:65536\n1000:300000:10\n# comment\nalice:x:1\nalice:400000:0\n";
        let alice = [Range { start: 100_000, count: 65_536 }, Range { start: 300_000, count: 10 }];
        assert_eq!(parse_ranges(text, 1000, Some("alice")), alice);
        assert_eq!(parse_ranges(text, 7, Some("carol")), []);
        assert_eq!(parse_ranges(text, 1000, None), alice[1..]);
    }

    #[test]
    fn the_range_in_the_remedy_is_nobody_elses() {
        assert_eq!(free_range(""), (100_000, 165_535));
        assert_eq!(free_range("a:100000:65536\nb:500000:10\nbroken\n"), (500_010, 565_545));
    }

    #[test]
    fn ranges_are_mapped_one_behind_the_other() {
        let ranges = [Range { start: 100_000, count: 65_535 }, Range { start: 300_000, count: 10 }];
        assert_eq!(arguments(1001, &ranges).join(" "), "0 1001 1 1 100000 65535 65536 300000 10");
    }
}
