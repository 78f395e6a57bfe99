//! What tests of steps work on: a store, a context directory and root filesystems made of short lines of text.

use super::context::{ContextSpec, Contexts};
use super::elf::sample::Sample;
use super::{Cx, Inputs, OpError, Written, copy};
use crate::base::{Cancel, Digest, clock};
use crate::graph::{ContextId, CopyOp, CopySource, StepId};
use crate::layer::{Kind, scan};
use crate::snapshot::{Snapshot, SnapshotError, Snapshotter};
use crate::store::layers::{LayerInfo, NewLayer};
use crate::store::{Access, Store};
use crate::tree::{Rootfs, Trees, View};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// A store, a context directory and root filesystems made of both.
pub struct Bench {
    dir: tempfile::TempDir,
    /// The store.
    pub store: Store,
}

/// COPY takes no snapshots.
#[derive(Debug)]
struct NoSnapshots;

impl Snapshotter for NoSnapshots {
    fn name(&self) -> &'static str {
        "none"
    }
    fn prepare(&self, _: &Store, _: &Trees<'_>, base: &Rootfs) -> Result<Snapshot, SnapshotError> {
        Err(SnapshotError::TooDeep(base.layers.len()))
    }
    fn changes(&self, _: &Store, _: &Trees<'_>, snapshot: &Snapshot) -> Result<PathBuf, SnapshotError> {
        Err(SnapshotError::TooDeep(snapshot.base.layers.len()))
    }
}

/// A new bench. Its tests set owners, and so need root.
pub fn bench() -> Bench {
    assert!(rustix::process::geteuid().is_root(), "this test sets file owners: run it as root or in a user namespace");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), Access::Shared).unwrap();
    fs::create_dir(dir.path().join("context")).unwrap();
    Bench { dir, store }
}

/// Makes files: `PATH d MODE`, `PATH f MODE TEXT` or `PATH l TARGET`, with `UID:GID` after the letter if not root's.
pub fn sketch(root: &Path, lines: &[&str]) {
    for line in lines {
        let mut words = line.splitn(4, ' ');
        let (path, kind) = (words.next().unwrap(), words.next().unwrap());
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let third = words.next().unwrap_or_default();
        let (kind, owner) = kind.split_at(1);
        match kind {
            "l" => symlink(third, &path).unwrap(),
            "d" => {
                let _ = fs::create_dir(&path);
                fs::set_permissions(&path, mode(third)).unwrap();
            }
            _ => {
                fs::write(&path, words.next().unwrap_or("x")).unwrap();
                fs::set_permissions(&path, mode(third)).unwrap();
            }
        }
        if let Some((uid, gid)) = owner.split_once(':') {
            lchown(&path, uid.parse().ok(), gid.parse().ok()).unwrap();
            if kind != "l" {
                fs::set_permissions(&path, mode(third)).unwrap();
            }
        }
    }
}

/// Permissions from octal digits.
pub fn mode(text: &str) -> fs::Permissions {
    fs::Permissions::from_mode(u32::from_str_radix(text, 8).unwrap())
}

