//! What rules look at.

use crate::diag::{Diagnostic, Span};
use crate::dockerfile::ast::{Dockerfile, Instruction, Kind};
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::lower::stages::{self, Stage};
use crate::dockerfile::lower::{BaseImage, Images, NotFound, Options};
use crate::image::Platform;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A file and its surroundings.
pub struct Subject<'a> {
    /// The file.
    pub file: &'a Dockerfile,
    /// What the caller decided.
    pub options: &'a Options,
    /// Stored images.
    pub images: &'a dyn Images,
    /// The context's ignore rules.
    pub ignore: Option<&'a Ignore>,
    /// Its stages.
    pub stages: Vec<Stage<'a>>,
    /// What stands before the first FROM.
    pub head: &'a [Instruction],
}

impl<'a> Subject<'a> {
    /// `None`: the file has no stages to speak of, which lowering tells.
    pub fn new(
        file: &'a Dockerfile,
        options: &'a Options,
        images: &'a dyn Images,
        ignore: Option<&'a Ignore>,
    ) -> Option<Subject<'a>> {
        let (stages, head) = stages::split(file);
        (!stages.is_empty()).then_some(Subject { file, options, images, ignore, stages, head })
    }

    /// What a stage is for if its base is an image, where that can be told without the values of ARGs.
    pub fn platform(&self, stage: usize) -> Option<Platform> {
        let flag = self.stages[stage].from.platform.as_ref().map(|flag| flag.value.as_str());
        match flag {
            None | Some("$TARGETPLATFORM" | "${TARGETPLATFORM}") => Some(self.options.platform.clone()),
            Some("$BUILDPLATFORM" | "${BUILDPLATFORM}") => Some(self.options.build_platform.clone()),
            Some(flag) if flag.contains('$') => None,
            Some(flag) => Platform::parse(flag, &self.options.build_platform),
        }
    }

    /// A finding; its rule is put in by the caller of the rule.
    pub fn finding(&self, message: impl Into<String>, span: Span) -> Diagnostic {
        Diagnostic::warning("", message, &self.file.source, span)
    }

    /// The instruction that holds a byte.
    pub fn instruction_at(&self, byte: usize) -> Option<&'a Instruction> {
        self.file.instructions.iter().find(|i| i.span.range().contains(&byte))
    }

    /// The whole lines that a span touches, with the last one's end.
    pub fn line_of(&self, span: Span) -> Span {
        let text = self.file.source.text();
        let start = text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let end = text.get(span.end..).and_then(|after| after.find('\n')).map_or(text.len(), |at| span.end + at + 1);
        Span::new(start..end)
    }

    /// The earlier stage that a stage builds on.
    pub fn parent(&self, index: usize) -> Option<usize> {
        stages::for_from(&self.stages, index, &self.stages[index].from.image.value)
    }

    /// The stages whose layers the image has: the target, what it builds on, and so on down.
    pub fn shipped(&self) -> Vec<usize> {
        let last = self.stages.len() - 1;
        let wanted = self.options.target.as_deref().filter(|target| !target.is_empty());
        let target = wanted.and_then(|name| stages::by_reference(&self.stages, last + 1, name)).unwrap_or(last);
        let mut shipped: Vec<usize> = std::iter::successors(Some(target), |index| self.parent(*index)).collect();
        shipped.reverse();
        shipped
    }

    /// For each stage: whether a matching instruction stands in it or in a stage it builds on, line by line. `visit`
    /// gets each instruction and whether a match came before it.
    pub fn each_after(&self, matches: impl Fn(&Kind) -> bool, mut visit: impl FnMut(&Instruction, bool)) {
        let mut ended: Vec<bool> = Vec::with_capacity(self.stages.len());
        for (index, stage) in self.stages.iter().enumerate() {
            let mut seen = self.parent(index).is_some_and(|parent| ended[parent]);
            for instruction in stage.body {
                visit(instruction, seen);
                seen |= matches(&instruction.kind);
            }
            ended.push(seen);
        }
    }
}

/// Images looked up once, whichever rules ask for them.
pub struct Memo<'a> {
    images: &'a dyn Images,
    found: RefCell<BTreeMap<(String, Platform), Result<BaseImage, NotFound>>>,
}

impl<'a> Memo<'a> {
    /// Nothing is looked up yet.
    pub fn new(images: &'a dyn Images) -> Memo<'a> {
        Memo { images, found: RefCell::default() }
    }
}

impl Images for Memo<'_> {
    fn find(&self, reference: &str, platform: &Platform) -> Result<BaseImage, NotFound> {
        let mut found = self.found.borrow_mut();
        let key = (reference.to_owned(), platform.clone());
        found.entry(key).or_insert_with(|| self.images.find(reference, platform)).clone()
    }
}
