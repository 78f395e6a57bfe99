//! The Dockerfile language: text → logical lines → AST → expanded and checked → graph and config template; and
//! `.dockerignore`. Follows the Dockerfile reference and, where that is silent, BuildKit's behaviour; the
//! differences are listed in docs/compatibility.md.

pub mod ast;
pub mod check;
pub mod directives;
pub mod duration;
pub mod expand;
mod flags;
pub mod format;
pub mod glob;
pub mod ignore;
mod instruction;
pub mod lines;
pub mod lower;
mod pairs;
pub mod parse;
pub mod text;
mod words;

pub use ast::Dockerfile;
pub use lower::{Lowered, lower};
pub use parse::parse;
