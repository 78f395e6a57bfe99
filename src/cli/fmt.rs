//! `rbuild fmt`.

use super::failure::{Code, Failure};
use super::{manifest, rewrite};
use crate::dockerfile::format::format;
use crate::dockerfile::text;
use crate::ui::{line_diff, out, report};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `fmt`.
#[derive(Debug, Args)]
#[command(after_help = "\
Keywords become upper case, blanks around them and at line ends go, blank lines become one at most,
and one stands before each FROM. Continuations are indented where that means nothing. What a shell
is given, heredocs and comments stay as they are: the image is the same, and so are the cache keys.

Examples:
  rbuild fmt                                          ./Dockerfile, in place
  rbuild fmt -f docker/Dockerfile --diff              only show what would change
  rbuild fmt --check .                                in CI: exit code 1 if something would change
  rbuild fmt - < Dockerfile > formatted")]
pub struct FmtArgs {
    /// The Dockerfile; `-` reads standard input and writes standard output [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Change nothing; fail if the file is not formatted
    #[arg(long)]
    check: bool,

    /// Change nothing; print what would change
    #[arg(long)]
    diff: bool,

    /// The directory of the Dockerfile; `-`: standard input
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
}

/// Formats a file in place, or standard input to standard output.
pub fn run(args: &FmtArgs) -> Result<(), Failure> {
    let input = manifest::read(args.file.as_deref(), &args.context)?;
    let source = text::source(&input.name, &input.bytes).map_err(|fault| Failure::invalid(vec![*fault]))?;
    rewrite::is_whole(&source, &input.bytes)?;
    let formatted = format(&source).map_err(Failure::invalid)?;
    let changed = formatted != source.text();
    if args.diff {
        out::write(line_diff::unified(source.name(), source.text(), &formatted).as_bytes())?;
    }
    if args.check && changed {
        let failure = Failure::new(Code::Step, format!("{} is not formatted", source.name()));
        return Err(if args.diff {
            failure
        } else {
            failure.help("`rbuild fmt` formats it, `--diff` shows what changes")
        });
    }
    if args.check || args.diff {
        return Ok(());
    }
    match &input.path {
        None => out::write(formatted.as_bytes())?,
        Some(path) if changed => {
            rewrite::replace(path, &formatted)?;
            report::show(&format!("formatted {}\n", source.name()));
        }
        Some(_) => {}
    }
    Ok(())
}
