//! `rbuild manifest`: indexes made by hand.

use super::failure::{Code, Failure};
use super::{Session, values};
use crate::export::document::{self, Document};
use crate::export::index;
use crate::export::listing::{HandMade, Notes};
use crate::export::{Packing, images};
use crate::image::Reference;
use crate::net::transfer::News;
use crate::registry::{self, Keyring, Registries};
use crate::store::{Access, Store};
use crate::ui::out;
use crate::ui::progress::Progress;
use clap::{Args, Subcommand};
use serde_json::Value;
use std::collections::BTreeMap;

/// Arguments of `manifest`.
#[derive(Debug, Args)]
#[command(after_help = "\
An index is a name for images of several platforms. `rbuild build --platform a,b` makes one; these commands put together
what was built on several machines. See docs/platforms.md.

Examples:
  rbuild manifest create me/app me/app:amd64 me/app:arm64
  rbuild manifest add --arch arm --variant v6 me/app me/app:pi
  rbuild manifest annotate --os-version 10.0 me/app me/app:amd64
  rbuild manifest inspect me/app
  rbuild manifest push me/app ghcr.io/me/app:1.2
  rbuild manifest rm me/app")]
pub struct ManifestListArgs {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make an index of images of the store
    Create(Create),
    /// Add images to an index
    Add(Add),
    /// Change what an index says of an image
    Annotate(Annotate),
    /// Take an image out of an index
    Remove {
        /// The index
        #[arg(value_name = "INDEX")]
        index: String,
        /// The image: its digest, a name of it, or its platform
        #[arg(value_name = "IMAGE")]
        image: String,
    },
    /// Print an index, or an image's manifest, as JSON
    Inspect {
        /// The index
        #[arg(value_name = "INDEX")]
        index: String,
    },
    /// Push an index and its images
    Push(Push),
    /// Remove indexes; their images stay where they have names
    Rm {
        /// The indexes
        #[arg(value_name = "INDEX", required = true)]
        indexes: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// Add to an index of that name, if there is one
    #[arg(short, long)]
    amend: bool,

    /// Of an index all its images, not only this machine's
    #[arg(long)]
    all: bool,

    /// An annotation of the index
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = pair)]
    annotations: Vec<(String, String)>,

    /// The index's name
    #[arg(value_name = "INDEX")]
    index: String,

    /// Images of the store
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Debug, Args)]
struct Add {
    /// Of an index all its images, not only this machine's
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    notes: NoteArgs,

    /// The index
    #[arg(value_name = "INDEX")]
    index: String,

    /// Images of the store
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

#[derive(Debug, Args)]
struct Annotate {
    #[command(flatten)]
    notes: NoteArgs,

    /// The index
    #[arg(value_name = "INDEX")]
    index: String,

    /// The image: its digest, a name of it, or its platform; none: the annotations are those of the index
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
}

/// What an entry says.
#[derive(Debug, Args)]
struct NoteArgs {
    /// The system it is for
    #[arg(long, value_name = "OS")]
    os: Option<String>,

    /// The machine it is for
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,

    /// Which of that machine's variants
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,

    /// The version of the system
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,

    /// What the system must have
    #[arg(long = "os-features", value_name = "FEATURE", value_delimiter = ',')]
    os_features: Vec<String>,

    /// An annotation
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = pair)]
    annotations: Vec<(String, String)>,
}

#[derive(Debug, Args)]
struct Push {
    /// Remove the index when it is pushed
    #[arg(short, long, visible_alias = "rm")]
    purge: bool,

    /// Accepted as podman has it; all images are pushed anyway
    #[arg(long, hide = true)]
    all: bool,

    /// Print only the digest
    #[arg(short, long)]
    quiet: bool,

    /// The index
    #[arg(value_name = "INDEX")]
    index: String,

