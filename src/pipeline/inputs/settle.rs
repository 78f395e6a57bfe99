//! Before a graph is solved: its sources on the network get what the lock file says that they must be, what `--locked`
//! wants to know is asked, and what a vendor directory holds is taken from there.

use super::{InputPolicy, at_commit, name_of, open_vendored};
use crate::base::Cancel;
use crate::diag::{Diagnostic, Severity, Source, Span};
use crate::dockerfile::Dockerfile;
use crate::dockerfile::lower::{BaseImage, Images, NotFound};
use crate::graph::remote::redacted;
use crate::graph::{Graph, HttpSource, Op, Remote, Step};
use crate::image::{ImageConfig, Platform, Reference};
use crate::lock::Name;
use crate::ops::OpError;
use crate::ops::remote::{Fetcher, Recalled, recall};
use crate::pipeline::{BuildError, BuildRequest, Target, failure};
use crate::solver::SolveError;
use crate::store::Store;
use crate::vendor::Vendored;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Settles what the sources among a target's steps are. Gives warnings, of names that the lock file does not have or nobody
/// uses.
///
/// # Errors
/// With `--locked`: a source that is not locked, or is another by now. With `--offline`: one that nothing here holds.
pub fn settle(
    steps: &mut [Step],
    request: &BuildRequest,
    target: &Target,
    file: &Dockerfile,
    store: &Store,
) -> Result<Vec<Diagnostic>, BuildError> {
    let policy = &target.inputs;
    let vendored = open_vendored(policy, store, &request.cancel)?;
    let fetcher = Fetcher { store, secrets: &request.secrets, cancel: &request.cancel, fresh: false };
    let settling = Settling { policy, vendored, fetcher, source: &file.source };
    let mut told = Vec::new();
    let mut used = BTreeSet::new();
    for step in steps {
        let span = step.span.unwrap_or_default();
        match &mut step.op {
            Op::Image(image) => told.extend(settling.image(&image.reference, span, &mut used)),
            Op::Fetch(remote) => match settling.remote(remote, span, &mut used) {
                Ok(diagnostics) => told.extend(diagnostics),
                Err(error) => return Err(failure::of_source(error, step.label.clone(), span, &file.source)),
            },
            _ => {}
        }
    }
    if told.iter().any(Diagnostic::is_error) {
        return Err(BuildError::Dockerfile(told.into_iter().filter(Diagnostic::is_error).collect()));
    }
    if policy.locked {
        told.extend(unused(target, file, used));
    }
    Ok(told)
}

/// The same for a build context on the network, before there is a Dockerfile; `text` is how the user wrote it.
///
/// # Errors
/// As [`settle`], told of the command line.
pub fn settle_context(
    store: &Store,
    policy: &InputPolicy,
    (remote, text): (&Remote, &str),
    secrets: &BTreeMap<String, Vec<u8>>,
    cancel: &Cancel,
) -> Result<(Remote, Vec<Diagnostic>), BuildError> {
    let source = Source::new("<command line>", redacted(text));
    let span = Span::new(0..source.text().len());
    let vendored = open_vendored(policy, store, cancel)?;
    let fetcher = Fetcher { store, secrets, cancel, fresh: false };
    let settling = Settling { policy, vendored, fetcher, source: &source };
    let mut settled = remote.clone();
    let told = settling
        .remote(&mut settled, span, &mut BTreeSet::new())
        .map_err(|error| failure::of_source(error, format!("fetch {remote}"), span, &source))?;
    if told.iter().any(Diagnostic::is_error) { Err(BuildError::Dockerfile(told)) } else { Ok((settled, told)) }
}

struct Settling<'s> {
    policy: &'s InputPolicy,
    vendored: Option<Vendored>,
    fetcher: Fetcher<'s>,
    source: &'s Source,
}

