//! From a registry into the store.

use super::client::{Ask, Remote};
use super::download::Download;
use super::error::Fault;
use super::{Registries, RegistryError};
use crate::base::{Cancel, Digest};
use crate::export::intake::{Blobs, Intake};
use crate::export::{ExportError, Image, document, images};
use crate::image::manifest::media;
use crate::image::{Descriptor, DocumentError, ImageIndex, MAX_DOCUMENT, Manifest, Platform, Reference};
use crate::net::transfer::{Act, Moving, News, Watch};
use crate::net::{Method, Response};
use crate::store::Store;
use serde_json::Value;
use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Deepest nesting of indexes.
const MAX_DEPTH: usize = 4;
/// What is taken as a manifest.
const ACCEPT: [&str; 4] = [media::MANIFEST, media::INDEX, media::DOCKER_MANIFEST, media::DOCKER_LIST];

/// Which images of an index are pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// Those that fit these platforms.
    These(Vec<Platform>),
    /// Every one.
    All,
}

impl From<&Platform> for Platforms {
    fn from(platform: &Platform) -> Platforms {
        Platforms::These(vec![platform.clone()])
    }
}

/// What [`pull`] got.
#[derive(Debug)]
pub struct Pulled {
    /// As it is in the store now; of several platforms the first.
    pub image: Image,
    /// What the name leads to in the store: a manifest or an index.
    pub root: Digest,
    /// What the name leads to in the registry: the digest of an index or of the manifest.
    pub digest: Digest,
    /// Whether the store had all of it before.
    pub known: bool,
}

/// Pulls an image: its manifest is stored as it came, its packed layers are kept, and it gets its name last, so that a
/// pull that fails leaves the name as it was. Mirrors are asked first. Of an index the images for `platforms` are taken.
/// The name of a single one leads to its manifest, as it does in docker's store; with further ones, also such as the
/// name led to before and the index still lists, it leads to the index.
///
/// # Errors
/// No registry gives the image, what it gives contradicts itself or is for other machines, the store failed, or the work
/// was called off.
pub fn pull(
    store: &Store,
    name: &Reference,
    platforms: &Platforms,
    registries: &Registries<'_>,
) -> Result<Pulled, RegistryError> {
    let familiar = name.familiar();
    let from = |source: &Reference| {
        let remote = registries.connect(source)?;
        let puller = Puller { told: name.familiar(), ..Puller::new(&remote, source, registries.watch) };
        take(store, &puller, name, platforms, registries.cancel)
    };
    registries.told(&familiar, "pull", || {
        for mirror in registries.settings.host(&name.registry).mirrors {
            match from(&Reference { registry: mirror.clone(), ..name.clone() }) {
                Err(error) if error.is_network() || error.is_not_found() => {
                    let text = format!("mirror {mirror} does not help: {error}");
                    (registries.watch)(&familiar, News::Said { text });
                }
                result => return result,
            }
        }
        from(name)
    })
}

/// Takes what `puller` finds into the store, to be named `name`.
fn take(
    store: &Store,
    puller: &Puller<'_>,
    name: &Reference,
    platforms: &Platforms,
    cancel: &Cancel,
) -> Result<Pulled, RegistryError> {
    let top = puller.top()?;
    let found = puller.images(&top, platforms)?;
    let mut known = true;
    for (_, descriptor, manifest, bytes) in &found {
        if !is_complete(store, &descriptor.digest, manifest) {
            known = false;
            let config = puller.small(&manifest.config)?;
            let stored = Intake { store, blobs: puller, cancel }.image(manifest, bytes, &config);
            stored.map_err(|e| match cancel.is_set() {
                true => RegistryError::Cancelled,
                false => RegistryError::of_image(e, &puller.name.familiar()),
            })?;
        }
    }
    let manifests: Vec<Digest> = found.iter().map(|(_, descriptor, ..)| descriptor.digest).collect();
    let root = root(store, name, &top, &manifests)?;
    match name.digest {
        Some(_) => images::pin(store, &root, name),
        None => images::tag(store, &root, name),
    }?;
    let Some(first) = manifests.first() else { return Err(puller.wrong("it is an index that lists no image")) };
    Ok(Pulled { image: images::read(store, first)?, root, digest: top.digest, known })
}

/// What the name is to lead to.
fn root(store: &Store, name: &Reference, top: &Document, manifests: &[Digest]) -> Result<Digest, RegistryError> {
    let Ok(index) = ImageIndex::from_bytes(&top.bytes) else {
        return Ok(manifests.first().copied().unwrap_or(top.digest));
    };
    let lists = |manifest: &Digest| index.images().any(|(d, _)| d.digest == *manifest);
    let before = match images::find_name(store, name)? {
        Some(root) => match document::read(store, &root) {
            Ok(document::Document::Index(old)) => {
                document::stored(store, &old).manifests.iter().map(|d| d.digest).collect()
            }
            Ok(document::Document::Manifest(..)) => vec![root],
            Err(_) => Vec::new(),
        },
        None => Vec::new(),
    };
    let stays = before.iter().any(|manifest| lists(manifest) && !manifests.contains(manifest));
    match manifests {
        // One of an index in an index is not found from the top.
        [only] if !stays || !lists(only) => Ok(*only),
        _ => Ok(store.put_blob(&top.bytes)?),
    }
}