    /// The name to push to, if it is another
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

impl NoteArgs {
    fn notes(&self) -> Notes {
        // As in --platform: machines have many names.
        let arch = self.arch.as_deref().and_then(|arch| values::platform(arch).ok());
        Notes {
            os: self.os.clone(),
            arch: arch.as_ref().map(|platform| platform.arch.clone()).or(self.arch.clone()),
            variant: self.variant.clone().or(arch.map(|platform| platform.variant).filter(|v| !v.is_empty())),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            annotations: self.annotations.iter().cloned().collect(),
        }
    }
}

/// Does what is asked for.
pub fn run(args: &ManifestListArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(Access::Shared)?;
    match &args.act {
        Act::Create(create) => make(create, &store),
        Act::Add(add) => {
            let mut index = HandMade::open(&store, &add.index.parse()?)?;
            add.images.iter().try_for_each(|image| index.add(&store, image, add.all, &add.notes.notes()))?;
            keep(&index, &store)
        }
        Act::Annotate(Annotate { notes, index, image }) => {
            let mut index = HandMade::open(&store, &index.parse()?)?;
            match image {
                Some(image) => index.annotate(&store, image, &notes.notes())?,
                None => index.annotate_index(&notes.notes().annotations),
            }
            keep(&index, &store)
        }
        Act::Remove { index, image } => {
            let mut index = HandMade::open(&store, &index.parse()?)?;
            index.remove(&store, image)?;
            keep(&index, &store)
        }
        Act::Inspect { index } => inspect(index, &store),
        Act::Push(args) => push(args, &store, session),
        Act::Rm { indexes } => indexes.iter().try_for_each(|index| remove(index, &store)),
    }
}

fn keep(index: &HandMade, store: &Store) -> Result<(), Failure> {
    Ok(out::line(&index.store(store)?.to_string())?)
}

fn make(args: &Create, store: &Store) -> Result<(), Failure> {
    let name: Reference = args.index.parse()?;
    let mut index = match images::find_name(store, &name)? {
        None => HandMade::new(name),
        Some(_) if args.amend => HandMade::open(store, &name)?,
        Some(_) => {
            let failure = Failure::new(Code::Usage, format!("there is '{}' already", name.familiar()));
            return Err(failure.help("add to it with --amend, or remove it: `rbuild manifest rm`"));
        }
    };
    args.images.iter().try_for_each(|image| index.add(store, image, args.all, &Notes::default()))?;
    index.annotate_index(&args.annotations.iter().cloned().collect::<BTreeMap<_, _>>());
    keep(&index, store)
}

fn inspect(text: &str, store: &Store) -> Result<(), Failure> {
    let (digest, _) = images::resolve_root(store, text)?;
    let bytes = match document::read(store, &digest)? {
        Document::Index(index) => index.to_bytes(),
        Document::Manifest(manifest, _) => manifest.to_bytes(),
    };
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(out::line(&format!("{value:#}"))?)
}

fn push(args: &Push, store: &Store, session: &Session) -> Result<(), Failure> {
    let name: Reference = args.name.as_deref().unwrap_or(&args.index).parse()?;
    let (root, _) = images::resolve_root(store, &args.index)?;
    let chosen = index::chosen(store, &root, &[])?;
    let cancel = session.watch();
    let (settings, keyring) = (session.config.registries(), Keyring::from_environment());
    let progress = Progress::of_exchanges(args.quiet);
    let watch = |name: &str, news: News| progress.exchange(name, news);
    let registries = Registries { settings: &settings, keyring: &keyring, watch: &watch, cancel: &cancel };
    let pushed = registry::push(store, &chosen, &name, Packing::GZIP, &registries)?;
    progress.finish();
    out::line(&pushed.digest.to_string())?;
    if args.purge { remove(&args.index, store) } else { Ok(()) }
}

fn remove(text: &str, store: &Store) -> Result<(), Failure> {
    let name: Reference = text.parse()?;
    HandMade::open(store, &name)?;
    for name in images::remove(store, text, false)?.untagged {
        out::line(&format!("Untagged: {name}"))?;
    }
    Ok(())
}
