//! Blobs that come late, in pieces, wrongly or never.

use super::server::*;
use crate::export::fixture::store;
use crate::registry::{Host, Keyring, Settings};
use std::time::{Duration, Instant};

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

/// The longest blob from where the client asks for it.
fn rest(blob: &[u8], seen: &Seen) -> (usize, Vec<u8>) {
    let at = seen.field("range").map_or(0, |r| r["bytes=".len()..r.len() - 1].parse::<usize>().unwrap());
    let status = if at > 0 { "206 Partial Content" } else { "200 OK" };
    (at, answer(status, "", &blob[at..]))
}

#[test]
fn a_server_without_ranges_gives_the_whole_again_and_what_is_known_goes_by() {
    for refuses in [false, true] {
        let (origin, ..) = full();
        let digest = longest(&origin);
        let blob = origin.blob(&digest);
        let simple = server(move |seen, earlier| {
            let whole = answer("200 OK", "", &blob);
            match (seen.is("GET", &digest), earlier) {
                (false, _) => None,
                (true, 0) => Some(whole[..whole.len() - 1000].to_vec()),
                (true, _) if refuses && seen.field("range").is_some() => {
                    Some(answer("416 Range Not Satisfiable", "", b""))
                }
                (true, _) => Some(whole),
            }
        })
        .holding(&origin);
        let test = store();
        simple.pull(&test).unwrap();
        assert!(simple.seen().iter().any(|s| s.field("range").is_some()));
    }
}

#[test]
fn another_part_than_was_asked_for_is_refused() {
    let (origin, ..) = full();
    let digest = longest(&origin);
    let blob = origin.blob(&digest);
    let odd = server(move |seen, earlier| {
        let (at, whole) = rest(&blob, seen);
        match (seen.is("GET", &digest), earlier) {
            (false, _) => None,
            (true, 0) => Some(whole[..whole.len() / 2].to_vec()),
            (true, _) => {
                let range = format!("Content-Range: bytes 0-{}/{}\r\n", blob.len() - at - 1, blob.len());
                Some(answer("206 Partial Content", &range, &blob[..blob.len() - at]))
            }
        }
    })
    .holding(&origin);
    let error = odd.pull(&store()).unwrap_err();
    assert!(error.is_network() && error.to_string().contains("another part"), "{error}");
}

#[test]
fn a_stalled_transfer_is_cut_and_resumed_and_a_slow_one_is_borne() {
    let (origin, ..) = full();
    let digest = longest(&origin);
    let blob = origin.blob(&digest);
    let (wanted, bytes) = (digest.clone(), blob.clone());
    let stalling = paced(move |seen, earlier| {
        let (_, whole) = rest(&bytes, seen);
        let half = || Reply::stalled(whole[..whole.len() / 2].to_vec());
        (seen.is("GET", &wanted)).then(|| if earlier == 0 { half() } else { whole.clone().into() })
    })
    .holding(&origin);
    let short = Settings { stall: Duration::from_millis(700), ..settings() };
    let begun = Instant::now();
    stalling.pull_with(&store(), &Keyring::default(), short.clone()).unwrap();
    assert!(begun.elapsed() > Duration::from_millis(700));
    assert!(stalling.seen().iter().any(|s| s.field("range").is_some()), "only the rest is asked for again");

    let slow = paced(move |seen, _| {
        let whole = answer("200 OK", "", &blob);
        let piece = whole.len() / 20;
        seen.is("GET", &digest).then(|| Reply::slow(whole, piece, Duration::from_millis(60)))
    })
    .holding(&origin);
    let begun = Instant::now();
    slow.pull_with(&store(), &Keyring::default(), short).unwrap();
    assert!(begun.elapsed() > Duration::from_millis(1100), "longer than a silence may last");
    assert!(slow.seen().iter().all(|s| s.field("range").is_none()));
}

#[test]
fn a_silent_server_is_given_up() {
    let silent = paced(|_, _| Some(Reply::stalled(Vec::new())));
    let short = Settings { stall: Duration::from_millis(100), ..settings() };
    let test = store();
    let error = silent.pull_with(&test, &Keyring::default(), short).unwrap_err();
    assert!(error.is_network() && error.to_string().contains("was silent for 0.1 s"), "{error}");
    assert_clean(&test, "silent");
}

