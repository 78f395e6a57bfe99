//! `fsck` of images: that every name stands for a whole, consistent image.

use super::ExportError;
use super::images;
use super::referrers::{self, Artifact};
use crate::image::Packing;
use crate::store::Store;

/// Something wrong with a named image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The ref.
    pub name: String,
    /// What is wrong, a sentence without full stop.
    pub reason: String,
}

/// Checks every ref: manifest and config are there and have their digests, their layers agree in number and identity,
/// and each layer is stored. The files of layers are not read here.
///
/// # Errors
/// The refs cannot be read. Everything else is a [`Problem`].
pub fn verify(store: &Store) -> Result<Vec<Problem>, ExportError> {
    let mut problems = Vec::new();
    for (name, manifest) in store.refs()? {
        let mut report = |reason: String| problems.push(Problem { name: name.clone(), reason });
        let image = match images::read(store, &manifest) {
            Ok(image) => image,
            Err(error) => {
                report(error.to_string());
                continue;
            }
        };
        match referrers::of(store, &manifest) {
            Ok(said) => {
                let astray = |artifact: &&Artifact| artifact.manifest.subject().is_none_or(|s| s.digest != manifest);
                for artifact in said.iter().filter(astray) {
                    report(format!("the attestation {} is about another image", artifact.digest));
                }
            }
            Err(error) => report(format!("an attestation cannot be read: {error}")),
        }
        for (diff_id, descriptor) in image.layers() {
            let info = match store.layer(diff_id) {
                Ok(Some(info)) => info,
                Ok(None) => {
                    report(format!("layer {diff_id} is not in the store"));
                    continue;
                }
                Err(error) => {
                    report(error.to_string());
                    continue;
                }
            };
            match descriptor.packing() {
                Some(Packing::Plain) if descriptor.digest != *diff_id => {
                    report(format!("the manifest lists layer {} where the config has {diff_id}", descriptor.digest));
                }
                Some(Packing::Plain) if descriptor.size != info.tar_size => {
                    let (said, is) = (descriptor.size, info.tar_size);
                    report(format!("the manifest gives layer {diff_id} {said} bytes, and it has {is}"));
                }
                Some(Packing::Plain) => {}
                Some(_) if !store.has_blob(&descriptor.digest) => {
                    report(format!("the packed layer {} is not in the store", descriptor.digest));
                }
                Some(_) => {}
                None => report(format!("'{}' is no layer media type", descriptor.media_type)),
            }
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{image, layer, store};
    use super::*;
    use crate::base::Digest;

    #[test]
    fn every_kind_of_damage_is_told_by_name() {
        let test = store();
        let only = layer(&test.store, &["a=1"]);
        let whole = image(&test.store, &[only], &["whole"]);
        assert_eq!(verify(&test.store).unwrap(), []);
        let told = |name: &str, reason: &str| {
            let problems = verify(&test.store).unwrap();
            assert!(problems.iter().any(|p| p.name.contains(name) && p.reason.contains(reason)), "{problems:?}");
        };
        test.store.set_ref("docker.io/library/gone:1", &Digest::of(b"gone")).unwrap();
        told("gone:1", "not in the store");
        let manifest = String::from_utf8(test.store.read_blob(&whole.manifest).unwrap()).unwrap();
        for (from, to, reason) in [
            (only.to_string(), Digest::of(b"other").to_string(), "where the config has"),
            ("\"size\":2048".to_owned(), "\"size\":2049".to_owned(), "gives layer"),
            ("layer.v1.tar\"".to_owned(), "layer.v1.tar+gzip\"".to_owned(), "packed layer"),
            ("layer.v1.tar".to_owned(), "layer.v1.zip".to_owned(), "is no layer media type"),
        ] {
            let forged = manifest.replace(&from, &to);
            assert_ne!(forged, manifest, "{from}");
            let digest = test.store.put_blob(forged.as_bytes()).unwrap();
            test.store.set_ref("docker.io/library/forged:1", &digest).unwrap();
            told("forged:1", reason);
        }
        std::fs::remove_file(test.store.blob_path(&whole.id)).unwrap();
        told("whole:latest", "not in the store");
    }

    #[test]
    fn an_attestation_that_is_damaged_is_told() {
        let test = store();
        let written = image(&test.store, &[], &["said"]);
        let subject = images::read(&test.store, &written.manifest).unwrap().descriptor();
        let artifact = Artifact::statement(b"{}".to_vec(), "t", &subject);
        referrers::attach(&test.store, &artifact).unwrap();
        assert_eq!(verify(&test.store).unwrap(), []);
        std::fs::write(test.store.blob_path(&artifact.digest), "{").unwrap();
        let problems = verify(&test.store).unwrap();
        assert!(problems[0].reason.contains("an attestation cannot be read"), "{problems:?}");
    }
}
