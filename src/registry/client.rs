//! One registry: the way to it, who is asking, and requests that are sent again where that helps.

use super::auth::{self, Challenge, MAX_TOKEN, TokenAnswer};
use super::settings::{Scheme, endpoint};
use super::{Credential, RegistryError, Settings};
use crate::base::{Cancel, fs};
use crate::net::{Client, Method, NetError, Payload, Request, Response, Trust, Url};
use base64::Engine as _;
use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a request is sent again at most.
pub(super) const RETRIES: u32 = 5;
/// Longest wait before a request is sent again, whatever the server asks for.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How long one request may take: that of a large blob over a slow line.
const TIME_LIMIT: Duration = Duration::from_secs(6 * 3600);
/// How much of an answer that tells of an error is read, in bytes.
const MAX_DETAIL: u64 = 16 << 10;

/// A registry that has answered.
#[derive(Debug)]
pub(super) struct Remote {
    /// As names have it.
    pub registry: String,
    pub cancel: Cancel,
    base: Url,
    http: Client,
    patience: Duration,
    credential: Option<Credential>,
    challenge: Mutex<Challenge>,
    /// By scopes.
    tokens: Mutex<HashMap<String, String>>,
}

/// What is asked of a registry.
pub(super) struct Ask<'a> {
    pub method: Method,
    pub url: Url,
    /// `repository:a/b:pull`.
    pub scopes: &'a [String],
    pub headers: Vec<(&'static str, String)>,
    pub payload: Payload,
    /// For people, an infinitive: `give the manifest of a/b`.
    pub what: String,
}

