//! Paths of COPY, and of what RUN does to them.

use crate::diag::Span;
use crate::dockerfile::ast::{Copy, Instruction, Kind, Operand, Word};

/// Whether `path` is `dir` or lies below it. Both absolute or both relative; a slash at the end means nothing.
pub fn is_below(path: &str, dir: &str) -> bool {
    let dir = dir.trim_end_matches('/');
    path.trim_end_matches('/').strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The last part of a path.
pub fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// `path` as the image sees it from the working directory; `None` where a variable stands in the way.
pub fn absolute(path: &str, workdir: &str) -> Option<String> {
    if path.contains('$') || workdir.contains('$') {
        return None;
    }
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{workdir}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// The paths that COPY or ADD reads from the build context.
pub fn context_sources(copy: &Copy) -> impl Iterator<Item = &Word> {
    let elsewhere = copy.flags.iter().any(|flag| flag.name.value == "from");
    copy.sources.iter().filter(move |_| !elsewhere).filter_map(|source| match source {
        Operand::Path(word) if !word.value.contains("://") && !word.value.starts_with("git@") => Some(word),
        _ => None,
    })
}

/// A file or directory that COPY or ADD put somewhere.
#[derive(Debug)]
pub struct Placed {
    /// Where it is in the image.
    pub path: String,
    /// COPY or ADD.
    pub name: String,
    /// Where the instruction begins.
    pub span: Span,
}

/// What a COPY or ADD puts into the image, as far as its text tells: a destination that ends in a slash, or that has
/// several sources, holds them by their names.
pub fn placed(instruction: &Instruction, workdir: &str) -> Vec<Placed> {
    let Kind::Copy(copy) = &instruction.kind else { return Vec::new() };
    let Some(dest) = absolute(&copy.dest.value, workdir) else { return Vec::new() };
    let into = copy.dest.value.ends_with('/') || copy.dest.value == "." || copy.sources.len() > 1;
    let names = copy.sources.iter().map(|source| match source {
        Operand::Path(word) => base_name(&word.value).to_owned(),
        Operand::Heredoc(heredoc) => heredoc.name.value.clone(),
    });
    let place = |name: String| {
        let known = !name.contains(['$', '*', '?', '[']) && !matches!(name.as_str(), "" | "." | "..");
        let path = if into && known { format!("{}/{name}", dest.trim_end_matches('/')) } else { dest.clone() };
        Placed { path, name: instruction.name.value.to_uppercase(), span: instruction.name.span }
    };
    names.map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_by_parts() {
        assert!(is_below("/a/b", "/a") && is_below("/a/", "/a") && is_below("/a", "/a/") && is_below("/a", "/"));
        assert!(!is_below("/ab", "/a") && !is_below("/a", "/a/b"));
        let cases =
            [("x", "/w", Some("/w/x")), ("../x/.", "/w", Some("/x")), ("/x//y/", "/", Some("/x/y")), ("$x", "/", None)];
        for (path, workdir, want) in cases {
            assert_eq!(absolute(path, workdir).as_deref(), want, "{path}");
        }
    }
}
