//! `rbuild check`.

use super::Session;
use super::failure::Failure;
use super::manifest;
use crate::diag::Source;
use crate::dockerfile;
use crate::ui::report;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Neither the store nor base images are looked at, and nothing is built. Warnings do not make a file invalid.

Examples:
  rbuild check -f Dockerfile
  rbuild check -f - < Dockerfile")]
pub struct CheckArgs {
    /// The Dockerfile; `-` reads standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Warnings count as errors
    #[arg(long)]
    strict: bool,

    /// The directory whose Dockerfile is meant
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
}

/// Reports every mistake; succeeds if there is none.
pub fn run(args: &CheckArgs, _session: &Session) -> Result<(), Failure> {
    let input = manifest::read(args.file.as_deref(), &args.context)?;
    let source = Source::new(input.name, String::from_utf8_lossy(&input.bytes));
    let (_, warnings) = dockerfile::parse(&source).map_err(Failure::invalid)?;
    if args.strict && !warnings.is_empty() {
        return Err(Failure::invalid(warnings));
    }
    for warning in &warnings {
        report::show(&report::diagnostic(warning));
    }
    Ok(())
}
