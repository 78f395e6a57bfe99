//! What is said of images.

use super::server::*;
use crate::base::{Cancel, Digest};
use crate::export::fixture::{TestStore, image, layer, store};
use crate::export::images;
use crate::export::referrers::{self, Artifact, MAX_STATEMENT};
use crate::image::manifest::media;
use crate::image::{Descriptor, ImageIndex, Manifest, Platform};
use crate::registry::{Keyring, Registries, RegistryError, Said, attestations};
use serde_json::json;

fn read(server: &Server) -> Result<Said, RegistryError> {
    let (settings, cancel, keyring) = (settings(), Cancel::new(), Keyring::default());
    let registries = Registries { settings: &settings, keyring: &keyring, watch: &|_, _| {}, cancel: &cancel };
    attestations(&server.name(), &[], &registries).map(|mut all| all.remove(0))
}

/// An image of which something is said, and its manifest.
fn said() -> (TestStore, Digest) {
    let test = store();
    let written = image(&test.store, &[layer(&test.store, &["a=1"])], &["x"]);
    let subject = images::read(&test.store, &written.manifest).unwrap().descriptor();
    let subjects = json!([{ "name": "x", "digest": { "sha256": subject.digest.hex() } }]);
    let statement = json!({ "_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": "t" });
    let artifact = Artifact::statement(statement.to_string().into_bytes(), "t", &subject);
    referrers::attach(&test.store, &artifact).unwrap();
    (test, written.manifest)
}

/// A registry that lists `pages` for every image.
fn listing(pages: Vec<Vec<Descriptor>>) -> Server {
    server(move |seen, _| {
        let (_, query) = seen.path.split_once("/referrers/")?;
        let page: usize = query.split_once("page=").map_or(0, |(_, page)| page.parse().unwrap());
        let link = match page + 1 < pages.len() {
            true => format!("Link: <{}?page={}>; rel=\"next\"\r\n", seen.path.split('?').next()?, page + 1),
            false => String::new(),
        };
        let fields = format!("Content-Type: {}\r\n{link}", media::INDEX);
        Some(answer("200 OK", &fields, &ImageIndex::new(pages[page].clone()).to_bytes()))
    })
}

#[test]
fn a_registry_without_referrers_lists_them_under_a_tag_that_is_written_once() {
    let (test, manifest) = said();
    let registry = server(|_, _| None);
    let pushed = registry.push(&test, &manifest).unwrap();
    assert_eq!(pushed.said, 1);
    let found = read(&registry).unwrap();
    assert_eq!((found.manifest, found.artifacts.len()), (pushed.digest, 1));
    let (_, text) = found.artifacts[0].statements().next().unwrap();
    assert!(String::from_utf8_lossy(text).contains(&pushed.digest.hex()), "it is about what was pushed");
    registry.push(&test, &manifest).unwrap();
    let tag = format!("/manifests/sha256-{}", pushed.digest.hex());
    assert_eq!(registry.seen().iter().filter(|seen| seen.is("PUT", &tag)).count(), 1);
}

#[test]
fn a_registry_that_knows_referrers_is_left_to_list_them() {
    let (test, manifest) = said();
    let knowing = server(|seen, _| {
        let artifact = seen.is("PUT", "/manifests/sha256:");
        artifact.then(|| answer("201 Created", "OCI-Subject: sha256:00\r\n", b""))
    });
    knowing.push(&test, &manifest).unwrap();
    assert!(!knowing.seen().iter().any(|seen| seen.is("PUT", "/manifests/sha256-")));

    let plain = server(|_, _| None);
    plain.push(&test, &manifest).unwrap();
    let artifact = read(&plain).unwrap().artifacts.remove(0);
    let other = Descriptor::new(media::MANIFEST, Digest::of(b"signature"), 9);
    let paged = listing(vec![vec![other], vec![artifact.descriptor()]]).holding(&plain);
    let found = read(&paged).unwrap();
    assert_eq!(found.artifacts, [artifact], "all pages are read, and other kinds passed over");
    assert!(!paged.seen().iter().any(|seen| seen.is("GET", "/manifests/sha256-")));
}

