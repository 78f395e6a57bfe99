//! Where a result goes besides the store.

use super::{BuildError, BuildRequest, Target};
use crate::base::Digest;
use crate::export::save::{self, Selected};
use crate::export::{ExportError, Image, Packing, images, output, referrers, rootfs, variant};
use crate::image::annotation;
use crate::image::reference::Reference;
use crate::image::{Annotation, annotation::Level};
use crate::net::transfer::Watch;
use crate::registry::{self, Registries};
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

    /// The image as this output has it.
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
        let image = self.variant(output, manifest)?;
        for name in names {
            images::tag(self.store, &image.manifest_digest, name)?;
        }
        if !output.push {
            return Ok(Vec::new());
        }
        let (settings, keyring) = (&self.request.pulling.settings, &self.request.pulling.keyring);
        let packing = output.packing.unwrap_or(Packing::GZIP);
        let registries = Registries { settings, keyring, watch: self.watch, cancel: &self.request.cancel };
        let push = |name: &Reference| {
            let pushed = registry::push(self.store, &image, name, packing, &registries)?;
            let registry::Pushed { digest, sent, present, .. } = pushed;
            (self.tell)(&format!("pushed {}@{digest} ({sent} blobs sent, {present} present)", name.familiar()));
            Ok((name.clone(), digest))
        };
        names.iter().map(push).collect()
    }

    fn archive(&self, output: &Output, manifest: &Digest, names: Vec<Reference>) -> Result<(), BuildError> {
        let Writer { store, request, .. } = self;
        let (dest, cancel) = (output.dest.as_deref(), &request.cancel);
        let mut image = self.variant(output, manifest)?;
        let plain = image.manifest_digest;
        let layers = image.config.rootfs.diff_ids.clone();
        let mut files = variant::Files::new();
        // Ends when everything is written.
        let mut _dir = None;
        if let (Some(packing), OutputKind::Oci) = (&output.packing, output.kind) {
            let dir = store.temp_dir()?;
            (image, files) = variant::packed(store, image, packing, dir.path(), cancel)?;
            _dir = Some(dir);
        }
        let said = referrers::adapted(store, &plain, &image.descriptor())?;
        let selected = [Selected { image, names, files, said }];
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
    let all = target.annotations.iter().chain(target.outputs.iter().flat_map(|output| &output.annotations));
    if let Some(annotation) = all.into_iter().find(|a| a.level == Level::Index) {
        return refused(&format!("'{}' is to annotate an index, and a single image has none", annotation.key));
    }
    Ok(())
}
