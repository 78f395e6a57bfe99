//! Objects of one bucket: get, look, put, in parts where they are large.

use super::S3Error;
use super::credentials::{Bucket, Settled};
use crate::base::{Cancel, parallel};
use crate::net::{Body, Client, Method, NetError, Payload, Request, Response, Url};
use rusty_s3::actions::{CompleteMultipartUpload, CompleteMultipartUploadResponse, CreateMultipartUpload};
use rusty_s3::{Credentials, S3Action, UrlStyle};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a request is sent again at most.
const RETRIES: u32 = 5;
/// The first wait before that; each further one is twice as long.
const PATIENCE: Duration = Duration::from_millis(250);
/// Longest wait, whatever the server asks for.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// How long one request may take: that of a large part over a slow line.
const TIME_LIMIT: Duration = Duration::from_secs(3600);
/// How long a signed address holds.
const VALID: Duration = Duration::from_secs(3600);
/// Objects beyond this are sent in parts, in bytes.
const ONE_PART: u64 = 64 << 20;
/// Least size of such a part, in bytes; the protocol's least is 5 MiB.
const PART: u64 = 16 << 20;
/// Most parts that the protocol allows.
const MAX_PARTS: u64 = 10_000;
/// Parts that are sent at once.
const WORKERS: usize = 4;
/// How much is read of an answer that is no object, in bytes.
const MAX_DETAIL: u64 = 64 << 10;

/// The objects of a bucket.
#[derive(Debug)]
pub struct Objects {
    bucket: rusty_s3::Bucket,
    name: String,
    /// For messages.
    endpoint: String,
    credentials: Option<Credentials>,
    http: Client,
    cancel: Cancel,
    /// Whether the server has answered: one that never did is down, and not worth the wait.
    reached: AtomicBool,
}

/// A request before it is signed.
struct Ask<'a> {
    method: Method,
    /// A signed address; made anew for each try.
    sign: &'a (dyn Fn() -> String + Sync),
    headers: Vec<(&'static str, String)>,
    payload: Payload,
    /// For people, an infinitive.
    what: String,
}

/// What became of a conditional put.
enum Outcome {
    Done,
    /// There is an object of that key.
    There,
    /// The server does not know conditions.
    Unknown,
}

impl Objects {
    /// The objects of a bucket; nothing is asked yet.
    ///
    /// # Errors
    /// The address is none, or the user's files cannot be read.
    pub fn open(bucket: &Bucket, cancel: &Cancel) -> Result<Objects, S3Error> {
        let Settled { region, endpoint, path_style, secret } = bucket.settle()?;
        let wrong = |reason: String| S3Error::Bucket { bucket: bucket.name.clone(), reason };
        let url = Url::parse(&endpoint).map_err(|e| wrong(format!("its endpoint: {e}")))?;
        if url.user().is_some() {
            return Err(wrong("its endpoint holds credentials; give them by their own keys".into()));
        }
        let shown = format!("{}:{}", url.host(), url.port());
        let parsed = endpoint.parse().map_err(|e| wrong(format!("its endpoint: {e}")))?;
        let style = if path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let signer =
            rusty_s3::Bucket::new(parsed, style, bucket.name.clone(), region).map_err(|e| wrong(e.to_string()))?;
        let credentials = secret.map(|secret| match secret.token {
            Some(token) => Credentials::new_with_token(secret.key_id, secret.key, token),
            None => Credentials::new(secret.key_id, secret.key),
        });
        Ok(Objects {
            bucket: signer,
            name: bucket.name.clone(),
            endpoint: shown,
            credentials,
            http: Client::default(),
            cancel: cancel.clone(),
            reached: AtomicBool::new(false),
        })
    }

    fn who(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// The content of an object, as it comes; a connection that is cut is taken up where it ended. `None`: there is no such
    /// object.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub fn get<'o>(&'o self, key: &str) -> Result<Option<Download<'o>>, S3Error> {
        let mut download = Download { objects: self, key: key.to_owned(), body: None, at: 0, length: None, strikes: 0 };
        Ok(download.ask()?.then_some(download))
    }

