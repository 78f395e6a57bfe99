//! The images that FROM, `COPY --from` and mounts name: from the store, pulled where `--pull` says so, and those that the
//! lock file names where there is one.

mod locked;

use super::inputs::{InputPolicy, open_vendored};
use super::{BuildError, BuildRequest, layout};
use crate::base::{Cancel, Digest};
use crate::cache::Imports;
use crate::dockerfile::lower::{BaseImage, Images, NotFound};
use crate::export::{StoredImages, images};
use crate::image::{Platform, Reference};
use crate::net::transfer::News;
use crate::registry::lazy::{self, Promised};
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
    imports: Option<&'b Imports>,
}

/// What was asked of registries: once in a build is enough.
#[derive(Debug, Default)]
pub(super) struct Asked {
    names: Mutex<HashSet<(String, Option<Platform>)>>,
    promised: Mutex<Vec<(Reference, Platform, Promised)>>,
}

impl Asked {
    /// Whether nobody has asked for this name yet, or for its image for a platform; somebody has from now on.
    fn first(&self, name: &Reference, platform: Option<&Platform>) -> bool {
        let key = (name.to_string(), platform.cloned());
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(key)
    }

    /// The manifest of an image that was promised under this name.
    fn promised(&self, name: &Reference, platform: &Platform) -> Option<Digest> {
        let all = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fitting = all.iter().filter(|(known, of, _)| known == name && of == platform);
        fitting.next().map(|(_, _, promised)| promised.manifest)
    }

    /// The images that were promised and not pulled, where one alone has its name.
    pub fn into_promised(self) -> Vec<(Reference, Promised)> {
        let all = self.promised.into_inner().unwrap_or_else(PoisonError::into_inner);
        let is_alone = |name: &Reference| all.iter().filter(|(other, ..)| other == name).count() == 1;
        let alone = all.iter().filter(|(name, ..)| is_alone(name));
        alone.map(|(name, _, promised)| (name.clone(), promised.clone())).collect()
    }
}

impl<'b> Bases<'b> {
    /// The images of a target with this policy; `asked` is that of the whole build.
    pub fn new(
        store: &'b Store,
        request: &'b BuildRequest,
        policy: &'b InputPolicy,
        asked: &'b Asked,
        imports: Option<&'b Imports>,
        sink: &'b Sink<'b>,
    ) -> Result<Bases<'b>, BuildError> {
        let BuildRequest { pulling, cancel, .. } = request;
        let stored = StoredImages::new(store);
        let vendored = open_vendored(policy, store, cancel)?;
        let began = Instant::now();
        Ok(Bases { store, stored, pulling, policy, vendored, cancel, sink, began, asked, imports })
    }

    fn tell(&self, name: &str, news: News) {
        let at = self.began.elapsed().as_millis() as u64;
        (self.sink)(Event::Exchange { name: name.to_owned(), news, at });
    }

    /// A stored image by its manifest.
    fn found(
        &self,
        reference: &str,
        name: Reference,
        manifest: Digest,
        platform: &Platform,
    ) -> Result<BaseImage, NotFound> {
        let pinned = Reference { digest: Some(manifest), ..name };
        let found = self.stored.find(&pinned.to_string(), platform)?;
        Ok(BaseImage { reference: reference.to_owned(), ..found })
    }

    /// Gets an image, or its documents alone where a cache knows what its layers hold; what it is named by then: the
    /// manifest of one that was promised.
    fn pull(&self, name: &Reference, platform: &Platform) -> Result<Option<Digest>, RegistryError> {
        let Pulling { settings, keyring, .. } = self.pulling;
        let watch = |name: &str, news: News| self.tell(name, news);
        let registries = Registries { settings, keyring, watch: &watch, cancel: self.cancel };
        if let Some(imports) = self.imports {
            let knows = |diff_id: &Digest| imports.layer(diff_id);
            if let Some(promised) = lazy::promise(self.store, name, platform, &registries, &knows)? {
                let manifest = promised.manifest;
                let mut all = self.asked.promised.lock().unwrap_or_else(PoisonError::into_inner);
                all.push((name.clone(), platform.clone(), promised));
                return Ok(Some(manifest));
            }
        }
        registry::pull(self.store, name, &platform.into(), &registries).map(|_| None)
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
            return self.found(reference, name, manifest, platform);
        }
        if self.policy.offline {
            return stored.map_err(|missing| self.offline(reference, missing));
        }
        if let Some(manifest) = self.asked.promised(&name, platform) {
            return self.found(reference, name, manifest, platform);
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
            Ok(Some(manifest)) => self.found(reference, name, manifest, platform),
            Ok(None) => self.stored.find(reference, platform),
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
    config.architecture.is_empty() || platform.accepted().contains(&config.for_platform())
}
