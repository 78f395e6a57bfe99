//! What a stage is so far: config template, variables, root filesystem and history.

use super::path;
use super::scope::{Args, env_value, set_env};
use super::{BaseImage, HistoryItem, Template};
use crate::graph::StepId;
use crate::image::Platform;
use crate::image::config::{Execution, History, ImageConfig, RootFs};
use serde_json::Map;

/// PATH of an image whose base has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The state of a stage after some of its instructions.
#[derive(Clone, Debug)]
pub struct State {
    /// The step whose result is the root filesystem.
    pub root: StepId,
    /// What its programs are for.
    pub platform: Platform,
    /// Config without `rootfs`, `history` and `created`.
    pub config: ImageConfig,
    /// ARGs in scope.
    pub args: Args,
    /// The base image's history.
    pub base_history: Vec<History>,
    /// What this file added.
    pub history: Vec<HistoryItem>,
    /// CMD was given in this stage, so ENTRYPOINT leaves it alone.
    pub cmd_set: bool,
    /// The base's config is known; otherwise variables may hold anything.
    pub known_base: bool,
}

impl State {
    /// `FROM scratch`.
    pub fn scratch(root: StepId, platform: &Platform) -> State {
        let mut config = ImageConfig {
            architecture: platform.arch.clone(),
            os: platform.os.clone(),
            variant: Some(platform.variant.clone()).filter(|v| !v.is_empty()),
            ..ImageConfig::default()
        };
        config.config.working_dir = Some("/".into());
        State::with(root, platform.clone(), config, Vec::new())
    }

    /// `FROM` a base image: its config and history, without what describes that image alone.
    pub fn image(root: StepId, image: &BaseImage, platform: &Platform) -> State {
        let mut config = image.config.clone();
        let base_history = std::mem::take(&mut config.history);
        config.rootfs = RootFs::default();
        config.created = None;
        // Unknown fields are mostly docker's traces of how that image was made (container, docker_version,
        // Hostname …), which would be lies about this one; what selects a host stays.
        config.extra.retain(|key, _| key.starts_with("os."));
        config.config.extra = Map::default();
        if config.os.is_empty() {
            config.os.clone_from(&platform.os);
        }
        if config.architecture.is_empty() {
            config.architecture.clone_from(&platform.arch);
        }
        // What the image says of itself counts: it may have been taken for want of a better one.
        State::with(root, config.for_platform(), config, base_history)
    }

    /// `FROM` another target of the same build: all that it is, as if its file went on here.
    pub fn target(target: &Template) -> State {
        let state =
            State::with(target.root, target.config.for_platform(), target.config.clone(), target.base_history.clone());
        State { history: target.history.clone(), ..state }
    }

    fn with(root: StepId, platform: Platform, config: ImageConfig, base_history: Vec<History>) -> State {
        let mut state = State {
            root,
            platform,
            config,
            args: Args::default(),
            base_history,
            history: Vec::new(),
            cmd_set: false,
            known_base: true,
        };
        if state.env("PATH").is_none() {
            state.set_env("PATH", DEFAULT_PATH);
        }
        state
    }

    /// `FROM` an earlier stage: everything that stage is, its triggers spent.
    pub fn child(&self) -> State {
        let mut state = self.clone();
        state.config.config.on_build = None;
        state.cmd_set = false;
        state
    }

    /// The `config` object.
    pub fn execution(&mut self) -> &mut Execution {
        &mut self.config.config
    }

    /// An ENV's value.
    pub fn env(&self, name: &str) -> Option<&str> {
        env_value(self.config.config.env.as_deref().unwrap_or_default(), name)
    }

    /// Sets an ENV.
    pub fn set_env(&mut self, name: &str, value: &str) {
        set_env(self.config.config.env.get_or_insert_default(), name, value);
    }

    /// What `$name` stands for here: ENV, and ARG where there is no ENV of that name (Dockerfile reference, "Using ARG
    /// variables").
    pub fn lookup(&self, name: &str) -> Option<String> {
        self.env(name).or_else(|| self.args.value(name)).map(str::to_owned)
    }

    /// Names of all variables, for suggestions.
    pub fn variables(&self) -> Vec<String> {
        let env = self.config.config.env.iter().flatten().map(|pair| pair.split('=').next().unwrap_or_default());
        env.chain(self.args.iter().map(|(name, _)| name)).map(str::to_owned).collect()
    }

    /// WORKDIR as a clean path, `/` by default. The configuration has it as it was written.
    pub fn workdir(&self) -> String {
        path::absolute("/", self.config.config.working_dir.as_deref().unwrap_or_default())
    }

    /// USER, empty by default.
    pub fn user(&self) -> &str {
        self.config.config.user.as_deref().unwrap_or_default()
    }

    /// The words of SHELL, to which shell-form text is appended.
    pub fn shell(&self) -> Vec<String> {
        match &self.config.config.shell {
            Some(words) if !words.is_empty() => words.clone(),
            _ => vec!["/bin/sh".into(), "-c".into()],
        }
    }

    /// Notes an instruction that made no layer.
    pub fn note(&mut self, created_by: String) {
        self.history.push(HistoryItem { created_by, step: None });
    }

    /// Notes an instruction whose step is now the root filesystem.
    pub fn advance(&mut self, step: StepId, created_by: String) {
        self.root = step;
        self.history.push(HistoryItem { created_by, step: Some(step) });
    }
}
