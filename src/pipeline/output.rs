//! Where a result goes besides the store.

use super::{BuildError, BuildRequest, Target};
use crate::base::{Cancel, Digest, fs};
use crate::export::index::{self, Chosen, Whole};
use crate::export::save::{self, Selected};
use crate::export::{ExportError, Image, Packing, images, output, referrers, rootfs, variant};
use crate::image::annotation;
use crate::image::reference::Reference;
use crate::image::{Annotation, annotation::Level};
use crate::net::transfer::Watch;
use crate::registry::{self, Registries};
use crate::store::Store;
use std::path::{Path, PathBuf};

/// Where a result goes besides the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// In which form.
    pub kind: OutputKind,
    /// File or directory; `None`: standard output.
    pub dest: Option<PathBuf>,
    /// For `oci`: one tar file (true) or a directory layout.
    pub tar: bool,
    /// Names that the image gets here; none: those of the build.
    pub names: Vec<String>,
    /// For images: they are pushed under these names.
    pub push: bool,
    /// How layers are packed; `None`: as is usual there.
    pub packing: Option<Packing>,
    /// Annotations that the image has here, beside those of the build.
    pub annotations: Vec<Annotation>,
    /// Docker's media types instead of OCI's.
    pub docker_types: bool,
    /// Times are to be rewritten, which wants a date.
    pub rewrite_timestamp: bool,
}

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// An image in the store, which may be pushed.
    Image,
    /// OCI layout.
    Oci,
    /// Docker archive.
    Docker,
    /// The root filesystem as one tar.
    Tar,
    /// The root filesystem as files in a directory.
    Local,
}

/// A name that an image was pushed to, and the digest of its manifest there.
pub type PushedTo = (Reference, Digest);

impl Output {
    /// An output without options.
    pub fn new(kind: OutputKind, dest: Option<PathBuf>) -> Output {
        Output {
            kind,
            dest,
            tar: true,
            names: Vec::new(),
            push: false,
            packing: None,
            annotations: Vec::new(),
            docker_types: false,
            rewrite_timestamp: false,
        }
    }

    /// Whether it is written to standard output.
    pub fn is_to_stdout(&self) -> bool {
        self.kind != OutputKind::Image && self.dest.is_none()
    }

    /// For people: `exporting OCI archive to x.tar`.
    fn describe(&self, names: &[Reference]) -> String {
        let form = match (self.kind, self.tar) {
            (OutputKind::Image, _) => {
                let names: Vec<String> = names.iter().map(Reference::familiar).collect();
                return format!("{} {}", if self.push { "pushing" } else { "naming" }, names.join(", "));
            }
            (OutputKind::Oci, true) => "OCI archive",
            (OutputKind::Oci, false) => "OCI layout",
            (OutputKind::Docker, _) => "docker archive",
            (OutputKind::Tar, _) => "root filesystem tar",
            (OutputKind::Local, _) => "root filesystem",
        };
        let dest = self.dest.as_ref().map_or("standard output".into(), |d| d.display().to_string());
        format!("exporting {form} to {dest}")
    }

    /// The names that the image gets here.
    fn named(&self, tags: &[Reference]) -> Result<Vec<Reference>, BuildError> {
        let own = self.names.iter().map(|name| name.parse()).collect::<Result<Vec<Reference>, _>>()?;
        Ok(if own.is_empty() { tags.to_vec() } else { own })
    }
}

/// Writes outputs of one target.
pub(super) struct Writer<'w> {
    pub request: &'w BuildRequest,
    pub store: &'w Store,
    /// What the target is told to name its result.
    pub tags: &'w [Reference],
    /// Who is told of each thing that takes a while.
    pub tell: &'w (dyn Fn(&str) + Sync),
    /// Who is told of pushes.
    pub watch: &'w Watch<'w>,
}

