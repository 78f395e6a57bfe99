//! Values of options that have a grammar of their own: `key=value`, agents, named contexts, outputs, sizes, times.
//! Parsing touches no file; whoever uses a value opens what it names.

mod attest;
mod entrusted;
mod output;
mod surroundings;

pub use attest::{Attest, attest, provenance, sbom};
pub use entrusted::{Right, SshArg};
pub use output::{Annotations, annotations, output};
pub use surroundings::{host, limit};

use super::failure::Failure;
use crate::base::text;
use crate::graph::Network;
use crate::image::{Platform, Reference};
use crate::pipeline::Layout;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::path::PathBuf;
use std::time::Duration;

/// `--platform`, for clap: `local` is this machine's.
pub fn platform(text: &str) -> Result<Platform, String> {
    let host = Platform::default();
    match text {
        "local" => Ok(host),
        _ => Platform::parse(text, &host).ok_or_else(|| format!("expected OS/ARCH[/VARIANT], as in {host}")),
    }
}

/// `K=V`, or `K` alone, which takes the value from the environment of rbuild.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMaybeValue {
    /// Before the first `=`.
    pub key: String,
    /// After it.
    pub value: Option<String>,
}

impl KeyMaybeValue {
    /// For clap.
    pub fn parse(text: &str) -> Result<KeyMaybeValue, String> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        if key.is_empty() {
            return Err("the name before '=' is empty; expected NAME=VALUE".into());
        }
        Ok(KeyMaybeValue { key: key.to_owned(), value })
    }

    /// The pair, with the value looked up in the environment if none was written; `None` if it is unset there.
    pub fn resolve(&self) -> Option<(String, String)> {
        let value = self.value.clone().or_else(|| std::env::var(&self.key).ok())?;
        Some((self.key.clone(), value))
    }
}

/// What a `--build-context` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextSource {
    /// A directory of this host.
    Directory(PathBuf),
    /// `docker-image://REF`: a stored image, said outright.
    Image(String),
    /// An address: a repository, or an archive.
    Remote(String),
    /// A word that is a directory if there is one of that name, else the name of a stored image.
    Either(String),
}

/// `--build-context name=path|docker-image://ref|ref`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextArg {
    /// What FROM and `--from` call it.
    pub name: String,
    /// What it stands for.
    pub source: ContextSource,
}

impl ContextArg {
    /// For clap.
    pub fn parse(text: &str) -> Result<ContextArg, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("expected NAME=DIRECTORY, NAME=docker-image://IMAGE or NAME=oci-layout://DIRECTORY[:TAG]")?;
        if name.is_empty() || value.is_empty() {
            return Err("the name and the value must not be empty".into());
        }
        if let Some((name, platform)) = name.split_once("::") {
            let way = format!("give '{name}' to a build for that platform alone");
            return Err(format!("contexts for one platform ('{platform}') are not supported; {way}"));
        }
        let source = match value.split_once("://") {
            Some(("docker-image", image)) => ContextSource::Image(image.to_owned()),
            // Looked into when the build needs it.
            Some(("oci-layout", layout)) => {
                layout.parse::<Layout>()?;
                ContextSource::Image(value.to_owned())
            }
            Some(("http" | "https" | "git" | "ssh", _)) => ContextSource::Remote(value.to_owned()),
            Some((scheme, _)) => return Err(format!("contexts from '{scheme}://' are not supported")),
            None if value.starts_with("git@") => ContextSource::Remote(value.to_owned()),
            None if value.starts_with(['/', '.', '~']) => ContextSource::Directory(value.into()),
            None => ContextSource::Either(value.to_owned()),
        };
        Ok(ContextArg { name: name.to_owned(), source })
    }
}

/// For clap: `host` or `none`.
pub fn network() -> impl clap::builder::TypedValueParser<Value = Network> {
    PossibleValuesParser::new([Network::Host.name(), Network::None.name()])
        .map(|word| if word == Network::None.name() { Network::None } else { Network::Host })
}