impl Bench {
    /// Writes an ELF file into the context.
    pub fn program(&self, path: &str, sample: &Sample<'_>) {
        let path = self.context().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, sample.build()).unwrap();
        fs::set_permissions(&path, mode("755")).unwrap();
    }

    /// The context directory.
    pub fn context(&self) -> PathBuf {
        self.dir.path().join("context")
    }

    fn contexts(&self) -> Contexts {
        let ignore_file = Some(self.context().join(".dockerignore")).filter(|f| f.exists());
        Contexts::open(&self.store, vec![ContextSpec { name: None, dir: self.context(), ignore_file }]).unwrap()
    }

    /// Publishes a layer directory on top of `base`.
    pub fn layer(&self, trees: &Trees<'_>, base: &Rootfs, written: Written) -> Rootfs {
        let scanned = scan::scan(&written.fs, &written.known, &Cancel::new()).unwrap();
        // What the copy says of its contents must be what lies there.
        let unaided = scan::scan(&written.fs, &Default::default(), &Cancel::new()).unwrap();
        assert_eq!(scanned.index, unaided.index, "`known` digests must be true");
        let info = LayerInfo {
            diff_id: scanned.diff_id,
            content: scanned.index.content_digest(),
            tar_size: scanned.tar_size,
            size: scanned.index.size(),
            created: clock::now(),
            fresh_from: None,
            fs_of: None,
        };
        let index = scanned.index.encode();
        self.store.publish_layer(NewLayer { fs: written.fs, index, recipe: None, info }).unwrap();
        trees.push(base, &scanned.diff_id).unwrap()
    }

    /// A root filesystem of these files.
    pub fn rootfs(&self, trees: &Trees<'_>, lines: &[&str]) -> Rootfs {
        let dir = self.store.temp_dir().unwrap();
        let fs = dir.path().join("fs");
        fs::create_dir(&fs).unwrap();
        sketch(&fs, lines);
        let empty = Rootfs { layers: Vec::new(), tree: Trees::empty() };
        self.layer(trees, &empty, Written { dir, fs, known: Default::default() })
    }

    /// Plans and runs a COPY; gives the resulting root as lines, and what was planned.
    pub fn copy(&self, base: &[&str], stage: &[&str], op: &CopyOp) -> Result<(Vec<String>, copy::Planned), OpError> {
        let trees = Trees::new(&self.store);
        let (base, stage) = (self.rootfs(&trees, base), self.rootfs(&trees, stage));
        self.with(&trees, &[base.clone(), stage], |cx, inputs| {
            let planned = copy::plan(cx, op, inputs)?;
            let written = copy::run(cx, op, inputs, &planned, None)?;
            let result = self.layer(&trees, &base, written);
            Ok((listing(&trees, &result), planned))
        })
    }

    /// Calls `act` with the root filesystems `all` as the steps 0, 1 and so on.
    pub fn with<T>(&self, trees: &Trees<'_>, all: &[Rootfs], act: impl FnOnce(&Cx<'_>, &Inputs<'_>) -> T) -> T {
        let contexts = self.contexts();
        let (secrets, cancel) = (BTreeMap::new(), Cancel::new());
        let cx = Cx {
            store: &self.store,
            trees,
            snapshotter: &NoSnapshots,
            contexts: &contexts,
            run: &Default::default(),
            secrets: &secrets,
            imported: None,
            cancel: &cancel,
        };
        act(&cx, &|id: StepId| &all[id.index()])
    }

    /// The key that a COPY has on this base.
    pub fn key(&self, base: &[&str], stage: &[&str], op: &CopyOp) -> Digest {
        let trees = Trees::new(&self.store);
        let all = [self.rootfs(&trees, base), self.rootfs(&trees, stage)];
        self.with(&trees, &all, |cx, inputs| copy::plan(cx, op, inputs).unwrap().preimage.digest())
    }
}

/// Every path of a root filesystem, as `sketch` would have it.
pub fn listing(trees: &Trees<'_>, rootfs: &Rootfs) -> Vec<String> {
    let view = View::new(trees, rootfs);
    let root = view.find(b"", false).unwrap().unwrap();
    let mut lines = Vec::new();
    view.walk(&root, &mut |found| {
        let (path, entry) = (String::from_utf8_lossy(&found.path), &found.entry.entry);
        let owner =
            if (entry.uid, entry.gid) == (0, 0) { String::new() } else { format!("{}:{}", entry.uid, entry.gid) };
        lines.push(match &entry.kind {
            Kind::Dir { .. } => format!("{path} d{owner} {:o}", entry.mode),
            Kind::Symlink(target) => format!("{path} l{owner} {}", String::from_utf8_lossy(target)),
            Kind::File { .. } => {
                let text = view.read(&found.path, 1 << 20)?.unwrap_or_default();
                format!("{path} f{owner} {:o} {}", entry.mode, String::from_utf8_lossy(&text))
            }
            Kind::HardLink { first, .. } => format!("{path} = {}", String::from_utf8_lossy(first)),
            other => format!("{path} {other:?} {:o}", entry.mode),
        });
        Ok(true)
    })
    .unwrap();
    lines
}

/// `COPY SOURCES DEST` of the main context.
pub fn copy_op(sources: &[&str], dest: &str) -> CopyOp {
    let source = |s: &&str| CopySource::Context { context: Some(ContextId(0)), pattern: (*s).to_owned() };
    CopyOp::new(StepId(0), sources.iter().map(source).collect(), dest)
}

/// `COPY --from=STAGE SOURCES DEST`.
pub fn copy_from(sources: &[&str], dest: &str) -> CopyOp {
    let source = |s: &&str| CopySource::Step { step: StepId(1), pattern: (*s).to_owned() };
    CopyOp { sources: sources.iter().map(source).collect(), ..copy_op(&[], dest) }
}
