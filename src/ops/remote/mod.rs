//! Fetching from the network: files by HTTP(S) and commits of git repositories, each as a layer of its own.
//!
//! What was fetched is kept in the store like the result of a step, under a record that says what it was (a file's ETag, a
//! repository's commit), so that the next build asks only whether it is still the same, and asks nothing where the
//! Dockerfile itself says what it must be. What copies from it is keyed by the files, not by the address.

mod adopt;
mod git;
mod http;
mod run;

use super::publish::publish;
use super::{OpError, Written};
use crate::base::lock::Lock;
use crate::base::{Cancel, Digest, Hasher, clock};
use crate::graph::{GitSource, HttpSource, Remote};
use crate::net::{self, Client, NetError};
use crate::store::Store;
use crate::store::layers::LayerInfo;
use crate::store::steps::StepRecord;
use crate::tree::{Rootfs, Trees};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The most that one source may amount to, in bytes.
const MAX_BYTES: u64 = 64 << 30;
/// How long one fetch may take.
const TIME_LIMIT: Duration = Duration::from_secs(60 * 60);
/// How often a waiting fetch looks whether it may go on.
const LOOK: Duration = Duration::from_millis(50);

/// What fetching needs.
#[derive(Clone, Copy, Debug)]
pub struct Fetcher<'a> {
    /// Where it is kept.
    pub store: &'a Store,
    /// Secrets by id: among them credentials for hosts.
    pub secrets: &'a BTreeMap<String, Vec<u8>>,
    /// Stops it.
    pub cancel: &'a Cancel,
    /// Fetch again what is known.
    pub fresh: bool,
}

/// What was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// Its layer.
    pub layer: LayerInfo,
    /// How it came.
    pub how: How,
    /// The key of its record.
    pub key: Digest,
    /// How long it took to fetch it, milliseconds.
    pub millis: u64,
    /// When that was, seconds since the epoch.
    pub ran: i64,
    /// What is known of it beside the files.
    facts: Facts,
}

impl Fetched {
    /// Of a file: its sha256.
    pub fn digest(&self) -> Option<Digest> {
        fact(&self.facts, "content")?.parse().ok()
    }

    /// Of a file: its sha256 and its length in bytes, if that was noted when it was fetched.
    pub fn content(&self) -> Option<(Digest, u64)> {
        Some((self.digest()?, fact(&self.facts, "size")?.parse().ok()?))
    }

    /// Of a file: when the server says that it was last modified, as it says it (RFC 9110, 5.6.7).
    pub fn modified(&self) -> Option<&str> {
        fact(&self.facts, "last-modified")
    }
}

/// How a source came to be in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It was there, and is still the same.
    Known,
    /// It was fetched, and is what was fetched before.
    Same,
    /// It was fetched.
    New,
}

/// What a record says beside the layer: named values.
type Facts = Vec<(String, String)>;

fn fact<'f>(facts: &'f Facts, name: &str) -> Option<&'f str> {
    facts.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

/// The outcome of asking for a source.
enum Answer {
    /// What the record names is still right.
    Known,
    /// The files, and what to remember of them.
    New(Written, Facts),
}

/// A known source.
struct Record {
    layer: LayerInfo,
    facts: Facts,
    millis: u64,
    ran: i64,
}

impl Record {
    fn fact(&self, name: &str) -> Option<&str> {
        fact(&self.facts, name)
    }

    fn fetched(self, key: Digest) -> Fetched {
        let Record { layer, facts, millis, ran } = self;
        Fetched { layer, how: How::Known, key, millis, ran, facts }
    }
}

