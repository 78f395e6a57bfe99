//! `--with-libs`, on small ELF files.

use super::super::plan;
use crate::graph::CopyOp;
use crate::ops::OpError;
use crate::ops::elf::sample::Sample;
use crate::ops::fixture::{Bench, bench, copy_op, mode, sketch};
use crate::tree::Trees;
use std::fs;

/// Paths of a root filesystem alone, but for links, which are shown with their targets.
fn paths(lines: &[String]) -> Vec<String> {
    let path = |l: &String| match l.split_once(" l ") {
        Some(_) => l.clone(),
        None => l.split(' ').next().unwrap_or_default().to_owned(),
    };
    lines.iter().map(path).collect()
}

fn with_libs(source: &str, dest: &str) -> CopyOp {
    CopyOp { with_libs: true, ..copy_op(&[source], dest) }
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