impl Settling<'_> {
    /// An image that was found; with `--locked` it would not have been, were it not in the lock file.
    fn image(&self, reference: &str, span: Span, used: &mut BTreeSet<Name>) -> Option<Diagnostic> {
        let name = reference.parse::<Reference>().ok()?;
        let key = Name::Image(name.to_string());
        let warning = self.policy.image(&name).is_none().then(|| self.not_locked(&key, span)).flatten();
        used.insert(key);
        warning
    }

    fn remote(&self, remote: &mut Remote, span: Span, used: &mut BTreeSet<Name>) -> Result<Vec<Diagnostic>, OpError> {
        let name = name_of(remote);
        let pinned = self.policy.pinned(remote);
        let mut told = Vec::new();
        match &pinned {
            Some(pinned) if self.policy.locked && !self.policy.offline => {
                told.extend(self.drift(remote, pinned, span)?)
            }
            Some(_) => {}
            None => told.extend(self.not_locked(&name, span)),
        }
        used.insert(name);
        if told.iter().any(Diagnostic::is_error) {
            return Ok(told);
        }
        if let Some(pinned) = pinned {
            *remote = pinned;
        }
        self.stock(remote)?;
        Ok(told)
    }

    /// A name that the lock file lacks: an error where nothing else may be used.
    fn not_locked(&self, name: &Name, span: Span) -> Option<Diagnostic> {
        let lock = self.policy.lock_name();
        if self.policy.locked {
            let message = format!("{name} is not in {lock}, and --locked uses nothing else");
            return Some(Diagnostic::error("not-locked", message, self.source, span).help("add it: `rbuild lock`"));
        }
        self.policy.lock.as_ref()?;
        let message = format!("{name} is not in {lock}: what it stands for now is used");
        Some(Diagnostic::warning("not-locked", message, self.source, span).help("add it: `rbuild lock`"))
    }

    /// Asks what a source is now.
    fn drift(&self, remote: &Remote, pinned: &Remote, span: Span) -> Result<Option<Diagnostic>, OpError> {
        let (locked, found) = match (remote, pinned) {
            // The Dockerfile says itself what it must be, or it is where it cannot be asked.
            (Remote::Http(HttpSource { checksum: Some(_), .. }), _) => return Ok(None),
            (Remote::Http(_), Remote::Http(pinned)) => {
                let fetched = self.fetcher.fetch(remote, &|| {})?;
                let found =
                    fetched.digest().ok_or_else(|| OpError::input("remote-failed", "nothing is known of it"))?;
                (pinned.checksum.map(|c| c.to_string()), found.to_string())
            }
            (Remote::Git(source), Remote::Git(pinned)) => (pinned.commit.clone(), self.fetcher.commit(source)?),
            _ => return Ok(None),
        };
        let locked = locked.unwrap_or_default();
        if locked == found {
            return Ok(None);
        }
        let name = name_of(remote);
        Ok(Some(moved(&name.to_string(), &locked, &found, |message| {
            Diagnostic::error("lock-drift", message, self.source, span)
        })))
    }

    /// Takes a source from the vendor directory if the store lacks it, which settles what it is. Offline it must then be
    /// there.
    fn stock(&self, remote: &mut Remote) -> Result<(), OpError> {
        match recall(self.fetcher.store, remote)? {
            Recalled::Certain(_) => return Ok(()),
            // Without a lock file, what is here is as good as what is there.
            Recalled::LastTime(_) if self.policy.offline => return Ok(()),
            _ => {}
        }
        let Some(vendored) = &self.vendored else { return Ok(()) };
        let damaged = |e: crate::export::ExportError| OpError::input("vendor-damaged", e.to_string());
        let dir = self.policy.vendor.as_deref().unwrap_or(Path::new(""));
        match remote {
            Remote::Http(source) => {
                let Some(file) = vendored.file(source) else { return Ok(()) };
                let source_now = HttpSource { checksum: Some(file.content), ..source.clone() };
                let mut contents = vendored.open_file(&file).map_err(damaged)?;
                self.fetcher.adopt_file(&source_now, &mut contents, file.modified.as_deref(), dir)?;
                *remote = Remote::Http(source_now);
            }
            Remote::Git(source) => {
                let wanted = source.commit.as_deref().filter(|_| source.reference.is_none());
                let Some(commit) = vendored.commit(source, wanted) else { return Ok(()) };
                let source_now = at_commit(source, &commit.commit);
                let layer = vendored.take_commit(self.fetcher.store, &commit, self.fetcher.cancel).map_err(damaged)?;
                *remote = Remote::Git(self.fetcher.adopt_commit(&source_now, &commit.commit, &layer)?);
            }
        }
        Ok(())
    }
}

