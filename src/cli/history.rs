//! `rbuild history`.

use super::failure::Failure;
use super::{Session, listing, values};
use crate::base::clock;
use crate::export::inspect::HistoryRow;
use crate::export::{images, inspect};
use crate::image::Platform;
use crate::store::Access;
use crate::ui::table::{Table, ago, size};
use crate::ui::template::Template;
use crate::ui::{out, sanitize};
use clap::Args;
use serde_json::{Value, json};

/// Cells of CREATED BY that docker shows.
const CREATED_BY: usize = 45;

/// Arguments of `history`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rbuild history app
  rbuild history --no-trunc --format '{{.CreatedBy}}' app

Fields for --format: ID, CreatedAt, CreatedSince, CreatedBy, Size, Comment.")]
pub struct HistoryArgs {
    /// A name, an image ID or a prefix of one
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Of an index the image for this platform [default: this machine's]
    #[arg(long, value_name = "PLATFORM", value_parser = values::platform)]
    #[arg(env = "DOCKER_DEFAULT_PLATFORM", hide_env_values = true)]
    platform: Option<Platform>,

    /// Only the layers' IDs
    #[arg(short, long)]
    quiet: bool,

    /// Whole IDs and instructions
    #[arg(long)]
    no_trunc: bool,

    /// `json`, `table …` or a template such as '{{.CreatedBy}}'
    #[arg(long, value_name = "FORMAT", value_parser = listing::template)]
    format: Option<Template>,
}

/// Lists an image's history, newest first.
pub fn run(args: &HistoryArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(Access::Shared)?;
    let rows = inspect::history(
        &store,
        &images::resolve_for(&store, &args.image, &args.platform.clone().unwrap_or_default())?,
    )?;
    let now = clock::now();
    if args.quiet {
        rows.iter().try_for_each(|row| out::line(&layer(args, row)))?;
        return Ok(());
    }
    if let Some(template) = &args.format {
        return listing::print(template, rows.iter().map(|row| fields(args, row, now)));
    }
    let mut table = Table::new(&["LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
    for row in &rows {
        let cells = [layer(args, row), created(row, now), created_by(args, row), size(row.size), row.comment.clone()];
        table.row(cells);
    }
    out::write(table.render().as_bytes())?;
    Ok(())
}

fn layer(args: &HistoryArgs, row: &HistoryRow) -> String {
    match &row.layer {
        Some(layer) if args.no_trunc => layer.to_string(),
        Some(layer) => layer.short(),
        None => "<none>".to_owned(),
    }
}

fn created(row: &HistoryRow, now: i64) -> String {
    row.created.map_or_else(|| "N/A".to_owned(), |then| ago(then, now))
}

fn created_by(args: &HistoryArgs, row: &HistoryRow) -> String {
    let text = sanitize::strip(&row.created_by).replace(['\n', '\t'], " ");
    if args.no_trunc { text } else { sanitize::fit(&text, CREATED_BY) }
}

fn fields(args: &HistoryArgs, row: &HistoryRow, now: i64) -> Value {
    json!({
        "ID": layer(args, row),
        "CreatedAt": row.created.map(clock::rfc3339),
        "CreatedSince": created(row, now),
        "CreatedBy": created_by(args, row),
        "Size": size(row.size),
        "Comment": row.comment,
    })
}
