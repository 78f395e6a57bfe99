//! `rbuild push`.

use super::Session;
use super::failure::Failure;
use crate::export::images;
use crate::image::Reference;
use crate::registry::{self, Compression, Keyring};
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

/// Pushes an image.
pub fn run(args: &PushArgs, session: &Session) -> Result<(), Failure> {
    let name: Reference = args.name.as_deref().unwrap_or(&args.image).parse()?;
    session.enter_to_write()?;
    let store = session.open_store(Access::Shared)?;
    let cancel = session.watch();
    let image = images::resolve(&store, &args.image)?;
    let (settings, keyring) = (session.config.registries(), Keyring::from_environment());
    let compression = match args.compression {
        CompressionArg::Gzip => Compression::Gzip,
        CompressionArg::Zstd => Compression::Zstd,
        CompressionArg::None => Compression::None,
    };
    let tell = |text: &str| {
        if !args.quiet {
            report::show(&format!("{}\n", crate::ui::sanitize::line(text)));
        }
    };
    let pushed = registry::push(&store, &image, &name, compression, &settings, &keyring, &tell, &cancel)?;
    if args.quiet {
        out::line(&pushed.digest.to_string())?;
        return Ok(());
    }
    out::line(&format!("Pushed: {} ({} blobs sent, {} present)", name.familiar(), pushed.sent, pushed.present))?;
    out::line(&format!("Digest: {}", pushed.digest))?;
    Ok(())
}
