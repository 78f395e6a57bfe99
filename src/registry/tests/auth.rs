//! Who is told a credential, and what asking for ever leads to.

use super::server::*;
use crate::export::fixture::store;
use crate::registry::{Keyring, RegistryError};

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
fn a_token_service_that_does_not_do_its_work_is_named_and_never_loops() {
    for (status, body, expected) in [
        ("200 OK", &b"{}"[..], "holds no token"),
        ("200 OK", b"{\"token\":\"a\\nb\"}", "holds no token"),
        ("200 OK", b"<html>", "is not valid"),
        ("401 Unauthorized", b"", "it asks for credentials"),
        ("404 Not Found", b"", "status 404"),
    ] {
        let realm = server(move |_, _| Some(answer(status, "", body)));
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/t\"\r\n", realm.host);
        let guarded = server(move |_, _| Some(answer("401 Unauthorized", &challenge, b"")));
        let test = store();
        let error = guarded.pull(&test).unwrap_err();
        assert!(error.is_network() && error.to_string().contains(expected), "{body:?}: {error}");
        assert!(realm.seen().len() < 3 && guarded.seen().len() < 5, "{body:?}");
        assert_clean(&test, expected);
    }
    let strange = server(|_, _| Some(answer("401 Unauthorized", "WWW-Authenticate: Negotiate\r\n", b"")));
    let error = strange.pull(&store()).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
}

/// An identity token is changed for an access token by a POST, and goes nowhere else.
#[test]
fn an_identity_token_goes_to_the_token_service_alone() {
    let (origin, ..) = full();
    let realm = server(|seen, _| {
        let exchanged = seen.method == "POST"
            && seen.body.contains("grant_type=refresh_token&client_id=rbuild&refresh_token=r3fresh");
        exchanged.then(|| answer("200 OK", "", b"{\"access_token\":\"acc3ss\"}"))
    });
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/t\",service=\"s\"\r\n", realm.host);
    let guarded = server(move |seen, _| match seen.field("authorization").as_deref() {
        Some("Bearer acc3ss") => None,
        _ => Some(answer("401 Unauthorized", &challenge, b"")),
    })
    .holding(&origin);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth.json");
    std::fs::write(&file, format!("{{\"auths\":{{\"{}\":{{\"identitytoken\":\"r3fresh\"}}}}}}", guarded.host)).unwrap();
    guarded.pull_as(&store(), &Keyring::of_file(file)).unwrap();
    assert!(guarded.seen().iter().all(|s| !s.head.contains("r3fresh") && !s.body.contains("r3fresh")));
}
