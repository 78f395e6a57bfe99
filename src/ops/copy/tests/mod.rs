//! The rules of COPY (dockerfile.md 1.7) on real files in a temporary store. They set owners and so need root, and say
//! so where they are run without.

mod archives;
mod keys;
mod libs;
mod reuse;
mod rules;

use crate::graph::CopyOp;
use crate::ops::OpError;

/// One rule: context, base, instruction, and lines that the result has (`!` in front: has not).
pub struct Case<'c> {
    pub rule: &'c str,
    pub context: &'c [&'c str],
    pub base: &'c [&'c str],
    pub op: CopyOp,
    pub result: &'c [&'c str],
}

/// Compares a result with what its rule says.
pub fn check(case: &Case<'_>, result: Result<(Vec<String>, super::Planned), OpError>) {
    let lines = result.unwrap_or_else(|e| panic!("{}: {e}", case.rule)).0;
    for expected in case.result {
        match expected.strip_prefix('!') {
            Some(path) => {
                assert!(!lines.iter().any(|l| l.starts_with(&format!("{path} "))), "{}: {path}\n{lines:#?}", case.rule)
            }
            None => assert!(lines.iter().any(|l| l == expected), "{}: {expected}\n{lines:#?}", case.rule),
        }
    }
}
