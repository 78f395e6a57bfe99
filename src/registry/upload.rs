//! A blob into a registry: not at all if it is there, by reference from another repository, in one piece,
//! in chunks, or while it is still made.

use super::RegistryError;
use super::auth::form;
use super::client::{Ask, Remote};
use crate::base::Digest;
use crate::net::growing::Growing;
use crate::net::transfer::Transfer;
use crate::net::{Method, Payload, Response, Url};
use std::path::Path;
use std::sync::Arc;

/// Bytes of a chunk, which some registries bound to no more; the server may ask for longer ones.
const CHUNK: u64 = if cfg!(test) { 64 << 10 } else { 4 << 20 };
/// A blob that is made is sent meanwhile from this length on, in bytes: less is sent in no time.
pub(super) const STREAMED: u64 = CHUNK;
/// The longest chunk that a server gets its way with, in bytes.
const MAX_CHUNK: u64 = 512 << 20;
/// How often an upload is begun anew.
const ATTEMPTS: u32 = 3;

/// A repository that blobs are sent to.
pub(super) struct Target<'t> {
    pub remote: &'t Remote,
    pub repository: &'t str,
    /// To read and write it.
    pub scopes: &'t [String],
}

/// Bytes of the blob, from an offset on, of a length.
type Part<'p> = dyn Fn(u64, u64) -> Payload + 'p;

/// How an upload in one piece went.
enum Whole {
    Done,
    /// Too large for one request, or the connection was cut as by a server that finds so.
    TooLarge,
    /// The upload is no more.
    Lost,
}

