//! `rbuild pull`.

use super::Session;
use super::failure::Failure;
use crate::image::Platform;
use crate::image::Reference;
use crate::registry::{self, Keyring};
use crate::store::Access;
use crate::ui::{out, report};
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

    /// Print only the image IDs
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
    let tell = |text: &str| {
        if !args.quiet {
            report::show(&format!("{}\n", crate::ui::sanitize::line(text)));
        }
    };
    for name in &names {
        let pulled = registry::pull(&store, name, &Platform::default(), &settings, &keyring, &tell, &cancel)?;
        if args.quiet {
            out::line(&pulled.image.id.to_string())?;
            continue;
        }
        let what = if pulled.known { "Up to date" } else { "Pulled" };
        out::line(&format!("{what}: {}", name.familiar()))?;
        out::line(&format!("Digest: {}", pulled.digest))?;
    }
    Ok(())
}
