//! Where files go, what they look like there, and what is refused.

use super::super::{plan, run};
use super::{Case, check};
use crate::graph::{CopyOp, CopySource};
use crate::layer::{Kind, scan};
use crate::ops::OpError;
use crate::ops::fixture::{bench, copy_from, copy_op, sketch};
use crate::tree::Trees;
use std::fs;
use std::os::unix::ffi::OsStrExt;

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
            rule: "C1, C7: contents of a directory, dotfiles too; a new directory is made plainly",
            context: &["s d 711", "s/a f 600 A", "s/.dot f 644 D", "s/sub/b f 4755 B", "s/l l a"],
            base: &[],
            op: copy_op(&["s"], "/app"),
            result: &["app d 755", "app/a f 600 A", "app/.dot f 644 D", "app/sub/b f 4755 B", "app/l l a", "!app/s"],
        },
        Case {
            rule: "C2: a slash behind the source means nothing",
            context: tree,
            base: &[],
            op: copy_op(&["s/"], "/app/"),
            result: &["app d 755", "app/a f 600 A", "app/sub d 700"],
        },
        Case {
            rule: "C3: a file becomes the destination",
            context: tree,
            base: &[],
            op: copy_op(&["f"], "/x/y"),
            result: &["x d 755", "x/y f 640 F"],
        },
        Case {
            rule: "C3: or goes into it, if it is a directory",
            context: tree,
            base: &["d d7:8 750"],
            op: copy_op(&["f"], "/d"),
            result: &["d d7:8 750", "d/f f 640 F"],
        },
        Case {
            rule: "C4: with a slash always into it",
            context: tree,
            base: &[],
            op: copy_op(&["f"], "/n/"),
            result: &["n d 755", "n/f f 640 F"],
        },
        Case {
            rule: "C7: made directories belong to --chown and take an octal --chmod",
            context: tree,
            base: &[],
            op: CopyOp { chown: Some("5:6".into()), chmod: Some("750".into()), ..copy_op(&["f"], "/x/y/") },
            result: &["x d5:6 750", "x/y d5:6 750", "x/y/f f5:6 750 F"],
        },
        Case {
            rule: "C8: an existing destination keeps its looks, directories in it take the source's",
            context: tree,
            base: &["app d7:8 1777", "app/sub d7:8 777", "app/sub/old f 644 O"],
            op: copy_op(&["s"], "/app"),
            result: &["app d7:8 1777", "app/sub d 700", "app/sub/old f 644 O", "app/sub/b f 4755 B"],
        },
        Case {
            rule: "C10: links in the destination are followed inside the base",
            context: tree,
            base: &["real/in d 755", "link l /real", "up l ../../../real"],
            op: copy_op(&["f"], "/link/in/up/"),
            result: &["real/in/up/f f 640 F", "link l /real"],
        },
        Case {
            rule: "C11: a link to a file stays, what it leads to is replaced",
            context: tree,
            base: &["real f 644 old", "link l real"],
            op: copy_op(&["f"], "/link"),
            result: &["link l real", "real f 640 F"],
        },
        Case {
            rule: "C11: a link at a file's place in a merged directory is replaced",
            context: tree,
            base: &["app/a l /etc/passwd", "etc/passwd f 644 P"],
            op: copy_op(&["s"], "/app"),
            result: &["app/a f 600 A", "etc/passwd f 644 P"],
        },
        Case {
            rule: "C12: a named link is followed and keeps its name, links inside a directory are copied",
            context: tree,
            base: &[],
            op: copy_op(&["name", "s/sub", "s/to-a"], "/d/"),
            result: &["d/name f 640 F", "d/to-a f 600 A", "d/b f 4755 B"],
        },
        Case {
            rule: "C13: a source never leaves the context",
            context: tree,
            base: &[],
            op: copy_op(&["../../f"], "/d/"),
            result: &["d/f f 640 F"],
        },
        Case {
            rule: "C14, C17: owners of a context are root's or --chown's",
            context: &["s/a f7:7 644 A"],
            base: &["etc/passwd f 644 root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"],
            op: CopyOp { chown: Some("app".into()), ..copy_op(&["s"], "/app") },
            result: &["app/a f1000:1001 644 A"],
        },
        Case {
            rule: "C18: a symbolic --chmod spares files with X and never touches links",
            context: tree,
            base: &[],
            op: CopyOp { chmod: Some("u=rwX,go=rX".into()), ..copy_op(&["s"], "/app") },
            result: &["app/a f 644 A", "app/sub d 755", "app/sub/b f 755 B", "app/to-a l a"],
        },
        Case {
            rule: "C19: a wildcard does not cross a slash, matches dotfiles, and flattens directories",
            context: tree,
            base: &[],
            op: copy_op(&["s/*"], "/d/"),
            result: &["d/a f 600 A", "d/.dot f 644 D", "d/b f 4755 B", "!d/sub"],
        },
        Case {
            rule: "C22: --parents keeps the path behind the pivot, with the source's directories",
            context: tree,
            base: &[],
            op: CopyOp { parents: true, ..copy_op(&["./s/./sub/b", "s/a"], "/d") },
            result: &["d/sub d 700", "d/sub/b f 4755 B", "d/s/a f 600 A", "!d/s/sub"],
        },
        Case {
            rule: "C21: ** with --parents",
            context: &["a/b/c/x.h f 644 1", "a/y.h f 644 2", "a/b/z.c f 644 3"],
            base: &[],
            op: CopyOp { parents: true, ..copy_op(&["**/*.h"], "/inc/") },
            result: &["inc/a/b/c/x.h f 644 1", "inc/a/y.h f 644 2", "!inc/a/b/z.c"],
        },
        Case {
            rule: "C23: --exclude is relative to what is copied",
            context: tree,
            base: &[],
            op: CopyOp { exclude: vec!["sub".into(), ".d*".into()], ..copy_op(&["s"], "/d") },
            result: &["d/a f 600 A", "!d/sub", "!d/sub/b", "!d/.dot"],
        },
        Case {
            rule: "C24: --link sees nothing of the base, and replaces links on the way by directories",
            context: tree,
            base: &["real d 755", "link l real"],
            op: CopyOp { link: true, ..copy_op(&["f"], "/link/") },
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
            op: copy_op(&["."], "/d/"),
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
        ("C5", copy_op(&["f", "d"], "/new"), &[], "copy-not-a-directory"),
        ("C9", copy_op(&["f"], "/x/"), &["x/f d 755"], "copy-over-directory"),
        ("C9", copy_op(&["d"], "/x"), &["x f 644 X"], "copy-not-a-directory"),
        ("C9", copy_op(&["f"], "/x/"), &["x f 644 X"], "copy-not-a-directory"),
        ("C9 deep", copy_op(&["d"], "/x"), &["x/x d 755"], "copy-over-directory"),
        ("C11", copy_op(&["."], "/"), &["d l /etc", "etc d 755"], "copy-whiteout"),
        ("C20", copy_op(&["nothing"], "/"), &[], "copy-source-missing"),
        ("C12", copy_op(&["dangling"], "/"), &[], "copy-source-missing"),
        (
            "C17",
            CopyOp { chown: Some("nobdy".into()), ..copy_op(&["f"], "/") },
            &["etc/passwd f 644 nobody:x:1:1::/:/\n"],
            "unknown-user",
        ),
        ("C18", CopyOp { chmod: Some("u=z".into()), ..copy_op(&["f"], "/") }, &[], "chmod-invalid"),
        ("blocked", copy_op(&["f"], "/file/x"), &["file f 644 X"], "copy-dest-invalid"),
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
    let Err(OpError::Input { notes, subject, .. }) = bench.copy(&[], &[], &copy_op(&["run.sh"], "/")) else { panic!() };
    assert_eq!(subject.as_deref(), Some("run.sh"));
    assert!(notes.iter().any(|n| n == "ignored by .dockerignore:2 `*.sh`"), "{notes:?}");
    assert!(notes.iter().any(|n| n.starts_with("the context is ")), "{notes:?}");
    let Err(OpError::Input { help, .. }) = bench.copy(&[], &[], &copy_op(&["src/confg.toml"], "/")) else { panic!() };
    assert!(help[0].contains("src/config.toml"), "{help:?}");
}

