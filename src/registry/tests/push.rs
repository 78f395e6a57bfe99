//! Uploads.

use super::server::*;
use crate::base::Digest;
use crate::export::fixture::{TestStore, image, layer, store};
use crate::export::images;
use crate::image::Reference;
use crate::registry::Keyring;

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
/// What is asked of the registry for an image that it has: the way there, each blob once, the manifest.
#[test]
fn an_unchanged_image_costs_one_look_for_each_blob() {
    let (server, test, manifest) = full();
    let before = server.seen().len();
    server.push(&test, &manifest).unwrap();
    let methods: Vec<String> = server.seen()[before..].iter().map(|s| s.method.clone()).collect();
    assert_eq!(methods.iter().filter(|m| *m == "HEAD").count(), 3, "{methods:?}");
    assert_eq!(methods.iter().filter(|m| *m == "GET").count(), 1, "{methods:?}");
    assert_eq!(methods.iter().filter(|m| *m == "PUT").count(), 1, "{methods:?}");
    assert_eq!(methods.len(), 5, "{methods:?}");
}

/// The address of an upload may change with each answer, be relative or absolute, and have a query of its own.
#[test]
fn an_upload_is_followed_wherever_it_moves_on_its_own_registry() {
    for chunked in [false, true] {
        for form in ["relative", "absolute", "query"] {
            let moved = server(move |seen, _| {
                let location = |path: &str, host: &str| match form {
                    "relative" => format!("Location: {path}\r\n"),
                    "absolute" => format!("Location: http://{host}{path}\r\n"),
                    _ => format!("Location: {path}?_state=a%2Fb&n=1\r\n"),
                };
                let host = seen.field("host").unwrap_or_default();
                let base = seen.path.split('?').next().unwrap_or_default().to_owned();
                if chunked && seen.is("PUT", "/uploads/") && seen.field("content-length").is_some_and(|l| l != "0") {
                    return Some(answer("413 Payload Too Large", "", b""));
                }
                match seen.method.as_str() {
                    "POST" => Some(answer("202 Accepted", &location(&format!("{base}s1"), &host), b"")),
                    _ => None,
                }
            });
            let test = store();
            let written = image(&test.store, &[layer(&test.store, &["a=1"])], &["x"]);
            moved.push(&test, &written.manifest).unwrap_or_else(|e| panic!("{form}, chunked {chunked}: {e}"));
            let puts: Vec<Seen> = moved.seen().into_iter().filter(|s| s.is("PUT", "/uploads/")).collect();
            let expected = if form == "query" { "?_state=a%2Fb&n=1&digest=sha256%3A" } else { "s1?digest=sha256%3A" };
            assert!(puts.iter().all(|s| chunked || s.path.contains(expected)), "{form}: {puts:?}");
            moved.pull(&store()).unwrap();
        }
    }
}

#[test]
fn a_session_without_an_address_or_with_anothers_gets_nothing() {
    for location in
        ["", "Location: http://127.0.0.1:1/steal\r\n", "Location: //127.0.0.1:1/steal\r\n", "Location: ftp://x\r\n"]
    {
        let astray = server(move |seen, _| (seen.method == "POST").then(|| answer("202 Accepted", location, b"")));
        let test = store();
        let written = image(&test.store, &[layer(&test.store, &["a=1"])], &["x"]);
        let error = astray.push(&test, &written.manifest).unwrap_err();
        assert!(error.is_network() && error.to_string().contains("address"), "{location}: {error}");
        assert!(astray.seen().iter().all(|s| s.method != "PUT" && s.method != "PATCH"), "{location}");
    }
}

#[test]
fn an_upload_that_is_lost_or_cut_or_finds_the_server_busy_is_begun_anew() {
    for (name, status) in [("lost", "404 Not Found"), ("busy", "503 Unavailable"), ("cut", "")] {
        let flaky = server(move |seen, earlier| {
            let first = seen.is("PUT", "/uploads/0") && earlier == 0;
            first.then(|| if status.is_empty() { Vec::new() } else { answer(status, "", b"") })
        });
        let test = store();
        let written = image(&test.store, &[layer(&test.store, &["a=1"])], &["x"]);
        flaky.push(&test, &written.manifest).unwrap_or_else(|e| panic!("{name}: {e}"));
        flaky.pull(&store()).unwrap();
    }
}

