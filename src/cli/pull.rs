//! `rbuild pull`.

use super::failure::Failure;
use super::{Session, values};
use crate::export::referrers::{self, Artifact};
use crate::image::Platform;
use crate::image::Reference;
use crate::net::transfer::News;
use crate::registry::{self, Keyring, Platforms, Registries};
use crate::store::{Access, Store};
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
  rbuild pull localhost:5000/app:1
  rbuild pull --platform linux/arm64 debian
  rbuild pull --all-platforms debian           the whole index")]
pub struct PullArgs {
    /// What to pull: NAME[:TAG][@DIGEST]
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,

    /// Of an index the images for these platforms [default: this machine's]
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',', value_parser = values::platform)]
    #[arg(env = "DOCKER_DEFAULT_PLATFORM", hide_env_values = true)]
    platforms: Vec<Platform>,

    /// Of an index all images, whatever --platform says
    #[arg(long)]
    all_platforms: bool,

    /// Also take what is said of the images: provenance, bills of materials
    #[arg(long)]
    attestations: bool,

    /// Print only the digests
    #[arg(short, long)]
    quiet: bool,
}

impl PullArgs {
    /// None: all.
    fn named_platforms(&self) -> Vec<Platform> {
        match (self.all_platforms, self.platforms.as_slice()) {
            (true, _) => Vec::new(),
            (false, []) => vec![Platform::default()],
            (false, named) => named.to_vec(),
        }
    }

    fn platforms(&self) -> Platforms {
        match (self.all_platforms, self.platforms.as_slice()) {
            (true, _) => Platforms::All,
            (false, []) => (&Platform::default()).into(),
            (false, these) => Platforms::These(these.to_vec()),
        }
    }
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
        let pulled = registry::pull(&store, name, &args.platforms(), &registries)?;
        let said =
            if args.attestations { attestations(&store, name, &args.named_platforms(), &registries)? } else { 0 };
        all.push((pulled, said));
    }
    progress.finish();
    for (name, (pulled, said)) in names.iter().zip(&all) {
        if args.quiet {
            out::line(&pulled.digest.to_string())?;
            continue;
        }
        let what = if pulled.known { "Up to date" } else { "Pulled" };
        out::line(&format!("{what}: {}", name.familiar()))?;
        out::line(&format!("Digest: {}", pulled.digest))?;
        if args.attestations {
            out::line(&format!("Attestations: {said}"))?;
        }
    }
    Ok(())
}

/// Takes what is said of images that were pulled; how many statements these are.
fn attestations(
    store: &Store,
    name: &Reference,
    platforms: &[Platform],
    registries: &Registries<'_>,
) -> Result<usize, Failure> {
    let mut taken = 0;
    for said in registry::attestations(name, platforms, registries)? {
        // What BuildKit lists beside an image names no subject, and has its place in the index alone.
        let own = |artifact: &&Artifact| artifact.manifest.subject().is_some_and(|s| s.digest == said.manifest);
        if store.has_blob(&said.manifest) {
            let artifacts = said.artifacts.iter().filter(own);
            taken += artifacts.clone().count();
            referrers::replace(store, &said.manifest, artifacts)?;
        }
    }
    Ok(taken)
}
