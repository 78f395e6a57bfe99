//! What mounts of every type share: what they are made with, and private copies of what they name, made by the rules of
//! COPY into an empty root.

use super::super::{Cx, Inputs, OpError, Written, copy, user};
use crate::graph::{CopyOp, CopySource, StepId};
use crate::tree::{Rootfs, Trees};
use std::path::PathBuf;

/// What all mounts of a step are made with.
pub(super) struct Scope<'c, 's, 'i> {
    /// The build.
    pub cx: &'c Cx<'s>,
    /// Results of other steps.
    pub inputs: &'c Inputs<'i>,
    /// The step's user.
    pub who: &'c user::Identity,
    /// Whether the kernel mounts overlays on the store.
    pub overlay: bool,
}

/// Where a bind's files land in its staging root.
const STAGED: &str = "/bind";

/// A step id that stands for the empty root a bind is staged on.
const NOWHERE: StepId = StepId(u32::MAX);

fn bind_copy(source: &CopySource) -> CopyOp {
    CopyOp { link: true, ..CopyOp::new(NOWHERE, vec![plain(source)], STAGED) }
}

/// The same source for COPY, which would take `*` for a pattern: the source of a mount is a path.
fn plain(source: &CopySource) -> CopySource {
    let mut source = source.clone();
    if let CopySource::Context { pattern, .. } | CopySource::Step { pattern, .. } = &mut source {
        let special = |c: char| matches!(c, '*' | '?' | '[' | '\\');
        *pattern = pattern.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect();
    }
    source
}

/// What a copy of `source` would show, for the key of its step.
pub(super) fn plan(cx: &Cx<'_>, source: &CopySource, inputs: &Inputs<'_>) -> Result<copy::Planned, OpError> {
    let empty = empty_root();
    copy::plan(cx, &bind_copy(source), &with_empty(inputs, &empty))
}

fn empty_root() -> Rootfs {
    Rootfs { layers: Vec::new(), tree: Trees::empty() }
}

fn with_empty<'a, 'i: 'a>(inputs: &'a Inputs<'i>, empty: &'a Rootfs) -> impl Fn(StepId) -> &'a Rootfs + 'a {
    move |id| if id == NOWHERE { empty } else { inputs(id) }
}

/// A private copy of a mount's source.
#[derive(Debug)]
pub(super) struct Staged {
    /// The file or directory.
    pub path: PathBuf,
    /// Which of the two.
    pub is_dir: bool,
    _written: Written,
}

/// Copies what a mount's source names. `planned`: from [`plan`], if that was called for it.
pub(super) fn stage(
    cx: &Cx<'_>,
    inputs: &Inputs<'_>,
    source: &CopySource,
    planned: Option<&copy::Planned>,
) -> Result<Staged, OpError> {
    let planned_now;
    let planned = match planned {
        Some(planned) => planned,
        None => {
            planned_now = plan(cx, source, inputs)?;
            &planned_now
        }
    };
    let empty = empty_root();
    let written = copy::run(cx, &bind_copy(source), &with_empty(inputs, &empty), planned, None)?;
    let path = written.fs.join(STAGED.trim_start_matches('/'));
    Ok(Staged { is_dir: path.is_dir(), path, _written: written })
}
