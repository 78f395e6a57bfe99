//! `rbuild prune`.

use super::failure::{Code, Failure};
use super::{Session, upkeep, values};
use crate::base::clock;
use crate::container;
use crate::export::images;
use crate::store::Access;
use crate::store::gc::Policy;
use crate::store::usage::Class;
use crate::tree::Trees;
use crate::ui::table::size;
use crate::ui::{out, report, sanitize};
use clap::Args;

/// Arguments of `prune`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without options: images without a name, ended containers, and whatever neither an image nor a later build could use. Running builds are
waited for. Images with a name always stay; `rbuild rmi` removes them.

Examples:
  rbuild prune
  rbuild prune --until 168h          also build cache that was not used for a week
  rbuild prune --max-cache 20g       also the least recently used build cache beyond 20 GiB
  rbuild prune --all                 also all build cache
  rbuild prune --all --dry-run       only tell")]
pub struct PruneArgs {
    /// The whole build cache, too
    #[arg(short, long)]
    all: bool,

    /// Build cache that was last used longer ago than this: 24h, 7d, 1h30m
    #[arg(long, value_name = "AGE", value_parser = values::age)]
    until: Option<i64>,

    /// The least recently used build cache, until it takes at most this much: 500m, 20g
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    max_cache: Option<u64>,

    /// Cache mounts of RUN --mount=type=cache, too
    #[arg(long)]
    mounts: bool,

    /// Tell what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,

    /// Name every single thing
    #[arg(short, long)]
    verbose: bool,

    /// Accepted as docker has it; nothing is asked anyway
    #[arg(short, long, hide = true)]
    force: bool,
}

/// Collects garbage.
pub fn run(args: &PruneArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(if args.dry_run { Access::Shared } else { Access::Exclusive })?;
    let unnamed = images::list(&store)?.images.into_iter().filter(|image| image.name.is_none());
    for image in unnamed {
        if !args.dry_run {
            images::remove(&store, &image.id.to_string(), true)?;
        }
        out::line(&format!("image {}", image.id))?;
    }
    for ended in container::kept(&store)? {
        if !args.dry_run {
            container::remove(&store, &ended.id)?;
        }
        out::line(&format!("container {}", ended.id))?;
    }
    let policy = Policy {
        all: args.all,
        keep_steps_younger_than: args.until.map(|age| clock::now().saturating_sub(age)),
        max_cache_bytes: args.max_cache,
        mounts: args.mounts,
        roots: Vec::new(),
    };
    let trees = Trees::new(&store);
    let plan = store.plan_gc(&policy, &mut |live| upkeep::dead_trees(&trees, live))?;
    for class in Class::ALL {
        let total = plan.total(class);
        if total.count > 0 {
            out::line(&format!("{class}: {}, {}", total.count, size(total.bytes)))?;
        }
    }
    if args.verbose {
        for item in &plan.items {
            out::line(&sanitize::line(&format!("{} {}", item.class, item.name)))?;
        }
    }
    if args.dry_run {
        out::line(&format!("Would be reclaimed: {}", size(plan.bytes)))?;
        return Ok(());
    }
    let done = store.execute(plan)?;
    out::line(&format!("Total reclaimed space: {}", size(done.bytes)))?;
    let mut failed = done.failed.into_iter();
    let Some(first) = failed.next() else { return Ok(()) };
    failed.for_each(|error| report::show(&report::error(&error)));
    Err(Failure::new(Code::Store, first))
}
