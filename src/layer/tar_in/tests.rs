//! Archives good, odd and forged.

use super::*;
use crate::layer::{Index, Kind, recipe, scan, tar_out};
use proptest::prelude::*;
use std::path::PathBuf;
use std::process::Command;

/// Builds archives member by member, also such as no tar program writes.
#[derive(Default)]
struct Forge(Vec<u8>);

impl Forge {
    fn member(mut self, name: &str, kind: EntryType, link: &str, pax: &[(&str, &[u8])], bytes: &[u8]) -> Forge {
        let mut records = Vec::new();
        for (key, value) in pax {
            tar_out::record(&mut records, key.as_bytes(), value);
        }
        if !records.is_empty() {
            self.block("x", b'x', "", &records);
        }
        self.block(name, kind.to_byte(), link, bytes);
        self
    }

    fn block(&mut self, name: &str, kind: u8, link: &str, bytes: &[u8]) {
        let mut header = tar::Header::new_ustar();
        let ustar = header.as_ustar_mut().unwrap();
        ustar.name[..name.len()].copy_from_slice(name.as_bytes());
        ustar.linkname[..link.len()].copy_from_slice(link.as_bytes());
        ustar.typeflag = [kind];
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    /// From lines: `d DIR`, `f FILE CONTENT`, `l LINK TARGET`, `h LINK TARGET`, `c DEVICE`, `p FIFO`.
    fn lines(text: &str) -> Forge {
        text.split('\n').map(str::trim).filter(|line| !line.is_empty()).fold(Forge::default(), |forge, line| {
            let words: Vec<&str> = line.split(' ').collect();
            let more = words.get(2).copied().unwrap_or("");
            let (kind, link, bytes) = match words[0] {
                "d" => (EntryType::Directory, "", ""),
                "f" => (EntryType::Regular, "", more),
                "l" => (EntryType::Symlink, more, ""),
                "h" => (EntryType::Link, more, ""),
                "c" => (EntryType::Char, "", ""),
                "p" => (EntryType::Fifo, "", ""),
                _ => panic!("{line}"),
            };
            forge.member(words[1], kind, link, &[], bytes.as_bytes())
        })
    }
}

/// A destination with something beside it that must not be touched.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("fs")).unwrap();
        std::fs::write(dir.path().join("outside"), "untouched").unwrap();
        Bench { dir }
    }

    fn fs(&self) -> PathBuf {
        self.dir.path().join("fs")
    }

    fn recipe(&self) -> PathBuf {
        self.dir.path().join("recipe")
    }

    fn apply(&self, archive: &[u8], mode: Mode) -> Result<Applied, ApplyError> {
        let (cancel, recipe) = (Cancel::new(), self.recipe());
        let options = Options { mode, ..Options::layer(Some(&recipe), &cancel) };
        apply(&mut &*archive, &self.fs(), &options)
    }

    /// Applies a layer and checks all that must hold of any archive: its digest, the digests of its files, and that its
    /// recipe reproduces it.
    fn layer(&self, archive: &[u8]) -> Index {
        let applied = self.apply(archive, Mode::Layer).unwrap();
        self.check(archive, &applied)
    }

    fn check(&self, archive: &[u8], applied: &Applied) -> Index {
        assert_eq!((applied.diff_id, applied.tar_size), (Digest::of(archive), archive.len() as u64));
        let cancel = Cancel::new();
        let index = scan::index(&self.fs(), &applied.contents, &cancel).unwrap();
        assert_eq!(index, scan::index(&self.fs(), &Known::new(), &cancel).unwrap(), "hashes computed while applying");
        let mut again = Vec::new();
        recipe::replay(&self.recipe(), &self.fs(), &mut again, &cancel).unwrap();
        assert!(again == archive, "the recipe gives other bytes ({} for {})", again.len(), archive.len());
        assert_eq!(std::fs::read(self.dir.path().join("outside")).unwrap(), b"untouched");
        index
    }
}

