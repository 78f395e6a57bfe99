//! What is loaded, and what is refused.

use super::*;
use crate::export::fixture::{TestStore, image, layer, store};
use crate::export::save::{Format, Selected, save};
use serde_json::{Value, json};
use std::io::{self, Write};

type Members = BTreeMap<String, Vec<u8>>;

fn saved(format: Format) -> Members {
    let test = store();
    let base = layer(&test.store, &["etc", "etc/f=1", "gone=2"]);
    let top = layer(&test.store, &["-gone", "etc", "etc/g=3"]);
    image(&test.store, &[base, top], &["app:1"]);
    let image = images::resolve(&test.store, "app:1").unwrap();
    let selected =
        [Selected { names: image.names.clone(), image, files: Default::default(), said: Vec::new(), whole: None }];
    let mut bytes = Vec::new();
    save(&test.store, &selected, format, &mut bytes, &Cancel::new()).unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let read = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    };
    archive.entries().unwrap().map(read).collect()
}

fn tar(members: &Members) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, &content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn load_bytes(test: &TestStore, mut bytes: &[u8]) -> Result<Vec<Image>, ExportError> {
    let platform = Platform { os: "linux".into(), arch: "amd64".into(), variant: String::new() };
    load(&test.store, Input::Stream(&mut bytes), None, Some(&platform), &Cancel::new())
}

fn put(members: &mut Members, bytes: Vec<u8>) -> Digest {
    let digest = Digest::of(&bytes);
    members.insert(blob_name(&digest), bytes);
    digest
}

/// Replaces the manifest by what `change` makes of it and mends the index.
fn with_manifest(mut members: Members, change: impl FnOnce(&mut Value, &mut Members)) -> Members {
    let mut index: Value = serde_json::from_slice(&members["index.json"]).unwrap();
    let digest: Digest = serde_json::from_value(index["manifests"][0]["digest"].clone()).unwrap();
    let mut manifest: Value = serde_json::from_slice(&members[&blob_name(&digest)]).unwrap();
    change(&mut manifest, &mut members);
    let bytes = manifest.to_string().into_bytes();
    index["manifests"][0]["size"] = bytes.len().into();
    index["manifests"][0]["digest"] = put(&mut members, bytes).to_string().into();
    members.insert("index.json".into(), index.to_string().into_bytes());
    members
}

fn packed_layers(gzip: bool) -> Members {
    with_manifest(saved(Format::Oci), |manifest, members| {
        for layer in manifest["layers"].as_array_mut().unwrap() {
            let digest: Digest = serde_json::from_value(layer["digest"].clone()).unwrap();
            let plain = members.remove(&blob_name(&digest)).unwrap();
            let packed = if gzip {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
                out.write_all(&plain).unwrap();
                out.finish().unwrap()
            } else {
                zstd::encode_all(&plain[..], 1).unwrap()
            };
            let kind = if gzip { media::DOCKER_LAYER_GZIP } else { media::LAYER_ZSTD };
            let size = packed.len();
            *layer = json!({ "mediaType": kind, "size": size, "digest": put(members, packed) });
        }
    })
}

