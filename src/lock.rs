//! The lock document, `rbuild.lock`: what the names in a Dockerfile stood for when somebody last looked. Pure data; who
//! looks and who heeds it is `pipeline::inputs`.
//!
//! The text is TOML, sorted and the same for the same contents, so that it can be kept beside the Dockerfile and its
//! changes read line by line. It does not depend on the machine that wrote it.

use crate::base::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The name of the file, beside the Dockerfile.
pub const FILE: &str = "rbuild.lock";
/// Largest document that is read, in bytes.
pub const MAX_BYTES: u64 = 16 << 20;
/// The form of the document.
const VERSION: u32 = 1;
/// What the file says of itself.
const HEADER: &str = "\
# Written by `rbuild lock`; not meant to be edited. It says which images, files and commits the names in the Dockerfile stand
# for, so that a build uses the same ones everywhere. `rbuild lock --update` looks for newer ones, `rbuild build --locked`
# refuses to build with others. Keep it under version control.
";

/// What is locked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// The directory with copies of the inputs (`rbuild vendor`), relative to the file's own.
    pub vendor: Option<String>,
    /// By full name: `docker.io/library/debian:12`.
    pub images: BTreeMap<String, LockedImage>,
    /// By address, without credentials.
    pub files: BTreeMap<String, LockedFile>,
    /// The commit's id by repository and reference.
    pub commits: BTreeMap<GitName, String>,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedImage {
    /// What the name leads to: an index, or the manifest itself.
    pub digest: Digest,
    /// Of an index: its manifests by platform, `linux/arm64/v8`.
    pub platforms: BTreeMap<String, Digest>,
    /// It was built here and is in no registry; the digest is its manifest's.
    pub local: bool,
}

/// A file behind an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedFile {
    /// sha256 of the contents.
    pub digest: Digest,
    /// Their length in bytes.
    pub size: u64,
}

/// A name in a git repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitName {
    /// The repository, without credentials.
    pub url: String,
    /// Branch, tag or commit; `None`: what its HEAD is.
    pub reference: Option<String>,
}

/// Any of the names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// An image.
    Image(String),
    /// A file.
    File(String),
    /// A commit.
    Commit(GitName),
}

/// How one name differs between two documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub name: Name,
    /// What it stood for; `None`: it was not there.
    pub old: Option<String>,
    /// What it stands for; `None`: it is no longer there.
    pub new: Option<String>,
}

/// Why a text is no lock document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LockError {
    /// One line.
    pub reason: String,
    /// Where, if that can be told: bytes of the text.
    pub span: Option<std::ops::Range<usize>>,
}

impl LockedImage {
    /// The manifest for a platform (`os/arch[/variant]`); one without a variant stands for any.
    pub fn manifest(&self, platform: &str) -> Option<&Digest> {
        if self.platforms.is_empty() {
            return Some(&self.digest);
        }
        let short = |text: &str| text.split('/').take(2).collect::<Vec<_>>().join("/");
        let same = |(known, _): &(&String, &Digest)| short(known) == short(platform);
        let exact = self.platforms.get(platform);
        exact.or_else(|| self.platforms.iter().find(same).map(|(_, digest)| digest))
    }
}

impl Lock {
    /// Reads a document.
    ///
    /// # Errors
    /// It is no TOML, has unknown keys, names something twice, or is of a later version.
    pub fn parse(text: &str) -> Result<Lock, LockError> {
        let document: Document = toml::from_str(text)
            .map_err(|e| LockError { reason: e.message().lines().collect::<Vec<_>>().join(", "), span: e.span() })?;
        let wrong = |reason: String| LockError { reason, span: None };
        if document.version != VERSION {
            return Err(wrong(format!("version {} of the format is not known, {VERSION} is", document.version)));
        }
        let vendor = document.vendor;
        if vendor.as_deref().is_some_and(|v| v.is_empty() || v.starts_with('/') || v.split('/').any(|p| p == "..")) {
            return Err(wrong("`vendor` must be a directory beneath that of the file".into()));
        }
        let mut lock = Lock { vendor, ..Lock::default() };
        let twice = |name: &dyn fmt::Display| wrong(format!("{name} is there twice"));
        for image in document.image {
            let ImageEntry { name, digest, local, platforms } = image;
            let entry = LockedImage { digest, platforms, local };
            if lock.images.insert(name.clone(), entry).is_some() {
                return Err(twice(&name));
            }
        }
        for FileEntry { url, digest, size } in document.file {
            if lock.files.insert(url.clone(), LockedFile { digest, size }).is_some() {
                return Err(twice(&url));
            }
        }
        for GitEntry { url, reference, commit } in document.git {
            if !is_commit(&commit) {
                return Err(wrong(format!("`{}` is no commit id", commit.escape_debug())));
            }
            let name = GitName { url, reference };
            if lock.commits.insert(name.clone(), commit).is_some() {
                return Err(twice(&name));
            }
        }
        Ok(lock)
    }

    /// The text of the document: the same for the same contents.
    pub fn to_text(&self) -> String {
        let images = self.images.iter().map(|(name, image)| ImageEntry {
            name: name.clone(),
            digest: image.digest,
            local: image.local,
            platforms: image.platforms.clone(),
        });
        let files =
            self.files.iter().map(|(url, file)| FileEntry { url: url.clone(), digest: file.digest, size: file.size });
        let commits = self.commits.iter().map(|(name, commit)| GitEntry {
            url: name.url.clone(),
            reference: name.reference.clone(),
            commit: commit.clone(),
        });
        let document = Document {
            version: VERSION,
            vendor: self.vendor.clone(),
            image: images.collect(),
            file: files.collect(),
            git: commits.collect(),
        };
        // Strings, numbers and digests: there is nothing that TOML cannot hold.
        format!("{HEADER}\n{}", toml::to_string(&document).expect("a lock document serialises"))
    }

