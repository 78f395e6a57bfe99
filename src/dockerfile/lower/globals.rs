//! What is decided before any stage: the target, the global ARGs, and whether every build argument is asked for.

use super::scope;
use super::stages::{self, suggest};
use super::walk::Walk;
use crate::diag::{Diagnostic, Span};
use crate::dockerfile::ast::{Instruction, Kind};
use crate::dockerfile::expand::Quotes;

impl Walk<'_> {
    /// The target's index; from then on the automatic ARGs are known.
    pub fn target(&mut self) -> Result<usize, Vec<Diagnostic>> {
        let target = stages::target(&self.stages, self.options.target.as_deref(), self.file)?;
        // As it was asked for, which may be in another case.
        let name = self.options.target.clone().or_else(|| self.stages[target].name.clone());
        let name = name.unwrap_or_else(|| "default".into());
        self.automatic = scope::automatic(self.options, &name);
        Ok(target)
    }

    /// A frontend that replaces the Dockerfile's by build argument; `# syntax=` is the parser's.
    pub(super) fn syntax(&mut self) {
        let Some(chosen) = self.options.build_args.get("BUILDKIT_SYNTAX") else { return };
        let name = chosen.strip_prefix("docker.io/").unwrap_or(chosen);
        if !name.starts_with("docker/dockerfile") {
            let message = format!("BUILDKIT_SYNTAX names the frontend `{chosen}`, and rbuild runs no frontends");
            let fault = Diagnostic::error("unsupported-frontend", message, &self.file.source, Span::default());
            self.diagnostics
                .push(Diagnostic { labels: Vec::new(), source: None, ..fault }.help("drop the build argument"));
        }
    }

    /// The ARGs before the first FROM, from top to bottom.
    pub(super) fn global_args(&mut self, head: &[Instruction]) {
        for instruction in &self.file.instructions {
            if let Kind::Arg(args) = &instruction.kind {
                self.declared.extend(args.iter().map(|(name, _)| name.value.clone()));
            }
        }
        let site = self.site();
        // The target's name is not known yet, and TARGETSTAGE is for stages anyway.
        let automatic = scope::automatic(self.options, "default");
        for instruction in head {
            let Kind::Arg(args) = &instruction.kind else { continue };
            for (name, default) in args {
                let value = match (self.options.build_args.get(&name.value), default) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => {
                        let globals = &self.globals;
                        let lookup = |name: &str| globals.value(name).or(automatic.value(name)).map(str::to_owned);
                        match site.expand(default, site.escape, Quotes::Remove, &lookup) {
                            Ok(expanded) => Some(expanded.text),
                            Err(fault) => {
                                self.diagnostics.push(*fault);
                                None
                            }
                        }
                    }
                    (None, None) => automatic.value(&name.value).map(str::to_owned),
                };
                self.globals.declare(&name.value, value);
            }
        }
    }

    /// A build argument that no ARG asks for is most likely misspelt.
    pub(super) fn undeclared_build_args(&mut self) {
        for name in self.options.build_args.keys() {
            let predefined = scope::PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
                || scope::SPECIAL.contains(&name.as_str())
                || self.automatic.declared(name);
            if predefined || self.declared.contains(name) {
                continue;
            }
            let message = format!("build argument `{name}` is not declared by any ARG, so it has no effect");
            let warning = Diagnostic::warning("unused-build-arg", message, &self.file.source, Span::default());
            // It stands on the command line, not in the file.
            let warning = Diagnostic { labels: Vec::new(), source: None, ..warning };
            let warning = suggest(warning, name, self.declared.iter().map(String::as_str));
            self.diagnostics.push(if warning.help.is_empty() {
                warning.help(format!("declare it in the stage that uses it: ARG {name}"))
            } else {
                warning
            });
        }
    }
}
