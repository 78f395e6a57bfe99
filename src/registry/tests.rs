//! The client against a registry of the test's own, which keeps to the protocol but where a test has it misbehave.

use super::*;
use crate::base::{Cancel, Digest};
use crate::export::fixture::{TestStore, image, layer, store};
use crate::export::{Packing, images};
use crate::image::Platform;
use crate::image::Reference;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    path: String,
    head: String,
}

impl Seen {
    fn field(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().skip(1).filter_map(|l| l.split_once(':'));
        lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned())
    }

    fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// What a test answers instead of the registry; `None`: as it should be.
type Misbehave = dyn Fn(&Seen, usize) -> Option<Vec<u8>> + Send + Sync;

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    /// By path below `/v2/`: media type and bytes.
    contents: HashMap<String, (String, Vec<u8>)>,
    uploads: HashMap<String, Vec<u8>>,
}

#[derive(Clone)]
struct Server {
    host: String,
    state: Arc<Mutex<State>>,
}

fn server(misbehave: impl Fn(&Seen, usize) -> Option<Vec<u8>> + Send + Sync + 'static) -> Server {
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
                let seen = Seen { method, path, head: head.clone() };
                let length = seen.field("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
                let mut body = Vec::new();
                let _ = reader.take(length).read_to_end(&mut body);
                let answer = {
                    let mut state = state.lock().unwrap();
                    let earlier = state.seen.iter().filter(|s| s.method == seen.method && s.path == seen.path).count();
                    state.seen.push(seen.clone());
                    misbehave(&seen, earlier).unwrap_or_else(|| state.answer(&seen, body))
                };
                let _ = stream.write_all(&answer);
            });
        }
    });
    server
}

fn answer(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
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
                            let fields =
                                format!("{fields}Content-Range: bytes {at}-{}/{}\r\n", bytes.len(), bytes.len());
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
                if query != format!("digest=sha256%3A{}", digest.hex()) {
                    return answer("400 Bad Request", "", b"");
                }
                self.contents.insert(format!("{repository}/blobs/{digest}"), (String::new(), bytes));
                answer("201 Created", "", b"")
            }
        }
    }
}

impl Server {
    fn name(&self) -> Reference {
        format!("{}/a/b:1", self.host).parse().unwrap()
    }

    /// As another server has it.
    fn holding(self, other: &Server) -> Server {
        let contents = other.state.lock().unwrap().contents.clone();
        self.state.lock().unwrap().contents = contents;
        self
    }

    fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    fn pull(&self, store: &TestStore) -> Result<Pulled, RegistryError> {
        self.pull_as(store, &Keyring::default())
    }

    fn pull_as(&self, store: &TestStore, keyring: &Keyring) -> Result<Pulled, RegistryError> {
        let platform = Platform { os: "linux".into(), arch: "amd64".into(), variant: String::new() };
        let (settings, cancel) = (settings(), Cancel::new());
        let registries = Registries { settings: &settings, keyring, watch: &|_, _| {}, cancel: &cancel };
        pull(&store.store, &self.name(), &platform, &registries)
    }

    fn push(&self, store: &TestStore, image: &Digest) -> Result<Pushed, RegistryError> {
        let image = images::read(&store.store, image).unwrap();
        let (settings, keyring, cancel) = (settings(), Keyring::default(), Cancel::new());
        let registries = Registries { settings: &settings, keyring: &keyring, watch: &|_, _| {}, cancel: &cancel };
        push(&store.store, &image, &self.name(), Packing::GZIP, &registries)
    }
}

fn settings() -> Settings {
    Settings { patience: Duration::from_millis(1), ..Settings::default() }
}

/// A registry that holds an image of two layers, one of some length, and the store it came from.
fn full() -> (Server, TestStore, Digest) {
    let (server, test) = (server(|_, _| None), store());
    let mut state = 1_u32;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{state:x}")
    })
    .take(40_000)
    .collect();
    let layers = [layer(&test.store, &["a=1"]), layer(&test.store, &[&format!("big={noise}")])];
    let written = image(&test.store, &layers, &["x"]);
    server.push(&test, &written.manifest).unwrap();
    (server, test, written.manifest)
}

