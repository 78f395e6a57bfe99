//! `rbuild build`.

use super::Session;
use super::caching::CachingArgs;
use super::check;
use super::context::{self, Place};
use super::failure::Failure;
use super::inputs::InputArgs;
use super::manifest::{self, ManifestArgs};
use super::secret::{self, SecretArg};
use super::values::{self, Annotations, Attest, EPOCH, KeyMaybeValue, Right, SshArg, network, output};
use crate::base::{Cancel, fs};
use crate::graph::{Limit, Network};
use crate::pipeline::{self, BuildRequest, BuildResult, Output, OutputKind, Pull, Target};
use crate::registry::Keyring;
use crate::snapshot::Choice;
use crate::ui::out;
use crate::ui::progress::{Progress, Style};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Flags of `build`, as docker has them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rbuild -t hello .                                   the same as `rbuild build -t hello .`
  rbuild build -t app -f docker/Dockerfile --target prod .
  rbuild build -t app --build-arg VERSION=1.2 --secret id=token,src=token.txt .
  rbuild build -t app --ssh default .                 the ssh agent, for RUN --mount=type=ssh
  rbuild build -t hello --build-context host=/ .      COPY --from=host reads this machine's files
  rbuild build -o type=oci,dest=app.tar .             an archive that docker and podman load
  rbuild build -o out .                               the root filesystem as a directory
  rbuild build -t ghcr.io/me/app:1.2 --push .         build, name and push
  rbuild build -o type=registry,name=ghcr.io/me/app,compression=zstd -o type=oci,dest=app.tar .
  id=$(rbuild build -q .)                             the image ID alone
  rbuild build -f - . < Dockerfile                    the Dockerfile from standard input
  rbuild build - < Dockerfile                         the same, without a context
  rbuild build - < context.tar.gz                     the context as an archive
  rbuild build https://git.example.org/app.git#v1:sub a directory of a commit as the context
  rbuild build --cache-from me/app:cache --cache-to me/app:cache .
  rbuild build --build-context src=https://git.example.org/lib.git .")]
pub struct BuildArgs {
    /// Name the image: NAME[:TAG]; may be given many times
    #[arg(short, long = "tag", value_name = "NAME", value_parser = values::tag)]
    pub tags: Vec<String>,

    /// Which Dockerfile, and what it is given.
    #[command(flatten)]
    pub manifest: ManifestArgs,

    /// A secret for RUN --mount=type=secret: id=ID[,src=FILE|,env=VAR]
    #[arg(long = "secret", value_name = "SECRET", value_parser = SecretArg::parse)]
    pub secrets: Vec<SecretArg>,

    /// An ssh agent for RUN --mount=type=ssh: `default` (SSH_AUTH_SOCK), ID, ID=SOCKET or ID=KEYFILE
    #[arg(long = "ssh", value_name = "ID[=SOCKET|KEY]", value_parser = SshArg::parse)]
    pub ssh: Vec<SshArg>,

    /// Allow what is refused otherwise: security.insecure (RUN --security=insecure), secret-in-layer
    #[arg(long, value_enum, value_name = "RIGHT")]
    pub allow: Vec<Right>,

    /// Start a RUN that fails up to N more times, each on a clean snapshot [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub retry: Option<u32>,

    /// Kill a RUN that takes longer: 90s, 10m, 1h30m [default: none]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub timeout: Option<Duration>,

