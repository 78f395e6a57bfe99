//! Packages of languages, where a file says what is installed or linked in: Cargo.lock, npm's lock files, the metadata of
//! Python's distributions. What a distribution's own package brought is listed as that package alone.

use super::control::{field, paragraphs};
use super::{Inventory, Package, text};
use crate::attest::AttestError;
use crate::attest::purl::Purl;
use crate::tree::View;
use crate::tree::view::Found;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};

/// What a file of a certain name is.
#[derive(Clone, Copy)]
enum Form {
    Cargo,
    Npm,
    Python,
}

pub fn read(view: &View<'_>, found: &mut Inventory) -> Result<(), AttestError> {
    let mut files: Vec<(String, Form)> = Vec::new();
    view.walk(&view.root()?, &mut |here: &Found| {
        if !here.is_dir() {
            if let Some(form) = form(&here.path)
                && let Ok(path) = std::str::from_utf8(&here.path)
            {
                files.push((path.to_owned(), form));
            }
            return Ok(true);
        }
        Ok(!matches!(here.path.as_slice(), b"proc" | b"sys" | b"dev"))
    })?;
    if files.is_empty() {
        return Ok(());
    }
    let owned = owned(view)?;
    for (path, form) in files {
        if owned.contains(path.as_str()) {
            continue;
        }
        let Some(text) = text(view, &path)? else { continue };
        let packages = match form {
            Form::Cargo => cargo(&text),
            Form::Npm => npm(&text),
            Form::Python => Ok(python(&text)),
        };
        match packages {
            Ok(packages) => found.packages.extend(packages.into_iter().map(|(purl, name, version)| Package {
                purl,
                name,
                version,
                maintainer: None,
                source: None,
                found_in: path.clone(),
            })),
            // Anybody may call a file so.
            Err(reason) => found.gaps.push(format!("/{path} was not read: {reason}")),
        }
    }
    Ok(())
}

fn form(path: &[u8]) -> Option<Form> {
    let mut parts = path.rsplit(|b| *b == b'/');
    let (name, directory) = (parts.next()?, parts.next().unwrap_or_default());
    match name {
        b"Cargo.lock" => Some(Form::Cargo),
        b"package-lock.json" | b".package-lock.json" => Some(Form::Npm),
        b"METADATA" if directory.ends_with(b".dist-info") => Some(Form::Python),
        b"PKG-INFO" if directory.ends_with(b".egg-info") => Some(Form::Python),
        _ if name.ends_with(b".egg-info") => Some(Form::Python),
        _ => None,
    }
}

/// Files that packages of dpkg and apk brought.
fn owned(view: &View<'_>) -> Result<HashSet<String>, AttestError> {
    let mut owned = HashSet::new();
    const INFO: &str = "var/lib/dpkg/info";
    if let Some(directory) = view.find(INFO.as_bytes(), true)?.filter(Found::is_dir) {
        for entry in &view.node(&directory)?.entries {
            let Ok(name) = std::str::from_utf8(&entry.entry.path) else { continue };
            if name.ends_with(".list")
                && let Some(list) = text(view, &format!("{INFO}/{name}"))?
            {
                let paths = list.lines().filter(|path| path.contains("-info"));
                owned.extend(paths.map(|path| path.trim_start_matches('/').to_owned()));
            }
        }
    }
    if let Some(installed) = text(view, "lib/apk/db/installed")? {
        let mut directory = "";
        for line in installed.lines() {
            match line.split_once(':') {
                Some(("F", path)) => directory = path,
                Some(("R", name)) => {
                    owned.insert(format!("{directory}/{name}"));
                }
                _ => {}
            }
        }
    }
    Ok(owned)
}

type Named = (Purl, String, String);

#[derive(Deserialize)]
struct CargoLock {
    #[serde(default)]
    package: Vec<CargoPackage>,
}

#[derive(Deserialize)]
struct CargoPackage {
    name: String,
    version: String,
}

fn cargo(text: &str) -> Result<Vec<Named>, String> {
    let lock: CargoLock = toml::from_str(text).map_err(|e| e.message().to_owned())?;
    let named = |package: CargoPackage| {
        let purl = Purl::new("cargo", &package.name).version(&package.version);
        (purl, package.name, package.version)
    };
    Ok(lock.package.into_iter().map(named).collect())
}

#[derive(Deserialize)]
struct NpmLock {
    #[serde(default)]
    packages: BTreeMap<String, NpmPackage>,
}

#[derive(Deserialize)]
struct NpmPackage {
    /// Where it is not the name of its directory.
    name: Option<String>,
    version: Option<String>,
    #[serde(default)]
    link: bool,
}

/// Lock files of npm 7 and newer (package-lock.json, "packages").
fn npm(text: &str) -> Result<Vec<Named>, String> {
    let lock: NpmLock = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let named = |(path, package): (String, NpmPackage)| {
        let (_, directory) = path.rsplit_once("node_modules/")?;
        let name = package.name.unwrap_or_else(|| directory.to_owned());
        let version = package.version.filter(|_| !package.link)?;
        let (scope, last) = name.rsplit_once('/').unwrap_or(("", &name));
        let purl = Purl::new("npm", last).within(scope).version(&version);
        Some((purl, name, version))
    };
    Ok(lock.packages.into_iter().filter_map(named).collect())
}

/// Core metadata of a Python distribution: what stands before the description.
fn python(text: &str) -> Vec<Named> {
    let head = paragraphs(text).next().unwrap_or_default();
    let named = field(&head, "Name").zip(field(&head, "Version"));
    let of =
        |(name, version): (&str, &str)| (Purl::new("pypi", name).version(version), name.to_owned(), version.to_owned());
    named.map(of).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{found, purls};

    #[test]
    fn lock_files_and_metadata_are_read_unless_a_distribution_brought_them() {
        let found = found(&[
            "app/",
            "app/Cargo.lock=version = 4\n[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\n",
            "app/package-lock.json={\"packages\":{\"\":{\"version\":\"9\"},\"node_modules/@a/b\":{\"version\":\"1.0.0\"},\
             \"node_modules/c/node_modules/d\":{\"version\":\"2.0.0\"},\"node_modules/l\":{\"link\":true}}}",
            "py/",
            "py/Foo_Bar-1.dist-info/",
            "py/Foo_Bar-1.dist-info/METADATA=Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1\n\nVersion: 9 text\n",
            "py/own-2.egg-info=Name: own\nVersion: 2\n",
            "broken/",
            "broken/Cargo.lock=[[",
            "var/",
            "var/lib/",
            "var/lib/dpkg/",
            "var/lib/dpkg/info/",
            "var/lib/dpkg/info/python3-own.list=/.\n/py/own-2.egg-info\n",
        ]);
        let expected = ["pkg:cargo/serde@1.0.1", "pkg:npm/d@2.0.0", "pkg:npm/%40a/b@1.0.0", "pkg:pypi/foo-bar@1"];
        assert_eq!(purls(&found), expected);
        assert!(found.gaps.iter().any(|gap| gap.starts_with("/broken/Cargo.lock was not read")), "{:?}", found.gaps);
    }
}
