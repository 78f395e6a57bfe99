//! `rbuild graph`.

use super::Session;
use super::failure::Failure;
use super::manifest::{self, ManifestArgs};
use crate::graph::dump::{self, Format};
use crate::pipeline;
use crate::solver::event::Event;
use crate::ui::{out, report};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Arguments of `graph`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rbuild graph .
  rbuild graph --format dot . | dot -Tsvg > build.svg
  rbuild graph --target test --format mermaid .")]
pub struct GraphArgs {
    /// Which Dockerfile, and what it is given.
    #[command(flatten)]
    manifest: ManifestArgs,

    /// The form of the graph
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Form::Text)]
    format: Form,

    /// The build context
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
}

/// Forms as the command line names them.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Lines for people
    Text,
    /// One JSON document
    Json,
    /// Graphviz
    Dot,
    /// A Mermaid flowchart
    Mermaid,
}

/// Prints the steps that the target needs, without running any.
pub fn run(args: &GraphArgs, session: &Session) -> Result<(), Failure> {
    manifest::check_context(&args.context, false)?;
    session.enter()?;
    let request = session.request(vec![args.manifest.target(&args.context, session)?])?;
    let warn = |event: Event| {
        if let Event::Diagnostic { diagnostic } = event {
            report::warnings(&[diagnostic]);
        }
    };
    let graph = pipeline::graph(&request, &warn)?;
    let format = match args.format {
        Form::Text => Format::Text,
        Form::Json => Format::Json,
        Form::Dot => Format::Dot,
        Form::Mermaid => Format::Mermaid,
    };
    out::write(dump::render(&graph, format).as_bytes())?;
    Ok(())
}
