//! The rules of COPY (dockerfile.md 1.7) on real files in a temporary store. They set owners and so need root, and say
//! so where they are run without.

use super::{Planned, plan, run};
use crate::base::{Cancel, Digest, clock};
use crate::graph::{CopyOp, CopySource, MkdirOp, StepId};
use crate::layer::{Kind, scan};
use crate::ops::context::{ContextSpec, Contexts};
use crate::ops::elf::sample::Sample;
use crate::ops::{Cx, Inputs, OpError, Written, mkdir, user};
use crate::snapshot::{Snapshot, SnapshotError, Snapshotter};
use crate::store::layers::{LayerInfo, NewLayer};
use crate::store::{Access, Store};
use crate::tree::{Rootfs, Trees, View};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

/// A store, a context directory and root filesystems made of both.
struct Bench {
    dir: tempfile::TempDir,
    store: Store,
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

fn bench() -> Bench {
    assert!(rustix::process::geteuid().is_root(), "this test sets file owners: run it as root or in a user namespace");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), Access::Shared).unwrap();
    fs::create_dir(dir.path().join("context")).unwrap();
    Bench { dir, store }
}

/// Makes files: `PATH d MODE`, `PATH f MODE TEXT` or `PATH l TARGET`, with `UID:GID` after the letter if not root's.
fn sketch(root: &Path, lines: &[&str]) {
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

fn mode(text: &str) -> fs::Permissions {
    fs::Permissions::from_mode(u32::from_str_radix(text, 8).unwrap())
}

impl Bench {
    /// Writes an ELF file into the context.
    fn program(&self, path: &str, sample: &Sample<'_>) {
        let path = self.context().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, sample.build()).unwrap();
        fs::set_permissions(&path, mode("755")).unwrap();
    }

    fn context(&self) -> PathBuf {
        self.dir.path().join("context")
    }

    fn contexts(&self) -> Contexts {
        let ignore_file = Some(self.context().join(".dockerignore")).filter(|f| f.exists());
        Contexts::open(&self.store, vec![ContextSpec { name: None, dir: self.context(), ignore_file }]).unwrap()
    }

    /// Publishes a layer directory on top of `base`.
    fn layer(&self, trees: &Trees<'_>, base: &Rootfs, written: Written) -> Rootfs {
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
            fs_of: None,
        };
        let index = scanned.index.encode();
        self.store.publish_layer(NewLayer { fs: written.fs, index, recipe: None, info }).unwrap();
        trees.push(base, &scanned.diff_id).unwrap()
    }

    /// A root filesystem of these files.
    fn rootfs(&self, trees: &Trees<'_>, lines: &[&str]) -> Rootfs {
        let dir = self.store.temp_dir().unwrap();
        let fs = dir.path().join("fs");
        fs::create_dir(&fs).unwrap();
        sketch(&fs, lines);
        let empty = Rootfs { layers: Vec::new(), tree: Trees::empty() };
        self.layer(trees, &empty, Written { dir, fs, known: Default::default() })
    }

    /// Plans and runs a COPY; gives the resulting root as lines, and what was planned.
    fn copy(&self, base: &[&str], stage: &[&str], op: &CopyOp) -> Result<(Vec<String>, Planned), OpError> {
        let trees = Trees::new(&self.store);
        let (base, stage) = (self.rootfs(&trees, base), self.rootfs(&trees, stage));
        self.with(&trees, &[base.clone(), stage], |cx, inputs| {
            let planned = plan(cx, op, inputs)?;
            let written = run(cx, op, inputs, &planned)?;
            let result = self.layer(&trees, &base, written);
            Ok((listing(&trees, &result), planned))
        })
    }

    fn with<T>(&self, trees: &Trees<'_>, all: &[Rootfs], act: impl FnOnce(&Cx<'_>, &Inputs<'_>) -> T) -> T {
        let contexts = self.contexts();
        let (secrets, cancel) = (BTreeMap::new(), Cancel::new());
        let cx = Cx {
            store: &self.store,
            trees,
            snapshotter: &NoSnapshots,
            contexts: &contexts,
            secrets: &secrets,
            cancel: &cancel,
        };
        act(&cx, &|id: StepId| &all[id.index()])
    }

    /// The key that a COPY has on this base.
    fn key(&self, base: &[&str], stage: &[&str], op: &CopyOp) -> Digest {
        let trees = Trees::new(&self.store);
        let all = [self.rootfs(&trees, base), self.rootfs(&trees, stage)];
        self.with(&trees, &all, |cx, inputs| plan(cx, op, inputs).unwrap().preimage.digest())
    }
}

/// Every path of a root filesystem, as `sketch` would have it.
fn listing(trees: &Trees<'_>, rootfs: &Rootfs) -> Vec<String> {
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
fn copy(sources: &[&str], dest: &str) -> CopyOp {
    let source = |s: &&str| CopySource::Context { context: None, pattern: (*s).to_owned() };
    CopyOp {
        base: StepId(0),
        sources: sources.iter().map(source).collect(),
        dest: dest.to_owned(),
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        exclude: Vec::new(),
        unpack: false,
        with_libs: false,
        is_add: false,
    }
}

/// `COPY --from=STAGE SOURCES DEST`.
fn copy_from(sources: &[&str], dest: &str) -> CopyOp {
    let source = |s: &&str| CopySource::Step { step: StepId(1), pattern: (*s).to_owned() };
    CopyOp { sources: sources.iter().map(source).collect(), ..copy(&[], dest) }
}

/// One rule: context, base, instruction, and lines that the result has (`!` in front: has not).
struct Case<'c> {
    rule: &'c str,
    context: &'c [&'c str],
    base: &'c [&'c str],
    op: CopyOp,
    result: &'c [&'c str],
}

