//! The images that FROM, `COPY --from` and mounts name: from the store, pulled where `--pull` says so, and those that the
//! lock file names where there is one.

mod locked;

use super::inputs::{InputPolicy, open_vendored};
use super::{BuildError, BuildRequest, layout};
use crate::base::Cancel;
use crate::dockerfile::lower::{BaseImage, Images, NotFound};
use crate::export::{StoredImages, images};
use crate::image::{Platform, Reference};
use crate::net::transfer::News;
use crate::registry::{self, Keyring, Registries, RegistryError, Settings};
use crate::solver::{Sink, event::Event};
use crate::store::Store;
use crate::vendor::Vendored;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// When images are pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Pull {
    /// Whatever the store holds
    Always,
    /// Where the store has none of that name
    Missing,
    /// Not at all
    #[default]
    Never,
    /// Where the registry has another than the store; the store's where the registry does not answer
    Newer,
}

/// How images are pulled for a build.
#[derive(Clone, Debug, Default)]
pub struct Pulling {
    /// When.
    pub when: Pull,
    /// How registries are reached.
    pub settings: Settings,
    /// Credentials.
    pub keyring: Keyring,
}

/// The images of a target.
pub(super) struct Bases<'b> {
    store: &'b Store,
    stored: StoredImages<'b>,
    pulling: &'b Pulling,
    policy: &'b InputPolicy,
    vendored: Option<Vendored>,
    cancel: &'b Cancel,
    sink: &'b Sink<'b>,
    began: Instant,
    asked: &'b Asked,
}

/// Names that were pulled or tried: once in a build is enough.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<HashSet<String>>);

impl Asked {
    /// Whether nobody has asked for this name yet; somebody has from now on.
    fn first(&self, name: &Reference) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string())
    }
}

impl<'b> Bases<'b> {
    /// The images of a target with this policy; `asked` is that of the whole build.
    pub fn new(
        store: &'b Store,
        request: &'b BuildRequest,
        policy: &'b InputPolicy,
        asked: &'b Asked,
        sink: &'b Sink<'b>,
    ) -> Result<Bases<'b>, BuildError> {
        let BuildRequest { pulling, cancel, .. } = request;
        let stored = StoredImages::new(store);
        let vendored = open_vendored(policy, store, cancel)?;
        Ok(Bases { store, stored, pulling, policy, vendored, cancel, sink, began: Instant::now(), asked })
    }

    fn tell(&self, name: &str, news: News) {
        let at = self.began.elapsed().as_millis() as u64;
        (self.sink)(Event::Exchange { name: name.to_owned(), news, at });
    }

    fn pull(&self, name: &Reference) -> Result<(), RegistryError> {
        let Pulling { settings, keyring, .. } = self.pulling;
        let watch = |name: &str, news: News| self.tell(name, news);
        let registries = Registries { settings, keyring, watch: &watch, cancel: self.cancel };
        registry::pull(self.store, name, &Platform::default(), &registries).map(drop)
    }
}

impl Images for Bases<'_> {
    fn find(&self, reference: &str) -> Result<BaseImage, NotFound> {
        if let Some(found) = layout::find(self.store, reference, self.cancel) {
            return found;
        }
        let parsed = reference.parse::<Reference>();
        if let Ok(name) = &parsed
            && (self.policy.locked || self.policy.image(name).is_some())
        {
            return self.find_locked(reference, name);
        }
        let stored = self.stored.find(reference);
        let Ok(name) = parsed else { return stored };
        if stored.is_err()
            && let Some(manifest) = self.take_vendored(&name, None)?
        {
            let pinned = Reference { digest: Some(manifest), ..name };
            let found = self.stored.find(&pinned.to_string());
            return found.map(|found| BaseImage { reference: reference.to_owned(), ..found });
        }
        if self.policy.offline {
            return stored.map_err(|missing| self.offline(reference, missing));
        }
        let pinned = name.digest.is_some();
        let wanted = match self.pulling.when {
            Pull::Never => false,
            Pull::Missing => stored.is_err(),
            // What a digest names does not change.
            Pull::Always | Pull::Newer => stored.is_err() || !pinned,
        };
        if !wanted || !self.asked.first(&name) {
            return stored;
        }
        // Known by an ID, or as podman has it under localhost: no registry has that.
        let local = stored.is_ok() && !matches!(images::find_name(self.store, &name), Ok(Some(_)));
        if local {
            return stored;
        }
        match self.pull(&name) {
            Ok(()) => self.stored.find(reference),
            Err(error) if self.pulling.when == Pull::Newer && stored.is_ok() && error.is_network() => {
                self.tell(&name.familiar(), News::Said { text: format!("using what is stored: {error}") });
                stored
            }
            Err(error) => {
                let mut help = stored.err().map(|e| e.help).unwrap_or_default();
                help.retain(|text| text.starts_with("did you mean"));
                help.extend(error.help());
                let unreachable = !error.is_not_found() && !matches!(error, RegistryError::Platform { .. });
                Err(NotFound { reason: error.to_string(), help, unreachable, ..NotFound::default() })
            }
        }
    }
}
