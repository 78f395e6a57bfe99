//! Flags about where images, files and commits come from, and which: those of `build`, `plan`, `lock` and `vendor`.

use super::failure::{Code, Failure};
use super::manifest::ManifestArgs;
use super::secret::{self, SecretArg};
use super::{Session, context};
use crate::base::Cancel;
use crate::graph::Remote;
use crate::lock::{Change, Lock};
use crate::net;
use crate::pipeline::inputs::{InputPolicy, LockFile, LockFileError, Stages, settle_context};
use crate::pipeline::{BuildRequest, DockerfileInput, Target};
use crate::registry::Keyring;
use crate::solver::event::Event;
use crate::store::Store;
use crate::ui::{out, report, sanitize};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which inputs a build may use.
#[derive(Clone, Debug, Args)]
pub struct InputArgs {
    /// The lock file [default: rbuild.lock beside the Dockerfile]
    #[arg(long, value_name = "FILE")]
    pub lock_file: Option<PathBuf>,

    /// Take no notice of a lock file
    #[arg(long, conflicts_with_all = ["lock_file", "locked"])]
    pub no_lock: bool,

    /// Refuse to build if an image, file or commit is not in the lock file, or its name stands for another by now
    #[arg(long)]
    pub locked: bool,

    /// Fetch nothing: images, files and commits come from the store or a vendor directory. RUN keeps its network; see
    /// --network
    #[arg(long)]
    pub offline: bool,

    /// Look here, where `rbuild vendor` was, before the network is asked [default: what the lock file names]
    #[arg(long, value_name = "DIR")]
    pub vendor: Option<PathBuf>,
}

impl InputArgs {
    /// With `--offline`: from here on nothing is fetched. Comes before whatever might.
    pub fn go_offline(&self) {
        if self.offline {
            net::go_offline();
        }
    }

    /// Makes a build context on the network what the lock file says, if one was named: there is none beside a Dockerfile
    /// that is not here yet.
    pub fn settle_context(
        &self,
        store: &Store,
        remote: Remote,
        text: &str,
        secrets: &BTreeMap<String, Vec<u8>>,
        cancel: &Cancel,
    ) -> Result<Remote, Failure> {
        let policy = self.policy_with(InputPolicy::default(), self.locked && self.lock_file.is_some())?;
        let (settled, told) = settle_context(store, &policy, (&remote, text), secrets, cancel)?;
        report::warnings(&told);
        Ok(settled)
    }

    /// What these flags make of the policy that goes without saying.
    pub fn policy(&self, usual: InputPolicy) -> Result<InputPolicy, Failure> {
        self.policy_with(usual, self.locked)
    }

    fn policy_with(&self, usual: InputPolicy, locked: bool) -> Result<InputPolicy, Failure> {
        let lock = match &self.lock_file {
            Some(path) => Some(LockFile::read(path)?.ok_or_else(|| missing(&path.display().to_string()))?),
            None => usual.lock.filter(|_| !self.no_lock),
        };
        if locked && lock.is_none() {
            return Err(missing(crate::lock::FILE));
        }
        if let Some(dir) = self.vendor.as_deref().filter(|dir| !dir.exists()) {
            let text = format!("the vendor directory {} is not there", dir.display());
            return Err(Failure::new(Code::NotFound, text).help("fill it: `rbuild vendor DIR`"));
        }
        let vendor = self.vendor.clone().or_else(|| lock.as_ref().and_then(LockFile::vendor));
        Ok(InputPolicy { lock, locked, offline: self.offline, vendor, context: usual.context })
    }
}

/// What `lock` and `vendor` are told alike.
pub struct Asked<'a> {
    /// Which Dockerfile.
    pub manifest: &'a ManifestArgs,
    /// For fetching.
    pub secrets: &'a [SecretArg],
    /// The lock file, if it was named.
    pub lock_file: Option<&'a PathBuf>,
    /// Not all stages.
    pub needed: bool,
    /// The build context, or its address.
    pub context: &'a Path,
}

/// A request of one target, whose lock file is to be written.
pub struct Prepared {
    /// The request.
    pub request: BuildRequest,
    /// The lock file as it is.
    pub written: LockFile,
    /// Which stages are looked at.
    pub stages: Stages,
    /// The context, if it is on the network and the lock file was named.
    pub further: Vec<Remote>,
}

