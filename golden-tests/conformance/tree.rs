//! A flattened root filesystem as lines of text, one a path, read from a tar.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;

/// Paths, without a leading slash, and what is there.
pub type Tree = BTreeMap<Vec<u8>, Node>;

/// What is at a path.
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    kind: String,
    contents: String,
    mode: u32,
    owner: (u64, u64),
    xattrs: Vec<String>,
    mtime: u64,
}

/// Reads a tar. Hard links are told by the first path in order, whichever the archive calls the file.
pub fn read(tar: impl Read) -> std::io::Result<Tree> {
    let mut tree = Tree::new();
    let mut links: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = plain(&entry.path_bytes());
        if path.is_empty() {
            continue;
        }
        let target = entry.link_name_bytes().map(|t| t.into_owned()).unwrap_or_default();
        let mut xattrs = Vec::new();
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) {
                xattrs.push(format!("{name}={}", extension.value_bytes().escape_ascii()));
            }
        }
        xattrs.sort();
        let header = entry.header().clone();
        let (kind, contents) = match header.entry_type() {
            tar::EntryType::Directory => ("dir", String::new()),
            tar::EntryType::Symlink => ("link", format!("-> {}", target.escape_ascii())),
            tar::EntryType::Link => {
                links.push((path, plain(&target)));
                continue;
            }
            tar::EntryType::Char => ("char", device(&header)?),
            tar::EntryType::Block => ("block", device(&header)?),
            tar::EntryType::Fifo => ("fifo", String::new()),
            _ => ("file", contents(&mut entry)?),
        };
        let mode = if kind == "link" { 0o777 } else { header.mode()? & 0o7777 };
        let owner = (header.uid()?, header.gid()?);
        tree.insert(path, Node { kind: kind.into(), contents, mode, owner, xattrs, mtime: header.mtime()? });
    }
    name_links(&mut tree, links);
    Ok(tree)
}

fn name_links(tree: &mut Tree, links: Vec<(Vec<u8>, Vec<u8>)>) {
    let mut groups: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for (path, target) in links {
        groups.entry(target).or_default().push(path);
    }
    for (target, mut paths) in groups {
        let Some(node) = tree.remove(&target) else { continue };
        paths.push(target);
        paths.sort();
        let first = paths[0].clone();
        for path in &paths[1..] {
            let contents = format!("== /{}", first.escape_ascii());
            tree.insert(path.clone(), Node { kind: "hard".into(), contents, ..node.clone() });
        }
        tree.insert(first, node);
    }
}

fn plain(path: &[u8]) -> Vec<u8> {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if path == b"." { Vec::new() } else { path.to_vec() }
}

fn device(header: &tar::Header) -> std::io::Result<String> {
    Ok(format!("{},{}", header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
}

/// Short text as it is, anything else as size and hash.
fn contents(entry: &mut impl Read) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    if bytes.len() <= 400 && std::str::from_utf8(&bytes).is_ok_and(|t| !t.contains('\0')) {
        return Ok(format!("{:?}", String::from_utf8_lossy(&bytes)));
    }
    Ok(format!("{} bytes sha256:{}", bytes.len(), &hex::encode(Sha256::digest(&bytes))[..16]))
}

/// The tree as text: all of it, or, if it stands on `base`, what is not as there; what is gone has a `-`.
pub fn render(tree: &Tree, base: &Tree, times: bool) -> String {
    let stands_on_base = tree.contains_key(b"bin/busybox".as_slice());
    let mut out = String::new();
    let paths: std::collections::BTreeSet<&Vec<u8>> =
        tree.keys().chain(base.keys().filter(|_| stands_on_base)).collect();
    for path in paths {
        let name = path.escape_ascii();
        match (tree.get(path), base.get(path).filter(|_| stands_on_base)) {
            (Some(node), Some(old)) if Node { mtime: old.mtime, ..node.clone() } == *old => {}
            (Some(node), _) => {
                let _ = writeln!(out, "{}", node.line(&name.to_string(), times));
            }
            (None, _) => {
                let _ = writeln!(out, "/{name} -");
            }
        }
    }
    out
}

impl Node {
    fn line(&self, path: &str, times: bool) -> String {
        let mut line = format!("/{path} {} {:04o} {}:{}", self.kind, self.mode, self.owner.0, self.owner.1);
        if times && self.kind != "hard" {
            let _ = write!(line, " @{}", self.mtime);
        }
        if !self.contents.is_empty() {
            let _ = write!(line, " {}", self.contents);
        }
        for xattr in &self.xattrs {
            let _ = write!(line, " {xattr}");
        }
        line
    }
}
