//! The inputs of a build that are not in its context: images, files and commits. Which of them the lock file names, where
//! they may come from, and that they are what they must be.
//!
//! Three degrees of care: a lock file that is there is heeded (its images, files and commits are used, whatever their names
//! stand for by now); `--locked` asks of each name what it stands for and refuses to build if that has changed;
//! `--offline` fetches nothing.

mod gather;
mod settle;
mod update;
mod vendor;

pub use gather::{Gathered, Stages, gather};
pub use settle::settle_context;
pub(super) use settle::{MOVED_HELP, blame, moved_notes, settle};
pub use update::{Update, Updated, update};
pub use vendor::{Collected, vendor};

use crate::base::{Cancel, IoError, fs};
use crate::diag::{Diagnostic, Source, Span};
use crate::graph::remote::redacted;
use crate::graph::{GitSource, HttpSource, Remote};
use crate::image::Reference;
use crate::lock::{self, GitName, Lock, LockedImage, Name};
use std::path::{Path, PathBuf};

/// What the caller decides about inputs.
#[derive(Clone, Debug, Default)]
pub struct InputPolicy {
    /// The lock file, if one is heeded.
    pub lock: Option<LockFile>,
    /// `--locked`: refuse what the lock file does not name, and names that stand for something else by now.
    pub locked: bool,
    /// `--offline`. Whoever sets this also calls [`crate::net::go_offline`].
    pub offline: bool,
    /// The vendor directory that is looked in before the network is asked.
    pub vendor: Option<PathBuf>,
    /// The build context, if that is on the network: it is an input, too.
    pub context: Option<Remote>,
}

/// A lock file that was read.
#[derive(Clone, Debug)]
pub struct LockFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub lock: Lock,
}

/// Why there is no lock file.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// It is no lock file; the diagnostic says where.
    #[error("{} is not valid", .0.source.as_ref().map_or("the lock file", Source::name))]
    Invalid(Box<Diagnostic>),
}

impl LockFile {
    /// Where the lock file of a Dockerfile is: beside it. One with a name of its own (`prod.Dockerfile`) has a lock file of
    /// its own, as it may have an ignore file (`prod.Dockerfile.rbuild.lock`).
    pub fn beside(dockerfile: &Path) -> PathBuf {
        match dockerfile.file_name() {
            Some(name) if name != "Dockerfile" && name != "Containerfile" => {
                let mut name = name.to_owned();
                name.push(".");
                name.push(lock::FILE);
                dockerfile.with_file_name(name)
            }
            _ => dockerfile.with_file_name(lock::FILE),
        }
    }

    /// Reads a lock file; `None`: there is none.
    ///
    /// # Errors
    /// It cannot be read, or is no lock file.
    pub fn read(path: &Path) -> Result<Option<LockFile>, LockFileError> {
        let Some(bytes) = fs::read_if_exists(path)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let source = Source::new(path.display().to_string(), text.as_ref());
        let invalid = |reason: String, span: Option<std::ops::Range<usize>>| {
            let diagnostic = Diagnostic::error("lock-file", reason, &source, Span::new(span.unwrap_or(0..0)));
            LockFileError::Invalid(Box::new(diagnostic.help("write it anew: `rbuild lock`, after removing it")))
        };
        if bytes.len() as u64 > lock::MAX_BYTES {
            return Err(invalid(format!("it is larger than {} MiB", lock::MAX_BYTES >> 20), None));
        }
        let lock = Lock::parse(&text).map_err(|e| invalid(e.reason, e.span))?;
        Ok(Some(LockFile { path: path.to_owned(), lock }))
    }

    /// Writes a lock file, unless it says the same already.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self) -> Result<(), LockFileError> {
        let text = self.lock.to_text();
        if fs::read_if_exists(&self.path)?.as_deref() != Some(text.as_bytes()) {
            fs::write_atomic(&self.path, text.as_bytes())?;
        }
        Ok(())
    }

    /// The vendor directory that it names, if that is there. A link on the way counts as absence: the file may be that of
    /// a context that somebody else has made, and must not lead out of it.
    pub fn vendor(&self) -> Option<PathBuf> {
        let parent = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = self.lock.vendor.as_ref()?;
        let dir = parent.canonicalize().ok()?.join(name);
        let is_there = dir.canonicalize().is_ok_and(|real| real == dir) && dir.join("index.json").is_file();
        is_there.then(|| parent.join(name))
    }
}

