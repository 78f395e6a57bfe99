//! `rbuild fsck`.

use super::failure::{Code, Failure};
use super::{Session, upkeep};
use crate::export::verify::verify;
use crate::store::Access;
use crate::store::fsck::{Checks, Finding, Severity};
use crate::tree::{Trees, pack};
use crate::ui::{out, sanitize};
use clap::Args;

/// Arguments of `fsck`.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads everything: every blob, every file of every layer. What a killed build left is told, but is no damage: `rbuild prune`
removes it. Exits with 6 if anything is damaged and stays so.

Examples:
  rbuild fsck
  rbuild fsck --repair         remove what is damaged, so that it is built or loaded again")]
pub struct FsckArgs {
    /// Remove what is damaged, and what killed builds left. Waits for running builds
    #[arg(long)]
    repair: bool,

    /// Print only what is damaged
    #[arg(short, long)]
    quiet: bool,
}

/// Verifies the store.
pub fn run(args: &FsckArgs, session: &Session) -> Result<(), Failure> {
    let access = if args.repair { Access::Exclusive } else { Access::Shared };
    let store = session.open_store(access)?;
    let cancel = session.watch();
    let trees = Trees::new(&store);
    let mut findings = Vec::new();
    let mut checks = Checks {
        layer: &mut |info| upkeep::check_layer(&store, info, &cancel),
        tree: &mut |path| Ok(pack::check(&store.trees_dir(), path)?),
    };
    let checked = store.fsck(&mut checks, &mut |finding| findings.push(finding), args.repair)?;
    for finding in &findings {
        tell(args, finding)?;
    }
    let mut damaged = if args.repair { checked.failed } else { checked.damaged };
    if args.repair {
        for path in trees.repair()? {
            out::line(&format!("damaged: {}: it needs a tree that was damaged (repaired)", path.display()))?;
        }
    }
    for problem in verify(&store)? {
        damaged += 1;
        out::line(&sanitize::line(&format!("damaged: image {}: {}", problem.name, problem.reason)))?;
    }
    if damaged > 0 {
        let failure = Failure::new(Code::Store, format!("{damaged} of {} things are damaged", checked.things));
        return Err(match args.repair {
            true => failure.help("build or load the images again, or remove their names with `rbuild rmi`"),
            false => failure.help("`rbuild fsck --repair` removes what is damaged, so that it is made again"),
        });
    }
    if !args.quiet {
        out::line(&format!("{} things checked, nothing is damaged", checked.things))?;
    }
    Ok(())
}

fn tell(args: &FsckArgs, finding: &Finding) -> Result<(), Failure> {
    let what = match finding.severity {
        Severity::Damage => "damaged",
        Severity::Leftover if args.quiet => return Ok(()),
        Severity::Leftover => "left over",
    };
    Ok(out::line(&sanitize::line(&format!("{what}: {finding}")))?)
}
