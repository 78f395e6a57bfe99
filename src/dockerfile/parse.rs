//! Text → AST: logical lines, then pest per instruction (grammar/dockerfile.pest).

use super::ast::Dockerfile;
use crate::diag::{Diagnostic, Source};

/// Parses a Dockerfile. All mistakes that can be told apart are reported at once; `Ok` may carry warnings.
pub fn parse(source: &Source) -> Result<(Dockerfile, Vec<Diagnostic>), Vec<Diagnostic>> {
    let _ = source;
    unreachable!("skeleton")
}

/// Parses one instruction text as stored by ONBUILD (heredoc bodies follow it in the same text).
pub fn parse_onbuild(text: &str) -> Result<super::ast::Instruction, Vec<Diagnostic>> {
    let _ = text;
    unreachable!("skeleton")
}
