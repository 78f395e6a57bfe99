//! Sources of ADD that are on the network, and contexts that are (dockerfile.md C28–C30).

use crate::base::Digest;
use crate::graph::{GitSource, HttpSource, Remote};

/// File name where the address gives none; BuildKit's.
const UNNAMED: &str = "__unnamed__";

/// Why a text that names something on the network is no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// What a text means if it names something on the network: a git repository (`git@HOST:PATH`, `ssh://`, `git://`, or
/// an HTTP(S) address that ends with `.git`), or a file by HTTP(S). `None` for everything else.
pub fn parse(text: &str) -> Option<Result<Remote, Invalid>> {
    let lower = text.to_ascii_lowercase();
    let http = lower.starts_with("http://") || lower.starts_with("https://");
    let path = lower.split(['#', '?']).next().unwrap_or_default();
    if is_scp_like(text)
        || lower.starts_with("git://")
        || lower.starts_with("ssh://")
        || (http && path.ends_with(".git"))
    {
        return Some(git(text).map(Remote::Git));
    }
    let url = match crate::net::Url::parse(text) {
        Ok(url) => url,
        Err(e) => return http.then(|| Err(Invalid(e.to_string()))),
    };
    let name = url.file_name().unwrap_or_else(|| UNNAMED.to_owned());
    Some(Ok(Remote::Http(HttpSource { url: text.to_owned(), name, checksum: None, unpack: false })))
}

/// `USER@HOST:PATH`, as ssh's tools write it.
fn is_scp_like(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let host = rest.split_once(':').map_or("", |(host, _)| host);
    word(user) && word(host) && !user.starts_with('-') && !host.starts_with('-')
}

/// A git source: the repository, then either `#REF[:SUBDIR]` or `?key=value&…`.
pub fn git(text: &str) -> Result<GitSource, Invalid> {
    let (rest, fragment) = match text.split_once('#') {
        Some((rest, fragment)) => (rest, Some(fragment)),
        None => (text, None),
    };
    let (url, query) = match rest.split_once('?') {
        Some((url, query)) if url.contains("://") => (url, Some(query)),
        _ => (rest, None),
    };
    let mut source = GitSource { url: url.to_owned(), ..GitSource::default() };
    if let Some(fragment) = fragment {
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        source.reference = Some(reference.to_owned()).filter(|r| !r.is_empty());
        source.subdir = Some(subdir.to_owned()).filter(|s| !s.is_empty());
    }
    for pair in query.into_iter().flat_map(|q| q.split('&')).filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        option(&mut source, key, value)?;
    }
    checked(source)
}

fn option(source: &mut GitSource, key: &str, value: &str) -> Result<(), Invalid> {
    let flag = |value: &str| match value.to_ascii_lowercase().as_str() {
        "" | "1" | "true" | "t" => Ok(true),
        "0" | "false" | "f" => Ok(false),
        _ => Err(Invalid(format!("`{key}={value}` is neither true nor false"))),
    };
    let reference = match key {
        "ref" => Some(value.to_owned()),
        "tag" => Some(format!("refs/tags/{value}")),
        "branch" => Some(format!("refs/heads/{value}")),
        _ => None,
    };
    match key {
        "ref" | "tag" | "branch" if source.reference.is_some() => {
            return Err(Invalid(format!("`{key}={value}` names a second reference")));
        }
        "ref" | "tag" | "branch" => source.reference = reference,
        "commit" | "checksum" => source.commit = Some(value.to_ascii_lowercase()),
        "subdir" if source.subdir.is_some() => return Err(Invalid("it names two subdirectories".into())),
        "subdir" => source.subdir = Some(value.to_owned()).filter(|s| !s.is_empty()),
        "keep-git-dir" => source.keep_git_dir = flag(value)?,
        "submodules" => source.no_submodules = !flag(value)?,
        // Files have the commit's time, and a commit is fetched by its id where the server allows it, either way.
        "mtime" if matches!(value, "checkout" | "commit") => {}
        "fetch-by-commit" => drop(flag(value)?),
        _ => return Err(Invalid(format!("`{key}={value}` is nothing that a git source has"))),
    }
    Ok(())
}