    /// What each name stands for, in order.
    pub fn entries(&self) -> BTreeMap<Name, String> {
        let images = self.images.iter().map(|(name, image)| (Name::Image(name.clone()), image.digest.to_string()));
        let files = self.files.iter().map(|(url, file)| (Name::File(url.clone()), file.digest.to_string()));
        let commits = self.commits.iter().map(|(name, commit)| (Name::Commit(name.clone()), commit.clone()));
        images.chain(files).chain(commits).collect()
    }

    /// What is different in `new`.
    pub fn changes(&self, new: &Lock) -> Vec<Change> {
        let (old, new) = (self.entries(), new.entries());
        let mut names: Vec<&Name> = old.keys().chain(new.keys()).collect();
        names.sort();
        names.dedup();
        let change =
            |name: &Name| Change { name: name.clone(), old: old.get(name).cloned(), new: new.get(name).cloned() };
        names.into_iter().map(change).filter(|change| change.old != change.new).collect()
    }
}

/// A whole id: SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// `image docker.io/library/debian:12`.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Image(name) => write!(f, "image {name}"),
            Name::File(url) => write!(f, "file {url}"),
            Name::Commit(name) => write!(f, "git {name}"),
        }
    }
}

/// `https://h/x.git#main`.
impl fmt::Display for GitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference {
            Some(reference) => write!(f, "{}#{reference}", self.url),
            None => f.write_str(&self.url),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    image: Vec<ImageEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    file: Vec<FileEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    git: Vec<GitEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageEntry {
    name: String,
    digest: Digest,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    local: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    platforms: BTreeMap<String, Digest>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    url: String,
    digest: Digest,
    size: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GitEntry {
    url: String,
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    commit: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Lock {
        let git =
            |reference: Option<&str>| GitName { url: "https://h/x.git".into(), reference: reference.map(Into::into) };
        let digest = |text: &str| Digest::of(text.as_bytes());
        let index = LockedImage {
            digest: digest("index"),
            platforms: [("linux/amd64".into(), digest("amd64")), ("linux/arm64/v8".into(), digest("arm64"))].into(),
            local: false,
        };
        let local = LockedImage { digest: digest("local"), platforms: BTreeMap::new(), local: true };
        Lock {
            vendor: Some("vendor".into()),
            images: [("docker.io/library/z:1".into(), index), ("docker.io/library/a:1".into(), local)].into(),
            files: [("https://h/f".into(), LockedFile { digest: digest("file"), size: 4 })].into(),
            commits: [(git(Some("main")), "a".repeat(40)), (git(None), "b".repeat(64))].into(),
        }
    }

    #[test]
    fn a_document_reads_as_it_was_written_sorted_and_stable() {
        let lock = sample();
        let text = lock.to_text();
        assert_eq!(Lock::parse(&text).unwrap(), lock);
        assert_eq!(Lock::parse(&text).unwrap().to_text(), text);
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} in {text}"));
        assert!(text.starts_with("# Written by `rbuild lock`"));
        assert!(
            at("library/a:1") < at("library/z:1") && at("[[image]]") < at("[[file]]") && at("[[file]]") < at("[[git]]")
        );
        assert!(text.contains("\"linux/arm64/v8\" = \"sha256:"), "{text}");
    }

    #[test]
    fn what_is_no_lock_document_is_refused_with_the_reason() {
        let digest = Digest::of(b"").to_string();
        let file = format!("[[file]]\nurl = \"u\"\ndigest = \"{digest}\"\nsize = 1\n");
        for (text, reason) in [
            ("".to_owned(), "version"),
            ("version = 2".to_owned(), "version 2"),
            ("version = 1\nextra = 1".to_owned(), "extra"),
            (format!("version = 1\n{file}{file}"), "u is there twice"),
            ("version = 1\nvendor = \"../x\"".to_owned(), "beneath"),
            ("version = 1\nvendor = \"/x\"".to_owned(), "beneath"),
            ("version = 1\n[[git]]\nurl = \"u\"\ncommit = \"main\"".to_owned(), "no commit id"),
            ("version = 1\n[[image]]\nname = \"n\"\ndigest = \"md5:1\"".to_owned(), "md5"),
        ] {
            let error = Lock::parse(&text).expect_err(&text);
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn changes_tell_what_came_went_and_moved() {
        let (old, mut new) = (sample(), sample());
        new.files.clear();
        new.images.get_mut("docker.io/library/z:1").unwrap().digest = Digest::of(b"new");
        new.commits.insert(GitName { url: "u".into(), reference: None }, "c".repeat(40));
        let told: Vec<(String, bool, bool)> =
            old.changes(&new).iter().map(|c| (c.name.to_string(), c.old.is_some(), c.new.is_some())).collect();
        let expected =
            [("image docker.io/library/z:1", true, true), ("file https://h/f", true, false), ("git u", false, true)];
        assert_eq!(told, expected.map(|(name, old, new)| (name.to_owned(), old, new)));
        assert!(old.changes(&old).is_empty());
    }

    #[test]
    fn a_platform_finds_its_manifest_with_and_without_a_variant() {
        let lock = sample();
        let image = &lock.images["docker.io/library/z:1"];
        for (platform, found) in [
            ("linux/amd64", Some("amd64")),
            ("linux/arm64", Some("arm64")),
            ("linux/arm64/v8", Some("arm64")),
            ("linux/s390x", None),
        ] {
            assert_eq!(image.manifest(platform).copied(), found.map(|f| Digest::of(f.as_bytes())), "{platform}");
        }
        let single = &lock.images["docker.io/library/a:1"];
        assert_eq!(single.manifest("linux/amd64"), Some(&single.digest));
    }
}
