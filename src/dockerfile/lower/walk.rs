//! The walk over stages and instructions.

use super::scope::Args;
use super::site::{Fault, Site};
use super::stages::{self, Base, Planned, Stage};
use super::state::State;
use super::{BaseImage, HistoryItem, Images, NotFound, Options};
use crate::diag::{Diagnostic, Span};
use crate::dockerfile::ast::{Command, Dockerfile, Instruction, Kind, Run, Word};
use crate::dockerfile::expand::Quotes;
use crate::graph::{CopyOp, CopySource, Graph, Op, Step, StepId};
use crate::image::Platform;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A use of a variable that is not set, for the check UndefinedVar.
#[derive(Clone, Debug)]
pub struct Unset {
    /// Its name.
    pub name: String,
    /// The word that uses it.
    pub span: Span,
    /// Variables that are set there.
    pub known: Vec<String>,
    /// The base image's variables are among `known`.
    pub certain: bool,
}

/// The state of lowering one file.
pub struct Walk<'a> {
    pub(super) file: &'a Dockerfile,
    pub(super) options: &'a Options,
    pub(super) images: &'a dyn Images,
    pub(super) stages: Vec<Stage<'a>>,
    /// ARGs before the first FROM.
    pub(super) globals: Args,
    /// TARGETPLATFORM and the like.
    pub(super) automatic: Args,
    pub(super) graph: Graph,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Uses of unset variables in this file's own text.
    pub(super) unset: Vec<Unset>,
    /// Images by name and platform as looked up.
    pub(super) found: BTreeMap<(String, Platform), Result<BaseImage, NotFound>>,
    /// Steps that begin a root filesystem: images by name, and the empty one under "".
    pub(super) roots: BTreeMap<String, StepId>,
    /// Stages walked so far.
    pub(super) states: Vec<State>,
    /// The stage that nothing needs is walked only for its mistakes.
    pub(super) rehearsing: bool,
    /// Index of the stage being walked.
    pub(super) index: usize,
    /// Every name that an ARG declares, anywhere.
    pub(super) declared: BTreeSet<String>,
}

