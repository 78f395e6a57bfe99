//! `rbuild cache`.

use super::failure::{Code, Failure};
use super::{Session, listing};
use crate::base::clock;
use crate::store::mounts::CacheInfo;
use crate::store::{Access, StoreError};
use crate::ui::table::{Table, ago, size};
use crate::ui::template::Template;
use crate::ui::{out, report, sanitize};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Arguments of `cache`.
#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the caches of RUN --mount=type=cache, with size and last use
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Remove caches
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rbuild cache ls
  rbuild cache ls --format '{{.ID}} {{.Bytes}}'

Fields for --format: ID, Size, Bytes, CreatedAt, UsedAt, UsedSince, Private.")]
struct LsArgs {
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,

    /// `json`, `table …` or a template such as '{{.ID}}'
    #[arg(long, value_name = "FORMAT", value_parser = listing::template)]
    format: Option<Template>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rbuild cache rm /root/.cache/go-build
  rbuild cache rm --all")]
struct RmArgs {
    /// Their ids: `id=` of the mounts, or their targets
    #[arg(value_name = "ID", required_unless_present = "all")]
    ids: Vec<String>,

    /// Every cache that no build uses
    #[arg(short, long, conflicts_with = "ids")]
    all: bool,
}

/// Lists or removes caches.
pub fn run(args: &CacheArgs, session: &Session) -> Result<(), Failure> {
    match &args.command {
        Command::Ls(args) => list(args, session),
        Command::Rm(args) => remove(args, session),
    }
}

fn list(args: &LsArgs, session: &Session) -> Result<(), Failure> {
    let caches = session.open_store(Access::Shared)?.cache_mounts()?;
    if args.quiet {
        caches.iter().try_for_each(|cache| out::line(&sanitize::line(&cache.id)))?;
        return Ok(());
    }
    let now = clock::now();
    if let Some(template) = &args.format {
        return listing::print(template, caches.iter().map(|cache| fields(cache, now)));
    }
    let mut table = Table::new(&["ID", "SIZE", "LAST USED", "PRIVATE"]);
    for cache in &caches {
        table.row([sanitize::line(&cache.id), size(cache.bytes), ago(cache.used, now), cache.private.to_string()]);
    }
    out::write(table.render().as_bytes())?;
    Ok(())
}

fn fields(cache: &CacheInfo, now: i64) -> Value {
    json!({
        "ID": cache.id,
        "Size": size(cache.bytes),
        "Bytes": cache.bytes,
        "CreatedAt": clock::rfc3339(cache.created),
        "UsedAt": clock::rfc3339(cache.used),
        "UsedSince": ago(cache.used, now),
        "Private": cache.private,
    })
}

fn remove(args: &RmArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(Access::Shared)?;
    let all = store.cache_mounts()?;
    let ids: Vec<&str> = match args.all {
        true => all.iter().map(|cache| cache.id.as_str()).collect(),
        false => args.ids.iter().map(String::as_str).collect(),
    };
    for id in ids {
        match store.remove_cache_mount(id) {
            Ok(()) => out::line(&sanitize::line(id))?,
            Err(busy @ StoreError::Busy { .. }) if args.all => report::warning(&busy.to_string()),
            Err(error @ StoreError::Missing { .. }) => {
                return Err(Failure::new(Code::NotFound, error).help("`rbuild cache ls` lists what is there"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
