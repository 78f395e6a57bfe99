//! The main context of a build, made local: a directory as it is, an address or a repository fetched, an archive on standard
//! input unpacked.

use super::failure::{Code, Failure};
use super::manifest::{self, STDIN};
use super::{Session, address};
use crate::base::Cancel;
use crate::base::fs::Context as _;
use crate::base::root::Root;
use crate::graph::Remote;
use crate::layer::compress;
use crate::layer::tar_in::{self, Options};
use crate::ops::OpError;
use crate::ops::remote::Fetcher;
use crate::pipeline::DockerfileInput;
use crate::store::{Access, Store};
use crate::ui::report;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where a build's files are.
#[derive(Debug)]
pub struct Place {
    /// The context's directory; `None`: there is none.
    pub context: Option<PathBuf>,
    /// The Dockerfile.
    pub dockerfile: DockerfileInput,
    /// Keeps what was unpacked for this build alone.
    _kept: Option<(tempfile::TempDir, Store)>,
}

impl Place {
    /// A directory, and a Dockerfile from anywhere.
    pub fn local(context: &Path, dockerfile: DockerfileInput) -> Place {
        Place { context: Some(context.to_owned()), dockerfile, _kept: None }
    }
}

/// What a context that is not local means; `None` for directories and `-`.
pub fn remote(context: &Path) -> Result<Option<Remote>, Failure> {
    let Some(text) = context.to_str().filter(|_| !context.is_dir()) else { return Ok(None) };
    address::parse(text)
        .transpose()
        .map_err(|reason| Failure::usage(format!("the context '{text}' can't be fetched: {reason}")))
}

/// Gets the context and the Dockerfile (`file`: `-f`). The store is open to this process already.
pub fn prepare(
    context: &Path,
    file: Option<&Path>,
    secrets: &BTreeMap<String, Vec<u8>>,
    session: &Session,
    cancel: &Cancel,
) -> Result<Place, Failure> {
    prepare_settled(context, file, secrets, session, cancel, |_, remote| Ok(remote))
}

/// The same, where a context on the network is first made to be what a lock file says.
pub fn prepare_settled(
    context: &Path,
    file: Option<&Path>,
    secrets: &BTreeMap<String, Vec<u8>>,
    session: &Session,
    cancel: &Cancel,
    settle: impl FnOnce(&Store, Remote) -> Result<Remote, Failure>,
) -> Result<Place, Failure> {
    if let Some(remote) = remote(context)? {
        let store = Store::open(&session.store_root()?, Access::Shared)?;
        return fetched(&settle(&store, remote)?, file, secrets, &store, cancel);
    }
    if !manifest::is_none(context) {
        let dockerfile = manifest::read(file, context)?;
        return Ok(Place { context: Some(context.to_owned()), dockerfile, _kept: None });
    }
    let mut head = Vec::new();
    let mut input = manifest::stdin();
    input.by_ref().take(512).read_to_end(&mut head).at("read", STDIN)?;
    let whole = io::Cursor::new(head.clone()).chain(input);
    if manifest::is_archive(&head) {
        return unpacked(whole, file, session, cancel);
    }
    if file.is_some() {
        let text = "with the context '-' the Dockerfile comes from standard input, and -f is at odds";
        return Err(Failure::usage(text).help("name a directory as the context, or give an archive"));
    }
    let bytes = manifest::limited(Path::new(STDIN), whole)?;
    Ok(Place { context: None, dockerfile: DockerfileInput { name: STDIN.to_owned(), bytes, path: None }, _kept: None })
}

