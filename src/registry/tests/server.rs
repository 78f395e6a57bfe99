//! A registry of the test's own, which keeps to the protocol but where a test has it misbehave.

use super::super::*;
use crate::base::{Cancel, Digest};
use crate::export::fixture::{TestStore, image, layer, store};
use crate::export::{Image, Packing, images};
use crate::image::{Platform, Reference};
use crate::store::fsck::Checks;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    /// As text, where it is short.
    pub body: String,
    /// How many blobs the registry held.
    pub blobs: usize,
    /// How much of the upload to this path it held, in bytes.
    pub held: usize,
    pub head: String,
}

impl Seen {
    pub fn field(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().skip(1).filter_map(|l| l.split_once(':'));
        lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned())
    }

    /// Whether its length was not told before.
    pub fn is_streamed(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|coding| coding == "chunked")
    }

    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// What a test answers instead of the registry, to a request that came so many times before; `None`: as it should be.
type Misbehave = dyn Fn(&Seen, usize) -> Option<Reply> + Send + Sync;

/// Bytes to send, and how.
pub struct Reply {
    bytes: Vec<u8>,
    /// Bytes at once, and how long to wait after them.
    pace: Option<(usize, Duration)>,
    /// How long the connection stays open, silent, after the last byte.
    silence: Duration,
}

impl Reply {
    /// Sends a little at a time.
    pub fn slow(bytes: Vec<u8>, piece: usize, wait: Duration) -> Reply {
        Reply { bytes, pace: Some((piece, wait)), silence: Duration::ZERO }
    }

    /// Sends this, and then nothing more, without an end.
    pub fn stalled(bytes: Vec<u8>) -> Reply {
        Reply { bytes, pace: None, silence: Duration::from_secs(30) }
    }

    fn send(self, stream: &mut TcpStream) {
        let (piece, wait) = self.pace.unwrap_or((usize::MAX, Duration::ZERO));
        for piece in self.bytes.chunks(piece) {
            if stream.write_all(piece).is_err() {
                return;
            }
            std::thread::sleep(wait);
        }
        // Ends when the other side does.
        let _ = stream.set_read_timeout(Some(self.silence.max(Duration::from_millis(1))));
        if !self.silence.is_zero() {
            let _ = stream.read(&mut [0]);
        }
    }
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Reply {
        Reply { bytes, pace: None, silence: Duration::ZERO }
    }
}

#[derive(Default)]
pub struct State {
    seen: Vec<Seen>,
    /// By path below `/v2/`: media type and bytes.
    pub contents: HashMap<String, (String, Vec<u8>)>,
    uploads: HashMap<String, Vec<u8>>,
}

#[derive(Clone)]
pub struct Server {
    pub host: String,
    pub state: Arc<Mutex<State>>,
}

/// A registry that answers at once.
pub fn server(misbehave: impl Fn(&Seen, usize) -> Option<Vec<u8>> + Send + Sync + 'static) -> Server {
    paced(move |seen, earlier| misbehave(seen, earlier).map(Reply::from))
}

/// A registry that may take its time.
pub fn paced(misbehave: impl Fn(&Seen, usize) -> Option<Reply> + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server { host: listener.local_addr().unwrap().to_string(), state: Arc::default() };
    let (state, misbehave): (_, Arc<Misbehave>) = (server.state.clone(), Arc::new(misbehave));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (state, misbehave) = (state.clone(), misbehave.clone());
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while reader.read_line(&mut head).is_ok_and(|n| n > 2) {}
                let mut words = head.split(' ').map(str::to_owned);
                let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
                let mut seen = Seen { method, path, head: head.clone(), body: String::new(), blobs: 0, held: 0 };
                let length = seen.field("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
                let mut body = Vec::new();
                if seen.is_streamed() {
                    // What breaks off in the middle is taken for nothing.
                    if dechunk(&mut reader, &mut body).is_none() {
                        return;
                    }
                } else {
                    let _ = reader.take(length).read_to_end(&mut body);
                }
                let answer = {
                    let mut state = state.lock().unwrap();
                    seen.body = String::from_utf8(body.iter().copied().take(1000).collect()).unwrap_or_default();
                    seen.blobs = state.contents.keys().filter(|path| path.contains("/blobs/")).count();
                    let upload = seen.path.strip_prefix("/v2/").unwrap_or_default();
                    seen.held = state.uploads.get(upload).map_or(0, Vec::len);
                    let earlier = state.seen.iter().filter(|s| s.method == seen.method && s.path == seen.path).count();
                    state.seen.push(seen.clone());
                    misbehave(&seen, earlier).unwrap_or_else(|| state.answer(&seen, body).into())
                };
                answer.send(&mut stream);
            });
        }
    });
    server
}

