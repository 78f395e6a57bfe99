//! Several targets in one build.

use super::*;
use crate::base::Cancel;
use std::sync::Mutex;

fn target(name: &str, dir: &std::path::Path, text: &str) -> Target {
    let file = DockerfileInput { name: format!("{name}.Dockerfile"), bytes: text.into(), path: None };
    Target { name: name.into(), ..Target::new(file, Some(dir.to_owned())) }
}

fn request(root: &std::path::Path, targets: Vec<Target>) -> BuildRequest {
    BuildRequest {
        root: root.to_owned(),
        targets,
        secrets: Default::default(),
        run: Default::default(),
        pulling: Pulling::default(),
        caching: Default::default(),
        no_cache: false,
        explain: false,
        jobs: None,
        snapshotter: Default::default(),
        cancel: Cancel::new(),
    }
}

/// A directory with a store and two contexts, `one` and `two`, each with a file `a` that holds its name.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("a"), name).unwrap();
    }
    dir
}

#[test]
fn targets_share_steps_and_stand_on_each_other() {
    let place = place();
    let (one, two) = (place.path().join("one"), place.path().join("two"));
    let ops = target("ops", &one, "FROM scratch\nCOPY a /a\nENV OPS=yes\n");
    let site = target("site", &two, "FROM ops\nCOPY a /b\nCOPY --from=ops /a /c\n");
    let site = Target { contexts: vec![BuildContext { name: "ops".into(), origin: Origin::Target(0) }], ..site };
    // Another file that begins as the first does.
    let more = target("more", &one, "FROM scratch AS base\nCOPY a /a\nFROM base\nCOPY a /more\n");
    let request = request(&place.path().join("store"), vec![ops, site, more]);

    let labels = Mutex::new(Vec::new());
    let sink = |event: Event| {
        if let Event::Planned { steps } = event {
            labels.lock().unwrap().extend(steps.into_iter().map(|step| step.label));
        }
    };
    let results = build(&request, &sink).unwrap();
    assert_eq!(
        labels.into_inner().unwrap(),
        [
            "[ops 1/2] FROM scratch",
            "[ops 2/2] COPY a /a",
            "[site 1/2] COPY a /b",
            "[site 2/2] COPY --from=ops /a /c",
            "[more stage-1 1/1] COPY a /more",
        ]
    );
    let store = Store::open(&request.root, Access::Shared).unwrap();
    let read: Vec<_> = results.iter().map(|result| images::read(&store, &result.manifest).unwrap()).collect();
    let layers: Vec<_> = read.iter().map(|image| image.config.rootfs.diff_ids.clone()).collect();
    assert_eq!(layers.iter().map(Vec::len).collect::<Vec<_>>(), [1, 3, 2]);
    assert!(layers.iter().all(|list| list[0] == layers[0][0]));
    assert!(read[1].config.config.env.as_ref().unwrap().contains(&"OPS=yes".to_owned()));
    let file = |layer: &Digest, name: &str| std::fs::read_to_string(store.layer_fs(layer).unwrap().join(name)).unwrap();
    assert_eq!((file(&layers[1][1], "b"), file(&layers[1][2], "c")), ("two".into(), "one".into()));
}

#[test]
fn a_failed_step_is_told_in_the_file_it_stands_in() {
    let place = place();
    let ops = target("ops", &place.path().join("one"), "FROM scratch\nCOPY a /a\n");
    let site = target("site", &place.path().join("two"), "FROM scratch\n\nCOPY missing /\n");
    let error = build(&request(&place.path().join("store"), vec![ops, site]), &|_| {}).unwrap_err();
    let BuildError::Step { diagnostic, .. } = error else { panic!("{error:?}") };
    let source = diagnostic.source.as_ref().unwrap();
    assert_eq!(source.name(), "site.Dockerfile");
    assert_eq!(source.position(diagnostic.labels[0].span.start).0, 3);
}