fn fetched(
    remote: &Remote,
    file: Option<&Path>,
    secrets: &BTreeMap<String, Vec<u8>>,
    store: &Store,
    cancel: &Cancel,
) -> Result<Place, Failure> {
    let fetcher = Fetcher { store, secrets, cancel, fresh: false };
    let fetch = |remote: &Remote| fetcher.fetch(remote, &|| report::show(&format!("fetching {remote}\n")));
    match (fetch(remote), remote) {
        (Ok(fetched), _) => {
            let dir = store.layer_fs(&fetched.layer.diff_id)?;
            Ok(Place { dockerfile: foreign(&dir, file, remote.to_string())?, context: Some(dir), _kept: None })
        }
        // As docker: a file that is no archive is the Dockerfile.
        (Err(OpError::Input { code: "remote-not-archive", .. }), Remote::Http(source)) if file.is_none() => {
            let plain = Remote::Http(crate::graph::HttpSource { unpack: false, ..source.clone() });
            let dir = store.layer_fs(&fetch(&plain).map_err(failure)?.layer.diff_id)?;
            let file = Root::open(&dir)?.open_file(source.name.as_bytes())?;
            let bytes = manifest::limited(&dir.join(&source.name), file)?;
            let dockerfile = DockerfileInput { name: remote.to_string(), bytes, path: None };
            Ok(Place { context: None, dockerfile, _kept: None })
        }
        (Err(error), _) => Err(failure(error)),
    }
}

fn unpacked(
    input: impl Read + Send,
    file: Option<&Path>,
    session: &Session,
    cancel: &Cancel,
) -> Result<Place, Failure> {
    let store = Store::open(&session.store_root()?, Access::Shared)?;
    let temp = store.temp_dir()?;
    // Owners mean nothing in a context.
    let options = Options { owner: Some((0, 0)), ..Options::plain(cancel) };
    let invalid = |reason: String| Failure::new(Code::Manifest, format!("the archive on standard input: {reason}"));
    let (mut reader, _) = compress::open_compressed(input, options.limits.bytes).map_err(|e| invalid(e.to_string()))?;
    tar_in::apply(&mut reader, temp.path(), &options).map_err(|e| invalid(e.to_string()))?;
    let dockerfile = foreign(temp.path(), file, "the archive on standard input".into())?;
    Ok(Place { context: Some(temp.path().to_owned()), dockerfile, _kept: Some((temp, store)) })
}

/// The Dockerfile in a context that is not the user's own: no link in it leads out of it.
fn foreign(dir: &Path, file: Option<&Path>, title: String) -> Result<DockerfileInput, Failure> {
    if file.is_some_and(|file| file.as_os_str() == "-") {
        return manifest::read(file, dir);
    }
    let root = Root::open(dir)?;
    let names: Vec<PathBuf> = match file {
        Some(file) => vec![file.to_owned()],
        None => vec!["Dockerfile".into(), "dockerfile".into(), "Containerfile".into()],
    };
    for name in &names {
        let path = name.as_os_str().as_bytes();
        let Ok(opened) = root.open_file(path) else { continue };
        let mut own = path.to_vec();
        own.extend_from_slice(b".dockerignore");
        for ignore in [own.as_slice(), b".dockerignore"] {
            let is_link = root.lstat(ignore)?.is_some_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFLNK);
            if is_link {
                let text = format!("'{}' in {title} is a symbolic link", String::from_utf8_lossy(ignore));
                return Err(Failure::new(Code::Manifest, text).help("it must be a file"));
            }
        }
        let bytes = manifest::limited(name, opened)?;
        return Ok(DockerfileInput { name: name.display().to_string(), bytes, path: Some(dir.join(name)) });
    }
    let wanted = names.first().map_or_else(String::new, |name| name.display().to_string());
    Err(Failure::new(Code::NotFound, format!("there is no {wanted} in {title}")).help("name one with `-f FILE`"))
}

/// A failure to fetch, outside any Dockerfile.
fn failure(error: OpError) -> Failure {
    match error {
        OpError::Input { code, message, notes, help, .. } => {
            let exit = match code {
                "remote-failed" => Code::Network,
                "remote-not-found" | "git-missing" | "offline-missing" => Code::NotFound,
                _ => Code::Step,
            };
            let told = notes.into_iter().fold(message, |text, note| format!("{text}; {note}"));
            help.into_iter().fold(Failure::new(exit, told), Failure::help)
        }
        OpError::Cancelled => Failure::new(Code::Interrupted, "interrupted"),
        OpError::Store(error) => error.into(),
        OpError::Io(error) => error.into(),
        other => Failure::new(Code::Step, other),
    }
}
