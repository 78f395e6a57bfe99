//! Targets of a definition as targets of a build. Each is put into the words of `rbuild build`, and what that command takes
//! and refuses holds here, too; only contexts that are other targets, and what concerns several targets at once, is more.

use crate::bake::{self, Definition, Target};
use crate::base::Cancel;
use crate::cli::build::BuildArgs;
use crate::cli::context::{self, Place};
use crate::cli::failure::Failure;
use crate::cli::inputs::InputArgs;
use crate::cli::{Session, manifest};
use crate::pipeline::{self, BuildContext, BuildRequest, DockerfileInput, Origin, Pull};
use clap::{Args as _, FromArgMatches as _};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

/// What the command line says about all targets, beside overrides.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Allow what targets ask for with `entitlements`: security.insecure; what else docker wants allowed here needs no word
    #[arg(long, value_name = "RIGHT")]
    allow: Vec<String>,

    /// Which inputs the build may use.
    #[command(flatten)]
    inputs: InputArgs,

    /// An Ed25519 key in PEM, for the caches of all targets
    #[arg(long = "cache-key", value_name = "FILE")]
    cache_keys: Vec<PathBuf>,
}

/// A build of several targets.
pub struct Work {
    /// It.
    pub request: BuildRequest,
    /// Whether their Dockerfiles are only looked at.
    pub only_check: bool,
    /// Keeps what was unpacked for this build.
    _places: Vec<Place>,
}

/// What went wrong, with the target that it is about.
#[derive(Debug, thiserror::Error)]
#[error("target `{name}`")]
struct InTarget {
    name: String,
    source: Box<dyn Error + Send + Sync>,
}

/// Makes one build of all targets: a target stands after those that its contexts name.
pub fn prepare(definition: &Definition, common: &Common, session: &Session, cancel: &Cancel) -> Result<Work, Failure> {
    common.inputs.go_offline();
    let names = definition.order();
    let mut work =
        Work { request: session.request(Vec::new())?, only_check: false, _places: Vec::with_capacity(names.len()) };
    let mut checks = 0;
    for name in &names {
        let target = &definition.targets[*name];
        checks += usize::from(check_call(name, target)?);
        refuse(name, target, &common.allow)?;
        let prepared = one(name, target, common, session, cancel).map_err(|failure| in_target(name, failure))?;
        add(&mut work, name, target, prepared, &names)?;
    }
    work.only_check = checks > 0;
    if checks > 0 && checks < names.len() {
        return Err(
            Failure::usage("some targets are to be built, and others only checked").help("name the ones you mean")
        );
    }
    Ok(work)
}

fn in_target(name: &str, failure: Failure) -> Failure {
    let error = failure.error.map(|source| InTarget { name: name.to_owned(), source }.into());
    Failure { error, ..failure }
}

/// An error about an attribute, shown where the file sets it.
fn wrong(name: &str, target: &Target, attribute: &str, why: &str) -> Failure {
    let site = target.sites.get(attribute);
    bake::Fault::from(bake::at(site, "bake-attribute", format!("target `{name}`: {why}"))).into()
}

/// Whether the target is only to be looked at.
fn check_call(name: &str, target: &Target) -> Result<bool, Failure> {
    match target.call.as_deref() {
        None | Some("" | "build") => Ok(false),
        Some("check" | "lint") => Ok(true),
        Some(other) => Err(wrong(name, target, "call", &format!("there is no call `{other}` (build, check)"))),
    }
}

/// Refuses what rbuild does not do, by name, rather than building something else than what was asked for.
fn refuse(name: &str, target: &Target, allowed: &[String]) -> Result<(), Failure> {
    if !target.no_cache_filter.is_empty() {
        let failure = wrong(name, target, "no-cache-filter", "rbuild has no `no-cache-filter`");
        return Err(failure.help("`no-cache` runs all steps"));
    }
    for right in &target.entitlements {
        match right.as_str() {
            "network.host" => {}
            "security.insecure" if allowed.contains(right) => {}
            "security.insecure" => {
                let failure = wrong(name, target, "entitlements", "it asks for `security.insecure`");
                return Err(failure.help("if you trust the definition, allow it: `--allow security.insecure`"));
            }
            other => return Err(wrong(name, target, "entitlements", &format!("there is no right `{other}`"))),
        }
    }
    for (what, path) in [("context", &target.context), ("dockerfile", &target.dockerfile)] {
        if path.as_deref() == Some("-") {
            return Err(wrong(name, target, what, &format!("its {what} can't come from standard input")));
        }
    }
    Ok(())
}

