//! A file by HTTP(S) (dockerfile.md C28, C30): mode 0600, owner 0:0, the time the server says it was last modified.

use super::{Answer, Facts, Fetcher, MAX_BYTES, Record, TIME_LIMIT, client, failed, not_found, not_reached};
use crate::base::fs::Context as _;
use crate::base::root::Root;
use crate::base::{Digest, Hasher, clock};
use crate::graph::{HttpSource, Remote};
use crate::layer::compress;
use crate::layer::tar_in::{self, ApplyError};
use crate::net::{self, Method, Payload, Request, Response, Url};
use crate::ops::{OpError, Written};
use rustix::fs::{Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

/// Asks for the file unless what it must be is already there.
pub(super) fn fetch(
    fetcher: &Fetcher<'_>,
    source: &HttpSource,
    known: Option<&Record>,
    started: &dyn Fn(),
) -> Result<Answer, OpError> {
    let remote = Remote::Http(source.clone());
    let content = known.and_then(|k| k.fact("content"));
    if source.checksum.is_some() && content == source.checksum.map(|c| c.to_string()).as_deref() {
        return Ok(Answer::Known);
    }
    // What is known is not what is wanted: there is nothing to confirm.
    let known = known.filter(|_| source.checksum.is_none());
    if known.is_some() && net::is_offline() {
        return Ok(Answer::Known);
    }
    let url = Url::parse(&source.url).map_err(|e| failed(&remote, e))?;
    let request = Request {
        method: Method::Get,
        headers: conditions(known),
        authorization: authorization(fetcher, &url),
        named: None,
        payload: Payload::None,
        may_downgrade: source.checksum.is_some(),
        time_limit: TIME_LIMIT,
        url,
    };
    let response = client().send(&request, fetcher.cancel).map_err(|e| not_reached(&remote, e))?;
    match response.status {
        304 if known.is_some() => Ok(Answer::Known),
        200 if known.is_some_and(|k| same_tag(k, &response)) => Ok(Answer::Known),
        200 => {
            started();
            let length = response.header("content-length").and_then(|text| text.parse::<u64>().ok());
            if length.is_some_and(|length| length > MAX_BYTES) {
                return Err(too_large(&remote));
            }
            let header = |name: &str| response.header(name).map(str::to_owned);
            let (etag, modified) = (header("etag"), header("last-modified"));
            let mut body = response.body;
            let mut next = || body.chunk().map_err(|e| not_reached(&remote, e));
            let arriving = Arriving { next: &mut next, etag, modified };
            let (written, facts) = store(fetcher, source, &remote, arriving)?;
            Ok(Answer::New(written, facts))
        }
        status @ (404 | 410) => Err(not_found(&remote, format!("the server answers {}", described(status)))),
        status @ (401 | 403) => {
            let host = request.url.host();
            Err(failed(&remote, format!("the server answers {}", described(status)))
                .with_help(format!("give credentials as a secret: --secret id=HTTP_AUTH_TOKEN_{host},env=TOKEN")))
        }
        status => Err(failed(&remote, format!("the server answers {}", described(status)))),
    }
}

/// `404 (not found)`.
fn described(status: u16) -> String {
    let words = match status {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not found",
        410 => "gone",
        429 => "too many requests",
        500 => "internal server error",
        502 => "bad gateway",
        503 => "service unavailable",
        _ => return status.to_string(),
    };
    format!("{status} ({words})")
}

/// Only if it has changed (RFC 9110, 13.1).
fn conditions(known: Option<&Record>) -> Vec<(&'static str, String)> {
    let Some(known) = known else { return Vec::new() };
    match (known.fact("etag"), known.fact("last-modified")) {
        (Some(tag), _) => vec![("if-none-match", tag.to_owned())],
        (None, Some(time)) => vec![("if-modified-since", time.to_owned())],
        (None, None) => Vec::new(),
    }
}

/// Some servers send an entity tag and never look at the one they are asked about.
fn same_tag(known: &Record, response: &Response) -> bool {
    let strip = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    match (known.fact("etag"), response.header("etag")) {
        (Some(old), Some(new)) => strip(old) == strip(new),
        _ => false,
    }
}

/// What the secrets say for this host, by BuildKit's names.
fn authorization(fetcher: &Fetcher<'_>, url: &Url) -> Option<String> {
    let hosts = [format!("{}:{}", url.host(), url.port()), url.host().to_owned()];
    hosts.iter().find_map(|host| {
        let token = || Some(format!("Bearer {}", fetcher.secret(&format!("HTTP_AUTH_TOKEN_{host}"))?));
        fetcher.secret(&format!("HTTP_AUTH_HEADER_{host}")).or_else(token)
    })
}

fn too_large(remote: &Remote) -> OpError {
    failed(remote, format!("it is larger than {} GiB", MAX_BYTES >> 30))
}

/// A file on its way.
pub(super) struct Arriving<'a> {
    /// Its next bytes; `None` at the end.
    pub next: &'a mut dyn FnMut() -> Result<Option<Vec<u8>>, OpError>,
    /// The header fields of these names.
    pub etag: Option<String>,
    pub modified: Option<String>,
}

