//! Where a result goes besides the store.

use crate::base::Cancel;
use crate::export::output;
use crate::export::save::{self, Selected};
use crate::export::{ExportError, assemble, images, rootfs};
use crate::image::reference::Reference;
use crate::store::Store;
use std::path::PathBuf;

/// Where a result goes besides the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// In which form.
    pub kind: OutputKind,
    /// File or directory; `None`: standard output.
    pub dest: Option<PathBuf>,
    /// For `oci`: one tar file (true) or a directory layout.
    pub tar: bool,
}

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// OCI layout.
    Oci,
    /// Docker archive.
    Docker,
    /// The root filesystem as one tar.
    Tar,
    /// The root filesystem as files in a directory.
    Local,
}

/// Writes the image where `output` says.
pub(super) fn write(
    output: &Output,
    store: &Store,
    image: &assemble::Written,
    tags: &[Reference],
    cancel: &Cancel,
) -> Result<(), ExportError> {
    let dest = output.dest.as_deref();
    let image = images::read(store, &image.manifest)?;
    let layers = image.config.rootfs.diff_ids.clone();
    let selected = [Selected { image, names: tags.to_vec() }];
    let format = match (output.kind, dest) {
        (OutputKind::Local, Some(dest)) => return rootfs::write_dir(store, &layers, dest, cancel).map(drop),
        (OutputKind::Oci, Some(dest)) if !output.tar => return save::save_layout(store, &selected, dest, cancel),
        (OutputKind::Docker, _) => Some(save::Format::Docker),
        (OutputKind::Oci, _) => Some(save::Format::Oci),
        (OutputKind::Tar | OutputKind::Local, _) => None,
    };
    let mut out = output::Output::create(dest)?;
    match format {
        Some(format) => save::save(store, &selected, format, &mut out, cancel)?,
        None => rootfs::write_tar(store, &layers, &mut out, cancel)?,
    }
    Ok(out.finish()?)
}

impl Output {
    /// For people: `exporting oci archive to x.tar`.
    pub(super) fn describe(&self) -> String {
        let form = match (self.kind, self.tar) {
            (OutputKind::Oci, true) => "OCI archive",
            (OutputKind::Oci, false) => "OCI layout",
            (OutputKind::Docker, _) => "docker archive",
            (OutputKind::Tar, _) => "root filesystem tar",
            (OutputKind::Local, _) => "root filesystem",
        };
        let dest = self.dest.as_ref().map_or("standard output".into(), |d| d.display().to_string());
        format!("exporting {form} to {dest}")
    }
}
