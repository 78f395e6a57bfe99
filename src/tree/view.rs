//! Looking into a root filesystem without mounting it: names through the merged tree, bytes from the layer directories.

use super::node::default_root;
use super::{Node, NodeEntry, Rootfs, TreeError, Trees};
use crate::base::fs::Context;
use crate::base::root::Root;
use crate::layer::{Index, Kind};
use crate::store::StoreError;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, OnceLock};

/// As many symbolic links as the kernel follows in one look-up (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A root filesystem opened for reading.
#[derive(Debug)]
pub struct View<'t> {
    trees: &'t Trees<'t>,
    rootfs: &'t Rootfs,
    /// The layer directories, bottom first, each opened when it is first asked.
    layers: Vec<OnceLock<Root>>,
    /// What the layers hold that were only promised when they were first asked.
    promised: Vec<OnceLock<Option<Index>>>,
}

/// Something found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its real path (no symbolic links in its parents), relative to the root, no leading `/`; the root is empty.
    pub path: Vec<u8>,
    /// Metadata; for the root itself a directory 0755 0:0 unless a layer says otherwise.
    pub entry: NodeEntry,
}

impl Found {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.entry.entry.kind, Kind::Dir { .. })
    }
}

/// A name on the way: where the walk stands, and what is there (`None`: nothing).
type Step = (Vec<u8>, Option<Found>);