#[test]
fn what_was_saved_is_loaded_as_the_same_image() {
    let mut ids = Vec::new();
    for members in [saved(Format::Oci), saved(Format::Docker), packed_layers(true), packed_layers(false)] {
        let test = store();
        let plain = tar(&members);
        let images = load_bytes(&test, &zstd::encode_all(&plain[..], 1).unwrap()).unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(images[0].names[0].familiar(), "app:1");
        let found = images::resolve(&test.store, "app:1").unwrap();
        assert_eq!(crate::export::verify::verify(&test.store).unwrap(), []);
        ids.push(found.id);
        // What is given back is what came, layer by layer.
        let mut again = Vec::new();
        let selected = [Selected {
            names: found.names.clone(),
            image: found.clone(),
            files: Default::default(),
            said: Vec::new(),
            whole: None,
        }];
        save(&test.store, &selected, Format::Oci, &mut again, &Cancel::new()).unwrap();
        if members.contains_key("index.json") {
            assert!(members.contains_key(&blob_name(&found.manifest_digest)), "the manifest is kept as it came");
            assert_eq!(load_bytes(&store(), &again).unwrap()[0].manifest_digest, found.manifest_digest);
        }
        // Loading twice changes nothing.
        assert_eq!(load_bytes(&test, &plain).unwrap()[0].manifest_digest, found.manifest_digest);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[test]
fn hostile_archives_are_refused_with_the_reason_and_leave_no_name() {
    let swap = |members: &mut Members, from: &str, to: &str| {
        for content in members.values_mut() {
            if let Ok(text) = std::str::from_utf8(content) {
                *content = text.replace(from, to).into_bytes();
            }
        }
    };
    let other = Digest::of(b"other");
    let layer_of =
        |manifest: &Value| -> Digest { serde_json::from_value(manifest["layers"][0]["digest"].clone()).unwrap() };
    let mut cases: Vec<(&str, Members)> = vec![
        ("neither an OCI layout nor", Members::from([("x".into(), b"1".to_vec())])),
        ("lists no image", Members::from([("manifest.json".into(), b"[]".to_vec())])),
        ("'manifest.json' is not valid", Members::from([("manifest.json".into(), b"{".to_vec())])),
        ("schema version 1", Members::from([("index.json".into(), br#"{"schemaVersion":1}"#.to_vec())])),
    ];
    // A layer with other content under its digest.
    cases.push((
        "announced as",
        with_manifest(saved(Format::Oci), |manifest, members| {
            let name = blob_name(&layer_of(manifest));
            members.get_mut(&name).unwrap()[1024] ^= 1;
        }),
    ));
    cases.push((
        "does not hold the blob",
        with_manifest(saved(Format::Oci), |manifest, members| {
            members.remove(&blob_name(&layer_of(manifest)));
        }),
    ));
    cases.push((
        "in the config",
        with_manifest(saved(Format::Oci), |manifest, _| manifest["layers"][0]["digest"] = json!(other)),
    ));
    cases.push((
        "lists 1 layers and its config 2",
        with_manifest(saved(Format::Oci), |manifest, _| {
            manifest["layers"].as_array_mut().unwrap().pop();
        }),
    ));
    cases.push((
        "bytes and not 7",
        with_manifest(saved(Format::Oci), |manifest, _| manifest["layers"][0]["size"] = json!(7)),
    ));
    cases.push((
        "no layer that is known",
        with_manifest(saved(Format::Oci), |manifest, _| manifest["layers"][0]["mediaType"] = json!("a/b")),
    ));
    cases.push((
        "is no container image",
        with_manifest(saved(Format::Oci), |manifest, _| manifest["config"]["mediaType"] = json!("a/b")),
    ));
    // A packed blob of another layer than the config says.
    cases.push((
        "announced as",
        with_manifest(packed_layers(true), |manifest, _| {
            let layers = manifest["layers"].as_array_mut().unwrap();
            layers.swap(0, 1);
        }),
    ));
    let mut renamed = saved(Format::Docker);
    let config = renamed.keys().find(|n| n.ends_with(".json") && n.len() == 69).unwrap().clone();
    let content = renamed.remove(&config).unwrap();
    let forged = format!("{}.json", other.hex());
    renamed.insert(forged.clone(), content);
    swap(&mut renamed, &config, &forged);
    cases.push(("has digest", renamed));
    let mut escape = saved(Format::Docker);
    swap(&mut escape, &config, "../../../../etc/passwd");
    cases.push(("does not hold the config '../", escape));
    let mut named = saved(Format::Docker);
    swap(&mut named, "app:1", "App[31m");
    cases.push(("not an image name", named));

    for (reason, members) in cases {
        let test = store();
        let error = load_bytes(&test, &tar(&members)).unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
        assert_eq!(test.store.refs().unwrap(), [], "{reason}");
    }
}

#[test]
fn of_several_platforms_the_fitting_one_is_taken() {
    let members = saved(Format::Oci);
    let mut index: Value = serde_json::from_slice(&members["index.json"]).unwrap();
    let fitting = index["manifests"][0].clone();
    let mut foreign = fitting.clone();
    foreign["platform"]["architecture"] = json!("s390x");
    foreign["digest"] = json!(Digest::of(b"not here"));
    let mut attestation = fitting.clone();
    attestation["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
    attestation["digest"] = json!(Digest::of(b"not here either"));
    let manifests = json!([foreign, attestation, fitting]);
    // Flat, and as a nested index.
    let mut flat = members.clone();
    index["manifests"] = manifests.clone();
    flat.insert("index.json".into(), index.to_string().into_bytes());
    let mut nested = members;
    let inner = json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests }).to_string();
    let size = inner.len();
    let digest = put(&mut nested, inner.into_bytes());
    index["manifests"] = json!([{ "mediaType": media::INDEX, "digest": digest, "size": size,
        "annotations": { REF_NAME: "localhost/app:1" } }]);
    nested.insert("index.json".into(), index.to_string().into_bytes());
    for (members, name) in [(flat, "app:1"), (nested, "localhost/app:1")] {
        let test = store();
        let images = load_bytes(&test, &tar(&members)).unwrap();
        assert_eq!(images.len(), 1);
        assert!(images[0].names.iter().any(|n| n.familiar() == name), "{:?}", images[0].names);
    }
}

#[test]
fn a_name_may_be_given_and_an_image_without_one_is_kept() {
    let mut members = saved(Format::Oci);
    members.remove("manifest.json");
    let mut index: Value = serde_json::from_slice(&members["index.json"]).unwrap();
    index["manifests"][0].as_object_mut().unwrap().remove("annotations");
    members.insert("index.json".into(), index.to_string().into_bytes());
    let bytes = tar(&members);
    let test = store();
    let images = load_bytes(&test, &bytes).unwrap();
    assert!(images[0].names.is_empty());
    assert!(images::resolve(&test.store, &images[0].id.short()).is_ok());
    let name: Reference = "given:2".parse().unwrap();
    let platform = Platform::default();
    load(&test.store, Input::Stream(&mut &bytes[..]), Some(&name), Some(&platform), &Cancel::new()).unwrap();
    assert_eq!(images::resolve(&test.store, "given:2").unwrap().id, images[0].id);
}

#[test]
fn a_ref_name_that_is_no_image_name_leaves_the_image_without_one() {
    let mut members = saved(Format::Oci);
    members.remove("manifest.json");
    let mut index: Value = serde_json::from_slice(&members["index.json"]).unwrap();
    index["manifests"][0]["annotations"] = json!({ REF_NAME: "Release+1" });
    members.insert("index.json".into(), index.to_string().into_bytes());
    let test = store();
    let images = load_bytes(&test, &tar(&members)).unwrap();
    assert!(images[0].names.is_empty());
}

#[test]
fn a_damaged_archive_gives_an_error_or_a_whole_image() {
    for whole in [tar(&saved(Format::Oci)), tar(&saved(Format::Docker)), tar(&packed_layers(true))] {
        let mut at = 1_u64;
        let test = store();
        for _ in 0..60 {
            // A fixed sequence of places and values (Knuth's MMIX constants).
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut bytes = whole.clone();
            let place = (at >> 33) as usize % bytes.len();
            match at % 3 {
                0 => bytes.truncate(place),
                _ => bytes[place] ^= (at >> 24) as u8 | 1,
            }
            if let Ok(images) = load_bytes(&test, &bytes) {
                assert_eq!(crate::export::verify::verify(&test.store).unwrap(), [], "byte {place}");
                for image in images {
                    let layers = &image.config.rootfs.diff_ids;
                    let write = crate::export::rootfs::write_tar;
                    write(&test.store, layers, &mut io::sink(), &Cancel::new()).unwrap();
                }
            }
        }
    }
}
