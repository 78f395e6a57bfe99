//! `rbuild vendor`.

use super::Session;
use super::failure::Failure;
use super::inputs::{self, Asked, Prepared};
use super::manifest::ManifestArgs;
use super::secret::SecretArg;
use crate::pipeline::Pull;
use crate::pipeline::inputs::{LockFile, Update, update, vendor};
use crate::ui::{out, report};
use clap::Args;
use std::path::{Component, Path, PathBuf};

/// What follows the options.
pub const HELP: &str = "\
Collects the images (for --platform), files and commits that a Dockerfile names, as its lock file
has them, in an OCI image layout. A machine without a network builds the same image from it. A lock
file that is missing or incomplete is written; a directory beneath it is noted in it, and found by
later builds. See docs/lock.md.

Examples:
  rbuild vendor vendor                              beside the Dockerfile: found by builds
  rbuild build --offline .
  rbuild vendor /mnt/stick/app .
  rbuild build --offline --vendor /mnt/stick/app .  on another machine
  skopeo inspect oci:vendor:docker.io/library/debian:12";

/// Arguments of `vendor`.
#[derive(Debug, Args)]
pub struct VendorArgs {
    /// Which Dockerfile, and what it is given.
    #[command(flatten)]
    manifest: ManifestArgs,

    /// A secret for fetching files and repositories: id=ID[,src=FILE|,env=VAR]
    #[arg(long = "secret", value_name = "SECRET", value_parser = SecretArg::parse)]
    secrets: Vec<SecretArg>,

    /// The lock file [default: rbuild.lock beside the Dockerfile]
    #[arg(long, value_name = "FILE")]
    lock_file: Option<PathBuf>,

    /// Collect only what the target needs, not all stages
    #[arg(long)]
    needed: bool,

    /// The directory to fill: a new one, or one filled before
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// The build context
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
}

/// Fills the directory.
pub fn run(args: &VendorArgs, session: &Session) -> Result<(), Failure> {
    let asked = Asked {
        manifest: &args.manifest,
        secrets: &args.secrets,
        lock_file: args.lock_file.as_ref(),
        needed: args.needed,
        context: &args.context,
    };
    let Prepared { mut request, written, stages, further } = asked.prepare(session)?;
    request.pulling.when = Pull::Missing;
    let updated = update(&request, &Update::Missing, stages, &further, &inputs::tell)?;
    inputs::show_changes(&written.lock.changes(&updated.lock))?;
    let mut lock = LockFile { path: written.path, lock: updated.lock };
    request.targets[0].inputs.lock = Some(lock.clone());
    let collected = vendor(&request, stages, &further, &args.dir, &inputs::tell)?;
    let beneath = beneath(&lock.path, &args.dir);
    lock.lock.vendor = beneath.or(lock.lock.vendor);
    lock.write()?;
    let what = inputs::counted(collected.images, collected.files, collected.commits);
    out::line(&format!("{}: {what}", args.dir.display()))?;
    if lock.vendor().is_none() {
        report::show(&format!("build from it: rbuild build --offline --vendor {} …\n", args.dir.display()));
    }
    Ok(())
}

/// The directory's path below that of the lock file.
fn beneath(lock: &Path, dir: &Path) -> Option<String> {
    let parent = lock.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (parent, dir) = (std::fs::canonicalize(parent).ok()?, std::fs::canonicalize(dir).ok()?);
    let below = dir.strip_prefix(&parent).ok()?;
    let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    below.to_str().filter(|text| plain && !text.is_empty()).map(str::to_owned)
}