    /// A label of the image; wins over the Dockerfile's LABEL
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = KeyMaybeValue::parse)]
    pub labels: Vec<KeyMaybeValue>,

    /// When to pull the images that FROM and --from name
    #[arg(long, value_enum, value_name = "WHEN", env = "RBUILD_PULL", hide_env_values = true, default_value_t = Pull::Missing)]
    pub pull: Pull,

    /// Where images, files and commits come from.
    #[command(flatten)]
    pub inputs: InputArgs,

    /// Run every step, whatever the store holds
    #[arg(long)]
    pub no_cache: bool,

    /// Caches outside the store.
    #[command(flatten)]
    pub caching: CachingArgs,

    /// Tell of each step that runs why it was not taken from the cache
    #[arg(long)]
    pub explain: bool,

    /// Look for mistakes in the Dockerfile and build nothing, as `rbuild check` does
    #[arg(long = "check")]
    pub check_only: bool,

    /// Network of RUN: the host's, or none [default: host]
    #[arg(long, value_parser = network(), value_name = "NETWORK")]
    pub network: Option<Network>,

    /// A further line of the steps' /etc/hosts: NAME:ADDRESS
    #[arg(long = "add-host", value_name = "NAME:ADDRESS", value_parser = values::host)]
    pub hosts: Vec<(String, IpAddr)>,

    /// Size of the steps' /dev/shm: 64m, 1g [default: 64m]
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub shm_size: Option<u64>,

    /// A limit of the steps' processes: NAME=SOFT[:HARD], as in nofile=1024:4096; -1: none
    #[arg(long = "ulimit", value_name = "LIMIT", value_parser = values::limit)]
    pub limits: Vec<Limit>,

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

    /// Also write the result: type=image|registry|oci|docker|tar|local,KEY=VALUE…, or DIR alone for type=local; may be
    /// given many times. See docs/output.md
    #[arg(short, long = "output", value_name = "OUTPUT", value_parser = output)]
    pub outputs: Vec<Output>,

    /// Push the result under its names: the same as -o type=registry
    #[arg(long)]
    pub push: bool,

    /// Put the result into the store, as is done anyway
    #[arg(long)]
    pub load: bool,

    /// Annotate the result: [manifest:|index:|manifest[PLATFORM]:]KEY=VALUE
    #[arg(long = "annotation", value_name = "ANNOTATION", value_parser = values::annotations)]
    pub annotations: Vec<Annotations>,

    /// Attach SLSA provenance to the result: how it came about; `max` with arguments and steps. See docs/attestations.md
    #[arg(long, value_name = "min|max|false", value_parser = values::provenance, num_args = 0..=1, require_equals = true,
        default_missing_value = "min")]
    pub provenance: Option<Attest>,

    /// Attach a bill of materials to the result: the packages in it, as an SPDX document
    #[arg(long, value_name = "true|false", value_parser = values::sbom, num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    pub sbom: Option<Attest>,

    /// The same in docker's words: type=provenance,mode=max or type=sbom
    #[arg(long = "attest", value_name = "ATTESTATION", value_parser = values::attest)]
    pub attestations: Vec<Attest>,

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

    /// The build context: a directory that COPY and ADD read, or an address of one (http, https, git, ssh; DIR#REF of a
    /// repository here); `-`: none, or an archive on standard input
    #[arg(value_name = "CONTEXT")]
    pub context: PathBuf,
}

/// Builds.
pub fn run(args: &BuildArgs, session: &Session) -> Result<(), Failure> {
    let style = if args.quiet { Style::Quiet } else { args.progress };
    args.check(style)?;
    let is_remote = context::remote(&args.context)?.is_some();
    if !is_remote {
        manifest::check_context(&args.context, session.guessed)?;
    }
    session.enter_to_write()?;
    // A signal ends the process while it waits for standard input.
    args.inputs.go_offline();
    let watched = is_remote.then(|| session.watch());
    let cancel = watched.clone().unwrap_or_default();
    let secrets = args.secrets()?;
    let place = args.place(&secrets, session, &cancel)?;
    let mut request = args.request(&place, secrets, session)?;
    if args.check_only {
        return check::instead_of_build(&request.targets);
    }
    for file in [&args.iidfile, &args.metadata_file].into_iter().flatten() {
        // An old one must not be taken for this build's.
        fs::remove_file(file)?;
    }
    request.cancel = watched.unwrap_or_else(|| session.watch());
    request.pulling.when = args.pull;
    request.pulling.keyring = Keyring::from_environment();
    let progress = Progress::start(style);
    let result = pipeline::build(&request, &|event| progress.send(event));
    progress.finish();
    result?.iter().try_for_each(|result| args.report(style, result))
}

impl BuildArgs {
    /// What clap can't tell about combinations of flags.
    fn check(&self, style: Style) -> Result<(), Failure> {
        let to_stdout = self.outputs.iter().filter(|output| output.is_to_stdout()).count();
        if to_stdout == 0 {
            return Ok(());
        }
        if to_stdout > 1 {
            return Err(Failure::usage("only one output can go to standard output"));
        }
        if matches!(style, Style::Quiet | Style::Json) {
            return Err(Failure::usage("standard output can't hold an output and the image ID or events")
                .help("name a file: -o type=…,dest=FILE"));
        }
        if std::io::stdout().is_terminal() {
            return Err(Failure::usage("an output would go to the terminal").help("name a file: -o type=…,dest=FILE"));
        }
        Ok(())
    }

