//! Fetching from the network: files by HTTP(S) and commits of git repositories, each as a layer of its own.
//!
//! What was fetched is kept in the store like the result of a step, under a record that says what it was (a file's ETag, a
//! repository's commit), so that the next build asks only whether it is still the same, and asks nothing where the
//! Dockerfile itself says what it must be. What copies from it is keyed by the files, not by the address.

mod git;
mod http;
mod run;

use super::publish::publish;
use super::{OpError, Written};
use crate::base::lock::Lock;
use crate::base::{Cancel, Digest, Hasher, clock};
use crate::graph::{GitSource, HttpSource, Remote};
use crate::net::{Client, NetError};
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
        self.facts.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
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

    fn remembered(
        &self,
        remote: &Remote,
        parts: &[(&str, &str)],
        ask: impl FnOnce(Option<&Record>) -> Result<Answer, OpError>,
    ) -> Result<Fetched, OpError> {
        let key = key_of(parts);
        let _lock = self.lock(&key)?;
        let record = record(self.store, &key)?.filter(|_| !self.fresh);
        let begin = Instant::now();
        let (written, facts) = match (ask(record.as_ref())?, record) {
            (Answer::Known, Some(Record { layer, millis, ran, .. })) => {
                return Ok(Fetched { layer, how: How::Known, key, millis, ran });
            }
            (Answer::New(written, facts), _) => (written, facts),
            // Only a record can be confirmed.
            (Answer::Known, None) => return Err(failed(remote, "the server says that nothing has changed")),
        };
        let (layer, new) = publish(self.store, written, None, self.cancel)?;
        let (millis, ran) = (begin.elapsed().as_millis() as u64, clock::now());
        let shown = parts.iter().map(|(name, value)| ((*name).to_owned(), crate::graph::remote::redacted(value)));
        let trees = Trees::new(self.store);
        let tree = trees.push(&Rootfs { layers: Vec::new(), tree: Trees::empty() }, &layer.diff_id)?.tree;
        self.store.put_step(&StepRecord {
            key,
            layer: Some(layer.diff_id),
            tree,
            created: ran,
            millis,
            label: format!("fetch {remote}"),
            place: format!("fetch {}", key.short()),
            preimage: shown.chain(facts).collect(),
        })?;
        Ok(Fetched { layer, how: if new { How::New } else { How::Same }, key, millis, ran })
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

fn git_parts<'p>(source: &'p GitSource, commit: &'p str) -> Parts<'p> {
    vec![
        ("kind", "git"),
        ("url", &source.url),
        ("commit", commit),
        ("subdir", source.subdir.as_deref().unwrap_or_default()),
        ("keep-git-dir", yes(source.keep_git_dir)),
        ("no-submodules", yes(source.no_submodules)),
    ]
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
        error => failed(remote, error),
    }
}

/// How the Dockerfile writes it.
fn words(remote: &Remote) -> &str {
    match remote {
        Remote::Http(source) => &source.url,
        Remote::Git(source) => &source.url,
    }
}