#[test]
fn chunks_are_as_long_as_the_server_wants_and_go_on_where_it_is() {
    let picky = server(|seen, earlier| {
        let whole = seen.is("PUT", "/uploads/") && seen.field("content-length").is_some_and(|l| l != "0");
        if whole {
            return Some(answer("413 Payload Too Large", "", b""));
        }
        if seen.is_streamed() {
            return Some(answer("413 Payload Too Large", "", b""));
        }
        // The first chunk arrived, and the answer to it was that it did not.
        if seen.method == "PATCH" && earlier == 1 {
            return Some(answer("416 Range Not Satisfiable", "", b""));
        }
        if seen.is("GET", "/uploads/") {
            let end = seen.held.saturating_sub(1);
            return Some(answer("204 No Content", &format!("Range: 0-{end}\r\n"), b""));
        }
        None
    });
    let test = store();
    let written = image(&test.store, &[layer(&test.store, &[&format!("big={}", noise())])], &["x"]);
    picky.push(&test, &written.manifest).unwrap();
    picky.pull(&store()).unwrap();
    assert!(picky.seen().iter().filter(|s| s.method == "PATCH" && !s.is_streamed()).count() >= 2);
}

#[test]
fn what_lies_in_another_repository_is_mounted_and_sent_where_that_is_refused() {
    for (status, fields, sent) in [
        ("201 Created", "Location: /v2/x\r\n", 0),
        ("202 Accepted", "Location: /v2/a/b/blobs/uploads/m\r\n", 3),
        ("403 Forbidden", "", 3),
    ] {
        let (origin, test, manifest) = full();
        let mounting =
            server(move |seen, _| seen.path.contains("mount=").then(|| answer(status, fields, b""))).holding(&origin);
        let pushed = images::read(&test.store, &manifest).unwrap();
        images::tag(&test.store, &manifest, &mounting.name()).unwrap();
        let other: Reference = format!("{}/c/d:1", mounting.host).parse().unwrap();
        let result = mounting.push_as(&test, &pushed, &other, &Keyring::default()).unwrap();
        assert_eq!(result.sent, sent, "{status}");
        let asked = mounting
            .seen()
            .iter()
            .filter(|s| s.path.contains("mount=sha256%3A") && s.path.contains("from=a%2Fb"))
            .count();
        assert_eq!(asked, 3, "{status}");
    }
}

#[test]
fn a_push_that_the_registry_spoils_names_it() {
    let other = "Docker-Content-Digest: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n";
    for (expected, method, part, status, fields) in [
        ("was sent", "PUT", "/manifests/", "201 Created", other),
        ("status 400", "PUT", "/manifests/", "400 Bad Request", ""),
        ("status 500", "HEAD", "/blobs/", "500 Oops", ""),
        ("status 418", "POST", "/uploads/", "418 Teapot", ""),
        ("does not take it", "PUT", "/uploads/", "404 Not Found", ""),
        ("refuses to", "PUT", "/uploads/", "403 Forbidden", ""),
    ] {
        let bad = server(move |seen, _| seen.is(method, part).then(|| answer(status, fields, b"")));
        let test = store();
        let written = image(&test.store, &[layer(&test.store, &["a=1"])], &["x"]);
        let error = bad.push(&test, &written.manifest).unwrap_err();
        assert!(error.is_network() && error.to_string().contains(expected), "{expected}: {error}");
        assert!(error.to_string().contains(&bad.host), "{expected}: {error}");
        assert!(!error.help().is_empty(), "{expected}: a way out");
    }
}

