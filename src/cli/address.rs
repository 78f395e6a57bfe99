//! Addresses of build contexts that are no directories.

use crate::dockerfile::lower::remote;
use crate::graph::{GitSource, Remote};
use std::path::Path;

/// A context on the network, or a commit of a repository in a directory (`DIR#REF:SUBDIR`). Of a file its archive's contents
/// are meant.
pub fn parse(text: &str) -> Option<Result<Remote, remote::Invalid>> {
    if let Some(rest) = text.strip_prefix("github.com/") {
        return Some(remote::git(&format!("https://github.com/{rest}")).map(Remote::Git));
    }
    if let Some((dir, _)) = text.split_once('#').filter(|(dir, _)| Path::new(dir).is_dir()) {
        return Some(local_repository(text, dir));
    }
    let mut parsed = remote::parse(text)?;
    if let Ok(Remote::Http(http)) = &mut parsed {
        http.unpack = true;
    }
    Some(parsed)
}

fn local_repository(text: &str, dir: &str) -> Result<Remote, remote::Invalid> {
    let path = std::fs::canonicalize(dir).map_err(|e| remote::Invalid(e.to_string()))?;
    let path = path.to_str().ok_or_else(|| remote::Invalid("its path is not UTF-8 text".into()))?;
    let source = remote::git(&format!("x{}", &text[dir.len()..]))?;
    Ok(Remote::Git(GitSource { url: path.to_owned(), local: true, ..source }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_told_by_their_form() {
        let dir = tempfile::tempdir().unwrap();
        let here = format!("{}#v1:sub", dir.path().display());
        for (text, expected) in [
            (here.as_str(), format!("{}#v1:sub", dir.path().canonicalize().unwrap().display())),
            ("github.com/a/b#main", "https://github.com/a/b#main".to_owned()),
            ("https://h/x.git", "https://h/x.git".to_owned()),
            ("https://h/x.tar.gz", "https://h/x.tar.gz".to_owned()),
        ] {
            let remote = parse(text).unwrap().unwrap();
            assert_eq!(remote.to_string(), expected);
            assert!(!matches!(remote, Remote::Http(http) if !http.unpack));
        }
        for local in ["-", ".", "dir", "nowhere#x", "debian:12"] {
            assert!(parse(local).is_none(), "{local}");
        }
    }
}
