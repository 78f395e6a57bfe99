//! An HTTP(S) server for tests: answers by path, remembers what it was asked.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// No path.
const OTHERWISE: &str = "*";

/// What a path gives.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Status code; 0 is 200.
    pub status: u16,
    /// Contents.
    pub body: Vec<u8>,
    /// Header fields; an `ETag` among them is compared with `If-None-Match`, a `Last-Modified` with `If-Modified-Since`.
    pub headers: Vec<(&'static str, String)>,
    /// Asks for this `Authorization`.
    pub authorization: Option<&'static str>,
}

/// A running server; it ends with the process.
pub struct Server {
    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT`.
    pub base: String,
    pages: Arc<Mutex<BTreeMap<String, Page>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// A server without encryption.
    pub fn plain() -> Server {
        Server::start("http://127.0.0.1", |stream, serve| serve(&mut { stream }))
    }

    /// A server whose certificate only `golden-tests/tls/ca.pem` vouches for.
    pub fn tls() -> Server {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/cert.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/key.pem")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("the key fits");
        let config = Arc::new(config);
        Server::start("https://localhost", move |stream, serve| {
            let Ok(connection) = rustls::ServerConnection::new(config.clone()) else { return };
            let mut stream = rustls::StreamOwned::new(connection, stream);
            serve(&mut stream);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        })
    }

    fn start(base: &str, handle: impl Fn(TcpStream, &dyn Fn(&mut dyn Stream)) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let (pages, asked) = (Arc::<Mutex<BTreeMap<String, Page>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let server = Server { base: format!("{base}:{port}"), pages: pages.clone(), asked: asked.clone() };
        let handle = Arc::new(handle);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (pages, asked, handle) = (pages.clone(), asked.clone(), handle.clone());
                std::thread::spawn(move || handle(stream, &|stream| answer(stream, &pages, &asked)));
            }
        });
        server
    }

    /// Sets what a path gives.
    pub fn put(&self, path: &str, page: Page) {
        self.pages.lock().expect("the pages").insert(path.to_owned(), page);
    }

    /// Sets what every path gives that was not set.
    pub fn otherwise(&self, page: Page) {
        self.put(OTHERWISE, page);
    }

    /// Sets the contents of a path.
    pub fn file(&self, path: &str, body: &[u8]) {
        self.put(path, Page { body: body.to_vec(), ..Page::default() });
    }

    /// `PATH STATUS` of all requests since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("the requests"))
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn answer(stream: &mut dyn Stream, pages: &Mutex<BTreeMap<String, Page>>, asked: &Mutex<Vec<String>>) {
    let mut head = String::new();
    {
        let mut reader = BufReader::with_capacity(1, &mut *stream);
        while reader.read_line(&mut head).is_ok_and(|n| n > 2) {}
    }
    // A proxy is asked for a whole address.
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let field = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")))?;
        Some(line[name.len() + 2..].trim().to_owned())
    };
    let missing = Page { status: 404, ..Page::default() };
    let page = {
        let pages = pages.lock().expect("the pages");
        pages.get(&path).or_else(|| pages.get(OTHERWISE)).cloned().unwrap_or(missing)
    };
    let header = |name: &str| page.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
    let unchanged = field("if-none-match").is_some_and(|tag| Some(tag) == header("ETag"))
        || field("if-modified-since").is_some_and(|time| Some(time) == header("Last-Modified"));
    let refused = page.authorization.is_some_and(|wanted| field("authorization").as_deref() != Some(wanted));
    let status = match page.status {
        _ if refused => 401,
        _ if unchanged => 304,
        0 => 200,
        status => status,
    };
    let body = if status == 200 { page.body.as_slice() } else { &[] };
    let mut text = format!("HTTP/1.1 {status} -\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for (name, value) in &page.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let credentials = if field("authorization").is_some() { " with credentials" } else { "" };
    asked.lock().expect("the requests").push(format!("{path} {status}{credentials}"));
    let _ = stream.write_all(format!("{text}\r\n").as_bytes());
    let _ = stream.write_all(body);
    let _ = stream.flush();
}
