//! What is in an image: the packages that its databases list, read through the merged tree.

mod apk;
mod control;
mod dpkg;
mod language;
mod rpm;
pub mod spdx;

use super::AttestError;
use super::purl::Purl;
use crate::tree::{Rootfs, Trees, View};
use std::collections::BTreeMap;

/// Longest database or lock file that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;
/// Most packages of one image.
const MAX_PACKAGES: usize = 500_000;

/// Something installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its package URL.
    pub purl: Purl,
    /// Its name as the database has it.
    pub name: String,
    /// Its version, likewise.
    pub version: String,
    /// `Name <address>`, if the database says so.
    pub maintainer: Option<String>,
    /// The source that it was built from, where that goes by another name.
    pub source: Option<String>,
    /// Where that stands: path in the image, without the leading `/`.
    pub found_in: String,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Sorted, each once.
    pub packages: Vec<Package>,
    /// What was not read, and why: sentences without full stop.
    pub gaps: Vec<String>,
}

/// The distribution, from os-release(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Distribution {
    /// `debian`.
    id: String,
    /// `12`; empty for one that rolls.
    version: String,
}

impl Distribution {
    /// `debian-12`, as the qualifier `distro` of package URLs.
    fn qualifier(&self) -> String {
        if self.version.is_empty() { self.id.clone() } else { format!("{}-{}", self.id, self.version) }
    }
}

/// Reads the package databases of a root filesystem.
///
/// # Errors
/// A file cannot be read, is longer than any of its kind should be, or is not what it should be.
pub fn inventory(trees: &Trees<'_>, rootfs: &Rootfs) -> Result<Inventory, AttestError> {
    let view = View::new(trees, rootfs);
    let distribution = distribution(&view)?;
    let mut found = Inventory::default();
    dpkg::read(&view, &distribution, &mut found)?;
    apk::read(&view, &distribution, &mut found)?;
    rpm::read(&view, &distribution, &mut found)?;
    if found.packages.is_empty() && found.gaps.is_empty() {
        found.gaps.push("no package database of a distribution was found".to_owned());
    }
    language::read(&view, &mut found)?;
    if found.packages.len() > MAX_PACKAGES {
        let (path, count) = ("".to_owned(), found.packages.len());
        return Err(AttestError::Database { path, reason: format!("{count} packages are more than {MAX_PACKAGES}") });
    }
    found.packages.sort();
    found.packages.dedup();
    Ok(found)
}

fn distribution(view: &View<'_>) -> Result<Distribution, AttestError> {
    for path in ["etc/os-release", "usr/lib/os-release"] {
        if let Some(text) = text(view, path)? {
            let mut fields = os_release(&text);
            let id = fields.remove("ID").unwrap_or_else(|| "linux".to_owned());
            return Ok(Distribution { id, version: fields.remove("VERSION_ID").unwrap_or_default() });
        }
    }
    Ok(Distribution { id: "linux".to_owned(), version: String::new() })
}

/// `NAME=VALUE` lines, the value perhaps in quotes.
fn os_release(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (name, value) = line.trim().split_once('=').filter(|(name, _)| !name.starts_with('#'))?;
        let quoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        Some((name.to_owned(), quoted.unwrap_or(value).to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// A file as text, if there is one of that path.
fn text(view: &View<'_>, path: &str) -> Result<Option<String>, AttestError> {
    let bytes = view.read(path.as_bytes(), MAX_FILE)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::fixture::{TestStore, layer, store};

    /// The inventory of an image of one layer.
    pub(super) fn found(lines: &[&str]) -> Inventory {
        let TestStore { store, dir: _dir } = store();
        let layer = layer(&store, lines);
        let trees = Trees::new(&store);
        inventory(&trees, &trees.of_layers(&[layer]).unwrap()).unwrap()
    }

    pub(super) fn purls(found: &Inventory) -> Vec<String> {
        found.packages.iter().map(|package| package.purl.to_string()).collect()
    }

    #[test]
    fn the_distribution_is_read_as_shells_would() {
        let fields = os_release("# c\nID=debian\nVERSION_ID=\"12\"\nNAME='a b'\n\nBROKEN\n");
        assert_eq!(
            (fields["ID"].as_str(), fields["VERSION_ID"].as_str(), fields["NAME"].as_str()),
            ("debian", "12", "a b")
        );
        assert_eq!(Distribution { id: "arch".into(), version: String::new() }.qualifier(), "arch");
    }

    #[test]
    fn an_image_without_databases_says_so() {
        let found = found(&["hello=x"]);
        assert_eq!(found.packages, []);
        assert_eq!(found.gaps, ["no package database of a distribution was found"]);
    }
}
