//! The configuration files: `$XDG_CONFIG_HOME/rbuild/config.toml` (the user's) and `rbuild.toml` in the current
//! directory (the project's). Flags and variables win over both, the project's file over the user's.
//!
//! A project's file comes with somebody's checkout, so it may not say where the store is, and it may not widen what
//! the user's file restricts (`network = "none"` stays).

use super::failure::{Code, Failure};
use crate::base::fs;
use crate::diag::{Diagnostic, Source, Span};
use crate::graph::Network;
use crate::registry::{Host, Settings};
use crate::snapshot::Choice;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Name of the project's file.
pub const PROJECT_FILE: &str = "rbuild.toml";

/// What the files say. Unknown keys are refused.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Store directory; only in the user's file. A relative one is relative to that file.
    pub root: Option<PathBuf>,
    /// Steps that run at once.
    pub jobs: Option<NonZeroUsize>,
    /// Network of RUN where `--network` does not say.
    pub network: Option<Network>,
    /// How writable roots are made.
    pub snapshotter: Option<Choice>,
    /// Bounds on containers.
    #[serde(default)]
    pub limits: Limits,
    /// How registries are reached, by `HOST[:PORT]`; only in the user's file.
    #[serde(default)]
    pub registry: BTreeMap<String, Host>,
    /// What `rbuild bake` reads; only in the project's file.
    target: Option<IgnoredAny>,
    group: Option<IgnoredAny>,
    variable: Option<IgnoredAny>,
    function: Option<IgnoredAny>,
}

/// `[limits]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Size of /dev/shm in a container, such as `64m`.
    pub shm_size: Option<String>,
}

impl Config {
    /// Reads both files, where they are there.
    pub fn load() -> Result<Config, Failure> {
        let mut config = match user_file() {
            Some(path) => read(&path)?.unwrap_or_default(),
            None => Config::default(),
        };
        if config.defines_targets() {
            let text = "the user's configuration may not define targets: they belong to a project";
            return Err(Failure::usage(text).help(format!("put them into the project's {PROJECT_FILE}")));
        }
        if let Some(root) = &config.root
            && let Some(dir) = user_file().as_deref().and_then(Path::parent)
        {
            config.root = Some(dir.join(root));
        }
        match read(Path::new(PROJECT_FILE))? {
            Some(project) => config.overlay(project),
            None => Ok(config),
        }
    }

    fn defines_targets(&self) -> bool {
        [&self.target, &self.group, &self.variable, &self.function].into_iter().any(Option::is_some)
    }

    /// Lays the project's file over the user's.
    fn overlay(self, project: Config) -> Result<Config, Failure> {
        if project.root.is_some() {
            return Err(Failure::usage(format!("{PROJECT_FILE} may not set 'root': it comes with the project"))
                .help("set it in your own file, $XDG_CONFIG_HOME/rbuild/config.toml, or use --root or RBUILD_ROOT"));
        }
        if !project.registry.is_empty() {
            return Err(Failure::usage(format!("{PROJECT_FILE} may not set 'registry': it comes with the project"))
                .help("whom to trust is said in your own file, $XDG_CONFIG_HOME/rbuild/config.toml"));
        }
        let network = match (self.network, project.network) {
            (Some(Network::None), _) => Some(Network::None),
            (user, project) => project.or(user),
        };
        Ok(Config {
            root: self.root,
            jobs: project.jobs.or(self.jobs),
            network,
            snapshotter: project.snapshotter.or(self.snapshotter),
            limits: Limits { shm_size: project.limits.shm_size.or(self.limits.shm_size) },
            registry: self.registry,
            ..project
        })
    }

    /// The store's directory: `flag` (or RBUILD_ROOT), the user's file, `/var/lib/rbuild` as root, else the user's
    /// data directory; `None` if that can't be told.
    pub fn store_root(&self, flag: Option<PathBuf>) -> Option<PathBuf> {
        let user_default = || match rustix::process::geteuid().is_root() {
            true => Some("/var/lib/rbuild".into()),
            false => Some(home_dir("XDG_DATA_HOME", ".local/share")?.join("rbuild")),
        };
        flag.or_else(|| self.root.clone()).or_else(user_default)
    }

