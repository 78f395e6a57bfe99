//! Which files a definition is in, and of what form each is.

use super::expr::Body;
use super::fault::{Fault, Result, plain, suggest};
use super::node::Node;
use super::{data, hcl, json, toml, yaml};
use crate::diag::Source;

/// The most that a file may hold, in bytes.
pub const LIMIT: u64 = 1 << 20;

/// Files that are read where none is named, in this order: later ones are put over earlier ones.
pub const DEFAULTS: [&str; 9] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
    "rbuild.toml",
];

/// A file's contents.
pub enum File {
    /// Services.
    Compose(Node),
    /// Targets.
    Bake(Body),
}

/// Reads a file. Its name's ending tells its form; where there is none, its text does.
pub fn read(source: &Source) -> Result<File> {
    let name = source.name().to_ascii_lowercase();
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("yaml" | "yml") => yaml::read(source).map(File::Compose),
        Some("json") => bake(json::read(source)?),
        Some("toml") => project(&toml::read(source)?),
        Some("hcl") => hcl::read(source).map(File::Bake),
        _ => guess(source),
    }
}

fn bake(node: Node) -> Result<File> {
    data::body(&node).map(File::Bake)
}

/// A project's `rbuild.toml` also holds its configuration, which is not ours to read.
fn project(node: &Node) -> Result<File> {
    const CONFIGURATION: [&str; 6] = ["root", "jobs", "network", "snapshotter", "limits", "registry"];
    let mut body = data::body(node)?;
    for attribute in std::mem::take(&mut body.attributes) {
        let name = attribute.name.as_str();
        if !CONFIGURATION.contains(&name) {
            let fault = attribute.site.error("bake-attribute", format!("a definition has no `{name}`"));
            return Err(suggest(fault, name, ["target", "group", "variable", "function"]).into());
        }
    }
    Ok(File::Bake(body))
}

fn guess(source: &Source) -> Result<File> {
    if source.text().trim_start().starts_with('{') {
        return bake(json::read(source)?);
    }
    match hcl::read(source) {
        Ok(body) => Ok(File::Bake(body)),
        Err(fault) => match yaml::read(source) {
            Ok(node) if node.get("services").is_some() => Ok(File::Compose(node)),
            _ => Err(fault),
        },
    }
}

/// The text of a file.
///
/// # Errors
/// It is too large, or not UTF-8.
pub fn source(name: &str, bytes: Vec<u8>) -> Result<Source> {
    if bytes.len() as u64 > LIMIT {
        let message = format!("{name} holds more than {} MiB, which no definition does", LIMIT >> 20);
        return Err(plain("bake-limit", message).into());
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text.strip_prefix('\u{feff}').unwrap_or(&text))),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(Fault::from(plain("bake-syntax", format!("{name} is not UTF-8 (byte {at})"))))
        }
    }
}
