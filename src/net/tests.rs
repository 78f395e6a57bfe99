//! The client against servers of this process.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Mutex;

/// A server that answers each request by its first line, and remembers what it was asked.
struct Server {
    base: String,
    seen: Arc<Mutex<Vec<String>>>,
}

fn server(answer: impl Fn(&str) -> String + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut head).is_ok_and(|n| n > 2) {}
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            log.lock().unwrap().push(head);
            let _ = stream.write_all(answer(&path).as_bytes());
        }
    });
    Server { base, seen }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn request(url: &str) -> Request {
    Request {
        method: Method::Get,
        url: Url::parse(url).unwrap(),
        headers: vec![("x-test", "1".into())],
        authorization: None,
        named: None,
        payload: Payload::None,
        may_downgrade: false,
        time_limit: Duration::from_secs(20),
    }
}

fn text(response: &mut Response) -> String {
    let mut text = String::new();
    response.body.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn redirects_are_followed_and_credentials_stay_with_their_origin() {
    let other = server(|_| ok("from the other"));
    let target = format!("{}/there", other.base);
    let first = server(move |path| match path {
        "/go" => redirect("near"),
        "/near" => redirect(&target),
        _ => ok(""),
    });
    let named = |path: &str| first.base.replace("http://", "http://me:secret@") + path;
    let mut response = Client::default().send(&request(&named("")), &Cancel::new()).unwrap();
    assert_eq!((response.status, text(&mut response).as_str()), (200, ""));
    let mut response = Client::default().send(&request(&named("/go")), &Cancel::new()).unwrap();
    assert_eq!((response.status, text(&mut response).as_str()), (200, "from the other"));
    assert_eq!(response.url.to_string(), format!("{}/there", other.base));
    let has = |head: &String, field: &str| head.to_ascii_lowercase().contains(field);
    let first = first.seen.lock().unwrap();
    assert_eq!(first.len(), 3);
    assert!(first.iter().all(|head| has(head, "authorization: basic bwu6c2vjcmv0")), "{first:?}");
    let other = other.seen.lock().unwrap();
    assert!(!has(&other[0], "authorization") && has(&other[0], "x-test: 1"), "{other:?}");
}

#[test]
fn what_does_not_end_or_answer_is_an_error_that_names_the_host() {
    let looping = server(|_| redirect("/again"));
    let short = server(|_| "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nshort".to_owned());
    let ftp = server(|_| redirect("ftp://h/x"));
    let send = |base: &str| Client::default().send(&request(base), &Cancel::new());
    let error = send(&looping.base).unwrap_err().to_string();
    assert!(error.contains("more than 10 redirects"), "{error}");
    let error = send(&ftp.base).unwrap_err().to_string();
    assert!(error.contains("scheme is 'ftp'"), "{error}");
    let error = send(&short.base).unwrap().body.read_to_end(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("cannot reach 127.0.0.1:"), "{error}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = send(&format!("http://{closed}/")).unwrap_err().to_string();
    assert!(error.contains(&closed.to_string()) && error.to_lowercase().contains("refused"), "{error}");
}

#[test]
fn waiting_ends_with_the_time_or_when_it_is_called_off() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    let patient = Request { time_limit: Duration::from_millis(200), ..request(&base) };
    let error = Client::default().send(&patient, &Cancel::new()).unwrap_err();
    assert!(matches!(error, NetError::TimedOut { .. }), "{error}");
    let cancel = Cancel::new();
    cancel.cancel();
    assert!(matches!(Client::default().send(&request(&base), &cancel), Err(NetError::Cancelled)));
}

#[test]
fn only_someone_who_names_this_machine_is_led_about_on_it() {
    let url = |text: &str| Url::parse(text).unwrap();
    for (named, next, expected) in [
        ("http://example.org/", "http://example.org/x", Reach::Anywhere),
        ("http://example.org/", "http://localhost/x", Reach::Away),
        ("http://example.org/", "http://other.example/x", Reach::Away),
        ("http://127.0.0.1:1/", "http://127.0.0.1:2/x", Reach::Anywhere),
        ("http://localhost/", "http://127.0.0.1/x", Reach::Anywhere),
    ] {
        assert_eq!(reach(&url(named), &url(next)), expected, "{named} to {next}");
    }
}
