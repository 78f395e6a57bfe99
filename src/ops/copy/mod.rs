//! COPY and ADD of local files: selection, key, and writing straight into the new layer's directory.
//!
//! ```text
//! pattern ── select ── dest ── libs ── key ──┐ plan: reads, hashes, decides, complains
//!                                            ├─ looked up by the caller
//!                     write ── unpack ───────┘ run: writes the layer directory, without a mount
//! ```
//!
//! What enters the key, and so what a change must touch to make the step run again: of each selected file its place,
//! type, mode, owner, extended attributes, link target and content, never its modification time; the destination and
//! the flags; and what resolving the destination reads of the base (the real path, and the directories above it, which
//! come up into the layer as they are). With `--link` the base is not read at all, but for names in `--chown`.
//!
//! A record keeps the preimage, so it must stay small: up to 512 files have a part each, and beyond that the files of
//! one directory share one, at the deepest level that keeps below that number. A directory of another step is one part
//! for each of its children, by the digests of the tree: it is not walked before it has to be copied.

mod bytes;
mod dest;
mod key;
mod libs;
mod pattern;
mod pick;
mod reuse;
mod select;
#[cfg(test)]
mod tests;
mod unpack;
mod write;

use super::key::Preimage;
use super::source::Source;
use super::{Cx, Inputs, OpError, Written, user};
use crate::base::Digest;
use crate::graph::{CopyOp, CopySource, StepId};
use crate::layer::mode::{ModeChange, parse_mode};
use crate::tree::{Rootfs, View};

/// A COPY whose sources are selected and hashed, ready to be looked up and, if need be, run.
#[derive(Debug)]
pub struct Planned {
    /// What enters the key.
    pub preimage: Preimage,
    /// Warnings: a name collision, a pattern that matches nothing.
    pub warnings: Vec<String>,
    picks: Vec<pick::Pick>,
    dest: dest::Dest,
    extras: Vec<libs::Extra>,
    looks: Looks,
    /// When the files were looked at, nanoseconds since the epoch: one that changed about then may have changed after.
    looked_at: i128,
}

impl Planned {
    /// Whether an archive is unpacked.
    pub fn unpacks(&self) -> bool {
        self.picks.iter().any(|pick| matches!(pick.what, pick::Picked::Archive(_)))
    }
}

/// A target that is taken by something that can't be replaced.
fn in_the_way(target: &[u8], is_dir: bool) -> OpError {
    let shown = String::from_utf8_lossy(target);
    if is_dir {
        OpError::input("copy-over-directory", format!("cannot replace the directory `/{shown}` with a file"))
            .with_help("remove the directory in a RUN before this line, or copy to another name")
    } else {
        OpError::input("copy-not-a-directory", format!("cannot copy a directory to `/{shown}`: it is no directory"))
            .with_help("remove it in a RUN before this line, or copy to another name")
    }
}

/// `--chown` and `--chmod`, resolved.
#[derive(Clone, Debug, Default)]
struct Looks {
    owner: Option<(u32, u32)>,
    mode: Option<ModeChange>,
}

impl Looks {
    fn new(cx: &Cx<'_>, op: &CopyOp, inputs: &Inputs<'_>) -> Result<Looks, OpError> {
        let owner = match &op.chown {
            // Also with `--link`: names mean what they mean in the base, and the key holds the numbers.
            Some(text) => Some(user::chown(&View::new(cx.trees, inputs(op.base)), text).map_err(|e| e.about(text))?),
            None => None,
        };
        let mode = match &op.chmod {
            Some(text) => {
                Some(parse_mode(text).map_err(|e| OpError::input("chmod-invalid", e.to_string()).about(text))?)
            }
            None => None,
        };
        Ok(Looks { owner, mode })
    }

    /// Mode and owner of a directory that is made because it is missing (dockerfile.md C7): of an octal `--chmod`, what
    /// mkdir(2) makes of it with the usual umask, 022, as in BuildKit.
    fn made(&self) -> (u32, u32, u32) {
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        let mode = match self.mode {
            Some(ModeChange::Absolute(mode)) => mode & 0o755,
            _ => 0o755,
        };
        (mode, uid, gid)
    }
}

/// Selects and hashes the sources and resolves the destination.
pub fn plan(cx: &Cx<'_>, op: &CopyOp, inputs: &Inputs<'_>) -> Result<Planned, OpError> {
    let looked_at = now();
    let looks = Looks::new(cx, op, inputs)?;
    let sources = open_sources(cx, op, &|step| inputs(step))?;
    let mut warnings = Vec::new();
    let mut picks = select::select(cx, op, &sources, &mut warnings)?;
    let base = (!op.link).then(|| View::new(cx.trees, inputs(op.base)));
    let dest = dest::resolve(base.as_ref(), op, &picks)?;
    dest::place(&dest, &mut picks);
    dest::check(base.as_ref(), &dest, &sources, &picks, op, &mut warnings)?;
    let extras =
        if op.with_libs { libs::needed(cx, op, base.as_ref(), &sources, &picks, &mut warnings)? } else { Vec::new() };
    let preimage = key::preimage(op, &sources, &picks, &dest, &extras, &looks)?;
    Ok(Planned { preimage, warnings, picks, dest, extras, looks, looked_at })
}

/// Writes the layer directory. `planned` must come from [`plan`] with the same arguments. `previous` is the layer that
/// the step made last time, if that is known: unchanged files come from it by hard link.
///
/// Errors: `copy-source-changed` if a file of a context is no longer what was planned, and what the system refuses.
pub fn run(
    cx: &Cx<'_>,
    op: &CopyOp,
    inputs: &Inputs<'_>,
    planned: &Planned,
    previous: Option<&Digest>,
) -> Result<Written, OpError> {
    let sources = open_sources(cx, op, &|step| inputs(step))?;
    let base = (!op.link).then(|| View::new(cx.trees, inputs(op.base)));
    let previous = previous.and_then(|layer| reuse::Previous::open(cx, layer));
    write::write(cx, op, &sources, base, planned, previous)
}

/// The sources of the instruction in its order; `None` for inline data.
fn open_sources<'a>(
    cx: &Cx<'a>,
    op: &CopyOp,
    rootfs: &dyn Fn(StepId) -> &'a Rootfs,
) -> Result<Vec<Option<Source<'a>>>, OpError> {
    op.sources.iter().map(|s| Source::open(cx, rootfs, s).map_err(|e| e.about(words(s)))).collect()
}

/// The words of the instruction that name a source.
fn words(source: &CopySource) -> &str {
    match source {
        CopySource::Context { pattern, .. } | CopySource::Step { pattern, .. } => pattern,
        CopySource::Remote { url, .. } => url,
        CopySource::Inline { name, .. } => name,
    }
}

/// Nanoseconds since the epoch.
fn now() -> i128 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128)
}