/// Whether all that the manifest leads to is in the store.
fn is_complete(store: &Store, digest: &Digest, manifest: &Manifest) -> bool {
    let blob = |d: &Descriptor| std::fs::metadata(store.blob_path(&d.digest)).is_ok_and(|m| m.len() == d.size);
    let Ok(image) = images::read(store, digest) else { return false };
    let layers = manifest.layers.iter().zip(&image.config.rootfs.diff_ids);
    layers.into_iter().all(|(d, id)| (d.digest == *id || blob(d)) && matches!(store.held_layer(id), Ok(Some(_))))
}

/// What stands after `manifests/`.
fn wanted(name: &Reference) -> String {
    match (&name.digest, &name.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.clone().unwrap_or_else(|| "latest".into()),
    }
}

/// What a name leads to: its digest, the manifest's descriptor, the manifest and its bytes.
pub(super) type Found = (Digest, Descriptor, Manifest, Vec<u8>);

/// A manifest or index as it came.
#[derive(Clone)]
pub(super) struct Document {
    pub kind: String,
    pub digest: Digest,
    pub bytes: Vec<u8>,
}

pub(super) struct Puller<'p> {
    pub remote: &'p Remote,
    pub name: &'p Reference,
    /// As the user has it.
    told: String,
    place: PathBuf,
    pub scopes: Vec<String>,
    watch: &'p Watch<'p>,
}

