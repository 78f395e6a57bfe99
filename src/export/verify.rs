//! `fsck` of images: that every name stands for a whole, consistent image.

use super::ExportError;
use super::images;
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
