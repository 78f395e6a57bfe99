//! `rbuild inspect`.

use super::failure::Failure;
use super::{Session, listing, values};
use crate::attest::{Statement, summary};
use crate::export::{images, inspect, referrers};
use crate::image::{Platform, Reference};
use crate::registry::{self, Keyring, Registries};
use crate::store::Access;
use crate::ui::table::{Table, size};
use crate::ui::template::Template;
use crate::ui::{out, report};
use clap::Args;
use serde_json::{Value, json};

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

    /// Of an index the image for this platform [default: this machine's]
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
        return attestations(args, session);
    }
    let store = session.open_store(Access::Shared)?;
    let mut documents = Vec::with_capacity(args.images.len());
    for text in &args.images {
        let platform = args.platform.clone().unwrap_or_default();
        documents.push(inspect::inspect(&store, &images::resolve_for(&store, text, &platform)?)?);
    }
    match &args.format {
        Some(template) => listing::print(template, documents),
        // JSON escapes control characters below U+0020; it is data for programs and otherwise left as it is.
        None => Ok(out::line(&format!("{:#}", Value::Array(documents)))?),
    }
}

/// Prints a table of what is said, or a line for each statement by the template (`json`: all of it).
fn attestations(args: &InspectArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(Access::Shared)?;
    let cancel = session.watch();
    let mut statements = Vec::new();
    for text in &args.images {
        let artifacts = match images::resolve_for(&store, text, &args.platform.clone().unwrap_or_default()) {
            Ok(image) if !args.remote => referrers::of(&store, &image.manifest_digest)?,
            Err(error) if !args.remote && !error.is_not_found() => return Err(error.into()),
            // What is no name is not in a registry either.
            Err(error) if text.parse::<Reference>().is_err() => return Err(error.into()),
            _ => {
                let (settings, keyring) = (&session.config.registries(), &Keyring::from_environment());
                let registries = Registries { settings, keyring, watch: &|_, _| {}, cancel: &cancel };
                registry::attestations(&text.parse()?, &args.platform.clone().unwrap_or_default(), &registries)?
                    .artifacts
            }
        };
        for artifact in &artifacts {
            let sizes = artifact.statements().map(|(_, bytes)| bytes.len() as u64).collect::<Vec<_>>();
            match Statement::all(artifact) {
                Ok(all) => statements.extend(all.into_iter().zip(sizes).map(|(one, size)| (text.clone(), one, size))),
                // Others may put anything there, such as an envelope with a signature.
                Err(error) => report::warning(&error.to_string()),
            }
        }
    }
    statements.retain(|(_, statement, _)| args.kind.as_deref().is_none_or(|kind| summary::is_of(statement, kind)));
    statements.sort_by(|a, b| (&a.0, &a.1.predicate_type).cmp(&(&b.0, &b.1.predicate_type)));
    if let Some(template) = &args.format {
        return listing::print(template, statements.into_iter().map(|(_, statement, _)| json!(statement)));
    }
    let mut table = Table::new(&["IMAGE", "KIND", "SIZE", "SAYS"]);
    for (name, statement, length) in &statements {
        let kind = summary::kind(&statement.predicate_type).to_owned();
        table.row([name.clone(), kind, size(*length), summary::line(statement)]);
    }
    Ok(out::write(table.render().as_bytes())?)
}
