//! Build contexts: local directories read in place, filtered by their ignore files, hashed through the stat cache.

use super::OpError;
use crate::base::fs::Context as _;
use crate::base::root::Root;
use crate::dockerfile::ignore::Ignore;
use crate::graph::ContextId;
use crate::store::statcache::StatCache;
use crate::store::{Store, StoreError};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest ignore file that is read, in bytes.
const IGNORE_LIMIT: u64 = 16 << 20;

/// All contexts of a build, in the order of the graph's.
#[derive(Debug, Default)]
pub struct Contexts {
    all: Vec<LocalContext>,
}

/// A context to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextSpec {
    /// Name; `None`: the main one.
    pub name: Option<String>,
    /// Its directory.
    pub dir: PathBuf,
    /// The ignore file that applies, if there is one (`<Dockerfile>.dockerignore`, else `.dockerignore` in it).
    pub ignore_file: Option<PathBuf>,
}

/// An open context.
#[derive(Debug)]
pub struct LocalContext {
    name: Option<String>,
    root: Root,
    ignore: Ignore,
    ignore_file: Option<PathBuf>,
    stats: StatCache,
}

impl Contexts {
    /// Opens each directory, reads its ignore file and loads its stat cache.
    ///
    /// Errors: a directory that can't be opened, an ignore file that can't be read or has a bad pattern
    /// (`ignore-file-invalid`).
    pub fn open(store: &Store, specs: Vec<ContextSpec>) -> Result<Contexts, OpError> {
        let all = specs.into_iter().map(|spec| LocalContext::open(store, spec)).collect::<Result<_, _>>()?;
        Ok(Contexts { all })
    }

    /// One of them.
    pub fn get(&self, id: ContextId) -> Option<&LocalContext> {
        self.all.get(id.index())
    }

    /// Keeps what was hashed for the next build.
    pub fn save(&self) -> Result<(), StoreError> {
        self.all.iter().try_for_each(|c| c.stats.save())
    }
}

impl LocalContext {
    fn open(store: &Store, spec: ContextSpec) -> Result<LocalContext, OpError> {
        let root = Root::open(&spec.dir)?;
        let ignore = match &spec.ignore_file {
            Some(file) => read_ignore(file)?,
            None => Ignore::default(),
        };
        // The cache is named by the real directory, so that `.` and an absolute path share it.
        let dir = std::fs::canonicalize(&spec.dir).at("resolve", &spec.dir)?;
        let stats = StatCache::load(store, &String::from_utf8_lossy(dir.as_os_str().as_bytes()));
        Ok(LocalContext { name: spec.name, root, ignore, ignore_file: spec.ignore_file, stats })
    }

    /// Its name; `None`: the main one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What it is called in messages.
    pub fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("build context `{name}`"),
            None => "build context".to_owned(),
        }
    }

    /// Its directory.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Its ignore rules.
    pub fn ignore(&self) -> &Ignore {
        &self.ignore
    }

    /// What its files hashed to.
    pub fn stats(&self) -> &StatCache {
        &self.stats
    }

    /// The ignore rule that hides `path`, as a note: "ignored by .dockerignore:7 `*.sh`".
    pub fn ignored_note(&self, path: &[u8]) -> Option<String> {
        let rule = self.ignore.excluded_by(path)?;
        let file = self.ignore_file.as_deref().and_then(Path::file_name).unwrap_or_default();
        Some(format!("ignored by {}:{} `{}`", file.to_string_lossy(), rule.line, rule.text))
    }
}

fn read_ignore(file: &Path) -> Result<Ignore, OpError> {
    let invalid = |reason: String| {
        OpError::input("ignore-file-invalid", format!("ignore file {} can't be used: {reason}", file.display()))
    };
    let size = std::fs::metadata(file).at("look at", file)?.len();
    if size > IGNORE_LIMIT {
        return Err(invalid(format!("it has {size} bytes, more than the limit of {IGNORE_LIMIT}")));
    }
    let bytes = crate::base::fs::read(file)?;
    Ignore::parse(&String::from_utf8_lossy(&bytes)).map_err(|e| invalid(e.to_string()))
}
