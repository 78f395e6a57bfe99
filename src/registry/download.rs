//! A blob as a stream that survives cut connections: it is asked for again from where it ended.

use super::RegistryError;
use super::client::{Ask, RETRIES, Remote};
use super::error::Fault;
use crate::image::Descriptor;
use crate::net::transfer::Moving;
use crate::net::{Body, Method, Response};
use std::io::{self, Read};

/// After how many bytes a connection counts as a good one, whose end is no strike.
const PROGRESS: u64 = 1 << 20;

/// Reads a blob, which is as long as its descriptor says; whoever reads also hashes.
pub(super) struct Download<'r> {
    remote: &'r Remote,
    repository: &'r str,
    scopes: &'r [String],
    descriptor: Descriptor,
    body: Option<Body>,
    /// Bytes read.
    at: u64,
    /// Where this connection began.
    began: u64,
    /// Connections in a row that gave next to nothing.
    strikes: u32,
    /// Who is told how far it is.
    moving: Option<Moving<'r>>,
}

impl<'r> Download<'r> {
    /// Asks for the blob, from a byte on.
    pub fn start(
        remote: &'r Remote,
        repository: &'r str,
        scopes: &'r [String],
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Download<'r>, RegistryError> {
        let descriptor = descriptor.clone();
        let (at, began) = (offset.min(descriptor.size), offset);
        let mut download =
            Download { remote, repository, scopes, descriptor, body: None, at, began, strikes: 0, moving: None };
        // Of what is there already only its digest is to be seen.
        if at == 0 || at < download.descriptor.size {
            let response = download.ask()?;
            download.go_on(response)?;
        }
        Ok(download)
    }

    /// Tells how far it is.
    pub fn shown(self, moving: Moving<'r>) -> Download<'r> {
        Download { moving: Some(moving), ..self }
    }

    fn ask(&self) -> Result<Response, RegistryError> {
        let digest = self.descriptor.digest;
        let url = self.remote.url(&format!("{}/blobs/{digest}", self.repository))?;
        let mut ask = Ask::new(Method::Get, url, self.scopes, format!("give the blob {digest}"));
        if self.at > 0 {
            ask.headers.push(("range", format!("bytes={}-", self.at)));
            let response = self.remote.expect(&ask, &[200, 206, 416])?;
            if response.status != 416 {
                return Ok(response);
            }
            // A server that does not know what to do with the range knows the whole.
            ask.headers.clear();
        }
        self.remote.expect(&ask, &[200])
    }

    /// Goes on with what a new connection gives.
    fn go_on(&mut self, response: Response) -> Result<(), RegistryError> {
        let partial = response.status == 206;
        let expected = self.descriptor.size - if partial { self.at } else { 0 };
        let length = response.header("content-length").and_then(|l| l.trim().parse::<u64>().ok());
        if length.is_some_and(|l| l != expected) {
            let length = length.unwrap_or_default();
            return Err(self.wrong(format!("it has {length} bytes where {expected} were announced")));
        }
        let starts = format!("bytes {}-", self.at);
        if partial && response.header("content-range").is_some_and(|r| !r.starts_with(&starts)) {
            return Err(self.wrong("another part of it was sent than was asked for".into()));
        }
        let mut body = response.body;
        if !partial && self.at > 0 {
            // A server without ranges begins anew: what is known already goes by.
            let skipped = io::copy(&mut body.by_ref().take(self.at), &mut io::sink());
            if skipped.ok() != Some(self.at) {
                return Ok(());
            }
        }
        self.began = self.at;
        self.body = Some(body);
        Ok(())
    }

    fn wrong(&self, reason: String) -> RegistryError {
        let place = format!("blob {} of {}/{}", self.descriptor.digest, self.remote.registry, self.repository);
        RegistryError::Contents { place, reason }
    }

    /// After a connection ended too early: waits and asks for the rest.
    fn resume(&mut self, reason: String) -> Result<(), RegistryError> {
        self.body = None;
        if self.remote.cancel.is_set() {
            return Err(RegistryError::Cancelled);
        }
        self.strikes = if self.at - self.began >= PROGRESS { 0 } else { self.strikes + 1 };
        if self.strikes > RETRIES {
            return Err(self.wrong(format!("it ends after {} of {} bytes: {reason}", self.at, self.descriptor.size)));
        }
        self.remote.pause(self.strikes, None)?;
        let response = self.ask()?;
        self.go_on(response)
    }

    /// All of it has been read.
    fn end(&mut self) -> usize {
        self.body = None;
        if let Some(moving) = &self.moving {
            moving.complete();
        }
        0
    }

    fn fault(error: RegistryError) -> io::Error {
        let fault = match error {
            RegistryError::Contents { place, reason } => Fault { place, reason },
            other => Fault { place: "download".into(), reason: other.to_string() },
        };
        io::Error::other(fault)
    }
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let left = self.descriptor.size - self.at;
            let ended = match &mut self.body {
                Some(body) if left == 0 => {
                    // The end must be the end. A connection that breaks now has given all there is.
                    if body.read(&mut [0]).is_ok_and(|n| n > 0) {
                        let reason = format!("it is longer than the {} bytes announced", self.descriptor.size);
                        return Err(Self::fault(self.wrong(reason)));
                    }
                    return Ok(self.end());
                }
                None if left == 0 => return Ok(self.end()),
                Some(body) => {
                    let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    match body.read(&mut buffer[..wanted]) {
                        Ok(0) => "the connection was closed".to_owned(),
                        Ok(n) => {
                            self.at += n as u64;
                            if let Some(moving) = &self.moving {
                                moving.transfer().set(self.at);
                            }
                            return Ok(n);
                        }
                        Err(e) => e.to_string(),
                    }
                }
                None => "the connection was cut".to_owned(),
            };
            self.resume(ended).map_err(Self::fault)?;
        }
    }
}
