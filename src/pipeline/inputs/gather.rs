//! Which images, files and commits a Dockerfile names.

use crate::diag::{Diagnostic, Span};
use crate::dockerfile::Dockerfile;
use crate::dockerfile::ast::Kind;
use crate::dockerfile::lower::{self, BaseImage, Images, NotFound, Options};
use crate::graph::{Op, Remote};
use crate::image::Platform;
use crate::pipeline::{Target, options};
use std::sync::{Mutex, PoisonError};

/// Of which stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stages {
    /// All, so that one lock file serves every target.
    #[default]
    All,
    /// Those that the target needs.
    Target,
}

/// What is named.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// Images, as the Dockerfile and the command line write them, and for which platform, each once.
    pub images: Vec<(String, Platform)>,
    /// Files and commits, in the order of the Dockerfile, each once, with the instruction that names it.
    pub remotes: Vec<(Remote, Span)>,
}

/// Finds the inputs of a target's Dockerfile by lowering it, for one stage or for each, on each of the platforms.
///
/// # Errors
/// What is wrong with the file, or with an image that it names.
pub fn gather(
    file: &Dockerfile,
    target: &Target,
    images: &dyn Images,
    stages: Stages,
) -> Result<Gathered, Vec<Diagnostic>> {
    let count = file.instructions.iter().filter(|i| matches!(i.kind, Kind::From(_))).count();
    let wanted: Vec<Option<String>> = match stages {
        Stages::All => (0..count).map(|index| Some(index.to_string())).collect(),
        Stages::Target => vec![target.stage.clone()],
    };
    let noted = Noted { images, names: Mutex::default() };
    let mut remotes: Vec<(Remote, Span)> = Vec::new();
    for platform in target.all_platforms() {
        for stage in &wanted {
            let options = Options { target: stage.clone(), platform: platform.clone(), ..options(target) };
            for step in lower::lower(file, &options, &noted)?.graph.steps {
                if let Op::Fetch(remote) = step.op
                    && !remotes.iter().any(|(known, _)| *known == remote)
                {
                    remotes.push((remote, step.span.unwrap_or_default()));
                }
            }
        }
    }
    Ok(Gathered { images: noted.names.into_inner().unwrap_or_else(PoisonError::into_inner), remotes })
}

/// Remembers which images are asked for.
struct Noted<'n> {
    images: &'n dyn Images,
    names: Mutex<Vec<(String, Platform)>>,
}

impl Images for Noted<'_> {
    fn find(&self, reference: &str, platform: &Platform) -> Result<BaseImage, NotFound> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if !names.iter().any(|(name, of)| name == reference && of == platform) {
            names.push((reference.to_owned(), platform.clone()));
        }
        drop(names);
        self.images.find(reference, platform)
    }
}
