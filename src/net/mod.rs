//! HTTP(S) as a client: one request at a time over pooled connections, with redirects followed under our own rules.
//!
//! Each request runs on a thread of its own and its answer comes through a channel, so that a build that is stopped does
//! not wait for a server. Roots of trust are the system's (`SSL_CERT_FILE` and `SSL_CERT_DIR` count), else Mozilla's.

mod forward;
pub mod growing;
mod guard;
mod payload;
mod proxy;
pub mod transfer;
mod url;

pub use payload::Payload;
pub use url::{Url, UrlError};

use crate::base::Cancel;
use base64::Engine as _;
use guard::{Guard, Near, Reach};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;

/// What is said of a certificate that is marked `CA:TRUE`.
pub const CA_AS_SERVER: &str = "its certificate is that of an authority (CA:TRUE) and may not be a server's";
/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;
/// Bytes of a body in one message.
const CHUNK: usize = 128 * 1024;
/// How long a server may be silent before it is given up, where nobody says otherwise.
pub const STALL: Duration = Duration::from_secs(60);
/// How many times as long it may think about what it was sent.
const THINKING: u32 = 5;
/// How often a waiting caller looks whether it was stopped.
const LOOK: Duration = Duration::from_millis(50);

/// A client; cheap to make, slow only at its first request.
#[derive(Clone, Debug, Default)]
pub struct Client {
    agents: Arc<[OnceLock<ureq::Agent>; 2]>,
    trust: Arc<Trust>,
    stall: Option<Duration>,
}

/// Whose certificates are accepted.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Certificates in PEM form, beside the system's roots.
    pub roots: Vec<u8>,
    /// Any certificate at all: only where the user said so for this server.
    pub anyone: bool,
}

/// Counts what moves, so that who waits can tell slow from stalled.
#[derive(Clone, Debug, Default)]
struct Pulse(Arc<AtomicU64>);

impl Pulse {
    fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// Whom the user named, where `url` is a server's word and not the user's: it may then not lead to this machine.
    pub named: Option<Url>,
    /// Header fields; none with credentials.
    pub headers: Vec<(&'static str, String)>,
    /// The `Authorization` field. Goes to the origin of `url` alone. Without one, what stands before the `@` of the address
    /// is sent as basic authentication.
    pub authorization: Option<String>,
    /// What is sent.
    pub payload: Payload,
    /// Whether a redirect may lead from https to http: only where the contents are checked otherwise.
    pub may_downgrade: bool,
    /// How long all of it may take.
    pub time_limit: Duration,
}

/// What is asked of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The contents.
    Get,
    /// What is known of them.
    Head,
    /// Something is begun.
    Post,
    /// Contents are put in place.
    Put,
    /// Contents are continued.
    Patch,
    /// Something is given up.
    Delete,
}

impl Method {
    /// Whether asking twice is as good as asking once, also by way of a redirect.
    fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Head)
    }
}

/// The head of an answer, and its body to be read.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Where it came from in the end.
    pub url: Url,
    headers: Vec<(String, String)>,
    /// What follows the head.
    pub body: Body,
}

/// Why there is no answer. Its text names the host.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A redirect leads to what is no address for us.
    #[error("{url} redirects to '{location}': {reason}")]
    Redirect {
        /// Who redirects.
        url: Box<Url>,
        /// Where to, as the server says.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The exchange failed.
    #[error("cannot reach {host}: {reason}")]
    Failed {
        /// Host and port.
        host: String,
        /// Why.
        reason: String,
    },
    /// The proxy's address in the environment is none.
    #[error("the proxy named by the environment for {host} is not usable: {reason}")]
    Proxy {
        /// Whom the request is for.
        host: String,
        /// Why.
        reason: String,
    },
    /// Longer than allowed.
    #[error("{host} took longer than {} s", limit.as_secs())]
    TimedOut {
        /// Host and port.
        host: String,
        /// The limit.
        limit: Duration,
    },
    /// The process has gone offline.
    #[error("{host} is not asked: --offline")]
    Offline {
        /// Host and port.
        host: String,
    },
    /// Nothing moves any more.
    #[error("{host} was silent for {} s", limit.as_secs_f64())]
    Stalled {
        /// Host and port.
        host: String,
        /// The longest silence that is borne.
        limit: Duration,
    },
    /// Stopped.
    #[error("cancelled")]
    Cancelled,
}

