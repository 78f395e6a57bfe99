//! `rbuild lock`.

use super::Session;
use super::failure::{Code, Failure};
use super::inputs::{self, Asked, Prepared};
use super::manifest::ManifestArgs;
use super::secret::SecretArg;
use crate::pipeline::inputs::{LockFile, Update, update};
use crate::ui::{out, report};
use clap::Args;
use std::path::PathBuf;

/// What follows the options.
pub const HELP: &str = "\
Writes rbuild.lock beside the Dockerfile: the digests of the images that FROM, COPY --from and
mounts name, the sha256 of the files that ADD fetches, the commits of git repositories. A build uses
what the lock file says, whatever the names stand for by then. What the file has already is kept;
what the Dockerfile no longer names is dropped. See docs/lock.md.

Examples:
  rbuild lock                                         write it, or add what is missing
  rbuild lock --check                                 has anything changed? (exit code 1)
  rbuild lock --update                                look for newer ones of all
  rbuild lock --update=debian:12                      of one image alone
  rbuild build --locked .                             refuse to build with anything else";

/// Arguments of `lock`.
#[derive(Debug, Args)]
pub struct LockArgs {
    /// Which Dockerfile, and what it is given.
    #[command(flatten)]
    manifest: ManifestArgs,

    /// A secret for fetching files and repositories: id=ID[,src=FILE|,env=VAR]
    #[arg(long = "secret", value_name = "SECRET", value_parser = SecretArg::parse)]
    secrets: Vec<SecretArg>,

    /// The lock file [default: rbuild.lock beside the Dockerfile]
    #[arg(long, value_name = "FILE")]
    lock_file: Option<PathBuf>,

    /// Write nothing; list what --update would change and exit with 1 if that is anything
    #[arg(long)]
    check: bool,

    /// Look anew what all names stand for, or NAME alone: an image, an address, a repository
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with = "check"
    )]
    update: Vec<String>,

    /// Lock only what the target needs, not all stages
    #[arg(long)]
    needed: bool,

    /// The build context
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
}

/// Writes the lock file, or tells whether it is up to date.
pub fn run(args: &LockArgs, session: &Session) -> Result<(), Failure> {
    let asked = Asked {
        manifest: &args.manifest,
        secrets: &args.secrets,
        lock_file: args.lock_file.as_ref(),
        needed: args.needed,
        context: &args.context,
    };
    let Prepared { request, written, stages, further } = asked.prepare(session)?;
    let which = match args.update.as_slice() {
        [] if args.check => Update::All,
        [] => Update::Missing,
        names if names.iter().any(String::is_empty) => Update::All,
        names => Update::Named(names.to_vec()),
    };
    let updated = update(&request, &which, stages, &further, &inputs::tell)?;
    if let Some(word) = updated.strange.first() {
        let text = format!("'{word}' is no image, address or repository that the Dockerfile names");
        let known: Vec<String> = updated.lock.entries().into_keys().map(|name| name.to_string()).collect();
        return Err(Failure::new(Code::NotFound, text).help(format!("it names: {}", known.join(", "))));
    }
    let changes = written.lock.changes(&updated.lock);
    inputs::show_changes(&changes)?;
    let name = written.path.display().to_string();
    if args.check {
        if changes.is_empty() {
            return Ok(out::line(&format!("{name} is up to date"))?);
        }
        return Err(Failure::new(Code::Step, format!("{name} is out of date")).help("`rbuild lock --update`"));
    }
    let lock = LockFile { path: written.path, lock: updated.lock };
    lock.write()?;
    let what = inputs::counted(lock.lock.images.len(), lock.lock.files.len(), lock.lock.commits.len());
    report::show(&format!("{name}: {what}{}\n", if changes.is_empty() { ", unchanged" } else { "" }));
    Ok(())
}