impl<'a> Ask<'a> {
    pub fn new(method: Method, url: Url, scopes: &'a [String], what: impl Into<String>) -> Ask<'a> {
        Ask { method, url, scopes, headers: Vec::new(), payload: Payload::None, what: what.into() }
    }
}

impl Remote {
    /// Finds the way to a registry and how it asks for credentials; sends none yet.
    pub fn connect(
        registry: &str,
        credential: Option<Credential>,
        settings: &Settings,
        cancel: &Cancel,
    ) -> Result<Remote, RegistryError> {
        let host = settings.host(registry);
        let roots = host.ca.as_deref().map(fs::read).transpose()?.unwrap_or_default();
        let http = Client::trusting(Trust { roots, anyone: host.insecure }).bearing(settings.stall);
        let mut last = None;
        for scheme in settings.schemes(registry) {
            let scheme = if *scheme == Scheme::Http { "http" } else { "https" };
            let base = Url::parse(&format!("{scheme}://{}/v2/", endpoint(registry)))
                .map_err(|e| RegistryError::Contents { place: registry.to_owned(), reason: e.to_string() })?;
            let remote = Remote {
                registry: registry.to_owned(),
                cancel: cancel.clone(),
                base: base.clone(),
                http: http.clone(),
                patience: settings.patience,
                credential: credential.clone(),
                challenge: Mutex::new(Challenge::None),
                tokens: Mutex::default(),
            };
            let ask = Ask::new(Method::Get, base, &[], "answer as a registry");
            // A wrong scheme shows as a broken connection or as 400: no reason to wait and ask again.
            match remote.http.send(&remote.request(&ask, None), cancel) {
                Ok(response) if response.status == 400 && scheme == "http" => {
                    last = Some(remote.refused(&ask, response));
                }
                Ok(response) => {
                    if response.status == 401 {
                        remote.learn(&ask, &response)?;
                    }
                    return Ok(remote);
                }
                Err(error) => {
                    // Who is silent in one scheme will not talk in another.
                    let silent = matches!(error, NetError::Stalled { .. } | NetError::TimedOut { .. });
                    let error = remote.net(error);
                    if silent || matches!(error, RegistryError::Cancelled) {
                        return Err(error);
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or(RegistryError::Cancelled))
    }

    /// Whether the registry takes the credentials.
    pub fn ping(&self) -> Result<(), RegistryError> {
        let ask = Ask::new(Method::Get, self.base.clone(), &[], "log in");
        let response = self.send(&ask)?;
        if response.status == 200 { Ok(()) } else { Err(self.refused(&ask, response)) }
    }

    /// An address below `/v2/`. `path` is made of names that the grammar of references keeps harmless.
    pub fn url(&self, path: &str) -> Result<Url, RegistryError> {
        self.base.join(path).map_err(|e| RegistryError::Contents { place: path.to_owned(), reason: e.to_string() })
    }

    /// An address that the registry gave for an upload: it must lie with itself, for what is sent there is sent with
    /// credentials.
    pub fn location(&self, from: &Url, location: Option<&str>) -> Result<Url, RegistryError> {
        let wrong = |reason: &str| RegistryError::Contents {
            place: format!("registry {}", self.registry),
            reason: format!("{reason} for an upload"),
        };
        let location = location.ok_or_else(|| wrong("it names no address"))?;
        let url = from.join(location).map_err(|_| wrong("it names no valid address"))?;
        if url.same_origin(&self.base) { Ok(url) } else { Err(wrong("it names an address that is not its own")) }
    }

    /// Sends a request with what the registry wants to know, and again after 429, 5xx and broken connections. An answer
    /// with another status is an answer, but 401 only after credentials were tried.
    pub fn send(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let mut renewed = false;
        loop {
            let authorization = self.authorization(ask)?;
            let response = self.patiently(&self.request(ask, authorization.clone()))?;
            if response.status != 401 {
                return Ok(response);
            }
            // A token may have run out; a registry that let us in for the ping may ask now.
            self.tokens.lock().unwrap_or_else(PoisonError::into_inner).remove(&ask.scopes.join(" "));
            if renewed {
                return Err(self.unauthorized(ask));
            }
            renewed = true;
            self.learn(ask, &response)?;
        }
    }

    /// As [`Remote::send`], but once: for what is of no use when it is sent again.
    pub fn send_once(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let authorization = self.authorization(ask)?;
        self.http.send(&self.request(ask, authorization), &self.cancel).map_err(|e| self.net(e))
    }

    /// As [`Remote::send`], where only one status will do.
    pub fn expect(&self, ask: &Ask<'_>, statuses: &[u16]) -> Result<Response, RegistryError> {
        let response = self.send(ask)?;
        if statuses.contains(&response.status) { Ok(response) } else { Err(self.refused(ask, response)) }
    }

    /// The error for an answer that is of no use.
    pub fn refused(&self, ask: &Ask<'_>, mut response: Response) -> RegistryError {
        if matches!(response.status, 401 | 403) {
            return self.unauthorized(ask);
        }
        let mut text = Vec::new();
        // What can't be read is not told.
        let _ = response.body.by_ref().take(MAX_DETAIL).read_to_end(&mut text);
        RegistryError::Status {
            registry: self.registry.clone(),
            what: ask.what.clone(),
            status: response.status,
            detail: detail(&text),
        }
    }

    /// Waits before the next of several tries.
    pub fn pause(&self, attempt: u32, asked: Option<Duration>) -> Result<(), RegistryError> {
        let wait = asked.unwrap_or(self.patience * 2_u32.saturating_pow(attempt)).min(MAX_WAIT);
        let end = Instant::now() + wait;
        while Instant::now() < end {
            if self.cancel.is_set() {
                return Err(RegistryError::Cancelled);
            }
            std::thread::sleep((end - Instant::now()).min(Duration::from_millis(50)));
        }
        Ok(())
    }

    pub fn net(&self, source: NetError) -> RegistryError {
        match source {
            NetError::Cancelled => RegistryError::Cancelled,
            source => RegistryError::Net { registry: self.registry.clone(), source },
        }
    }

    fn request(&self, ask: &Ask<'_>, authorization: Option<String>) -> Request {
        Request {
            method: ask.method,
            url: ask.url.clone(),
            named: Some(self.base.clone()),
            headers: ask.headers.clone(),
            authorization,
            payload: ask.payload.clone(),
            may_downgrade: false,
            time_limit: TIME_LIMIT,
        }
    }

    fn patiently(&self, request: &Request) -> Result<Response, RegistryError> {
        let mut attempt = 0;
        loop {
            let result = self.http.send(request, &self.cancel);
            let wait = match &result {
                Ok(response) if is_passing(response.status) => Some(retry_after(response)),
                Err(NetError::Failed { .. } | NetError::TimedOut { .. } | NetError::Stalled { .. }) => Some(None),
                _ => None,
            };
            let Some(asked) = wait.filter(|_| attempt < RETRIES) else { return result.map_err(|e| self.net(e)) };
            self.pause(attempt, asked)?;
            attempt += 1;
        }
    }

    /// What the registry wants to know, from what it answered to somebody who did not say.
    fn learn(&self, ask: &Ask<'_>, response: &Response) -> Result<(), RegistryError> {
        let challenge = auth::choose(response.headers("www-authenticate")).ok_or_else(|| self.unauthorized(ask))?;
        if let Challenge::Bearer { realm, .. } = &challenge
            && self.base.is_https()
            && !realm.is_https()
        {
            let reason = "it asks for credentials to be sent in the clear".to_owned();
            return Err(RegistryError::Contents { place: format!("registry {}", self.registry), reason });
        }
        *self.challenge.lock().unwrap_or_else(PoisonError::into_inner) = challenge;
        Ok(())
    }

    fn authorization(&self, ask: &Ask<'_>) -> Result<Option<String>, RegistryError> {
        let challenge = self.challenge.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (realm, service) = match challenge {
            Challenge::None => return Ok(None),
            Challenge::Basic => return Ok(self.credential.as_ref().and_then(basic)),
            Challenge::Bearer { realm, service } => (realm, service),
        };
        if let Some(Credential::Bearer(token)) = &self.credential {
            return Ok(Some(format!("Bearer {token}")));
        }
        let key = ask.scopes.join(" ");
        if let Some(token) = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Some(format!("Bearer {token}")));
        }
        let token = self.token(ask, &realm, service.as_deref())?;
        let value = format!("Bearer {token}");
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(key, token);
        Ok(Some(value))
    }

    fn token(&self, ask: &Ask<'_>, realm: &Url, service: Option<&str>) -> Result<String, RegistryError> {
        let wrong = |reason: &str| RegistryError::Contents {
            place: format!("the token service {} of registry {}", realm.host(), self.registry),
            reason: reason.to_owned(),
        };
        let (url, form) = auth::token_request(realm, service, ask.scopes, self.credential.as_ref());
        let url = Url::parse(&url).map_err(|e| wrong(&e.to_string()))?;
        let mut get = Ask::new(Method::Get, url, &[], ask.what.clone());
        let mut authorization = self.credential.as_ref().and_then(basic);
        if let Some(form) = form {
            get.method = Method::Post;
            get.payload = Payload::Bytes(Arc::from(form.into_bytes()));
            get.headers.push(("content-type", "application/x-www-form-urlencoded".into()));
            authorization = None;
        }
        let response = self.patiently(&self.request(&get, authorization))?;
        match response.status {
            200 => {}
            400 | 401 | 403 => return Err(self.unauthorized(ask)),
            _ => return Err(self.refused(&get, response)),
        }
        let mut text = Vec::new();
        response.body.take(MAX_TOKEN).read_to_end(&mut text).map_err(|e| wrong(&e.to_string()))?;
        let answer: TokenAnswer = serde_json::from_slice(&text).map_err(|_| wrong("its answer is not valid"))?;
        answer.token().ok_or_else(|| wrong("its answer holds no token"))
    }

    fn unauthorized(&self, ask: &Ask<'_>) -> RegistryError {
        let known = self.credential.is_some();
        RegistryError::Unauthorized { registry: self.registry.clone(), what: ask.what.clone(), known }
    }
}

fn basic(credential: &Credential) -> Option<String> {
    let Credential::Password { user, password } = credential else { return None };
    Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))))
}

/// Whether asking again later may help.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// How long the server asks to be left alone: a number of seconds, or a moment (RFC 9110, 10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.header("retry-after")?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(moment.duration_since(jiff::Timestamp::now()).try_into().unwrap_or(Duration::ZERO))
}

/// What a registry says of an error (distribution-spec, "Error Codes"), fit for a line.
fn detail(body: &[u8]) -> String {
    let document: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let first = document.as_ref().and_then(|d| d.get("errors")).and_then(|e| e.get(0));
    let field = |name: &str| first.and_then(|e| e.get(name)).and_then(|v| v.as_str()).unwrap_or_default();
    let text = format!("{} {}", field("code"), field("message"));
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(200).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}