/// Set once, by [`go_offline`].
static OFFLINE: AtomicBool = AtomicBool::new(false);

/// From here on no request of this process is sent, whoever makes it. There is no way back: what must not happen is
/// then not a matter of every caller's care.
pub fn go_offline() {
    OFFLINE.store(true, Ordering::Relaxed);
}

/// Whether [`go_offline`] was called.
pub fn is_offline() -> bool {
    OFFLINE.load(Ordering::Relaxed)
}

impl Response {
    /// A header field, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// All header fields of a name, in order.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Client {
    /// A client that accepts the certificates of others than the system's roots.
    pub fn trusting(trust: Trust) -> Client {
        Client { trust: Arc::new(trust), ..Client::default() }
    }

    /// Gives servers up that are silent for so long, instead of [`STALL`].
    pub fn bearing(self, silence: Duration) -> Client {
        Client { stall: Some(silence), ..self }
    }

    /// Sends a request and follows its redirects (of one that changes something only those that keep its method, RFC
    /// 9110, 15.4); an answer with any other status is an answer.
    pub fn send(&self, request: &Request, cancel: &Cancel) -> Result<Response, NetError> {
        let deadline = Instant::now() + request.time_limit;
        let mut url = request.url.clone();
        let named = request.named.as_ref().unwrap_or(&request.url);
        if reach(named, &url) == Reach::Away && guard::is_near_number(&url) {
            return Err(NetError::Failed { host: url.host().to_owned(), reason: Near.to_string() });
        }
        for _ in 0..=MAX_REDIRECTS {
            let response = self.one(request, &url, deadline, cancel)?;
            let followed = match response.status {
                301..=303 => request.method.is_safe(),
                307 | 308 => true,
                _ => false,
            };
            if !followed {
                return Ok(response);
            }
            let Some(location) = response.header("location") else { return Ok(response) };
            let refused = |reason: String| NetError::Redirect {
                url: Box::new(url.clone()),
                location: location.chars().filter(|c| !c.is_control()).take(200).collect(),
                reason,
            };
            let next = url.join(location).map_err(|e| refused(e.to_string()))?;
            if url.is_https() && !next.is_https() && !request.may_downgrade {
                return Err(refused("it leads from https to http, where anyone may change what is sent".into()));
            }
            if reach(named, &next) == Reach::Away && guard::is_near_number(&next) {
                return Err(refused(Near.to_string()));
            }
            url = next;
        }
        let reason = format!("more than {MAX_REDIRECTS} redirects");
        Err(NetError::Redirect { location: url.to_string(), url: Box::new(request.url.clone()), reason })
    }

    /// One exchange, on a thread of its own.
    fn one(&self, request: &Request, url: &Url, deadline: Instant, cancel: &Cancel) -> Result<Response, NetError> {
        if is_offline() {
            return Err(NetError::Offline { host: format!("{}:{}", url.host(), url.port()) });
        }
        let (sender, receiver) = sync_channel(4);
        let agent = self.agent(reach(request.named.as_ref().unwrap_or(&request.url), url));
        let (request, target) = (request.clone(), url.clone());
        let (limit, stall) = (request.time_limit, self.stall.unwrap_or(STALL));
        let pulse = Pulse::default();
        let thinking = if request.payload.is_empty() { stall } else { stall * THINKING };
        let beats = pulse.clone();
        std::thread::spawn(move || {
            // Nobody listens any more to a request that was given up.
            let _ = exchange(&agent, &request, &target, &beats, &sender);
        });
        let mut body = Body {
            receiver,
            cancel: cancel.clone(),
            deadline,
            limit,
            pulse,
            stall: thinking,
            host: format!("{}:{}", url.host(), url.port()),
            chunk: VecDeque::new(),
            ended: false,
        };
        match body.next()? {
            Message::Head(status, headers) => {
                body.stall = stall;
                Ok(Response { status, url: url.clone(), headers, body })
            }
            Message::Failed(error) => Err(error),
            Message::Chunk(_) | Message::End => Err(body.lost()),
        }
    }