impl<'a> Walk<'a> {
    /// Splits the file and reads the global ARGs.
    pub fn new(
        file: &'a Dockerfile,
        options: &'a Options,
        images: &'a dyn Images,
    ) -> Result<Walk<'a>, Vec<Diagnostic>> {
        let (stages, head) = stages::split(file);
        if stages.is_empty() {
            return Err(vec![Diagnostic::error("no-build-stage", "there is no FROM", &file.source, Span::default())]);
        }
        let mut walk = Walk {
            file,
            options,
            images,
            stages,
            globals: Args::default(),
            automatic: Args::default(),
            graph: options.graph.clone(),
            diagnostics: Vec::new(),
            unset: Vec::new(),
            found: BTreeMap::new(),
            roots: BTreeMap::new(),
            states: Vec::new(),
            rehearsing: false,
            index: 0,
            declared: BTreeSet::new(),
        };
        walk.syntax();
        walk.global_args(head);
        Ok(walk)
    }

    /// The Dockerfile as the place of an instruction.
    pub fn site(&self) -> Site<'a> {
        let escape = self.file.directives.escape.as_ref().map_or('\\', |e| e.value);
        Site { source: &self.file.source, escape, trigger: None }
    }

    /// Walks the stages in the order of the file: those that `target` needs for their steps, the others for their
    /// mistakes.
    pub fn stages(&mut self, target: usize) -> Vec<State> {
        let plan = self.plan([target]);
        self.walk_all(&plan);
        self.undeclared_build_args();
        std::mem::take(&mut self.states)
    }

    /// Walks every stage as if needed, where its base is known.
    pub fn walk_all(&mut self, plan: &BTreeMap<usize, Planned>) {
        for index in 0..self.stages.len() {
            self.index = index;
            let state = match plan.get(&index) {
                Some(planned) => self.stage(planned),
                None => self.rehearse(),
            };
            self.states.push(state);
        }
        let place = |d: &Diagnostic| d.labels.first().map(|label| label.span);
        self.diagnostics.sort_by_key(place);
        // A trigger of this file that two stages run is wrong once.
        self.diagnostics.dedup_by(|a, b| (place(a), &a.code, &a.message) == (place(b), &b.code, &b.message));
    }

    fn stage(&mut self, planned: &Planned) -> State {
        let first = self.graph.steps.len();
        self.diagnostics.extend(planned.faults.iter().cloned());
        let mut state = match &planned.base {
            Ok(base) => self.begin(base, &planned.platform),
            Err(fault) => {
                self.diagnostics.push((**fault).clone());
                self.unknown()
            }
        };
        if self.replaced(self.index).is_none() {
            for trigger in &planned.triggers {
                let from = self.stages[self.index].span;
                let own = self.site();
                let site = match &trigger.foreign {
                    Some((source, image)) => Site { source, escape: '\\', trigger: Some((image, from)) },
                    None => own,
                };
                self.instruction(&mut state, &site, &trigger.instruction);
            }
            self.body(&mut state);
        }
        self.number(first);
        state
    }

    /// Walks the body of a stage whose result is not wanted; the graph stays as it is.
    fn rehearse(&mut self) -> State {
        let (graph, roots) = (std::mem::take(&mut self.graph), std::mem::take(&mut self.roots));
        self.rehearsing = true;
        if let Err(fault) = self.unneeded(self.index) {
            self.diagnostics.push(*fault);
        }
        let from = self.stages[self.index].from;
        let mut state = match stages::for_from(&self.stages, self.index, &from.image.value) {
            Some(stage) => self.states[stage].child(),
            None if from.image.value == "scratch" => State::scratch(StepId(0), &self.options.platform),
            None => self.unknown(),
        };
        self.body(&mut state);
        self.rehearsing = false;
        (self.graph, self.roots) = (graph, roots);
        state
    }

    /// A stage whose base can't be told.
    fn unknown(&self) -> State {
        State { known_base: false, ..State::scratch(StepId(0), &self.options.platform) }
    }

    fn body(&mut self, state: &mut State) {
        let body = self.stages[self.index].body;
        let site = self.site();
        for instruction in body {
            self.instruction(state, &site, instruction);
        }
    }

    /// The state right after FROM.
    fn begin(&mut self, base: &Base, platform: &Platform) -> State {
        let site = self.site();
        let word = &self.stages[self.index].from.image;
        match base {
            Base::Scratch => State::scratch(self.scratch(word.span), platform),
            Base::Stage(stage) => self.states[*stage].child(),
            Base::Image(image) => {
                let root = self.image_step(image, &site, word);
                let mut state = State::image(root, image, platform);
                // Spent by this stage, unless a context stands for all of it.
                if self.replaced(self.index).is_none() {
                    state.execution().on_build = None;
                }
                state
            }
            Base::Target(target) => {
                let mut state = State::target(target);
                if self.replaced(self.index).is_none() {
                    state.execution().on_build = None;
                }
                state
            }
            Base::Directory(..) | Base::Remote(..) => {
                let mut state = State::scratch(self.scratch(word.span), platform);
                let (name, source) = match base {
                    Base::Remote(name, remote) => {
                        let step = self.fetch_step(remote, &site, word.span);
                        (name, CopySource::Step { step, pattern: ".".into() })
                    }
                    Base::Directory(name, context) => {
                        (name, CopySource::Context { context: Some(*context), pattern: ".".into() })
                    }
                    Base::Scratch | Base::Stage(_) | Base::Image(_) | Base::Target(_) => return state,
                };
                let op = CopyOp::new(state.root, vec![source], "/");
                let step = self.add(Op::Copy(op), format!("FROM context {name}"), word.span);
                state.history.push(HistoryItem { created_by: "COPY . / # buildkit".into(), step: Some(step) });
                state.root = step;
                state
            }
        }
    }

    pub(super) fn scratch(&mut self, span: Span) -> StepId {
        if let Some(step) = self.roots.get("") {
            return *step;
        }
        let step = self.add(Op::Scratch, "FROM scratch".into(), span);
        self.roots.insert(String::new(), step);
        step
    }

    fn instruction(&mut self, state: &mut State, site: &Site<'_>, instruction: &Instruction) {
        if let Err(fault) = self.lower(state, site, instruction) {
            // What a variable of an unknown base holds is unknown, and so is whether this is a mistake.
            if state.known_base || !instruction.raw.contains('$') {
                self.diagnostics.push(*fault);
            }
        }
    }

    fn lower(&mut self, state: &mut State, site: &Site<'_>, instruction: &Instruction) -> Result<(), Fault> {
        match &instruction.kind {
            Kind::From(_) => Err(site.error("invalid-onbuild", "FROM can't stand here", instruction.name.span).into()),
            Kind::Run(run) => self.run(state, site, instruction, run),
            Kind::Copy(copy) => self.copy(state, site, instruction, copy),
            Kind::Workdir(path) => self.workdir(state, site, instruction, path),
            Kind::Env { pairs, .. } => self.env(state, site, pairs),
            Kind::Label { pairs, .. } => self.label(state, site, pairs),
            Kind::Arg(args) => self.arg(state, site, args),
            Kind::Cmd(command) => self.cmd(state, command),
            Kind::Entrypoint(command) => self.entrypoint(state, command),
            Kind::Shell(words) => self.shell(state, site, instruction, words),
            Kind::User(user) => self.user(state, site, user),
            Kind::Expose(words) => self.expose(state, site, words),
            Kind::Volume(words) => self.volume(state, site, words),
            Kind::Stopsignal(signal) => self.stopsignal(state, site, signal),
            Kind::Healthcheck { flags, check } => self.healthcheck(state, site, instruction, flags, check),
            Kind::Maintainer(author) => self.maintainer(state, author),
            Kind::Onbuild { text, .. } => self.onbuild(state, text),
        }
    }

    /// Expands a word with the variables of this line, and notes those that are not set.
    pub fn expand(&mut self, state: &State, site: &Site<'_>, word: &Word) -> Result<String, Fault> {
        self.expand_with(state, site, word, site.escape, Quotes::Remove)
    }

    /// [`Walk::expand`] for heredoc bodies (another escape character and quotes kept).
    pub fn expand_with(
        &mut self,
        state: &State,
        site: &Site<'_>,
        word: &Word,
        escape: char,
        quotes: Quotes,
    ) -> Result<String, Fault> {
        let expanded = site.expand(word, escape, quotes, &|name| state.lookup(name))?;
        if site.trigger.is_none() {
            // A declared ARG without a value is empty on purpose.
            for name in expanded.unset.into_iter().filter(|name| !state.args.declared(name)) {
                let span = use_of(word, &name).map_or(word.span, |range| site.part(word, range));
                self.unset.push(Unset { name, span, known: state.variables(), certain: state.known_base });
            }
        }
        Ok(expanded.text)
    }

    /// Adds a step of the current stage. Its place in the stage is put before the label by [`Walk::number`].
    pub fn add(&mut self, op: Op, label: String, span: Span) -> StepId {
        // A file of 2^32 instructions does not fit the parser's limits.
        let id = StepId(u32::try_from(self.graph.steps.len()).unwrap_or(u32::MAX));
        let stage = match (self.options.title.as_str(), self.stages[self.index].title(self.index)) {
            ("", stage) => stage,
            (title, stage) => format!("{title} {stage}"),
        };
        self.graph.steps.push(Step { id, op, label, stage, span: Some(span) });
        id
    }

    /// `[builder 2/5]` before the labels of a stage's steps; the name is left out where there is only one stage.
    fn number(&mut self, first: usize) {
        let stage = match self.stages.len() {
            1 if self.stages[0].name.is_none() => String::new(),
            _ => self.stages[self.index].title(self.index),
        };
        let words = [self.options.title.as_str(), stage.as_str()];
        let title: String = words.iter().filter(|word| !word.is_empty()).map(|word| format!("{word} ")).collect();
        let steps = &mut self.graph.steps[first..];
        let total = steps.len();
        for (nth, step) in steps.iter_mut().enumerate() {
            step.label = format!("[{title}{}/{total}] {}", nth + 1, step.label);
        }
    }
}

