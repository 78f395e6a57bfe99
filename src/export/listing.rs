//! Indexes made by hand: images put under one name, each with what it is for.

use super::document::{self, Document};
use super::index;
use super::{ExportError, images};
use crate::base::Digest;
use crate::image::{Descriptor, ImageIndex, Platform, Reference};
use crate::store::Store;
use serde_json::Value;
use std::collections::BTreeMap;

/// What an entry is to say of its image; what is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// `os`.
    pub os: Option<String>,
    /// `architecture`.
    pub arch: Option<String>,
    /// `variant`.
    pub variant: Option<String>,
    /// `os.version`.
    pub os_version: Option<String>,
    /// `os.features`.
    pub os_features: Vec<String>,
    /// Annotations that are added.
    pub annotations: BTreeMap<String, String>,
}

impl Notes {
    fn put_on(&self, entry: &mut Descriptor) {
        entry.annotations.extend(self.annotations.clone());
        let texts = [
            ("os", &self.os),
            ("architecture", &self.arch),
            ("variant", &self.variant),
            ("os.version", &self.os_version),
        ];
        let platform = entry.platform.get_or_insert_with(|| Value::Object(Default::default()));
        for (name, value) in texts {
            if let Some(value) = value {
                platform[name] = Value::String(value.clone());
            }
        }
        if !self.os_features.is_empty() {
            platform["os.features"] = self.os_features.clone().into();
        }
    }
}

/// An index that is being made, and the name it goes by.
#[derive(Clone, Debug)]
pub struct HandMade {
    name: Reference,
    index: ImageIndex,
}

impl HandMade {
    /// An empty one, for a name that need not be there yet.
    pub fn new(name: Reference) -> HandMade {
        HandMade { name, index: ImageIndex::new(Vec::new()) }
    }

    /// The index that a name leads to.
    ///
    /// # Errors
    /// There is none of that name, or it is a single image.
    pub fn open(store: &Store, name: &Reference) -> Result<HandMade, ExportError> {
        let (digest, _) = images::resolve_root(store, &name.to_string())?;
        match document::read(store, &digest)? {
            Document::Index(index) => Ok(HandMade { name: name.clone(), index }),
            Document::Manifest(..) => Err(ExportError::Inconsistent {
                image: name.familiar(),
                reason: "it is a single image, and no index of several".into(),
            }),
        }
    }

    /// Adds an image, of an index the one for this host or, with `all`, each. One that is there already, or is for a
    /// platform that another one is for, takes that one's place.
    ///
    /// # Errors
    /// It is not stored, or cannot be read.
    pub fn add(&mut self, store: &Store, image: &str, all: bool, notes: &Notes) -> Result<(), ExportError> {
        let (root, _) = images::resolve_root(store, image)?;
        let chosen = match all {
            true => index::chosen(store, &root, &[])?,
            false => images::resolve(store, image)?.into(),
        };
        for image in chosen.images() {
            let mut entry = image.descriptor();
            entry.platform = Some(image.config.for_platform().to_value());
            notes.put_on(&mut entry);
            let same = |d: &Descriptor| d.digest == entry.digest || d.platform == entry.platform;
            self.index.manifests.retain(|d| !same(d));
            self.index.manifests.push(entry);
        }
        Ok(())
    }

    /// Changes what the entry of an image says; `image` is its digest, its ID or a name of it.
    ///
    /// # Errors
    /// It is not in the index.
    pub fn annotate(&mut self, store: &Store, image: &str, notes: &Notes) -> Result<(), ExportError> {
        let at = self.find(store, image)?;
        notes.put_on(&mut self.index.manifests[at]);
        Ok(())
    }

    /// Takes an image out.
    ///
    /// # Errors
    /// It is not in the index.
    pub fn remove(&mut self, store: &Store, image: &str) -> Result<(), ExportError> {
        let at = self.find(store, image)?;
        self.index.manifests.remove(at);
        Ok(())
    }

    /// Adds annotations of the index itself.
    pub fn annotate_index(&mut self, annotations: &BTreeMap<String, String>) {
        self.index.annotations.extend(annotations.clone());
    }

    fn find(&self, store: &Store, image: &str) -> Result<usize, ExportError> {
        let digest = match image.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(_) => images::resolve(store, image).ok().map(|image| image.manifest_digest),
        };
        // A platform names an entry, too.
        let platform = Platform::parse(image, &Platform::default());
        let is = |d: &Descriptor| {
            Some(d.digest) == digest || platform.is_some() && d.platform.as_ref().and_then(Platform::of) == platform
        };
        self.index.manifests.iter().position(is).ok_or_else(|| ExportError::Unlisted {
            image: image.to_owned(),
            index: self.name.familiar(),
            listed: self.index.platforms(),
        })
    }

    /// Stores it under its name; its digest.
    ///
    /// # Errors
    /// The store failed.
    pub fn store(&self, store: &Store) -> Result<Digest, ExportError> {
        let digest = store.put_blob(&self.index.to_bytes())?;
        images::tag(store, &digest, &self.name)?;
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{image, layer, store};
    use super::*;

    #[test]
    fn an_index_is_made_changed_and_taken_apart() {
        let test = store();
        let one = image(&test.store, &[layer(&test.store, &["a=1"])], &["one"]);
        let two = image(&test.store, &[layer(&test.store, &["b=1"])], &["two"]);
        let name: Reference = "both".parse().unwrap();
        let mut made = HandMade::new(name.clone());
        made.add(&test.store, "one", false, &Notes::default()).unwrap();
        let arm = Notes { arch: Some("arm64".into()), ..Notes::default() };
        made.add(&test.store, "two", false, &arm).unwrap();
        let digest = made.store(&test.store).unwrap();
        let mut read = HandMade::open(&test.store, &name).unwrap();
        assert_eq!(read.index.platforms(), ["linux/amd64", "linux/arm64"]);
        assert_eq!(read.store(&test.store).unwrap(), digest);
        let found = images::resolve_for(&test.store, "both", &Platform::new("linux", "arm64", "")).unwrap();
        assert_eq!(found.manifest_digest, two.manifest);

        // The same platform again: the later image is the one.
        read.add(&test.store, "two", false, &Notes::default()).unwrap();
        assert_eq!(read.index.manifests.len(), 1, "two was there, and now stands for one's platform");
        read.add(&test.store, "one", false, &arm).unwrap();
        let notes = Notes { variant: Some("v8".into()), annotations: [("k".into(), "v".into())].into(), ..arm };
        read.annotate(&test.store, &one.manifest.to_string(), &notes).unwrap();
        assert_eq!(read.index.manifests[1].annotations["k"], "v");
        assert_eq!(read.index.manifests[1].platform.as_ref().unwrap()["variant"], "v8");
        read.remove(&test.store, "linux/arm64").unwrap();
        let error = read.remove(&test.store, "linux/arm64").unwrap_err();
        assert!(error.to_string().contains("not in both:latest"), "{error}");
        assert!(HandMade::open(&test.store, &"one".parse().unwrap()).is_err());
    }
}
