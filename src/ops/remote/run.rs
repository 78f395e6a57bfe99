//! Running the git program: with its own empty home and none of the user's, the system's or a repository's settings, so that
//! no hook, filter or helper runs but those that a protocol needs.

use super::{Fetcher, TIME_LIMIT};
use crate::base::fs::Context as _;
use crate::ops::OpError;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a running git is looked after.
const LOOK: Duration = Duration::from_millis(10);
/// The most that is read of what git says, in bytes.
const MAX_OUTPUT: u64 = 64 << 20;
/// Variables that git may see: how the network is reached and whom to trust.
const PASSED: [&str; 14] = [
    "PATH",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSH_AUTH_SOCK",
];

/// A place to run git in: `work` is the repository's directory.
pub(super) struct Git<'g> {
    fetcher: &'g Fetcher<'g>,
    home: PathBuf,
    /// Where it runs.
    pub work: PathBuf,
    /// `Authorization` for the repository's host: the setting's name and value.
    header: Option<(String, String)>,
    deadline: Instant,
}

/// What git said.
pub(super) struct Said {
    pub success: bool,
    pub out: Vec<u8>,
    /// What went wrong, in its words.
    pub reason: String,
}

/// Which protocols git may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocols {
    /// Those of the network.
    Network,
    /// Also directories of this machine.
    Local,
}

impl<'g> Git<'g> {
    /// Makes `home` and `work` below `dir`.
    pub fn new(fetcher: &'g Fetcher<'g>, dir: &Path, header: Option<(String, String)>) -> Result<Git<'g>, OpError> {
        let (home, work) = (dir.join("home"), dir.join("work"));
        for dir in [&home, &work] {
            std::fs::create_dir(dir).at("create directory", dir)?;
        }
        Ok(Git { fetcher, home, work, header, deadline: Instant::now() + TIME_LIMIT })
    }

    /// Runs git and waits for it.
    pub fn run(&self, protocols: Protocols, arguments: &[&str]) -> Result<Said, OpError> {
        let (out, err) = (self.home.join("out"), self.home.join("err"));
        let create = |path: &Path| File::create(path).at("create", path);
        let mut command = Command::new("git");
        command.env_clear().args(self.settings()).args(arguments).current_dir(&self.work);
        command.stdin(Stdio::null()).stdout(create(&out)?).stderr(create(&err)?).process_group(0);
        command.envs(PASSED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
        command.envs([
            ("HOME", self.home.as_os_str()),
            ("GIT_CONFIG_NOSYSTEM", "1".as_ref()),
            ("GIT_CONFIG_GLOBAL", "/dev/null".as_ref()),
            ("GIT_TERMINAL_PROMPT", "0".as_ref()),
            ("GIT_ASKPASS", "true".as_ref()),
            ("LC_ALL", "C".as_ref()),
            ("GIT_SSH_COMMAND", ssh_command().as_ref()),
            ("GIT_ALLOW_PROTOCOL", allowed(protocols).as_ref()),
        ]);
        if let Some((name, value)) = &self.header {
            // Not among the arguments, which everybody on the machine can read.
            let setting = [("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", name), ("GIT_CONFIG_VALUE_0", value)];
            command.envs(setting);
        }
        let mut child = match command.spawn() {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(OpError::input("git-missing", "there is no program `git`, which fetches repositories")
                    .with_help("install git"));
            }
            other => other.at("start", "git")?,
        };
        let status = loop {
            if let Some(status) = child.try_wait().at("wait for", "git")? {
                break status;
            }
            let late = Instant::now() >= self.deadline;
            if late || self.fetcher.cancel.is_set() {
                if let Some(group) = Pid::from_raw(child.id() as i32) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                child.wait().at("wait for", "git")?;
                if !late {
                    return Err(OpError::Cancelled);
                }
                let reason = format!("it took longer than {} s", TIME_LIMIT.as_secs());
                return Ok(Said { success: false, out: Vec::new(), reason });
            }
            std::thread::sleep(LOOK);
        };
        let reason = reason(&String::from_utf8_lossy(&read(&err)?));
        Ok(Said { success: status.success(), out: read(&out)?, reason })
    }

    fn settings(&self) -> [&'static str; 14] {
        [
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.symlinks=true",
            "-c",
            "core.autocrlf=false",
            "-c",
            "core.fsmonitor=false",
            "-c",
            "gc.auto=0",
            "-c",
            "advice.detachedHead=false",
            "-c",
            "maintenance.auto=false",
        ]
    }
}

/// Which protocols git may use.
fn allowed(protocols: Protocols) -> &'static str {
    match (protocols, crate::net::is_offline()) {
        (Protocols::Local, false) => "https:http:ssh:git:file",
        (Protocols::Network, false) => "https:http:ssh:git",
        (Protocols::Local, true) => "file",
        // No protocol has this name.
        (Protocols::Network, true) => "none",
    }
}

/// ssh asks nobody anything, and knows the hosts that the user knows.
fn ssh_command() -> String {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".ssh/known_hosts"));
    let plain = |path: &PathBuf| {
        path.is_file()
            && path.to_str().is_some_and(|p| p.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b)))
    };
    match home.filter(plain) {
        Some(hosts) => format!("ssh -F none -o BatchMode=yes -o UserKnownHostsFile={}", hosts.display()),
        None => "ssh -F none -o BatchMode=yes".into(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, OpError> {
    let mut bytes = Vec::new();
    crate::base::fs::open(path)?.take(MAX_OUTPUT).read_to_end(&mut bytes).at("read", path)?;
    Ok(bytes)
}

/// The line that says what went wrong.
fn reason(stderr: &str) -> String {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let told = lines().find(|line| line.starts_with("fatal:")).or_else(|| lines().next()).unwrap_or("git failed");
    let told = told.trim_start_matches("fatal: ");
    let clean: String = told.chars().filter(|c| !c.is_control()).take(300).collect();
    // git repeats the address, and with it what is written before the `@`.
    clean
        .split(' ')
        .map(|word| match word.find("://") {
            Some(at) if word[at..].contains('@') => {
                let (head, rest) = word.split_at(at + 3);
                format!("{head}{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host))
            }
            _ => word.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn what_git_says_is_told_without_credentials() {
        let text = "warning: x\nfatal: unable to access 'https://me:secret@h/x.git/': Could not resolve host: h\nmore";
        assert_eq!(reason(text), "unable to access 'https://h/x.git/': Could not resolve host: h");
        assert_eq!(reason("error: \x1b[31mbad\n"), "error: [31mbad");
        assert_eq!(reason(""), "git failed");
    }
}