    fn agent(&self, reach: Reach) -> ureq::Agent {
        let agent = &self.agents[reach as usize];
        agent
            .get_or_init(|| {
                ureq::Agent::with_parts(config(&self.trust), DefaultConnector::default(), Guard::new(reach))
            })
            .clone()
    }
}

/// How far a request for `url` may go that began as one for `named`.
fn reach(named: &Url, url: &Url) -> Reach {
    let same_host = named.host().eq_ignore_ascii_case(url.host());
    // Someone who asks this machine trusts it to name itself in other ways.
    if same_host || guard::is_near_number(named) { Reach::Anywhere } else { Reach::Away }
}

fn config(trust: &Trust) -> ureq::config::Config {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("rbuild/", env!("CARGO_PKG_VERSION")))
        // Contents are wanted as they are stored, whose digest is known.
        .accept_encoding("identity")
        .timeout_resolve(Some(Duration::from_secs(30)))
        .timeout_connect(Some(Duration::from_secs(30)))
        // Who waits for an answer has given it up long before; these let its thread end.
        .timeout_recv_response(Some(STALL * THINKING * 2))
        .timeout_per_read(Some(STALL * THINKING * 2))
        .tls_config(tls(trust))
        .build()
}

fn tls(trust: &Trust) -> TlsConfig {
    TlsConfig::builder().root_certs(roots(&trust.roots)).disable_verification(trust.anyone).build()
}

fn roots(further: &[u8]) -> RootCerts {
    let further = ureq::tls::parse_pem(further).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let further: Vec<Certificate<'static>> = further.collect();
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() && further.is_empty() {
        return RootCerts::WebPki;
    }
    let native = found.certs.iter().map(|c| Certificate::from_der(c.as_ref()).to_owned());
    RootCerts::Specific(Arc::new(native.chain(further).collect()))
}

/// Beats with each piece of a payload that is taken.
struct Heard<R> {
    inner: R,
    pulse: Pulse,
}

impl<R: Read> Read for Heard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pulse.beat();
        self.inner.read(buffer)
    }
}

/// What the thread of a request tells.
#[derive(Debug)]
enum Message {
    Head(u16, Vec<(String, String)>),
    Chunk(Vec<u8>),
    End,
    Failed(NetError),
}

/// Gives up when nobody listens any more.
fn exchange(
    agent: &ureq::Agent,
    request: &Request,
    url: &Url,
    pulse: &Pulse,
    sender: &SyncSender<Message>,
) -> Result<(), std::sync::mpsc::SendError<Message>> {
    let host = format!("{}:{}", url.host(), url.port());
    let failed = |e: ureq::Error| Message::Failed(failure(host.clone(), &e));
    let named = proxy::choose(url, |name| std::env::var(name).ok());
    let forward = named.as_deref().filter(|_| !url.is_https()).and_then(forward::Proxy::parse);
    let agent = match forward.clone() {
        Some(proxy) => &proxy.agent(agent.config().clone(), url.uri()),
        None => agent,
    };
    let tunnel = named.filter(|_| forward.is_none()).map(|text| ureq::Proxy::new(&text));
    let tunnel = match tunnel.transpose() {
        Ok(tunnel) => tunnel,
        Err(e) => return sender.send(Message::Failed(NetError::Proxy { host, reason: e.to_string() })),
    };
    let mut headers: Vec<(&str, String)> = request.headers.clone();
    if url.same_origin(&request.url) {
        let basic =
            || request.url.user().map(|u| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(u)));
        if let Some(value) = request.authorization.clone().or_else(basic) {
            headers.push(("authorization", value));
        }
    }
    let mut response = match call(agent, request, url, tunnel, &headers, pulse) {
        Ok(response) => response,
        Err(e) => return sender.send(failed(e)),
    };
    let fields = response.headers().iter();
    let headers = fields.filter_map(|(n, v)| Some((n.as_str().to_owned(), v.to_str().ok()?.to_owned()))).collect();
    sender.send(Message::Head(response.status().as_u16(), headers))?;
    let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
    loop {
        let mut chunk = vec![0; CHUNK];
        match reader.read(&mut chunk) {
            Ok(0) => return sender.send(Message::End),
            Ok(n) => {
                chunk.truncate(n);
                sender.send(Message::Chunk(chunk))?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return sender.send(failed(ureq::Error::from(e))),
        }
    }
}

