//! `rbuild build`.

use super::manifest::ManifestArgs;
use super::values::{KeyMaybeValue, SecretArg, network, output};
use crate::graph::Network;
use crate::pipeline::Output;
use crate::snapshot::Choice;
use crate::ui::progress::Style;
use clap::Args;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Flags of `build`, as docker has them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rbuild -t hello .                                   the same as `rbuild build -t hello .`
  rbuild build -t app -f docker/Dockerfile --target prod .
  rbuild build -t app --build-arg VERSION=1.2 --secret id=token,src=token.txt .
  rbuild build -t hello --build-context host=/ .      COPY --from=host reads this machine's files
  rbuild build -o type=oci,dest=app.tar .             an archive that docker and podman load
  rbuild build -o out .                               the root filesystem as a directory
  id=$(rbuild build -q .)                             the image ID alone
  rbuild build -f - . < Dockerfile                    the Dockerfile from standard input")]
pub struct BuildArgs {
    /// Name the image: NAME[:TAG]; may be given many times
    #[arg(short, long = "tag", value_name = "NAME")]
    pub tags: Vec<String>,

    /// Which Dockerfile, and what it is given.
    #[command(flatten)]
    pub manifest: ManifestArgs,

    /// A secret for RUN --mount=type=secret: id=ID[,src=FILE|,env=VAR]
    #[arg(long = "secret", value_name = "SECRET", value_parser = SecretArg::parse)]
    pub secrets: Vec<SecretArg>,

    /// A label of the image; wins over the Dockerfile's LABEL
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = KeyMaybeValue::parse)]
    pub labels: Vec<KeyMaybeValue>,

    /// Run every step, whatever the store holds
    #[arg(long)]
    pub no_cache: bool,

    /// Network of RUN: the host's, or none [default: host]
    #[arg(long, value_parser = network(), value_name = "NETWORK")]
    pub network: Option<Network>,

    /// How progress is shown
    #[arg(long, value_enum, value_name = "STYLE", default_value_t = Style::Auto)]
    pub progress: Style,

    /// Print the image ID alone
    #[arg(short, long)]
    pub quiet: bool,

    /// Write the image ID to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,

    /// Write what was built (digests, names) to a file as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,

    /// Also write the result: type=oci|docker|tar|local,dest=PATH, or DIR alone for type=local
    #[arg(short, long = "output", value_name = "OUTPUT", value_parser = output)]
    pub outputs: Vec<Output>,

    /// Merge the layers that this build makes into one
    #[arg(long)]
    pub squash: bool,

    /// Clamp all times, so that the same input gives the same digest anywhere (SOURCE_DATE_EPOCH, else 0)
    #[arg(long)]
    pub reproducible: bool,

    /// Steps that run at once [default: one per processor]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,

    /// How writable roots are made [default: auto]
    #[arg(long, value_enum, value_name = "KIND")]
    pub snapshotter: Option<Choice>,

    /// The build context: a directory that COPY and ADD read
    #[arg(value_name = "CONTEXT")]
    pub context: PathBuf,
}