/// A target by itself.
struct Prepared {
    request: BuildRequest,
    place: Place,
}

fn one(name: &str, target: &Target, common: &Common, session: &Session, cancel: &Cancel) -> Result<Prepared, Failure> {
    let mut args = arguments(name, target)?;
    args.inputs = common.inputs.clone();
    args.caching.keys = common.cache_keys.clone();
    let secrets = args.secrets()?;
    let place = place(name, target, &secrets, session, cancel)?;
    let mut request = args.request(&place, secrets, session)?;
    request.pulling.when = args.pull;
    Ok(Prepared { request, place })
}

/// Where the target's files are.
fn place(
    name: &str,
    target: &Target,
    secrets: &BTreeMap<String, Vec<u8>>,
    session: &Session,
    cancel: &Cancel,
) -> Result<Place, Failure> {
    let context = Path::new(target.context.as_deref().unwrap_or("."));
    let file = Path::new(target.dockerfile.as_deref().unwrap_or("Dockerfile"));
    let is_remote = context::remote(context)?.is_some();
    if !is_remote {
        manifest::check_context(context, false)?;
    }
    match &target.dockerfile_inline {
        Some(_) if is_remote => {
            Err(wrong(name, target, "dockerfile-inline", "its Dockerfile is inline, and its context an address"))
        }
        Some(text) => {
            let title = format!("{name}: dockerfile-inline");
            let dockerfile = DockerfileInput { name: title, bytes: text.clone().into_bytes(), path: None };
            Ok(Place::local(context, dockerfile))
        }
        None if is_remote => context::prepare(context, Some(file), secrets, session, cancel),
        None => {
            let mut path: PathBuf =
                if file.is_absolute() || context == Path::new(".") { file.to_owned() } else { context.join(file) };
            // As `build`: a Containerfile will do where no other name was given.
            if file == Path::new("Dockerfile") && !path.is_file() {
                let other = path.with_file_name("Containerfile");
                path = if other.is_file() { other } else { path };
            }
            context::prepare(context, Some(&path), secrets, session, cancel)
        }
    }
}

/// The target in the words of `rbuild build`.
fn arguments(name: &str, target: &Target) -> Result<BuildArgs, Failure> {
    let words = words(target);
    let all: Vec<String> = words.iter().flat_map(|(_, words)| words.clone()).collect();
    let error = match parse(&all) {
        Ok(args) => return Ok(args),
        Err(error) => error,
    };
    // Which attribute it is that is not taken.
    let culprit = words.iter().find_map(|(attribute, words)| Some((*attribute, parse(words).err()?)));
    let (attribute, error) = culprit.unwrap_or(("context", error));
    let told = error.to_string();
    let told = told.strip_prefix("error: ").unwrap_or(&told);
    let told = told.split("\n\n").next().unwrap_or_default().trim().replace('\n', " ");
    Err(wrong(name, target, attribute, &format!("`{attribute}` does not fit: {told}")))
}

fn parse(words: &[String]) -> Result<BuildArgs, clap::Error> {
    let command = BuildArgs::augment_args(clap::Command::new("bake").no_binary_name(true));
    // What stands for the context here is settled in `place`.
    let matches = command.try_get_matches_from(words.iter().map(String::as_str).chain(["--", "."]))?;
    BuildArgs::from_arg_matches(&matches)
}