fn check(case: &Case<'_>, result: Result<(Vec<String>, Planned), OpError>) {
    let lines = result.unwrap_or_else(|e| panic!("{}: {e}", case.rule)).0;
    for expected in case.result {
        match expected.strip_prefix('!') {
            Some(path) => {
                assert!(!lines.iter().any(|l| l.starts_with(&format!("{path} "))), "{}: {path}\n{lines:#?}", case.rule)
            }
            None => assert!(lines.iter().any(|l| l == expected), "{}: {expected}\n{lines:#?}", case.rule),
        }
    }
}

#[test]
fn files_go_where_the_rules_say() {
    let tree = &[
        "s/a f 600 A",
        "s/.dot f 644 D",
        "s/sub d 700",
        "s/sub/b f 4755 B",
        "s/to-a l a",
        "f f 640 F",
        "name l f",
    ][..];
    let cases = [
        Case {
            rule: "C1: contents of a directory, dotfiles too; a new directory is made in its likeness",
            context: &["s d 711", "s/a f 600 A", "s/.dot f 644 D", "s/sub/b f 4755 B", "s/l l a"],
            base: &[],
            op: copy(&["s"], "/app"),
            result: &["app d 711", "app/a f 600 A", "app/.dot f 644 D", "app/sub/b f 4755 B", "app/l l a", "!app/s"],
        },
        Case {
            rule: "C2: a slash behind the source means nothing",
            context: tree,
            base: &[],
            op: copy(&["s/"], "/app/"),
            result: &["app d 755", "app/a f 600 A", "app/sub d 700"],
        },
        Case {
            rule: "C3: a file becomes the destination",
            context: tree,
            base: &[],
            op: copy(&["f"], "/x/y"),
            result: &["x d 755", "x/y f 640 F"],
        },
        Case {
            rule: "C3: or goes into it, if it is a directory",
            context: tree,
            base: &["d d7:8 750"],
            op: copy(&["f"], "/d"),
            result: &["d d7:8 750", "d/f f 640 F"],
        },
        Case {
            rule: "C4: with a slash always into it",
            context: tree,
            base: &[],
            op: copy(&["f"], "/n/"),
            result: &["n d 755", "n/f f 640 F"],
        },
        Case {
            rule: "C7: made directories belong to --chown and take an octal --chmod",
            context: tree,
            base: &[],
            op: CopyOp { chown: Some("5:6".into()), chmod: Some("750".into()), ..copy(&["f"], "/x/y/") },
            result: &["x d5:6 750", "x/y d5:6 750", "x/y/f f5:6 750 F"],
        },
        Case {
            rule: "C8: an existing destination keeps its looks, directories in it take the source's",
            context: tree,
            base: &["app d7:8 1777", "app/sub d7:8 777", "app/sub/old f 644 O"],
            op: copy(&["s"], "/app"),
            result: &["app d7:8 1777", "app/sub d 700", "app/sub/old f 644 O", "app/sub/b f 4755 B"],
        },
        Case {
            rule: "C10: links in the destination are followed inside the base",
            context: tree,
            base: &["real/in d 755", "link l /real", "up l ../../../real"],
            op: copy(&["f"], "/link/in/up/"),
            result: &["real/in/up/f f 640 F", "link l /real"],
        },
        Case {
            rule: "C11: a link to a file stays, what it leads to is replaced",
            context: tree,
            base: &["real f 644 old", "link l real"],
            op: copy(&["f"], "/link"),
            result: &["link l real", "real f 640 F"],
        },
        Case {
            rule: "C11: a link at a file's place in a merged directory is replaced",
            context: tree,
            base: &["app/a l /etc/passwd", "etc/passwd f 644 P"],
            op: copy(&["s"], "/app"),
            result: &["app/a f 600 A", "etc/passwd f 644 P"],
        },
        Case {
            rule: "C12: a named link is followed and keeps its name, links inside a directory are copied",
            context: tree,
            base: &[],
            op: copy(&["name", "s/sub", "s/to-a"], "/d/"),
            result: &["d/name f 640 F", "d/to-a f 600 A", "d/b f 4755 B"],
        },
        Case {
            rule: "C13: a source never leaves the context",
            context: tree,
            base: &[],
            op: copy(&["../../f"], "/d/"),
            result: &["d/f f 640 F"],
        },
        Case {
            rule: "C14, C17: owners of a context are root's or --chown's",
            context: &["s/a f7:7 644 A"],
            base: &["etc/passwd f 644 root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"],
            op: CopyOp { chown: Some("app".into()), ..copy(&["s"], "/app") },
            result: &["app/a f1000:1001 644 A"],
        },
        Case {
            rule: "C18: a symbolic --chmod spares files with X and never touches links",
            context: tree,
            base: &[],
            op: CopyOp { chmod: Some("u=rwX,go=rX".into()), ..copy(&["s"], "/app") },
            result: &["app/a f 644 A", "app/sub d 755", "app/sub/b f 755 B", "app/to-a l a"],
        },
        Case {
            rule: "C19: a wildcard does not cross a slash, matches dotfiles, and flattens directories",
            context: tree,
            base: &[],
            op: copy(&["s/*"], "/d/"),
            result: &["d/a f 600 A", "d/.dot f 644 D", "d/b f 4755 B", "!d/sub"],
        },
        Case {
            rule: "C22: --parents keeps the path behind the pivot, with the source's directories",
            context: tree,
            base: &[],
            op: CopyOp { parents: true, ..copy(&["./s/./sub/b", "s/a"], "/d") },
            result: &["d/sub d 700", "d/sub/b f 4755 B", "d/s/a f 600 A", "!d/s/sub"],
        },
        Case {
            rule: "C21: ** with --parents",
            context: &["a/b/c/x.h f 644 1", "a/y.h f 644 2", "a/b/z.c f 644 3"],
            base: &[],
            op: CopyOp { parents: true, ..copy(&["**/*.h"], "/inc/") },
            result: &["inc/a/b/c/x.h f 644 1", "inc/a/y.h f 644 2", "!inc/a/b/z.c"],
        },
        Case {
            rule: "C23: --exclude is relative to what is copied",
            context: tree,
            base: &[],
            op: CopyOp { exclude: vec!["sub".into(), ".d*".into()], ..copy(&["s"], "/d") },
            result: &["d/a f 600 A", "!d/sub", "!d/sub/b", "!d/.dot"],
        },
        Case {
            rule: "C24: --link sees nothing of the base, and replaces links on the way by directories",
            context: tree,
            base: &["real d 755", "link l real"],
            op: CopyOp { link: true, ..copy(&["f"], "/link/") },
            result: &["link d 755", "link/f f 640 F", "!real/f"],
        },
        Case {
            rule: "C31: ignored files stay out, and ! brings back",
            context: &[
                ".dockerignore f 644 *.sh\nlogs\n!logs/keep",
                "a.sh f 644 1",
                "b f 644 2",
                "logs/x f 644 3",
                "logs/keep f 644 4",
            ],
            base: &[],
            op: copy(&["."], "/d/"),
            result: &["d/b f 644 2", "d/logs/keep f 644 4", "!d/a.sh", "!d/logs/x"],
        },
    ];
    for case in cases {
        let bench = bench();
        sketch(&bench.context(), case.context);
        let result = bench.copy(case.base, &[], &case.op);
        check(&case, result);
    }
}