/// A number of bytes with docker's suffixes: `64m`, `1g`, `512k`, `1048576`, `64mb`.
pub fn bytes(size: &str) -> Result<u64, String> {
    text::bytes(size).ok_or_else(|| format!("'{size}' is not a size (64m, 1g, 1048576)"))
}

/// For clap: a name that an image may be given, as written.
pub fn tag(text: &str) -> Result<String, String> {
    match text.parse::<Reference>() {
        Ok(name) if name.digest.is_some() => Err("a name to be given carries no digest".into()),
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.reason),
    }
}

/// The variable that dates what is built (reproducible-builds.org).
pub const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// A value of [`EPOCH`], in seconds since 1970.
pub fn epoch(text: &str) -> Result<i64, Failure> {
    // RFC 3339 ends with the year 9999, and so do image documents.
    const LAST: i64 = 253_402_300_799;
    match text.parse() {
        Ok(epoch) if (0..=LAST).contains(&epoch) => Ok(epoch),
        _ => Err(Failure::usage(format!("{EPOCH} is '{text}', which is no number of seconds since 1970"))),
    }
}

/// [`EPOCH`] from the environment, if it is set there.
pub fn epoch_variable() -> Result<Option<i64>, Failure> {
    match std::env::var(EPOCH) {
        Ok(text) if !text.is_empty() => epoch(&text).map(Some),
        _ => Ok(None),
    }
}

/// A span of time as Go writes it: `90s`, `1h30m`, `1.5s`; at least a millisecond.
pub fn duration(text: &str) -> Result<Duration, String> {
    match crate::dockerfile::duration::parse(text)? {
        time if time >= Duration::from_millis(1) => Ok(time),
        _ => Err(format!("'{text}' is less than a millisecond")),
    }
}

/// A span of time such as `24h`, `7d`, `1h30m`, `90s`, in seconds.
pub fn age(text: &str) -> Result<i64, String> {
    let bad = || format!("'{text}' is not a span of time (24h, 7d, 1h30m)");
    let mut rest = text.trim();
    let mut seconds: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: i64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit = match rest[digits..].chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(bad()),
        };
        seconds = number.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(bad)?;
        rest = &rest[digits + 1..];
    }
    if text.trim().is_empty() { Err(bad()) } else { Ok(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_tell_directories_from_images() {
        let cases = [
            ("a=/", ContextSource::Directory("/".into())),
            ("a=../x", ContextSource::Directory("../x".into())),
            ("a=docker-image://debian:12", ContextSource::Image("debian:12".into())),
            ("a=debian", ContextSource::Either("debian".into())),
            ("a=https://x/y.git", ContextSource::Remote("https://x/y.git".into())),
            ("a=oci-layout://x:1", ContextSource::Image("oci-layout://x:1".into())),
            ("a=git@x:y", ContextSource::Remote("git@x:y".into())),
        ];
        for (text, source) in cases {
            assert_eq!(ContextArg::parse(text), Ok(ContextArg { name: "a".into(), source }), "{text}");
        }
        for bad in ["a", "=x", "a=", "a=ftp://x/y", "a=oci-layout://", "a=oci-layout://x@sha256:1", "a::linux/arm64=x"]
        {
            assert!(ContextArg::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_are_sums_of_units() {
        assert_eq!(age("24h"), Ok(86_400));
        assert_eq!(age("1h30m5s"), Ok(5405));
        assert_eq!(age("7d"), Ok(604_800));
        for bad in ["", "h", "5", "1w", "1.5h", "-1h", "99999999999999999d", "1é"] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_epoch_is_seconds_within_the_years_of_image_documents() {
        assert_eq!(epoch("0").unwrap(), 0);
        assert_eq!(epoch("1700000000").unwrap(), 1_700_000_000);
        for bad in ["-1", "1.5", "now", "99999999999999"] {
            assert_eq!(epoch(bad).unwrap_err().code, 2, "{bad}");
        }
    }
}
