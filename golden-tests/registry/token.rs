//! Pushes and pulls where docker-registry wants tokens: the service that gives them is the test's, the registry checks
//! their signatures, what they are for and how long they hold.

use super::proxy::Proxy;
use super::{NEEDS, Registry, built};
use crate::env::{self, Place, contains, same};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use libtest_mimic::{Failed, Trial};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::json;
use std::io::{BufRead as _, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// How long docker-registry takes a token after its end, in seconds.
const LEEWAY: u64 = 60;
/// What a token holds in truth, in seconds.
const HOLDS: u64 = 2;

pub fn trials() -> Vec<Trial> {
    vec![env::trial("registry::tokens_are_fetched_for_what_is_done_and_anew_when_they_run_out", &NEEDS, tokens)]
}

/// A token service for alice, as docker-registry's documents have it.
struct Service {
    key: RsaKeyPair,
    /// The certificate that the registry trusts, DER in base64.
    certificate: String,
    /// The queries that it answered.
    asked: Mutex<Vec<String>>,
}

impl Service {
    /// Listens; gives the address of tokens.
    fn start(place: &Place) -> Result<(Arc<Service>, String), Failed> {
        let script = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=tokens -days 2 -keyout token.key -out token.pem 2>/dev/null \
                      && openssl pkcs8 -topk8 -nocrypt -in token.key -outform DER -out token.p8 \
                      && openssl x509 -in token.pem -outform DER -out token.der";
        env::check(&["openssl"], &place.command("/bin/sh").args(["-c", script]).output()?)?;
        let key = RsaKeyPair::from_pkcs8(&std::fs::read(place.work().join("token.p8"))?)?;
        let certificate = STANDARD.encode(std::fs::read(place.work().join("token.der"))?);
        let service = Arc::new(Service { key, certificate, asked: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let realm = format!("http://127.0.0.1:{}/token", listener.local_addr()?.port());
        let (answering, address) = (service.clone(), realm.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let service = answering.clone();
                std::thread::spawn(move || service.answer(stream));
            }
        });
        Ok((service, address))
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut head = String::new();
        let mut reader = BufReader::new(&stream);
        while reader.read_line(&mut head).is_ok_and(|n| n > 2) {}
        let query = head.split(' ').nth(1).and_then(|path| path.split_once('?')).map_or("", |(_, query)| query);
        let alice = format!("Basic {}", STANDARD.encode("alice:s3cret"));
        let (status, body) = match head.contains(&alice) {
            true => ("200 OK", json!({"token": self.token(query), "expires_in": HOLDS}).to_string()),
            false => ("401 Unauthorized", String::new()),
        };
        self.asked.lock().expect("the queries").push(query.to_owned());
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    }

    /// A token (RFC 7519) for what a query asks for, that ends soon.
    fn token(&self, query: &str) -> String {
        let plain = |text: &str| text.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
        let scopes = query.split('&').filter_map(|field| field.strip_prefix("scope=")).map(plain);
        let access = scopes.filter_map(|scope| {
            let mut parts = scope.splitn(3, ':');
            let (kind, name, actions) = (parts.next()?, parts.next()?, parts.next()?);
            Some(json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}))
        });
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        let head = json!({"typ": "JWT", "alg": "RS256", "x5c": [self.certificate]});
        let claims = json!({
            "iss": "the test", "aud": "the registry", "sub": "alice", "jti": "1", "iat": now,
            "nbf": now - LEEWAY, "exp": now + HOLDS - LEEWAY, "access": access.collect::<Vec<_>>(),
        });
        let text = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).expect("a signature");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn tokens() -> Result<(), Failed> {
    let place = Place::new();
    let (service, realm) = Service::start(&place)?;
    let further = format!(
        "}}\nauth: {{token: {{realm: \"{realm}\", service: the registry, issuer: the test, rootcertbundle: {}}}}}",
        place.work().join("token.pem").display()
    );
    let registry = Registry::start(&place, &further)?;
    let proxy = Proxy::start(&registry.name)?;
    let host = proxy.name.clone();
    let name = format!("{host}/team/app:1");
    built(&place, &name)?;
    contains(&place.fails(7, &["push", &name])?, "rbuild login")?;

    let login = |password: &str| {
        let script = format!("printf %s {password} | '{}' login -u alice --password-stdin {host}", *env::RBUILD);
        place.command("/bin/sh").args(["-c", &script]).output()
    };
    same("exit code of a wrong login", login("wr0ng")?.status.code(), Some(7))?;
    env::check(&["login"], &login("s3cret")?)?;

    service.asked.lock().expect("the queries").clear();
    proxy.delay_next_upload(HOLDS + 1);
    contains(&place.ok(&["push", &name])?, "(3 blobs sent, 0 present)")?;
    same("an upload waited until its token had ended", proxy.has_delayed(), true)?;
    let asked = std::mem::take(&mut *service.asked.lock().expect("the queries"));
    same("more than one token was asked for", asked.len() > 1, true)?;
    let wanted = "service=the%20registry&scope=repository%3Ateam%2Fapp%3Apull%2Cpush";
    same("what tokens are for", asked.iter().all(|query| query == wanted), true)?;

    // A mount needs to read there, too.
    let other = format!("{host}/other/app:1");
    contains(&place.ok(&["push", &name, &other])?, "(0 blobs sent, 3 present)")?;
    let asked = std::mem::take(&mut *service.asked.lock().expect("the queries")).join("\n");
    contains(&asked, "scope=repository%3Aother%2Fapp%3Apull%2Cpush&scope=repository%3Ateam%2Fapp%3Apull")?;

    place.ok(&["pull", &other])?;
    place.ok(&["logout", &host])?;
    contains(&place.fails(7, &["pull", &other])?, "rbuild login").map(drop)
}