/// Each attribute that is set, and what it is on a command line.
fn words(target: &Target) -> Vec<(&'static str, Vec<String>)> {
    let each = |flag: &str, values: Vec<String>| values.into_iter().map(|value| format!("--{flag}={value}")).collect();
    let pairs = |pairs: &bake::Pairs| -> Vec<String> {
        pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?))).collect()
    };
    let lines = |entries: &[bake::Entry]| entries.iter().map(bake::Entry::line).collect();
    let listed = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let contexts = target.contexts.iter().filter(|(_, value)| !value.starts_with("target:"));
    let network = target.network.clone().filter(|network| !matches!(network.as_str(), "" | "default"));
    let outputs: Vec<bake::Entry> = target.output.iter().flatten().filter_map(output).collect();
    let insecure = target.entitlements.iter().filter(|right| *right == "security.insecure").cloned();
    let flag = |name: &str, set: Option<bool>| if set == Some(true) { vec![format!("--{name}")] } else { Vec::new() };
    vec![
        ("contexts", each("build-context", contexts.map(|(name, value)| format!("{name}={value}")).collect())),
        ("args", each("build-arg", pairs(&target.args))),
        ("labels", each("label", pairs(&target.labels))),
        ("tags", each("tag", if target.linked { Vec::new() } else { listed(&target.tags) })),
        ("target", each("target", target.target.clone().filter(|stage| !stage.is_empty()).into_iter().collect())),
        ("platforms", each("platform", listed(&target.platforms))),
        ("annotations", each("annotation", target.annotations.clone())),
        ("attest", each("attest", lines(&target.attest))),
        ("cache-from", each("cache-from", lines(&target.cache_from))),
        ("cache-to", each("cache-to", lines(target.cache_to.as_deref().unwrap_or_default()))),
        ("output", each("output", lines(&outputs))),
        ("secret", each("secret", target.secret.iter().map(bake::Secret::line).collect())),
        ("ssh", each("ssh", target.ssh.iter().map(bake::Ssh::line).collect())),
        ("extra-hosts", each("add-host", pairs(&target.extra_hosts))),
        ("shm-size", each("shm-size", target.shm_size.clone().into_iter().collect())),
        ("ulimits", each("ulimit", target.ulimits.clone())),
        ("network", each("network", network.into_iter().collect())),
        ("entitlements", each("allow", insecure.collect())),
        ("no-cache", flag("no-cache", target.no_cache)),
        ("pull", flag("pull=always", target.pull)),
    ]
}

/// An output as `rbuild build` has it. The image is in the store anyway, which is all that docker's own asks for, but for a
/// name.
fn output(entry: &bake::Entry) -> Option<bake::Entry> {
    match entry.kind() {
        "cacheonly" => None,
        "docker" if entry.get("dest").is_none() => {
            let name = entry.get("name")?;
            Some(bake::Entry::of([("type", "image"), ("name", name)]))
        }
        _ => Some(entry.clone()),
    }
}

/// Puts a target to those that are there. What a build has once for all its targets must not be at odds.
fn add(work: &mut Work, name: &str, target: &Target, prepared: Prepared, names: &[&str]) -> Result<(), Failure> {
    let Prepared { request, place } = prepared;
    for (id, value) in request.secrets {
        if work.request.secrets.get(&id).is_some_and(|other| *other != value) {
            return Err(wrong(
                name,
                target,
                "secret",
                &format!("the secret `{id}` is another one than other targets have"),
            ));
        }
        work.request.secrets.insert(id, value);
    }
    for (id, socket) in request.run.ssh {
        if work.request.run.ssh.get(&id).is_some_and(|other| *other != socket) {
            return Err(wrong(
                name,
                target,
                "ssh",
                &format!("the agent `{id}` is another one than other targets have"),
            ));
        }
        work.request.run.ssh.insert(id, socket);
    }
    work.request.no_cache |= request.no_cache;
    let caches = request.caching;
    let new = caches.from.into_iter().filter(|cache| !work.request.caching.from.contains(cache));
    let new: Vec<_> = new.collect();
    work.request.caching.from.extend(new);
    work.request.caching.keys = caches.keys;
    if request.pulling.when == Pull::Always {
        work.request.pulling.when = Pull::Always;
    }
    let place_of = |used: &str| names.iter().position(|other| *other == used);
    for built in request.targets {
        let linked = target.contexts.iter().filter_map(|(context, value)| {
            let origin = Origin::Target(place_of(value.strip_prefix("target:")?)?);
            Some(BuildContext { name: context.clone(), origin })
        });
        let mut contexts = built.contexts;
        contexts.extend(linked);
        let yields_image = !target.linked;
        work.request.targets.push(pipeline::Target { name: name.to_owned(), contexts, yields_image, ..built });
    }
    work._places.push(place);
    Ok(())
}
