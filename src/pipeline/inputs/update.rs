//! Bringing a lock file up to date: looking what each name stands for.

use super::{Stages, gather, git_name, name_of};
use crate::dockerfile::lower::{BaseImage, Images, NotFound};
use crate::export::{StoredImages, images};
use crate::graph::remote::redacted;
use crate::graph::{HttpSource, Remote};
use crate::image::{Platform, Reference};
use crate::lock::{Lock, LockedFile, LockedImage, Name};
use crate::ops::OpError;
use crate::ops::remote::Fetcher;
use crate::pipeline::{BuildError, BuildRequest, failure, targets};
use crate::registry::{self, RegistryError};
use crate::solver::Sink;
use crate::solver::event::Event;
use crate::store::{Access, Store};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Which names are looked up anew.
#[derive(Clone, Debug, Default)]
pub enum Update {
    /// Those that the lock file lacks.
    #[default]
    Missing,
    /// All.
    All,
    /// These, as users write them, beside those that it lacks.
    Named(Vec<String>),
}

impl Update {
    /// Whether a name is meant: an image in any form of its name, an address, a repository with or without its reference.
    fn covers(&self, name: &Name) -> bool {
        match self {
            Update::Missing => false,
            Update::All => true,
            Update::Named(words) => words.iter().any(|word| means(word, name)),
        }
    }
}

fn means(word: &str, name: &Name) -> bool {
    match name {
        Name::Image(image) => word.parse::<Reference>().is_ok_and(|w| w.to_string() == *image),
        Name::File(url) => word == url,
        Name::Commit(git) => word == git.url || word == git.to_string(),
    }
}

/// A lock that was brought up to date.
#[derive(Clone, Debug)]
pub struct Updated {
    /// It.
    pub lock: Lock,
    /// Words of [`Update::Named`] that mean nothing in it.
    pub strange: Vec<String>,
}

/// Looks what the names in the Dockerfile of a request's one target stand for. What the target's lock file has is kept unless `update` says otherwise;
/// `further` are sources beside those that the Dockerfile names: a context on the network. Fetches files, and of images
/// only the documents.
///
/// # Errors
/// The Dockerfile is not valid, or a name stands for nothing.
pub fn update(
    request: &BuildRequest,
    update: &Update,
    stages: Stages,
    further: &[Remote],
    sink: &Sink<'_>,
) -> Result<Updated, BuildError> {
    let files = targets::parse(request, sink)?;
    let (Some(target), Some(file)) = (request.targets.first(), files.first()) else {
        return Err(BuildError::Interrupted);
    };
    let store = Store::open(&request.root, Access::Shared)?;
    let old = target.inputs.lock.as_ref().map(|file| file.lock.clone()).unwrap_or_default();
    let peeking = Peeking { request, store: &store, old: &old, update, sink, found: Mutex::default() };
    let gathered = gather(file, target, &peeking, stages);
    if request.cancel.is_set() {
        return Err(BuildError::Interrupted);
    }
    let gathered = gathered.map_err(BuildError::Dockerfile)?;
    let images = peeking.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut lock = Lock { vendor: old.vendor.clone(), images, ..Lock::default() };
    let fetcher = Fetcher { store: &store, secrets: &request.secrets, cancel: &request.cancel, fresh: false };
    for remote in further {
        look(&fetcher, remote, &old, update, &mut lock)?;
    }
    for (remote, span) in &gathered.remotes {
        look(&fetcher, remote, &old, update, &mut lock)
            .map_err(|error| failure::of_source(error, format!("fetch {remote}"), *span, &file.source))?;
    }
    let strange = match update {
        Update::Named(words) => {
            let known = lock.entries();
            words.iter().filter(|word| !known.keys().any(|name| means(word, name))).cloned().collect()
        }
        _ => Vec::new(),
    };
    Ok(Updated { lock, strange })
}

/// What a file or commit is: as it was locked, or asked now.
fn look(fetcher: &Fetcher<'_>, remote: &Remote, old: &Lock, update: &Update, lock: &mut Lock) -> Result<(), OpError> {
    let keep = !update.covers(&name_of(remote));
    match remote {
        Remote::Http(source) => {
            let url = redacted(&source.url);
            let known = old.files.get(&url).filter(|file| keep && source.checksum.is_none_or(|c| c == file.digest));
            let entry = match known {
                Some(known) => known.clone(),
                None => file(fetcher, source)?,
            };
            lock.files.insert(url, entry);
        }
        Remote::Git(source) => {
            let name = git_name(source);
            let agrees =
                |commit: &&String| keep && source.commit.as_ref().is_none_or(|c| commit.starts_with(c.as_str()));
            let commit = match old.commits.get(&name).filter(agrees) {
                Some(known) => known.clone(),
                None => fetcher.commit(source)?,
            };
            lock.commits.insert(name, commit);
        }
    }
    Ok(())
}

