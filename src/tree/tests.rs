//! What layers make of a tree, and what a tree shows.

use super::*;
use crate::base::Cancel;
use crate::layer::{Entry, Kind, scan};
use crate::store::Access;
use crate::store::layers::{LayerInfo, NewLayer};
use std::path::Path;

/// A store in a directory of its own.
struct Bench {
    _dir: tempfile::TempDir,
    store: Store,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), Access::Shared).unwrap();
    Bench { _dir: dir, store }
}

/// An index from lines: `d DIR`, `o DIR` (opaque), `f FILE CONTENT`, `l LINK TARGET`, `h NAME FIRST` (hard link to a file with
/// the contents `1`), `w GONE`.
fn layer(text: &str) -> Index {
    let mut entries: Vec<Entry> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(entry).collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Index { entries }
}

fn entry(line: &str) -> Entry {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or("");
    let (kind, path, more) = (word(), word(), word());
    let kind = match kind {
        "d" => Kind::Dir { opaque: false },
        "o" => Kind::Dir { opaque: true },
        "f" => Kind::File { size: more.len() as u64, content: Digest::of(more.as_bytes()) },
        "l" => Kind::Symlink(more.into()),
        "h" => Kind::HardLink { first: more.into(), size: 1, content: Digest::of(b"1") },
        "w" => Kind::Whiteout,
        _ => panic!("{line}"),
    };
    let path = if path == "." { Vec::new() } else { path.into() };
    Entry { path, kind, mode: 0o755, uid: 0, gid: 0, mtime: 99, xattrs: Vec::new() }
}

/// Every path of a tree, with a letter for its kind.
fn paths(trees: &Trees<'_>, tree: &Digest) -> Vec<String> {
    let rootfs = Rootfs { layers: Vec::new(), tree: *tree };
    let view = View::new(trees, &rootfs);
    let mut all = Vec::new();
    let mut visit = |found: &view::Found| {
        let kind = match found.entry.entry.kind {
            Kind::Dir { opaque: false } => 'd',
            Kind::File { .. } => 'f',
            Kind::Symlink(_) => 'l',
            _ => '?',
        };
        all.push(format!("{kind} {}", String::from_utf8_lossy(&found.path)));
        Ok(true)
    };
    view.walk(&view.root().unwrap(), &mut visit).unwrap();
    all
}

const BASE: &str = "
    d etc
    f etc/passwd root
    d usr
    d usr/lib
    f usr/lib/a 1
    f usr/lib/b 2
    f usr-x 3
    l lib usr/lib";

#[test]
fn layers_are_merged_by_the_image_specs_rules() {
    let bench = bench();
    let trees = Trees::new(&bench.store);
    let base = trees.apply(&Trees::empty(), &layer(BASE)).unwrap();
    let all = ["d etc", "f etc/passwd", "l lib", "d usr", "f usr-x", "d usr/lib", "f usr/lib/a", "f usr/lib/b"];
    assert_eq!(paths(&trees, &base), all);
    let cases: [(&str, &str, &[&str]); 12] = [
        ("nothing", "", &all),
        (
            "whiteout of a file",
            "d usr\nd usr/lib\nw usr/lib/a",
            &["d etc", "f etc/passwd", "l lib", "d usr", "f usr-x", "d usr/lib", "f usr/lib/b"],
        ),
        ("whiteout of a directory", "w usr", &["d etc", "f etc/passwd", "l lib", "f usr-x"]),
        ("whiteout of nothing", "w nope", &all),
        (
            "opaque directory",
            "d usr\no usr/lib\nf usr/lib/c 9",
            &["d etc", "f etc/passwd", "l lib", "d usr", "f usr-x", "d usr/lib", "f usr/lib/c"],
        ),
        ("opaque without contents", "o usr", &["d etc", "f etc/passwd", "l lib", "d usr", "f usr-x"]),
        (
            "opaque over nothing",
            "o new\nf new/x 1",
            &[
                "d etc",
                "f etc/passwd",
                "l lib",
                "d new",
                "f new/x",
                "d usr",
                "f usr-x",
                "d usr/lib",
                "f usr/lib/a",
                "f usr/lib/b",
            ],
        ),
        ("file in place of a directory", "f usr x", &["d etc", "f etc/passwd", "l lib", "f usr", "f usr-x"]),
        (
            "directory in place of a file",
            "d etc\nd etc/passwd\nf etc/passwd/x 1",
            &[
                "d etc",
                "d etc/passwd",
                "f etc/passwd/x",
                "l lib",
                "d usr",
                "f usr-x",
                "d usr/lib",
                "f usr/lib/a",
                "f usr/lib/b",
            ],
        ),
        (
            "directory in place of a link",
            "d lib\nf lib/x 1",
            &[
                "d etc",
                "f etc/passwd",
                "d lib",
                "f lib/x",
                "d usr",
                "f usr-x",
                "d usr/lib",
                "f usr/lib/a",
                "f usr/lib/b",
            ],
        ),
        (
            "parents that no entry names",
            "f etc/x/y 1",
            &[
                "d etc",
                "f etc/passwd",
                "d etc/x",
                "f etc/x/y",
                "l lib",
                "d usr",
                "f usr-x",
                "d usr/lib",
                "f usr/lib/a",
                "f usr/lib/b",
            ],
        ),
        ("everything removed", "w etc\nw lib\nw usr\nw usr-x", &[]),
    ];
    for (name, change, expected) in cases {
        let tree = trees.apply(&base, &layer(change)).unwrap();
        assert_eq!(paths(&trees, &tree), expected, "{name}");
        let fresh = Trees::new(&bench.store);
        assert_eq!(paths(&fresh, &tree), expected, "{name}, read back from disk");
    }
    assert_eq!(trees.apply(&base, &layer("w etc\nw lib\nw usr\nw usr-x")).unwrap(), Trees::empty());
}

