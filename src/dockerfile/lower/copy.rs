//! COPY and ADD (dockerfile.md names the cases C1–C33; those that need the files are the copy step's).

use super::images::Origin;
use super::path;
use super::site::{Fault, Site};
use super::state::State;
use super::walk::{Walk, label};
use super::{chmod, history};
use crate::dockerfile::ast::{self, Heredoc, Instruction, Operand, Word};
use crate::dockerfile::expand::Quotes;
use crate::graph::{CopyOp, CopySource, Op};

/// What `--from` says and means.
struct Named<'c> {
    word: &'c Word,
    origin: Origin,
}

impl Walk<'_> {
    /// COPY and ADD.
    pub fn copy(
        &mut self,
        state: &mut State,
        site: &Site<'_>,
        instruction: &Instruction,
        copy: &ast::Copy,
    ) -> Result<(), Fault> {
        let (mut op, from) = self.copy_flags(state, site, copy)?;
        for operand in &copy.sources {
            let source = match operand {
                Operand::Heredoc(heredoc) => self.inline(state, site, heredoc)?,
                Operand::Path(word) => self.copy_path(state, site, copy.is_add, word, from.as_ref())?,
            };
            op.sources.push(source);
        }
        let written = self.expand(state, site, &copy.dest)?;
        if op.sources.len() > 1 && !path::means_directory(&written) {
            let name = if copy.is_add { "ADD" } else { "COPY" };
            let message = format!("{name} has {} sources, so its destination should end in '/'", op.sources.len());
            let warning = site
                .warning("destination-not-directory", message, copy.dest.span)
                .note("the build fails if there are files among them and the image has no such directory")
                .help(format!("write {written}/"));
            self.diagnostics.push(warning);
        }
        op.dest = path::absolute_dest(state.workdir(), &written);
        let created_by = history::copy(&op, &written);
        let step = self.add(Op::Copy(op), label(instruction), site.step_span(instruction.span));
        state.advance(step, created_by);
        Ok(())
    }

    /// The step without sources and destination, and what `--from` names.
    fn copy_flags<'c>(
        &mut self,
        state: &State,
        site: &Site<'_>,
        copy: &'c ast::Copy,
    ) -> Result<(CopyOp, Option<Named<'c>>), Fault> {
        let mut op = CopyOp {
            base: state.root,
            sources: Vec::with_capacity(copy.sources.len()),
            dest: String::new(),
            chown: None,
            chmod: None,
            link: false,
            parents: false,
            exclude: Vec::new(),
            unpack: copy.is_add,
            with_libs: false,
            is_add: copy.is_add,
        };
        let mut from = None;
        for flag in &copy.flags {
            let name = flag.name.value.as_str();
            match name {
                "link" => op.link = site.flag_bool(flag)?,
                "parents" => op.parents = site.flag_bool(flag)?,
                "with-libs" => op.with_libs = site.flag_bool(flag)?,
                "unpack" => op.unpack = site.flag_bool(flag)?,
                "exclude" => op.exclude.push(site.flag_value(flag)?.value.clone()),
                "chown" => {
                    op.chown = Some(self.expand(state, site, site.flag_value(flag)?)?).filter(|v| !v.is_empty());
                }
                "chmod" => {
                    let word = site.flag_value(flag)?;
                    let mode = self.expand(state, site, word)?;
                    // As with --chown: a variable that is not set leaves the modes alone.
                    if !mode.is_empty() {
                        chmod::validate(&mode).map_err(|reason| {
                            site.error("invalid-mode", format!("`{mode}` is not a mode: {reason}"), word.span)
                                .help("write it as chmod takes it: 755, 0644, u=rwX,go=rX or +x")
                        })?;
                        op.chmod = Some(mode);
                    }
                }
                "from" => {
                    let word = site.flag_value(flag)?;
                    from = Some(Named { word, origin: self.origin(site, self.index, word, true)? });
                }
                "checksum" | "keep-git-dir" => {
                    return Err(site
                        .unsupported("add-remote-unsupported", format!("ADD --{name}"), flag.name.span)
                        .note("it is about files from the network")
                        .into());
                }
                _ => return Err(site.unsupported_flag(if copy.is_add { "ADD" } else { "COPY" }, flag)),
            }
        }
        Ok((op, from))
    }

    fn copy_path(
        &mut self,
        state: &State,
        site: &Site<'_>,
        is_add: bool,
        word: &Word,
        from: Option<&Named<'_>>,
    ) -> Result<CopySource, Fault> {
        let pattern = self.expand(state, site, word)?;
        if pattern.is_empty() {
            return Err(site
                .error("empty-source", format!("`{}` is empty after expansion", word.value), word.span)
                .note("an empty source would mean everything")
                .help("write . for everything, or set the variable")
                .into());
        }
        if is_add && let Some(what) = remote(&pattern) {
            return Err(site
                .unsupported("add-remote-unsupported", format!("ADD of {what}"), word.span)
                .help("fetch it beforehand and ADD the local file, or fetch it in a RUN")
                .into());
        }
        if !is_add && from.is_none() && pattern.contains("://") && remote(&pattern).is_some() {
            return Err(site
                .error("copy-remote", "COPY does not take a URL", word.span)
                .help("COPY takes files of the build context; ADD is the instruction for URLs")
                .into());
        }
        match from {
            None => Ok(CopySource::Context { context: None, pattern }),
            Some(Named { word, origin }) => self.source(site, self.index, word, origin, pattern),
        }
    }

    fn inline(&mut self, state: &State, site: &Site<'_>, heredoc: &Heredoc) -> Result<CopySource, Fault> {
        let name = &heredoc.name;
        if name.value.is_empty() || name.value.contains('/') || matches!(name.value.as_str(), "." | "..") {
            let message = format!("the heredoc's delimiter `{}` can't be a file name", name.value);
            return Err(site.error("heredoc-name", message, name.span).help("use a word such as EOF").into());
        }
        // Whatever `# escape=` says: heredocs have the shell's.
        let data = match heredoc.expand {
            true => self.expand_with(state, site, &heredoc.body, '\\', Quotes::Keep)?,
            false => heredoc.body.value.clone(),
        };
        Ok(CopySource::Inline { name: name.value.clone(), data })
    }
}

/// What a source is if it is not local.
fn remote(source: &str) -> Option<&'static str> {
    let lower = source.to_ascii_lowercase();
    let git = ["git@", "git://", "ssh://", "github.com/"].iter().any(|prefix| lower.starts_with(prefix));
    let http = lower.starts_with("http://") || lower.starts_with("https://");
    let path = lower.split(['#', '?']).next().unwrap_or_default();
    if git || (http && path.ends_with(".git")) {
        Some("a git repository")
    } else if http || lower.starts_with("ftp://") {
        Some("a URL")
    } else {
        None
    }
}