/// Writes the contents to a directory that becomes the layer.
pub(super) fn store(
    fetcher: &Fetcher<'_>,
    source: &HttpSource,
    remote: &Remote,
    arriving: Arriving<'_>,
) -> Result<(Written, Facts), OpError> {
    let Arriving { next, etag, modified } = arriving;
    let dir = fetcher.store.temp_dir()?;
    let (fs, body) = (dir.path().join("fs"), dir.path().join("body"));
    std::fs::create_dir(&fs).at("create directory", &fs)?;
    let mut file = File::options().read(true).write(true).create_new(true).open(&body).at("create", &body)?;
    let mut hasher = Hasher::new();
    while let Some(chunk) = next()? {
        hasher.update(&chunk);
        if hasher.len() > MAX_BYTES {
            return Err(too_large(remote));
        }
        file.write_all(&chunk).at("write", &body)?;
    }
    let size = hasher.len();
    let content = hasher.finish();
    if let Some(expected) = source.checksum.filter(|expected| *expected != content) {
        return Err(OpError::input("checksum-mismatch", format!("{remote} is not what its checksum says"))
            .note(format!("expected {expected}"))
            .note(format!("found    {content} ({size} bytes)"))
            .about(expected.to_string()));
    }
    let known = if source.unpack {
        unpack(fetcher, remote, &mut file, &fs)?
    } else {
        // BuildKit's time for a server that says none.
        let time = modified.as_deref().and_then(clock::parse_http_date).unwrap_or(0);
        place(&body, &fs, &source.name, time)?;
        HashMap::from([(source.name.clone().into_bytes(), content)])
    };
    rustix::fs::chmod(&fs, Mode::from_raw_mode(0o755)).at("set permissions of", &fs)?;
    let facts = [
        ("content", Some(content.to_string())),
        ("size", Some(size.to_string())),
        ("etag", etag),
        ("last-modified", modified),
    ];
    let facts = facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Ok((Written { dir, fs, known }, facts))
}

/// Moves the file to its name, with mode and time.
fn place(body: &Path, fs: &Path, name: &str, time: i64) -> Result<(), OpError> {
    let root = Root::open(fs)?;
    let shown = root.show(name.as_bytes());
    rustix::fs::renameat(rustix::fs::CWD, body, &root, name).at("move", &shown)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
    let file = root.open_with(name.as_bytes(), flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).at("open", &shown)?;
    rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR).at("set permissions of", &shown)?;
    let time = Timespec { tv_sec: time, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::futimens(&file, &times).at("set the time of", &shown)?)
}

/// The contents of an archive, as ADD unpacks them.
fn unpack(
    fetcher: &Fetcher<'_>,
    remote: &Remote,
    body: &mut File,
    fs: &Path,
) -> Result<HashMap<Vec<u8>, Digest>, OpError> {
    body.rewind().at("read", fs)?;
    if !compress::is_archive(&*body) {
        return Err(OpError::input("remote-not-archive", format!("{remote} is no tar archive"))
            .with_help("a context on the network is a git repository or a tar, plain or compressed"));
    }
    body.rewind().at("read", fs)?;
    let (mut reader, _) = compress::open_compressed(&*body, MAX_BYTES).map_err(|e| failed(remote, e))?;
    match tar_in::apply(&mut reader, fs, &tar_in::Options::plain(fetcher.cancel)) {
        Ok(applied) => Ok(applied.contents),
        Err(_) if fetcher.cancel.is_set() => Err(OpError::Cancelled),
        Err(ApplyError::Io(e)) => Err(e.into()),
        Err(e) => Err(OpError::input("archive-invalid", format!("cannot unpack {remote}: {e}"))),
    }
}
