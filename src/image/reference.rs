//! Image names: `[host[:port]/]path[:tag][@digest]`, normalised as docker does (`docker.io/library/…:latest`).
//!
//! The grammar is that of the distribution project's reference package, which docker, podman and every registry share:
//! the part before the first `/` is a registry only if it looks like a host (has a `.` or `:`, is `localhost`, or has
//! an upper-case letter), a name without a registry lives on docker.io, and one without a namespace there in `library`.

use crate::base::Digest;
use std::fmt;
use std::str::FromStr;

/// The registry of names that name none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The namespace of docker.io names that have none.
const OFFICIAL: &str = "library/";
/// A repository of this name with a tag would look like an image ID.
const ALGORITHM: &str = "sha256";
/// The longest repository path a registry has to accept, in bytes.
const MAX_REPOSITORY: usize = 255;
/// The longest tag, in bytes.
const MAX_TAG: usize = 128;

/// A normalised reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// `docker.io`, `localhost:5000`.
    pub registry: String,
    /// `library/debian`.
    pub repository: String,
    /// `latest` by default; `None` only if there is a digest and no tag was written.
    pub tag: Option<String>,
    /// Pins the manifest.
    pub digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an image name: {reason}")]
pub struct ReferenceError {
    /// As given.
    pub text: String,
    /// Why.
    pub reason: String,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        parse(text).map_err(|reason| ReferenceError { text: text.to_owned(), reason })
    }
}

impl Reference {
    /// As users write it: without `docker.io/library/`. Parses to the same reference.
    pub fn familiar(&self) -> String {
        let mut out = self.familiar_repository().to_owned();
        if self.registry != DEFAULT_REGISTRY {
            out.insert(0, '/');
            out.insert_str(0, &self.registry);
        } else if out == ALGORITHM || out.split_once('/').is_some_and(|(first, _)| looks_like_host(first)) {
            out.insert_str(0, "docker.io/");
        }
        self.push_suffix(&mut out);
        out
    }

    /// The familiar form without tag and digest: the REPOSITORY column of a listing.
    pub fn familiar_name(&self) -> String {
        Reference { tag: None, digest: None, ..self.clone() }.familiar()
    }

    /// The key under which a store keeps this name: the full form with its tag and without a digest.
    pub fn key(&self) -> String {
        Reference { digest: None, ..self.clone() }.to_string()
    }

    fn familiar_repository(&self) -> &str {
        match self.repository.strip_prefix(OFFICIAL) {
            Some(rest) if self.registry == DEFAULT_REGISTRY && !rest.contains('/') => rest,
            _ => &self.repository,
        }
    }

    fn push_suffix(&self, out: &mut String) {
        if let Some(tag) = &self.tag {
            out.push(':');
            out.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            out.push('@');
            out.push_str(&digest.to_string());
        }
    }
}

/// The full form: `docker.io/library/debian:12`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}/{}", self.registry, self.repository);
        self.push_suffix(&mut text);
        f.write_str(&text)
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(format!("leave out '{scheme}://' and write '{rest}'"));
    }
    if let Some(bad) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("it contains {bad:?}"));
    }
    if text.starts_with("sha256:") || (text.len() == 64 && Digest::from_hex(text).is_ok()) {
        return Err("it has the form of an image ID, which cannot be a name".into());
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|e| e.to_string())?)),
        None => (text, None),
    };
    // A colon before the last slash is a port.
    let name_at = rest.rfind('/').map_or(0, |i| i + 1);
    let (name, tag) = match rest[name_at..].find(':') {
        Some(i) => (&rest[..name_at + i], Some(&rest[name_at + i + 1..])),
        None => (rest, None),
    };
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let (registry, repository) = split_registry(name);
    check_registry(registry)?;
    let repository = match repository.contains('/') || registry != DEFAULT_REGISTRY {
        true => repository.to_owned(),
        false if repository.is_empty() => String::new(),
        false => format!("{OFFICIAL}{repository}"),
    };
    check_repository(&repository)?;
    let tag = match (tag, digest) {
        (Some(tag), _) => Some(tag.to_owned()),
        (None, None) => Some("latest".to_owned()),
        (None, Some(_)) => None,
    };
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
}

fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest)) if looks_like_host(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn looks_like_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_registry(registry: &str) -> Result<(), String> {
    let host = match registry.strip_prefix('[').and_then(|r| r.split_once(']')) {
        Some((address, port)) => {
            let valid = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            let port_valid = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            return match valid && port_valid {
                true => Ok(()),
                false => Err(format!("'{registry}' is not a registry address")),
            };
        }
        None => match registry.split_once(':') {
            Some((_, port)) if !is_port(port) => return Err(format!("'{port}' is not a port of a registry")),
            Some((host, _)) => host,
            None => registry,
        },
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    match host.split('.').all(label) {
        true => Ok(()),
        false => Err(format!("'{registry}' is not a registry host")),
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn check_repository(repository: &str) -> Result<(), String> {
    let shown = repository.strip_prefix(OFFICIAL).unwrap_or(repository);
    if shown.is_empty() {
        return Err("the name before the tag is missing".into());
    }
    if repository.len() > MAX_REPOSITORY {
        return Err(format!("its path has {} characters, more than {MAX_REPOSITORY}", repository.len()));
    }
    if shown.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(format!("names are lower-case: write '{}'", shown.to_ascii_lowercase()));
    }
    for part in shown.split('/') {
        if part.is_empty() {
            return Err("it has an empty part between slashes".into());
        }
        if let Some(bad) = part.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')) {
            return Err(format!("'{bad}' may not stand in a name; a-z, 0-9, '.', '_' and '-' may"));
        }
        if !separators_valid(part) {
            return Err(format!(
                "'{part}' does not begin and end with a letter or digit, with '.', '_', '__' or dashes between"
            ));
        }
    }
    Ok(())
}

/// Whether the parts between separators are not empty: one of `.`, `_`, `__`, or any number of `-` may separate.
fn separators_valid(part: &str) -> bool {
    let is_separator = |c: char| matches!(c, '.' | '_' | '-');
    if part.starts_with(is_separator) || part.ends_with(is_separator) {
        return false;
    }
    part.split(|c: char| !is_separator(c))
        .all(|run| run.is_empty() || matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
}

fn check_tag(tag: &str) -> Result<(), String> {
    if tag.is_empty() {
        return Err("the tag after ':' is missing".into());
    }
    if tag.len() > MAX_TAG {
        return Err(format!("its tag has {} characters, more than {MAX_TAG}", tag.len()));
    }
    if tag.starts_with(['.', '-']) {
        return Err(format!("the tag '{tag}' begins with '{}'", &tag[..1]));
    }
    match tag.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(bad) => Err(format!("'{bad}' may not stand in a tag; letters, digits, '.', '_' and '-' may")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_normalised_and_both_forms_parse_back() {
        let pinned = format!("debian@sha256:{HEX}");
        let pinned_full = format!("docker.io/library/debian@sha256:{HEX}");
        let both = format!("localhost:5000/a/b:c@sha256:{HEX}");
        let cases = [
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("me/app", "docker.io/me/app:latest", "me/app:latest"),
            ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
            ("index.docker.io/library/debian:a", "docker.io/library/debian:a", "debian:a"),
            ("library/debian", "docker.io/library/debian:latest", "debian:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
            ("Host/app", "Host/app:latest", "Host/app:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
            ("ghcr.io/a/b_c__d--e.f:V1_x", "ghcr.io/a/b_c__d--e.f:V1_x", "ghcr.io/a/b_c__d--e.f:V1_x"),
            ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
            ("sha256", "docker.io/library/sha256:latest", "docker.io/sha256:latest"),
            (&pinned, &pinned_full, &pinned),
            (&both, &both, &both),
        ];
        for (text, full, familiar) in cases {
            let reference: Reference = text.parse().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
            assert_eq!(full.parse::<Reference>().as_ref(), Ok(&reference), "{full}");
            assert_eq!(familiar.parse::<Reference>().as_ref(), Ok(&reference), "{familiar}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_reason() {
        let long_tag = format!("a:{}", "t".repeat(129));
        let long_path = "a".repeat(256);
        let id = format!("sha256:{HEX}");
        let cases = [
            ("", "it is empty"),
            ("Debian", "write 'debian'"),
            ("me/App:1", "write 'me/app'"),
            ("https://ghcr.io/x", "leave out 'https://'"),
            ("a b", "contains ' '"),
            ("a\u{1b}[0m", "contains"),
            ("a:", "tag after ':' is missing"),
            (":a", "name before the tag is missing"),
            ("a:.b", "begins with '.'"),
            ("a:b/c", "'b' is not a port"),
            ("a:b:c", "':' may not stand in a tag"),
            ("a//b", "empty part"),
            ("/a", "empty part"),
            ("a/", "empty part"),
            ("localhost:5000/", "missing"),
            ("a..b", "does not begin"),
            ("a___b", "does not begin"),
            ("-a", "does not begin"),
            ("a/b-", "does not begin"),
            ("ä", "'ä' may not stand"),
            ("-x.io/a", "not a registry host"),
            ("x.io:99999/a", "'99999' is not a port"),
            ("a@sha512:00", "other algorithms are refused"),
            (HEX, "image ID"),
            (&id, "image ID"),
            (&long_tag, "129 characters"),
            (&long_path, "more than 255"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<Reference>().expect_err(text);
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
    }
}
