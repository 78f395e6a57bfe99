//! WORKDIR: a directory made if missing (dockerfile.md 1.9), straight into a layer directory.
//!
//! The key holds what the act reads of the tree and no more: where the path really leads, and, if something has to be
//! made, the directories it is made in and the ids of USER.

use super::key::Preimage;
use super::source::{components, join};
use super::upper::{Meta, Upper};
use super::{Cx, Inputs, OpError, Written, user};
use crate::base::clock;
use crate::graph::MkdirOp;
use crate::tree::View;
use crate::tree::view::Found;

/// A WORKDIR ready to be looked up and, if need be, run.
#[derive(Debug)]
pub struct Planned {
    /// What enters the key.
    pub preimage: Preimage,
    /// Warnings; none so far.
    pub warnings: Vec<String>,
    /// The path is the root, which is always there: the step makes no layer.
    pub is_root: bool,
    path: Vec<u8>,
    /// Who owns what is made; `None`: nothing is missing.
    owner: Option<(u32, u32)>,
}

/// Resolves the path on the base's tree.
pub fn plan(cx: &Cx<'_>, op: &MkdirOp, inputs: &Inputs<'_>) -> Result<Planned, OpError> {
    let view = View::new(cx.trees, inputs(op.base));
    let (path, existing) = resolve(&view, op.path.as_bytes(), &op.path)?;
    let mut preimage = Preimage::new("mkdir");
    preimage.part("path", op.path.as_str()).part("real path", quote(&path));
    let owner = match &existing {
        Some(_) => None,
        None => {
            // By the rules of --chown: a number alone is also the group, unlike for a process (as in BuildKit).
            let (uid, gid) = match op.user.as_str() {
                "" => (0, 0),
                user => user::chown(&view, user).map_err(|e| e.about(user))?,
            };
            parents(&view, &path)?.iter().for_each(|p| {
                preimage.part(format!("parent /{}", quote(&p.path)), describe_dir(p));
            });
            preimage.part("owner", format!("{uid}:{gid}"));
            Some((uid, gid))
        }
    };
    let is_root = path.is_empty();
    Ok(Planned { preimage, warnings: Vec::new(), is_root, path, owner })
}

/// Writes the layer directory; one with nothing in it if the directory was there.
pub fn run(cx: &Cx<'_>, op: &MkdirOp, inputs: &Inputs<'_>, planned: &Planned) -> Result<Written, OpError> {
    let mut upper = Upper::create(cx.store, Some(View::new(cx.trees, inputs(op.base))))?;
    if let Some((uid, gid)) = planned.owner {
        let made = Meta { mode: 0o755, uid, gid, mtime: (clock::now(), 0), xattrs: Vec::new() };
        upper.ensure_dir(&planned.path, &made)?;
    }
    upper.finish()
}

/// Where `path` really leads, and the directory there if there is one; anything else there is an error.
fn resolve(view: &View<'_>, path: &[u8], shown: &str) -> Result<(Vec<u8>, Option<Found>), OpError> {
    let (real, existing) = view.resolve_for_write(path)?;
    match existing {
        Some(found) if !found.is_dir() => {
            Err(OpError::input("workdir-not-a-directory", format!("`{shown}` is in the image, but is no directory"))
                .about(shown))
        }
        existing => Ok((real, existing)),
    }
}

/// The directories above `path` that exist, the root first. They come up into the layer with the metadata they have,
/// so that enters the key.
pub(super) fn parents(view: &View<'_>, path: &[u8]) -> Result<Vec<Found>, OpError> {
    let mut all = Vec::new();
    let mut here = Vec::new();
    let mut names = components(path);
    loop {
        match view.find(&here, false)? {
            Some(found) if found.is_dir() => all.push(found),
            _ => return Ok(all),
        }
        match names.next() {
            Some(name) => here = join(&here, name),
            None => return Ok(all),
        }
    }
}

/// Metadata of a directory in a key.
pub(super) fn describe_dir(found: &Found) -> String {
    let entry = &found.entry.entry;
    let mut text = format!("dir {:04o} {}:{}", entry.mode, entry.uid, entry.gid);
    for (key, value) in &entry.xattrs {
        text.push_str(&format!(" {}={}", quote(key), crate::base::Digest::of(value)));
    }
    text
}

/// Bytes as text, no two different ones alike: UTF-8 as it is, a backslash and all else as `\xNN`.
pub(super) fn quote(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|b| text.push_str(&format!("\\x{b:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::quote;
    use super::{plan, run};
    use crate::graph::{MkdirOp, StepId};
    use crate::ops::OpError;
    use crate::ops::fixture::{bench, listing};
    use crate::tree::Trees;

    #[test]
    fn quoted_paths_are_readable_and_never_run_together() {
        assert_eq!(quote("src/größe.c".as_bytes()), "src/größe.c");
        assert_ne!(quote(b"a\xff"), quote(b"a\\xff"));
        assert_eq!(quote(b"a\xff"), "a\\xff");
    }

    #[test]
    fn a_workdir_makes_what_is_missing_and_belongs_to_the_user() {
        let passwd = "etc/passwd f 644 app:x:1000:1001::/home/app:/bin/sh\n";
        let bench = bench();
        let trees = Trees::new(&bench.store);
        for (path, base, expected) in [
            (
                "/srv/a/b",
                &["srv d9:9 700"][..],
                &["srv d9:9 700", "srv/a d1000:1001 755", "srv/a/b d1000:1001 755"][..],
            ),
            ("/link/b", &["real d 755", "link l real"], &["real/b d1000:1001 755", "link l real"]),
            ("/srv", &["srv d9:9 700"], &["srv d9:9 700"]),
        ] {
            let base = bench.rootfs(&trees, &[base, &[passwd]].concat());
            bench.with(&trees, std::slice::from_ref(&base), |cx, inputs| {
                let op = MkdirOp { base: StepId(0), path: path.into(), user: "app".into() };
                let planned = plan(cx, &op, inputs).unwrap();
                assert!(!planned.is_root);
                let result = bench.layer(&trees, &base, run(cx, &op, inputs, &planned).unwrap());
                let lines = listing(&trees, &result);
                assert!(expected.iter().all(|e| lines.iter().any(|l| l == e)), "{path}: {lines:#?}");
            });
        }
        let base = bench.rootfs(&trees, &["f f 644 F"]);
        bench.with(&trees, &[base], |cx, inputs| {
            let at =
                |path: &str| plan(cx, &MkdirOp { base: StepId(0), path: path.into(), user: String::new() }, inputs);
            assert!(at("/").unwrap().is_root);
            assert!(matches!(at("/f"), Err(OpError::Input { code: "workdir-not-a-directory", .. })));
            assert!(at("/f/x").is_err());
        });
    }
}
