//! Instructions that change the config template or the scope, and WORKDIR.

use super::history;
use super::scope::PROXIES;
use super::signal;
use super::site::{Fault, Site};
use super::stages::suggest;
use super::state::State;
use super::walk::{Walk, label};
use super::{expose, health, path};
use crate::dockerfile::ast::{Command, Flag, Healthcheck, Instruction, Pair, Word};
use crate::graph::{MkdirOp, Op};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

impl Walk<'_> {
    /// ENV. All pairs see the variables as they were before it.
    pub fn env(&mut self, state: &mut State, site: &Site<'_>, pairs: &[Pair]) -> Result<(), Fault> {
        let pairs = self.pairs(state, site, pairs, "ENV")?;
        for (key, value) in &pairs {
            state.set_env(key, value);
        }
        state.note(history::pairs("ENV", &pairs));
        Ok(())
    }

    /// LABEL.
    pub fn label(&mut self, state: &mut State, site: &Site<'_>, pairs: &[Pair]) -> Result<(), Fault> {
        let pairs = self.pairs(state, site, pairs, "LABEL")?;
        state.execution().labels.get_or_insert_default().extend(pairs.iter().cloned());
        state.note(history::pairs("LABEL", &pairs));
        Ok(())
    }

    fn pairs(
        &mut self,
        state: &State,
        site: &Site<'_>,
        pairs: &[Pair],
        instruction: &str,
    ) -> Result<Vec<(String, String)>, Fault> {
        let mut expanded = Vec::with_capacity(pairs.len());
        for Pair { key, value } in pairs {
            let name = self.expand(state, site, key)?;
            let bad = if name.is_empty() {
                Some("is empty")
            } else if instruction == "ENV" && name.contains(['=', '\0']) {
                Some("contains '='")
            } else {
                None
            };
            if let Some(why) = bad {
                let message = format!("the name of the {instruction} {why}");
                return Err(site.error("invalid-name", message, key.span).into());
            }
            expanded.push((name, self.expand(state, site, value)?));
        }
        Ok(expanded)
    }

    /// ARG. Evaluated from left to right: each sees those before it.
    pub fn arg(&mut self, state: &mut State, site: &Site<'_>, args: &[(Word, Option<Word>)]) -> Result<(), Fault> {
        let mut line = String::from("ARG");
        for (name, default) in args {
            let key = name.value.as_str();
            let given = self.options.build_args.get(key).cloned();
            let value = match (given, default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(self.expand(state, site, default)?),
                (None, None) if self.globals.declared(key) => self.globals.value(key).map(str::to_owned),
                (None, None) => self.automatic.value(key).map(str::to_owned),
            };
            if let (Some(value), Some(env)) = (&value, state.env(key))
                && value != env
            {
                self.diagnostics.push(
                    site.warning("arg-hidden-by-env", format!("ARG {key} has no effect: ENV {key} wins"), name.span)
                        .note(format!("ENV {key} is `{env}` here"))
                        .help("use another name for the ARG, or set the ENV from it: ENV NAME=$ARG"),
                );
            }
            line.push(' ');
            line.push_str(key);
            if let Some(value) = &value {
                line.push('=');
                line.push_str(value);
            }
            // A bare ARG that nothing gives a value leaves the one it has.
            let value = value.or_else(|| state.args.value(key).map(str::to_owned));
            state.args.declare(key, value);
        }
        state.note(line);
        Ok(())
    }

    /// CMD. The empty form clears it.
    pub fn cmd(&mut self, state: &mut State, command: &Command) -> Result<(), Fault> {
        let words = with_shell(state, command);
        state.note(history::quoted("CMD", &words));
        let execution = state.execution();
        execution.cmd = Some(words).filter(|words| !words.is_empty());
        // A Windows leftover that BuildKit writes with every CMD and engines expect there.
        execution.args_escaped = Some(true);
        state.cmd_set = true;
        Ok(())
    }

    /// ENTRYPOINT. A CMD of the base image belongs to the old entry point and goes with it; this stage's own stays.
    pub fn entrypoint(&mut self, state: &mut State, command: &Command) -> Result<(), Fault> {
        let words = with_shell(state, command);
        state.note(history::quoted("ENTRYPOINT", &words));
        let own_cmd = state.cmd_set;
        let execution = state.execution();
        execution.entrypoint = Some(words).filter(|words| !words.is_empty());
        if !own_cmd {
            execution.cmd = None;
        }
        Ok(())
    }

    /// SHELL.
    pub fn shell(
        &mut self,
        state: &mut State,
        site: &Site<'_>,
        instruction: &Instruction,
        words: &[Word],
    ) -> Result<(), Fault> {
        if words.is_empty() {
            let fault = site.error("empty-shell", "SHELL names no program", instruction.span);
            return Err(fault.help("write SHELL [\"/bin/sh\", \"-c\"]").into());
        }
        let words: Vec<String> = words.iter().map(|w| w.value.clone()).collect();
        state.note(history::list("SHELL", &words));
        state.execution().shell = Some(words);
        Ok(())
    }

    /// USER. The name is looked up by the steps that run as it.
    pub fn user(&mut self, state: &mut State, site: &Site<'_>, user: &Word) -> Result<(), Fault> {
        let name = self.not_empty(state, site, user, "empty-user")?;
        state.note(format!("USER {name}"));
        state.execution().user = Some(name);
        Ok(())
    }

    /// WORKDIR: a directory that is made if missing, and where later steps are.
    pub fn workdir(
        &mut self,
        state: &mut State,
        site: &Site<'_>,
        instruction: &Instruction,
        dir: &Word,
    ) -> Result<(), Fault> {
        let word = dir;
        let dir = self.expand(state, site, word)?;
        if dir.is_empty() {
            let message = format!("`{}` is empty after expansion, so WORKDIR stays {}", word.value, state.workdir());
            self.diagnostics.push(site.warning("empty-value", message, word.span));
        }
        let full = path::absolute(&state.workdir(), &dir);
        // BuildKit writes an absolute path down as it stands, and a relative one joined and cleaned.
        let written = if dir.starts_with('/') { dir } else { full.clone() };
        let created_by = format!("WORKDIR {written}");
        state.execution().working_dir = Some(written);
        if full == "/" {
            state.note(created_by);
            return Ok(());
        }
        let op = MkdirOp { base: state.root, path: full, user: state.user().to_owned() };
        let step = self.add(Op::Mkdir(op), label(instruction), site.step_span(instruction.span));
        state.advance(step, created_by);
        Ok(())
    }

    fn not_empty(&mut self, state: &State, site: &Site<'_>, word: &Word, code: &str) -> Result<String, Fault> {
        let value = self.expand(state, site, word)?;
        if value.is_empty() {
            return Err(site
                .error(code, format!("`{}` is empty after expansion", word.value), word.span)
                .help("set the variable before this line, or give it a default: ${NAME:-default}")
                .into());
        }
        Ok(value)
    }

    /// EXPOSE. Values are split into words again after expansion, so that `$PORTS` may hold several.
    pub fn expose(&mut self, state: &mut State, site: &Site<'_>, words: &[Word]) -> Result<(), Fault> {
        let mut ports = BTreeSet::new();
        for word in words {
            let value = self.expand(state, site, word)?;
            if value.trim().is_empty() {
                let message = format!("`{}` is empty after expansion, so it exposes nothing", word.value);
                self.diagnostics.push(site.warning("empty-value", message, word.span));
            }
            for spec in value.split_whitespace() {
                ports.extend(expose::ports(spec).map_err(|reason| {
                    site.error("invalid-port", format!("`{spec}` is not a port: {reason}"), word.span)
                        .help("write PORT, FIRST-LAST or PORT/udp")
                })?);
            }
        }
        let known = state.execution().exposed_ports.get_or_insert_default();
        known.extend(ports.iter().map(|port| (port.clone(), Value::Object(Map::new()))));
        state.note(history::expose(&ports));
        Ok(())
    }

    /// VOLUME.
    pub fn volume(&mut self, state: &mut State, site: &Site<'_>, words: &[Word]) -> Result<(), Fault> {
        let mut volumes = Vec::with_capacity(words.len());
        for word in words {
            volumes.push(self.not_empty(state, site, word, "empty-value")?);
        }
        let known = state.execution().volumes.get_or_insert_default();
        known.extend(volumes.iter().map(|volume| (volume.clone(), Value::Object(Map::new()))));
        state.note(history::list("VOLUME", &volumes));
        Ok(())
    }

    /// STOPSIGNAL.
    pub fn stopsignal(&mut self, state: &mut State, site: &Site<'_>, signal: &Word) -> Result<(), Fault> {
        let name = self.not_empty(state, site, signal, "empty-value")?;
        if !signal::is_signal(&name) {
            let fault = site
                .error("invalid-signal", format!("`{name}` is not a signal"), signal.span)
                .note("a signal is SIGTERM, TERM, 15 or RTMIN+3");
            let bare = name.to_uppercase();
            return Err(suggest(fault, bare.strip_prefix("SIG").unwrap_or(&bare), signal::NAMES).into());
        }
        state.note(format!("STOPSIGNAL {name}"));
        state.execution().stop_signal = Some(name);
        Ok(())
    }

    /// HEALTHCHECK.
    pub fn healthcheck(
        &mut self,
        state: &mut State,
        site: &Site<'_>,
        instruction: &Instruction,
        flags: &[Flag],
        check: &Healthcheck,
    ) -> Result<(), Fault> {
        state.execution().healthcheck = Some(health::health(site, flags, check)?);
        state.note(format!("HEALTHCHECK {}", instruction.raw.trim()));
        Ok(())
    }

    /// MAINTAINER.
    pub fn maintainer(&mut self, state: &mut State, author: &Word) -> Result<(), Fault> {
        state.config.author = Some(author.value.clone());
        state.note(format!("MAINTAINER {}", author.value));
        Ok(())
    }

    /// ONBUILD: kept as text for images and stages built from this one.
    pub fn onbuild(&mut self, state: &mut State, text: &str) -> Result<(), Fault> {
        state.execution().on_build.get_or_insert_default().push(text.to_owned());
        state.note(format!("ONBUILD {text}"));
        Ok(())
    }
}

/// The words of a CMD or ENTRYPOINT: shell form by SHELL.
fn with_shell(state: &State, command: &Command) -> Vec<String> {
    match command {
        Command::Shell { text, .. } => {
            let mut words = state.shell();
            words.push(text.value.clone());
            words
        }
        Command::Exec { argv, .. } => argv.iter().map(|word| word.value.clone()).collect(),
    }
}

/// Whether an ARG of this name is passed to RUN without being declared.
pub fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}
