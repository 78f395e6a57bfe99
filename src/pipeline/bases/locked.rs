//! Images that a lock file names, and those that come from a vendor directory.

use super::Bases;
use crate::base::Digest;
use crate::dockerfile::lower::{BaseImage, Images as _, NotFound};
use crate::export::images;
use crate::image::{Platform, Reference};
use crate::lock::LockedImage;
use crate::net::transfer::News;
use crate::pipeline::Pull;
use crate::pipeline::inputs::{MOVED_HELP, moved_notes};
use crate::registry;

/// The code of the diagnostic about what only the network has.
const OFFLINE: &str = "offline-missing";

impl Bases<'_> {
    /// The image that the lock file says that a name is: from the store, the vendor directory or its registry.
    pub(super) fn find_locked(
        &self,
        reference: &str,
        name: &Reference,
        platform: &Platform,
    ) -> Result<BaseImage, NotFound> {
        let lock = self.policy.lock_name();
        let Some(entry) = self.policy.image(name) else {
            let message = format!("image {name} is not in {lock}, and --locked uses nothing else");
            return Err(refused("not-locked", message, Vec::new(), "add it: `rbuild lock`".into()));
        };
        if self.policy.locked {
            self.check(name, entry)?;
        }
        let Some(manifest) = entry.manifest(&platform.to_string()) else {
            let message = format!("image {name} is not for {platform}, says {lock}");
            let known = entry.platforms.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let help = "look for a newer one: `rbuild lock --update`".into();
            return Err(refused("image-platform-missing", message, vec![format!("it is for {known}")], help));
        };
        let pinned = |digest: &Digest| Reference { digest: Some(*digest), ..name.clone() };
        let stored = || {
            let found = self.stored.find(&pinned(manifest).to_string(), platform);
            found.map(|found| BaseImage { reference: reference.to_owned(), ..found })
        };
        if let Ok(found) = stored() {
            return Ok(found);
        }
        if self.take_vendored(name, Some(manifest), platform)?.is_some() {
            return stored();
        }
        if self.policy.offline {
            return stored().map_err(|missing| self.offline(reference, missing));
        }
        if entry.local || self.pulling.when == Pull::Never {
            return stored().map_err(|missing| NotFound {
                help: missing.help.into_iter().chain([format!("{lock} says that it is {}", entry.digest)]).collect(),
                ..missing
            });
        }
        self.pull(&pinned(&entry.digest), platform).map_err(|error| {
            let unreachable = !error.is_not_found();
            let mut help = error.help();
            help.push(format!("{lock} says that it is {}; look for a newer one: `rbuild lock --update`", entry.digest));
            NotFound { reason: error.to_string(), help, unreachable, ..NotFound::default() }
        })?;
        stored()
    }

    /// Asks what the name stands for now.
    fn check(&self, name: &Reference, entry: &LockedImage) -> Result<(), NotFound> {
        let found = if entry.local {
            images::find_name(self.store, name).ok().flatten()
        } else if self.policy.offline || name.digest.is_some() {
            None
        } else {
            if !self.asked.first(name, None) {
                return Ok(());
            }
            self.tell(&name.familiar(), News::Said { text: "asking what it stands for".to_owned() });
            let (settings, keyring) = (&self.pulling.settings, &self.pulling.keyring);
            let found = registry::current(name, settings, keyring, self.cancel).map_err(|error| {
                let mut help = error.help();
                help.push("build without asking: leave out --locked, or say --offline, too".into());
                let unreachable = !error.is_not_found();
                NotFound { reason: error.to_string(), help, unreachable, ..NotFound::default() }
            })?;
            Some(found)
        };
        match found.filter(|found| *found != entry.digest) {
            None => Ok(()),
            Some(found) => {
                let message = format!("image {name} is no longer what {} says", self.policy.lock_name());
                let notes = moved_notes(&entry.digest.to_string(), &found.to_string()).to_vec();
                Err(refused("lock-drift", message, notes, MOVED_HELP.into()))
            }
        }
    }

    /// Takes an image from the vendor directory, if it is there.
    pub(super) fn take_vendored(
        &self,
        name: &Reference,
        manifest: Option<&Digest>,
        platform: &Platform,
    ) -> Result<Option<Digest>, NotFound> {
        let Some(vendored) = &self.vendored else { return Ok(None) };
        let taken = vendored.take_image(self.store, name, manifest, platform, self.cancel).inspect(|taken| {
            // That the name leads to it is the directory's word, good for this build: only its own digest names it from now on.
            if taken.is_some() {
                self.tell(&name.familiar(), News::Said { text: "from the vendor directory".to_owned() });
            }
        });
        taken.map_err(|error| {
            refused("vendor-damaged", error.to_string(), Vec::new(), "fill it anew: `rbuild vendor DIR`".into())
        })
    }

    /// What is missing and may not be fetched.
    pub(super) fn offline(&self, reference: &str, missing: NotFound) -> NotFound {
        let mut help: Vec<String> = missing.help.into_iter().filter(|text| text.starts_with("did you mean")).collect();
        help.push("build once without --offline, or name a directory that `rbuild vendor` filled: --vendor DIR".into());
        let message = format!("image `{reference}` is not in the store, and --offline fetches nothing");
        NotFound { refused: Some((OFFLINE, message)), help, ..NotFound::default() }
    }
}

fn refused(code: &'static str, message: String, notes: Vec<String>, help: String) -> NotFound {
    NotFound { refused: Some((code, message)), notes, help: vec![help], ..NotFound::default() }
}
