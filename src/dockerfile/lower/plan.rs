//! Which stages the target needs, found before any is walked, so that stages can be walked in the order of the file.
//!
//! References are static: FROM sees global ARGs only, `--from` and `from=` are never expanded. ONBUILD triggers of
//! base images are references too, which is why base images are looked up here.

use super::images::Origin;
use super::mounts;
use super::site::{Fault, Site};
use super::stages::{self, Base, Planned, Trigger};
use super::walk::Walk;
use crate::diag::{Diagnostic, Source, Span};
use crate::dockerfile::ast::{Instruction, Kind, Spanned, Word};
use crate::dockerfile::expand::Quotes;
use crate::dockerfile::parse::parse_onbuild;
use crate::image::{ImageConfig, Platform};
use std::collections::BTreeMap;

impl<'a> Walk<'a> {
    /// Every stage that `targets` need, with its base.
    pub fn plan(&mut self, targets: impl IntoIterator<Item = usize>) -> BTreeMap<usize, Planned> {
        let mut plan = BTreeMap::new();
        let mut work: Vec<usize> = targets.into_iter().collect();
        while let Some(index) = work.pop() {
            if plan.contains_key(&index) {
                continue;
            }
            let (platform, base) = match self.stage_platform(index) {
                Ok(platform) => (platform.clone(), self.base(index, &platform)),
                Err(fault) => (self.options.platform.clone(), Err(fault)),
            };
            let (triggers, faults) = self.triggers(index, &base);
            if let Ok(Base::Stage(stage)) = base {
                work.push(stage);
            }
            // A stage that a named context stands for uses nothing that its text names.
            if self.replaced(index).is_none() {
                let body = self.stages[index].body;
                for instruction in triggers.iter().map(|t| &t.instruction).chain(body) {
                    work.extend(self.references(index, instruction));
                }
            }
            plan.insert(index, Planned { base, platform, triggers, faults });
        }
        plan
    }

    /// What stage `index` begins with: a context that replaces it, an earlier stage, a context that replaces the
    /// image, or the image.
    fn base(&mut self, index: usize, platform: &Platform) -> Result<Base, Fault> {
        let site = self.site();
        let image = self.base_name(&site, index)?;
        let origin = match self.replaced(index) {
            Some(origin) => origin,
            None => match stages::for_from(&self.stages, index, &image.value) {
                Some(stage) => Origin::Stage(stage),
                None => match self.context(&image.value) {
                    Some(origin) => origin,
                    None if image.value == "scratch" => return Ok(Base::Scratch),
                    None => Origin::Image(image.value.clone()),
                },
            },
        };
        match origin {
            Origin::Stage(stage) => Ok(Base::Stage(stage)),
            Origin::Scratch => Ok(Base::Scratch),
            Origin::Directory(name, context) => Ok(Base::Directory(name, context)),
            Origin::Target(name, other) => {
                Ok(Base::Target(Box::new(self.other(&site, image.span, &name, other, platform)?.clone())))
            }
            Origin::Remote(name, remote) => Ok(Base::Remote(name, remote)),
            Origin::Image(reference) => match self.find(&reference, platform) {
                Ok(found) => Ok(Base::Image(Box::new(found))),
                Err(missing) => Err(stages::out_of_order(&site, &self.stages, index, &image)
                    .or_else(|| self.wrong_case(&site, index, &image))
                    .unwrap_or_else(|| self.not_found(&site, index, &image, &reference, missing))),
            },
        }
    }

    /// FROM's image with global ARGs expanded.
    fn base_name(&mut self, site: &Site<'_>, index: usize) -> Result<Word, Fault> {
        let word = &self.stages[index].from.image;
        let value = self.expand_global(site, word)?;
        if value.is_empty() {
            return Err(site
                .error("empty-base", format!("`{}` is empty after expansion", word.value), word.span)
                .note("FROM sees the ARGs before the first FROM, and no others")
                .help("give the ARG a default before the first FROM, or a value with --build-arg")
                .into());
        }
        Ok(Spanned { value, span: word.span })
    }

    /// FROM finds stages by their lower-case names only.
    fn wrong_case(&self, site: &Site<'_>, index: usize, image: &Word) -> Option<Fault> {
        let lower = image.value.to_lowercase();
        let stage = stages::for_from(&self.stages, index, &lower)?;
        let message = format!("FROM does not find a stage by the name `{}`", image.value);
        let fault = site.error("stage-name-case", message, image.span);
        let fault = fault.also(self.stages[stage].span, "this stage's name counts in lower case");
        Some(fault.help(format!("write FROM {lower}")).into())
    }