#[test]
fn a_tree_does_not_depend_on_the_layers_it_came_about_by() {
    let bench = bench();
    let trees = Trees::new(&bench.store);
    let apply =
        |layers: &[&str]| layers.iter().fold(Trees::empty(), |tree, text| trees.apply(&tree, &layer(text)).unwrap());
    let direct = apply(&[BASE]);
    assert_eq!(
        apply(&[
            "d etc\nf etc/passwd root\nl lib usr/lib",
            "d usr\nd usr/lib\nf usr/lib/a 1\nf usr/lib/b 2\nf usr-x 3"
        ]),
        direct
    );
    assert_eq!(apply(&[BASE, "d new\nf new/x 1", "w new"]), direct);
    assert_eq!(apply(&[BASE, "d etc\nf etc/passwd other", "d etc\nf etc/passwd root"]), direct);
    assert_ne!(apply(&[BASE, "d etc\nf etc/passwd other"]), direct);
    let mut owned = layer("d etc");
    owned.entries[0].uid = 7;
    assert_ne!(trees.apply(&direct, &owned).unwrap(), direct);
    assert_eq!(
        direct.hex(),
        "66c0592a6bfbd35364b74524f6112c2df2473c749d5b9920f8e1ba64326c546e",
        "a change of this is a change of format: see docs/digests.md"
    );
    assert_eq!(Trees::empty().hex(), "3290a8ed4d87f3941c3fb8ef4240426931aff67dff48e542d26a433db4a200de");
}

#[test]
fn the_root_directorys_own_metadata_belong_to_the_tree() {
    let bench = bench();
    let trees = Trees::new(&bench.store);
    let base = trees.apply(&Trees::empty(), &layer(BASE)).unwrap();
    let mut change = layer("d .");
    change.entries[0].mode = 0o700;
    let private = trees.apply(&base, &change).unwrap();
    assert_ne!(private, base);
    let after = trees.apply(&private, &layer("f x 1")).unwrap();
    let rootfs = Rootfs { layers: Vec::new(), tree: after };
    assert_eq!(View::new(&trees, &rootfs).root().unwrap().entry.entry.mode, 0o700);
    let emptied = trees.apply(&after, &layer("o .\nf y 1")).unwrap();
    assert_eq!(paths(&trees, &emptied), ["f y"]);
}

