//! `RUN --mount=type=cache`: a step works on an overlay of the cache's change sets (see [`crate::store::mounts`]), or,
//! where the kernel mounts no overlay, on a copy. Either is given to the cache only when the step has succeeded.

use super::staging::{Scope, stage};
use crate::base::Cancel;
use crate::base::fs::{self, Context};
use crate::graph::{CopySource, RunMount};
use crate::layer::{scan, tar_in, tar_out};
use crate::ops::{Cx, OpError};
use crate::sandbox::{Mount, Upper};
use crate::store::mounts::{CacheMount, Sharing};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

/// A cache in use by a step.
#[derive(Debug)]
pub(super) struct InUse<'s> {
    cache: CacheMount<'s>,
    /// Holds the step's own part, under the store's `tmp/`.
    dir: tempfile::TempDir,
    overlay: bool,
    /// The top directory as the cache has it, if the step was given the same.
    top: Option<Top>,
    readonly: bool,
}

/// Looks of the top directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Top {
    mode: u32,
    uid: u32,
    gid: u32,
}

/// Mode of a new cache's top directory.
const NEW_MODE: u32 = 0o755;

/// Takes every cache that the mounts name, once each, in the order of their ids: two steps that want the same caches
/// can't end up waiting for each other.
///
/// Without overlay nobody can work beside another, so that `shared` is as `locked` then.
pub(super) fn take<'s>(
    cx: &Cx<'s>,
    mounts: &[RunMount],
    overlay: bool,
) -> Result<BTreeMap<String, CacheMount<'s>>, OpError> {
    let mut wanted: BTreeMap<&str, Sharing> = BTreeMap::new();
    for mount in mounts {
        if let RunMount::Cache { id, sharing, .. } = mount {
            let sharing = match sharing.as_str() {
                "private" => Sharing::Private,
                "shared" if overlay => Sharing::Shared,
                _ => Sharing::Locked,
            };
            wanted.entry(id).or_insert(sharing);
        }
    }
    let mut taken = BTreeMap::new();
    for (id, sharing) in wanted {
        let cache = cx.store.cache_mount(id, sharing, cx.cancel)?.ok_or(OpError::Cancelled)?;
        taken.insert(id.to_owned(), cache);
    }
    Ok(taken)
}

/// What `--mount=type=cache` says of the cache's contents.
pub(super) struct Wish<'m> {
    pub from: Option<&'m CopySource>,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub readonly: bool,
}

/// Makes the mount of a cache that was taken.
pub(super) fn mount<'s>(
    scope: &Scope<'_, 's, '_>,
    cache: CacheMount<'s>,
    wish: &Wish<'_>,
    target: String,
) -> Result<(Mount, InUse<'s>), OpError> {
    let Scope { cx, overlay, .. } = *scope;
    if cache.layers()?.is_empty() {
        begin(scope, &cache, wish)?;
    }
    let layers = cache.layers()?;
    let Some(highest) = layers.last() else {
        return Err(OpError::input("cache-removed", format!("the cache for {target} was removed meanwhile")));
    };
    let before = Top::of(highest)?;
    let top = Top {
        mode: wish.mode.unwrap_or(before.mode),
        uid: wish.uid.unwrap_or(before.uid),
        gid: wish.gid.unwrap_or(before.gid),
    };
    let dir = cx.store.temp_dir()?;
    let own = dir.path().join("upper");
    fs::create_dir_all(&own)?;
    let mount = if overlay {
        let work = dir.path().join("work");
        fs::create_dir_all(&work)?;
        let upper = Some(Upper { dir: own.clone(), work });
        Mount::Overlay { lowers: layers.clone(), upper, path: "/".into(), target, readonly: wish.readonly }
    } else {
        if layers.len() > 1 {
            let reason = format!("the cache for {target} has change sets that only an overlay can stack");
            return Err(OpError::input("cache-stacked", reason).with_help("remove it with `rbuild cache rm`"));
        }
        copy_tree(highest, &own, cx.cancel)?;
        Mount::Bind { source: own.clone(), target, readonly: wish.readonly }
    };
    top.apply(&own)?;
    Ok((mount, InUse { cache, dir, overlay, top: (top == before).then_some(top), readonly: wish.readonly }))
}

/// First contents: a copy of the seed, or an empty directory.
fn begin(scope: &Scope<'_, '_, '_>, cache: &CacheMount<'_>, wish: &Wish<'_>) -> Result<(), OpError> {
    let Scope { cx, inputs, who, .. } = *scope;
    let new =
        Top { mode: wish.mode.unwrap_or(NEW_MODE), uid: wish.uid.unwrap_or(who.uid), gid: wish.gid.unwrap_or(who.gid) };
    match wish.from {
        Some(source) => {
            let staged = stage(cx, inputs, source, None)?;
            if !staged.is_dir {
                return Err(OpError::input(
                    "cache-seed-no-directory",
                    "the first contents of a cache are no directory",
                ));
            }
            new.apply(&staged.path)?;
            Ok(cache.begin(&staged.path)?)
        }
        None => {
            let dir = cx.store.temp_dir()?;
            let empty = dir.path().join("empty");
            fs::create_dir_all(&empty)?;
            new.apply(&empty)?;
            Ok(cache.begin(&empty)?)
        }
    }
}

impl InUse<'_> {
    /// Gives the cache what the step did in it. Without this all of it is thrown away.
    pub fn keep(self) -> Result<(), OpError> {
        let own = self.dir.path().join("upper");
        if self.readonly {
            return Ok(());
        }
        if !self.overlay {
            return Ok(self.cache.replace(&own)?);
        }
        let empty = std::fs::read_dir(&own).at("list", &own)?.next().is_none();
        if empty && Some(Top::of(&own)?) == self.top {
            return Ok(());
        }
        Ok(self.cache.append(&own)?)
    }
}

impl Top {
    fn of(path: &Path) -> Result<Top, OpError> {
        let stat = rustix::fs::lstat(path).at("look at", path)?;
        Ok(Top { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid })
    }

    fn apply(self, path: &Path) -> Result<(), OpError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).at("open directory", path)?;
        // Owner first: a change of it clears set-id bits.
        rustix::fs::fchown(dir.as_fd(), Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
            .at("set owner of", path)?;
        rustix::fs::fchmod(dir.as_fd(), Mode::from_raw_mode(self.mode)).at("set permissions of", path)?;
        Ok(())
    }
}

/// Copies a tree with all its metadata, as an archive in a pipe.
fn copy_tree(from: &Path, to: &Path, cancel: &Cancel) -> Result<(), OpError> {
    let index = scan::index(from, &scan::Known::new(), cancel)?;
    let (mut reader, writer) = std::io::pipe().at("open a pipe to", to)?;
    let source = from.to_owned();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let mut out = std::io::BufWriter::new(writer);
            tar_out::write(&index, &source, &mut out, cancel)?;
            std::io::Write::flush(&mut out).at("copy", &source)
        });
        let read = tar_in::apply(&mut reader, to, &tar_in::Options::plain(cancel));
        drop(reader);
        let written = writing.join().unwrap_or(Ok(()));
        read.map_err(|e| OpError::input("cache-copy", format!("the cache can't be copied: {e}")))?;
        Ok(written?)
    })
}
