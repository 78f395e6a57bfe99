//! OCI layouts in directories, as named contexts: `--build-context base=oci-layout://DIRECTORY[:TAG][@DIGEST]`.

use crate::base::Cancel;
use crate::dockerfile::lower::{BaseImage, NotFound};
use crate::export::load::{Pick, load_one};
use crate::image::Platform;
use crate::store::Store;
use std::path::PathBuf;
use std::str::FromStr;

/// What the address of such a context begins with.
const SCHEME: &str = "oci-layout://";

/// `DIRECTORY[:TAG][@DIGEST]`; the tag is `latest` if none is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The layout's directory, or an archive of one.
    pub dir: PathBuf,
    /// The image in it.
    pub pick: Pick,
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Layout, String> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon in a directory's name is one of the path.
        let (dir, tag) = match rest.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
            Some((dir, tag)) => (dir, tag),
            None => (rest, "latest"),
        };
        if dir.is_empty() || tag.is_empty() {
            return Err(format!("'{text}' is not DIRECTORY[:TAG][@DIGEST]"));
        }
        let pick = match digest {
            Some(digest) => Pick::Digest(digest.parse().map_err(|_| format!("'{digest}' is no digest"))?),
            None => Pick::Tag(tag.to_owned()),
        };
        Ok(Layout { dir: dir.into(), pick })
    }
}

/// Stores the image that the address of a layout names; `None`: `reference` is no such address.
pub(super) fn find(
    store: &Store,
    reference: &str,
    platform: &Platform,
    cancel: &Cancel,
) -> Option<Result<BaseImage, NotFound>> {
    let refused = |reason: String| NotFound { reason, ..NotFound::default() };
    let load = |layout: &str| {
        let Layout { dir, pick } = layout.parse().map_err(refused)?;
        let image = load_one(store, &dir, &pick, platform, cancel);
        let image = image.map_err(|error| refused(error.to_string()))?;
        Ok(BaseImage { reference: reference.to_owned(), manifest: image.manifest_digest, config: image.config })
    };
    reference.strip_prefix(SCHEME).map(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_has_a_directory_and_maybe_a_tag_or_a_digest() {
        let digest = crate::base::Digest::of(b"x");
        let tag = |tag: &str| Pick::Tag(tag.into());
        for (text, dir, pick) in [
            ("out", "out", tag("latest")),
            ("/a/out:1.2", "/a/out", tag("1.2")),
            ("/a:b/out", "/a:b/out", tag("latest")),
            (&*format!("out@{digest}"), "out", Pick::Digest(digest)),
            (&*format!("out:1@{digest}"), "out", Pick::Digest(digest)),
        ] {
            assert_eq!(text.parse(), Ok(Layout { dir: dir.into(), pick }), "{text}");
        }
        for bad in ["", ":1", "out:", "out@sha256:1"] {
            assert!(bad.parse::<Layout>().is_err(), "{bad}");
        }
    }
}
