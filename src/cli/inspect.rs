//! `rbuild inspect`.

use super::failure::Failure;
use super::{Session, listing};
use crate::export::{images, inspect};
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
  rbuild inspect -f '{{json .Config.Env}}' app    one part of it")]
pub struct InspectArgs {
    /// Names, image IDs or prefixes of IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// `json` (on one line) or a template such as '{{.Id}}'
    #[arg(short, long, value_name = "FORMAT", value_parser = listing::template)]
    format: Option<Template>,
}

/// Prints a JSON array, or a line for each image by the template.
pub fn run(args: &InspectArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(Access::Shared)?;
    let mut documents = Vec::with_capacity(args.images.len());
    for text in &args.images {
        documents.push(inspect::inspect(&store, &images::resolve(&store, text)?)?);
    }
    match &args.format {
        Some(template) => listing::print(template, documents),
        // JSON escapes control characters below U+0020; it is data for programs and otherwise left as it is.
        None => Ok(out::line(&format!("{:#}", Value::Array(documents)))?),
    }
}
