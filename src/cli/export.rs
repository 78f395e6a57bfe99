//! `rbuild export`.

use super::failure::Failure;
use super::{Session, values};
use crate::export::output::Output;
use crate::export::{images, rootfs};
use crate::image::Platform;
use crate::store::Access;
use crate::ui::report;
use clap::Args;
use std::path::{Path, PathBuf};

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rbuild export app -o rootfs.tar
  rbuild export app | tar t
  rbuild export app -o out/              into a directory: all files belong to you")]
pub struct ExportArgs {
    /// A name, an image ID or a prefix of one
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Of an index the image for this platform [default: this machine's]
    #[arg(long, value_name = "PLATFORM", value_parser = values::platform)]
    #[arg(env = "DOCKER_DEFAULT_PLATFORM", hide_env_values = true)]
    platform: Option<Platform>,

    /// The tar to write, or a directory (one that is there, or a path that ends with `/`); `-` or none: standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes an image's root filesystem.
pub fn run(args: &ExportArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(Access::Shared)?;
    let image = images::resolve_for(&store, &args.image, &args.platform.clone().unwrap_or_default())?;
    let layers = &image.config.rootfs.diff_ids;
    let cancel = session.watch();
    let Some(directory) = args.output.as_deref().filter(|path| is_directory(path)) else {
        let mut out = Output::create(args.output.as_deref())?;
        rootfs::write_tar(&store, layers, &mut out, &cancel)?;
        return Ok(out.finish()?);
    };
    let skipped = rootfs::write_dir(&store, layers, directory, &cancel)?;
    if skipped.devices > 0 {
        report::warning(&format!("{} device nodes were left out: only the superuser may make them", skipped.devices));
    }
    if skipped.setid > 0 {
        report::warning(&format!("{} files lost their setuid or setgid bit", skipped.setid));
    }
    Ok(())
}

fn is_directory(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}
