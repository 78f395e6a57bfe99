//! COPY and ADD (dockerfile.md names the cases C1–C33; those that need the files are the copy step's).

use super::images::Origin;
use super::path;
use super::remote;
use super::site::{Fault, Site};
use super::state::State;
use super::walk::{Walk, label};
use super::{chmod, history};
use crate::dockerfile::ast::{self, Flag, Heredoc, Instruction, Operand, Word};
use crate::dockerfile::expand::Quotes;
use crate::graph::remote::redacted;
use crate::graph::{CopyOp, CopySource, Op, Remote};

/// What `--from` says and means.
struct Named<'c> {
    word: &'c Word,
    origin: Origin,
}

/// Flags that are about sources and not about the step.
#[derive(Default)]
struct SourceFlags<'c> {
    from: Option<Named<'c>>,
    /// `--checksum`, where it stands and expanded.
    checksum: Option<(&'c Word, String)>,
    /// `--keep-git-dir`, where it stands.
    keep_git_dir: Option<(&'c Flag, bool)>,
}

impl SourceFlags<'_> {
    /// A checksum is that of one thing (dockerfile.md C30).
    fn only_for_remote(&self, site: &Site<'_>, copy: &ast::Copy) -> Result<(), Fault> {
        match &self.checksum {
            Some((word, _)) if copy.sources.len() > 1 => {
                let message = format!("one checksum can't be that of {} sources", copy.sources.len());
                Err(site.error("checksum-of-many", message, word.span).help("write one ADD for each source").into())
            }
            _ => Ok(()),
        }
    }
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
        let (mut op, flags) = self.copy_flags(state, site, copy)?;
        flags.only_for_remote(site, copy)?;
        for operand in &copy.sources {
            let source = match operand {
                Operand::Heredoc(heredoc) => self.inline(state, site, heredoc)?,
                Operand::Path(word) => self.copy_path(state, site, copy.is_add, word, &flags)?,
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
        op.dest = path::absolute_dest(&state.workdir(), &written);
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
    ) -> Result<(CopyOp, SourceFlags<'c>), Fault> {
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
            unpack_remote: false,
            with_libs: false,
            is_add: copy.is_add,
        };
        let mut flags = SourceFlags::default();
        for flag in &copy.flags {
            let name = flag.name.value.as_str();
            match name {
                "link" => op.link = site.flag_bool(flag)?,
                "parents" => op.parents = site.flag_bool(flag)?,
                "with-libs" => op.with_libs = site.flag_bool(flag)?,
                "unpack" => {
                    op.unpack = site.flag_bool(flag)?;
                    op.unpack_remote = op.unpack;
                }
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
                    flags.from = Some(Named { word, origin: self.origin(site, self.index, word, true)? });
                }
                "checksum" => {
                    let word = site.flag_value(flag)?;
                    // As with --chown: a variable that is not set asks for nothing.
                    let text = self.expand(state, site, word)?;
                    flags.checksum = Some((word, text)).filter(|(_, text)| !text.is_empty());
                }
                "keep-git-dir" => flags.keep_git_dir = Some((flag, site.flag_bool(flag)?)),
                _ => return Err(site.unsupported_flag(if copy.is_add { "ADD" } else { "COPY" }, flag)),
            }
        }
        Ok((op, flags))
    }

    fn copy_path(
        &mut self,
        state: &State,
        site: &Site<'_>,
        is_add: bool,
        word: &Word,
        flags: &SourceFlags<'_>,
    ) -> Result<CopySource, Fault> {
        let mut pattern = self.expand(state, site, word)?;
        if pattern.is_empty() && word.value.contains('$') {
            return Err(site
                .error("empty-source", format!("`{}` is empty after expansion", word.value), word.span)
                .note("an empty source would mean everything")
                .help("write . for everything, or set the variable")
                .into());
        }
        if pattern.is_empty() {
            let warning = site.warning("empty-source", "an empty source means everything", word.span);
            self.diagnostics.push(warning.help("write . instead"));
            pattern = ".".into();
        }
        if is_add && let Some(remote) = remote::parse(&pattern) {
            return self.remote(site, word, pattern, remote, flags);
        }
        let local = format!("`{pattern}` is a file of the build context");
        if let Some((word, _)) = &flags.checksum {
            let fault = site.error("flag-for-remote", "--checksum is for sources on the network", word.span);
            return Err(fault.note(local).into());
        }
        if let Some((flag, _)) = flags.keep_git_dir {
            let message = "--keep-git-dir means nothing for files that are here";
            self.diagnostics.push(site.warning("flag-for-remote", message, flag.name.span).note(local));
        }
        if !is_add && flags.from.is_none() && remote::parse(&pattern).is_some_and(|r| r.is_ok()) {
            return Err(site
                .error("copy-remote", "COPY does not take a URL", word.span)
                .help("COPY takes files of the build context; ADD is the instruction for URLs")
                .into());
        }
        match &flags.from {
            None => Ok(CopySource::Context { context: self.options.context, pattern }),
            Some(Named { word, origin }) => self.source(site, self.index, word, origin, pattern),
        }
    }

    /// A source on the network.
    fn remote(
        &mut self,
        site: &Site<'_>,
        word: &Word,
        text: String,
        remote: Result<Remote, remote::Invalid>,
        flags: &SourceFlags<'_>,
    ) -> Result<CopySource, Fault> {
        let shown = redacted(&text);
        let mut remote = remote.map_err(|reason| {
            site.error("invalid-remote", format!("`{shown}` can't be fetched: {reason}"), word.span)
        })?;
        if let Some((at, checksum)) = &flags.checksum {
            remote = remote
                .with_checksum(checksum)
                .map_err(|reason| site.error("invalid-checksum", reason.to_string(), at.span))?;
        }
        match (&mut remote, flags.keep_git_dir) {
            (Remote::Git(git), Some((_, keep))) => git.keep_git_dir = keep,
            (Remote::Http(_), Some((flag, _))) => {
                let message = "--keep-git-dir is for git repositories";
                return Err(site
                    .error("flag-for-git", message, flag.name.span)
                    .note(format!("`{shown}` is a file: the address of a repository ends with .git"))
                    .into());
            }
            (_, None) => {}
        }
        let path = match &remote {
            Remote::Http(http) => http.name.clone(),
            Remote::Git(_) => String::new(),
        };
        let step = self.fetch_step(&remote, site, word.span);
        Ok(CopySource::Remote { step, url: text, path })
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
