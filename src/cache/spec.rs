//! What `--cache-to` and `--cache-from` say, in docker's grammar.

use super::s3::{InBucket, Stowed, is_key};
use super::{CacheError, Directory, Place, Tagged};
use crate::base::{Cancel, text};
use crate::diag::suggest;
use crate::export::Packing;
use crate::image::{Platform, Reference};
use crate::layer::encode::Encoding;
use crate::registry::{Keyring, Settings};
use crate::s3::{Bucket, Secret};
use std::path::PathBuf;

/// Where a cache lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A tag of a repository.
    Registry(Reference),
    /// A directory, and the tag of the cache in it.
    Local(PathBuf, String),
    /// A bucket of S3.
    Bucket(Box<InBucket>),
}

/// Which steps are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those whose layers are in the result.
    #[default]
    Min,
    /// All.
    Max,
}

/// A `--cache-from`: an image that carries its records is found at its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From(pub Location);

/// A `--cache-to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Into the manifest of the image itself.
    Inline,
    /// To a place.
    Place(Target),
}

/// Where to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where.
    pub location: Location,
    /// Which steps.
    pub mode: Mode,
    /// How layers are packed; `None`: as they are known to have been packed before, else with zstd.
    pub packing: Option<Packing>,
    /// Whether a failure is only a warning.
    pub ignore_error: bool,
}

/// What the caller needs to know of how places are reached.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Registries.
    pub settings: Settings,
    /// Credentials for them.
    pub keyring: Keyring,
    /// What is built for: of an image for several platforms these are read.
    pub platforms: Vec<Platform>,
    /// Stop flag.
    pub cancel: Cancel,
}

impl Location {
    /// The place; nothing is asked of it yet.
    pub fn place(&self, to_write: bool, reach: &Reach) -> Box<dyn Place> {
        match self {
            Location::Registry(name) => Box::new(Tagged::new(name, to_write, reach)),
            Location::Local(dir, tag) => Box::new(Directory::new(dir, tag)),
            Location::Bucket(at) => Box::new(Stowed::new(at, reach)),
        }
    }
}

/// The keys of a list of options, each at most once.
struct Given(Vec<(String, String)>);

impl Given {
    fn parse(line: &str) -> Result<Given, String> {
        let mut given: Vec<(String, String)> = Vec::new();
        for (key, value) in text::pairs(line)? {
            let value = value.ok_or_else(|| format!("'{key}' needs a value, as in {key}=…"))?;
            if given.iter().any(|(known, _)| *known == key) {
                return Err(format!("'{key}' is given twice"));
            }
            given.push((key, value));
        }
        Ok(Given(given))
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == key)?;
        Some(self.0.remove(at).1)
    }

    fn need(&mut self, key: &str, kind: &str, example: &str) -> Result<String, String> {
        let value = self.take(key).filter(|value| !value.is_empty());
        value.ok_or_else(|| format!("type={kind} needs {key}=…, as in type={kind},{key}={example}"))
    }

    fn truth(&mut self, key: &str) -> Result<bool, String> {
        match self.take(key).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(format!("'{key}={other}' is neither true nor false")),
        }
    }

    /// Refuses what nothing has taken.
    fn end(self, known: &[&str]) -> Result<(), String> {
        let Some((key, _)) = self.0.first() else { return Ok(()) };
        let near = suggest::nearest(key, known.iter().copied());
        let meant = near.map_or(String::new(), |near| format!("; did you mean '{near}'?"));
        Err(format!("unknown key '{key}' ({}){meant}", known.join(", ")))
    }
}

/// Refuses types that there are elsewhere.
fn refuse(kind: &str) -> String {
    match kind {
        "gha" => "type=gha needs an interface of GitHub's that only its runners offer: keep a directory with \
                  actions/cache (type=local), or push to ghcr.io (type=registry); see docs/cache.md"
            .into(),
        "azblob" => "type=azblob is not supported; use a registry of the same cloud: type=registry,ref=…".into(),
        other => {
            let near = suggest::nearest(other, ["registry", "local", "s3", "inline"]);
            let meant = near.map_or(String::new(), |near| format!("; did you mean '{near}'?"));
            format!("unknown cache type '{other}' (registry, local, s3, inline){meant}")
        }
    }
}

fn name(text: &str) -> Result<Reference, String> {
    text.parse::<Reference>().map_err(|e| e.to_string())
}

