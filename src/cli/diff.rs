//! `rbuild diff`.

use super::failure::Failure;
use super::{Session, listing};
use crate::export::{diff, images};
use crate::store::Access;
use crate::tree::Trees;
use crate::ui::template::Template;
use clap::Args;
use serde_json::json;

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
A: added, C: changed, D: deleted. Times are no difference.

Examples:
  rbuild diff app:1 app:2
  rbuild diff --format '{{.Mark}} {{.Path}} {{.What}}' app:1 app:2

Fields for --format: Mark, Path, What, SizeBefore, SizeAfter.")]
pub struct DiffArgs {
    /// The image before: a name, an image ID or a prefix of one
    #[arg(value_name = "A")]
    before: String,

    /// The image after
    #[arg(value_name = "B")]
    after: String,

    /// `json`, `table …` or a template
    #[arg(long, value_name = "FORMAT", value_parser = listing::template, default_value = "{{.Mark}} {{.Path}}")]
    format: Template,
}

/// Lists the paths that differ.
pub fn run(args: &DiffArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(Access::Shared)?;
    let trees = Trees::new(&store);
    let found = diff::diff(&trees, &images::resolve(&store, &args.before)?, &images::resolve(&store, &args.after)?)?;
    let rows = found.into_iter().map(|difference| {
        json!({
            "Mark": difference.mark.letter().to_string(),
            // A line feed in a name must not look like another path.
            "Path": String::from_utf8_lossy(&difference.path).replace('\n', "\\n"),
            "What": difference.what.join(","),
            "SizeBefore": difference.sizes.0,
            "SizeAfter": difference.sizes.1,
        })
    });
    listing::print(&args.format, rows)
}
