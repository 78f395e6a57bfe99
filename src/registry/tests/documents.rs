//! Manifests, indexes and configs that are not what they are announced as.

use super::server::*;
use crate::base::Digest;
use crate::export::fixture::store;
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

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
        assert!(error.to_string().contains(&bad.host) && !error.help().is_empty(), "{expected}: {error}");
        assert!(!test.store.has_blob(&longest(&origin).parse().unwrap()), "{expected}");
        assert_clean(&test, expected);
    }
}

/// A registry that holds documents under the tag and by digest; each refers to the one after it, `{next}`.
fn holding(chain: &[(&str, Value)]) -> Server {
    let server = server(|_, _| None);
    let mut next: Option<(String, usize, &str)> = None;
    let mut state = server.state.lock().unwrap();
    for (kind, document) in chain.iter().rev() {
        let mut text = document.to_string();
        if let Some((digest, size, kind)) = &next {
            text = text.replace("{next}", digest).replace("\"{size}\"", &size.to_string()).replace("{kind}", kind);
        }
        let digest = Digest::of(text.as_bytes()).to_string();
        next = Some((digest.clone(), text.len(), kind));
        for place in ["manifests", "blobs"] {
            state.contents.insert(format!("a/b/{place}/{digest}"), ((*kind).to_owned(), text.clone().into_bytes()));
        }
        state.contents.insert("a/b/manifests/1".into(), ((*kind).to_owned(), text.into_bytes()));
    }
    drop(state);
    server
}

/// An index that lists the next document.
fn index() -> (&'static str, Value) {
    let entry = json!({"mediaType": "{kind}", "digest": "{next}", "size": "{size}"});
    (INDEX, json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}))
}

/// A manifest whose config is the next document.
fn manifest(layers: Value) -> (&'static str, Value) {
    let config = json!({"mediaType": CONFIG, "digest": "{next}", "size": "{size}"});
    (MANIFEST, json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}))
}

fn config(diff_ids: &[&str]) -> (&'static str, Value) {
    (CONFIG, json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}))
}

#[test]
fn documents_that_stand_for_others_are_refused() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let entry = |kind: &str, digest: &str| json!([{"mediaType": kind, "digest": digest, "size": 10}]);
    let many = json!((0..2000).map(|_| entry(LAYER, &digest)[0].clone()).collect::<Vec<_>>());
    let artifact = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
        "config": {"mediaType": "application/vnd.example", "digest": digest, "size": 2}});
    let without = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entry(MANIFEST, &digest)});
    let cases: Vec<(&str, Vec<(&str, Value)>)> = vec![
        ("nested more than", vec![index(), index(), index(), index(), index(), manifest(json!([])), config(&[])]),
        ("calls itself", vec![(MANIFEST, index().1), config(&[])]),
        ("not valid", vec![(MANIFEST, config(&[]).1)]),
        ("not valid", vec![(INDEX, config(&[]).1)]),
        ("is announced as", vec![index(), (INDEX, manifest(json!([])).1), config(&[])]),
        ("not valid", vec![manifest(json!([])), (CONFIG, json!([1]))]),
        ("is no container image", vec![(MANIFEST, artifact)]),
        ("lists 1 layers and its config 0", vec![manifest(entry(LAYER, &digest)), config(&[])]),
        ("layers and its config", vec![manifest(many), config(&[])]),
        ("is no layer that is known", vec![manifest(entry("text/html", &digest)), config(&[&digest])]),
        ("sha512", vec![manifest(entry(LAYER, "sha512:abc")), config(&[&digest])]),
        ("md5", vec![manifest(entry(LAYER, "md5:abc")), config(&[&digest])]),
        ("not valid", vec![manifest(json!([])), config(&["sha1:abc"])]),
        ("not in the registry", vec![(INDEX, without)]),
    ];
    for (expected, chain) in cases {
        let chain_of = |(kind, value): &(&str, Value)| {
            format!("{kind}: {}", value.to_string().chars().take(80).collect::<String>())
        };
        let shown: Vec<String> = chain.iter().map(chain_of).collect();
        let (bad, test) = (holding(&chain), store());
        let error = bad.pull(&test).expect_err(expected);
        if expected == "not in the registry" {
            assert!(error.is_not_found(), "{error}");
        } else {
            assert!(error.is_network(), "{shown:?}: {error}");
            assert!(error.to_string().contains(expected), "{expected}: {error}");
            assert!(!error.help().is_empty(), "{expected}: a way out");
        }
        assert_clean(&test, expected);
    }
}

#[test]
fn a_tag_that_leads_to_an_unknown_algorithm_or_size_is_not_followed() {
    for (expected, entry) in [
        ("sha512", json!({"mediaType": MANIFEST, "digest": format!("sha512:{}", "0".repeat(128)), "size": 10})),
        ("announced as", json!({"mediaType": MANIFEST, "digest": "{next}", "size": 7})),
        ("announced as", json!({"mediaType": MANIFEST, "digest": "{next}", "size": u64::MAX})),
        ("not valid", json!({"mediaType": MANIFEST, "digest": "{next}", "size": -1})),
        ("not valid", json!({"mediaType": MANIFEST, "digest": "../../etc/passwd", "size": 1})),
    ] {
        let top = (INDEX, json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}));
        let (bad, test) = (holding(&[top, manifest(json!([])), config(&[])]), store());
        let error = bad.pull(&test).unwrap_err();
        assert!(error.is_network() && error.to_string().contains(expected), "{entry}: {error}");
        assert_clean(&test, expected);
    }
}