#[test]
fn retry_after_is_kept_to_and_patience_has_an_end() {
    let (origin, ..) = full();
    let busy = server(|seen, earlier| {
        let first = seen.is("GET", "/manifests/1") && earlier == 0;
        first.then(|| answer("429 Too Many Requests", "Retry-After: 1\r\n", b""))
    })
    .holding(&origin);
    let begun = Instant::now();
    busy.pull(&store()).unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    // A moment that has passed asks for no more patience.
    let date = server(|seen, earlier| {
        let first = seen.is("GET", "/manifests/1") && earlier == 0;
        first.then(|| answer("503 Unavailable", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n", b""))
    })
    .holding(&origin);
    date.pull(&store()).unwrap();
    let broken = server(|seen, _| seen.is("GET", "/blobs/").then(|| answer("500 Oops", "", b""))).holding(&origin);
    let test = store();
    let error = broken.pull(&test).unwrap_err();
    assert!(error.is_network() && error.to_string().contains("status 500") && !error.help().is_empty(), "{error}");
    assert_clean(&test, "500");
}

/// What has come of a blob is kept when a pull fails for want of the rest, and is not asked for again by the next one.
#[test]
fn the_next_pull_goes_on_where_a_failed_one_ended() {
    let (origin, ..) = full();
    let digest = longest(&origin);
    let (blob, wanted) = (origin.blob(&digest), digest.clone());
    let half = blob.len() / 2;
    let dying = || {
        let (blob, wanted) = (blob.clone(), wanted.clone());
        let dies = move |seen: &Seen, earlier| {
            let whole = answer("200 OK", "", &blob);
            let head = whole.len() - blob.len();
            seen.is("GET", &wanted).then(|| if earlier == 0 { whole[..head + half].to_vec() } else { Vec::new() })
        };
        server(dies).holding(&origin)
    };
    let test = store();
    dying().pull(&test).unwrap_err();
    assert_eq!(test.store.refs().unwrap(), []);
    let sound = server(|_, _| None).holding(&origin);
    sound.pull(&test).unwrap();
    let asked: Vec<Option<String>> =
        sound.seen().iter().filter(|s| s.is("GET", &digest)).map(|s| s.field("range")).collect();
    assert_eq!(asked, [Some(format!("bytes={half}-"))]);

    // The same where what was kept has rotted: the digest tells, and the whole is fetched.
    let test = store();
    dying().pull(&test).unwrap_err();
    let kept = test.store.root().join(format!("tmp/{}.partial", &digest["sha256:".len()..]));
    let mut bytes = std::fs::read(&kept).unwrap();
    if let Some(first) = bytes.first_mut() {
        *first ^= 1;
    }
    std::fs::write(&kept, bytes).unwrap();
    sound.pull(&test).unwrap();
    assert!(!kept.exists());
}

#[test]
fn a_mirror_is_asked_first_and_never_believed() {
    let (origin, ..) = full();
    let blob = longest(&origin);
    let working = server(|_, _| None).holding(&origin);
    let lying = server(move |seen, _| seen.is("GET", &blob).then(|| answer("200 OK", "", b"lies"))).holding(&origin);
    let busy = server(|_, _| Some(answer("500 Oops", "", b"")));
    let empty = server(|_, _| None);
    let guarded = server(|_, _| Some(answer("401 Unauthorized", "WWW-Authenticate: Basic\r\n", b"")));
    let wrong_document = server(|seen, _| {
        seen.is("GET", "/manifests/").then(|| answer("200 OK", "Content-Type: text/html\r\n", b"<html>"))
    });
    let down = "127.0.0.1:1".to_owned();
    for (mirror, helps) in [
        (&working.host, true),
        (&lying.host, false),
        (&busy.host, false),
        (&empty.host, false),
        (&guarded.host, false),
        (&wrong_document.host, false),
        (&down, false),
    ] {
        let source = server(|_, _| None).holding(&origin);
        let host = Host { mirrors: vec![mirror.clone()], ..Host::default() };
        let settings = Settings { hosts: [(source.host.clone(), host)].into(), ..settings() };
        let test = store();
        source.pull_with(&test, &Keyring::default(), settings).unwrap();
        assert_eq!(source.seen().is_empty(), helps, "{mirror}");
        assert_eq!(test.store.refs().unwrap()[0].0, source.name().to_string(), "named as asked for, not as found");
    }
}

/// Nobody but the user says which image a digest means.
#[test]
fn a_mirror_that_has_another_image_under_a_digest_is_passed_over() {
    let (origin, ..) = full();
    let pulled = origin.pull(&store()).unwrap();
    let other = full_of("other");
    let bytes = other.state.lock().unwrap().contents["a/b/manifests/1"].clone();
    let lying = server(|_, _| None).holding(&other);
    lying.state.lock().unwrap().contents.insert(format!("a/b/manifests/{}", pulled.digest), bytes);
    let host = Host { mirrors: vec![lying.host.clone()], ..Host::default() };
    let settings = Settings { hosts: [(origin.host.clone(), host)].into(), ..settings() };
    let name = format!("{}/a/b@{}", origin.host, pulled.digest).parse().unwrap();
    let found = origin.pull_named(&store(), &name, settings).unwrap();
    assert_eq!(found.image.id, pulled.image.id);
    assert!(!lying.seen().is_empty());
}
