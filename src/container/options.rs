//! What a container runs and in what surroundings, from the image's configuration and the caller's options: pure.

use super::ContainerError;
use crate::graph::Network;
use crate::image::config::Execution;
use std::path::PathBuf;
use std::str::FromStr;

/// What the caller of `run` asks for beyond the image's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Replaces CMD; arguments to the entrypoint, if there is one.
    pub command: Vec<String>,
    /// Replaces ENTRYPOINT (and drops CMD); empty: no entrypoint.
    pub entrypoint: Option<String>,
    /// `NAME=value`, on top of the image's. Later ones win.
    pub env: Vec<String>,
    /// Instead of WORKDIR; made if missing.
    pub workdir: Option<String>,
    /// Instead of USER.
    pub user: Option<String>,
    /// Host files and directories.
    pub volumes: Vec<Volume>,
    /// The network.
    pub network: Network,
    /// An init of rbuild's as process 1, which reaps orphans and passes signals on.
    pub init: bool,
    /// Standard input is the caller's.
    pub interactive: bool,
    /// A pseudo-terminal.
    pub tty: bool,
    /// Nothing is kept of the container.
    pub remove: bool,
    /// Host name; default: the container's id, or the host's own with the host's network.
    pub hostname: Option<String>,
    /// The root is read-only.
    pub readonly: bool,
    /// Bytes of /dev/shm; default 64 MiB.
    pub shm_size: Option<u64>,
}

/// `-v SOURCE:TARGET[:ro|rw]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Host path.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: String,
    /// No writing.
    pub readonly: bool,
}

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Volume, String> {
        let mut parts = text.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
            return Err(format!("'{text}' is not SOURCE:TARGET; rbuild makes no anonymous volumes"));
        };
        let readonly = match (parts.next(), parts.next()) {
            (None, _) | (Some("rw" | ""), None) => false,
            (Some("ro"), None) => true,
            (Some(option), _) => return Err(format!("volume option '{option}' is not known; there are 'ro' and 'rw'")),
        };
        if !source.contains('/') {
            return Err(format!(
                "'{source}' would be a named volume, which rbuild has not; for a directory write './{source}'"
            ));
        }
        if !target.starts_with('/') || target.split('/').all(|part| part.is_empty() || part == ".") {
            return Err(format!("'{target}' must be an absolute path inside the container, below '/'"));
        }
        Ok(Volume { source: source.into(), target: target.into(), readonly })
    }
}

/// Entrypoint and command as docker puts them together: a caller's entrypoint drops the image's CMD, a caller's
/// command replaces it.
pub(super) fn argv(config: &Execution, options: &RunOptions) -> Result<Vec<String>, ContainerError> {
    let mut argv = match options.entrypoint.as_deref() {
        Some("") => Vec::new(),
        Some(program) => vec![program.to_owned()],
        None => config.entrypoint.clone().unwrap_or_default(),
    };
    if !options.command.is_empty() {
        argv.extend(options.command.iter().cloned());
    } else if options.entrypoint.is_none() {
        argv.extend(config.cmd.clone().unwrap_or_default());
    }
    if argv.first().is_none_or(String::is_empty) { Err(ContainerError::NoCommand) } else { Ok(argv) }
}

/// PATH where neither the image nor the caller has one.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Defaults, then the image's variables, then the caller's; HOME is the user's unless one of them sets it.
pub(super) fn environment(config: &Execution, options: &RunOptions, home: &str, hostname: &str) -> Vec<String> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if options.tty {
        env.push("TERM=xterm".into());
    }
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    for variable in config.env.iter().flatten().chain(&options.env) {
        match env.iter_mut().find(|had| name(had) == name(variable)) {
            Some(had) => had.clone_from(variable),
            None => env.push(variable.clone()),
        }
    }
    if !env.iter().any(|variable| name(variable) == "HOME") {
        env.push(format!("HOME={home}"));
    }
    env
}

/// With the host's network the host's name, so that it resolves; else the container's id.
pub(super) fn hostname(options: &RunOptions, id: &str) -> String {
    match (&options.hostname, options.network) {
        (Some(name), _) => name.clone(),
        (None, Network::Host) => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        (None, Network::None) => id[..12.min(id.len())].to_owned(),
    }
}

