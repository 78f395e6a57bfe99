//! What `history` and `inspect` tell of an image.

use super::ExportError;
use super::images::{self, Image};
use crate::base::{Digest, clock};
use crate::image::Reference;
use crate::store::Store;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One line of an image's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// Seconds since the epoch.
    pub created: Option<i64>,
    /// The instruction.
    pub created_by: String,
    /// Free text.
    pub comment: String,
    /// Its layer, unless it made none.
    pub layer: Option<Digest>,
    /// File sizes of that layer in bytes.
    pub size: u64,
}

/// The history of an image, newest line first. Layers that no line accounts for come last (they are the lowest), with
/// an empty `created_by`.
///
/// # Errors
/// The store failed.
pub fn history(store: &Store, image: &Image) -> Result<Vec<HistoryRow>, ExportError> {
    let lines = &image.config.history;
    let mut layers = image.config.rootfs.diff_ids.iter().rev();
    let mut rows = Vec::with_capacity(lines.len());
    for line in lines.iter().rev() {
        let layer = if line.empty_layer { None } else { layers.next() };
        rows.push(HistoryRow {
            created: line.created.as_deref().and_then(clock::parse_rfc3339),
            created_by: line.created_by.clone().unwrap_or_default(),
            comment: line.comment.clone().unwrap_or_default(),
            layer: layer.copied(),
            size: layer_size(store, layer)?,
        });
    }
    for layer in layers {
        rows.push(HistoryRow {
            created: None,
            created_by: String::new(),
            comment: String::new(),
            layer: Some(*layer),
            size: layer_size(store, Some(layer))?,
        });
    }
    Ok(rows)
}

fn layer_size(store: &Store, layer: Option<&Digest>) -> Result<u64, ExportError> {
    Ok(match layer {
        Some(layer) => store.layer(layer)?.map_or(0, |info| info.size),
        None => 0,
    })
}

/// An image as `docker inspect` shows one: an object (the caller makes the array), with the fields that scripts read
/// there, plus the manifest's `Digest` and the `History`, as podman has them.
///
/// # Errors
/// The store failed.
pub fn inspect(store: &Store, image: &Image) -> Result<Value, ExportError> {
    let config = &image.config;
    let tags: Vec<String> = image.names.iter().filter(|n| n.tag.is_some()).map(Reference::familiar).collect();
    let repositories: BTreeSet<String> = image.names.iter().map(Reference::familiar_name).collect();
    let digests: Vec<String> = repositories.iter().map(|r| format!("{r}@{}", image.manifest_digest)).collect();
    let mut out = json!({
        "Id": image.id,
        "Digest": image.manifest_digest,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Created": config.created,
        "Author": config.author.clone().unwrap_or_default(),
        "Config": config.config,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": images::size(store, image)?,
        "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids },
        "History": config.history,
    });
    if let (Some(variant), Value::Object(map)) = (&config.variant, &mut out) {
        map.insert("Variant".to_owned(), Value::String(variant.clone()));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{image, layer, store};
    use super::*;

    #[test]
    fn inspect_has_what_scripts_read_and_history_goes_downwards() {
        let test = store();
        let layers = [layer(&test.store, &["a=1"]), layer(&test.store, &["b=22"])];
        let written = image(&test.store, &layers, &["app:1", "localhost:5000/app:1"]);
        let found = images::resolve(&test.store, "app:1").unwrap();
        let value = inspect(&test.store, &found).unwrap();
        assert_eq!(value["Id"], written.id.to_string());
        assert_eq!(value["RepoTags"], json!(["app:1", "localhost:5000/app:1"]));
        assert_eq!(value["RepoDigests"][1], format!("localhost:5000/app@{}", written.manifest));
        assert_eq!(value["Config"]["Cmd"], json!(["/bin/sh"]));
        assert_eq!(value["RootFS"]["Layers"], json!(layers));
        assert_eq!(value["Size"], 3);
        let rows = history(&test.store, &found).unwrap();
        let sizes: Vec<_> = rows.iter().map(|r| (r.layer, r.size)).collect();
        assert_eq!(sizes, [(Some(layers[1]), 2), (Some(layers[0]), 1)]);
    }

    #[test]
    fn layers_without_a_history_line_are_listed_too() {
        let test = store();
        let only = layer(&test.store, &["a=1"]);
        image(&test.store, &[only], &["app"]);
        let mut found = images::resolve(&test.store, "app").unwrap();
        found.config.history[0].empty_layer = true;
        let rows = history(&test.store, &found).unwrap();
        assert_eq!(rows.iter().map(|r| r.layer).collect::<Vec<_>>(), [None, Some(only)]);
    }
}
