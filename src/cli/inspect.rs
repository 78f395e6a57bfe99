//! `rbuild inspect`.

mod attestations;

use super::failure::Failure;
use super::{Session, listing, values};
use crate::export::{images, inspect};
use crate::image::Platform;
use crate::store::Access;
use crate::ui::out;
use crate::ui::template::Template;
use clap::Args;
use serde_json::Value;

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rbuild inspect app                              everything, as JSON
  rbuild inspect -f '{{json .Config.Env}}' app    one part of it
  rbuild inspect --attestations app               what is said of it: provenance, bills of materials
  rbuild inspect --attestations --type sbom --format json ghcr.io/me/app")]
pub struct InspectArgs {
    /// Names, image IDs or prefixes of IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// Of an index the image for this platform [default: this machine's; with --attestations all]
    #[arg(long, value_name = "PLATFORM", value_parser = values::platform)]
    #[arg(env = "DOCKER_DEFAULT_PLATFORM", hide_env_values = true)]
    platform: Option<Platform>,

    /// `json` (on one line) or a template such as '{{.Id}}'
    #[arg(short, long, value_name = "FORMAT", value_parser = listing::template)]
    format: Option<Template>,

    /// Show what is said of the images instead; an image that is not in the store is asked for at its registry
    #[arg(long)]
    attestations: bool,

    /// Only attestations of this kind: `provenance`, `sbom`, or a predicate type
    #[arg(long = "type", value_name = "KIND", requires = "attestations")]
    kind: Option<String>,

    /// Ask the registry, whatever the store has
    #[arg(long, requires = "attestations")]
    remote: bool,
}

/// Prints a JSON array, or a line for each image by the template.
pub fn run(args: &InspectArgs, session: &Session) -> Result<(), Failure> {
    if args.attestations {
        return attestations::run(args, session);
    }
    let store = session.open_store(Access::Shared)?;
    let mut documents = Vec::with_capacity(args.images.len());
    let platform = args.platform.clone().unwrap_or_default();
    for text in &args.images {
        documents.push(inspect::inspect(&store, &images::resolve_for(&store, text, &platform)?)?);
    }
    match &args.format {
        Some(template) => listing::print(template, documents),
        // JSON escapes control characters below U+0020; it is data for programs and otherwise left as it is.
        None => Ok(out::line(&format!("{:#}", Value::Array(documents)))?),
    }
}