/// /etc/hosts: the host's with its network, else the container's own name alone.
pub(super) fn hosts(network: Network, hostname: &str) -> String {
    let own = || format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    match network {
        Network::Host => {
            let mut hosts = std::fs::read("/etc/hosts").map_or_else(|_| own(), |b| String::from_utf8_lossy(&b).into());
            let known =
                |line: &str| line.split('#').next().is_some_and(|l| l.split_whitespace().any(|w| w == hostname));
            if !hosts.lines().any(known) {
                if !hosts.is_empty() && !hosts.ends_with('\n') {
                    hosts.push('\n');
                }
                hosts.push_str(&format!("127.0.1.1\t{hostname}\n"));
            }
            hosts
        }
        Network::None => own(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn entrypoint_and_command_combine_as_docker_does() {
        let image = |entrypoint: &[&str], cmd: &[&str]| Execution {
            entrypoint: Some(strings(entrypoint)),
            cmd: Some(strings(cmd)),
            ..Execution::default()
        };
        /// The image's entrypoint and command, `--entrypoint`, the arguments, and what runs.
        type Row<'t> = (&'t [&'t str], &'t [&'t str], Option<&'t str>, &'t [&'t str], Option<&'t [&'t str]>);
        let table: &[Row<'_>] = &[
            (&["e"], &["c"], None, &[], Some(&["e", "c"])),
            (&["e"], &["c"], None, &["x", "y"], Some(&["e", "x", "y"])),
            (&[], &["c", "d"], None, &[], Some(&["c", "d"])),
            (&["e"], &["c"], Some("n"), &[], Some(&["n"])),
            (&["e"], &["c"], Some("n"), &["x"], Some(&["n", "x"])),
            (&["e"], &["c"], Some(""), &["x"], Some(&["x"])),
            (&["e"], &["c"], Some(""), &[], None),
            (&[], &[], None, &[], None),
        ];
        for (entrypoint, cmd, ours, command, expected) in table {
            let options =
                RunOptions { entrypoint: ours.map(str::to_owned), command: strings(command), ..RunOptions::default() };
            let argv = argv(&image(entrypoint, cmd), &options).ok();
            assert_eq!(argv, expected.map(strings), "{entrypoint:?} {cmd:?} {ours:?} {command:?}");
        }
    }

    #[test]
    fn the_callers_variables_win_over_the_images_over_the_defaults() {
        let config = Execution { env: Some(strings(&["A=1", "PATH=/p", "B=2"])), ..Execution::default() };
        let mut options = RunOptions { env: strings(&["B=3", "C=4"]), ..RunOptions::default() };
        assert_eq!(
            environment(&config, &options, "/root", "h"),
            ["PATH=/p", "HOSTNAME=h", "A=1", "B=3", "C=4", "HOME=/root"]
        );
        options = RunOptions { env: strings(&["HOME=/x", "TERM=vt100"]), tty: true, ..RunOptions::default() };
        let env = environment(&Execution::default(), &options, "/root", "h");
        assert_eq!(env, [DEFAULT_PATH, "HOSTNAME=h", "TERM=vt100", "HOME=/x"]);
    }

    #[test]
    fn volumes_are_read_and_refused_with_a_reason() {
        let volume = |text: &str| text.parse::<Volume>();
        let of = |source: &str, target: &str, readonly| {
            Ok(Volume { source: source.into(), target: target.into(), readonly })
        };
        assert_eq!(volume("/a:/b"), of("/a", "/b", false));
        assert_eq!(volume("./a:/b:ro"), of("./a", "/b", true));
        assert_eq!(volume("/a:/b:rw"), of("/a", "/b", false));
        for (text, reason) in [
            ("/a", "anonymous"),
            ("data:/b", "named volume"),
            ("/a:b", "absolute"),
            ("/a:/", "below '/'"),
            ("/a:/b:z", "'z'"),
            ("/a:/b:ro:x", "'ro'"),
        ] {
            let error = volume(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
