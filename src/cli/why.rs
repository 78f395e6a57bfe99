//! `rbuild why`.

use super::Session;
use super::failure::{Code, Failure};
use crate::base::clock;
use crate::pipeline::recall::{self, Wanted};
use crate::solver::record::BuiltStep;
use crate::store::Access;
use crate::ui::{out, steps};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Changed files that are listed of one step.
const MOST_FILES: usize = 20;

/// Arguments of `why`.
#[derive(Debug, Args)]
#[command(after_help = "\
Tells of the last build in the current directory, else of the last one at all. See docs/why.md.

Examples:
  rbuild why                 every step of the last build, and why it ran
  rbuild why 3               all about step 3
  rbuild why 'RUN make'      all about the steps with this in their instruction
  rbuild why --format json | jq '.steps[] | select(.outcome == \"ran\")'")]
pub struct WhyArgs {
    /// Number of a step, or a part of its instruction
    #[arg(value_name = "STEP")]
    step: Option<String>,

    /// The last build on this build context
    #[arg(long, value_name = "DIR")]
    context: Option<PathBuf>,

    /// The last build of this Dockerfile
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// The last build of this target
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// The form of the answer
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Form::Text)]
    format: Form,
}

/// Forms of `why` and `plan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Lines for people
    Text,
    /// One JSON document
    Json,
}

/// Tells why steps of the last build ran.
pub fn run(args: &WhyArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(Access::Shared)?;
    let wanted =
        Wanted { context: args.context.as_deref(), dockerfile: args.file.as_deref(), target: args.target.as_deref() };
    let Some((record, built)) = recall::last_build(&store, &wanted)? else {
        return Err(Failure::new(Code::NotFound, "no such build is remembered"));
    };
    let now = clock::now();
    let all = (1..).zip(&record.steps);
    let chosen: Vec<(usize, &BuiltStep)> = match &args.step {
        None => all.collect(),
        Some(word) => all.filter(|(number, step)| is_meant(word, *number, step)).collect(),
    };
    if let (Some(word), []) = (&args.step, chosen.as_slice()) {
        return Err(Failure::new(Code::NotFound, format!("the last build has no step '{word}'"))
            .help("`rbuild why` lists its steps"));
    }
    if args.format == Form::Text && args.step.is_none() {
        out::write(steps::build(&record, built, now).as_bytes())?;
        return Ok(());
    }
    let mut values = Vec::new();
    for (number, step) in chosen {
        let differences = if args.step.is_some() { recall::differences(&store, step, MOST_FILES)? } else { Vec::new() };
        match args.format {
            Form::Text => out::write(steps::step(number, step, &differences, now).as_bytes())?,
            Form::Json => values.push(value(number, step, &differences)),
        }
    }
    if args.format == Form::Json {
        let document = json!({"project": record.project, "built": clock::rfc3339(built), "steps": values});
        out::line(&format!("{document:#}"))?;
    }
    Ok(())
}

/// Whether `word` names the step.
fn is_meant(word: &str, number: usize, step: &BuiltStep) -> bool {
    match word.trim_start_matches('#').parse::<usize>() {
        Ok(wanted) => wanted == number,
        Err(_) => step.label.to_lowercase().contains(&word.to_lowercase()),
    }
}

fn value(number: usize, step: &BuiltStep, differences: &[String]) -> Value {
    let mut value = json!({"step": number});
    if let (Value::Object(value), Ok(Value::Object(fields))) = (&mut value, serde_json::to_value(step)) {
        value.extend(fields);
        if !differences.is_empty() {
            value.insert("differences".to_owned(), json!(differences));
        }
    }
    value
}
