//! Sources on the network: what is fetched, and which of it.

use crate::base::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Fetching files from the network. The step yields a root filesystem of one layer with these files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "lowercase")]
pub enum Remote {
    /// One file.
    Http(HttpSource),
    /// The files of a commit.
    Git(GitSource),
}

/// A file behind an HTTP(S) address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HttpSource {
    /// The address, verbatim.
    pub url: String,
    /// What the file is called.
    pub name: String,
    /// What it must be (sha256).
    pub checksum: Option<Digest>,
    /// It is an archive whose contents are meant.
    pub unpack: bool,
}

/// A commit of a git repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub struct GitSource {
    /// The repository as git takes it.
    pub url: String,
    /// Branch, tag, full reference or commit; `None`: what the repository's HEAD is.
    pub reference: Option<String>,
    /// What the commit's id must begin with: lower-case hexadecimal digits.
    pub commit: Option<String>,
    /// The directory of the repository that is meant.
    pub subdir: Option<String>,
    /// `.git` stays.
    pub keep_git_dir: bool,
    /// Submodules are left out.
    pub no_submodules: bool,
    /// The repository is a directory of this machine, which the user named on the command line.
    pub local: bool,
    /// The files come from a vendor directory, as this layer (diffID). Nothing proves that they are the commit's, so what is
    /// known of the commit otherwise is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendored: Option<String>,
}

/// Without credentials.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Http(http) => f.write_str(&redacted(&http.url)),
            Remote::Git(git) => {
                f.write_str(&redacted(&git.url))?;
                let reference = git.reference.as_deref().or(git.commit.as_deref()).unwrap_or_default();
                match &git.subdir {
                    Some(subdir) => write!(f, "#{reference}:{subdir}"),
                    None if reference.is_empty() => Ok(()),
                    None => write!(f, "#{reference}"),
                }
            }
        }
    }
}

/// An address without what stands before the `@` of its host, where that may hold a password.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}