    /// The length of an object in bytes; `None`: there is no such object.
    ///
    /// # Errors
    /// As [`Objects::get`].
    pub fn length(&self, key: &str) -> Result<Option<u64>, S3Error> {
        let ask = Ask {
            method: Method::Head,
            sign: &|| self.bucket.head_object(self.who(), key).sign(VALID).into(),
            headers: Vec::new(),
            payload: Payload::None,
            what: format!("tell of {key}"),
        };
        let response = self.send(&ask)?;
        match response.status {
            200 => Ok(length(&response)),
            404 => Ok(None),
            _ => Err(self.refused(&ask, response)),
        }
    }

    /// Puts a small object there, in place of any other.
    ///
    /// # Errors
    /// As [`Objects::get`].
    pub fn put_bytes(&self, key: &str, bytes: &[u8]) -> Result<(), S3Error> {
        self.put(key, Payload::Bytes(Arc::from(bytes)), false).map(drop)
    }

    /// Puts a file there whose contents are known by the object's key: one of the same length that is there stays.
    ///
    /// # Errors
    /// As [`Objects::get`]; and the file cannot be read.
    pub fn put_file(&self, key: &str, file: &Path, length: u64) -> Result<(), S3Error> {
        if length > ONE_PART {
            return self.put_parts(key, file, length);
        }
        let payload = || Payload::File { path: file.to_owned(), offset: 0, length, transfer: None };
        match self.put(key, payload(), true)? {
            Outcome::Done => Ok(()),
            Outcome::There if self.length(key)? == Some(length) => Ok(()),
            // What is there was cut off, or the server does not know conditions.
            Outcome::There | Outcome::Unknown => self.put(key, payload(), false).map(drop),
        }
    }

    fn put(&self, key: &str, payload: Payload, unless_there: bool) -> Result<Outcome, S3Error> {
        let condition = unless_there.then_some(("if-none-match", "*"));
        let ask = Ask {
            method: Method::Put,
            sign: &|| {
                let mut action = self.bucket.put_object(self.who(), key);
                if let Some((name, value)) = condition {
                    action.headers_mut().insert(name, value);
                }
                action.sign(VALID).into()
            },
            headers: condition.into_iter().map(|(name, value)| (name, value.to_owned())).collect(),
            payload,
            what: format!("take {key}"),
        };
        let response = self.send(&ask)?;
        match response.status {
            200 | 201 | 204 => Ok(Outcome::Done),
            412 if unless_there => Ok(Outcome::There),
            // 409: somebody is putting it there right now, or has just.
            409 if unless_there => Ok(Outcome::Unknown),
            400 | 501 if unless_there => Ok(Outcome::Unknown),
            _ => Err(self.refused(&ask, response)),
        }
    }

    fn put_parts(&self, key: &str, file: &Path, length: u64) -> Result<(), S3Error> {
        let ask = Ask {
            method: Method::Post,
            sign: &|| self.bucket.create_multipart_upload(self.who(), key).sign(VALID).into(),
            headers: Vec::new(),
            payload: Payload::None,
            what: format!("take {key} in parts"),
        };
        let answer = self.answer(&ask)?;
        let upload = CreateMultipartUpload::parse_response(&answer)
            .map_err(|_| self.wrong(key, "the server names no upload".into()))?;
        let id = upload.upload_id();
        let sent = self.send_parts(key, id, file, length).and_then(|tags| self.complete(key, id, &tags));
        if sent.is_err() {
            let abort = || self.bucket.abort_multipart_upload(self.who(), key, id).sign(VALID).into();
            let what = "give up parts".to_owned();
            let (headers, payload) = (Vec::new(), Payload::None);
            // What is left behind is swept up by the bucket's own rules.
            let _ = self.send(&Ask { method: Method::Delete, sign: &abort, headers, payload, what });
        }
        sent
    }

    fn send_parts(&self, key: &str, id: &str, file: &Path, length: u64) -> Result<Vec<String>, S3Error> {
        let size = PART.max(length.div_ceil(MAX_PARTS));
        let parts: Vec<(u16, u64)> = (1..=u16::MAX).zip((0..length).step_by(size as usize)).collect();
        parallel::try_map(WORKERS, &parts, |&(number, offset)| {
            let length = size.min(length - offset);
            let ask = Ask {
                method: Method::Put,
                sign: &|| self.bucket.upload_part(self.who(), key, number, id).sign(VALID).into(),
                headers: Vec::new(),
                payload: Payload::File { path: file.to_owned(), offset, length, transfer: None },
                what: format!("take part {number} of {key}"),
            };
            let response = self.send(&ask)?;
            match (response.status, response.header("etag")) {
                (200, Some(tag)) => Ok(tag.to_owned()),
                (200, None) => Err(self.wrong(key, format!("the server gives no tag of part {number}"))),
                _ => Err(self.refused(&ask, response)),
            }
        })
    }

