//! Names of files and directories in the store, the `meta` file with its feature lists, and the sealed form in which
//! small files carry their own checksum. Written down in docs/store-format.md.

use super::StoreError;
use crate::base::fs::Context;
use crate::base::{Digest, fs};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The format that this program writes.
pub const FORMAT: u32 = 1;

/// The file that makes a directory a store.
pub const META: &str = "meta";
/// The store-wide lock.
pub const LOCK: &str = "lock";
/// OCI content by digest.
pub const BLOBS: &str = "blobs/sha256";
/// Unpacked layers by diffID.
pub const LAYERS: &str = "layers";
/// Layers by content digest.
pub const CONTENTS: &str = "contents";
/// Tree nodes.
pub const TREES: &str = "trees";
/// Step records by key.
pub const STEPS: &str = "steps";
/// What the last build of each project did.
pub const BUILDS: &str = "builds";
/// What is about what: attestations.
pub const REFERRERS: &str = "referrers";
/// Names.
pub const REFS: &str = "refs";
/// Stat caches of build contexts.
pub const CONTEXTS: &str = "contexts";
/// Cache mounts.
pub const MOUNTS: &str = "mounts";
/// Containers.
pub const CONTAINERS: &str = "containers";
/// The steps of the last build.
pub const LAST_BUILD: &str = "last-build";
/// Outputs of failed steps.
pub const LOGS: &str = "logs";
/// Root filesystems of failed steps.
pub const FAILED: &str = "failed";
/// What is being built.
pub const TMP: &str = "tmp";
/// Locks of steps and cache mounts.
pub const LOCKS: &str = "locks";

const DIRECTORIES: [&str; 15] = [
    BLOBS, LAYERS, CONTENTS, TREES, STEPS, BUILDS, REFERRERS, REFS, CONTEXTS, MOUNTS, CONTAINERS, LOGS, FAILED, TMP,
    LOCKS,
];

/// Features that this program knows, by what not knowing them forbids. None so far beyond format 1 itself.
const KNOWN_READ_ONLY_COMPATIBLE: [&str; 0] = [];
const KNOWN_INCOMPATIBLE: [&str; 0] = [];

/// Contents of `meta`: JSON, so that a person can read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// [`FORMAT`] of the program that made the store.
    pub format: u32,
    /// Features that a program may ignore.
    #[serde(default)]
    pub compatible: Vec<String>,
    /// Features that a program must know to write.
    #[serde(default)]
    pub read_only_compatible: Vec<String>,
    /// Features that a program must know to read.
    #[serde(default)]
    pub incompatible: Vec<String>,
}

impl Meta {
    fn fresh() -> Meta {
        Meta { format: FORMAT, compatible: vec![], read_only_compatible: vec![], incompatible: vec![] }
    }

    /// Reads `meta` of the store at `root`; `None` if there is none.
    pub fn read(root: &Path) -> Result<Option<Meta>, StoreError> {
        let path = root.join(META);
        let Some(bytes) = fs::read_if_exists(&path)? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(meta) => Ok(Some(meta)),
            Err(e) => Err(StoreError::Damaged { path, reason: e.to_string() }),
        }
    }

    /// Refuses a store that this program must not read. Gives the feature, if there is one, that forbids writing.
    pub fn check(&self, root: &Path) -> Result<Option<String>, StoreError> {
        if self.format != FORMAT {
            return Err(StoreError::Format { root: root.to_owned(), found: self.format, known: FORMAT });
        }
        let unknown = |list: &[String], known: &[&str]| list.iter().find(|f| !known.contains(&f.as_str())).cloned();
        if let Some(feature) = unknown(&self.incompatible, &KNOWN_INCOMPATIBLE) {
            return Err(StoreError::Feature { root: root.to_owned(), feature });
        }
        Ok(unknown(&self.read_only_compatible, &KNOWN_READ_ONLY_COMPATIBLE))
    }
}

/// Makes the tree of an empty store at `root` and, last, its `meta`. Several processes may do so at once. Refuses a
/// directory that holds anything else, lest a mistyped path is littered.
pub fn create(root: &Path) -> Result<Meta, StoreError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).at("create directory", root)?;
    for entry in std::fs::read_dir(root).at("read directory", root)? {
        let name = entry.at("read directory", root)?.file_name();
        let name = name.to_string_lossy();
        let ours = name == META
            || name == LOCK
            || name == LAST_BUILD
            || name.starts_with(".tmp")
            || name == "lost+found"
            || DIRECTORIES.iter().any(|d| d.split('/').next() == Some(&*name));
        if !ours {
            return Err(StoreError::Foreign { root: root.to_owned(), entry: name.into_owned() });
        }
    }
    // Layers hold setuid files of other people's images: nobody else may come near them.
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700)).at("set permissions of", root)?;
    for directory in DIRECTORIES {
        fs::create_dir_all(root.join(directory))?;
    }
    let meta = Meta::fresh();
    let mut text = serde_json::to_vec_pretty(&meta).unwrap_or_default();
    text.push(b'\n');
    fs::write_atomic(root.join(META), &text)?;
    Ok(meta)
}