#[test]
fn files_of_a_step_keep_their_owners_and_links() {
    let stage = &[
        "out d3:4 750",
        "out/a f1:2 644 A",
        "out/deep/b f5:6 2755 B",
        "out/l l a",
        "usr/lib/x f 644 X",
        "lib l usr/lib",
    ][..];
    let cases = [
        Case {
            rule: "C25: a directory, owners kept",
            context: &[],
            base: &["d/deep/old f 600 O"],
            op: copy_from(&["/out"], "/d"),
            result: &["d/a f1:2 644 A", "d/deep/b f5:6 2755 B", "d/l l a", "d/deep/old f 600 O"],
        },
        Case {
            rule: "C12: links on the way are followed inside the step",
            context: &[],
            base: &[],
            op: copy_from(&["/lib/x"], "/d/"),
            result: &["d/x f 644 X"],
        },
        Case {
            rule: "everything",
            context: &[],
            base: &["usr d 700"],
            op: copy_from(&["/"], "/"),
            result: &["out d3:4 750", "usr d 755", "lib l usr/lib", "usr/lib/x f 644 X"],
        },
        Case {
            rule: "C23: --exclude",
            context: &[],
            base: &[],
            op: CopyOp { exclude: vec!["**/b".into()], ..copy_from(&["out"], "/d/") },
            result: &["d/a f1:2 644 A", "!d/deep/b"],
        },
    ];
    for case in cases {
        let bench = bench();
        let result = bench.copy(case.base, stage, &case.op);
        check(&case, result);
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_a_reason() {
    let files =
        &["f f 644 F", "g f 644 G", "d/x f 644 X", "app.conf f 644 C", "dangling l nowhere", ".wh.f f 644 W"][..];
    let cases: [(&str, CopyOp, &[&str], &str); 12] = [
        ("C5", copy(&["f", "g"], "/new"), &[], "copy-dest-not-a-directory"),
        ("C9", copy(&["f"], "/x/"), &["x/f d 755"], "copy-over-directory"),
        ("C9", copy(&["d"], "/x"), &["x f 644 X"], "copy-not-a-directory"),
        ("C9", copy(&["f"], "/x/"), &["x f 644 X"], "copy-not-a-directory"),
        ("C9 deep", copy(&["d"], "/x"), &["x/x d 755"], "copy-over-directory"),
        ("C11", copy(&["."], "/"), &["d l /etc", "etc d 755"], "copy-whiteout"),
        ("C20", copy(&["nothing"], "/"), &[], "copy-source-missing"),
        ("C12", copy(&["dangling"], "/"), &[], "copy-source-missing"),
        (
            "C17",
            CopyOp { chown: Some("nobdy".into()), ..copy(&["f"], "/") },
            &["etc/passwd f 644 nobody:x:1:1::/:/\n"],
            "unknown-user",
        ),
        ("C18", CopyOp { chmod: Some("u=z".into()), ..copy(&["f"], "/") }, &[], "chmod-invalid"),
        ("blocked", copy(&["f"], "/file/x"), &["file f 644 X"], "copy-dest-invalid"),
        ("from", copy_from(&["nothing"], "/"), &[], "copy-source-missing"),
    ];
    for (rule, op, base, expected) in cases {
        let bench = bench();
        sketch(&bench.context(), files);
        match bench.copy(base, &["s f 644 S"], &op) {
            Err(OpError::Input { code, subject, .. }) => {
                assert_eq!(code, expected, "{rule}");
                assert!(subject.is_some(), "{rule}: must say which words it is about");
            }
            other => panic!("{rule}: {other:?}"),
        }
    }
}

#[test]
fn a_missing_source_is_explained() {
    let bench = bench();
    sketch(&bench.context(), &[".dockerignore f 644 #x\n*.sh\n", "run.sh f 644 R", "src/config.toml f 644 C"]);
    let Err(OpError::Input { notes, subject, .. }) = bench.copy(&[], &[], &copy(&["run.sh"], "/")) else { panic!() };
    assert_eq!(subject.as_deref(), Some("run.sh"));
    assert!(notes.iter().any(|n| n == "ignored by .dockerignore:2 `*.sh`"), "{notes:?}");
    assert!(notes.iter().any(|n| n.starts_with("the context is ")), "{notes:?}");
    let Err(OpError::Input { help, .. }) = bench.copy(&[], &[], &copy(&["src/confg.toml"], "/")) else { panic!() };
    assert!(help[0].contains("src/config.toml"), "{help:?}");
}

#[test]
fn warnings_tell_of_collisions_and_of_patterns_without_a_match() {
    let bench = bench();
    sketch(&bench.context(), &["a/x f 644 A", "b/x f 644 B"]);
    let (lines, planned) = bench.copy(&[], &[], &copy(&["a/x", "b/x", "*.none"], "/d/")).unwrap();
    assert!(lines.contains(&"d/x f 644 B".to_owned()), "the later one stays: {lines:?}");
    assert_eq!(planned.warnings.len(), 2, "{:?}", planned.warnings);
    assert!(planned.warnings.iter().any(|w| w.contains("*.none")));
}

#[test]
fn metadata_survives() {
    let bench = bench();
    let context = bench.context();
    sketch(&context, &["s/a f 644 A", "s/dir d 555", "s/dir/b f 644 B"]);
    fs::hard_link(context.join("s/a"), context.join("s/dir/same")).unwrap();
    let odd = context.join("s").join(std::ffi::OsStr::from_bytes(b"odd\xff"));
    fs::write(&odd, "O").unwrap();
    let file = fs::File::options().write(true).open(context.join("s/dir/b")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(86_400, 5)).unwrap();
    rustix::fs::setxattr(context.join("s/a"), "user.note", b"hello", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(context.join("s/dir"), "user.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, context.join("s/pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let trees = Trees::new(&bench.store);
    let base = bench.rootfs(&trees, &["d/dir/old f 644 O"]);
    bench.with(&trees, std::slice::from_ref(&base), |cx, inputs| {
        let op = copy(&["s"], "/d");
        let planned = plan(cx, &op, inputs).unwrap();
        let written = run(cx, &op, inputs, &planned).unwrap();
        let index = scan::scan(&written.fs, &written.known, cx.cancel).unwrap().index;
        assert_eq!(written.known.len(), 4, "every file's contents are known");
        assert_eq!(index.get(b"d/dir/b").unwrap().mtime, 86_400);
        assert_eq!(index.get(b"d/a").unwrap().xattrs, [(b"user.note".to_vec(), b"hello".to_vec())]);
        assert!(matches!(&index.get(b"d/dir/same").unwrap().kind, Kind::HardLink { first, .. } if first == b"d/a"));
        assert_eq!(index.get(b"d/pipe").unwrap().kind, Kind::Fifo);
        assert!(index.get(b"d/odd\xff").is_some());
        // The context's own overlay mark must not hide what the base has.
        assert_eq!(index.get(b"d/dir").unwrap().kind, Kind::Dir { opaque: false });
    });
}

#[test]
fn the_key_holds_what_the_copy_reads_and_nothing_else() {
    let base = &["etc/passwd f 644 root:x:0:0::/:/\n", "app d 755", "usr/x f 644 1"][..];
    let bench = bench();
    let context = bench.context();
    sketch(&context, &["s/a f 644 A", "s/b f 600 B", "other f 644 O"]);
    let op = copy(&["s"], "/app/");
    let key = bench.key(base, &[], &op);
    let same = |what: &str, other: Digest| assert_eq!(other, key, "{what} must not change the key");
    let differs = |what: &str, other: Digest| assert_ne!(other, key, "{what} must change the key");
    let touched = fs::File::options().write(true).open(context.join("s/a")).unwrap();
    touched.set_modified(std::time::UNIX_EPOCH).unwrap();
    same("a modification time", bench.key(base, &[], &op));
    fs::write(context.join("other"), "changed").unwrap();
    same("another file of the context", bench.key(base, &[], &op));
    same(
        "elsewhere in the base",
        bench.key(&["etc/passwd f 644 x", "app d 755", "usr/x f 644 2", "new f 644 n"], &[], &op),
    );
    differs("the destination's own mode", bench.key(&["app d 700"], &[], &op));
    differs("a missing destination", bench.key(&[], &[], &op));
    differs("--chown", bench.key(base, &[], &CopyOp { chown: Some("1".into()), ..op.clone() }));
    differs("--chmod", bench.key(base, &[], &CopyOp { chmod: Some("600".into()), ..op.clone() }));
    differs("--link", bench.key(base, &[], &CopyOp { link: true, ..op.clone() }));
    differs("another destination", bench.key(base, &[], &copy(&["s"], "/usr/")));
    differs("--exclude", bench.key(base, &[], &CopyOp { exclude: vec!["b".into()], ..op.clone() }));
    fs::set_permissions(context.join("s/a"), mode("755")).unwrap();
    differs("a mode", bench.key(base, &[], &op));
    fs::set_permissions(context.join("s/a"), mode("644")).unwrap();
    same("a mode set back", bench.key(base, &[], &op));
    fs::write(context.join("s/a"), "B").unwrap();
    differs("contents", bench.key(base, &[], &op));
    let linked = CopyOp { link: true, ..op };
    let key = bench.key(base, &[], &linked);
    assert_eq!(bench.key(&["app l /usr"], &[], &linked), key, "--link reads nothing of the base");
}

#[test]
fn a_stage_is_keyed_by_what_is_copied_of_it() {
    let bench = bench();
    let stage = &["out/a f 644 A", "out/d/b f 644 B", "log f 644 1"][..];
    let op = copy_from(&["/out"], "/app");
    let key = bench.key(&[], stage, &op);
    assert_eq!(bench.key(&[], &["out/a f 644 A", "out/d/b f 644 B", "log f 644 2"], &op), key);
    assert_ne!(bench.key(&[], &["out/a f 644 A", "out/d/b f 644 C", "log f 644 1"], &op), key);
    assert_ne!(bench.key(&[], &["out/a f 644 A", "out/d/b f 600 B", "log f 644 1"], &op), key);
}

#[test]
fn a_file_that_changes_after_planning_is_not_copied() {
    let bench = bench();
    sketch(&bench.context(), &["f f 644 before"]);
    let trees = Trees::new(&bench.store);
    let base = bench.rootfs(&trees, &[]);
    bench.with(&trees, &[base], |cx, inputs| {
        let op = copy(&["f"], "/f");
        let planned = plan(cx, &op, inputs).unwrap();
        fs::write(bench.context().join("f"), "after!").unwrap();
        match run(cx, &op, inputs, &planned) {
            Err(OpError::Input { code: "copy-source-changed", .. }) => {}
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn inline_files_have_mode_644_and_the_name_of_their_delimiter() {
    let bench = bench();
    let inline = |name: &str, data: &str| CopySource::Inline { name: name.into(), data: data.into() };
    let op = CopyOp { sources: vec![inline("A", "1\n"), inline("B", "2\n")], ..copy(&[], "/etc/") };
    let (lines, _) = bench.copy(&[], &[], &op).unwrap();
    assert_eq!(lines, ["etc d 755", "etc/A f 644 1\n", "etc/B f 644 2\n"]);
    let op = CopyOp { sources: vec![inline("EOF", "x")], chmod: Some("+x".into()), ..copy(&[], "/run") };
    assert_eq!(bench.copy(&[], &[], &op).unwrap().0, ["run f 755 x"]);
}

#[test]
fn a_workdir_makes_what_is_missing_and_belongs_to_the_user() {
    let passwd = "etc/passwd f 644 app:x:1000:1001::/home/app:/bin/sh\n";
    let bench = bench();
    let trees = Trees::new(&bench.store);
    for (path, base, expected) in [
        ("/srv/a/b", &["srv d9:9 700"][..], &["srv d9:9 700", "srv/a d1000:1001 755", "srv/a/b d1000:1001 755"][..]),
        ("/link/b", &["real d 755", "link l real"], &["real/b d1000:1001 755", "link l real"]),
        ("/srv", &["srv d9:9 700"], &["srv d9:9 700"]),
    ] {
        let base = bench.rootfs(&trees, &[base, &[passwd]].concat());
        bench.with(&trees, std::slice::from_ref(&base), |cx, inputs| {
            let op = MkdirOp { base: StepId(0), path: path.into(), user: "app".into() };
            let planned = mkdir::plan(cx, &op, inputs).unwrap();
            assert!(!planned.is_root);
            let result = bench.layer(&trees, &base, mkdir::run(cx, &op, inputs, &planned).unwrap());
            let lines = listing(&trees, &result);
            assert!(expected.iter().all(|e| lines.iter().any(|l| l == e)), "{path}: {lines:#?}");
        });
    }
    let base = bench.rootfs(&trees, &["f f 644 F"]);
    bench.with(&trees, &[base], |cx, inputs| {
        let plan =
            |path: &str| mkdir::plan(cx, &MkdirOp { base: StepId(0), path: path.into(), user: String::new() }, inputs);
        assert!(plan("/").unwrap().is_root);
        assert!(matches!(plan("/f"), Err(OpError::Input { code: "workdir-not-a-directory", .. })));
        assert!(plan("/f/x").is_err());
    });
}

#[test]
fn users_are_looked_up_in_the_image() {
    let bench = bench();
    let trees = Trees::new(&bench.store);
    let base = bench.rootfs(
        &trees,
        &[
            "etc/passwd f 644 root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
            "etc/group f 644 root:x:0:\nstaff:x:50:app\nwww:x:33:\n",
        ],
    );
    let view = View::new(&trees, &base);
    let id = |text: &str| user::resolve(&view, text).map(|i| (i.uid, i.gid, i.groups, i.home));
    assert_eq!(id("").unwrap(), (0, 0, vec![], "/root".into()));
    assert_eq!(id("app").unwrap(), (1000, 1001, vec![50], "/home/app".into()));
    assert_eq!(id("1000").unwrap(), (1000, 1001, vec![50], "/home/app".into()));
    assert_eq!(id("app:www").unwrap(), (1000, 33, vec![], "/home/app".into()));
    assert_eq!(id("77").unwrap(), (77, 0, vec![], "/".into()));
    assert_eq!(id("77:78").unwrap(), (77, 78, vec![], "/".into()));
    assert!(id("ap").is_err());
    assert!(id("app:stuff").is_err());
    assert_eq!(user::chown(&view, "77").unwrap(), (77, 77));
    assert_eq!(user::chown(&view, "app").unwrap(), (1000, 1001));
    assert_eq!(user::chown(&view, "app:").unwrap(), (1000, 1001));
    assert_eq!(user::chown(&view, "app:staff").unwrap(), (1000, 50));
    assert!(user::chown(&view, ":staff").is_err());
    let empty = Rootfs { layers: Vec::new(), tree: Trees::empty() };
    let scratch = View::new(&trees, &empty);
    assert_eq!(user::resolve(&scratch, "5:6").unwrap().uid, 5);
    assert!(user::resolve(&scratch, "app").is_err());
}

#[test]
fn unchanged_files_are_hashed_once() {
    let bench = bench();
    sketch(&bench.context(), &["f f 644 F"]);
    chown(bench.context().join("f"), Some(0), Some(0)).unwrap();
    let key = bench.key(&[], &[], &copy(&["f"], "/f"));
    assert_eq!(bench.key(&[], &[], &copy(&["f"], "/f")), key);
}

/// Paths of a root filesystem alone, but for links, which are shown with their targets.
fn paths(lines: &[String]) -> Vec<String> {
    let path = |l: &String| match l.split_once(" l ") {
        Some(_) => l.clone(),
        None => l.split(' ').next().unwrap_or_default().to_owned(),
    };
    lines.iter().map(path).collect()
}

fn with_libs(source: &str, dest: &str) -> CopyOp {
    CopyOp { with_libs: true, ..copy(&[source], dest) }
}

/// A root as Debian lays it out: /lib and /lib64 are links, the interpreter is reached through both.
fn merged_usr(bench: &Bench) {
    sketch(&bench.context(), &["lib l usr/lib", "lib64 l usr/lib64", "usr/lib64/ld.so l /lib/x86_64-linux-gnu/ld.so"]);
    bench.program("usr/lib/x86_64-linux-gnu/ld.so", &Sample::default());
    bench.program("usr/lib/x86_64-linux-gnu/libc.so.6", &Sample { needed: &["ld.so"], ..Sample::default() });
    bench.program("usr/lib/x86_64-linux-gnu/libz.so.1.3", &Sample { needed: &["libc.so.6"], ..Sample::default() });
    sketch(&bench.context(), &["usr/lib/x86_64-linux-gnu/libz.so.1 l libz.so.1.3"]);
    let needed = &["libz.so.1", "libc.so.6"];
    bench.program("usr/bin/app", &Sample { interpreter: "/lib64/ld.so", needed, ..Sample::default() });
}

#[test]
fn libraries_come_with_the_links_that_lead_to_them() {
    let bench = bench();
    merged_usr(&bench);
    let (lines, planned) = bench.copy(&[], &[], &with_libs("usr/bin/app", "/app")).unwrap();
    assert_eq!(planned.warnings, Vec::<String>::new());
    assert_eq!(
        paths(&lines),
        [
            "app",
            "lib l usr/lib",
            "lib64 l usr/lib64",
            "usr",
            "usr/lib",
            "usr/lib/x86_64-linux-gnu",
            "usr/lib/x86_64-linux-gnu/ld.so",
            "usr/lib/x86_64-linux-gnu/libc.so.6",
            "usr/lib/x86_64-linux-gnu/libz.so.1 l libz.so.1.3",
            "usr/lib/x86_64-linux-gnu/libz.so.1.3",
            "usr/lib64",
            "usr/lib64/ld.so l /lib/x86_64-linux-gnu/ld.so",
        ]
    );
}

#[test]
fn libraries_fit_into_the_layout_of_the_base() {
    let bench = bench();
    merged_usr(&bench);
    // Real directories where the source has links, and the other way round.
    let base = &["lib64 d 700", "lib d 755", "usr/lib l /lib"][..];
    let (lines, _) = bench.copy(base, &[], &with_libs("usr/bin/app", "/app")).unwrap();
    let paths = paths(&lines);
    for expected in ["lib64/ld.so l /lib/x86_64-linux-gnu/ld.so", "lib/x86_64-linux-gnu/ld.so", "usr/lib l /lib"] {
        assert!(paths.iter().any(|p| p == expected), "{expected}: {paths:#?}");
    }
    assert!(lines.contains(&"lib64 d 700".to_owned()), "the base's own directory stays as it is: {lines:#?}");
    // With another file of the base in the way.
    let other = &["usr/lib/x86_64-linux-gnu/libc.so.6 f 755 other"][..];
    let (_, planned) = bench.copy(other, &[], &with_libs("usr/bin/app", "/app")).unwrap();
    assert!(planned.warnings.iter().any(|w| w.contains("libc.so.6")), "{:?}", planned.warnings);
}

#[test]
fn libraries_are_searched_as_the_loader_does() {
    let other = Sample { machine: 183, ..Sample::default() };
    let plain = Sample::default();
    let start = Sample { interpreter: "/lib/ld.so", ..Sample::default() };
    type Files<'f> = &'f [(&'f str, Sample<'f>)];
    let cases: [(&str, Files<'_>, &[&str], &[&str]); 7] = [
        (
            "DT_RUNPATH with $ORIGIN, for the object's own needs alone",
            &[
                ("opt/bin/app", Sample { needed: &["liba.so"], runpath: Some("$ORIGIN/../lib"), ..start }),
                ("opt/lib/liba.so", Sample { needed: &["libb.so"], ..plain }),
                ("opt/lib/libb.so", plain),
                ("lib/libb.so", plain),
            ],
            &["opt/lib/liba.so", "lib/libb.so"],
            &["opt/lib/libb.so"],
        ),
        (
            "DT_RPATH, for what its libraries need as well",
            &[
                ("opt/bin/app", Sample { needed: &["liba.so"], rpath: Some("/opt/lib"), ..start }),
                ("opt/lib/liba.so", Sample { needed: &["libb.so"], ..plain }),
                ("opt/lib/libb.so", plain),
                ("lib/libb.so", plain),
            ],
            &["opt/lib/liba.so", "opt/lib/libb.so"],
            &["lib/libb.so"],
        ),
        (
            "DT_RUNPATH switches DT_RPATH off",
            &[
                ("opt/bin/app", Sample { needed: &["liba.so"], rpath: Some("/one"), runpath: Some("/two"), ..start }),
                ("one/liba.so", plain),
                ("two/liba.so", plain),
            ],
            &["two/liba.so"],
            &["one/liba.so"],
        ),
        (
            "another machine's library is passed over",
            &[
                ("opt/bin/app", Sample { needed: &["liba.so"], ..start }),
                ("lib/x86_64-linux-gnu/liba.so", other),
                ("usr/lib/liba.so", plain),
            ],
            &["usr/lib/liba.so"],
            &["lib/x86_64-linux-gnu/liba.so"],
        ),
        (
            "the cache, which then has to come along",
            &[
                ("opt/bin/app", Sample { needed: &["liba.so"], ..start }),
                ("srv/lib/liba.so", plain),
                ("etc/ld.so.cache", Sample { raw: Some(&[("liba.so", "/srv/lib/liba.so", 0)]), ..plain }),
            ],
            &["srv/lib/liba.so", "etc/ld.so.cache"],
            &[],
        ),
        (
            "musl, its path file, and its libc that is the interpreter",
            &[
                (
                    "opt/bin/app",
                    Sample {
                        needed: &["libc.musl-x86_64.so.1", "liba.so"],
                        interpreter: "/lib/ld-musl-x86_64.so.1",
                        ..plain
                    },
                ),
                ("lib/ld-musl-x86_64.so.1", plain),
                ("usr/local/lib/liba.so", plain),
            ],
            &["lib/ld-musl-x86_64.so.1", "usr/local/lib/liba.so"],
            &["lib/libc.musl-x86_64.so.1"],
        ),
        (
            "a static program needs nothing",
            &[("opt/bin/app", Sample { interpreter: "", ..plain })],
            &[],
            &["lib/ld.so"],
        ),
    ];
    for (rule, files, there, absent) in cases {
        let bench = bench();
        bench.program("lib/ld.so", &plain);
        files.iter().for_each(|(path, sample)| bench.program(path, sample));
        let (lines, _) =
            bench.copy(&[], &[], &with_libs("opt/bin/app", "/opt/bin/app")).unwrap_or_else(|e| panic!("{rule}: {e}"));
        let paths = paths(&lines);
        let has = |path: &&&str| paths.iter().any(|p| p == **path);
        assert!(there.iter().all(|p| has(&p)), "{rule}: {paths:#?}");
        assert!(!absent.iter().any(|p| has(&p)), "{rule}: {paths:#?}");
    }
}

#[test]
fn a_missing_library_is_told_with_who_needs_it_and_where_it_was_searched() {
    let bench = bench();
    merged_usr(&bench);
    bench.program("usr/lib/x86_64-linux-gnu/libz.so.1.3", &Sample { needed: &["libgone.so.4"], ..Sample::default() });
    let Err(OpError::Input { code, message, notes, subject, .. }) =
        bench.copy(&[], &[], &with_libs("usr/bin/app", "/app"))
    else {
        panic!("found a library that is not there");
    };
    assert_eq!((code, subject.as_deref()), ("with-libs-missing", Some("usr/bin/app")));
    assert!(message.contains("usr/bin/app needs `libgone.so.4`"), "{message}");
    assert!(notes.iter().any(|n| n.contains("libz.so.1")), "{notes:?}");
    assert!(notes.iter().any(|n| n.contains("lib/x86_64-linux-gnu") && n.contains("usr/lib")), "{notes:?}");
}

#[test]
fn scripts_and_damaged_programs_are_told() {
    let bench = bench();
    sketch(&bench.context(), &["run f 755 #!/bin/sh\nexit", "bad f 755 \u{7f}ELF\u{2}"]);
    let (_, planned) = bench.copy(&[], &[], &with_libs("run", "/run")).unwrap();
    assert!(planned.warnings.iter().any(|w| w.contains("`/bin/sh`")), "{:?}", planned.warnings);
    match bench.copy(&[], &[], &with_libs("bad", "/bad")) {
        Err(OpError::Input { code: "with-libs-damaged", .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_damage_to_a_program_makes_more_than_an_error() {
    let bench = bench();
    bench.program("lib/ld.so", &Sample::default());
    bench.program("lib/liba.so", &Sample::default());
    let good =
        Sample { interpreter: "/lib/ld.so", needed: &["liba.so"], rpath: Some("/x"), ..Sample::default() }.build();
    let trees = Trees::new(&bench.store);
    let base = bench.rootfs(&trees, &[]);
    let mut outcomes = [0, 0];
    for at in (0..good.len()).step_by(3) {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        for bytes in [&bytes[..], &good[..at]] {
            let path = bench.context().join("app");
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, mode("755")).unwrap();
            bench.with(&trees, std::slice::from_ref(&base), |cx, inputs| {
                match plan(cx, &with_libs("app", "/app"), inputs) {
                    Ok(_) => outcomes[0] += 1,
                    Err(OpError::Input { .. }) => outcomes[1] += 1,
                    Err(other) => panic!("byte {at}: {other}"),
                }
            });
        }
    }
    assert!(outcomes.iter().all(|n| *n > 20), "{outcomes:?}");
}

/// A tar archive of these members: `PATH d MODE`, `PATH f MODE TEXT`, `PATH l TARGET`.
fn tar_of(lines: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for line in lines {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let mut header = tar::Header::new_gnu();
        header.set_uid(5);
        header.set_gid(6);
        header.set_mtime(1000);
        let data = words.get(3).copied().unwrap_or_default();
        match words[1] {
            "l" => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, words[0], words[2]).unwrap();
                continue;
            }
            "d" => header.set_entry_type(tar::EntryType::Directory),
            _ => header.set_entry_type(tar::EntryType::Regular),
        }
        header.set_mode(u32::from_str_radix(words[2], 8).unwrap());
        header.set_size(data.len() as u64);
        builder.append_data(&mut header, words[0], data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn add(sources: &[&str], dest: &str) -> CopyOp {
    CopyOp { is_add: true, unpack: true, ..copy(sources, dest) }
}

#[test]
fn archives_are_unpacked_as_tar_would() {
    let members =
        &["etc/conf f 640 new", "lib/x.so f 755 X", "tmp/t f 644 T", "d/ d 700", "d/l l ../etc", "bin l usr/bin"][..];
    let cases = [
        Case {
            rule: "C27: into the destination, owners and modes from the archive",
            context: &[],
            base: &[],
            op: add(&["a.tar"], "/x"),
            result: &["x d 755", "x/etc/conf f5:6 640 new", "x/d d5:6 700", "x/d/l l5:6 ../etc", "!x/a.tar"],
        },
        Case {
            rule: "C27: onto what is there; directories that it does not name keep their looks, links to directories stay",
            context: &[],
            base: &[
                "etc d7:7 711",
                "etc/conf f 644 old",
                "etc/other f 644 O",
                "tmp d 1777",
                "lib l usr/lib",
                "usr/lib d 755",
                "d d 755",
                "bin f 644 B",
            ],
            op: add(&["a.tar"], "/"),
            result: &[
                "etc d7:7 711",
                "etc/conf f5:6 640 new",
                "etc/other f 644 O",
                "tmp d 1777",
                "lib l usr/lib",
                "usr/lib/x.so f5:6 755 X",
                "d d5:6 700",
                "bin l5:6 usr/bin",
            ],
        },
        Case {
            rule: "C27: --chown",
            context: &[],
            base: &[],
            op: CopyOp { chown: Some("9".into()), ..add(&["a.tar"], "/x/") },
            result: &["x d9:9 755", "x/etc/conf f9:9 640 new"],
        },
        Case {
            rule: "--unpack=false",
            context: &[],
            base: &[],
            op: CopyOp { unpack: false, ..add(&["a.tar.gz"], "/x/") },
            result: &["!x/etc/conf"],
        },
        Case {
            rule: "told by contents, not by name; what is only compressed is copied",
            context: &[],
            base: &[],
            op: add(&["packed", "plain.gz"], "/x/"),
            result: &["x/etc/conf f5:6 640 new", "!x/packed"],
        },
    ];
    for case in cases {
        let bench = bench();
        let archive = tar_of(members);
        let gzip = |bytes: &[u8]| {
            use std::io::Write;
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        fs::write(bench.context().join("a.tar"), &archive).unwrap();
        fs::write(bench.context().join("a.tar.gz"), gzip(&archive)).unwrap();
        fs::write(bench.context().join("packed"), zstd::encode_all(&archive[..], 1).unwrap()).unwrap();
        fs::write(bench.context().join("plain.gz"), gzip(b"just text")).unwrap();
        let result = bench.copy(case.base, &[], &case.op);
        check(&case, result);
    }
}

#[test]
fn a_damaged_archive_is_an_error_that_names_it() {
    let bench = bench();
    let mut archive = tar_of(&["a f 644 A", "b f 644 B"]);
    archive[1024..1100].fill(0xff);
    fs::write(bench.context().join("bad.tar"), archive).unwrap();
    match bench.copy(&[], &[], &add(&["bad.tar"], "/")) {
        Err(OpError::Input { code: "archive-invalid", message, .. }) => {
            assert!(message.contains("bad.tar"), "{message}")
        }
        other => panic!("{other:?}"),
    }
}
