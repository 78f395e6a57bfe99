//! RUN: what is executed, with which variables, on which network.

use super::history;
use super::meta::is_proxy;
use super::site::{Fault, Site};
use super::stages::suggest;
use super::state::State;
use super::walk::{Walk, label};
use crate::dockerfile::ast::{self, Command, Flag, Heredoc, Instruction};
use crate::dockerfile::duration;
use crate::graph::{Network, Op, RunOp, Script, Security, Surroundings};
use std::time::Duration;

/// The most that `--retry` may ask for: more is a loop, not a policy.
pub const MAX_RETRIES: u32 = 100;

impl Walk<'_> {
    /// RUN.
    pub fn run(
        &mut self,
        state: &mut State,
        site: &Site<'_>,
        instruction: &Instruction,
        run: &ast::Run,
    ) -> Result<(), Fault> {
        let mut op = RunOp {
            base: state.root,
            argv: Vec::new(),
            env: run_env(state),
            env_unkeyed: self.proxies(state),
            user: state.user().to_owned(),
            workdir: state.workdir(),
            platform: state.platform.clone(),
            network: self.options.network,
            script: None,
            mounts: Vec::new(),
            security: Security::Sandbox,
            surroundings: Box::new(self.surroundings()),
            retry: None,
            timeout: None,
        };
        for flag in &run.flags {
            match flag.name.value.as_str() {
                "network" => op.network = self.network(site, flag)?,
                "security" => op.security = self.security(site, flag)?,
                "retry" => op.retry = Some(retry(site, flag)?),
                "timeout" => op.timeout = Some(timeout(site, flag)?),
                "mount" => {
                    let mount = self.mount(state, site, flag, &op.mounts)?;
                    op.mounts.push(mount);
                }
                // `device`.
                _ => return Err(site.unsupported_flag("RUN", flag)),
            }
        }
        (op.argv, op.script) = process(state, &run.command, &run.heredocs);
        if op.argv.iter().all(String::is_empty) {
            let fault = site.error("empty-command", "RUN has nothing to run", instruction.span);
            return Err(fault.help("write a command after RUN").into());
        }
        let args: Vec<(String, String)> = state
            .args
            .iter()
            .map(|(name, value)| (name.to_owned(), state.env(name).or(value).unwrap_or_default().to_owned()))
            .collect();
        let created_by = history::run(&args, &op.argv);
        let step = self.add(Op::Run(Box::new(op)), label(instruction), site.step_span(instruction.span));
        state.advance(step, created_by);
        Ok(())
    }

    fn network(&self, site: &Site<'_>, flag: &Flag) -> Result<Network, Fault> {
        let word = site.flag_value(flag)?;
        match word.value.to_ascii_lowercase().as_str() {
            "default" => Ok(self.options.network),
            "none" => Ok(Network::None),
            // Whoever starts a build with --network=none means it; a Dockerfile can't take it back.
            "host" if self.options.network == Network::None => Err(site
                .error("network-refused", "RUN --network=host in a build without network", word.span)
                .note("the build was started with --network=none")
                .help("build with --network=host, or drop the flag here")
                .into()),
            "host" => Ok(Network::Host),
            other => {
                let fault = site
                    .error("invalid-network", format!("`{other}` is no network of a RUN"), word.span)
                    .note("there are default, none and host");
                Err(suggest(fault, other, ["default", "none", "host"]).into())
            }
        }
    }

    fn security(&self, site: &Site<'_>, flag: &Flag) -> Result<Security, Fault> {
        let word = site.flag_value(flag)?;
        match word.value.as_str() {
            "sandbox" => Ok(Security::Sandbox),
            "insecure" if self.options.allow_insecure => Ok(Security::Insecure),
            "insecure" => Err(site
                .error("security-refused", "RUN --security=insecure was not allowed for this build", word.span)
                .note("the process would have every capability of the builder and no system call filter")
                .help("if you trust this Dockerfile, build with --allow security.insecure")
                .into()),
            other => Err(site
                .error("invalid-security", format!("`{other}` is no security mode of a RUN"), word.span)
                .note("there are sandbox and insecure")
                .into()),
        }
    }

    /// The caller's, with the host name that a build argument may give, as with BuildKit.
    fn surroundings(&self) -> Surroundings {
        let given = self.options.build_args.get("BUILDKIT_SANDBOX_HOSTNAME").filter(|name| !name.is_empty());
        Surroundings { hostname: given.cloned(), ..self.options.surroundings.clone() }
    }

    /// Proxy arguments given by the caller, in both spellings, as some programs read only one; not those that ARG or
    /// ENV declare, which are ordinary variables.
    fn proxies(&self, state: &State) -> Vec<String> {
        let mut env = Vec::new();
        for (given_name, value) in self.options.build_args.iter().filter(|(name, _)| is_proxy(name)) {
            for name in [given_name.to_ascii_uppercase(), given_name.to_ascii_lowercase()] {
                let pair = format!("{name}={value}");

                let given = name != *given_name && self.options.build_args.contains_key(&name);
                if !given && state.env(&name).is_none() && !state.args.declared(&name) && !env.contains(&pair) {
                    env.push(pair);
                }
            }
        }
        env
    }
}

/// ENV in order, then ARGs with a value that no ENV hides.
fn run_env(state: &State) -> Vec<String> {
    let mut env = state.config.config.env.clone().unwrap_or_default();
    let args = state.args.iter().filter_map(|(name, value)| Some((name, value?)));
    env.extend(args.filter(|(name, _)| state.env(name).is_none()).map(|(name, value)| format!("{name}={value}")));
    env
}

fn retry(site: &Site<'_>, flag: &Flag) -> Result<u32, Fault> {
    let word = site.flag_value(flag)?;
    match word.value.parse() {
        Ok(times) if times <= MAX_RETRIES => Ok(times),
        _ => {
            let message = format!("--retry=`{}` is no number from 0 to {MAX_RETRIES}", word.value);
            Err(site.error("flag-value", message, word.span).into())
        }
    }
}

fn timeout(site: &Site<'_>, flag: &Flag) -> Result<Duration, Fault> {
    let word = site.flag_value(flag)?;
    duration::parse(&word.value).map_err(|reason| site.error("flag-value", reason, word.span).into())
}

/// The process of a RUN, and the script file it needs.
fn process(state: &State, command: &Command, heredocs: &[Heredoc]) -> (Vec<String>, Option<Script>) {
    let text = match command {
        Command::Exec { argv, .. } => return (argv.iter().map(|word| word.value.clone()).collect(), None),
        Command::Shell { text, .. } => &text.value,
    };
    let text = match heredocs {
        [] => text.clone(),
        [script, ..] if text.is_empty() => {
            let body = &script.body.value;
            if body.starts_with("#!") {
                // The name becomes a path's last part, so it must not be a path itself.
                let name = script.name.value.replace('/', "_");
                return (vec![format!("/dev/pipes/{name}")], Some(Script { name, data: body.clone() }));
            }
            body.clone()
        }
        // The shell reads the heredocs itself: the line, then each body with its delimiter, as in a script.
        all => all
            .iter()
            .fold(text.clone(), |whole, heredoc| format!("{whole}\n{}{}", heredoc.body.value, heredoc.name.value)),
    };
    let mut argv = state.shell();
    argv.push(text);
    (argv, None)
}