fn checked(mut source: GitSource) -> Result<GitSource, Invalid> {
    for text in [Some(&source.url), source.reference.as_ref()].into_iter().flatten() {
        let odd = |c: char| c.is_control() || c.is_whitespace();
        if text.starts_with('-') || text.contains(odd) {
            return Err(Invalid(format!("`{}` is no name that git takes", text.escape_debug())));
        }
    }
    if source.reference.as_deref().is_some_and(|r| r.contains([':', '*', '^', '~', '\\']) || r.contains("..")) {
        return Err(Invalid("it names no branch, tag or commit".into()));
    }
    if let Some(commit) = &source.commit {
        commit_prefix(commit)?;
    }
    if let Some(subdir) = &mut source.subdir {
        let parts: Vec<&str> = subdir.split('/').filter(|p| !matches!(*p, "" | ".")).collect();
        if parts.contains(&"..") {
            return Err(Invalid(format!("the subdirectory `{subdir}` leads out of the repository")));
        }
        *subdir = parts.join("/");
    }
    source.subdir = source.subdir.filter(|s| !s.is_empty());
    Ok(source)
}

/// Checks the beginning of a commit's id.
fn commit_prefix(text: &str) -> Result<(), Invalid> {
    let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match hex && (4..=64).contains(&text.len()) {
        true => Ok(()),
        false => Err(Invalid(format!("`{text}` is no commit id"))),
    }
}

impl Remote {
    /// Adds what `ADD --checksum` says: `sha256:…` for a file, a commit's id or its beginning for a repository.
    pub fn with_checksum(mut self, checksum: &str) -> Result<Remote, Invalid> {
        match &mut self {
            Remote::Http(http) => {
                let digest = checksum.parse::<Digest>().map_err(|_| {
                    Invalid(format!("`{checksum}` is not `sha256:` and 64 hexadecimal digits, as a file's checksum is"))
                })?;
                http.checksum = Some(digest);
            }
            Remote::Git(git) => {
                let commit = checksum.to_ascii_lowercase();
                commit_prefix(&commit)?;
                git.commit = Some(commit);
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_the_network_is_told_by_its_form() {
        for (text, what) in [
            ("https://h/x.tar", "http x.tar"),
            ("http://h/", "http __unnamed__"),
            ("https://h/a%2Fb", "http b"),
            ("https://h/x.git", "git https://h/x.git"),
            ("https://h/x.git?tag=v1", "git https://h/x.git refs/tags/v1"),
            ("https://h/x.git#v1:a/./b", "git https://h/x.git v1 a/b"),
            (
                "https://h/x.git?branch=b&subdir=/d/&keep-git-dir=1&submodules=false",
                "git https://h/x.git refs/heads/b d keep bare",
            ),
            ("https://h/x.git?commit=ABCDEF", "git https://h/x.git =abcdef"),
            ("git@h.example:me/x", "git git@h.example:me/x"),
            ("git@h:x.git#main", "git git@h:x.git main"),
            ("ssh://git@h/x", "git ssh://git@h/x"),
            ("git://h/x", "git git://h/x"),
            ("github.com/a/b", "local"),
            ("x@y", "local"),
            ("dir/a@b:c", "local"),
            ("file:///x", "local"),
            ("http://", "bad"),
            ("https://h/x.git#a b", "bad"),
            ("https://h/x.git#--upload-pack=x", "bad"),
            ("https://h/x.git#a..b", "bad"),
            ("https://h/x.git#:../x", "bad"),
            ("https://h/x.git?nope=1", "bad"),
            ("https://h/x.git?tag=a&branch=b", "bad"),
            ("https://h/x.git?commit=xyz", "bad"),
        ] {
            let found = match parse(text) {
                None => "local".to_owned(),
                Some(Err(_)) => "bad".to_owned(),
                Some(Ok(Remote::Http(http))) => format!("http {}", http.name),
                Some(Ok(Remote::Git(git))) => {
                    let commit = git.commit.map(|c| format!("={c}"));
                    let flags = [(git.keep_git_dir, "keep"), (git.no_submodules, "bare")];
                    let flags = flags.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_owned());
                    let words = [Some(format!("git {}", git.url)), git.reference, git.subdir, commit];
                    words.into_iter().flatten().chain(flags).collect::<Vec<_>>().join(" ")
                }
            };
            assert_eq!(found, what, "{text}");
        }
    }

    #[test]
    fn a_checksum_fits_its_source() {
        let http = parse("https://h/x").unwrap().unwrap();
        let git = parse("https://h/x.git").unwrap().unwrap();
        let digest = Digest::of(b"").to_string();
        assert!(http.clone().with_checksum(&digest).is_ok());
        assert!(http.clone().with_checksum("sha512:00").is_err() && http.with_checksum("abcdef").is_err());
        assert!(git.clone().with_checksum("ABCDEF01").is_ok() && git.with_checksum(&digest).is_err());
    }
}