    /// The values of `--secret`, by id.
    pub fn secrets(&self) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
        Ok(secret::read_all(&self.secrets)?)
    }

    /// All that a build is told.
    pub fn request(
        &self,
        place: &Place,
        secrets: BTreeMap<String, Vec<u8>>,
        session: &Session,
    ) -> Result<BuildRequest, Failure> {
        let target = self.target(place, session)?;
        let mut request = session.request(vec![target])?;
        request.secrets = secrets;
        for agent in &self.ssh {
            request.run.ssh.insert(agent.id.clone(), agent.agent()?);
        }
        request.run.retry = self.retry.unwrap_or_default();
        request.run.timeout = self.timeout;
        request.run.allow_secret_in_layer = self.allow.contains(&Right::SecretInLayer);
        request.caching = self.caching.caching()?;
        request.no_cache = self.no_cache;
        request.explain = self.explain;
        request.jobs = self.jobs.map(NonZeroUsize::get).or(request.jobs);
        request.snapshotter = self.snapshotter.unwrap_or(request.snapshotter);
        Ok(request)
    }

    /// What is to be built.
    /// Gets the context and the Dockerfile.
    pub fn place(
        &self,
        secrets: &BTreeMap<String, Vec<u8>>,
        session: &Session,
        cancel: &Cancel,
    ) -> Result<Place, Failure> {
        let (context, file) = (&self.context, self.manifest.file.as_deref());
        context::prepare_settled(context, file, secrets, session, cancel, |store, remote| {
            self.inputs.settle_context(store, remote, &context.to_string_lossy(), secrets, cancel)
        })
    }

    fn target(&self, place: &Place, session: &Session) -> Result<Target, Failure> {
        let mut target = self.manifest.target_for(place.dockerfile.clone(), place.context.clone(), session)?;
        target.inputs = self.inputs.policy(target.inputs)?;
        target.inputs.context = context::remote(&self.context)?.filter(|_| self.inputs.lock_file.is_some());
        target.tags = self.tags.clone();
        // As docker: a label alone is one without a value, not one from the environment.
        let labels = self.labels.iter();
        target.labels = labels.map(|l| (l.key.clone(), l.value.clone().unwrap_or_default())).collect();
        target.allow_insecure = self.allow.contains(&Right::SecurityInsecure);
        target.network = self.network.unwrap_or(target.network);
        target.surroundings.hosts = self.hosts.clone();
        target.surroundings.shm_size = self.shm_size;
        target.surroundings.limits = self.limits.clone();
        target.outputs = self.outputs.clone();
        if self.push {
            target.outputs.push(Output { push: true, ..Output::new(OutputKind::Image, None) });
        }
        target.annotations = self.annotations.iter().flat_map(|Annotations(all)| all.clone()).collect();
        let attestations = self.attestations.iter().chain(&self.provenance).chain(&self.sbom);
        attestations.for_each(|attest| attest.apply(&mut target.attest));
        target.squash = self.squash;
        target.cache_to = self.caching.to.clone();
        // As buildx: the variable is an argument of the build, unless one was given.
        if let Ok(value) = std::env::var(EPOCH) {
            target.build_args.entry(EPOCH.to_owned()).or_insert(value);
        }
        target.epoch = match target.build_args.get(EPOCH).map(String::as_str) {
            Some("") | None => self.reproducible.then_some(0),
            Some(text) => Some(values::epoch(text)?),
        };
        Ok(target)
    }

    /// Tells of a finished build where that was asked for.
    fn report(&self, style: Style, result: &BuildResult) -> Result<(), Failure> {
        if let Some(file) = &self.iidfile {
            fs::write_atomic(file, result.id.to_string().as_bytes())?;
        }
        if let Some(file) = &self.metadata_file {
            // The names that buildx gives them.
            let metadata = json!({
                "containerimage.config.digest": result.id,
                // A registry has it with packed layers, which is another manifest.
                "containerimage.digest": result.pushed.first().map_or(result.manifest, |(_, digest)| *digest),
                "image.name": result.names.join(","),
            });
            fs::write_atomic(file, format!("{metadata:#}\n").as_bytes())?;
        }
        if style == Style::Quiet {
            out::line(&result.id.to_string())?;
        }
        Ok(())
    }
}
