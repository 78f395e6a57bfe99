//! The `build:` section of a service as a target.

use super::reader::Reader;
use crate::bake::entry::{Entry, Parsed, Secret, Ssh};
use crate::bake::fault::{Result, suggest};
use crate::bake::node::{Data, Node};
use crate::bake::paths;
use crate::bake::target::{Pairs, Target, merge_attest};
use crate::bake::value::Value;
use crate::base::text;
use std::collections::BTreeMap;

/// What a `build:` may say (compose-spec, build.md). Those that begin with `x-` are anybody's.
const ATTRIBUTES: [&str; 25] = [
    "additional_contexts",
    "args",
    "cache_from",
    "cache_to",
    "context",
    "dockerfile",
    "dockerfile_inline",
    "entitlements",
    "extra_hosts",
    "isolation",
    "labels",
    "network",
    "no_cache",
    "no_cache_filter",
    "platforms",
    "privileged",
    "provenance",
    "pull",
    "sbom",
    "secrets",
    "shm_size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

/// Where a secret of the file comes from.
#[derive(Clone, Debug, Default)]
pub struct SecretSource {
    file: Option<String>,
    environment: Option<String>,
    external: bool,
}

/// The secrets that files define.
pub fn secrets(files: &[Node], reader: &mut Reader<'_>) -> Result<BTreeMap<String, SecretSource>> {
    let mut secrets: BTreeMap<String, SecretSource> = BTreeMap::new();
    for node in files.iter().filter_map(|file| file.get("secrets")) {
        for (name, node) in node.entries("`secrets`")? {
            let secret = secrets.entry(name.text.clone()).or_default();
            for (key, node) in node.entries("a secret")? {
                match key.text.as_str() {
                    "file" => secret.file = reader.text(node, "`file`")?.map(|path| paths::clean(&path)),
                    "environment" => secret.environment = reader.text(node, "`environment`")?,
                    "external" => secret.external = reader.truth(node, "`external`")?,
                    _ => {}
                }
            }
        }
    }
    Ok(secrets)
}

/// Reads a `build:`: a context, or a map.
pub fn read(node: &Node, secrets: &BTreeMap<String, SecretSource>, reader: &mut Reader<'_>) -> Result<Option<Target>> {
    let mut target = Target::default();
    if !matches!(node.data, Data::Map(_)) {
        target.context = reader.text(node, "`build`")?;
        return Ok(target.context.is_some().then_some(target));
    }
    for (key, node) in node.entries("`build`")? {
        let name = key.text.as_str();
        if name == "x-bake" {
            continue;
        }
        if !ATTRIBUTES.contains(&name) && !name.starts_with("x-") {
            let fault = key.site.error("bake-attribute", format!("a `build` has no `{name}`"));
            return Err(suggest(fault, name, ATTRIBUTES).into());
        }
        target.sites.insert(name.replace('_', "-"), node.site.clone());
        attribute(&mut target, name, node, secrets, reader)?;
    }
    if let Some(node) = node.get("x-bake") {
        extension(&mut target, node, reader)?;
    }
    Ok(Some(target))
}

fn attribute(
    target: &mut Target,
    name: &str,
    node: &Node,
    secrets: &BTreeMap<String, SecretSource>,
    reader: &mut Reader<'_>,
) -> Result<()> {
    let what = &format!("`{name}`");
    match name {
        "context" => target.context = reader.text(node, what)?,
        "dockerfile" => target.dockerfile = reader.text(node, what)?.filter(|path| !path.is_empty()),
        "dockerfile_inline" => target.dockerfile_inline = reader.text(node, what)?,
        "target" => target.target = reader.text(node, what)?,
        "network" => target.network = reader.text(node, what)?,
        "args" => target.args = reader.pairs(node, what)?,
        "labels" => {
            target.labels = reader.pairs(node, what)?.into_iter().map(|(k, v)| (k, v.or(Some(String::new())))).collect()
        }
        "tags" => target.tags = Some(reader.texts(node, what)?),
        "platforms" => target.platforms = Some(reader.texts(node, what)?),
        "entitlements" => target.entitlements = reader.texts(node, what)?,
        "no_cache_filter" => target.no_cache_filter = words(node, what, reader)?,
        "cache_from" => target.cache_from = entries(node, what, reader, Entry::cache)?,
        "cache_to" => target.cache_to = Some(entries(node, what, reader, Entry::cache)?),
        // What is off is as if it were not there.
        "no_cache" => target.no_cache = reader.truth(node, what)?.then_some(true),
        "pull" => target.pull = reader.truth(node, what)?.then_some(true),
        "additional_contexts" => contexts(target, node, what, reader)?,
        "shm_size" => {
            let size = reader.some_text(node, what)?;
            let bytes = text::bytes(&size).ok_or_else(|| node.unfit(what, "a size (64m)"))?;
            target.shm_size = (bytes > 0).then(|| human(bytes));
        }
        "ulimits" => {
            for (limit, node) in node.entries(what)? {
                let number = |reader: &mut Reader<'_>, node: &Node| reader.some_text(node, "a limit");
                let (soft, hard) = match (node.get("soft"), node.get("hard")) {
                    (Some(soft), Some(hard)) => (number(reader, soft)?, number(reader, hard)?),
                    _ => (number(reader, node)?, number(reader, node)?),
                };
                target.ulimits.push(format!("{}={soft}:{hard}", limit.text));
            }
        }
        "extra_hosts" => {
            for (host, address) in hosts(node, what, reader)? {
                target.extra_hosts.insert(host, Some(address));
            }
        }
        "ssh" => {
            for line in agents(node, what, reader)? {
                target.ssh.extend(checked(node, Ssh::read(&line.into()))?);
            }
            target.ssh.sort_by(|a, b| a.id.cmp(&b.id));
        }
        "secrets" => {
            let Data::List(items) = &node.data else { return Err(node.unfit(what, "a list")) };
            for item in items {
                target.secret.push(secret(item, secrets, reader)?);
            }
        }
        "sbom" | "provenance" => attest(target, name, node, reader)?,
        _ => {}
    }
    Ok(())
}

fn checked<T>(node: &Node, parsed: Parsed<T>) -> Result<T> {
    parsed.map_err(|why| node.site.error("bake-type", why).into())
}

fn entries<T>(
    node: &Node,
    what: &str,
    reader: &mut Reader<'_>,
    read: fn(&Value) -> Parsed<Option<T>>,
) -> Result<Vec<T>> {
    let mut entries = Vec::new();
    for line in words(node, what, reader)? {
        entries.extend(checked(node, read(&line.into()))?);
    }
    Ok(entries)
}

/// A list of texts, or one text of words.
fn words(node: &Node, what: &str, reader: &mut Reader<'_>) -> Result<Vec<String>> {
    match &node.data {
        Data::String(_) => Ok(reader.some_text(node, what)?.split_whitespace().map(str::to_owned).collect()),
        _ => reader.texts(node, what),
    }
}

fn contexts(target: &mut Target, node: &Node, what: &str, reader: &mut Reader<'_>) -> Result<()> {
    for (name, value) in reader.pairs(node, what)? {
        let value = value.unwrap_or_default();
        let service = value.strip_prefix("service:").or(value.strip_prefix("target:"));
        let value = match service {
            Some(service) => format!("target:{}", service.replace('.', "_")),
            None => value.clone(),
        };
        let site = node.get(&name).map_or(&node.site, |node| &node.site);
        target.sites.insert(format!("contexts.{name}"), site.clone());
        target.contexts.entry(name).or_insert(value);
    }
    Ok(())
}

/// `host=address`, `host:address`, or a map; several addresses are joined.
fn hosts(node: &Node, what: &str, reader: &mut Reader<'_>) -> Result<Vec<(String, String)>> {
    if let Data::Map(entries) = &node.data {
        let host = |(key, node): &(crate::bake::node::Key, Node)| match node.data {
            Data::List(_) => Ok((key.text.clone(), reader.texts(node, what)?.join(","))),
            _ => Ok((key.text.clone(), reader.some_text(node, what)?)),
        };
        return entries.iter().map(host).collect();
    }
    let mut hosts = Vec::new();
    for line in reader.texts(node, what)? {
        let split = line.split_once('=').or_else(|| line.split_once(':'));
        let (host, address) = split.ok_or_else(|| node.unfit("an extra host", "host=address"))?;
        hosts.push((host.to_owned(), address.to_owned()));
    }
    Ok(hosts)
}

/// `default`, `id=path`, or a map of both.
fn agents(node: &Node, what: &str, reader: &mut Reader<'_>) -> Result<Vec<String>> {
    let Data::Map(_) = node.data else { return words(node, what, reader) };
    let line = |(id, path): (String, Option<String>)| path.map_or(id.clone(), |path| format!("{id}={path}"));
    Ok(reader.pairs(node, what)?.into_iter().map(line).collect())
}

fn secret(item: &Node, known: &BTreeMap<String, SecretSource>, reader: &mut Reader<'_>) -> Result<Secret> {
    let (name, site) = match (&item.data, item.get("source")) {
        (Data::Map(_), Some(source)) => (reader.some_text(source, "`source`")?, &source.site),
        (Data::Map(_), None) => return Err(item.unfit("a secret", "a name, or a map with `source`")),
        _ => (reader.some_text(item, "a secret")?, &item.site),
    };
    let Some(source) = known.get(&name) else {
        let fault = site.error("bake-compose", format!("the file defines no secret `{name}`"));
        return Err(suggest(fault, &name, known.keys().map(String::as_str)).into());
    };
    if source.external {
        let fault = site.error("bake-compose", format!("the secret `{name}` is external"));
        return Err(fault.note("what holds it is not known here").into());
    }
    Ok(Secret { id: name, src: source.file.clone(), env: source.environment.clone() })
}

fn attest(target: &mut Target, name: &str, node: &Node, reader: &mut Reader<'_>) -> Result<()> {
    let text = reader.some_text(node, "an attestation")?;
    let line = match text.as_str() {
        "true" => format!("type={name}"),
        "false" => format!("type={name},disabled=true"),
        options => format!("type={name},{options}"),
    };
    let entry = checked(node, Entry::attest(&line.into()))?;
    merge_attest(&mut target.attest, entry.into_iter().collect());
    Ok(())
}

/// `x-bake`: what compose files have no word for.
fn extension(target: &mut Target, node: &Node, reader: &mut Reader<'_>) -> Result<()> {
    for (key, node) in node.entries("`x-bake`")? {
        let name = key.text.as_str();
        let what = &format!("`{name}`");
        let more = |list: &mut Option<Vec<String>>, words: Vec<String>| list.get_or_insert_default().extend(words);
        match name {
            "tags" => more(&mut target.tags, words(node, what, reader)?),
            "platforms" => more(&mut target.platforms, words(node, what, reader)?),
            "cache-from" => target.cache_from.extend(entries(node, what, reader, Entry::cache)?),
            "cache-to" => target.cache_to.get_or_insert_default().extend(entries(node, what, reader, Entry::cache)?),
            "output" => target.output.get_or_insert_default().extend(entries(node, what, reader, Entry::output)?),
            "secret" => target.secret.extend(entries(node, what, reader, Secret::read)?),
            "ssh" => target.ssh.extend(entries(node, what, reader, Ssh::read)?),
            "pull" => target.pull = Some(reader.truth(node, what)?),
            "no-cache" => target.no_cache = Some(reader.truth(node, what)?),
            "no-cache-filter" => target.no_cache_filter.extend(words(node, what, reader)?),
            "contexts" => contexts(target, node, what, reader)?,
            _ => {
                const KNOWN: [&str; 11] = [
                    "tags",
                    "platforms",
                    "cache-from",
                    "cache-to",
                    "output",
                    "secret",
                    "ssh",
                    "pull",
                    "no-cache",
                    "no-cache-filter",
                    "contexts",
                ];
                let warning = key.site.warning("bake-attribute", format!("`x-bake` has no `{name}`: it is ignored"));
                reader.warnings.push(suggest(warning, name, KNOWN));
                continue;
            }
        }
        target.sites.insert(name.to_owned(), node.site.clone());
    }
    Ok(())
}

/// What a service says outside of `build:`: arguments without a value come from its environment or ours, and its image is
/// the tag where `build:` has none.
pub fn settle(target: &mut Target, image: Option<String>, own: &Pairs, outer: &BTreeMap<String, String>) {
    for (name, value) in &mut target.args {
        if value.is_none() {
            *value = own.get(name).cloned().flatten().or_else(|| outer.get(name).cloned());
        }
    }
    target.args.retain(|_, value| value.is_some());
    if target.tags.as_deref().unwrap_or_default().is_empty() {
        target.tags = image.map(|image| vec![image]);
    }
}

/// `64MiB`, as docker shows sizes: four digits at most.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let digits = 3 - (size.max(1.0).log10() as usize).min(3);
    let text = format!("{size:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}
