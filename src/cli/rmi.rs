//! `rbuild rmi`.

use super::Session;
use super::failure::Failure;
use crate::export::images;
use crate::store::Access;
use crate::ui::{out, report};
use clap::Args;

/// Arguments of `rmi`.
#[derive(Debug, Args)]
#[command(after_help = "\
An image goes with its last name. Its layers stay as build cache until `rbuild prune`.

Examples:
  rbuild rmi app:old
  rbuild rmi --force 1f2e3d4c5b6a        an image with all its names")]
pub struct RmiArgs {
    /// Names, image IDs or prefixes of IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// Remove all names of an image given by ID; images that are not there are no error
    #[arg(short, long)]
    force: bool,
}

/// Takes names away, and images with their last one. All are tried; the first failure is what the command ends with.
pub fn run(args: &RmiArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(Access::Shared)?;
    let mut first: Option<Failure> = None;
    for text in &args.images {
        match images::remove(&store, text, args.force) {
            Ok(removed) => {
                for name in &removed.untagged {
                    out::line(&format!("Untagged: {name}"))?;
                }
                if let Some(id) = &removed.deleted {
                    out::line(&format!("Deleted: {id}"))?;
                }
            }
            Err(error) if args.force && error.is_not_found() => report::warning(&error.to_string()),
            Err(error) if first.is_none() => first = Some(error.into()),
            Err(error) => report::show(&report::error(&error)),
        }
    }
    first.map_or(Ok(()), Err)
}
