//! `rbuild pull`.

use super::Session;
use super::failure::Failure;
use crate::image::Platform;
use crate::image::Reference;
use crate::net::transfer::News;
use crate::registry::{self, Keyring, Registries};
use crate::store::Access;
use crate::ui::out;
use crate::ui::progress::Progress;
use clap::Args;

/// Arguments of `pull`.
#[derive(Debug, Args)]
#[command(after_help = "\
Names are as docker has them: `debian` is docker.io/library/debian:latest. Credentials are those of `rbuild login`, docker
and podman. How a registry is reached (plain HTTP, its own CA, mirrors) is set in the configuration file.

Examples:
  rbuild pull debian:bookworm-slim
  rbuild pull ghcr.io/me/app@sha256:…
  rbuild pull localhost:5000/app:1")]
pub struct PullArgs {
    /// What to pull: NAME[:TAG][@DIGEST]
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,

    /// Print only the digests
    #[arg(short, long)]
    quiet: bool,
}

/// Pulls images into the store.
pub fn run(args: &PullArgs, session: &Session) -> Result<(), Failure> {
    let names = args.images.iter().map(|text| text.parse()).collect::<Result<Vec<Reference>, _>>()?;
    session.enter_to_write()?;
    let store = session.open_store(Access::Shared)?;
    let cancel = session.watch();
    let (settings, keyring) = (session.config.registries(), Keyring::from_environment());
    let progress = Progress::of_exchanges(args.quiet);
    let watch = |name: &str, news: News| progress.exchange(name, news);
    let registries = Registries { settings: &settings, keyring: &keyring, watch: &watch, cancel: &cancel };
    let mut all = Vec::new();
    for name in &names {
        all.push(registry::pull(&store, name, &Platform::default(), &registries)?);
    }
    progress.finish();
    for (name, pulled) in names.iter().zip(&all) {
        if args.quiet {
            out::line(&pulled.digest.to_string())?;
            continue;
        }
        let what = if pulled.known { "Up to date" } else { "Pulled" };
        out::line(&format!("{what}: {}", name.familiar()))?;
        out::line(&format!("Digest: {}", pulled.digest))?;
    }
    Ok(())
}
