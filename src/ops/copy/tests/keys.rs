//! What changes the key of a COPY, and what does not.

use crate::base::Digest;
use crate::graph::CopyOp;
use crate::ops::fixture::{bench, copy_from, copy_op, mode, sketch};
use std::fs;

#[test]
fn the_key_holds_what_the_copy_reads_and_nothing_else() {
    let base = &["etc/passwd f 644 root:x:0:0::/:/\n", "app d 755", "usr/x f 644 1"][..];
    let bench = bench();
    let context = bench.context();
    sketch(&context, &["s/a f 644 A", "s/b f 600 B", "other f 644 O"]);
    let op = copy_op(&["s"], "/app/");
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
    differs("another destination", bench.key(base, &[], &copy_op(&["s"], "/usr/")));
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