/// `HEX` in a directory of its first two digits, where many files are expected.
pub fn sharded(directory: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    directory.join(&hex[..2]).join(hex)
}

/// Longest file name that [`file_name`] makes; file systems allow 255 bytes.
const NAME_LIMIT: usize = 200;

/// A file name for any text: percent-encoded, or a digest where that would be too long. Different texts have different
/// names, none of which starts with a dot.
pub fn file_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len() + 8);
    for (i, byte) in text.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && i > 0);
        if plain {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    // '%' is always followed by hex digits in the encoded form, so these two can't be anything's encoding.
    if name.is_empty() {
        return "%empty".into();
    }
    if name.len() > NAME_LIMIT {
        return format!("%long-{}", Digest::of(text.as_bytes()).hex());
    }
    name
}

/// Puts the sha256 of `body` on a line before it. Small files are sealed, so that a torn or rotten one shows.
pub fn seal(body: &[u8]) -> Vec<u8> {
    let mut out = Digest::of(body).hex().into_bytes();
    out.push(b'\n');
    out.extend_from_slice(body);
    out
}

/// The body of a sealed file, `None` if it is not whole.
pub fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (seal, rest) = bytes.split_at_checked(64)?;
    let body = rest.strip_prefix(b"\n")?;
    (Digest::of(body).hex().as_bytes() == seal).then_some(body)
}

/// Reads a sealed JSON file. `None`: absent or damaged, which count the same.
pub fn read_sealed<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        // A component that is no directory is damage of the same kind.
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => Err(e).at("read", path)?,
    };
    Ok(unseal(&bytes).and_then(|body| serde_json::from_slice(body).ok()))
}

/// The digest that a file or directory is named after.
pub fn digest_of_name(name: &std::ffi::OsStr) -> Option<Digest> {
    Digest::from_hex(name.to_str()?).ok()
}

/// The names in a directory; none if it is not there.
pub fn list(directory: &Path) -> Result<Vec<std::ffi::OsString>, StoreError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => Err(e).at("read directory", directory)?,
    };
    let mut names = vec![];
    for entry in entries {
        names.push(entry.at("read directory", directory)?.file_name());
    }
    Ok(names)
}

/// Every regular file at any depth below a directory.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(directory).follow_links(false).into_iter().filter_map(Result::ok);
    entries.filter(|e| e.file_type().is_file()).map(|e| e.into_path()).collect()
}

/// Whether the file is one that [`fs::write_atomic`] was writing.
pub fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".tmp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_safe_and_distinct() {
        let cases = [
            ("docker.io/library/x:latest", "docker.io%2Flibrary%2Fx%3Alatest"),
            ("..", "%2E."),
            (".tmp", "%2Etmp"),
            ("", "%empty"),
            ("%empty", "%25empty"),
            ("a\0b\n", "a%00b%0A"),
        ];
        for (text, name) in cases {
            assert_eq!(file_name(text), name, "{text:?}");
        }
        let long = "x".repeat(4000);
        assert!(file_name(&long).len() <= NAME_LIMIT);
        assert_ne!(file_name(&long), file_name(&"x".repeat(4001)));
    }

    #[test]
    fn a_sealed_file_shows_every_change_of_a_byte_and_every_cut() {
        let sealed = seal(b"{\"a\":1}");
        assert_eq!(unseal(&sealed), Some(&b"{\"a\":1}"[..]));
        for i in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[i] ^= 1;
            assert_eq!(unseal(&broken), None, "byte {i} changed");
            assert_eq!(unseal(&sealed[..i]), None, "cut at {i}");
        }
    }

    #[test]
    fn unknown_features_forbid_what_their_list_says() {
        let root = Path::new("/s");
        let with = |edit: fn(&mut Meta)| {
            let mut meta = Meta::fresh();
            edit(&mut meta);
            meta.check(root)
        };
        assert_eq!(with(|_| {}).unwrap(), None);
        assert_eq!(with(|m| m.compatible.push("x".into())).unwrap(), None);
        assert_eq!(with(|m| m.read_only_compatible.push("x".into())).unwrap().as_deref(), Some("x"));
        assert!(matches!(with(|m| m.incompatible.push("x".into())), Err(StoreError::Feature { .. })));
        assert!(matches!(with(|m| m.format = 2), Err(StoreError::Format { found: 2, .. })));
    }
}