impl Writer<'_> {
    /// Writes the image `manifest` where `output` says; where it was pushed to.
    pub fn write(&self, output: &Output, manifest: &Digest) -> Result<Vec<PushedTo>, BuildError> {
        let names = output.named(self.tags)?;
        (self.tell)(&output.describe(&names));
        match output.kind {
            OutputKind::Image => self.image(output, manifest, &names),
            _ => self.archive(output, manifest, names).map(|()| Vec::new()),
        }
    }

    /// The result as this output has it.
    fn chosen(&self, output: &Output, root: &Digest) -> Result<Chosen, BuildError> {
        let Chosen { image, whole } = index::chosen(self.store, root, &[])?;
        let Some(whole) = whole else {
            return Ok(Chosen { image: self.variant(output, &image.manifest_digest)?, whole: None });
        };
        let mut images = Vec::new();
        for (listed, platform) in whole.index.images() {
            let image = self.variant(output, &listed.digest)?;
            images.push((platform.unwrap_or_default(), image.manifest_digest));
        }
        let mut annotations = whole.index.annotations.clone();
        annotations.extend(annotation::of_index(&output.annotations));
        let index = index::write(self.store, &images, annotations)?;
        Ok(index::chosen(self.store, &index, &[])?)
    }

    /// One image as this output has it.
    fn variant(&self, output: &Output, manifest: &Digest) -> Result<Image, BuildError> {
        let image = images::read(self.store, manifest)?;
        let annotations = annotation::of_manifest(&output.annotations, &image.config.platform());
        let mut image = variant::annotated(self.store, manifest, &annotations)?;
        if output.docker_types {
            image = variant::with_docker_types(self.store, image)?;
        }
        referrers::carry_over(self.store, manifest, &image)?;
        Ok(image)
    }

    fn image(&self, output: &Output, manifest: &Digest, names: &[Reference]) -> Result<Vec<PushedTo>, BuildError> {
        let chosen = self.chosen(output, manifest)?;
        for name in names {
            images::tag(self.store, &chosen.root(), name)?;
        }
        if !output.push {
            return Ok(Vec::new());
        }
        let (settings, keyring) = (&self.request.pulling.settings, &self.request.pulling.keyring);
        let packing = output.packing.unwrap_or(Packing::GZIP);
        let registries = Registries { settings, keyring, watch: self.watch, cancel: &self.request.cancel };
        let push = |name: &Reference| {
            let pushed = registry::push(self.store, &chosen, name, packing, &registries)?;
            let registry::Pushed { digest, sent, present, .. } = pushed;
            (self.tell)(&format!("pushed {}@{digest} ({sent} blobs sent, {present} present)", name.familiar()));
            Ok((name.clone(), digest))
        };
        names.iter().map(push).collect()
    }

    fn archive(&self, output: &Output, manifest: &Digest, names: Vec<Reference>) -> Result<(), BuildError> {
        let Writer { store, request, .. } = self;
        let (dest, cancel) = (output.dest.as_deref(), &request.cancel);
        let chosen = self.chosen(output, manifest)?;
        let plain: Vec<Digest> = chosen.images().iter().map(|image| image.manifest_digest).collect();
        let Chosen { mut image, mut whole } = chosen;
        let layers = image.config.rootfs.diff_ids.clone();
        let mut files = variant::Files::new();
        // Ends when everything is written.
        let mut _dir = None;
        if let (Some(packing), OutputKind::Oci) = (&output.packing, output.kind) {
            let dir = store.temp_dir()?;
            match &mut whole {
                None => (image, files) = variant::packed(store, image, packing, dir.path(), cancel)?,
                Some(whole) => files = packed_index(store, whole, packing, dir.path(), cancel)?,
            }
            _dir = Some(dir);
        }
        if let (OutputKind::Local, Some(dest), Some(whole)) = (output.kind, dest, &whole) {
            return platform_dirs(store, whole, dest, cancel);
        }
        let chosen = Chosen { image, whole };
        let mut said = Vec::new();
        for (plain, image) in plain.iter().zip(chosen.images()) {
            said.extend(referrers::adapted(store, plain, &image.descriptor())?);
        }
        let Chosen { image, whole } = chosen;
        let selected = [Selected { image, names, files, said, whole }];
        let format = match (output.kind, dest) {
            (OutputKind::Local, Some(dest)) => return Ok(rootfs::write_dir(store, &layers, dest, cancel).map(drop)?),
            (OutputKind::Oci, Some(dest)) if !output.tar => {
                return Ok(save::save_layout(store, &selected, dest, cancel)?);
            }
            (OutputKind::Docker, _) => Some(save::Format::Docker),
            (OutputKind::Oci, _) => Some(save::Format::Oci),
            (OutputKind::Tar | OutputKind::Local | OutputKind::Image, _) => None,
        };
        let mut out = output::Output::create(dest)?;
        match format {
            Some(format) => save::save(store, &selected, format, &mut out, cancel)?,
            None => rootfs::write_tar(store, &layers, &mut out, cancel)?,
        }
        Ok(out.finish().map_err(ExportError::from)?)
    }
}

/// Packs the layers of all images of an index, which becomes one of the packed images.
fn packed_index(
    store: &Store,
    whole: &mut Whole,
    packing: &Packing,
    dir: &Path,
    cancel: &Cancel,
) -> Result<variant::Files, BuildError> {
    let mut files = variant::Files::new();
    let mut listed = Vec::new();
    for ((_, platform), image) in whole.index.images().zip(&whole.images) {
        let (image, more) = variant::packed(store, image.clone(), packing, dir, cancel)?;
        files.extend(more);
        listed.push((platform.unwrap_or_default(), image.manifest_digest));
    }
    let index = index::write(store, &listed, whole.index.annotations.clone())?;
    if let Some(packed) = index::chosen(store, &index, &[])?.whole {
        *whole = packed;
    }
    Ok(files)
}

/// The root filesystem of each image of an index in a directory of its own, `linux_arm64`, as buildx has it.
fn platform_dirs(store: &Store, whole: &Whole, dest: &Path, cancel: &Cancel) -> Result<(), BuildError> {
    for ((_, platform), image) in whole.index.images().zip(&whole.images) {
        let name = platform.unwrap_or_default().to_string().replace('/', "_");
        let dir = dest.join(name);
        fs::create_dir_all(&dir)?;
        rootfs::write_dir(store, &image.config.rootfs.diff_ids, &dir, cancel)?;
    }
    Ok(())
}

/// What a target asks of outputs that its result can't give; before anything is built.
pub(super) fn check(target: &Target) -> Result<(), BuildError> {
    let refused = |reason: &str| Err(BuildError::Outputs(reason.to_owned()));
    for output in &target.outputs {
        if output.push && output.names.is_empty() && target.tags.is_empty() {
            return refused("a push needs a name: -t NAME, or -o type=registry,name=NAME");
        }
        if output.rewrite_timestamp && target.epoch.is_none() {
            return refused("rewrite-timestamp=true needs a date: SOURCE_DATE_EPOCH, or --reproducible");
        }
    }
    if target.platforms.len() > 1 {
        let one = target.outputs.iter().find(|o| matches!(o.kind, OutputKind::Docker | OutputKind::Tar));
        return match one {
            Some(_) => refused("this form of output holds one platform: use type=oci, or one --platform"),
            None => Ok(()),
        };
    }
    let all = target.annotations.iter().chain(target.outputs.iter().flat_map(|output| &output.annotations));
    if let Some(annotation) = all.into_iter().find(|a| a.level == Level::Index) {
        return refused(&format!("'{}' is to annotate an index, and a single image has none", annotation.key));
    }
    Ok(())
}