/// For clap: `--cache-from`. A word alone is the name of a cache, or of an image, in a registry.
pub fn from(line: &str) -> Result<From, String> {
    if !line.contains('=') {
        return name(line).map(|name| From(Location::Registry(name)));
    }
    let mut given = Given::parse(line)?;
    match given.take("type").as_deref().unwrap_or("registry") {
        "registry" => {
            let found = name(&given.need("ref", "registry", "registry.example/app:cache")?)?;
            given.end(&["type", "ref"])?;
            Ok(From(Location::Registry(found)))
        }
        "local" => {
            let dir = given.need("src", "local", "/var/cache/app")?;
            let tag = given.take("tag").unwrap_or_else(|| "latest".into());
            given.end(&["type", "src", "tag"])?;
            Ok(From(Location::Local(dir.into(), tag)))
        }
        "s3" => {
            let found = bucket(&mut given)?;
            given.end(&[&["type"], &BUCKET_KEYS[..]].concat())?;
            Ok(From(Location::Bucket(found)))
        }
        "inline" => Err("an image that carries its cache is named: --cache-from NAME".into()),
        other => Err(refuse(other)),
    }
}

/// For clap: `--cache-to`. A word alone is the name of a cache in a registry.
pub fn to(line: &str) -> Result<To, String> {
    if !line.contains('=') {
        let location = Location::Registry(unpinned(name(line)?)?);
        return Ok(To::Place(Target { location, mode: Mode::Min, packing: None, ignore_error: false }));
    }
    let mut given = Given::parse(line)?;
    let kind = given.take("type").unwrap_or_else(|| "registry".into());
    let location = match kind.as_str() {
        "registry" => {
            let found = name(&given.need("ref", "registry", "registry.example/app:cache")?)?;
            // docker's names for what is so here anyway.
            for key in ["image-manifest", "oci-mediatypes"] {
                if given.0.iter().any(|(known, _)| known == key) && !given.truth(key)? {
                    return Err(format!("{key}=false is not supported: a cache is an OCI manifest"));
                }
            }
            Location::Registry(unpinned(found)?)
        }
        "local" => {
            let dir = given.need("dest", "local", "/var/cache/app")?;
            Location::Local(dir.into(), given.take("tag").unwrap_or_else(|| "latest".into()))
        }
        "s3" => Location::Bucket(bucket(&mut given)?),
        "inline" => {
            given.end(&["type"])?;
            return Ok(To::Inline);
        }
        other => return Err(refuse(other)),
    };
    let mode = match given.take("mode").as_deref() {
        None | Some("min") => Mode::Min,
        Some("max") => Mode::Max,
        Some(other) => return Err(format!("unknown mode '{other}' (min, max)")),
    };
    let ignore_error = given.truth("ignore-error")?;
    let packing = packing(&mut given)?;
    let own: &[&str] = match kind.as_str() {
        "local" => &["dest", "tag"],
        "s3" => &BUCKET_KEYS,
        _ => &["ref", "image-manifest"],
    };
    let shared = ["type", "mode", "compression", "compression-level", "ignore-error"];
    given.end(&[own, &shared[..]].concat())?;
    Ok(To::Place(Target { location, mode, packing, ignore_error }))
}

/// What `type=s3` has, by buildx's names.
const BUCKET_KEYS: [&str; 9] = [
    "bucket",
    "region",
    "prefix",
    "name",
    "endpoint_url",
    "use_path_style",
    "access_key_id",
    "secret_access_key",
    "session_token",
];

fn bucket(given: &mut Given) -> Result<Box<InBucket>, String> {
    let name = given.need("bucket", "s3", "ci-cache,region=eu-west-1")?;
    let prefix = given.take("prefix").unwrap_or_default();
    let prefix = prefix.trim_matches('/').to_owned();
    let own = given.take("name").unwrap_or_else(|| "rbuild".into());
    for (what, text) in [("prefix", &prefix), ("name", &own)] {
        let fits = is_key(text) || (what == "prefix" && text.is_empty());
        if !fits {
            return Err(format!("'{what}={}' can't be part of an object's key", text.escape_debug()));
        }
    }
    let written = given.0.iter().any(|(key, _)| key == "use_path_style");
    let path_style = given.truth("use_path_style")?;
    let secret = match (given.take("access_key_id"), given.take("secret_access_key"), given.take("session_token")) {
        (Some(key_id), Some(key), token) => Some(Secret { key_id, key, token }),
        (None, None, None) => None,
        _ => return Err("access_key_id and secret_access_key belong together".into()),
    };
    let bucket = Bucket {
        name,
        region: given.take("region"),
        endpoint: given.take("endpoint_url"),
        path_style: written.then_some(path_style),
        secret,
    };
    Ok(Box::new(InBucket { bucket, prefix, name: own }))
}

fn unpinned(name: Reference) -> Result<Reference, String> {
    match name.digest {
        Some(_) => Err("a cache is written to a tag; the name carries a digest".into()),
        None => Ok(name),
    }
}