impl<'p> Puller<'p> {
    pub fn new(remote: &'p Remote, name: &'p Reference, watch: &'p Watch<'p>) -> Puller<'p> {
        let scopes = vec![format!("repository:{}:pull", name.repository)];
        Puller { remote, name, told: name.familiar(), place: name.familiar().into(), scopes, watch }
    }

    pub fn wrong(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Contents { place: self.name.familiar(), reason: reason.into() }
    }

    pub fn invalid(&self, error: &DocumentError) -> RegistryError {
        self.wrong(error.to_string())
    }

    /// The images for these platforms below what the name leads to, each once.
    fn images(&self, top: &Document, platforms: &Platforms) -> Result<Vec<Found>, RegistryError> {
        let mut all: Vec<Found> = Vec::new();
        match (platforms, Descriptor::new(&top.kind, top.digest, 0).is_index()) {
            (Platforms::These(platforms), _) => {
                for platform in platforms {
                    all.push(self.manifest_below(top.clone(), platform)?);
                }
            }
            (Platforms::All, false) => all.push(self.manifest_below(top.clone(), &Platform::default())?),
            (Platforms::All, true) => {
                let index = ImageIndex::from_bytes(&top.bytes).map_err(|e| self.invalid(&e))?;
                for (descriptor, _) in index.images() {
                    let document = self.pinned(descriptor)?;
                    all.push(self.manifest_below(document, &Platform::default())?);
                }
            }
        }
        let mut seen = HashSet::new();
        all.retain(|(_, descriptor, ..)| seen.insert(descriptor.digest));
        Ok(all)
    }

    /// What the name leads to.
    pub fn top(&self) -> Result<Document, RegistryError> {
        self.document(&wanted(self.name), self.name.digest.as_ref())
    }

    /// The manifest of the image for a platform: the digest of `document`, the manifest's descriptor, and it.
    pub fn manifest_below(&self, mut document: Document, platform: &Platform) -> Result<Found, RegistryError> {
        let top = document.digest;
        let mut depth = 0;
        loop {
            let found = Descriptor::new(&document.kind, document.digest, document.bytes.len() as u64);
            if found.is_manifest() {
                let manifest = Manifest::from_bytes(&document.bytes).map_err(|e| self.invalid(&e))?;
                if !matches!(manifest.config.media_type.as_str(), media::CONFIG | media::DOCKER_CONFIG) {
                    return Err(self.wrong(format!("'{}' is no container image", manifest.config.media_type)));
                }
                return Ok((top, found, manifest, document.bytes));
            }
            if depth == MAX_DEPTH {
                return Err(self.wrong(format!("its indexes are nested more than {MAX_DEPTH} deep")));
            }
            depth += 1;
            let index = ImageIndex::from_bytes(&document.bytes).map_err(|e| self.invalid(&e))?;
            let next = self.choose(&index, platform)?;
            document = self.pinned(next)?;
        }
    }

    /// A manifest or index that an index lists.
    fn pinned(&self, listed: &Descriptor) -> Result<Document, RegistryError> {
        let document = self.document(&listed.digest.to_string(), Some(&listed.digest))?;
        let (kind, length) = (&document.kind, document.bytes.len() as u64);
        if length == listed.size && *kind == listed.media_type {
            return Ok(document);
        }
        let Descriptor { digest, size, media_type, .. } = listed;
        Err(self.wrong(format!("{digest} is announced as '{media_type}' of {size} bytes and is '{kind}' of {length}")))
    }

    fn choose<'i>(&self, index: &'i ImageIndex, platform: &Platform) -> Result<&'i Descriptor, RegistryError> {
        if let Some(found) = index.pick(platform) {
            return Ok(found);
        }
        let platforms = index.platforms();
        if platforms.is_empty() {
            return Err(self.wrong("it is an index that lists no image"));
        }
        let shown = |text: String| text.chars().filter(|c| !c.is_control()).take(40).collect();
        Err(RegistryError::Platform {
            name: self.name.familiar(),
            wanted: platform.to_string(),
            found: platforms.into_iter().take(20).map(shown).collect(),
        })
    }

    /// A manifest or index, verified where its digest is known.
    pub fn document(&self, wanted: &str, pinned: Option<&Digest>) -> Result<Document, RegistryError> {
        let url = self.remote.url(&format!("{}/manifests/{wanted}", self.name.repository))?;
        let what = format!("give the manifest of {}", self.name.familiar());
        let mut ask = Ask::new(Method::Get, url, &self.scopes, what);
        ask.headers.push(("accept", ACCEPT.join(", ")));
        let response = self.remote.send(&ask)?;
        match response.status {
            200 => {}
            404 => return Err(RegistryError::NotFound { name: self.name.familiar() }),
            _ => return Err(self.remote.refused(&ask, response)),
        }
        let announced = response.header("content-type").map(|t| t.split(';').next().unwrap_or(t).trim().to_owned());
        let told = response.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok());
        let bytes = self.read(response, MAX_DOCUMENT)?;
        let digest = Digest::of(&bytes);
        if let Some(expected) = pinned.or(told.as_ref()).filter(|d| **d != digest) {
            return Err(self.wrong(format!("the manifest announced as {expected} is {digest}")));
        }
        let kind = self.kind(announced, &bytes)?;
        Ok(Document { kind, digest, bytes })
    }

    /// What a document is: as the server says, which must be what the document says itself.
    fn kind(&self, announced: Option<String>, bytes: &[u8]) -> Result<String, RegistryError> {
        let parsed: Value = serde_json::from_slice(bytes).map_err(|e| self.wrong(format!("not valid: {e}")))?;
        let own = parsed.get("mediaType").and_then(Value::as_str);
        let known = |kind: &&str| ACCEPT.contains(kind);
        let announced = announced.filter(|kind| known(&kind.as_str()));
        match (announced, own) {
            (Some(announced), Some(own)) if announced != own => {
                let own: String = own.chars().filter(|c| !c.is_control()).take(100).collect();
                Err(self.wrong(format!("its manifest is announced as '{announced}' and calls itself '{own}'")))
            }
            (Some(announced), _) => Ok(announced),
            (None, Some(own)) if known(&own) => Ok(own.to_owned()),
            _ if parsed.get("schemaVersion") == Some(&Value::from(1)) => {
                Err(self.wrong("its manifest has the obsolete schema 1"))
            }
            _ => Err(self.wrong("its manifest is of no known kind")),
        }
    }

    /// The config, verified.
    pub fn small(&self, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        self.blob("config", descriptor, MAX_DOCUMENT)
    }

    /// A blob of at most `limit` bytes, verified; `what` it is to the image.
    pub fn blob(&self, what: &str, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > limit {
            return Err(self.wrong(format!("its {what} has {size} bytes, more than {limit}")));
        }
        let mut download = Download::start(self.remote, &self.name.repository, &self.scopes, descriptor, 0)?;
        let mut bytes = Vec::new();
        download.read_to_end(&mut bytes).map_err(|e| self.wrong(e.to_string()))?;
        let found = Digest::of(&bytes);
        if found == *digest {
            return Ok(bytes);
        }
        Err(self.wrong(format!("its {what} announced as {digest} is {found}")))
    }

    fn read(&self, response: Response, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        response.body.take(limit + 1).read_to_end(&mut bytes).map_err(|e| self.wrong(e.to_string()))?;
        if bytes.len() as u64 > limit {
            return Err(self.wrong(format!("its manifest is longer than {limit} bytes")));
        }
        Ok(bytes)
    }
}

impl Blobs for Puller<'_> {
    fn place(&self) -> &Path {
        &self.place
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>, ExportError> {
        Ok(Box::new(self.download(descriptor, 0)?))
    }

    fn open_from(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send + '_>>, ExportError> {
        Ok(Some(Box::new(self.download(descriptor, offset)?)))
    }
}

impl Puller<'_> {
    fn download(&self, descriptor: &Descriptor, offset: u64) -> Result<Download<'_>, ExportError> {
        let Descriptor { digest, size, .. } = descriptor;
        let moving = Moving::begin(self.watch, &self.told, Act::Fetch, *digest, *size);
        let download = Download::start(self.remote, &self.name.repository, &self.scopes, descriptor, offset);
        let download = download.map(|download| download.shown(moving));
        download.map_err(|error| {
            let fault = Fault { place: self.name.familiar(), reason: error.to_string() };
            let source = std::io::Error::other(fault);
            ExportError::Io(crate::base::IoError { act: "fetch a layer of", path: self.place.clone(), source })
        })
    }
}