/// A token that runs out between two blobs is fetched anew, and no blob is sent twice for it.
#[test]
fn a_token_that_runs_out_in_the_middle_of_a_push_is_renewed() {
    let realm = server(|_, earlier| Some(answer("200 OK", "", format!("{{\"token\":\"t{earlier}\"}}").as_bytes())));
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/t\"\r\n", realm.host);
    let guarded = server(move |seen, _| {
        // Each token is good until a blob has come.
        let good = format!("Bearer t{}", seen.blobs);
        (seen.field("authorization").as_deref() != Some(&good)).then(|| answer("401 Unauthorized", &challenge, b""))
    });
    let test = store();
    let written = image(&test.store, &[layer(&test.store, &["a=1"])], &["x"]);
    assert_eq!(guarded.push(&test, &written.manifest).unwrap().sent, 2);
    assert_eq!(realm.seen().len(), 3);
    assert_eq!(guarded.seen().iter().filter(|s| s.is("PUT", "/uploads/")).count(), 2);
}

/// An image of one layer of some length.
fn long() -> (TestStore, Digest) {
    let test = store();
    let written = image(&test.store, &[layer(&test.store, &[&format!("big={}", noise())])], &["x"]);
    (test, written.manifest)
}

#[test]
fn a_long_layer_is_sent_while_it_is_packed_and_once() {
    let ((test, manifest), good) = (long(), server(|_, _| None));
    assert_eq!(good.push(&test, &manifest).unwrap().sent, 2);
    let seen = good.seen();
    assert_eq!(seen.iter().filter(|s| s.is_streamed()).count(), 1);
    let whole = |s: &&Seen| s.is("PUT", "/uploads/") && s.field("content-length").is_some_and(|l| l != "0");
    assert_eq!(seen.iter().filter(whole).count(), 1, "the config alone goes in one piece");
    good.pull(&store()).unwrap();
    let again = good.push(&test, &manifest).unwrap();
    assert_eq!((again.sent, again.present), (0, 2), "what the layer came to was remembered");
}

#[test]
fn a_stream_that_fails_is_followed_by_the_whole_blob() {
    for (name, status) in [
        ("too large", "413 Payload Too Large"),
        ("wants a length", "411 Length Required"),
        ("out of place", "416 Range Not Satisfiable"),
        ("forgotten", "404 Not Found"),
        ("busy", "503 Unavailable"),
        ("elsewhere", "202 Accepted"),
        ("cut", ""),
    ] {
        let ((test, manifest), picky) = (
            long(),
            server(move |seen, _| {
                // An answer to no more than the head would do as well: here all of the body was read.
                seen.is_streamed().then(|| if status.is_empty() { Vec::new() } else { answer(status, "", b"") })
            }),
        );
        assert_eq!(picky.push(&test, &manifest).unwrap_or_else(|e| panic!("{name}: {e}")).sent, 2, "{name}");
        assert_eq!(picky.seen().iter().filter(|s| s.is_streamed()).count(), 1, "{name}: a stream is not tried again");
        picky.pull(&store()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(picky.push(&test, &manifest).unwrap().sent, 0, "{name}");
    }
}

#[test]
fn a_stream_that_loses_bytes_is_noticed_by_the_digest() {
    let ((test, manifest), lossy) = (
        long(),
        server(|seen, _| {
            let place = seen.path.clone();
            // Taken, and not kept.
            seen.is_streamed().then(|| answer("202 Accepted", &format!("Location: {place}\r\n"), b""))
        }),
    );
    assert_eq!(lossy.push(&test, &manifest).unwrap().sent, 2);
    lossy.pull(&store()).unwrap();
}

#[test]
fn a_stream_that_is_led_away_gets_nothing() {
    let ((test, manifest), astray) = (
        long(),
        server(|seen, _| {
            let away = "Location: http://127.0.0.1:1/steal\r\n";
            (seen.method == "POST").then(|| answer("202 Accepted", away, b""))
        }),
    );
    let error = astray.push(&test, &manifest).unwrap_err().to_string();
    assert!(error.contains("not its own"), "{error}");
    assert!(astray.seen().iter().all(|s| s.method != "PUT" && s.method != "PATCH"));
}