    fn complete(&self, key: &str, id: &str, tags: &[String]) -> Result<(), S3Error> {
        let action =
            || CompleteMultipartUpload::new(&self.bucket, self.who(), key, id, tags.iter().map(String::as_str));
        let ask = Ask {
            method: Method::Post,
            sign: &|| action().sign(VALID).into(),
            headers: Vec::new(),
            payload: Payload::Bytes(Arc::from(action().body().into_bytes())),
            what: format!("put the parts of {key} together"),
        };
        let answer = self.answer(&ask)?;
        // 200 is sent before the server knows whether it will do.
        CompleteMultipartUploadResponse::parse(&answer)
            .map(drop)
            .map_err(|_| self.wrong(key, format!("its parts were not put together{}", detail(answer.as_bytes()))))
    }

    /// The text of an answer that is no object.
    fn answer(&self, ask: &Ask<'_>) -> Result<String, S3Error> {
        let response = self.send(ask)?;
        if response.status != 200 {
            return Err(self.refused(ask, response));
        }
        let mut text = String::new();
        let read = response.body.take(MAX_DETAIL).read_to_string(&mut text);
        read.map_err(|e| self.unreachable(e.to_string()))?;
        Ok(text)
    }

    /// Sends a request, and again after 429, 5xx and broken connections.
    fn send(&self, ask: &Ask<'_>) -> Result<Response, S3Error> {
        let mut attempt = 0;
        loop {
            let url = Url::parse(&(ask.sign)()).map_err(|e| self.unreachable(e.to_string()))?;
            let request = Request {
                method: ask.method,
                url,
                named: None,
                headers: ask.headers.clone(),
                authorization: None,
                payload: ask.payload.clone(),
                may_downgrade: false,
                time_limit: TIME_LIMIT,
            };
            let result = self.http.send(&request, &self.cancel);
            let wait = match &result {
                Ok(response) => {
                    self.reached.store(true, Ordering::Relaxed);
                    let passing = matches!(response.status, 408 | 429 | 500 | 502 | 503 | 504);
                    passing.then(|| response.header("retry-after").and_then(|t| t.trim().parse().ok()))
                }
                Err(NetError::Failed { .. } | NetError::TimedOut { .. }) if self.reached.load(Ordering::Relaxed) => {
                    Some(None)
                }
                Err(_) => None,
            };
            match wait.filter(|_| attempt < RETRIES) {
                Some(asked) => self.pause(attempt, asked.map(Duration::from_secs))?,
                None => return result.map_err(|error| self.net(&error)),
            }
            attempt += 1;
        }
    }

    /// Waits before the next of several tries.
    fn pause(&self, attempt: u32, asked: Option<Duration>) -> Result<(), S3Error> {
        let end = Instant::now() + asked.unwrap_or(PATIENCE * 2_u32.saturating_pow(attempt)).min(MAX_WAIT);
        while Instant::now() < end {
            if self.cancel.is_set() {
                return Err(S3Error::Cancelled);
            }
            std::thread::sleep((end - Instant::now()).min(Duration::from_millis(50)));
        }
        Ok(())
    }

    /// Without the address, which is signed.
    fn net(&self, error: &NetError) -> S3Error {
        match error {
            NetError::Cancelled => S3Error::Cancelled,
            NetError::Redirect { reason, .. } => self.unreachable(format!("it redirects elsewhere: {reason}")),
            other => self.unreachable(other.to_string()),
        }
    }

    fn unreachable(&self, reason: String) -> S3Error {
        S3Error::Net { endpoint: self.endpoint.clone(), reason }
    }

    fn wrong(&self, key: &str, reason: String) -> S3Error {
        S3Error::Contents { bucket: self.name.clone(), key: key.to_owned(), reason }
    }