fn packing(given: &mut Given) -> Result<Option<Packing>, String> {
    let level = given.take("compression-level");
    let level = level.map(|text| text.parse().map_err(|_| format!("'{text}' is no compression level"))).transpose()?;
    let encoding = match given.take("compression").as_deref() {
        None if level.is_some() => return Err("compression-level needs compression=gzip or compression=zstd".into()),
        None => return Ok(None),
        Some("gzip") => Some(Encoding::Gzip),
        Some("zstd") => Some(Encoding::Zstd),
        Some("uncompressed") => None,
        Some(other) => return Err(format!("unknown compression '{other}' (gzip, zstd, uncompressed)")),
    };
    let packing = Packing { encoding, level, ..Packing::NONE };
    packing.check()?;
    Ok(Some(packing))
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Location::Registry(name) => f.write_str(&name.familiar()),
            Location::Local(dir, tag) if tag == "latest" => write!(f, "{}", dir.display()),
            Location::Local(dir, tag) => write!(f, "{}:{tag}", dir.display()),
            Location::Bucket(at) => at.fmt(f),
        }
    }
}

/// So that a failure to open is an error of its own kind.
pub(super) fn unreachable(place: &str, reason: impl ToString) -> CacheError {
    CacheError::Contents { place: place.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(result: Result<To, String>) -> String {
        match result {
            Ok(To::Inline) => "inline".into(),
            Ok(To::Place(Target { location, mode, packing, ignore_error })) => {
                let way = packing.map(|p| p.way().unwrap_or_else(|| "plain".into()));
                format!("{location} {mode:?} {} {ignore_error}", way.as_deref().unwrap_or("any"))
            }
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn exports_read_as_dockers() {
        for (line, expected) in [
            ("user/app:cache", "user/app:cache Min any false"),
            (
                "type=registry,ref=r.example/app:cache,mode=max,compression=zstd,ignore-error=true",
                "r.example/app:cache Max zstd-1 true",
            ),
            ("ref=r.example/app:cache,image-manifest=true,oci-mediatypes=true", "r.example/app:cache Min any false"),
            ("type=local,dest=/srv/c", "/srv/c Min any false"),
            ("type=local,dest=c,tag=x,compression=uncompressed", "c:x Min plain false"),
            ("type=s3,bucket=b,region=r,prefix=/p/q/,name=n,mode=max", "s3://b/p/q:n Max any false"),
            ("type=s3,bucket=b,access_key_id=K,secret_access_key=S,session_token=T", "s3://b:rbuild Min any false"),
            ("type=s3,bucket=b,access_key_id=K", "error: access_key_id and secret_access_key belong together"),
            ("type=s3,bucket=b,prefix=../x", "error: 'prefix=../x' can't be part of an object's key"),
            ("type=s3", "error: type=s3 needs bucket=…, as in type=s3,bucket=ci-cache,region=eu-west-1"),
            ("type=inline", "inline"),
            ("type=inline,mode=max", "error: unknown key 'mode' (type)"),
            ("type=local", "error: type=local needs dest=…, as in type=local,dest=/var/cache/app"),
            (
                "type=registry,ref=a/b@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                "error: a cache is written to a tag; the name carries a digest",
            ),
            ("type=local,dest=c,mode=big", "error: unknown mode 'big' (min, max)"),
            ("type=local,dest=c,compression=lz4", "error: unknown compression 'lz4' (gzip, zstd, uncompressed)"),
            ("type=local,dest=c,compression=gzip,compression-level=99", "error: 99 is no level of gzip: 0 to 9"),
            ("type=local,dest=c,ignore-error=yes", "error: 'ignore-error=yes' is neither true nor false"),
            (
                "type=locl,dest=c",
                "error: unknown cache type 'locl' (registry, local, s3, inline); did you mean 'local'?",
            ),
            ("type=local,dest=c,dest=d", "error: 'dest' is given twice"),
        ] {
            assert_eq!(shown(to(line)), expected, "{line}");
        }
        assert!(to("type=gha").unwrap_err().contains("actions/cache"));
    }

    #[test]
    fn imports_read_as_dockers() {
        for (line, expected) in [
            ("user/app", Ok("user/app:latest")),
            (
                "type=registry,ref=r.example/app@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                Ok("r.example/app@sha256:0000000000000000000000000000000000000000000000000000000000000000"),
            ),
            ("type=local,src=/srv/c", Ok("/srv/c")),
            ("type=local,src=/srv/c,tag=x", Ok("/srv/c:x")),
            ("type=local,dest=/srv/c", Err("needs src=")),
            ("type=s3,bucket=b,use_path_style=true,endpoint_url=http://127.0.0.1:9000", Ok("s3://b:rbuild")),
            ("type=s3,bucket=b,mode=max", Err("unknown key 'mode'")),
            ("type=registry,ref=a,rf=b", Err("did you mean 'ref'?")),
            ("type=inline", Err("--cache-from NAME")),
            ("Upper/Case", Err("")),
        ] {
            match (from(line), expected) {
                (Ok(From(location)), Ok(expected)) => assert_eq!(location.to_string(), expected, "{line}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{line}: {error}"),
                (result, _) => panic!("{line}: {result:?}"),
            }
        }
    }
}
