//! `rbuild du`.

use super::failure::Failure;
use super::{Session, listing, upkeep};
use crate::store::Access;
use crate::store::gc::Policy;
use crate::tree::Trees;
use crate::ui::out;
use crate::ui::table::{Table, size};
use crate::ui::template::Template;
use clap::Args;
use serde_json::json;

/// Arguments of `du`.
#[derive(Debug, Args)]
#[command(after_help = "\
RECLAIMABLE is what `rbuild prune --all` would free: all that no image needs, the build cache among it. Files that
layers share are counted once.

Examples:
  rbuild du
  rbuild du --format '{{.Type}} {{.Bytes}}'

Fields for --format: Type, Total, Size, Bytes, Reclaimable.")]
pub struct DuArgs {
    /// `json`, `table …` or a template such as '{{.Type}} {{.Size}}'
    #[arg(long, value_name = "FORMAT", value_parser = listing::template)]
    format: Option<Template>,
}

/// Shows what the store takes on disk.
pub fn run(args: &DuArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(Access::Shared)?;
    let trees = Trees::new(&store);
    let policy = Policy { all: true, mounts: true, ..Policy::default() };
    let plan = store.plan_gc(&policy, &mut |live| upkeep::dead_trees(&trees, live))?;
    let usage = store.usage()?;
    if let Some(template) = &args.format {
        let rows = usage.iter().map(|(class, total)| {
            json!({
                "Type": class.to_string(),
                "Total": total.count,
                "Size": size(total.bytes),
                "Bytes": total.bytes,
                "Reclaimable": size(plan.total(*class).bytes),
            })
        });
        return listing::print(template, rows);
    }
    let mut table = Table::new(&["TYPE", "TOTAL", "SIZE", "RECLAIMABLE"]);
    let mut sum = 0;
    for (class, total) in &usage {
        sum += total.bytes;
        let reclaimable = size(plan.total(*class).bytes);
        table.row([class.to_string(), total.count.to_string(), size(total.bytes), reclaimable]);
    }
    table.row(["all".to_owned(), String::new(), size(sum), size(plan.bytes)]);
    out::write(table.render().as_bytes())?;
    Ok(())
}