#[test]
fn lost_and_damaged_packs_are_noticed_and_made_again() {
    let bench = bench();
    let base = layer(BASE);
    let (tree, top) = {
        let trees = Trees::new(&bench.store);
        let tree = trees.apply(&Trees::empty(), &base).unwrap();
        (tree, trees.apply(&tree, &layer("f new 1")).unwrap())
    };
    let directory = bench.store.trees_dir();
    let file = pack::path(&directory, &tree);
    let good = std::fs::read(&file).unwrap();
    assert!(Trees::new(&bench.store).has(&top));
    assert_eq!(Trees::new(&bench.store).files(&top).unwrap().len(), 2, "its own pack and its base's");
    std::fs::remove_file(&file).unwrap();
    assert!(!Trees::new(&bench.store).has(&top), "a pack it refers to is gone");
    assert!(!Trees::new(&bench.store).has(&tree));
    let trees = Trees::new(&bench.store);
    assert_eq!(trees.apply(&Trees::empty(), &base).unwrap(), tree);
    assert!(Trees::new(&bench.store).has(&top), "made again, it is the same file");

    for position in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[position] ^= 0xff;
        std::fs::write(&file, &bad).unwrap();
        // Reading the damaged pack gives an error or what was meant, never another tree.
        let trees = Trees::new(&bench.store);
        let rootfs = Rootfs { layers: Vec::new(), tree };
        let view = View::new(&trees, &rootfs);
        if let Ok(Some(found)) = view.find(b"usr/lib/b", true) {
            assert_eq!(found.entry.entry, Entry { path: b"b".to_vec(), mtime: 0, ..entry("f usr/lib/b 2") });
        }
        std::fs::write(&file, &bad).unwrap();
        assert!(pack::check(&directory, &file).unwrap().is_some(), "byte {position}");
        let removed = Trees::new(&bench.store).repair().unwrap();
        assert!(removed.contains(&file), "byte {position}");
        Trees::new(&bench.store).apply(&Trees::empty(), &base).unwrap();
        Trees::new(&bench.store).apply(&tree, &layer("f new 1")).unwrap();
    }
    assert_eq!(Trees::new(&bench.store).repair().unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn paths_are_resolved_inside_the_root() {
    let bench = bench();
    let trees = Trees::new(&bench.store);
    let text = "
        d a
        d a/b
        f a/b/file 1
        l abs /a/b
        l rel a/../a/b
        l up ../../../a
        l a/b/sideways ../b/file
        l dangling a/new/place
        l loop1 loop2
        l loop2 loop1
        l tofile a/b/file";
    let tree = trees.apply(&Trees::empty(), &layer(text)).unwrap();
    let rootfs = Rootfs { layers: Vec::new(), tree };
    let view = View::new(&trees, &rootfs);
    for (path, follow, real) in [
        ("/", true, Some("")),
        ("..", true, Some("")),
        ("a/b/file", true, Some("a/b/file")),
        ("/a//b/./file", true, Some("a/b/file")),
        ("abs/file", false, Some("a/b/file")),
        ("rel/file", false, Some("a/b/file")),
        ("up/b/file", false, Some("a/b/file")),
        ("abs/../b/sideways", true, Some("a/b/file")),
        ("abs/sideways", false, Some("a/b/sideways")),
        ("tofile", false, Some("tofile")),
        ("tofile", true, Some("a/b/file")),
        ("tofile/x", true, None),
        ("dangling", true, None),
        ("dangling", false, Some("dangling")),
        ("nope/../a", true, Some("a")),
        ("loop1", false, Some("loop1")),
    ] {
        let found = view.find(path.as_bytes(), follow).unwrap();
        let real = real.map(str::as_bytes);
        assert_eq!(found.as_ref().map(|f| f.path.as_slice()), real, "{path}, follow: {follow}");
    }
    assert!(matches!(view.find(b"loop1", true), Err(TreeError::Resolve { .. })));
    assert!(matches!(view.find(b"loop1/x", false), Err(TreeError::Resolve { .. })));
    for (path, real, exists) in [
        ("dangling", "a/new/place", false),
        ("dangling/x/../y", "a/new/place/y", false),
        ("abs/new/deep", "a/b/new/deep", false),
        ("abs", "a/b", true),
        ("new/../../a", "a", true),
    ] {
        let (path_found, found) = view.resolve_for_write(path.as_bytes()).unwrap();
        assert_eq!((path_found.as_slice(), found.is_some()), (real.as_bytes(), exists), "{path}");
    }
    assert!(matches!(view.resolve_for_write(b"tofile/x"), Err(TreeError::Resolve { .. })));
}

/// Writes files, makes a layer of them and stores it.
fn stored(store: &Store, fill: impl FnOnce(&Path)) -> Digest {
    let temp = store.temp_dir().unwrap();
    let fs = temp.path().join("fs");
    std::fs::create_dir(&fs).unwrap();
    fill(&fs);
    let scanned = scan::scan(&fs, &scan::Known::new(), &Cancel::new()).unwrap();
    let info = LayerInfo {
        diff_id: scanned.diff_id,
        content: scanned.index.content_digest(),
        tar_size: scanned.tar_size,
        size: scanned.index.size(),
        created: 0,
        fresh_from: None,
        fs_of: None,
    };
    let index = scanned.index.encode();
    store.publish_layer(NewLayer { fs, index, recipe: None, info }).unwrap().diff_id
}

#[test]
fn bytes_come_from_the_layer_that_holds_them() {
    let bench = bench();
    let lower = stored(&bench.store, |fs| {
        std::fs::create_dir(fs.join("d")).unwrap();
        std::fs::write(fs.join("d/old"), "lower").unwrap();
        std::fs::write(fs.join("d/both"), "lower").unwrap();
        std::fs::write(fs.join("gone"), "lower").unwrap();
    });
    let upper = stored(&bench.store, |fs| {
        std::fs::create_dir(fs.join("d")).unwrap();
        std::fs::write(fs.join("d/both"), "upper!").unwrap();
        std::os::unix::fs::symlink("d", fs.join("link")).unwrap();
        let status = std::process::Command::new("mknod").arg(fs.join("gone")).args(["c", "0", "0"]).status();
        assert!(status.unwrap().success());
    });
    let again = stored(&bench.store, |fs| std::fs::write(fs.join("gone"), "back").unwrap());
    let trees = Trees::new(&bench.store);
    let rootfs = trees.of_layers(&[lower, upper]).unwrap();
    let view = View::new(&trees, &rootfs);
    let read = |path: &str| view.read(path.as_bytes(), 100).unwrap().map(|b| String::from_utf8(b).unwrap());
    assert_eq!(read("/d/old").as_deref(), Some("lower"));
    assert_eq!(read("/link/both").as_deref(), Some("upper!"));
    assert_eq!(read("/gone"), None);
    assert_eq!(read("/d"), None);
    assert!(matches!(view.read(b"d/both", 5), Err(TreeError::TooLarge { size: 6, limit: 5, .. })));

    let pushed = trees.push(&rootfs, &again).unwrap();
    assert_eq!(View::new(&trees, &pushed).read(b"gone", 100).unwrap().as_deref(), Some(&b"back"[..]));
    let other = Trees::new(&bench.store);
    assert_eq!(other.of_layers(&pushed.layers).unwrap(), pushed, "remembered");
    for entry in std::fs::read_dir(bench.store.trees_dir()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert_eq!(Trees::new(&bench.store).of_layers(&pushed.layers).unwrap(), pushed, "made anew");
    assert_eq!(Trees::new(&bench.store).push(&rootfs, &again).unwrap(), pushed);

    let changes = diff::diff(&trees, &trees.of_layers(&[lower]).unwrap(), &pushed).unwrap();
    let paths: Vec<&[u8]> = changes.iter().map(diff::Change::path).collect();
    assert_eq!(paths, [&b"d/both"[..], b"gone", b"link"]);
}

#[test]
fn a_difference_lists_what_lies_in_added_and_removed_directories() {
    let bench = bench();
    let trees = Trees::new(&bench.store);
    let make = |text: &str| {
        let tree = trees.apply(&Trees::empty(), &layer(text)).unwrap();
        Rootfs { layers: Vec::new(), tree }
    };
    let a = make("d same\nf same/x 1\nd old\nf old/y 1\nf kind 1\nf content 1");
    let b = make("d same\nf same/x 1\nd new\nf new/z 1\nd kind\nf kind/in 1\nf content 2");
    let show = |change: &diff::Change| {
        let letter = match change {
            diff::Change::Added(..) => 'A',
            diff::Change::Removed(..) => 'D',
            diff::Change::Modified(..) => 'M',
        };
        format!("{letter} {}", String::from_utf8_lossy(change.path()))
    };
    let changes: Vec<String> = diff::diff(&trees, &a, &b).unwrap().iter().map(show).collect();
    assert_eq!(changes, ["M content", "M kind", "A kind/in", "A new", "A new/z", "D old", "D old/y"]);
    assert!(diff::diff(&trees, &a, &a).unwrap().is_empty());
}

#[test]
fn the_first_difference_is_found_wherever_it_lies() {
    let bench = bench();
    let trees = Trees::new(&bench.store);
    let make = |text: &str| trees.apply(&Trees::empty(), &layer(text)).unwrap();
    let base = make("d a\nf a/x 1\nd b\nd b/c\nf b/c/y 1\nf z 1");
    for (other, expected) in [
        ("d a\nf a/x 1\nd b\nd b/c\nf b/c/y 2\nf z 2", Some("b/c/y")),
        ("d a\nf a/x 2\nd b\nd b/c\nf b/c/y 2\nf z 1", Some("a/x")),
        ("d a\nf a/x 1\nf z 1", Some("b")),
        ("d a\nf a/x 1\nf b 1\nf z 1", Some("b")),
        ("d a\nf a/x 1\nd b\nd b/c\nf b/c/y 1\nf z 1\nf zz 1", Some("zz")),
        ("d a\nf a/x 1\nd b\nd b/c\nf b/c/y 1\nf z 1", None),
    ] {
        let first = diff::first(&trees, &base, &make(other)).unwrap();
        assert_eq!(first.map(|c| String::from_utf8(c.path().to_vec()).unwrap()).as_deref(), expected, "{other}");
    }
}

#[test]
fn a_tree_says_which_names_are_one_file_the_same_way_however_it_came_about() {
    let linked = "d d\nd d/x\nf a 1\nh d/b a\nh d/x/c a\nh e a";
    let cases = [
        ("nothing is lost", "f other 1", "d d\nd d/x\nf a 1\nh d/b a\nh d/x/c a\nh e a\nf other 1"),
        ("a further name is removed", "d d\nw d/b", "d d\nd d/x\nf a 1\nh d/x/c a\nh e a"),
        ("the first is removed", "w a", "d d\nd d/x\nf d/b 1\nh d/x/c d/b\nh e d/b"),
        ("the first is written anew", "f a 2", "d d\nd d/x\nf a 2\nf d/b 1\nh d/x/c d/b\nh e d/b"),
        ("the first is linked anew", "f a 1\nh g a", "d d\nd d/x\nf a 1\nf d/b 1\nh d/x/c d/b\nh e d/b\nh g a"),
        ("the first becomes a directory", "f a/in 2", "d d\nd d/x\nd a\nf a/in 2\nf d/b 1\nh d/x/c d/b\nh e d/b"),
        ("the first two go", "w a\no d\nd d/x\nf d/x/c 1", "d d\nd d/x\nf d/x/c 1\nf e 1"),
        ("their directory is removed", "w d", "f a 1\nh e a"),
        ("their directory is hidden", "w a\no d", "d d\nf e 1"),
        ("their directory becomes a file", "f d 1", "f d 1\nf a 1\nh e a"),
        ("all but one go", "w a\nw d", "f e 1"),
        ("all go", "w a\nw d\nw e", ""),
        ("the root is emptied", "o .\nf e 1", "o .\nf e 1"),
    ];
    for (name, change, expected) in cases {
        let bench = bench();
        let trees = Trees::new(&bench.store);
        let base = trees.apply(&Trees::empty(), &layer(linked)).unwrap();
        let stacked = trees.apply(&base, &layer(change)).unwrap();
        // As another process reads it, from the packs alone; then one more layer on each.
        for last in ["", "w d\nw e", "w a", "f a 3", "d d\nw d/b"] {
            let fresh = Trees::new(&bench.store);
            let more = fresh.apply(&stacked, &layer(last)).unwrap();
            let other = self::bench();
            let others = Trees::new(&other.store);
            let at_once = others.apply(&Trees::empty(), &layer(expected)).unwrap();
            let at_once = others.apply(&at_once, &layer(last)).unwrap();
            let (found, expected) = (shape(&fresh, &more), shape(&others, &at_once));
            assert_eq!(found, expected, "{name}, then {last:?}");
            assert_eq!(more, at_once, "{name}, then {last:?}");
            assert_eq!(fresh.groups(&more).unwrap().0, others.groups(&at_once).unwrap().0, "{name}, then {last:?}");
        }
    }
}

/// Every path of a tree, and what a hard link names.
fn shape(trees: &Trees<'_>, tree: &Digest) -> Vec<String> {
    let rootfs = Rootfs { layers: Vec::new(), tree: *tree };
    let view = View::new(trees, &rootfs);
    let mut all = Vec::new();
    let mut visit = |found: &view::Found| {
        let first = match &found.entry.entry.kind {
            Kind::HardLink { first, .. } => format!(" = {}", String::from_utf8_lossy(first)),
            _ => String::new(),
        };
        all.push(format!("{}{first}", String::from_utf8_lossy(&found.path)));
        Ok(true)
    };
    view.walk(&view.root().unwrap(), &mut visit).unwrap();
    all
}