impl InputPolicy {
    /// What the lock file says of an image.
    pub(super) fn image(&self, name: &Reference) -> Option<&LockedImage> {
        self.lock.as_ref()?.lock.images.get(&name.to_string())
    }

    /// For messages: the lock file's name.
    pub(super) fn lock_name(&self) -> String {
        self.lock.as_ref().map_or(lock::FILE.into(), |lock| lock.path.display().to_string())
    }

    /// The source with what the lock file says that it must be, so that it need not be asked what it is. `None`: the lock
    /// file does not name it, or something else than the Dockerfile itself says.
    pub fn pinned(&self, remote: &Remote) -> Option<Remote> {
        let lock = &self.lock.as_ref()?.lock;
        match remote {
            Remote::Http(source) => {
                let digest = lock.files.get(&redacted(&source.url))?.digest;
                let agrees = source.checksum.is_none_or(|checksum| checksum == digest);
                agrees.then(|| Remote::Http(HttpSource { checksum: Some(digest), ..source.clone() }))
            }
            Remote::Git(source) => {
                let commit = lock.commits.get(&git_name(source))?;
                let agrees = source.commit.as_deref().is_none_or(|beginning| commit.starts_with(beginning));
                agrees.then(|| Remote::Git(at_commit(source, commit)))
            }
        }
    }
}

/// What the lock file calls a source.
fn name_of(remote: &Remote) -> Name {
    match remote {
        Remote::Http(source) => Name::File(redacted(&source.url)),
        Remote::Git(source) => Name::Commit(git_name(source)),
    }
}

fn git_name(source: &GitSource) -> GitName {
    GitName { url: redacted(&source.url), reference: source.reference.clone().or_else(|| source.commit.clone()) }
}

/// The source at a commit that is known: without the name, which would be asked for again.
fn at_commit(source: &GitSource, commit: &str) -> GitSource {
    GitSource { reference: None, commit: Some(commit.to_ascii_lowercase()), ..source.clone() }
}

/// The file itself, also where its contents are meant.
fn plain(source: &HttpSource) -> HttpSource {
    HttpSource { unpack: false, ..source.clone() }
}

/// The vendor directory of a policy, opened.
pub(super) fn open_vendored(
    policy: &InputPolicy,
    store: &crate::store::Store,
    cancel: &Cancel,
) -> Result<Option<crate::vendor::Vendored>, crate::export::ExportError> {
    let Some(dir) = &policy.vendor else { return Ok(None) };
    let tmp = store.temp_dir()?;
    crate::vendor::Vendored::open(dir, tmp.path(), cancel).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;
    use crate::lock::LockedFile;

    #[test]
    fn a_source_is_pinned_unless_the_dockerfile_says_otherwise() {
        let (digest, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let mut lock = Lock::default();
        lock.files.insert("http://h/f".into(), LockedFile { digest, size: 1 });
        let name = GitName { url: "https://h/x.git".into(), reference: Some("main".into()) };
        lock.commits.insert(name, "a".repeat(40));
        let policy = InputPolicy { lock: Some(LockFile { path: "l".into(), lock }), ..InputPolicy::default() };
        let http = |checksum| {
            Remote::Http(HttpSource { url: "http://me:pw@h/f".into(), name: "f".into(), checksum, unpack: false })
        };
        assert!(matches!(policy.pinned(&http(None)), Some(Remote::Http(s)) if s.checksum == Some(digest)));
        assert!(policy.pinned(&http(Some(digest))).is_some());
        assert!(policy.pinned(&http(Some(other))).is_none());
        let git = |reference: &str, commit: Option<&str>| {
            let url = "https://h/x.git".into();
            let (reference, commit) = (Some(reference.to_owned()), commit.map(Into::into));
            Remote::Git(GitSource { url, reference, commit, ..GitSource::default() })
        };
        for (remote, expected) in [
            (git("main", None), true),
            (git("main", Some("aaaa")), true),
            (git("main", Some("bbbb")), false),
            (git("v1", None), false),
        ] {
            let pinned = policy.pinned(&remote);
            assert_eq!(pinned.is_some(), expected, "{remote}");
            if let Some(Remote::Git(source)) = pinned {
                assert_eq!((source.reference, source.commit), (None, Some("a".repeat(40))));
            }
        }
    }
}