impl Target<'_> {
    /// Whether the blob is there.
    pub fn has(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let ask = self.ask(Method::Head, &format!("blobs/{digest}"), format!("tell of the blob {digest}"))?;
        let response = self.remote.send(&ask)?;
        match response.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(self.remote.refused(&ask, response)),
        }
    }

    /// Has the registry take the blob from another of its repositories; whether it did.
    pub fn mount(&self, digest: &Digest, from: &str) -> Result<bool, RegistryError> {
        let query = form(&[("mount", &digest.to_string()), ("from", from)]);
        let scopes: Vec<String> = self.scopes.iter().cloned().chain([format!("repository:{from}:pull")]).collect();
        let mut ask = self.ask(Method::Post, &format!("blobs/uploads/?{query}"), format!("mount the blob {digest}"))?;
        ask.scopes = &scopes;
        // Who may not read there sends the blob; a session that was begun instead ends by itself.
        Ok(matches!(self.remote.send(&ask), Ok(response) if response.status == 201))
    }

    /// Sends the blob: `size` bytes of a file, and notes in `transfer` how far it is.
    pub fn send(&self, digest: &Digest, size: u64, file: &Path, transfer: &Arc<Transfer>) -> Result<(), RegistryError> {
        let mut chunked = false;
        for attempt in 0.. {
            let part = |offset, length| {
                let transfer = Some(transfer.clone());
                Payload::File { path: file.to_owned(), offset, length, transfer }
            };
            let result = if chunked { self.in_chunks(digest, size, &part)? } else { self.whole(digest, size, &part)? };
            match result {
                Whole::Done => return Ok(()),
                Whole::TooLarge if !chunked => chunked = true,
                Whole::TooLarge | Whole::Lost if attempt + 1 < ATTEMPTS => self.remote.pause(attempt, None)?,
                Whole::TooLarge | Whole::Lost => break,
            }
        }
        let place = format!("blob {digest} to {}/{}", self.remote.registry, self.repository);
        Err(RegistryError::Contents { place, reason: "the registry does not take it".into() })
    }

    /// Sends a blob while it is written, once it has got to [`STREAMED`] bytes: in one request of unknown length, as docker
    /// does, which registries and what stands before them therefore take. Where to [`Target::close`] the upload; `None`:
    /// there is none, for the blob was too short or given up or did not get through, and is to be sent when it is complete.
    pub fn stream(&self, growing: &Arc<Growing>) -> Result<Option<Url>, RegistryError> {
        if growing.wait(STREAMED).is_none_or(|length| length < STREAMED) {
            return Ok(None);
        }
        let what = "take a blob".to_owned();
        let (url, _) = self.begin(&what)?;
        let mut ask = Ask::new(Method::Patch, url, self.scopes, what);
        ask.headers.push(("content-type", "application/octet-stream".into()));
        ask.payload = Payload::Growing(growing.clone());
        match self.remote.send_once(&ask) {
            Ok(response) if response.status == 202 => match response.header("location") {
                Some(location) => self.remote.location(&ask.url, Some(location)).map(Some),
                None => Ok(Some(ask.url)),
            },
            Err(RegistryError::Cancelled) => Err(RegistryError::Cancelled),
            // Too long for it, cut, lost: all of that is seen to where the blob is sent as a whole.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Ends an upload all of whose bytes were sent; whether the registry took them for the blob.
    pub fn close(&self, url: &Url, digest: &Digest) -> Result<bool, RegistryError> {
        let mut ask = Ask::new(Method::Put, with_digest(url, digest)?, self.scopes, self.what(digest));
        ask.headers.push(("content-type", "application/octet-stream".into()));
        match self.remote.send(&ask) {
            Ok(response) => Ok(response.status == 201),
            Err(RegistryError::Cancelled) => Err(RegistryError::Cancelled),
            Err(_) => Ok(false),
        }
    }

    fn ask(&self, method: Method, path: &str, what: String) -> Result<Ask<'_>, RegistryError> {
        let url = self.remote.url(&format!("{}/{path}", self.repository))?;
        Ok(Ask::new(method, url, self.scopes, what))
    }

    fn what(&self, digest: &Digest) -> String {
        format!("take the blob {digest}")
    }

    /// Begins an upload; where to send it, and the least length of a chunk.
    fn begin(&self, what: &str) -> Result<(Url, u64), RegistryError> {
        let ask = self.ask(Method::Post, "blobs/uploads/", what.to_owned())?;
        let response = self.remote.expect(&ask, &[202])?;
        let least = response.header("oci-chunk-min-length").and_then(|l| l.trim().parse().ok()).unwrap_or(0);
        Ok((self.remote.location(&ask.url, response.header("location"))?, least))
    }

    fn whole(&self, digest: &Digest, size: u64, part: &Part<'_>) -> Result<Whole, RegistryError> {
        let (url, _) = self.begin(&self.what(digest))?;
        let mut ask = Ask::new(Method::Put, with_digest(&url, digest)?, self.scopes, self.what(digest));
        ask.headers.push(("content-type", "application/octet-stream".into()));
        ask.payload = part(0, size);
        match self.remote.send(&ask) {
            Ok(response) => self.end(&ask, response),
            // A server that finds a body too large may close instead of answering.
            Err(RegistryError::Net { .. }) if size > CHUNK => Ok(Whole::TooLarge),
            Err(error) => Err(error),
        }
    }

    fn in_chunks(&self, digest: &Digest, size: u64, part: &Part<'_>) -> Result<Whole, RegistryError> {
        let (mut url, least) = self.begin(&self.what(digest))?;
        let chunk = CHUNK.max(least.min(MAX_CHUNK));
        let mut at = 0;
        let mut strikes = 0;
        while at < size {
            let length = chunk.min(size - at);
            let mut ask = Ask::new(Method::Patch, url.clone(), self.scopes, self.what(digest));
            ask.headers.push(("content-type", "application/octet-stream".into()));
            ask.headers.push(("content-range", format!("{at}-{}", at + length - 1)));
            ask.payload = part(at, length);
            let response = self.remote.send(&ask)?;
            match response.status {
                202 => at += length,
                // A chunk that was sent twice: the server tells how far it is.
                416 if strikes < ATTEMPTS => {
                    strikes += 1;
                    let ask = Ask::new(Method::Get, url.clone(), self.scopes, self.what(digest));
                    let status = self.remote.expect(&ask, &[204])?;
                    let end = status.header("range").and_then(|r| r.rsplit('-').next()?.trim().parse::<u64>().ok());
                    at = end.map_or(0, |end| end.saturating_add(1));
                    if at > size {
                        return Ok(Whole::Lost);
                    }
                }
                _ => return self.end(&ask, response),
            }
            if let Some(location) = response.header("location") {
                url = self.remote.location(&url, Some(location))?;
            }
        }
        let mut ask = Ask::new(Method::Put, with_digest(&url, digest)?, self.scopes, self.what(digest));
        ask.headers.push(("content-type", "application/octet-stream".into()));
        let response = self.remote.send(&ask)?;
        self.end(&ask, response)
    }

    fn end(&self, ask: &Ask<'_>, response: Response) -> Result<Whole, RegistryError> {
        match response.status {
            201 => Ok(Whole::Done),
            413 => Ok(Whole::TooLarge),
            404 | 416 => Ok(Whole::Lost),
            _ => Err(self.remote.refused(ask, response)),
        }
    }
}

fn with_digest(url: &Url, digest: &Digest) -> Result<Url, RegistryError> {
    let text = url.to_string();
    let separator = if text.contains('?') { '&' } else { '?' };
    let text = format!("{text}{separator}{}", form(&[("digest", &digest.to_string())]));
    Url::parse(&text).map_err(|e| RegistryError::Contents { place: text, reason: e.to_string() })
}
