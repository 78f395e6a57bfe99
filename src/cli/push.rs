//! `rbuild push`.

use super::Session;
use super::failure::Failure;
use crate::export::{Packing, images};
use crate::image::Reference;
use crate::registry::{self, Keyring};
use crate::store::Access;
use crate::ui::{out, report};
use clap::{Args, ValueEnum};

/// Arguments of `push`.
#[derive(Debug, Args)]
#[command(after_help = "\
What the registry has is not sent again. Layers that were pulled packed go as they came; others are packed, to the same bytes
on every machine.

Examples:
  rbuild push ghcr.io/me/app:1.2
  rbuild push app ghcr.io/me/app:1.2           the image `app` under another name
  rbuild push --compression zstd localhost:5000/app")]
pub struct PushArgs {
    /// How layers are packed that are not packed yet
    #[arg(long, value_enum, value_name = "KIND", default_value_t = CompressionArg::Gzip)]
    compression: CompressionArg,

    /// How hard layers are packed: 0 to 9 for gzip [default: 6], 1 to 22 for zstd [default: 3]
    #[arg(long, value_name = "N")]
    compression_level: Option<i32>,

    /// Pack layers anew that came packed in another way
    #[arg(long)]
    force_compression: bool,

    /// Print only the digest
    #[arg(short, long)]
    quiet: bool,

    /// The image: a name or an ID
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The name to push to, if it is another
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

/// `--compression`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompressionArg {
    /// Read by everything
    Gzip,
    /// Smaller, and faster to unpack
    Zstd,
    /// Plain tars
    None,
}

impl PushArgs {
    fn packing(&self) -> Result<Packing, Failure> {
        let packing = match self.compression {
            CompressionArg::Gzip => Packing::GZIP,
            CompressionArg::Zstd => Packing::ZSTD,
            CompressionArg::None => Packing::NONE,
        };
        let packing = Packing { level: self.compression_level, force: self.force_compression, ..packing };
        packing.check().map_err(|reason| Failure::usage(format!("--compression-level: {reason}")))?;
        Ok(packing)
    }
}

/// Pushes an image.
pub fn run(args: &PushArgs, session: &Session) -> Result<(), Failure> {
    let name: Reference = args.name.as_deref().unwrap_or(&args.image).parse()?;
    session.enter_to_write()?;
    let store = session.open_store(Access::Shared)?;
    let cancel = session.watch();
    let image = images::resolve(&store, &args.image)?;
    let (settings, keyring) = (session.config.registries(), Keyring::from_environment());
    let packing = args.packing()?;
    let tell = |text: &str| {
        if !args.quiet {
            report::show(&format!("{}\n", crate::ui::sanitize::line(text)));
        }
    };
    let pushed = registry::push(&store, &image, &name, packing, &settings, &keyring, &tell, &cancel)?;
    if args.quiet {
        out::line(&pushed.digest.to_string())?;
        return Ok(());
    }
    out::line(&format!("Pushed: {} ({} blobs sent, {} present)", name.familiar(), pushed.sent, pushed.present))?;
    out::line(&format!("Digest: {}", pushed.digest))?;
    Ok(())
}
