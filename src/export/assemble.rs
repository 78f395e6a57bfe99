//! From a finished root filesystem and a config template to an image: the config, its history, the manifest.

use super::ExportError;
use crate::base::{Digest, clock};
use crate::image::config::{History, RootFs};
use crate::image::manifest::media;
use crate::image::{Descriptor, ImageConfig, Manifest};
use crate::store::{Store, StoreError};

/// What a build adds to the history, one per instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryLine {
    /// `created_by`.
    pub created_by: String,
    /// The layer it made, if it made one.
    pub layer: Option<Digest>,
    /// When that layer was made, seconds since the epoch; `None`: when the line before was.
    pub created: Option<i64>,
}

/// An image whose documents are in the store. No ref names it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Image ID: digest of the config; of an index its digest.
    pub id: Digest,
    /// Digest of the manifest or index.
    pub manifest: Digest,
}

/// The comment of a history line that rbuild wrote.
const COMMENT: &str = "rbuild";

/// Writes config and manifest of an image. `config` is the template without `rootfs`, `history` and `created`;
/// `layers` are all layers, bottom first, which must be stored. Layers are listed as plain tars: their blobs are made
/// when they leave the store.
///
/// Every time comes from the layers, not from the clock, so that a build that made nothing new gives the same bytes;
/// with `epoch` (SOURCE_DATE_EPOCH) the times of this build's lines are `epoch`.
///
/// # Errors
/// A layer is not stored, the history names more layers than there are, or the store failed.
pub fn assemble(
    store: &Store,
    config: ImageConfig,
    base_history: Vec<History>,
    history: &[HistoryLine],
    layers: &[Digest],
    epoch: Option<i64>,
) -> Result<Written, ExportError> {
    let mut descriptors = Vec::with_capacity(layers.len());
    for layer in layers {
        let info = store.layer(layer)?.ok_or_else(|| StoreError::Missing { what: "layer", name: layer.to_string() })?;
        descriptors.push(Descriptor::new(media::LAYER, *layer, info.tar_size));
    }
    let config = complete(config, base_history, history, layers, epoch)?;
    let bytes = config.to_bytes();
    let id = store.put_blob(&bytes)?;
    let manifest = Manifest::new(Descriptor::new(media::CONFIG, id, bytes.len() as u64), descriptors);
    let manifest = store.put_blob(&manifest.to_bytes())?;
    Ok(Written { id, manifest })
}

/// The whole config document; pure.
fn complete(
    config: ImageConfig,
    base_history: Vec<History>,
    history: &[HistoryLine],
    layers: &[Digest],
    epoch: Option<i64>,
) -> Result<ImageConfig, ExportError> {
    let mut config = config.without_build_facts();
    // Lines of the base keep the text they came with; only what follows is ours to date.
    let mut last = base_history.iter().rev().find_map(|line| line.created.clone());
    config.history = base_history;
    for line in history {
        if let Some(created) = epoch.or(line.created) {
            last = Some(clock::rfc3339(created));
        }
        config.history.push(History {
            created: last.clone(),
            created_by: Some(line.created_by.clone()),
            comment: Some(COMMENT.to_owned()),
            empty_layer: line.layer.is_none(),
            ..History::default()
        });
    }
    let named = config.history.iter().filter(|line| !line.empty_layer).count();
    if named > layers.len() {
        // docker refuses to load such an image.
        let reason = format!("its history names {named} layers, and it has {}", layers.len());
        return Err(ExportError::Inconsistent { image: "being written".to_owned(), reason });
    }
    config.created = match epoch {
        Some(epoch) => Some(clock::rfc3339(epoch)),
        None => last,
    };
    config.rootfs = RootFs { diff_ids: layers.to_vec(), ..RootFs::default() };
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, layer: Option<&[u8]>, created: Option<i64>) -> HistoryLine {
        HistoryLine { created_by: text.to_owned(), layer: layer.map(Digest::of), created }
    }

    fn base() -> Vec<History> {
        vec![History {
            created: Some("2020-01-01T00:00:00.123456789Z".into()),
            created_by: Some("base".into()),
            ..History::default()
        }]
    }

    #[test]
    fn lines_without_a_layer_take_the_time_of_the_line_before() {
        let history = [line("ENV a=b", None, None), line("RUN x", Some(b"1"), Some(86_400)), line("CMD x", None, None)];
        let layers = [Digest::of(b"0"), Digest::of(b"1")];
        let config = complete(ImageConfig::default(), base(), &history, &layers, None).unwrap();
        let times: Vec<_> = config.history.iter().map(|h| h.created.as_deref().unwrap()).collect();
        let base_time = "2020-01-01T00:00:00.123456789Z";
        assert_eq!(times, [base_time, base_time, "1970-01-02T00:00:00Z", "1970-01-02T00:00:00Z"]);
        assert_eq!(config.created.as_deref(), Some("1970-01-02T00:00:00Z"));
        assert_eq!(config.history.iter().map(|h| h.empty_layer).collect::<Vec<_>>(), [false, true, false, true]);
    }

    #[test]
    fn an_epoch_dates_the_builds_own_lines_and_the_image() {
        let history = [line("RUN x", Some(b"1"), Some(86_400)), line("CMD x", None, None)];
        let layers = [Digest::of(b"0"), Digest::of(b"1")];
        let config = complete(ImageConfig::default(), base(), &history, &layers, Some(1)).unwrap();
        assert_eq!(config.history[0].created.as_deref(), Some("2020-01-01T00:00:00.123456789Z"));
        assert!(config.history[1..].iter().all(|h| h.created.as_deref() == Some("1970-01-01T00:00:01Z")));
        assert_eq!(config.created.as_deref(), Some("1970-01-01T00:00:01Z"));
    }

    #[test]
    fn a_history_of_more_layers_than_there_are_is_refused() {
        let history = [line("RUN x", Some(b"1"), None)];
        let error = complete(ImageConfig::default(), base(), &history, &[], None).unwrap_err();
        assert!(error.to_string().contains("names 2 layers, and it has 0"), "{error}");
    }
}
