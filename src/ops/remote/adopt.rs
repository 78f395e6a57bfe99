//! Sources that somebody has fetched before and brings along: into the store as if they had been fetched, so that a build
//! that names exactly these need not ask the network for them.

use super::http::{self, Arriving};
use super::{Fetcher, content_parts, git_parts};
use crate::base::fs::Context as _;
use crate::graph::{GitSource, HttpSource, Remote};
use crate::ops::OpError;
use crate::ops::publish::publish;
use crate::store::layers::LayerInfo;
use std::io::Read;
use std::path::Path;

/// Bytes that are read at once.
const CHUNK: usize = 128 << 10;

impl Fetcher<'_> {
    /// Takes a file's contents, which must be what the source's checksum says; `modified` is what the server said of it.
    /// `place` is what a failed read names.
    ///
    /// # Errors
    /// `checksum-mismatch`, no checksum, the contents cannot be read, or what the system refuses.
    pub fn adopt_file(
        &self,
        source: &HttpSource,
        contents: &mut dyn Read,
        modified: Option<&str>,
        place: &Path,
    ) -> Result<(), OpError> {
        let remote = Remote::Http(source.clone());
        let Some(checksum) = source.checksum.map(|c| c.to_string()) else {
            return Err(OpError::input("checksum-mismatch", format!("nothing says what {remote} must be")));
        };
        let mut next = || {
            if self.cancel.is_set() {
                return Err(OpError::Cancelled);
            }
            let mut chunk = Vec::new();
            contents.take(CHUNK as u64).read_to_end(&mut chunk).at("read", place)?;
            Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
        };
        let arriving = Arriving { next: &mut next, etag: None, modified: modified.map(str::to_owned) };
        let (written, facts) = http::store(self, source, &remote, arriving)?;
        let (layer, _) = publish(self.store, written, None, self.cancel)?;
        self.keep(&remote, &[content_parts(source, &checksum)], &layer, &facts, 0).map(drop)
    }

    /// Takes a layer of the store as the files of a commit; gives the source that means these and no others: a hostile
    /// directory must not become what other builds take for the commit.
    ///
    /// # Errors
    /// The store failed.
    pub fn adopt_commit(&self, source: &GitSource, commit: &str, layer: &LayerInfo) -> Result<GitSource, OpError> {
        let source = GitSource { vendored: Some(layer.diff_id.to_string()), ..source.clone() };
        let remote = Remote::Git(source.clone());
        self.keep(&remote, &[git_parts(&source, commit)], layer, &Vec::new(), 0)?;
        Ok(source)
    }
}