/// A name that stands for something else than the lock file says.
pub(super) fn moved(name: &str, locked: &str, found: &str, error: impl FnOnce(String) -> Diagnostic) -> Diagnostic {
    let [locked, found] = moved_notes(locked, found);
    error(format!("{name} is no longer what the lock file says")).note(locked).note(found).help(MOVED_HELP)
}

/// What to tell of a source that is not what the lock file says: nobody wrote that checksum into the Dockerfile.
pub fn blame(error: &SolveError, graph: &Graph, targets: &[Target]) -> Option<(String, String)> {
    let OpError::Input { code: "checksum-mismatch", .. } = &*error.error else { return None };
    let Op::Fetch(remote) = &graph.step(error.step).op else { return None };
    let policy = targets.iter().map(|target| &target.inputs).find(|policy| policy.pinned(remote).is_some())?;
    let note = format!("{} says what it must be", policy.lock_name());
    Some((note, "take what is there now: `rbuild lock --update`".to_owned()))
}

/// Both sides of a drift.
pub(crate) fn moved_notes(locked: &str, found: &str) -> [String; 2] {
    [format!("locked   {locked}"), format!("found    {found}")]
}

/// The way out of a drift.
pub(crate) const MOVED_HELP: &str =
    "take what is there now: `rbuild lock --update`; or build with what is locked: leave out --locked";

/// Entries of the lock file that no stage of the Dockerfile uses, as far as that can be told without asking for the images
/// of stages that this build does not need.
fn unused(target: &Target, file: &Dockerfile, mut used: BTreeSet<Name>) -> Option<Diagnostic> {
    let policy = &target.inputs;
    let lock = &policy.lock.as_ref()?.lock;
    used.extend(policy.context.as_ref().map(name_of));
    let gathered = super::gather(file, target, &Assumed, super::Stages::All).ok()?;
    used.extend(gathered.remotes.iter().map(|(remote, _)| name_of(remote)));
    let names = gathered.images.iter().filter_map(|(text, _)| text.parse::<Reference>().ok());
    used.extend(names.map(|name| Name::Image(name.to_string())));
    let idle: Vec<String> =
        lock.entries().into_keys().filter(|name| !used.contains(name)).map(|name| name.to_string()).collect();
    if idle.is_empty() {
        return None;
    }
    Some(Diagnostic {
        severity: Severity::Warning,
        code: "lock-unused".into(),
        message: format!("{} names what nothing uses: {}", policy.lock_name(), idle.join(", ")),
        labels: Vec::new(),
        notes: Vec::new(),
        help: vec!["remove it: `rbuild lock`".into()],
        fixes: Vec::new(),
        source: None,
    })
}

/// Images of which nothing is known but that they fit.
struct Assumed;

impl Images for Assumed {
    fn find(&self, reference: &str, platform: &Platform) -> Result<BaseImage, NotFound> {
        let config =
            ImageConfig { os: platform.os.clone(), architecture: platform.arch.clone(), ..ImageConfig::default() };
        Ok(BaseImage { reference: reference.to_owned(), manifest: crate::base::Digest::of(b""), config })
    }
}
