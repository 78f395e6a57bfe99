//! `rbuild save`.

use super::failure::Failure;
use super::{Session, values};
use crate::export::index::{self, Chosen};
use crate::export::output::Output;
use crate::export::save::{Format, Selected, save, save_layout};
use crate::export::variant::Files;
use crate::export::{images, referrers};
use crate::image::{Platform, Reference};
use crate::store::Access;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Arguments of `save`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rbuild save app -o app.tar                    docker and podman load it
  rbuild save app | zstd > app.tar.zst
  rbuild save app db:1 -o both.tar              several images, shared layers once
  rbuild save --format oci-dir app -o layout    an OCI layout as a directory")]
pub struct SaveArgs {
    /// Names, image IDs or prefixes of IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// The file to write; `-` or none: standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Of an index only these platforms [default: all; this machine's in a docker archive]
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',', value_parser = values::platform)]
    platforms: Vec<Platform>,

    /// The form of the archive
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Form::OciArchive)]
    format: Form,
}

/// Forms by podman's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// An OCI layout in a tar, which docker reads too
    #[value(alias = "oci")]
    OciArchive,
    /// An OCI layout as a directory
    OciDir,
    /// The docker archive of old
    #[value(alias = "docker")]
    DockerArchive,
}

/// Writes images to an archive.
pub fn run(args: &SaveArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(Access::Shared)?;
    let mut selected = Vec::with_capacity(args.images.len());
    for text in &args.images {
        let (root, names) = images::resolve_root(&store, text)?;
        let chosen = match (args.format, &args.platforms[..]) {
            // It has no form for several platforms.
            (Form::DockerArchive, []) => index::chosen(&store, &root, &[Platform::default()])?,
            (_, platforms) => index::chosen(&store, &root, platforms)?,
        };
        let mut said = Vec::new();
        for image in chosen.images() {
            said.extend(referrers::of(&store, &image.manifest_digest)?);
        }
        let Chosen { image, whole } = chosen;
        selected.push(Selected { image, names: named(text, &names), files: Files::new(), said, whole });
    }
    let cancel = session.watch();
    let format = match args.format {
        Form::OciDir => {
            let Some(directory) = args.output.as_ref().filter(|path| path.as_os_str() != "-") else {
                return Err(Failure::usage("an OCI layout needs a directory").help("name one with `-o DIR`"));
            };
            return Ok(save_layout(&store, &selected, directory, &cancel)?);
        }
        Form::OciArchive => Format::Oci,
        Form::DockerArchive => Format::Docker,
    };
    let mut out = Output::create(args.output.as_deref())?;
    save(&store, &selected, format, &mut out, &cancel)?;
    Ok(out.finish()?)
}

/// The names that go along: the one that was asked for. An image asked for by its ID goes without, as docker has it.
fn named(text: &str, names: &[Reference]) -> Vec<Reference> {
    let Ok(wanted) = text.parse::<Reference>() else { return Vec::new() };
    // What podman and buildah made is found without the `localhost/` that they put before it.
    let local: Option<Reference> = format!("localhost/{text}").parse().ok();
    names.iter().filter(|name| **name == wanted || Some(*name) == local.as_ref()).cloned().collect()
}