/// The digest of the longest blob.
fn longest(server: &Server) -> String {
    let state = server.state.lock().unwrap();
    let blobs = state.contents.iter().filter(|(path, _)| path.contains("/blobs/"));
    blobs.max_by_key(|(_, (_, bytes))| bytes.len()).unwrap().0.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn what_is_pushed_is_pulled_and_sent_once() {
    let (server, test, manifest) = full();
    let again = server.push(&test, &manifest).unwrap();
    assert_eq!((again.sent, again.present), (0, 3));
    let other = store();
    let pulled = server.pull(&other).unwrap();
    assert_eq!((pulled.digest, pulled.known), (again.digest, false));
    assert_eq!(pulled.image.id, images::read(&test.store, &manifest).unwrap().id);
    assert!(server.pull(&other).unwrap().known);
    let back = server.push(&other, &pulled.image.manifest_digest).unwrap();
    assert_eq!((back.sent, back.digest), (0, again.digest), "the manifest goes back as it came");
}

#[test]
fn cut_connections_and_busy_servers_are_asked_again_for_the_rest() {
    let (origin, ..) = full();
    let (blob, holder) = (longest(&origin), origin.clone());
    let flaky = server(move |seen, earlier| {
        if seen.is("GET", &blob) && earlier < 2 {
            let state = holder.state.lock().unwrap();
            let bytes = &state.contents[&format!("a/b/blobs/{blob}")].1;
            let at = seen.field("range").map_or(0, |r| r["bytes=".len()..r.len() - 1].parse::<usize>().unwrap());
            let status = if at > 0 { "206 Partial Content" } else { "200 OK" };
            let whole = answer(status, "", &bytes[at..]);
            return Some(whole[..whole.len() - (bytes.len() - at) / 2].to_vec());
        }
        let busy = ["429 Too Many Requests", "503 Unavailable", "500 Oops"].get(earlier)?;
        seen.is("GET", "/manifests/1").then(|| answer(busy, "Retry-After: 0\r\n", b""))
    })
    .holding(&origin);
    flaky.pull(&store()).unwrap();
    let ranges = flaky.seen().iter().filter(|s| s.field("range").is_some()).count();
    assert_eq!(ranges, 2, "each cut is followed by a request for the rest alone");
}

#[test]
fn what_is_not_as_announced_is_refused_and_leaves_nothing() {
    let (origin, ..) = full();
    let blob = longest(&origin);
    let path = format!("a/b/blobs/{blob}");
    let is_blob = move |seen: &Seen| seen.is("GET", &blob);
    type Odd = Box<dyn Fn(&Seen) -> Option<Vec<u8>> + Send + Sync>;
    type Case = (&'static str, Odd);
    let on_manifest = |fields: &'static str, body: Vec<u8>| -> Odd {
        Box::new(move |seen| seen.is("GET", "/manifests/1").then(|| answer("200 OK", fields, &body)))
    };
    let length = origin.state.lock().unwrap().contents[&path].1.len();
    let (one, two, three, four) = (is_blob.clone(), is_blob.clone(), is_blob.clone(), is_blob);
    let manifest = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    let cases: Vec<Case> = vec![
        ("was announced as", Box::new(move |s| one(s).then(|| answer("200 OK", "", &vec![b'x'; length])))),
        ("where", Box::new(move |s| two(s).then(|| answer("200 OK", "", &vec![b'x'; length - 1])))),
        ("longer than", Box::new(move |s| three(s).then(|| {
            let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
            [head, vec![b'x'; length + 1]].concat()
        }))),
        ("it ends after", Box::new(move |s| four(s).then(|| b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec()))),
        ("longer than", on_manifest(manifest, vec![b' '; (8 << 20) + 1])),
        ("calls itself", on_manifest(manifest, br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#.to_vec())),
        ("no known kind", on_manifest("Content-Type: text/html\r\n", b"{}".to_vec())),
        ("schema 1", on_manifest("", br#"{"schemaVersion":1}"#.to_vec())),
        ("not valid", on_manifest(manifest, b"<html>".to_vec())),
        ("lists no image", on_manifest("", br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#.to_vec())),
        ("manifest announced as", on_manifest("Content-Type: application/vnd.oci.image.manifest.v1+json\r\nDocker-Content-Digest: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n", b"{}".to_vec())),
        ("not valid", on_manifest("", br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha512:00","size":1},"layers":[]}"#.to_vec())),
        ("more than", on_manifest("", br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":99999999},"layers":[]}"#.to_vec())),
    ];
    for (expected, misbehave) in cases {
        let test = store();
        let bad = server(move |seen, _| misbehave(seen)).holding(&origin);
        let error = bad.pull(&test).expect_err(expected);
        assert!(error.is_network() && error.to_string().contains(expected), "{expected}: {error}");
        assert_eq!(test.store.refs().unwrap(), [], "{expected}");
        assert!(!test.store.has_blob(&longest(&origin).parse().unwrap()), "{expected}");
    }
}

#[test]
fn credentials_go_to_whom_they_are_for_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (origin, ..) = full();
    let elsewhere = server(|_, _| None).holding(&origin);
    let target = elsewhere.host.clone();
    let guarded = server(move |seen, _| match seen.field("authorization").as_deref() {
        Some("Basic bWU6czNjcmV0") if seen.is("GET", "/blobs/") => {
            Some(answer("307 Temporary Redirect", &format!("Location: http://{target}{}\r\n", seen.path), b""))
        }
        Some("Basic bWU6czNjcmV0") => None,
        _ => Some(answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", b"")),
    })
    .holding(&origin);
    let keyring = Keyring::of_file(dir.path().join("auth.json"));
    let refused = guarded.pull_as(&store(), &keyring).unwrap_err();
    assert!(matches!(refused, RegistryError::Unauthorized { known: false, .. }), "{refused}");
    keyring.store(&guarded.host, "me", "s3cret").unwrap();
    guarded.pull_as(&store(), &keyring).unwrap();
    assert!(guarded.seen()[0].field("authorization").is_none(), "not before it is asked for");
    let led = elsewhere.seen();
    assert!(!led.is_empty() && led.iter().all(|s| s.field("authorization").is_none()), "{led:?}");
    elsewhere.pull_as(&store(), &keyring).unwrap();
    assert!(elsewhere.seen().iter().all(|s| s.field("authorization").is_none()), "another port is another registry");
}

#[test]
fn a_token_is_fetched_once_and_anew_when_it_has_run_out_and_a_registry_that_always_asks_is_given_up() {
    let (origin, ..) = full();
    let realm = server(|_, earlier| Some(answer("200 OK", "", format!("{{\"token\":\"t{earlier}\"}}").as_bytes())));
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"s\"\r\n", realm.host);
    let asks = challenge.clone();
    // The first token holds for the manifest alone.
    let guarded = server(move |seen, _| match seen.field("authorization").as_deref() {
        Some("Bearer t0") if seen.path.contains("/manifests/") => None,
        Some("Bearer t1") => None,
        _ => Some(answer("401 Unauthorized", &asks, b"")),
    })
    .holding(&origin);
    guarded.pull(&store()).unwrap();
    let tokens = realm.seen();
    assert!(tokens.len() >= 2 && tokens.len() <= 4, "{tokens:?}");
    assert!(tokens[0].path.contains("service=s&scope=repository%3Aa%2Fb%3Apull"), "{tokens:?}");

    let endless = server(move |_, _| Some(answer("401 Unauthorized", &challenge, b"")));
    let error = endless.pull(&store()).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    assert!(endless.seen().len() < 5);
}

#[test]
fn an_upload_that_is_too_large_goes_in_chunks_and_one_that_leads_away_not_at_all() {
    let (test, picky) = (
        store(),
        server(|seen, _| {
            let whole = seen.is("PUT", "/uploads/") && seen.field("content-length").is_some_and(|l| l != "0");
            whole.then(|| answer("413 Payload Too Large", "", b""))
        }),
    );
    let only = layer(&test.store, &["a=1"]);
    let written = image(&test.store, &[only], &["x"]);
    picky.push(&test, &written.manifest).unwrap();
    assert!(picky.seen().iter().any(|s| s.method == "PATCH" && s.field("content-range").is_some()));
    picky.pull(&store()).unwrap();

    let astray = server(|seen, _| {
        (seen.method == "POST").then(|| answer("202 Accepted", "Location: http://127.0.0.1:1/steal\r\n", b""))
    });
    let error = astray.push(&test, &written.manifest).unwrap_err().to_string();
    assert!(error.contains("not its own"), "{error}");
}
