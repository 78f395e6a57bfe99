//! COPY and ADD of local files: selection, key, and writing straight into the new layer's directory.

use super::key::Preimage;
use super::{Cx, Inputs, OpError, Written};
use crate::graph::CopyOp;

/// A COPY whose sources are selected and hashed, ready to be looked up and, if need be, run.
#[derive(Debug)]
pub struct Planned {
    /// What enters the key.
    pub preimage: Preimage,
    /// Warnings: a name collision, a pattern that matches nothing.
    pub warnings: Vec<String>,
}

/// Selects and hashes the sources and resolves the destination.
pub fn plan(cx: &Cx<'_>, op: &CopyOp, inputs: &Inputs<'_>) -> Result<Planned, OpError> {
    let _ = (cx, op, inputs);
    unreachable!("skeleton")
}

/// Writes the layer directory.
pub fn run(cx: &Cx<'_>, op: &CopyOp, inputs: &Inputs<'_>, planned: &Planned) -> Result<Written, OpError> {
    let _ = (cx, op, inputs, planned);
    unreachable!("skeleton")
}