fn summary(index: &Index) -> Vec<String> {
    let line = |entry: &crate::layer::Entry| {
        let path = String::from_utf8_lossy(&entry.path);
        match &entry.kind {
            Kind::File { size, .. } => format!("f {path} {size}"),
            Kind::HardLink { first, .. } => format!("h {path} {}", String::from_utf8_lossy(first)),
            Kind::Dir { opaque } => format!("{} {path}", if *opaque { 'o' } else { 'd' }),
            Kind::Symlink(target) => format!("l {path} {}", String::from_utf8_lossy(target)),
            Kind::Whiteout => format!("w {path}"),
            Kind::Fifo => format!("p {path}"),
            other => format!("{other:?} {path}"),
        }
    };
    index.entries.iter().filter(|e| !e.path.is_empty()).map(line).collect()
}

#[test]
fn removals_replacements_and_missing_parents() {
    let cases: [(&str, &str, &[&str]); 24] = [
        ("whiteout", "d a\nf a/.wh.x", &["d a", "w a/x"]),
        ("whiteout without its parent", "f a/b/.wh.x", &["d a", "d a/b", "w a/b/x"]),
        ("opaque", "d a\nf a/.wh..wh..opq\nf a/x 1", &["o a", "f a/x 1"]),
        ("opaque after the contents", "d a\nf a/x 1\nf a/.wh..wh..opq", &["o a", "f a/x 1"]),
        ("opaque without its directory", "f a/.wh..wh..opq", &["o a"]),
        (
            "no whiteouts below opaque",
            "f a/.wh.x\nf a/b/.wh.y\nf a/b/z 1\nf a/.wh..wh..opq",
            &["o a", "d a/b", "f a/b/z 1"],
        ),
        ("no whiteouts below what was one", "f .wh.a\nf a/.wh.x\nf a/b/.wh.y", &["o a", "d a/b"]),
        ("whiteout, then a file of that name", "f .wh.x\nf x 1", &["f x 1"]),
        ("file, then a whiteout of its name", "f x 1\nf .wh.x", &["f x 1"]),
        ("whiteout, then a directory", "f .wh.x\nd x\nf x/y 1", &["o x", "f x/y 1"]),
        ("whiteout, then only what lies in a directory", "f .wh.x\nf x/y 1", &["o x", "f x/y 1"]),
        ("directory, then its whiteout", "d x\nf x/y 1\nf .wh.x", &["o x", "f x/y 1"]),
        ("the later file wins", "f x 1\nf x 22", &["f x 2"]),
        ("file, then directory", "f x 1\nd x\nf x/y 1", &["d x", "f x/y 1"]),
        ("directory, then file", "d x\nd x/d\nf x/d/y 1\nf x/z 1\nf x 333", &["f x 3"]),
        ("directory, then link", "d x\nf x/y 1\nl x target", &["l x target"]),
        ("link, then directory", "l x /etc\nd x\nf x/y 1", &["d x", "f x/y 1"]),
        ("directory twice", "d x\nf x/y 1\nd x", &["d x", "f x/y 1"]),
        ("names are cleaned", "d ./\nf ./a//b/./c 1\nf /etc/x 1", &["d a", "d a/b", "f a/b/c 1", "d etc", "f etc/x 1"]),
        ("hard links", "f b 1\nh a b\nh c a", &["f a 1", "h b a", "h c a"]),
        ("a hard link keeps what its target loses", "f a 1\nh b a\nf a 22", &["f a 2", "f b 1"]),
        ("a hard link replaces", "f a 1\nf b 22\nh b a", &["f a 1", "h b a"]),
        ("a hard link to a symbolic link", "l a /etc\nh b a", &["l a /etc", "l b /etc"]),
        ("a file after it was removed with its directory", "f d/x 1\nf d 22\nd d\nf d/x 333", &["d d", "f d/x 3"]),
    ];
    for (name, text, expected) in cases {
        let index = Bench::new().layer(&Forge::lines(text).end());
        assert_eq!(summary(&index), expected, "{name}");
    }
}

