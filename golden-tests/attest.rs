//! `build --push`, and attestations: into a registry and out of it, and what they say of a real distribution.

use crate::env::{self, Need, Place, contains, same};
use crate::registry::Registry;
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

const NEEDS: [Need; 1] = [Need::Registry];

pub fn trials() -> Vec<Trial> {
    vec![
        env::trial("attest::a_build_pushes_what_it_made_and_says_where", &NEEDS, pushes),
        env::trial("attest::what_is_said_of_an_image_goes_along_and_is_read_by_a_fresh_store", &NEEDS, goes_along),
    ]
}

fn pushes() -> Result<(), Failed> {
    let place = Place::new();
    let registry = Registry::start(&place, "}")?;
    let (one, two) = (format!("{}/one:1", registry.name), format!("{}/two:2", registry.name));
    place.write("Dockerfile", "FROM scratch\nCOPY a /a\n");
    place.write("a", "hello\n");
    place.ok(&["build", "-q", "-t", &one, "--push", "--annotation", "org.x=1", "--metadata-file", "meta", "."])?;
    let zstd = format!("type=image,name={two},push=true,compression=zstd,annotation.org.y=2");
    place.ok(&["build", "-q", "-o", &zstd, "-o", "type=oci,dest=x.tar", "."])?;
    for (name, annotation, packing) in [(&one, "\"org.x\":\"1\"", "tar+gzip"), (&two, "\"org.y\":\"2\"", "tar+zstd")] {
        let fresh = Place::new();
        let pulled = fresh.ok(&["pull", name])?;
        let digest = pulled.lines().find_map(|line| line.strip_prefix("Digest: ")).ok_or("no digest")?;
        let blob = digest.strip_prefix("sha256:").ok_or("no sha256")?;

        let manifest = fresh.store().join("blobs/sha256").join(blob);
        let output = fresh.command("cat").arg(&manifest).output()?;
        env::check(&["cat"], &output)?;
        let manifest = String::from_utf8_lossy(&output.stdout).into_owned();
        contains(&manifest, annotation)?;
        contains(&manifest, packing)?;
        if name == &one {
            let metadata = std::fs::read_to_string(place.work().join("meta"))?;
            contains(&metadata, &format!("\"containerimage.digest\": \"{digest}\""))?;
        }
    }
    same("images here", place.ok(&["images"])?.lines().count(), 3)
}

