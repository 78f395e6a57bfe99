//! `rbuild plan`.

use super::build::BuildArgs;
use super::failure::{Code, Failure};
use super::why::Form;
use super::{Session, context, manifest};
use crate::base::Cancel;
use crate::pipeline::recall;
use crate::solver::event::Event;
use crate::ui::{out, report, steps};
use clap::Args;

/// What follows the options.
pub const HELP: &str = "\
Runs nothing, makes no layer and no image. The options are those of `rbuild build`; what says where results go has no effect.
See docs/why.md.

Examples:
  rbuild plan .
  rbuild plan --build-arg VERSION=2 --format json .
  rbuild plan --fail-on-miss . || echo \"the cache is cold\"";

/// Arguments of `plan`: those of `build`, and how to tell.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// What would be built.
    #[command(flatten)]
    build: BuildArgs,

    /// The form of the plan
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Form::Text)]
    format: Form,

    /// Exit with 1 if any step would run
    #[arg(long)]
    fail_on_miss: bool,
}

/// Tells what a build would do.
pub fn run(args: &PlanArgs, session: &Session) -> Result<(), Failure> {
    if context::remote(&args.build.context)?.is_none() {
        manifest::check_context(&args.build.context, false)?;
    }
    session.enter()?;
    args.build.inputs.go_offline();
    let secrets = args.build.secrets()?;
    let place = args.build.place(&secrets, session, &Cancel::new())?;
    let mut request = args.build.request(&place, secrets, session)?;
    // Nobody is asked now, and nothing put into the store.
    for target in &mut request.targets {
        target.inputs.locked = false;
        target.inputs.vendor = None;
    }
    let warn = |event: Event| {
        if let Event::Diagnostic { diagnostic } = event {
            report::warnings(&[diagnostic]);
        }
    };
    let plan = recall::plan(&request, &warn)?;
    match args.format {
        Form::Text => out::write(steps::plan(&plan).as_bytes())?,
        Form::Json => out::line(&serde_json::to_string_pretty(&plan).unwrap_or_default())?,
    }
    if args.fail_on_miss && plan.has_miss() {
        return Err(Failure::silent(Code::Step as u8));
    }
    Ok(())
}
