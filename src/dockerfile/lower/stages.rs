//! The stages of a file, what is known of each before it is walked, and what a stage name or index means at a place.

use super::site::{Fault, Site, listed};
use super::{BaseImage, Template};
use crate::diag::suggest::nearest;
use crate::diag::{Diagnostic, Source, Span};
use crate::dockerfile::ast::{Dockerfile, From, Instruction, Kind, Word};
use crate::graph::{ContextId, Remote};
use crate::image::Platform;

/// A FROM and what follows it.
#[derive(Debug)]
pub struct Stage<'a> {
    /// FROM's arguments.
    pub from: &'a From,
    /// FROM itself.
    pub span: Span,
    /// Name after AS, in lower case.
    pub name: Option<String>,
    /// Instructions up to the next FROM.
    pub body: &'a [Instruction],
}

impl Stage<'_> {
    /// The name, or `stage-N`.
    pub fn title(&self, index: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("stage-{index}"))
    }
}

/// What a needed stage begins with.
#[derive(Debug)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// A named context that is a directory: its name, and which it is.
    Directory(String, ContextId),
    /// A named context on the network: its name, and where it is.
    Remote(String, Remote),
    /// An image.
    Image(Box<BaseImage>),
    /// What another target of the build comes to.
    Target(Box<Template>),
}

/// An ONBUILD trigger that runs after FROM.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// What it says.
    pub instruction: Instruction,
    /// Its text and the image it comes from; `None`: it stands in this file.
    pub foreign: Option<(Source, String)>,
}

/// A needed stage.
#[derive(Debug)]
pub struct Planned {
    /// Where it begins.
    pub base: Result<Base, Fault>,
    /// What it is for, if its base does not say.
    pub platform: Platform,
    /// What runs first.
    pub triggers: Vec<Trigger>,
    /// Triggers that can't be read.
    pub faults: Vec<Diagnostic>,
}

/// Splits a file at its FROMs. What stands before the first (ARG alone, as the parser sees to) is the second part.
pub fn split(file: &Dockerfile) -> (Vec<Stage<'_>>, &[Instruction]) {
    let all = file.instructions.as_slice();
    let is_from = |i: &usize| matches!(all[*i].kind, Kind::From(_));
    let starts: Vec<usize> = (0..all.len()).filter(is_from).collect();
    let head = &all[..starts.first().copied().unwrap_or(all.len())];
    let mut stages = Vec::with_capacity(starts.len());
    for (nth, start) in starts.iter().enumerate() {
        let Kind::From(from) = &all[*start].kind else { continue };
        let end = starts.get(nth + 1).copied().unwrap_or(all.len());
        stages.push(Stage {
            from,
            span: all[*start].span,
            name: from.name.as_ref().map(|name| name.value.to_lowercase()),
            body: &all[start + 1..end],
        });
    }
    (stages, head)
}

/// The stage before `before` that FROM means by `name`: exact, so that only a lower-case name finds a stage. The last
/// of several.
pub fn for_from(stages: &[Stage<'_>], before: usize, name: &str) -> Option<usize> {
    (0..before.min(stages.len())).rev().find(|i| stages[*i].name.as_deref() == Some(name))
}

/// The stage before `before` that a name in any case, or an index, means.
pub fn by_reference(stages: &[Stage<'_>], before: usize, reference: &str) -> Option<usize> {
    for_from(stages, before, &reference.to_lowercase())
        .or_else(|| reference.parse::<usize>().ok().filter(|i| *i < before.min(stages.len())))
}

/// The stage that `--target` means; the last without one.
pub fn target(stages: &[Stage<'_>], wanted: Option<&str>, file: &Dockerfile) -> Result<usize, Vec<Diagnostic>> {
    let Some(wanted) = wanted.filter(|w| !w.is_empty()) else { return Ok(stages.len() - 1) };
    by_reference(stages, stages.len(), wanted).ok_or_else(|| {
        let names: Vec<&str> = stages.iter().filter_map(|s| s.name.as_deref()).collect();
        let span = stages.last().map_or(Span::default(), |s| s.span);
        let fault = Diagnostic::error("unknown-target", format!("there is no stage `{wanted}`"), &file.source, span)
            .label("the last stage")
            .note(format!("--target takes a stage's name or an index below {}", stages.len()))
            .note(format!("named stages: {}", listed(names.iter().copied())));
        vec![suggest(fault, wanted, names)]
    })
}

/// Why `reference` at stage `index` finds no earlier stage, if it is a stage's at all.
pub fn out_of_order(site: &Site<'_>, stages: &[Stage<'_>], index: usize, reference: &Word) -> Option<Fault> {
    let by_name = |stage: &Stage<'_>| stage.name.as_deref() == Some(&reference.value.to_lowercase());
    let found = (index..stages.len()).find(|i| by_name(&stages[*i]) || reference.value == i.to_string())?;
    let message = if found == index {
        format!("stage `{}` refers to itself", reference.value)
    } else {
        format!("stage `{}` is defined later", reference.value)
    };
    let mut fault = site
        .error("stage-order", message, reference.span)
        .note("a stage can only use stages that stand before it")
        .help("move the stage up, or use the name of an earlier one");
    if site.trigger.is_none() {
        fault = fault.also(stages[found].span, "defined here");
    }
    Some(fault.into())
}

/// Adds "did you mean" to a diagnostic.
pub fn suggest<'n>(fault: Diagnostic, word: &str, known: impl IntoIterator<Item = &'n str>) -> Diagnostic {
    match nearest(word, known) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault,
    }
}