fn file(fetcher: &Fetcher<'_>, source: &HttpSource) -> Result<LockedFile, OpError> {
    let remote = Remote::Http(super::plain(source));
    let fetched = fetcher.fetch(&remote, &|| {})?;
    let content = match fetched.content() {
        Some(content) => content,
        // It was fetched by a program that did not note how long it is.
        None => {
            let again = Fetcher { fresh: true, ..*fetcher }.fetch(&remote, &|| {})?;
            again.content().ok_or_else(|| OpError::input("remote-failed", format!("nothing is known of {remote}")))?
        }
    };
    Ok(LockedFile { digest: content.0, size: content.1 })
}

/// Images for the lock: what their names lead to is asked, their layers are left where they are.
struct Peeking<'p> {
    request: &'p BuildRequest,
    store: &'p Store,
    old: &'p Lock,
    update: &'p Update,
    sink: &'p Sink<'p>,
    found: Mutex<BTreeMap<String, LockedImage>>,
}

impl Peeking<'_> {
    fn note(&self, name: &Reference, entry: LockedImage) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), entry);
    }

    /// The image that the lock file names, if it may stay.
    fn kept(&self, name: &Reference) -> Option<&LockedImage> {
        let key = name.to_string();
        let entry = self.old.images.get(&key)?;
        (!self.update.covers(&Name::Image(key))).then_some(entry)
    }

    fn ask(&self, name: &Reference, platform: &Platform) -> Result<registry::Peeked, RegistryError> {
        let pulling = &self.request.pulling;
        registry::peek(name, platform, &pulling.settings, &pulling.keyring, &self.request.cancel)
    }

    /// An image of the store that no registry has.
    fn local(
        &self,
        name: &Reference,
        reference: &str,
        platform: &Platform,
        error: &RegistryError,
    ) -> Option<BaseImage> {
        let was_remote = self.old.images.get(&name.to_string()).is_some_and(|entry| !entry.local);
        let manifest = images::find_name(self.store, name).ok().flatten().filter(|_| !was_remote)?;
        let found = StoredImages::new(self.store).find(reference, platform).ok()?;
        let reason = if error.is_not_found() { "is in no registry".to_owned() } else { format!("({error})") };
        let what = format!("{} {reason}: the image in the store is locked", name.familiar());
        (self.sink)(Event::Exporting { what, at: 0 });
        self.note(name, LockedImage { digest: manifest, platforms: BTreeMap::new(), local: true });
        Some(found)
    }
}

impl Images for Peeking<'_> {
    fn find(&self, reference: &str, platform: &Platform) -> Result<BaseImage, NotFound> {
        let stored = StoredImages::new(self.store);
        let Ok(name) = reference.parse::<Reference>() else { return stored.find(reference, platform) };
        let base = |manifest, config| BaseImage { reference: reference.to_owned(), manifest, config };
        if let Some(entry) = self.kept(&name) {
            let manifest = entry.manifest(&platform.to_string());
            let pinned = |digest| Reference { digest: Some(digest), ..name.clone() };
            if let Some(found) = manifest.and_then(|m| stored.find(&pinned(*m).to_string(), platform).ok()) {
                self.note(&name, entry.clone());
                return Ok(BaseImage { reference: reference.to_owned(), ..found });
            }
            if !entry.local {
                let peeked = self.ask(&pinned(entry.digest), platform).map_err(|error| not_found(&error))?;
                self.note(&name, entry.clone());
                return Ok(base(peeked.manifest, peeked.config));
            }
        }
        match self.ask(&name, platform) {
            Ok(peeked) => {
                let entry = LockedImage { digest: peeked.digest, platforms: peeked.platforms, local: false };
                self.note(&name, entry);
                Ok(base(peeked.manifest, peeked.config))
            }
            Err(error) => self.local(&name, reference, platform, &error).ok_or_else(|| not_found(&error)),
        }
    }
}

fn not_found(error: &RegistryError) -> NotFound {
    let unreachable = !error.is_not_found() && !matches!(error, RegistryError::Platform { .. });
    NotFound { reason: error.to_string(), help: error.help(), unreachable, ..NotFound::default() }
}
