//! Filling a vendor directory with what a lock file names.

use super::{InputPolicy, Stages, gather, plain};
use crate::dockerfile::lower::Images as _;
use crate::export::images;
use crate::graph::{HttpSource, Remote};
use crate::image::Reference;
use crate::ops::OpError;
use crate::ops::remote::Fetcher;
use crate::pipeline::bases::{Asked, Bases};
use crate::pipeline::{BuildError, BuildRequest, failure, targets};
use crate::solver::Sink;
use crate::store::{Access, Store};
use crate::vendor::{self, Item};
use std::path::Path;

/// What [`vendor`] put into a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images.
    pub images: usize,
    /// Files.
    pub files: usize,
    /// Commits.
    pub commits: usize,
}

/// Puts all inputs of the Dockerfile of a request's one target, as its lock file names them, into a directory, from which another machine
/// builds without a network. What the store lacks is pulled and fetched; of images those for the target's platforms are taken.
/// `further` as for [`super::update`].
///
/// # Errors
/// The Dockerfile is not valid, an input can't be had or is not what it must be, or the directory can't be written.
pub fn vendor(
    request: &BuildRequest,
    stages: Stages,
    further: &[Remote],
    dest: &Path,
    sink: &Sink<'_>,
) -> Result<Collected, BuildError> {
    let files = targets::parse(request, sink)?;
    let (Some(target), Some(file)) = (request.targets.first(), files.first()) else {
        return Err(BuildError::Interrupted);
    };
    let store = Store::open(&request.root, Access::Shared)?;
    let asked = Asked::default();
    let bases = Bases::new(&store, request, &target.inputs, &asked, None, sink)?;
    let gathered = gather(file, target, &bases, stages);
    if request.cancel.is_set() {
        return Err(BuildError::Interrupted);
    }
    let gathered = gathered.map_err(BuildError::Dockerfile)?;
    let mut collected = Collected::default();
    let mut items = Vec::new();
    for (text, platform) in &gathered.images {
        // Found a moment ago.
        let (Ok(name), Ok(base)) = (text.parse::<Reference>(), bases.find(text, platform)) else { continue };
        let digest = target.inputs.image(&name).map_or(base.manifest, |entry| entry.digest);
        items.push(Item::Image { name, digest, image: images::read(&store, &base.manifest)?.into() });
        collected.images += 1;
    }
    let fetcher = Fetcher { store: &store, secrets: &request.secrets, cancel: &request.cancel, fresh: false };
    let mut add = |item: Item| {
        match &item {
            Item::Image { .. } => {}
            Item::File { .. } => collected.files += 1,
            Item::Commit { .. } => collected.commits += 1,
        }
        items.push(item);
    };
    for remote in further {
        add(collect(&fetcher, &target.inputs, remote)?);
    }
    for (remote, span) in &gathered.remotes {
        let item = collect(&fetcher, &target.inputs, remote);
        add(item.map_err(|error| failure::of_source(error, format!("fetch {remote}"), *span, &file.source))?);
    }
    vendor::write(&store, &items, dest, &request.cancel)?;
    Ok(collected)
}

fn collect(fetcher: &Fetcher<'_>, policy: &InputPolicy, remote: &Remote) -> Result<Item, OpError> {
    let pinned = policy.pinned(remote).unwrap_or_else(|| remote.clone());
    match (remote, pinned) {
        (_, Remote::Http(source)) => {
            let source = plain(&source);
            let fetched = fetcher.fetch(&Remote::Http(source.clone()), &|| {})?;
            // The layer holds this one file.
            let known = fetched.digest().zip(Some(fetched.layer.size));
            let (content, size) =
                known.ok_or_else(|| OpError::input("remote-failed", format!("nothing is known of {remote}")))?;
            let modified = fetched.modified().map(str::to_owned);
            let source = HttpSource { checksum: Some(content), ..source };
            Ok(Item::File { source, size, modified, layer: fetched.layer.diff_id })
        }
        (Remote::Git(named), Remote::Git(source)) => {
            let commit = fetcher.commit(&source)?;
            let layer = fetcher.fetch(&Remote::Git(super::at_commit(&source, &commit)), &|| {})?.layer;
            // By the name that the Dockerfile has, so that it is found without a lock file, too.
            Ok(Item::Commit { source: named.clone(), commit, layer })
        }
        (Remote::Http(_), Remote::Git(_)) => Err(OpError::input("remote-failed", "a file is no commit")),
    }
}
