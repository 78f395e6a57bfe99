//! `rbuild push`.

use super::failure::Failure;
use super::{Session, values};
use crate::export::{Packing, images, index};
use crate::image::{Platform, Reference};
use crate::net::transfer::News;
use crate::registry::{self, Keyring, Registries};
use crate::store::Access;
use crate::ui::out;
use crate::ui::progress::Progress;
use clap::Args;
use std::str::FromStr;

/// Arguments of `push`.
#[derive(Debug, Args)]
#[command(after_help = "\
What the registry has is not sent again. Layers that were pulled packed go as they came; others are packed, to the same bytes
on every machine.

Examples:
  rbuild push ghcr.io/me/app:1.2
  rbuild push app ghcr.io/me/app:1.2           the image `app` under another name
  rbuild push --compression zstd:9 localhost:5000/app
  rbuild push --compression zstd --force-compression debian localhost:5000/debian
  rbuild push --platform linux/amd64 me/app    one image of an index")]
pub struct PushArgs {
    /// How layers are packed that are not packed yet: gzip, zstd or none
    #[arg(long, value_name = "KIND[:LEVEL]", default_value = "gzip")]
    compression: CompressionArg,

    /// How hard layers are packed: 0 to 9 for gzip [default: 6], 1 to 22 for zstd [default: 3]
    #[arg(long, value_name = "N")]
    compression_level: Option<i32>,

    /// Of an index only these platforms [default: all]
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',', value_parser = values::platform)]
    platforms: Vec<Platform>,

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

/// `--compression`: `zstd`, `gzip:9`, `none`.
#[derive(Clone, Copy, Debug)]
struct CompressionArg {
    packing: Packing,
    level: Option<i32>,
}

impl FromStr for CompressionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<CompressionArg, String> {
        let (kind, level) = text.split_once(':').map_or((text, None), |(kind, level)| (kind, Some(level)));
        let packing = match kind {
            "gzip" => Packing::GZIP,
            "zstd" => Packing::ZSTD,
            "none" | "uncompressed" => Packing::NONE,
            _ => return Err("it is gzip, zstd or none".to_owned()),
        };
        let level = level.map(|level| level.parse().map_err(|_| format!("'{level}' is no level"))).transpose()?;
        Ok(CompressionArg { packing, level })
    }
}

impl PushArgs {
    fn packing(&self) -> Result<Packing, Failure> {
        let CompressionArg { packing, level } = self.compression;
        let level = self.compression_level.or(level);
        let packing = Packing { level, force: self.force_compression, ..packing };
        packing.check().map_err(|reason| Failure::usage(format!("the level of compression: {reason}")))?;
        Ok(packing)
    }
}

/// Pushes an image.
pub fn run(args: &PushArgs, session: &Session) -> Result<(), Failure> {
    let name: Reference = args.name.as_deref().unwrap_or(&args.image).parse()?;
    session.enter_to_write()?;
    let store = session.open_store(Access::Shared)?;
    let cancel = session.watch();
    let (root, _) = images::resolve_root(&store, &args.image)?;
    let chosen = index::chosen(&store, &root, &args.platforms).map_err(|error| error.of_image(&args.image))?;
    let (settings, keyring) = (session.config.registries(), Keyring::from_environment());
    let packing = args.packing()?;
    let progress = Progress::of_exchanges(args.quiet);
    let watch = |name: &str, news: News| progress.exchange(name, news);
    let registries = Registries { settings: &settings, keyring: &keyring, watch: &watch, cancel: &cancel };
    let pushed = registry::push(&store, &chosen, &name, packing, &registries)?;
    progress.finish();
    if args.quiet {
        out::line(&pushed.digest.to_string())?;
        return Ok(());
    }
    out::line(&format!("Pushed: {} ({} blobs sent, {} present)", name.familiar(), pushed.sent, pushed.present))?;
    out::line(&format!("Digest: {}", pushed.digest))?;
    if pushed.said > 0 {
        out::line(&format!("Attestations: {}", pushed.said))?;
    }
    Ok(())
}
