//! add-instead-of-copy

use super::paths::{base_name, context_sources};
use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::dockerfile::ast::{Kind, Operand};

/// ADD is given only plain files and directories of the context.
pub fn find(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for instruction in &subject.file.instructions {
        let Kind::Copy(copy) = &instruction.kind else { continue };
        let of_add = |name: &str| matches!(name, "checksum" | "keep-git-dir" | "unpack");
        let paths = copy.sources.iter().filter(|source| matches!(source, Operand::Path(_))).count();
        let plain = context_sources(copy).filter(|source| !may_unpack(&source.value)).count();
        if !copy.is_add || plain != paths || copy.flags.iter().any(|flag| of_add(&flag.name.value)) {
            continue;
        }
        let right = if instruction.name.value == "add" { "copy" } else { "COPY" };
        found.push(
            subject
                .finding("ADD does here what COPY does", instruction.name.span)
                .note("ADD also fetches URLs and unpacks archives, which who reads it has to rule out")
                .help(format!("write {right}"))
                .fix(instruction.name.span, right),
        );
    }
    found
}

/// Whether a source may be an archive, or be elsewhere: by its name, a pattern's too.
fn may_unpack(source: &str) -> bool {
    let name = base_name(source).to_lowercase();
    let ends = [".gz", ".bz2", ".xz", ".zst", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst", ".tar", ".lz4", ".z"];
    source.contains(['$', '*', '?', '['])
        || source.starts_with("github.com/")
        || source.ends_with(".git")
        || ends.iter().any(|end| name.ends_with(end))
        || name.contains(".tar.")
}
