//! What tells a step's changes in a copied root, and what a step can't make it pass on.

use super::*;
use crate::base::Cancel;
use crate::layer::scan::{self, Known};
use crate::store::Access;

#[test]
fn a_step_cannot_make_a_file_pass_for_a_device() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), Access::Shared).unwrap();
    let trees = Trees::new(&store);
    let snapshot = Copy.prepare(&store, &trees, &Rootfs { layers: Vec::new(), tree: Trees::empty() }).unwrap();
    let RootMount::Dir(root) = &snapshot.mount else { panic!("{:?}", snapshot.mount) };
    std::fs::write(root.join("disk"), "").unwrap();
    let file = File::open(root.join("disk")).unwrap();
    rustix::fs::fsetxattr(&file, device::MARK, b"b 8:0", XattrFlags::empty()).unwrap();
    let changes = Copy.changes(&store, &trees, &snapshot).unwrap();
    let index = scan::index(&changes, &Known::new(), &Cancel::new()).unwrap();
    assert!(matches!(index.get(b"disk").unwrap().kind, Kind::File { size: 0, .. }), "{index:?}");
}

/// A root with `files`, copied as far as the record of it goes, and some time later.
fn copied(files: &[&str]) -> (tempfile::TempDir, Root, Copied) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join(ROOT);
    for file in files {
        let path = top.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file).unwrap();
    }
    // Longer than the grain of change times.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let root = Root::open(&top).unwrap();
    let record = dir.path().join(INODES);
    write_inodes(&record, &list(&root).unwrap()).unwrap();
    let copied = Copied::read(&record).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    (dir, root, copied)
}

fn doubtful(root: &Root, copied: &Copied) -> Vec<String> {
    let now = list(root).unwrap();
    let doubtful = now.iter().filter(|(path, stat)| !copied.untouched(path, stat));
    doubtful.map(|(path, _)| String::from_utf8(path.clone()).unwrap()).collect()
}

#[test]
fn what_was_written_to_or_made_anew_is_not_taken_for_untouched() {
    let (_dir, root, copied) = copied(&["a/f", "b/f", "c", "d", "new\nline"]);
    assert_eq!(doubtful(&root, &copied), Vec::<String>::new());
    let top = root.path();
    std::fs::write(top.join("c"), "c").unwrap();
    // Set back, the modification time says nothing; the change time does.
    let old = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    File::options().write(true).open(top.join("c")).unwrap().set_times(old).unwrap();
    std::fs::write(top.join("e"), "").unwrap();
    assert_eq!(doubtful(&root, &copied), ["c", "e"]);
}

#[test]
fn directories_that_changed_places_are_seen_by_what_they_hold() {
    let (_dir, root, copied) = copied(&["a/f", "b/f"]);
    let path = |name: &str| root.path().join(name);
    std::fs::rename(path("a"), path("t")).unwrap();
    std::fs::rename(path("b"), path("a")).unwrap();
    std::fs::rename(path("t"), path("b")).unwrap();
    // The files' own change times are as old as ever.
    assert_eq!(doubtful(&root, &copied), ["a", "a/f", "b", "b/f"]);
}

#[test]
fn removals_are_told_once_at_their_top() {
    let entry = |path: &str| Entry {
        path: path.into(),
        kind: Kind::Dir { opaque: false },
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        xattrs: Vec::new(),
    };
    let paths = ["dir", "dir/a", "dir/sub", "dir/sub/x", "file", "kept", "kept/b", "was-dir", "was-dir/c"];
    let then = paths.iter().map(|p| (p.as_bytes().to_vec(), entry(p))).collect();
    let (_dir, root, _) = copied(&["kept/other", "was-dir"]);
    let now = list(&root).unwrap();
    let removed: Vec<_> = removed(&now, &then).into_iter().map(|p| std::str::from_utf8(p).unwrap()).collect();
    assert_eq!(removed, ["dir", "file", "kept/b"]);
}