/// Sends the request and waits for the head of its answer.
fn call(
    agent: &ureq::Agent,
    request: &Request,
    url: &Url,
    tunnel: Option<ureq::Proxy>,
    headers: &[(&str, String)],
    pulse: &Pulse,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let uri = url.uri().clone();
    let bodiless = match request.method {
        Method::Get => Some(agent.get(uri.clone())),
        Method::Head => Some(agent.head(uri.clone())),
        Method::Delete => Some(agent.delete(uri.clone())),
        _ => None,
    };
    if let Some(mut builder) = bodiless {
        for (name, value) in headers {
            builder = builder.header(*name, value);
        }
        return builder.config().proxy(tunnel).build().call();
    }
    let mut builder = match request.method {
        Method::Put => agent.put(uri),
        Method::Patch => agent.patch(uri),
        _ => agent.post(uri),
    };
    for (name, value) in headers {
        builder = builder.header(*name, value);
    }
    // The length is told at the beginning where it is known: registries and object stores behind them want it.
    if let Some(length) = request.payload.len() {
        builder = builder.header("content-length", length.to_string());
    }
    let builder = builder.config().proxy(tunnel).build();
    builder.send(ureq::SendBody::from_owned_reader(Heard { inner: request.payload.open()?, pulse: pulse.clone() }))
}

fn failure(host: String, error: &ureq::Error) -> NetError {
    let reason = match error {
        ureq::Error::Io(e) => e.to_string(),
        ureq::Error::Other(e) => e.to_string(),
        e => e.to_string(),
    };
    // The library's word for what `openssl req -x509` makes by default.
    let reason = match reason.contains("CaUsedAsEndEntity") {
        true => format!("{CA_AS_SERVER} ({reason})"),
        false => reason,
    };
    NetError::Failed { host, reason }
}

/// The body of an answer. Reading fails when the caller is stopped or out of time.
#[derive(Debug)]
pub struct Body {
    receiver: Receiver<Message>,
    cancel: Cancel,
    deadline: Instant,
    limit: Duration,
    pulse: Pulse,
    /// The longest silence.
    stall: Duration,
    host: String,
    chunk: VecDeque<u8>,
    ended: bool,
}

impl Body {
    fn next(&mut self) -> Result<Message, NetError> {
        let (mut beats, mut heard) = (self.pulse.count(), Instant::now());
        loop {
            if self.pulse.count() != beats {
                (beats, heard) = (self.pulse.count(), Instant::now());
            }
            if heard.elapsed() >= self.stall {
                return Err(NetError::Stalled { host: self.host.clone(), limit: self.stall });
            }
            if self.cancel.is_set() {
                return Err(NetError::Cancelled);
            }
            if Instant::now() >= self.deadline {
                return Err(NetError::TimedOut { host: self.host.clone(), limit: self.limit });
            }
            match self.receiver.recv_timeout(LOOK) {
                Ok(message) => return Ok(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.lost()),
            }
        }
    }

    fn lost(&self) -> NetError {
        NetError::Failed { host: self.host.clone(), reason: "the connection was lost".into() }
    }

    /// The next bytes; `None` at the end. An answer that is shorter than it said is an error.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, NetError> {
        if self.ended {
            return Ok(None);
        }
        match self.next()? {
            Message::Chunk(bytes) => Ok(Some(bytes)),
            Message::End => {
                self.ended = true;
                Ok(None)
            }
            Message::Failed(error) => Err(error),
            Message::Head(..) => Err(self.lost()),
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty()
            && let Some(bytes) = self.chunk().map_err(io::Error::other)?
        {
            self.chunk = bytes.into();
        }
        self.chunk.read(buffer)
    }
}

#[cfg(test)]
mod tests;
