//! Build contexts: local directories read in place, filtered by their ignore files, hashed through the stat cache.

use std::path::PathBuf;

/// All contexts of a build.
#[derive(Debug, Default)]
pub struct Contexts {
    _private: (),
}

/// A context to open.
#[derive(Clone, Debug)]
pub struct ContextSpec {
    /// Name; `None`: the main one.
    pub name: Option<String>,
    /// Its directory.
    pub dir: PathBuf,
    /// The ignore file that applies, if there is one (`<Dockerfile>.dockerignore`, else `.dockerignore` in it).
    pub ignore_file: Option<PathBuf>,
}
