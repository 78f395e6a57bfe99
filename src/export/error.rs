//! What can go wrong with an image on its way into or out of the store.

use crate::base::{Digest, IoError};
use crate::image::{DocumentError, ReferenceError};
use crate::layer::tar_in::ApplyError;
use crate::store::StoreError;
use crate::tree::TreeError;
use std::path::PathBuf;

/// A failure of an operation on images.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The merged tree could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A text is no image name.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A name that is to be given carries a digest.
    #[error("'{0}' carries a digest; an image is tagged with a name alone")]
    PinnedTag(String),
    /// No image goes by that name or ID.
    #[error("no image '{text}' is in the store")]
    NotFound {
        /// As asked for.
        text: String,
        /// A name or ID that is there and looks like it.
        near: Option<String>,
    },
    /// An ID prefix fits several images.
    #[error("'{text}' fits several images: {}", ids.join(", "))]
    Ambiguous {
        /// As asked for.
        text: String,
        /// Short IDs of those it fits, sorted.
        ids: Vec<String>,
    },
    /// An image named by ID would lose several names at once.
    #[error("image {id} has several names ({}); remove them one by one, or all with --force", names.join(", "))]
    SeveralNames {
        /// Short ID.
        id: String,
        /// Its familiar names.
        names: Vec<String>,
    },
    /// A stored or loaded document is not valid.
    #[error("{place}: {reason}")]
    Document {
        /// Digest or archive member.
        place: String,
        /// Why.
        reason: DocumentError,
    },
    /// An image's parts contradict each other.
    #[error("image {image} is inconsistent: {reason}")]
    Inconsistent {
        /// Name, ID or archive member.
        image: String,
        /// How.
        reason: String,
    },
    /// A `--change` cannot be applied.
    #[error("cannot apply the change '{change}': {reason}")]
    Change {
        /// As given.
        change: String,
        /// Why.
        reason: String,
    },
    /// An archive was to be written to a terminal.
    #[error("an archive is not written to a terminal")]
    Terminal,
    /// An archive is not what it should be.
    #[error("{}: {reason}", archive.display())]
    Archive {
        /// Its path, or "standard input".
        archive: PathBuf,
        /// Why.
        reason: String,
    },
    /// A tar cannot be applied.
    #[error("{}: {reason}", archive.display())]
    Apply {
        /// Its path, or that of the archive it lies in.
        archive: PathBuf,
        /// Why.
        reason: ApplyError,
    },
    /// The store has no image for a platform under an index.
    #[error("'{image}' is not stored for {wanted}{}", there_is(stored))]
    Platform {
        /// Name, ID or digest.
        image: String,
        /// What was wanted.
        wanted: String,
        /// For which platforms it is.
        stored: Vec<String>,
        /// For which the index lists it, and it is not stored.
        missing: Vec<String>,
    },
    /// An image of an index was to be removed alone.
    #[error("image {0} is part of an index, and goes with it")]
    PartOfIndex(String),
    /// An index is to leave the store whole, and parts of it are not there.
    #[error("'{image}' is not stored for all of its platforms: {} missing", missing.join(", "))]
    Partial {
        /// Name, ID or digest.
        image: String,
        /// The platforms that are not.
        missing: Vec<String>,
    },
    /// An index does not list an image.
    #[error("'{image}' is not in {index}")]
    Unlisted {
        /// As asked for.
        image: String,
        /// The index's name.
        index: String,
        /// For which platforms it lists images.
        listed: Vec<String>,
    },
    /// A layer of an image is not in the store.
    #[error("layer {layer} of image {image} is not in the store")]
    LayerMissing {
        /// Name or ID.
        image: String,
        /// diffID.
        layer: Digest,
    },
}

impl ExportError {
    /// Whether something that was named is not there (exit code 4).
    pub fn is_not_found(&self) -> bool {
        matches!(self, ExportError::NotFound { .. } | ExportError::Platform { .. } | ExportError::Unlisted { .. })
    }

    /// The same, where it tells of an image by its digest and the user by this name.
    #[must_use]
    pub fn of_image(mut self, name: &str) -> ExportError {
        if let ExportError::Platform { image, .. } | ExportError::Partial { image, .. } = &mut self {
            name.clone_into(image);
        }
        self
    }

    /// What the user could do about it.
    pub fn help(&self) -> Vec<String> {
        match self {
            ExportError::NotFound { near: Some(near), .. } => vec![format!("did you mean '{near}'?")],
            ExportError::NotFound { near: None, .. } => vec!["`rbuild images` lists what is there".to_owned()],
            ExportError::Ambiguous { .. } => vec!["give more digits of the ID, or a name".to_owned()],
            ExportError::LayerMissing { .. } => vec!["`rbuild fsck` tells what else is missing".to_owned()],
            ExportError::Platform { stored, wanted, missing, .. } => {
                let choose = stored.first().map(|one| format!("choose another: --platform {one}"));
                let pull = missing.contains(wanted).then(|| format!("get it: `rbuild pull --platform {wanted} NAME`"));
                choose.into_iter().chain(pull).collect()
            }
            ExportError::Unlisted { listed, .. } if !listed.is_empty() => {
                vec![format!("it lists {}", listed.join(", "))]
            }
            ExportError::Partial { .. } => vec![
                "get the rest: `rbuild pull --all-platforms NAME`".to_owned(),
                "or take only what is there: --platform PLATFORM[,PLATFORM]".to_owned(),
            ],
            ExportError::Terminal => vec!["name a file with -o, or redirect standard output".to_owned()],
            _ => Vec::new(),
        }
    }
}

fn there_is(stored: &[String]) -> String {
    if stored.is_empty() { String::new() } else { format!(", but for {}", stored.join(", ")) }
}