    /// The error for an answer that is of no use.
    fn refused(&self, ask: &Ask<'_>, mut response: Response) -> S3Error {
        let mut text = Vec::new();
        // What can't be read is not told.
        let _ = response.body.by_ref().take(MAX_DETAIL).read_to_end(&mut text);
        let (bucket, what, detail) = (self.name.clone(), ask.what.clone(), detail(&text));
        let code = tag(&text, "Code").unwrap_or_default();
        match response.status {
            404 if code == "NoSuchBucket" || ask.method != Method::Get => {
                S3Error::NoBucket { bucket, endpoint: self.endpoint.clone() }
            }
            301 | 307 => {
                let region = response.header("x-amz-bucket-region").map(clean);
                S3Error::Elsewhere { bucket, region }
            }
            401 | 403 => S3Error::Denied { bucket, what, detail, known: self.credentials.is_some() },
            status => S3Error::Status { bucket, what, status, detail },
        }
    }
}

fn length(response: &Response) -> Option<u64> {
    response.header("content-length")?.trim().parse().ok()
}

/// What a server says of an error (API Reference, "REST Error Responses"), fit for a line: its code and message. The rest may
/// repeat what was signed.
fn detail(body: &[u8]) -> String {
    let parts: Vec<String> = ["Code", "Message"].into_iter().filter_map(|name| tag(body, name)).collect();
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}

/// The text of the first element of a name.
fn tag(body: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    Some(clean(value)).filter(|value| !value.is_empty())
}

fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// An object on its way.
#[derive(Debug)]
pub struct Download<'o> {
    objects: &'o Objects,
    key: String,
    body: Option<Body>,
    /// Bytes read.
    at: u64,
    /// How many there are, if the server said.
    length: Option<u64>,
    /// Connections in a row that gave nothing.
    strikes: u32,
}

