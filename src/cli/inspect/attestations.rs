//! `rbuild inspect --attestations`.

use super::InspectArgs;
use crate::attest::{Statement, summary};
use crate::cli::failure::Failure;
use crate::cli::{Session, listing};
use crate::export::document::{self, Document};
use crate::export::referrers::Artifact;
use crate::export::{ExportError, images, referrers};
use crate::image::{Descriptor, Platform, Reference};
use crate::registry::{self, Keyring, Registries};
use crate::store::{Access, Store};
use crate::ui::table::{Table, size};
use crate::ui::{out, report};
use serde_json::json;

/// What is said of one image.
struct Said {
    /// Its name, with its platform if it is one of an index.
    name: String,
    artifacts: Vec<Artifact>,
}

/// Prints a table of what is said, or a line for each statement by the template (`json`: all of it).
pub fn run(args: &InspectArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(Access::Shared)?;
    let mut statements = Vec::new();
    for text in &args.images {
        for said in found(args, session, &store, text)? {
            for artifact in &said.artifacts {
                let sizes = artifact.statements().map(|(_, bytes)| bytes.len() as u64).collect::<Vec<_>>();
                match Statement::all(artifact) {
                    Ok(all) => {
                        statements.extend(all.into_iter().zip(sizes).map(|(s, size)| (said.name.clone(), s, size)))
                    }
                    // Others may put anything there, such as an envelope with a signature.
                    Err(error) => report::warning(&error.to_string()),
                }
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

/// What the store has of an image, else its registry.
fn found(args: &InspectArgs, session: &Session, store: &Store, text: &str) -> Result<Vec<Said>, Failure> {
    let named =
        |platform: Option<&Platform>| platform.map_or(text.to_owned(), |platform| format!("{text} ({platform})"));
    match images::resolve_root(store, text) {
        Ok((root, _)) if !args.remote => {
            let Document::Index(index) = document::read(store, &root)? else {
                return Ok(vec![Said { name: named(None), artifacts: referrers::of(store, &root)? }]);
            };
            let here = document::stored(store, &index);
            let images = here.pick_all(args.platform.as_slice()).map_err(|wanted| ExportError::Platform {
                image: text.to_owned(),
                wanted: wanted.to_string(),
                stored: here.platforms(),
                missing: document::missing(store, &index),
            })?;
            let said = |(image, platform): (&Descriptor, Option<Platform>)| {
                Ok(Said { name: named(platform.as_ref()), artifacts: referrers::of(store, &image.digest)? })
            };
            images.into_iter().map(said).collect()
        }
        Err(error) if !args.remote && !error.is_not_found() => Err(error.into()),
        // What is no name is not in a registry either.
        Err(error) if text.parse::<Reference>().is_err() => Err(error.into()),
        _ => {
            let (settings, keyring) = (&session.config.registries(), &Keyring::from_environment());
            let registries = Registries { settings, keyring, watch: &|_, _| {}, cancel: &session.watch() };
            let all = registry::attestations(&text.parse()?, args.platform.as_slice(), &registries)?;
            let said = |said: registry::Said| Said { name: named(said.platform.as_ref()), artifacts: said.artifacts };
            Ok(all.into_iter().map(said).collect())
        }
    }
}
