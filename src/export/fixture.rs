//! Small stores, layers and images for the tests of this module.

use super::assemble::{HistoryLine, Written, assemble};
use super::images;
use crate::base::{Cancel, Digest};
use crate::image::ImageConfig;
use crate::layer::scan;
use crate::store::layers::{LayerInfo, NewLayer};
use crate::store::{Access, Store};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};
use std::path::Path;

/// A store in a directory that lives as long as it does.
pub struct TestStore {
    pub store: Store,
    pub dir: tempfile::TempDir,
}

pub fn store() -> TestStore {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), Access::Shared).unwrap();
    TestStore { store, dir }
}

/// Stores a layer, one path per line: `PATH/` a directory, `PATH=TEXT` a file, `PATH->TARGET` a symbolic link,
/// `PATH<-FIRST` a hard link, `-PATH` a removal, `!PATH` an opaque directory.
pub fn layer(store: &Store, lines: &[&str]) -> Digest {
    let tmp = store.temp_dir().unwrap();
    let fs = tmp.path().join("fs");
    std::fs::create_dir(&fs).unwrap();
    for line in lines {
        if let Some(path) = line.strip_prefix('-') {
            rustix::fs::mknodat(CWD, fs.join(path), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        } else if let Some(path) = line.strip_prefix('!') {
            std::fs::create_dir(fs.join(path)).unwrap();
            let dir = std::fs::File::open(fs.join(path)).unwrap();
            crate::layer::xattr::mark_opaque(&dir, Path::new(path)).unwrap();
        } else if let Some((path, target)) = line.split_once("->") {
            std::os::unix::fs::symlink(target, fs.join(path)).unwrap();
        } else if let Some((path, first)) = line.split_once("<-") {
            std::fs::hard_link(fs.join(first), fs.join(path)).unwrap();
        } else if let Some((path, text)) = line.split_once('=') {
            std::fs::write(fs.join(path), text).unwrap();
        } else {
            std::fs::create_dir(fs.join(line)).unwrap();
        }
    }
    // The clock is kept out of digests: what tests compare must not depend on when a second begins.
    let time = Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    for entry in walkdir::WalkDir::new(&fs).contents_first(true) {
        rustix::fs::utimensat(CWD, entry.unwrap().path(), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    let scanned = scan::scan(&fs, &scan::Known::new(), &Cancel::new()).unwrap();
    let info = LayerInfo {
        diff_id: scanned.diff_id,
        content: scanned.index.content_digest(),
        tar_size: scanned.tar_size,
        size: scanned.index.size(),
        created: 1_000_000_000,
        fresh_from: None,
        fs_of: None,
    };
    store.publish_layer(NewLayer { fs, index: scanned.index.encode(), recipe: None, info }).unwrap().diff_id
}

/// Stores an image of these layers; each name is given to it.
pub fn image(store: &Store, layers: &[Digest], names: &[&str]) -> Written {
    let mut config = ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..ImageConfig::default() };
    config.config.cmd = Some(vec!["/bin/sh".into()]);
    let line = |layer: &Digest| HistoryLine {
        created_by: format!("RUN {}", layer.short()),
        layer: Some(*layer),
        created: Some(1_000_000_000),
    };
    let history: Vec<HistoryLine> = layers.iter().map(line).collect();
    let written = assemble(store, config, Vec::new(), &history, layers, None).unwrap();
    for name in names {
        images::tag(store, &written.manifest, &name.parse().unwrap()).unwrap();
    }
    written
}