/// A body in chunked transfer coding (RFC 9112, 7.1), if all of it comes.
fn dechunk(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Option<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = u64::from_str_radix(line.trim(), 16).ok()?;
        let got = reader.take(length).read_to_end(body).ok()?;
        reader.read_line(&mut String::new()).ok()?;
        match length {
            0 => return Some(()),
            length if got as u64 == length => {}
            _ => return None,
        }
    }
}

pub fn answer(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n");
    [head.as_bytes(), body].concat()
}

impl State {
    fn answer(&mut self, seen: &Seen, body: Vec<u8>) -> Vec<u8> {
        let path = seen.path.strip_prefix("/v2/").unwrap_or_default().to_owned();
        let (path, query) = path.split_once('?').map_or((path.clone(), ""), |(p, q)| (p.to_owned(), q));
        match seen.method.as_str() {
            "GET" if path.is_empty() => answer("200 OK", "", b"{}"),
            "GET" | "HEAD" => match self.contents.get(&path) {
                None => answer("404 Not Found", "", b""),
                Some((kind, bytes)) => {
                    let range =
                        seen.field("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
                    let fields = format!("Content-Type: {kind}\r\n");
                    match range.filter(|at: &usize| *at <= bytes.len()) {
                        Some(at) => {
                            let length = bytes.len();
                            let fields = format!("{fields}Content-Range: bytes {at}-{}/{length}\r\n", length - 1);
                            answer("206 Partial Content", &fields, &bytes[at..])
                        }
                        None if seen.method == "HEAD" => answer("200 OK", &fields, b""),
                        None => answer("200 OK", &fields, bytes),
                    }
                }
            },
            "POST" => {
                let id = format!("{path}{}", self.uploads.len());
                self.uploads.insert(id.clone(), Vec::new());
                answer("202 Accepted", &format!("Location: /v2/{id}\r\n"), b"")
            }
            "PATCH" => {
                self.uploads.entry(path.clone()).or_default().extend(body);
                answer("202 Accepted", &format!("Location: /v2/{path}\r\n"), b"")
            }
            "PUT" if path.contains("/manifests/") => {
                let kind = seen.field("content-type").unwrap_or_default();
                let by_digest = format!("{}/{}", path.rsplit_once('/').unwrap().0, Digest::of(&body));
                self.contents.insert(by_digest, (kind.clone(), body.clone()));
                self.contents.insert(path, (kind, body));
                answer("201 Created", "", b"")
            }
            _ => {
                let mut bytes = self.uploads.remove(&path).unwrap_or_default();
                bytes.extend(body);
                let repository = path.split("/blobs/").next().unwrap().to_owned();
                let digest = Digest::of(&bytes);
                if !query.ends_with(&format!("digest=sha256%3A{}", digest.hex())) {
                    return answer("400 Bad Request", "", b"");
                }
                self.contents.insert(format!("{repository}/blobs/{digest}"), (String::new(), bytes));
                answer("201 Created", "", b"")
            }
        }
    }
}

impl Server {
    pub fn name(&self) -> Reference {
        format!("{}/a/b:1", self.host).parse().unwrap()
    }