#[test]
fn warnings_tell_of_collisions_and_of_patterns_without_a_match() {
    let bench = bench();
    sketch(&bench.context(), &["a/x f 644 A", "b/x f 644 B"]);
    let (lines, planned) = bench.copy(&[], &[], &copy_op(&["a/x", "b/x", "*.none"], "/d/")).unwrap();
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
        let op = copy_op(&["s"], "/d");
        let planned = plan(cx, &op, inputs).unwrap();
        let written = run(cx, &op, inputs, &planned, None).unwrap();
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
fn a_file_that_changes_after_planning_is_not_copied() {
    let bench = bench();
    sketch(&bench.context(), &["f f 644 before"]);
    let trees = Trees::new(&bench.store);
    let base = bench.rootfs(&trees, &[]);
    bench.with(&trees, &[base], |cx, inputs| {
        let op = copy_op(&["f"], "/f");
        let planned = plan(cx, &op, inputs).unwrap();
        fs::write(bench.context().join("f"), "after!").unwrap();
        match run(cx, &op, inputs, &planned, None) {
            Err(OpError::Input { code: "copy-source-changed", .. }) => {}
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn inline_files_have_mode_644_and_the_name_of_their_delimiter() {
    let bench = bench();
    let inline = |name: &str, data: &str| CopySource::Inline { name: name.into(), data: data.into() };
    let op = CopyOp { sources: vec![inline("A", "1\n"), inline("B", "2\n")], ..copy_op(&[], "/etc/") };
    let (lines, _) = bench.copy(&[], &[], &op).unwrap();
    assert_eq!(lines, ["etc d 755", "etc/A f 644 1\n", "etc/B f 644 2\n"]);
    let op = CopyOp { sources: vec![inline("EOF", "x")], chmod: Some("+x".into()), ..copy_op(&[], "/run") };
    assert_eq!(bench.copy(&[], &[], &op).unwrap().0, ["run f 755 x"]);
}