#[test]
fn hostile_members_are_refused_and_nothing_outside_is_touched() {
    let forged = |kind, name: &str, link: &str, bytes: &[u8]| Forge::default().member(name, kind, link, &[], bytes);
    let pax =
        |key: &str, value: &[u8]| Forge::default().member("name", EntryType::Regular, "", &[(key, value)], b"12345");
    let cases: Vec<(&str, Forge)> = vec![
        ("parent directory", Forge::lines("f ../outside x")),
        ("parent directory inside", Forge::lines("d a\nf a/../../outside x")),
        ("through a symbolic link", Forge::lines("l a ..\nf a/outside x")),
        ("through an absolute symbolic link", Forge::lines("l a /\nf a/tmp/x x")),
        ("a directory through a symbolic link", Forge::lines("l a ..\nd a/outside")),
        ("a whiteout through a symbolic link", Forge::lines("l a ..\nf a/.wh.outside")),
        ("an opaque mark through a symbolic link", Forge::lines("l a ..\nf a/.wh..wh..opq")),
        ("hard link out of the root", Forge::lines("h x ../outside")),
        ("hard link through a symbolic link", Forge::lines("l a ..\nh x a/outside")),
        ("hard link to nothing", Forge::lines("h x nothing")),
        ("hard link to a whiteout", Forge::lines("f .wh.y\nh x y")),
        ("hard link to a directory", Forge::lines("d y\nh x y")),
        ("hard link to itself", Forge::lines("f x 1\nh x x")),
        ("below a file", Forge::lines("f x 1\nf x/y 1")),
        ("a device that would be a whiteout", Forge::lines("c passwd")),
        ("a whiteout that is a link", Forge::lines("l .wh.x y")),
        ("a whiteout that is a directory", Forge::lines("d .wh.x")),
        ("a whiteout with contents", Forge::lines("f .wh.x contents")),
        ("below a whiteout", Forge::lines("f .wh.d/x 1")),
        ("a whiteout of nothing", Forge::lines("f .wh.")),
        ("a whiteout of the parent", Forge::lines("f a/.wh...")),
        ("aufs's own names", Forge::lines("f .wh..wh.plnk")),
        ("the root as a file", Forge::lines("f ./. 1")),
        ("a symbolic link to nowhere", forged(EntryType::Symlink, "x", "", b"")),
        ("a directory with contents", forged(EntryType::Directory, "x", "", b"contents")),
        ("an unknown kind", forged(EntryType::from_byte(b'Z'), "x", "", b"")),
        ("NUL in a pax path", pax("path", b"a\0b")),
        ("a pax path that climbs", pax("path", b"../outside")),
        ("two sizes", pax("size", b"4")),
        ("a pax size that is no number", pax("size", b"5x")),
        ("a pax owner that is no number", pax("uid", b"root")),
        ("an owner that means nobody", pax("uid", b"4294967295")),
        ("an owner beyond 32 bits", pax("gid", b"4294967296")),
        ("a time that is no number", pax("mtime", b"now")),
        ("too deep", Forge::lines(&format!("f {}x 1", "a/".repeat(45)))),
    ];
    for (name, forge) in cases {
        let bench = Bench::new();
        let (cancel, archive) = (Cancel::new(), forge.end());
        let limits = Limits { depth: 40, ..Limits::default() };
        let options = Options { limits, ..Options::layer(None, &cancel) };
        let result = apply(&mut archive.as_slice(), &bench.fs(), &options);
        assert!(matches!(result, Err(ApplyError::Refused { .. } | ApplyError::Invalid { .. })), "{name}: {result:?}");
        assert_eq!(std::fs::read(bench.dir.path().join("outside")).unwrap(), b"untouched", "{name}");
        assert_eq!(std::fs::read_dir(bench.dir.path()).unwrap().count(), 2, "{name}");
    }
}