#[test]
fn what_is_about_another_image_or_too_much_is_refused() {
    let (test, manifest) = said();
    let plain = server(|_, _| None);
    plain.push(&test, &manifest).unwrap();
    let other = Descriptor::new(media::MANIFEST, Digest::of(b"other"), 5);
    let huge = Descriptor::new(media::IN_TOTO, Digest::of(b"huge"), MAX_STATEMENT);
    let pushed = read(&plain).unwrap().manifest;
    let subject = Descriptor::new(media::MANIFEST, pushed, 1);
    let cases = [
        (Artifact::statement(b"{}".to_vec(), "t", &other).manifest, "about another image"),
        (Manifest::artifact(media::IN_TOTO, vec![huge], &subject), "attestation of 1 parts"),
    ];
    for (artifact, reason) in cases {
        let bytes = artifact.to_bytes();
        let mut descriptor = Descriptor::new(media::MANIFEST, Digest::of(&bytes), bytes.len() as u64);
        descriptor.extra.insert("artifactType".into(), media::IN_TOTO.into());
        let listed = listing(vec![vec![descriptor.clone()]]).holding(&plain);
        // Config and statement alike.
        let blob = format!("a/b/blobs/{}", Digest::of(b"{}"));
        listed.state.lock().unwrap().contents.insert(blob, (String::new(), b"{}".to_vec()));
        let path = format!("a/b/manifests/{}", descriptor.digest);
        listed.state.lock().unwrap().contents.insert(path, (media::MANIFEST.into(), bytes));
        let error = read(&listed).unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
    let many = vec![Descriptor::new(media::MANIFEST, Digest::of(b"x"), 1); referrers::MAX_REFERRERS + 1];
    let error = read(&listing(vec![many]).holding(&plain)).unwrap_err().to_string();
    assert!(error.contains("more than"), "{error}");
}

#[test]
fn what_buildkit_lists_beside_an_image_is_read_for_the_platform_that_is_asked_for() {
    let (test, manifest) = said();
    let registry = server(|_, _| None);
    let pushed = registry.push(&test, &manifest).unwrap();
    let beside = Manifest::artifact(media::IN_TOTO, vec![], &Descriptor::new(media::MANIFEST, pushed.digest, 1));
    let bytes = Manifest { extra: Default::default(), ..beside }.to_bytes();
    let mut listed = Descriptor::new(media::MANIFEST, Digest::of(&bytes), bytes.len() as u64);
    let annotations = [
        ("vnd.docker.reference.type", "attestation-manifest".to_owned()),
        ("vnd.docker.reference.digest", pushed.digest.to_string()),
    ];
    listed.annotations.extend(annotations.map(|(key, value)| (key.to_owned(), value)));
    listed.platform = Some(json!({ "os": "unknown", "architecture": "unknown" }));
    let mut image = Descriptor::new(media::MANIFEST, pushed.digest, pushed.size);
    image.platform = Some(json!({ "os": "linux", "architecture": "amd64" }));
    let index = ImageIndex::new(vec![image, listed.clone()]).to_bytes();
    {
        let mut state = registry.state.lock().unwrap();
        let mut put = |name: &str, kind: &str, bytes: &[u8]| {
            state.contents.insert(format!("a/b/{name}"), (kind.to_owned(), bytes.to_vec()));
        };
        put(&format!("manifests/{}", listed.digest), media::MANIFEST, &bytes);
        put("manifests/1", media::INDEX, &index);
    }
    let (settings, cancel, keyring) = (settings(), Cancel::new(), Keyring::default());
    let registries = Registries { settings: &settings, keyring: &keyring, watch: &|_, _| {}, cancel: &cancel };
    let on = |arch: &str| attestations(&registry.name(), &[Platform::new("linux", arch, "")], &registries);
    let found = on("amd64").unwrap();
    let digests: Vec<Digest> = found[0].artifacts.iter().map(|artifact| artifact.digest).collect();
    assert_eq!((found.len(), digests.len(), digests[0]), (1, 2, listed.digest));
    assert!(on("s390x").unwrap_err().to_string().contains("linux/amd64"));
}