impl Asked<'_> {
    /// Opens the store and the context.
    pub fn prepare(&self, session: &Session) -> Result<Prepared, Failure> {
        session.enter_to_write()?;
        let cancel = session.watch();
        let secrets = secret::read_all(self.secrets)?;
        let place = context::prepare(self.context, self.manifest.file.as_deref(), &secrets, session, &cancel)?;
        let mut target = self.manifest.target_for(place.dockerfile.clone(), place.context.clone(), session)?;
        let written = to_write(self.lock_file, &target, self.context)?;
        target.inputs = InputPolicy { lock: Some(written.clone()), ..InputPolicy::default() };
        let mut request = session.request(vec![target])?;
        request.secrets = secrets;
        request.cancel = cancel;
        request.pulling.keyring = Keyring::from_environment();
        let stages = if self.needed { Stages::Target } else { Stages::All };
        let further = context::remote(self.context)?.filter(|_| self.lock_file.is_some()).into_iter().collect();
        Ok(Prepared { request, written, stages, further })
    }
}

fn missing(name: &str) -> Failure {
    Failure::new(Code::NotFound, format!("there is no lock file {name}")).help("write it: `rbuild lock`")
}

/// The policy of a build of which nothing was said: the lock file beside the Dockerfile is heeded.
pub fn usual(dockerfile: &DockerfileInput) -> Result<InputPolicy, Failure> {
    let Some(path) = &dockerfile.path else { return Ok(InputPolicy::default()) };
    let lock = LockFile::read(&LockFile::beside(path))?;
    let vendor = lock.as_ref().and_then(LockFile::vendor);
    Ok(InputPolicy { lock, vendor, ..InputPolicy::default() })
}

/// Which lock file is written: the one that was named, or the one beside the Dockerfile, if that is the user's own.
pub fn to_write(named: Option<&PathBuf>, target: &Target, context: &Path) -> Result<LockFile, Failure> {
    let is_own = context.is_dir();
    let beside = target.dockerfile.path.as_deref().filter(|_| is_own).map(LockFile::beside);
    let Some(path) = named.cloned().or(beside) else {
        return Err(Failure::usage("a lock file can't be written beside a Dockerfile that is not in a directory here")
            .help("name the lock file: --lock-file FILE"));
    };
    Ok(LockFile::read(&path)?.unwrap_or(LockFile { path, lock: Lock::default() }))
}

/// Shows what a command does that draws no progress.
pub fn tell(event: Event) {
    match event {
        Event::Diagnostic { diagnostic } => report::warnings(&[diagnostic]),
        Event::Exporting { what, .. } => report::show(&format!("{}\n", sanitize::line(&what))),
        _ => {}
    }
}

/// Prints what changes in a lock file, a line each.
pub fn show_changes(changes: &[Change]) -> Result<(), Failure> {
    for Change { name, old, new } in changes {
        let text = match (old, new) {
            (Some(old), Some(new)) => format!("updated  {name}  {old} → {new}"),
            (None, Some(new)) => format!("added    {name}  {new}"),
            (old, None) => format!("removed  {name}  {}", old.as_deref().unwrap_or_default()),
        };
        out::line(&sanitize::line(&text))?;
    }
    Ok(())
}

/// `2 images, 1 file`.
pub fn counted(images: usize, files: usize, commits: usize) -> String {
    let count = |n: usize, word: &str| match n {
        0 => None,
        1 => Some(format!("1 {word}")),
        n => Some(format!("{n} {word}s")),
    };
    let parts: Vec<String> =
        [count(images, "image"), count(files, "file"), count(commits, "commit")].into_iter().flatten().collect();
    if parts.is_empty() { "nothing".into() } else { parts.join(", ") }
}

impl From<LockFileError> for Failure {
    fn from(error: LockFileError) -> Failure {
        match error {
            LockFileError::Io(error) => error.into(),
            LockFileError::Invalid(diagnostic) => {
                Failure { diagnostics: vec![*diagnostic], ..Failure::silent(Code::Manifest as u8) }
            }
        }
    }
}