    /// How registries are reached.
    pub fn registries(&self) -> Settings {
        Settings { hosts: self.registry.clone(), ..Settings::default() }
    }

    /// `shm-size` in bytes. Its form was checked when the file was read.
    pub fn shm_size(&self) -> Option<u64> {
        super::values::bytes(self.limits.shm_size.as_deref()?).ok()
    }
}

/// An XDG base directory: the variable if it is an absolute path (others are to be ignored), else below HOME.
fn home_dir(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute(variable).or_else(|| Some(absolute("HOME")?.join(below_home)))
}

fn user_file() -> Option<PathBuf> {
    Some(home_dir("XDG_CONFIG_HOME", ".config")?.join("rbuild/config.toml"))
}

fn read(path: &Path) -> Result<Option<Config>, Failure> {
    let Some(bytes) = fs::read_if_exists(path)? else { return Ok(None) };
    let name = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{name} is not UTF-8 text")))?;
    parse(&name, &text)
        .map(Some)
        .map_err(|diagnostic| Failure { diagnostics: vec![*diagnostic], ..Failure::silent(Code::Usage as u8) })
}

fn parse(name: &str, text: &str) -> Result<Config, Box<Diagnostic>> {
    let source = Source::new(name, text);
    let wrong = |message: &str, span: Option<std::ops::Range<usize>>| {
        // toml spreads its messages over lines ("unknown field `x`, expected …" is one).
        let message = message.lines().collect::<Vec<_>>().join(", ");
        Box::new(Diagnostic::error("config", message, &source, Span::new(span.unwrap_or(0..0))))
    };
    let config: Config = toml::from_str(text).map_err(|e| wrong(e.message(), e.span()))?;
    if let Some(size) = &config.limits.shm_size {
        super::values::bytes(size).map_err(|e| wrong(&e, text.find(size.as_str()).map(|at| at..at + size.len())))?;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_and_unknown_ones_are_refused_with_their_place() {
        let text = "root = \"/s\"\njobs = 3\nnetwork = \"none\"\nsnapshotter = \"copy\"\n[limits]\nshm-size = \"1m\"\n";
        let config = parse("c.toml", text).unwrap();
        assert_eq!(config.root.as_deref(), Some(Path::new("/s")));
        assert_eq!(config.jobs.map(NonZeroUsize::get), Some(3));
        assert_eq!((config.network, config.snapshotter), (Some(Network::None), Some(Choice::Copy)));
        assert_eq!(config.limits.shm_size.as_deref(), Some("1m"));

        for (text, place) in [
            ("jobs = 1\nnetwrk = \"none\"\n", "c.toml:2:1"),
            ("jobs = 0\n", "c.toml:1:8"),
            ("jobs = \n", "c.toml:1:8"),
            ("[limits]\nshm-size = \"much\"\n", "c.toml:2:13"),
        ] {
            assert_eq!(parse("c.toml", text).unwrap_err().place().as_deref(), Some(place), "{text}");
        }
    }

    #[test]
    fn a_project_wins_over_the_user_but_may_not_move_the_store_nor_widen_the_network() {
        let user = parse("u", "root = \"/s\"\njobs = 3\nnetwork = \"none\"").unwrap();
        let both = user.clone().overlay(parse("p", "jobs = 2\nnetwork = \"host\"").unwrap()).unwrap();
        assert_eq!(both.jobs.map(NonZeroUsize::get), Some(2));
        assert_eq!(both.network, Some(Network::None));
        assert_eq!(both.root, user.root);
        assert_eq!(user.overlay(parse("p", "root = \"/elsewhere\"").unwrap()).unwrap_err().code, 2);
    }
}
