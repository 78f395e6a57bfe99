//! `rbuild tag`.

use super::Session;
use super::failure::Failure;
use crate::export::images;
use crate::image::Reference;
use crate::store::Access;
use clap::Args;

/// Arguments of `tag`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  rbuild tag app registry.example.org/team/app:1.2")]
pub struct TagArgs {
    /// A name, an image ID or a prefix of one
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The further name
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

/// Gives an image one more name.
pub fn run(args: &TagArgs, session: &Session) -> Result<(), Failure> {
    let name: Reference = args.name.parse()?;
    let store = session.open_store(Access::Shared)?;
    let (root, _) = images::resolve_root(&store, &args.image)?;
    images::tag(&store, &root, &name)?;
    Ok(())
}
