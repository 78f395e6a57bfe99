//! All inputs of a build in one directory, an OCI image layout: images as they are, files and commits as artifacts.
//!
//! `index.json` lists what is there; its annotations say which input an entry is. Images carry the usual names, so that
//! other tools read them (`skopeo copy oci:DIR:docker.io/library/debian:12 …`); a file is the one blob of an artifact, with
//! its own sha256; a commit is a layer with the commit's files. Whatever is read is verified against the digest it goes by.

mod read;
mod write;

pub use read::{Vendored, VendoredCommit, VendoredFile};
pub use write::{Item, write};

/// Which kind of input an entry is: [`IMAGE`], [`FILE`], [`COMMIT`].
const INPUT: &str = "rbuild.input";
const IMAGE: &str = "image";
const FILE: &str = "file";
const COMMIT: &str = "git";
/// Of an image: what its name led to in the registry, an index or the manifest.
const DIGEST: &str = "rbuild.digest";
/// Of files and commits: where it came from, without credentials.
const URL: &str = "rbuild.url";
/// Of a file: its sha256.
const CONTENT: &str = "rbuild.content";
/// Of a file: when the server said that it was last modified.
const MODIFIED: &str = "rbuild.modified";
/// Of a commit: the branch or tag that it was asked for by.
const REFERENCE: &str = "rbuild.ref";
/// Of a commit: its id.
const ID: &str = "rbuild.commit";
/// Of a commit: which part of it, and how: `subdir=…,keep-git-dir,no-submodules`.
const SHAPE: &str = "rbuild.shape";

/// `artifactType` of a file.
const FILE_TYPE: &str = "application/vnd.rbuild.input.file.v1";
/// `artifactType` of a commit.
const COMMIT_TYPE: &str = "application/vnd.rbuild.input.git.v1";
/// The config of an artifact that has none (image-spec, "Guidance for an Empty Descriptor").
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");

/// What of a commit a source takes.
fn shape(source: &crate::graph::GitSource) -> String {
    let mut parts = Vec::new();
    parts.extend(source.subdir.as_deref().map(|subdir| format!("subdir={subdir}")));
    parts.extend(source.keep_git_dir.then(|| "keep-git-dir".to_owned()));
    parts.extend(source.no_submodules.then(|| "no-submodules".to_owned()));
    parts.join(",")
}