#[test]
fn pax_records_are_read_by_their_length_not_by_their_lines() {
    let evil = b"x\n22 linkpath=/etc/evil\n";
    let archive = Forge::default()
        .member("lnk", EntryType::Symlink, "harmless", &[("SCHILY.xattr.user.note", evil)], b"")
        .member("f", EntryType::Regular, "", &[("path", "d/\u{e9}a\nb".as_bytes())], b"1")
        .member("cap", EntryType::Regular, "", &[("SCHILY.xattr.user.bin", b"\x01\n\x00\n2 =")], b"1")
        .end();
    let index = Bench::new().layer(&archive);
    assert_eq!(summary(&index), ["f cap 1", "d d", "f d/\u{e9}a\nb 1", "l lnk harmless"]);
    assert_eq!(index.get(b"cap").unwrap().xattrs, [(b"user.bin".to_vec(), b"\x01\n\x00\n2 =".to_vec())]);
}

#[test]
fn attributes_that_are_overlay_marks_stay_what_the_image_has() {
    let record = |name: &'static str| [(name, &b"y"[..])];
    let archive = Forge::default()
        .member("a", EntryType::Directory, "", &record("SCHILY.xattr.user.overlay.opaque"), b"")
        .member("b", EntryType::Directory, "", &record("SCHILY.xattr.trusted.overlay.opaque"), b"")
        .member("c", EntryType::Regular, "", &record("SCHILY.xattr.security.selinux"), b"")
        .end();
    let index = Bench::new().layer(&archive);
    assert_eq!(summary(&index), ["d a", "d b", "f c 0"], "none of them is opaque");
    assert_eq!(index.entries[0].xattrs, [(b"user.overlay.opaque".to_vec(), b"y".to_vec())]);
    assert!(index.entries[1].xattrs.is_empty() && index.entries[2].xattrs.is_empty());
}

#[test]
fn archives_that_break_off_are_invalid() {
    let whole = Forge::lines("d a\nf a/x 12345\nl b a").end();
    for length in (0..whole.len() - 1024).step_by(64) {
        let result = Bench::new().apply(&whole[..length], Mode::Layer);
        let at_member_boundary = [0, 512, 1536, 2048].contains(&length);
        match result {
            // Archives without their end are read, as by every tar.
            Ok(applied) => assert!(at_member_boundary && applied.tar_size == length as u64, "{length}"),
            Err(ApplyError::Invalid { .. }) => assert!(!at_member_boundary, "{length}"),
            Err(other) => panic!("{length}: {other}"),
        }
    }
    Bench::new().layer(&whole[..whole.len() - 512]);
    Bench::new().layer(&[whole.as_slice(), &[0; 9000], b"trailing garbage"].concat());
    let mut damaged = whole.clone();
    damaged[3] ^= 1;
    assert!(matches!(Bench::new().apply(&damaged, Mode::Layer), Err(ApplyError::Invalid { position: 0, .. })));
}

#[test]
fn limits_hold() {
    let archive = Forge::lines("f a 12345\nf b 12345\nf c 12345").end();
    let run = |limits| {
        let (bench, cancel) = (Bench::new(), Cancel::new());
        apply(&mut archive.as_slice(), &bench.fs(), &Options { limits, ..Options::plain(&cancel) }).map(|a| a.entries)
    };
    assert_eq!(run(Limits { entries: 3, bytes: 15, depth: 1 }).unwrap(), 3);
    assert!(matches!(run(Limits { entries: 2, ..Limits::default() }), Err(ApplyError::Limit { limit: 2, .. })));
    assert!(matches!(run(Limits { bytes: 14, ..Limits::default() }), Err(ApplyError::Limit { limit: 14, .. })));
    let (bench, cancel) = (Bench::new(), Cancel::new());
    cancel.cancel();
    assert!(apply(&mut archive.as_slice(), &bench.fs(), &Options::plain(&cancel)).is_err());
}

