//! `rbuild man`.

use super::Cli;
use super::failure::Failure;
use crate::base::fs::{self, Context};
use clap::{Args, CommandFactory};
use std::path::PathBuf;

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rbuild man | man -l -                       read the main page
  rbuild man --dir /usr/local/share/man/man1  write one page for each command")]
pub struct ManArgs {
    /// Write all pages into a directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the main page, or writes all.
pub fn run(args: &ManArgs) -> Result<(), Failure> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        crate::ui::out::write(&page)?;
        return Ok(());
    };
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir).at("write manual pages into", dir)?;
    Ok(())
}
