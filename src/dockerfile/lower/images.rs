//! What FROM, `--from` and `from=` name: stages, named contexts, images; and the steps that bring them in.

use super::site::{Fault, Site, listed};
use super::stages::{self, suggest};
use super::walk::Walk;
use super::{BaseImage, ContextTarget, NotFound, PULL_FAILED, Template};
use crate::diag::Span;
use crate::dockerfile::ast::Word;
use crate::graph::{ContextId, CopySource, ImageOp, Op, Remote, StepId};
use crate::image::{Platform, Reference};
use std::str::FromStr;

/// What a name means at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An earlier stage.
    Stage(usize),
    /// A named context that is a directory: its name, and which it is.
    Directory(String, ContextId),
    /// A named context that is on the network: its name, and where it is.
    Remote(String, Remote),
    /// An image.
    Image(String),
    /// A named context that is another target of the build: its name, and which it is.
    Target(String, usize),
    /// A named context that is nothing.
    Scratch,
}

impl Walk<'_> {
    /// The named context `name`, or, for an image name, the one that names the same image (`alpine` is
    /// `alpine:latest`).
    pub fn context(&self, name: &str) -> Option<Origin> {
        let same_image = |known: &str| match (Reference::from_str(known), Reference::from_str(name)) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        };
        let contexts = &self.options.contexts;
        let found = contexts
            .iter()
            .find(|c| c.name.eq_ignore_ascii_case(name))
            .or_else(|| contexts.iter().find(|c| same_image(&c.name)))?;
        Some(match &found.target {
            ContextTarget::Directory(context) => Origin::Directory(found.name.clone(), *context),
            ContextTarget::Target(other) => Origin::Target(found.name.clone(), *other),
            ContextTarget::Remote(remote) => Origin::Remote(found.name.clone(), remote.clone()),
            ContextTarget::Image(reference) if reference == "scratch" => Origin::Scratch,
            ContextTarget::Image(reference) => Origin::Image(reference.clone()),
        })
    }

    /// The named context that stands for a whole stage.
    pub fn replaced(&self, stage: usize) -> Option<Origin> {
        self.context(self.stages[stage].name.as_deref()?)
    }

    /// What `--from=` (`indexes`) or a mount's `from=` means at stage `index`.
    pub fn origin(&self, site: &Site<'_>, index: usize, from: &Word, indexes: bool) -> Result<Origin, Fault> {
        let name = from.value.as_str();
        if name.is_empty() {
            return Err(site.error("empty-from", "the name of the source is empty", from.span).into());
        }
        let is_index = name.bytes().all(|b| b.is_ascii_digit());
        let may_be_stage = !is_index || indexes;
        if may_be_stage && let Some(stage) = stages::by_reference(&self.stages, index, name) {
            return Ok(Origin::Stage(stage));
        }
        if let Some(context) = self.context(name) {
            return Ok(context);
        }
        if let Some(fault) = stages::out_of_order(site, &self.stages, index, from)
            && may_be_stage
        {
            return Err(fault);
        }
        if name.contains('$') {
            return Err(site
                .error("variable-in-from", format!("variables are not expanded in `{name}`"), from.span)
                .help(format!("name the image by a stage of its own: FROM {name} AS source, then use --from=source"))
                .into());
        }
        if is_index {
            let why =
                if indexes { "there is no such stage before this one" } else { "mounts name stages, not indexes" };
            return Err(site
                .error("unknown-stage", format!("`{name}` is no stage: {why}"), from.span)
                .note(format!("stages before this one: {}", self.earlier(index)))
                .into());
        }
        Ok(Origin::Image(name.to_owned()))
    }

    /// Titles of the stages before `index`.
    fn earlier(&self, index: usize) -> String {
        let titles: Vec<String> = (0..index).map(|i| self.stages[i].title(i)).collect();
        listed(titles.iter().map(String::as_str))
    }

    /// An image; each is looked for once for a platform.
    pub fn find(&mut self, reference: &str, platform: &Platform) -> Result<BaseImage, NotFound> {
        let key = (reference.to_owned(), platform.clone());
        if let Some(found) = self.found.get(&key) {
            return found.clone();
        }
        let found = self.images.find(reference, platform);
        self.found.insert(key, found.clone());
        found
    }

    /// Tells that the image that `word` names at stage `index` is not there.
    pub fn not_found(&self, site: &Site<'_>, index: usize, word: &Word, reference: &str, missing: NotFound) -> Fault {
        if let Some((code, message)) = missing.refused {
            let fault =
                missing.notes.into_iter().fold(site.error(code, message, word.span), |fault, note| fault.note(note));
            return missing.help.into_iter().fold(fault, |fault, help| fault.help(help)).into();
        }
        let (code, problem) = match missing.unreachable {
            true => (PULL_FAILED, "could not be pulled"),
            false => ("image-not-found", "was not found"),
        };
        let message = format!("image `{reference}` {problem}: {}", missing.reason);
        let fault = site
            .error(code, message, word.span)
            .note(format!("it is no stage before this one either (there are: {})", self.earlier(index)));
        let names = self.stages[..index].iter().filter_map(|s| s.name.as_deref());
        let contexts = self.options.contexts.iter().map(|c| c.name.as_str());
        missing
            .help
            .into_iter()
            .fold(suggest(fault, reference, names.chain(contexts)), |fault, help| fault.help(help))
            .into()
    }

    /// What another target of the build comes to on a platform.
    pub fn other(
        &self,
        site: &Site<'_>,
        span: Span,
        name: &str,
        other: usize,
        wanted: &Platform,
    ) -> Result<&Template, Fault> {
        let images = self.options.others.get(other).map(Vec::as_slice).unwrap_or_default();
        images.iter().find(|image| image.platform == *wanted).ok_or_else(|| {
            let platforms: Vec<String> = images.iter().map(|image| image.platform.to_string()).collect();
            let platforms = listed(platforms.iter().map(String::as_str));
            let message = format!("the target that `{name}` stands for is not built for {wanted}");
            site.error("target-platform", message, span).note(format!("it is built for: {platforms}")).into()
        })
    }

    /// The step of an image's root filesystem; one for all its uses.
    pub fn image_step(&mut self, image: &BaseImage, site: &Site<'_>, word: &Word) -> StepId {
        let key = format!("{} {}", image.reference, image.manifest);
        if let Some(step) = self.roots.get(&key) {
            return *step;
        }
        let op =
            Op::Image(ImageOp { reference: image.reference.clone(), layers: image.config.rootfs.diff_ids.clone() });
        let step = self.add(op, format!("FROM {}", image.reference), site.step_span(word.span));
        self.roots.insert(key, step);
        step
    }

    /// The step that fetches something; one for all its uses.
    pub fn fetch_step(&mut self, remote: &Remote, site: &Site<'_>, span: Span) -> StepId {
        let key = format!("fetch {remote:?}");
        if let Some(step) = self.roots.get(&key) {
            return *step;
        }
        let step = self.add(Op::Fetch(remote.clone()), format!("fetch {remote}"), site.step_span(span));
        self.roots.insert(key, step);
        step
    }

    /// Where `pattern` of an origin is copied from.
    pub fn source(
        &mut self,
        site: &Site<'_>,
        index: usize,
        word: &Word,
        origin: &Origin,
        pattern: String,
    ) -> Result<CopySource, Fault> {
        let step = match origin {
            Origin::Directory(_, context) => {
                return Ok(CopySource::Context { context: Some(*context), pattern });
            }
            Origin::Target(name, other) => self.other(site, word.span, name, *other, &self.options.platform)?.root,
            Origin::Remote(_, remote) => self.fetch_step(remote, site, word.span),
            Origin::Scratch => self.scratch(word.span),
            Origin::Stage(stage) => match self.replaced(*stage) {
                Some(replaced) => return self.source(site, index, word, &replaced, pattern),
                None => self.states[*stage].root,
            },
            // An image that no needed stage names is not looked for.
            Origin::Image(_) if self.rehearsing => StepId(0),
            Origin::Image(reference) => match self.find(reference, &self.options.platform) {
                Ok(image) => self.image_step(&image, site, word),
                Err(missing) => return Err(self.not_found(site, index, word, reference, missing)),
            },
        };
        Ok(CopySource::Step { step, pattern })
    }
}