impl Fetcher<'_> {
    /// Fetches a source unless it is known to be the same. `started` is called when something is really fetched. Two
    /// builds that want the same source fetch it once.
    ///
    /// # Errors
    /// `remote-not-found` for what the server does not have, `remote-failed` for all other trouble on the way,
    /// `checksum-mismatch`, and what the system refuses.
    pub fn fetch(&self, remote: &Remote, started: &dyn Fn()) -> Result<Fetched, OpError> {
        match remote {
            Remote::Http(source) => {
                if let Some(checksum) = &source.checksum {
                    let key = key_of(&content_parts(source, &checksum.to_string()));
                    if let Some(known) = record(self.store, &key)?.filter(|_| self.may_recall()) {
                        return Ok(known.fetched(key));
                    }
                }
                self.remembered(remote, &http_parts(source), |known| http::fetch(self, source, known, started))
            }
            Remote::Git(source) => {
                let commit = git::resolve(self, source)?;
                self.remembered(remote, &git_parts(source, &commit), |known| match known {
                    Some(_) => Ok(Answer::Known),
                    None => {
                        started();
                        git::fetch(self, source, &commit)
                    }
                })
            }
        }
    }

    /// The commit that a source means now; nothing is asked where the source says so itself.
    ///
    /// # Errors
    /// As [`Fetcher::fetch`].
    pub fn commit(&self, source: &GitSource) -> Result<String, OpError> {
        git::resolve(self, source)
    }

    /// Whether what is known will do: also for who wants it anew, where nothing can be fetched.
    fn may_recall(&self) -> bool {
        !self.fresh || net::is_offline()
    }

    fn remembered(
        &self,
        remote: &Remote,
        parts: &[(&'static str, &str)],
        ask: impl FnOnce(Option<&Record>) -> Result<Answer, OpError>,
    ) -> Result<Fetched, OpError> {
        let key = key_of(parts);
        let _lock = self.lock(&key)?;
        let record = record(self.store, &key)?.filter(|_| self.may_recall());
        let begin = Instant::now();
        let (written, facts) = match (ask(record.as_ref())?, record) {
            (Answer::Known, Some(record)) => return Ok(record.fetched(key)),
            (Answer::New(written, facts), _) => (written, facts),
            // Only a record can be confirmed.
            (Answer::Known, None) => return Err(failed(remote, "the server says that nothing has changed")),
        };
        let mut keys = vec![parts.to_vec()];
        // Also by what it is: the address may give something else by the time this is wanted again.
        if let (Remote::Http(source), Some(content)) = (remote, fact(&facts, "content")) {
            keys.push(content_parts(source, content));
        }
        let (layer, new) = publish(self.store, written, None, self.cancel)?;
        let millis = begin.elapsed().as_millis() as u64;
        let ran = self.keep(remote, &keys, &layer, &facts, millis)?;
        Ok(Fetched { layer, how: if new { How::New } else { How::Same }, key, millis, ran, facts })
    }

    /// Keeps a record of a source under each of the keys; the time it is dated with.
    fn keep(
        &self,
        remote: &Remote,
        keys: &[Parts<'_>],
        layer: &LayerInfo,
        facts: &Facts,
        millis: u64,
    ) -> Result<i64, OpError> {
        let trees = Trees::new(self.store);
        let tree = trees.push(&Rootfs { layers: Vec::new(), tree: Trees::empty() }, &layer.diff_id)?.tree;
        let ran = clock::now();
        for parts in keys {
            let key = key_of(parts);
            let shown = parts.iter().map(|(name, value)| ((*name).to_owned(), crate::graph::remote::redacted(value)));
            self.store.put_step(&StepRecord {
                key,
                layer: Some(layer.diff_id),
                tree,
                created: ran,
                millis,
                label: format!("fetch {remote}"),
                place: format!("fetch {}", key.short()),
                preimage: shown.chain(facts.iter().cloned()).collect(),
            })?;
        }
        Ok(ran)
    }

    /// Waits for another process that fetches the same, which may take long.
    fn lock(&self, key: &Digest) -> Result<Lock, OpError> {
        loop {
            if let Some(lock) = self.store.try_lock_step(key)? {
                return Ok(lock);
            }
            if self.cancel.is_set() {
                return Err(OpError::Cancelled);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// A secret as one line of text.
    fn secret(&self, id: &str) -> Option<String> {
        let text = String::from_utf8(self.secrets.get(id)?.clone()).ok()?;
        let text = text.trim_end_matches(['\r', '\n']);
        (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
    }
}

/// What is known of a source without asking anybody.
#[derive(Debug)]
pub enum Recalled {
    /// It is in the store, and nothing will be asked: the source says what it must be.
    Certain(LayerInfo),
    /// It is in the store as it was last time.
    LastTime(LayerInfo),
    /// It was never fetched.
    Never,
    /// What it is has to be asked first.
    Unknown,
}

/// What a fetch of `remote` would find in the store.
pub fn recall(store: &Store, remote: &Remote) -> Result<Recalled, OpError> {
    let (known, certain) = match remote {
        Remote::Http(source) => {
            if let Some(checksum) = &source.checksum
                && let Some(known) = record(store, &key_of(&content_parts(source, &checksum.to_string())))?
            {
                return Ok(Recalled::Certain(known.layer));
            }
            let known = record(store, &key_of(&http_parts(source)))?;
            let content = known.as_ref().and_then(|k| k.fact("content"));
            let certain = content.is_some() && content == source.checksum.map(|c| c.to_string()).as_deref();
            (known.filter(|_| certain || source.checksum.is_none()), certain)
        }
        Remote::Git(source) => match git::pinned(source) {
            Some(commit) => (record(store, &key_of(&git_parts(source, &commit)))?, true),
            None => return Ok(Recalled::Unknown),
        },
    };
    Ok(match known {
        Some(known) if certain => Recalled::Certain(known.layer),
        Some(known) => Recalled::LastTime(known.layer),
        None => Recalled::Never,
    })
}

/// What a record's key is made of.
type Parts<'p> = Vec<(&'static str, &'p str)>;

fn http_parts(source: &HttpSource) -> Parts<'_> {
    vec![("kind", "http"), ("url", &source.url), ("name", &source.name), ("unpack", yes(source.unpack))]
}

fn content_parts<'p>(source: &'p HttpSource, content: &'p str) -> Parts<'p> {
    let mut parts = http_parts(source);
    parts.push(("content", content));
    parts
}

fn git_parts<'p>(source: &'p GitSource, commit: &'p str) -> Parts<'p> {
    let mut parts = vec![
        ("kind", "git"),
        ("url", source.url.as_str()),
        ("commit", commit),
        ("subdir", source.subdir.as_deref().unwrap_or_default()),
        ("keep-git-dir", yes(source.keep_git_dir)),
        ("no-submodules", yes(source.no_submodules)),
    ];
    parts.extend(source.vendored.as_deref().map(|layer| ("vendored", layer)));
    parts
}

fn key_of(parts: &[(&str, &str)]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(b"rbuild.fetch.1");
    for (name, value) in parts {
        hasher.field(name.as_bytes()).field(value.as_bytes());
    }
    hasher.finish()
}

/// What is known under a key, if its layer is still there.
fn record(store: &Store, key: &Digest) -> Result<Option<Record>, OpError> {
    // The summary, so that the store notes the use.
    if store.step_summary(key)?.is_none() {
        return Ok(None);
    }
    let Some(record) = store.step(key)? else { return Ok(None) };
    let Some(diff_id) = record.layer else { return Ok(None) };
    let (millis, ran) = (record.millis, record.created);
    Ok(store.layer(&diff_id)?.map(|layer| Record { layer, facts: record.preimage, millis, ran }))
}

fn yes(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

/// The client of this process. glibc's own ways of looking up names are settled before it is first used.
fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        crate::sandbox::sys::use_own_name_services();
        Client::default()
    })
}

/// Why a source could not be fetched.
fn failed(remote: &Remote, reason: impl std::fmt::Display) -> OpError {
    OpError::input("remote-failed", format!("cannot fetch {remote}: {reason}")).about(words(remote))
}

fn not_found(remote: &Remote, reason: impl std::fmt::Display) -> OpError {
    OpError::input("remote-not-found", format!("cannot fetch {remote}: {reason}")).about(words(remote))
}

fn not_reached(remote: &Remote, error: NetError) -> OpError {
    match error {
        NetError::Cancelled => OpError::Cancelled,
        NetError::Offline { .. } => offline(remote),
        error => failed(remote, error),
    }
}

fn offline(remote: &Remote) -> OpError {
    OpError::input("offline-missing", format!("{remote} is not in the store, and --offline fetches nothing"))
        .about(words(remote))
        .with_help("build once without --offline, or name a directory that `rbuild vendor` filled: --vendor DIR")
}

/// How the Dockerfile writes it.
fn words(remote: &Remote) -> &str {
    match remote {
        Remote::Http(source) => &source.url,
        Remote::Git(source) => &source.url,
    }
}