#[test]
fn plain_archives_know_no_removals_and_take_the_callers_owner_and_mode() {
    let archive = Forge::lines("d d\nf d/.wh.x 1\nh d/y d/.wh.x\nf d/.wh..wh..opq").end();
    let (bench, cancel) = (Bench::new(), Cancel::new());
    let chmod = crate::layer::mode::parse_mode("go-rwx").unwrap();
    let options = Options { owner: Some((5, 6)), chmod: Some(&chmod), ..Options::plain(&cancel) };
    apply(&mut archive.as_slice(), &bench.fs(), &options).unwrap();
    for path in ["d", "d/.wh.x", "d/y", "d/.wh..wh..opq"] {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(bench.fs().join(path)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (5, 6, 0o700), "{path}");
    }
}

#[test]
fn a_plain_archives_member_without_a_name_is_passed_over() {
    let archive = Forge::default()
        .member("", EntryType::Regular, "", &[], b"text")
        .member("f", EntryType::Regular, "", &[], b"12345")
        .end();
    let bench = Bench::new();
    let applied = bench.apply(&archive, Mode::Plain).unwrap();
    assert_eq!(summary(&bench.check(&archive, &applied)), ["f f 5"]);
}

/// What GNU tar archives: every kind of file, long names, sparse files, odd times and owners.
fn assorted(dir: &Path) {
    let script = r#"
        set -e
        mkdir -p tree/d/sub tree/$(printf 'l%.0s' $(seq 120))
        echo hello > tree/d/file; ln tree/d/file tree/second; ln -s d/file tree/link; ln -s $(printf 't%.0s' $(seq 200)) tree/long
        ln -P tree/link tree/link2
        echo deep > tree/$(printf 'l%.0s' $(seq 120))/$(printf 'm%.0s' $(seq 130))
        mkfifo tree/fifo; : > tree/empty; printf x > "tree/odd
name é"
        truncate -s 3M tree/sparse; printf data | dd of=tree/sparse bs=1 seek=1500000 conv=notrunc status=none
        truncate -s 100000 tree/hole
        head -c 2500000 /dev/urandom > tree/big
        chown 1234:5678 tree/empty; chmod 6755 tree/d/file; chmod 1777 tree/d; chmod 500 tree/d/sub
        touch -d @0 tree/empty; touch -d @-100.5 tree/hole; touch -d @1500000000.75 tree/big; touch -h -d @7 tree/link; touch -d @1600000000 tree/d"#;
    let status =
        Command::new("bash").args(["-c", script]).current_dir(dir).stderr(std::process::Stdio::null()).status();
    assert!(status.unwrap().success());
    let file = File::open(dir.join("tree/d/file")).unwrap();
    xattr::write(&file, &vec![(b"user.note".to_vec(), b"a value".to_vec())], dir).unwrap();
}

