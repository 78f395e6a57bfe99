//! What comes from the layer of the last run by link, and what must not.

use super::super::{plan, run};
use crate::ops::fixture::{bench, copy_op, mode, sketch};
use crate::tree::Trees;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

#[test]
fn only_files_that_are_the_same_in_all_that_an_inode_holds_are_linked() {
    let bench = bench();
    let context = bench.context();
    let names = ["same", "text", "mode", "seconds", "nanos", "xattr", "same2"];
    for name in names {
        sketch(&context, &[&format!("s/{name} f 644 {name}")]);
    }
    fs::hard_link(context.join("s/same2"), context.join("s/twin")).unwrap();
    let touch = |name: &str, time: Duration| {
        let file = fs::File::options().write(true).open(context.join("s").join(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + time).unwrap();
    };
    names.iter().for_each(|name| touch(name, Duration::new(1000, 7)));
    let trees = Trees::new(&bench.store);
    let base = bench.rootfs(&trees, &[]);
    bench.with(&trees, std::slice::from_ref(&base), |cx, inputs| {
        let op = copy_op(&["s"], "/d/");
        let copied = |previous| run(cx, &op, inputs, &plan(cx, &op, inputs).unwrap(), previous).unwrap();
        let first = bench.layer(&trees, &base, copied(None));
        let layer = first.layers.last().unwrap();
        let old = bench.store.layer_fs(layer).unwrap().join("d");

        fs::write(context.join("s/text"), "TEXT").unwrap();
        touch("text", Duration::new(1000, 7));
        fs::set_permissions(context.join("s/mode"), mode("600")).unwrap();
        touch("seconds", Duration::new(1001, 7));
        touch("nanos", Duration::new(1000, 8));
        rustix::fs::setxattr(context.join("s/xattr"), "user.note", b"x", rustix::fs::XattrFlags::empty()).unwrap();
        let second = copied(Some(layer));
        for name in names.into_iter().chain(["twin"]) {
            let (before, after) =
                (old.join(name).metadata().unwrap(), second.fs.join("d").join(name).metadata().unwrap());
            // A further name of a file is linked to the first one, wherever that is from.
            let linked = name.starts_with("same") || name == "twin";
            assert_eq!(before.ino() == after.ino(), linked, "{name}");
        }
        assert_eq!(fs::read(second.fs.join("d/text")).unwrap(), b"TEXT");
        assert_eq!(fs::read(old.join("text")).unwrap(), b"text", "the old layer stays as it was");
        let second = bench.layer(&trees, &base, second);
        let anew = bench.layer(&trees, &base, copied(None));
        assert_eq!(second, anew, "linked or copied, it is the same layer");
    });
}

#[test]
fn a_layer_that_is_gone_is_no_hindrance() {
    let bench = bench();
    sketch(&bench.context(), &["f f 644 x"]);
    let trees = Trees::new(&bench.store);
    let base = bench.rootfs(&trees, &[]);
    bench.with(&trees, &[base], |cx, inputs| {
        let op = copy_op(&["f"], "/f");
        let planned = plan(cx, &op, inputs).unwrap();
        let written = run(cx, &op, inputs, &planned, Some(&crate::base::Digest::of(b"gone"))).unwrap();
        assert_eq!(fs::read(written.fs.join("f")).unwrap(), b"x");
    });
}