    /// As another server has it.
    pub fn holding(self, other: &Server) -> Server {
        let contents = other.state.lock().unwrap().contents.clone();
        self.state.lock().unwrap().contents = contents;
        self
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    pub fn pull(&self, store: &TestStore) -> Result<Pulled, RegistryError> {
        self.pull_as(store, &Keyring::default())
    }

    pub fn pull_as(&self, store: &TestStore, keyring: &Keyring) -> Result<Pulled, RegistryError> {
        self.pull_with(store, keyring, settings())
    }

    pub fn pull_named(&self, store: &TestStore, name: &Reference, settings: Settings) -> Result<Pulled, RegistryError> {
        pull_from(store, name, &Keyring::default(), &settings)
    }

    pub fn pull_with(&self, store: &TestStore, keyring: &Keyring, settings: Settings) -> Result<Pulled, RegistryError> {
        pull_from(store, &self.name(), keyring, &settings)
    }

    pub fn push(&self, store: &TestStore, image: &Digest) -> Result<Pushed, RegistryError> {
        let image = images::read(&store.store, image).unwrap();
        self.push_as(store, &image, &self.name(), &Keyring::default())
    }

    pub fn push_as(
        &self,
        store: &TestStore,
        image: &Image,
        name: &Reference,
        keyring: &Keyring,
    ) -> Result<Pushed, RegistryError> {
        let (settings, cancel) = (settings(), Cancel::new());
        let registries = Registries { settings: &settings, keyring, watch: &|_, _| {}, cancel: &cancel };
        push(&store.store, &image.clone().into(), name, Packing::GZIP, &registries)
    }
}

fn pull_from(
    store: &TestStore,
    name: &Reference,
    keyring: &Keyring,
    settings: &Settings,
) -> Result<Pulled, RegistryError> {
    let platform = Platform { os: "linux".into(), arch: "amd64".into(), variant: String::new() };
    let cancel = Cancel::new();
    let registries = Registries { settings, keyring, watch: &|_, _| {}, cancel: &cancel };
    pull(&store.store, name, &(&platform).into(), &registries)
}

pub fn settings() -> Settings {
    Settings { patience: Duration::from_millis(1), ..Settings::default() }
}

/// A registry that holds an image of one short layer.
pub fn full_of(text: &str) -> Server {
    let (server, test) = (server(|_, _| None), store());
    let written = image(&test.store, &[layer(&test.store, &[&format!("a={text}")])], &["x"]);
    server.push(&test, &written.manifest).unwrap();
    server
}

/// A registry that holds an image of two layers, one of some length, and the store it came from.
pub fn full() -> (Server, TestStore, Digest) {
    let (server, test) = (server(|_, _| None), store());
    let layers = [layer(&test.store, &["a=1"]), layer(&test.store, &[&format!("big={}", noise())])];
    let written = image(&test.store, &layers, &["x"]);
    server.push(&test, &written.manifest).unwrap();
    (server, test, written.manifest)
}

/// Some 300 kB that pack badly.
pub fn noise() -> String {
    let mut state = 1_u32;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{state:x}")
    });
    words.take(40_000).collect()
}

/// The digest of the longest blob.
pub fn longest(server: &Server) -> String {
    let state = server.state.lock().unwrap();
    let blobs = state.contents.iter().filter(|(path, _)| path.contains("/blobs/"));
    blobs.max_by_key(|(_, (_, bytes))| bytes.len()).unwrap().0.rsplit('/').next().unwrap().to_owned()
}

impl Server {
    /// A blob as the server has it.
    pub fn blob(&self, digest: &str) -> Vec<u8> {
        self.state.lock().unwrap().contents[&format!("a/b/blobs/{digest}")].1.clone()
    }
}

/// Nothing in the store has a name, is wrong or was left lying about.
pub fn assert_clean(test: &TestStore, case: &str) {
    assert_eq!(test.store.refs().unwrap(), [], "{case}");
    let mut findings = Vec::new();
    let mut checks = Checks { layer: &mut |_| Ok(None), tree: &mut |_| Ok(None) };
    test.store.fsck(&mut checks, &mut |finding| findings.push(finding), false).unwrap();
    assert!(findings.is_empty(), "{case}: {findings:?}");
    let files = walkdir::WalkDir::new(test.store.root().join("tmp")).into_iter().map(|entry| entry.unwrap());
    let left: Vec<_> =
        files.filter(|f| f.file_type().is_file() && f.path().extension() != Some("lock".as_ref())).collect();
    assert!(left.is_empty(), "{case}: {left:?}");
}