#[test]
fn gnu_tars_archives_are_applied_and_reproduced_byte_by_byte() {
    let source = tempfile::tempdir().unwrap();
    assorted(source.path());
    let expected = scan::index(&source.path().join("tree"), &Known::new(), &Cancel::new()).unwrap();
    let formats: [&[&str]; 7] = [
        &["--format=gnu"],
        &["--format=gnu", "--sparse"],
        &["--format=posix", "--xattrs"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sort=name", "--pax-option=globexthdr.comment:=x,delete=atime,delete=ctime"],
    ];
    for format in formats {
        let made =
            Command::new("tar").args(format).args(["-C", "tree", "-cf", "-", "."]).current_dir(source.path()).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{format:?}: {}", String::from_utf8_lossy(&made.stderr));
        let index = Bench::new().layer(&made.stdout);
        let strip = |index: &Index| {
            let mut entries = index.entries.clone();
            entries.retain(|e| !e.path.is_empty());
            entries.iter_mut().for_each(|e| e.xattrs.clear());
            entries
        };
        assert_eq!(strip(&index), strip(&expected), "{format:?}");
        if format.contains(&"--xattrs") {
            assert_eq!(index.get(b"d/file").unwrap().xattrs, expected.get(b"d/file").unwrap().xattrs);
        }
    }
}

#[test]
fn an_archive_that_was_appended_to_is_reproduced() {
    let source = tempfile::tempdir().unwrap();
    let script = "set -e; mkdir -p d; echo one > d/x; echo other > y; tar -cf t.tar d y
        echo two, longer > d/x; tar -rf t.tar d/x; echo three > d/x; tar -rf t.tar d/x; rm -r d; echo file > d; tar -rf t.tar d";
    assert!(Command::new("bash").args(["-c", script]).current_dir(source.path()).status().unwrap().success());
    let archive = std::fs::read(source.path().join("t.tar")).unwrap();
    assert_eq!(summary(&Bench::new().layer(&archive)), ["f d 5", "f y 6"]);
}

/// A random file tree.
#[derive(Clone, Debug)]
enum Thing {
    File(Vec<u8>, u32, u32),
    Dir(Vec<(String, Thing)>, bool),
    Link(String),
    Hard,
    Gone,
}

fn thing() -> impl Strategy<Value = Thing> {
    let leaf = prop_oneof![
        4 => (proptest::collection::vec(any::<u8>(), 0..1500), 0u32..0o10000, 0u32..100)
            .prop_map(|(bytes, mode, uid)| Thing::File(bytes, mode, uid)),
        1 => "[a-zé/.]{1,140}".prop_map(Thing::Link),
        1 => Just(Thing::Hard),
        1 => Just(Thing::Gone),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| {
        (proptest::collection::vec((name(), inner), 0..8), any::<bool>()).prop_map(|(things, o)| Thing::Dir(things, o))
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-e-]{1,3}", 1 => "[a-c]{60,120}", 1 => "[é\n ]{1,30}"]
}

/// Writes the things as an upper directory. `hidden`: below an opaque directory, where whiteouts say nothing.
fn build(fs: &Path, things: &[(String, Thing)], hidden: bool, last_file: &mut Option<PathBuf>) {
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};
    for (name, thing) in things {
        let path = fs.join(name);
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match thing {
            Thing::File(bytes, mode, uid) => {
                std::fs::write(&path, bytes).unwrap();
                lchown(&path, Some(*uid), None).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
                *last_file = Some(path);
            }
            Thing::Dir(inner, opaque) => {
                std::fs::create_dir(&path).unwrap();
                build(&path, inner, hidden || *opaque, last_file);
                if *opaque {
                    xattr::mark_opaque(File::open(&path).unwrap(), &path).unwrap();
                }
            }
            Thing::Link(target) => symlink(target, &path).unwrap(),
            Thing::Hard => {
                if let Some(file) = last_file {
                    std::fs::hard_link(file, &path).unwrap();
                }
            }
            Thing::Gone if hidden => {}
            Thing::Gone => {
                rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::CharacterDevice, Bits::empty(), 0).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_scanned_and_written_is_applied_as_the_same_layer(things in proptest::collection::vec((name(), thing()), 0..8)) {
        let source = tempfile::tempdir().unwrap();
        build(source.path(), &things, false, &mut None);
        let scanned = scan::scan(source.path(), &Known::new(), &Cancel::new()).unwrap();
        let mut archive = Vec::new();
        tar_out::write(&scanned.index, source.path(), &mut archive, &Cancel::new()).unwrap();
        prop_assert_eq!(Digest::of(&archive), scanned.diff_id);
        let bench = Bench::new();
        let applied = bench.apply(&archive, Mode::Layer).unwrap();
        let index = bench.check(&archive, &applied);
        let below = |index: &Index| index.entries.iter().filter(|e| !e.path.is_empty()).cloned().collect::<Vec<_>>();
        prop_assert_eq!(below(&index), below(&scanned.index));
        prop_assert!(recipe::is_canonical(&bench.recipe(), &scanned.index).unwrap());
        let decoded = Index::decode(&scanned.index.encode()).unwrap();
        prop_assert_eq!(&decoded, &scanned.index);
    }
}
