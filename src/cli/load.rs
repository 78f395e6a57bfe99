//! `rbuild load`.

use super::failure::Failure;
use super::{Session, values};
use crate::export::load::{Input, load};
use crate::image::Platform;
use crate::image::Reference;
use crate::store::Access;
use crate::ui::out;
use clap::Args;
use std::io::IsTerminal;
use std::path::PathBuf;

/// Arguments of `load`.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads what `docker save`, `podman save`, `skopeo copy` and `rbuild save` write: OCI layouts (an archive or a directory) and
docker archives, also compressed.

Examples:
  rbuild load -i app.tar
  docker save debian:12 | rbuild load
  rbuild load -i layout-directory --name app:imported")]
pub struct LoadArgs {
    /// The archive or directory; `-` or none: standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Give the image this name instead of those in the archive
    #[arg(long, value_name = "NAME[:TAG]")]
    name: Option<String>,

    /// Of an index only the image for this platform [default: all that the archive holds]
    #[arg(long, value_name = "PLATFORM", value_parser = values::platform)]
    platform: Option<Platform>,

    /// Print only the image IDs
    #[arg(short, long)]
    quiet: bool,
}

/// Reads images from an archive.
pub fn run(args: &LoadArgs, session: &Session) -> Result<(), Failure> {
    let name = args.name.as_deref().map(str::parse::<Reference>).transpose()?;
    session.enter_to_write()?;
    let store = session.open_store(Access::Shared)?;
    let cancel = session.watch();
    let path = args.input.as_deref().filter(|path| path.as_os_str() != "-");
    let mut stdin = std::io::stdin();
    if path.is_none() && stdin.is_terminal() {
        return Err(Failure::usage("there is no archive on standard input").help("name one with `-i FILE`"));
    }
    let input = match path {
        Some(path) => Input::Path(path),
        None => Input::Stream(&mut stdin),
    };
    for image in load(&store, input, name.as_ref(), args.platform.as_ref(), &cancel)? {
        if args.quiet {
            out::line(&image.index.unwrap_or(image.id).to_string())?;
            continue;
        }
        for name in &image.names {
            out::line(&format!("Loaded image: {}", name.familiar()))?;
        }
        if image.names.is_empty() {
            out::line(&format!("Loaded image ID: {}", image.index.unwrap_or(image.id)))?;
        }
    }
    Ok(())
}
