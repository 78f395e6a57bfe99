//! ADD of local archives.

use super::{Case, check};
use crate::graph::CopyOp;
use crate::ops::OpError;
use crate::ops::fixture::{bench, copy_op};
use std::fs;

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
    CopyOp { is_add: true, unpack: true, ..copy_op(sources, dest) }
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