/// Uses of variables that are not set, in every stage of the file, for the check UndefinedVar. Base images are looked
/// up; where one is missing the uses are not certain.
pub fn unset_variables(file: &Dockerfile, options: &Options, images: &dyn Images) -> Vec<Unset> {
    let Ok(mut walk) = Walk::new(file, options, images) else { return Vec::new() };
    if walk.target().is_err() {
        return Vec::new();
    }
    let plan = walk.plan(0..walk.stages.len());
    walk.walk_all(&plan);
    walk.unset
}

/// Where a word first uses a variable: `$name` or `${name`.
fn use_of(word: &Word, name: &str) -> Option<Range<usize>> {
    let text = word.value.as_str();
    let uses = text.match_indices('$').map(|(dollar, _)| {
        let start = dollar + 1 + usize::from(text[dollar + 1..].starts_with('{'));
        dollar..start + name.len()
    });
    let mut uses = uses.filter(|range| text.get(range.end - name.len()..range.end) == Some(name));
    uses.find(|range| !text[range.end..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// What a step is called after its place: the instruction on one line, and how its script begins.
pub fn label(instruction: &Instruction) -> String {
    let text = instruction.raw.split_whitespace().collect::<Vec<_>>().join(" ");
    let label = format!("{} {text}", instruction.name.value.to_uppercase());
    let Kind::Run(Run { command: Command::Shell { text, .. }, heredocs, .. }) = &instruction.kind else { return label };
    match heredocs.first().filter(|_| text.value.is_empty()) {
        Some(script) => {
            let mut lines = script.body.value.lines().map(str::trim).filter(|line| !line.is_empty());
            let (first, more) = (lines.next().unwrap_or_default(), if lines.next().is_some() { "…" } else { "" });
            format!("{label} ({first}{more})")
        }
        None => label,
    }
}
