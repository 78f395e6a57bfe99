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
pub(super) struct Asked(Mutex<HashSet<(String, Option<Platform>)>>);

impl Asked {
    /// Whether nobody has asked for this name yet, or for its image for a platform; somebody has from now on.
    fn first(&self, name: &Reference, platform: Option<&Platform>) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((name.to_string(), platform.cloned()))
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

    fn pull(&self, name: &Reference, platform: &Platform) -> Result<(), RegistryError> {
        let Pulling { settings, keyring, .. } = self.pulling;
        let watch = |name: &str, news: News| self.tell(name, news);
        let registries = Registries { settings, keyring, watch: &watch, cancel: self.cancel };
        registry::pull(self.store, name, &platform.into(), &registries).map(drop)
    }
}

impl Images for Bases<'_> {
    fn find(&self, reference: &str, platform: &Platform) -> Result<BaseImage, NotFound> {
        if let Some(found) = layout::find(self.store, reference, platform, self.cancel) {
            return found;
        }
        let parsed = reference.parse::<Reference>();
        if let Ok(name) = &parsed
            && (self.policy.locked || self.policy.image(name).is_some())
        {
            return self.find_locked(reference, name, platform);
        }
        let stored = self.stored.find(reference, platform);
        let Ok(name) = parsed else { return stored };
        if stored.is_err()
            && let Some(manifest) = self.take_vendored(&name, None, platform)?
        {
            let pinned = Reference { digest: Some(manifest), ..name };
            let found = self.stored.find(&pinned.to_string(), platform);
            return found.map(|found| BaseImage { reference: reference.to_owned(), ..found });
        }
        if self.policy.offline {
            return stored.map_err(|missing| self.offline(reference, missing));
        }
        let pinned = name.digest.is_some();
        let wanted = match self.pulling.when {
            Pull::Never => false,
            Pull::Missing => !fits(&stored, platform),
            // What a digest names does not change.
            Pull::Always | Pull::Newer => !pinned || !fits(&stored, platform),
        };
        if !wanted || !self.asked.first(&name, Some(platform)) {
            return stored;
        }
        // Known by an ID, or as podman has it under localhost: no registry has that.
        let local = stored.is_ok() && !matches!(images::find_name(self.store, &name), Ok(Some(_)));
        if local {
            return stored;
        }
        match self.pull(&name, platform) {
            Ok(()) => self.stored.find(reference, platform),
            Err(error) if self.pulling.when == Pull::Newer && stored.is_ok() && error.is_network() => {
                self.tell(&name.familiar(), News::Said { text: format!("using what is stored: {error}") });
                stored
            }
            // Of another platform, but the only one there is; a check warns of it.
            Err(_) if stored.is_ok() && self.pulling.when == Pull::Missing => stored,
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

/// Whether a stored image is one whose programs run on `platform`.
fn fits(stored: &Result<BaseImage, NotFound>, platform: &Platform) -> bool {
    let Ok(BaseImage { config, .. }) = stored else { return false };
    let is = Platform::new(&config.os, &config.architecture, config.variant.as_deref().unwrap_or_default());
    config.architecture.is_empty() || platform.accepted().contains(&is)
}