    /// What FROM says of a stage that is not needed: it has to be right all the same.
    pub(super) fn unneeded(&mut self, index: usize) -> Result<(), Fault> {
        self.stage_platform(index)?;
        let site = self.site();
        self.base_name(&site, index).map(drop)
    }

    /// What stage `index` is for unless its base is a stage: as FROM says, else what is built for.
    fn stage_platform(&mut self, index: usize) -> Result<Platform, Fault> {
        let Some(flag) = &self.stages[index].from.platform else { return Ok(self.options.platform.clone()) };
        let site = self.site();
        let value = self.expand_global(&site, flag)?;
        if value.is_empty() {
            return Err(site
                .error("invalid-platform", format!("`{}` is empty after expansion", flag.value), flag.span)
                .note("--platform sees the ARGs before the first FROM and the automatic ones such as BUILDPLATFORM")
                .into());
        }
        Platform::parse(&value, &self.options.build_platform).ok_or_else(|| {
            site.error("invalid-platform", format!("`{value}` is not a platform"), flag.span)
                .help(format!("write it like {}", self.options.build_platform))
                .into()
        })
    }

    fn expand_global(&mut self, site: &Site<'_>, word: &Word) -> Result<String, Fault> {
        let globals = &self.globals;
        let lookup = |name: &str| globals.value(name).or_else(|| self.automatic.value(name)).map(str::to_owned);
        Ok(site.expand(word, site.escape, Quotes::Remove, &lookup)?.text)
    }

    /// The triggers that a base leaves to its children.
    fn triggers(&mut self, index: usize, base: &Result<Base, Fault>) -> (Vec<Trigger>, Vec<Diagnostic>) {
        match base {
            Ok(Base::Image(image)) => foreign_triggers(&image.reference, &image.config),
            Ok(Base::Target(target)) => foreign_triggers(&self.stages[index].from.image.value, &target.config),
            Ok(Base::Stage(stage)) => match self.replaced(*stage) {
                Some(Origin::Image(reference)) => match self.find(&reference, &self.options.platform) {
                    Ok(image) => foreign_triggers(&image.reference, &image.config),
                    Err(_) => Default::default(),
                },
                Some(_) => Default::default(),
                None => {
                    let kept = self.stages[*stage].body.iter().filter_map(|i| match &i.kind {
                        Kind::Onbuild { instruction, .. } => {
                            Some(Trigger { instruction: (**instruction).clone(), foreign: None })
                        }
                        _ => None,
                    });
                    (kept.collect(), Vec::new())
                }
            },
            _ => Default::default(),
        }
    }

    /// Stages that an instruction of stage `index` reads from. What is wrong with a name is told when it is walked.
    fn references(&self, index: usize, instruction: &Instruction) -> Vec<usize> {
        let site = self.site();
        let flags = match &instruction.kind {
            Kind::Copy(copy) => &copy.flags,
            Kind::Run(run) => &run.flags,
            _ => return Vec::new(),
        };
        let stage = |from: &Word, indexes: bool| match self.origin(&site, index, from, indexes) {
            // Files of a context that stands for a stage are read where they are.
            Ok(Origin::Stage(stage)) if self.replaced(stage).is_none() => Some(stage),
            _ => None,
        };
        flags
            .iter()
            .filter_map(|flag| match (flag.name.value.as_str(), &flag.value) {
                ("from", Some(from)) => stage(from, true),
                ("mount", Some(options)) => stage(&mounts::from_of(options)?, false),
                _ => None,
            })
            .collect()
    }
}

fn foreign_triggers(base: &str, config: &ImageConfig) -> (Vec<Trigger>, Vec<Diagnostic>) {
    let (mut triggers, mut faults) = (Vec::new(), Vec::new());
    for text in config.config.on_build.iter().flatten() {
        let source = Source::new(format!("ONBUILD of {base}"), text.as_str());
        match parse_onbuild(text) {
            Ok(instruction)
                if matches!(instruction.kind, Kind::From(_) | Kind::Maintainer(_) | Kind::Onbuild { .. }) =>
            {
                let name = instruction.name.value.to_uppercase();
                let site = Site { source: &source, escape: '\\', trigger: Some((base, Span::default())) };
                let message = format!("{name} is not allowed as an ONBUILD trigger");
                faults.push(site.error("invalid-onbuild", message, instruction.name.span));
            }
            Ok(instruction) => {
                triggers.push(Trigger { instruction, foreign: Some((source, base.to_owned())) });
            }
            Err(list) => faults.extend(list.into_iter().map(|mut fault| {
                fault.source = Some(source.clone());
                fault.note(format!("this instruction is an ONBUILD trigger of base image `{base}`"))
            })),
        }
    }
    (triggers, faults)
}