/// GET of a manifest as anybody may send it: status and body.
fn manifest(registry: &Registry, path: &str) -> Result<(u16, Value), Failed> {
    let mut stream = TcpStream::connect(registry.name.as_str())?;
    write!(
        stream,
        "GET /v2/{path} HTTP/1.0\r\nHost: {}\r\nAccept: application/vnd.oci.image.index.v1+json\r\n\r\n",
        registry.name
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status")?;
    Ok((status, serde_json::from_str(body).unwrap_or_default()))
}

/// The statements that `inspect` gives, by short kind.
fn statements(place: &Place, arguments: &[&str]) -> Result<BTreeMap<String, Value>, Failed> {
    let all = [&["inspect", "--attestations", "--format", "json"], arguments].concat();
    let read = |line: &str| {
        let statement: Value = serde_json::from_str(line).map_err(|e| format!("{e}: {line}"))?;
        Ok((statement["predicateType"].as_str().unwrap_or_default().to_owned(), statement))
    };
    place.ok(&all)?.lines().map(read).collect()
}

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";

fn goes_along() -> Result<(), Failed> {
    let place = Place::new();
    let registry = Registry::start(&place, "}")?;
    let name = format!("{}/team/app:1", registry.name);
    place.write("Dockerfile", "FROM scratch\nCOPY a /a\n");
    place.write("a", "hello\n");
    place.ok(&["build", "-q", "-t", &name, "--sbom", "--provenance", "--push", "--metadata-file", "meta", "."])?;
    let metadata: Value = serde_json::from_slice(&std::fs::read(place.work().join("meta"))?)?;
    let digest =
        metadata["containerimage.digest"].as_str().and_then(|d| d.strip_prefix("sha256:")).ok_or("no digest")?;

    // Debian's registry does not know referrers, so the tag lists them.
    same("status of the API", manifest(&registry, &format!("team/app/referrers/sha256:{digest}"))?.0, 404)?;
    let tag = format!("team/app/manifests/sha256-{digest}");
    let (status, index) = manifest(&registry, &tag)?;
    same("status of the tag", status, 200)?;
    same("listed", index["manifests"].as_array().map(Vec::len), Some(2))?;
    same("artifact type", index["manifests"][0]["artifactType"].as_str(), Some("application/vnd.in-toto+json"))?;

    let fresh = Place::new();
    let read = statements(&fresh, &[&name])?;
    same("kinds", read.keys().map(String::as_str).collect(), vec![PROVENANCE, SPDX])?;
    for statement in read.values() {
        same("subject", statement["subject"][0]["digest"]["sha256"].as_str(), Some(digest))?;
    }
    same("nothing is stored", fresh.ok(&["images", "-q"])?, String::new())?;
    contains(&fresh.ok(&["pull", "--attestations", &name])?, "Attestations: 2")?;
    same("what is read here", statements(&fresh, &[&name])?, read)?;
    let other = format!("{}/other/app", registry.name);
    contains(&fresh.ok(&["push", &name, &other])?, "Attestations: 2")?;
    fresh.ok(&["fsck"])?;

    // The same again changes nothing; a newer statement takes the place of the older one of its kind.
    place.ok(&["push", &name])?;
    same("index after a second push", manifest(&registry, &tag)?.1, index.clone())?;
    place.ok(&["build", "-q", "-t", &name, "--provenance=max", "--push", "."])?;
    let (_, newer) = manifest(&registry, &tag)?;
    same("listed", newer["manifests"].as_array().map(Vec::len), Some(2))?;
    let mode = statements(&fresh, &["--remote", "--type", "provenance", &name])?;
    let internal = &mode[PROVENANCE]["predicate"]["buildDefinition"]["internalParameters"];
    same("mode", internal["mode"].as_str(), Some("max"))?;

    // Of an index each image has its own.
    let both = format!("{}/team/both", registry.name);
    place.ok(&["build", "-q", "-t", &both, "--platform", "linux/amd64,linux/arm64", "--sbom", "--push", "."])?;
    let listed = fresh.ok(&["inspect", "--attestations", &both])?;
    // What was said of the same image before is still there.
    same("lines for an index", listed.lines().count(), 4)?;
    contains(&listed, "(linux/arm64)")?;
    contains(&fresh.ok(&["pull", "--all-platforms", "--attestations", &both])?, "Attestations: 3")?;
    same("what is read here", fresh.ok(&["inspect", "--attestations", &both])?, listed)
}

/// What the bill of materials of an image says against what dpkg says in a container of it.
pub fn lists_what_dpkg_lists(place: &Place, image: &str) -> Result<(), Failed> {
    let format = "${Package} ${Version} ${Architecture}\\n";
    let mut expected: Vec<String> =
        place.ok(&["run", "--rm", image, "dpkg-query", "-W", "-f", format])?.lines().map(str::to_owned).collect();
    expected.sort();
    let all = statements(place, &["--type", "sbom", image])?;
    let packages = all[SPDX]["predicate"]["packages"].as_array().ok_or("no packages")?;
    let mut found = Vec::new();
    for package in packages {
        let purl = package["externalRefs"][0]["referenceLocator"].as_str().unwrap_or_default();
        if purl.starts_with("pkg:deb/") {
            let arch = purl.split(['?', '&']).find_map(|part| part.strip_prefix("arch=")).ok_or("no architecture")?;
            let field = |name: &str| package[name].as_str().unwrap_or_default();
            found.push(format!("{} {} {arch}", field("name"), field("versionInfo")));
        }
    }
    found.sort();
    same("more than a handful of packages", expected.len() > 50, true)?;
    same("packages", found, expected)
}
