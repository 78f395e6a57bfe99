//! `rbuild import`.

use super::failure::Failure;
use super::{Session, values};
use crate::base::fs;
use crate::export::import::{Options, import};
use crate::image::Platform;
use crate::image::Reference;
use crate::store::Access;
use crate::ui::out;
use clap::Args;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
The tar may be plain or packed with gzip, zstd, xz or bzip2. Prints the image ID.

Examples:
  rbuild import rootfs.tar.zst base-os
  mmdebstrap bookworm | rbuild import - debian:12
  rbuild import -c 'CMD [\"/bin/bash\"]' -c 'ENV LANG=C.UTF-8' rootfs.tar base-os")]
pub struct ImportArgs {
    /// The root filesystem as a tar; `-` reads standard input
    #[arg(value_name = "ROOTFS.tar")]
    tar: PathBuf,

    /// The image's name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,

    /// An instruction for the image's configuration: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR …
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,

    /// What the history says instead of `rbuild import …`
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
}

/// Makes an image of one layer.
pub fn run(args: &ImportArgs, session: &Session) -> Result<(), Failure> {
    let name = args.name.as_deref().map(str::parse::<Reference>).transpose()?;
    let options =
        Options { changes: args.changes.clone(), message: args.message.clone(), epoch: values::epoch_variable()? };
    session.enter_to_write()?;
    let store = session.open_store(Access::Shared)?;
    let cancel = session.watch();
    let (mut reader, place): (Box<dyn Read + Send>, &Path) = match args.tar.as_os_str() == "-" {
        true => (Box::new(std::io::stdin()), Path::new("standard input")),
        false => (Box::new(fs::open(&args.tar)?), &args.tar),
    };
    let platform = Platform::default();
    let written = import(&store, &mut *reader, place, name.as_ref(), &platform, &options, &cancel)?;
    out::line(&written.id.to_string())?;
    Ok(())
}