impl<'t> View<'t> {
    /// A view of `rootfs`.
    pub fn new(trees: &'t Trees<'t>, rootfs: &'t Rootfs) -> View<'t> {
        let layers = rootfs.layers.iter().map(|_| OnceLock::new()).collect();
        let promised = rootfs.layers.iter().map(|_| OnceLock::new()).collect();
        View { trees, rootfs, layers, promised }
    }

    /// What it shows.
    pub fn rootfs(&self) -> &Rootfs {
        self.rootfs
    }

    /// The root directory.
    pub fn root(&self) -> Result<Found, TreeError> {
        let node = self.trees.root(&self.rootfs.tree)?;
        let entry = node.root.as_deref().cloned().unwrap_or_else(default_root);
        Ok(Found { path: Vec::new(), entry: NodeEntry { entry, child: Some(self.rootfs.tree), place: None } })
    }

    /// Finds a path. Symbolic links in the parents are followed inside the root (absolute ones are re-rooted, `..` stops
    /// at the root); the last component only if `follow`. `None` if nothing is there, also because a component on the
    /// way is no directory.
    pub fn find(&self, path: &[u8], follow: bool) -> Result<Option<Found>, TreeError> {
        match self.resolve(path, follow)? {
            Resolved::Found(found) => Ok(Some(*found)),
            Resolved::Missing(_) | Resolved::Blocked(_) => Ok(None),
        }
    }

    /// The real path that `path` names as a place to write to: existing components resolved (links followed, the last
    /// one too), missing ones appended as they are. With it what is there already, if anything is.
    pub fn resolve_for_write(&self, path: &[u8]) -> Result<(Vec<u8>, Option<Found>), TreeError> {
        match self.resolve(path, true)? {
            Resolved::Found(found) => Ok((found.path.clone(), Some(*found))),
            Resolved::Missing(path) => Ok((path, None)),
            Resolved::Blocked(at) => Err(unresolvable(path, format!("'/{}' is no directory", show(&at)))),
        }
    }

    fn resolve(&self, path: &[u8], follow: bool) -> Result<Resolved, TreeError> {
        let mut steps: Vec<Step> = vec![(Vec::new(), Some(self.root()?))];
        // What is still to be walked, last component first.
        let mut ahead: Vec<Vec<u8>> = Vec::new();
        push_components(&mut ahead, path);
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == b".." {
                if steps.len() > 1 {
                    steps.pop();
                }
                continue;
            }
            // The root is never popped, so there always is a last step.
            let Some((at, here)) = steps.last() else { break };
            let here_path = join(at, &name);
            let found = match here {
                None => None,
                Some(dir) if !dir.is_dir() => return Ok(Resolved::Blocked(dir.path.clone())),
                Some(dir) => self.node(dir)?.get(&name).cloned(),
            };
            match found {
                Some(entry) => {
                    if let Kind::Symlink(target) = &entry.entry.kind
                        && (follow || !ahead.is_empty())
                    {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(unresolvable(path, "too many levels of symbolic links".into()));
                        }
                        if target.starts_with(b"/") {
                            steps.truncate(1);
                        }
                        push_components(&mut ahead, target);
                        continue;
                    }
                    steps.push((here_path.clone(), Some(Found { path: here_path, entry })));
                }
                None => steps.push((here_path, None)),
            }
        }
        Ok(match steps.pop() {
            Some((_, Some(found))) => Resolved::Found(Box::new(found)),
            Some((path, None)) => Resolved::Missing(path),
            None => Resolved::Missing(Vec::new()),
        })
    }

    /// The node of a found directory.
    pub fn node(&self, dir: &Found) -> Result<Arc<Node>, TreeError> {
        self.trees.child(&dir.entry)
    }

    /// Every entry below a found directory in path order (a directory before its contents), paths relative to the root.
    /// `visit` returns false to skip a directory's contents.
    pub fn walk(&self, dir: &Found, visit: &mut dyn FnMut(&Found) -> Result<bool, TreeError>) -> Result<(), TreeError> {
        let mut ahead = BinaryHeap::new();
        self.push_children(dir, &mut ahead)?;
        while let Some(Reverse(ByPath(found))) = ahead.pop() {
            if visit(&found)? && found.is_dir() {
                self.push_children(&found, &mut ahead)?;
            }
        }
        Ok(())
    }

    fn push_children(&self, dir: &Found, ahead: &mut BinaryHeap<Reverse<ByPath>>) -> Result<(), TreeError> {
        for entry in &self.node(dir)?.entries {
            let path = join(&dir.path, &entry.entry.path);
            ahead.push(Reverse(ByPath(Found { path, entry: entry.clone() })));
        }
        Ok(())
    }

    /// Opens a found regular file in the layer that holds it.
    pub fn open(&self, file: &Found) -> Result<File, TreeError> {
        let size = match file.entry.entry.kind {
            Kind::File { size, .. } | Kind::HardLink { size, .. } => size,
            _ => return Err(unresolvable(&file.path, "it is no regular file".into())),
        };
        // The merged tree says that the file is there, so the topmost layer that has one at this path is where it is
        // from: a whiteout or an opaque directory above it would have hidden it from the tree, too.
        for position in self.having(&file.path) {
            let root = self.layer(position)?;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
            let opened = match root.open_with(&file.path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
                Ok(fd) => File::from(fd),
                // NXIO: a whiteout, a device without a driver.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::NODEV) => continue,
                failed => return Ok(failed.at("open", root.show(&file.path))?.into()),
            };
            let metadata = opened.metadata().at("look at", root.show(&file.path))?;
            if !metadata.is_file() {
                continue;
            }
            if metadata.len() != size {
                let reason = format!("it has {} bytes, its layer's index says {size}", metadata.len());
                return Err(StoreError::Damaged { path: root.show(&file.path), reason }.into());
            }
            return Ok(opened);
        }
        let path = self.trees.store().root().join("layers");
        let reason = format!("no layer has the file '/{}', which the image contains", show(&file.path));
        Err(StoreError::Damaged { path, reason }.into())
    }

    /// When something found was last modified: seconds and nanoseconds since the epoch. A tree does not hold that; the
    /// topmost layer that has the path does. The epoch itself for a root that no layer has.
    pub fn mtime(&self, found: &Found) -> Result<(i64, u32), TreeError> {
        for position in self.having(&found.path) {
            let root = self.layer(position)?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW;
            let opened = match root.open_with(&found.path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                failed => failed.at("open", root.show(&found.path))?,
            };
            let stat = rustix::fs::fstat(&opened).at("look at", root.show(&found.path))?;
            return Ok((stat.st_mtime, stat.st_mtime_nsec as u32));
        }
        Ok((0, 0))
    }

    /// The layers that may have a path, topmost first: a promised one that has not is not fetched to find that out.
    fn having<'v>(&'v self, path: &'v [u8]) -> impl Iterator<Item = usize> + 'v {
        (0..self.layers.len()).rev().filter(move |position| self.may_have(*position, path))
    }

    fn may_have(&self, position: usize, path: &[u8]) -> bool {
        let store = self.trees.store();
        if path.is_empty() || !store.has_promises() || self.layers[position].get().is_some() {
            return true;
        }
        let index = self.promised[position].get_or_init(|| {
            let bytes = store.promised_index(&self.rootfs.layers[position])?;
            Index::decode(&bytes).ok()
        });
        index.as_ref().is_none_or(|index| index.get(path).is_some())
    }

    fn layer(&self, position: usize) -> Result<&Root, TreeError> {
        let cell = &self.layers[position];
        if let Some(root) = cell.get() {
            return Ok(root);
        }
        let root = Root::open(self.trees.store().layer_fs(&self.rootfs.layers[position])?)?;
        Ok(cell.get_or_init(|| root))
    }

    /// Reads a regular file of at most `limit` bytes, links followed; `None` if there is none (or it is no regular file).
    pub fn read(&self, path: &[u8], limit: u64) -> Result<Option<Vec<u8>>, TreeError> {
        let Some(found) = self.find(path, true)? else { return Ok(None) };
        let (Kind::File { size, .. } | Kind::HardLink { size, .. }) = found.entry.entry.kind else { return Ok(None) };
        if size > limit {
            return Err(TreeError::TooLarge { path: show(path), size, limit });
        }
        let mut bytes = Vec::with_capacity(size as usize);
        self.open(&found)?.take(size).read_to_end(&mut bytes).at("read", show(path))?;
        Ok(Some(bytes))
    }
}

/// Where a path leads.
enum Resolved {
    Found(Box<Found>),
    /// Nothing is there; this is the real path.
    Missing(Vec<u8>),
    /// This, on the way, is no directory.
    Blocked(Vec<u8>),
}

/// Orders what was found by its path's bytes.
struct ByPath(Found);

impl PartialEq for ByPath {
    fn eq(&self, other: &ByPath) -> bool {
        self.0.path == other.0.path
    }
}

impl Eq for ByPath {}

impl PartialOrd for ByPath {
    fn partial_cmp(&self, other: &ByPath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByPath {
    fn cmp(&self, other: &ByPath) -> Ordering {
        self.0.path.cmp(&other.0.path)
    }
}

/// Puts the components of `path` on the stack, its first on top; empty ones and `.` mean nothing.
fn push_components(stack: &mut Vec<Vec<u8>>, path: &[u8]) {
    let components = path.split(|b| *b == b'/').rev();
    stack.extend(components.filter(|c| !matches!(*c, b"" | b".")).map(<[u8]>::to_vec));
}

pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn unresolvable(path: &[u8], reason: String) -> TreeError {
    TreeError::Resolve { path: show(path), reason }
}