impl Download<'_> {
    /// Asks for the object from where the last connection ended; whether it is there.
    fn ask(&mut self) -> Result<bool, S3Error> {
        let Download { objects, key, .. } = self;
        let range = (self.at > 0).then(|| ("range", format!("bytes={}-", self.at)));
        let ask = Ask {
            method: Method::Get,
            sign: &|| objects.bucket.get_object(objects.who(), key).sign(VALID).into(),
            headers: range.into_iter().collect(),
            payload: Payload::None,
            what: format!("give {key}"),
        };
        let response = objects.send(&ask)?;
        match response.status {
            200 if self.at == 0 => self.length = length(&response),
            206 if self.at > 0 => {
                let starts = format!("bytes {}-", self.at);
                if response.header("content-range").is_some_and(|r| !r.starts_with(&starts)) {
                    return Err(objects.wrong(key, "another part of it was sent than was asked for".into()));
                }
            }
            200 => return Err(objects.wrong(key, "it was cut off, and the server knows no ranges".into())),
            404 => {
                // Only an object is missing in a bucket that is there.
                return match objects.refused(&ask, response) {
                    S3Error::NoBucket { bucket, endpoint } => Err(S3Error::NoBucket { bucket, endpoint }),
                    _ => Ok(false),
                };
            }
            _ => return Err(objects.refused(&ask, response)),
        }
        self.body = Some(response.body);
        Ok(true)
    }
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let reason = match self.body.as_mut().map(|body| body.read(buffer)) {
                Some(Ok(0)) if self.length.is_none_or(|length| self.at >= length) => return Ok(0),
                Some(Ok(0)) | None => "the connection was closed".to_owned(),
                Some(Ok(n)) => {
                    self.at += n as u64;
                    self.strikes = 0;
                    return Ok(n);
                }
                Some(Err(e)) => e.to_string(),
            };
            self.body = None;
            self.strikes += 1;
            if self.strikes > RETRIES {
                let reason = format!("it ends after {} bytes: {reason}", self.at);
                return Err(io::Error::other(self.objects.wrong(&self.key, reason)));
            }
            self.objects.pause(self.strikes - 1, None).map_err(io::Error::other)?;
            if !self.ask().map_err(io::Error::other)? {
                return Err(io::Error::other(self.objects.wrong(&self.key, "it is gone".into())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::Secret;
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::sync::Mutex;

    type Answer = dyn Fn(usize, &str) -> Vec<u8> + Send + Sync;

    /// A server that answers its nth request as told, and what it was asked.
    fn server(answer: Arc<Answer>) -> (Objects, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let heads = asked.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let head = head(&mut stream);
                let nth = {
                    let mut heads = heads.lock().unwrap();
                    heads.push(head.clone());
                    heads.len()
                };
                let _ = stream.write_all(&answer(nth, &head));
            }
        });
        let secret = Some(Secret { key_id: "KEYID".into(), key: "SECRETKEY".into(), token: Some("TOKEN".into()) });
        let bucket = Bucket { name: "b".into(), endpoint: Some(endpoint), secret, ..Bucket::default() };
        (Objects::open(&bucket, &Cancel::new()).unwrap(), asked)
    }

    fn head(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
            bytes.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&bytes).into_owned();
        let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        let _ = stream.read_exact(&mut body);
        head
    }

    fn response(status: &str, headers: &str, length: usize, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}")
            .into_bytes()
    }

    fn read(download: Option<Download<'_>>) -> Result<String, String> {
        let mut text = String::new();
        download.ok_or("absent")?.read_to_string(&mut text).map_err(|e| e.to_string())?;
        Ok(text)
    }

    #[test]
    fn a_cut_object_is_taken_up_where_it_ended() {
        let (objects, asked) = server(Arc::new(|nth, _| match nth {
            1 => response("200 OK", "", 6, "abc"),
            _ => response("206 Partial", "content-range: bytes 3-5/6\r\n", 3, "def"),
        }));
        assert_eq!(read(objects.get("k").unwrap()).unwrap(), "abcdef");
        assert!(asked.lock().unwrap()[1].to_ascii_lowercase().contains("range: bytes=3-"));
    }

    #[test]
    fn passing_failures_are_tried_again_and_lasting_ones_told_without_credentials() {
        let (objects, asked) = server(Arc::new(|nth, _| match nth {
            1 => response("503 Slow Down", "retry-after: 0\r\n", 0, ""),
            2 => response("200 OK", "", 2, "ok"),
            3 => {
                let body = "<Error><Code>SignatureDoesNotMatch</Code><Message>no\u{1b}</Message>\
                            <AWSAccessKeyId>KEYID</AWSAccessKeyId></Error>";
                response("403 Forbidden", "", body.len(), body)
            }
            4 => response("404 Not Found", "", 38, "<Error><Code>NoSuchBucket</Code></Error>"),
            5 => response("301 Moved", "x-amz-bucket-region: eu-west-1\r\n", 0, ""),
            _ => response("404 Not Found", "", 0, ""),
        }));
        assert_eq!(read(objects.get("k").unwrap()).unwrap(), "ok");
        let denied = objects.get("k").unwrap_err();
        let shown = format!("{denied} {denied:?} {objects:?}");
        assert!(denied.to_string().contains("SignatureDoesNotMatch, no"), "{denied}");
        for secret in ["SECRETKEY", "TOKEN", "X-Amz-Signature"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(matches!(objects.get("k"), Err(S3Error::NoBucket { .. })));
        let elsewhere = objects.get("k").unwrap_err().to_string();
        assert!(elsewhere.contains("region=eu-west-1"), "{elsewhere}");
        assert!(objects.get("k").unwrap().is_none() && objects.length("k").unwrap().is_none());
        assert!(asked.lock().unwrap()[0].contains("X-Amz-Security-Token=TOKEN"));
    }

    #[test]
    fn what_is_there_stays_and_what_was_cut_off_is_put_again() {
        for (length, puts) in [(4, 1), (2, 2)] {
            let (objects, asked) = server(Arc::new(move |_, head| match &head[..4] {
                "HEAD" => response("200 OK", "", length, ""),
                _ if head.to_ascii_lowercase().contains("if-none-match: *") => response("412 No", "", 0, ""),
                _ => response("200 OK", "", 0, ""),
            }));
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), "four").unwrap();
            objects.put_file("k", file.path(), 4).unwrap();
            let asked = asked.lock().unwrap();
            assert_eq!(asked.iter().filter(|head| head.starts_with("PUT")).count(), puts, "{asked:?}");
        }
    }

    #[test]
    fn a_server_that_is_down_is_told_at_once() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let endpoint = Some(format!("http://127.0.0.1:{port}"));
        let bucket = Bucket { name: "b".into(), endpoint, ..Bucket::default() };
        let begin = Instant::now();
        let error = Objects::open(&bucket, &Cancel::new()).unwrap().length("k").unwrap_err();
        assert!(matches!(error, S3Error::Net { .. }), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}
