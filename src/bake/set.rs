//! `--set TARGET.KEY=VALUE`: what the command line says over the files.

use super::entry::{Entry, Parsed, Secret, Ssh};
use super::fault::{Result, plain, suggest};
use super::target::{Target, merge_attest};
use super::value::Value;
use crate::diag::Diagnostic;
use crate::dockerfile::glob;
use std::collections::BTreeMap;

/// What can be set; those with a dot need a name after it.
const KEYS: [&str; 27] = [
    "annotations",
    "args.",
    "attest",
    "cache-from",
    "cache-to",
    "call",
    "context",
    "contexts.",
    "dockerfile",
    "entitlements",
    "extra-hosts.",
    "labels.",
    "load",
    "network",
    "no-cache",
    "no-cache-filter",
    "output",
    "platform",
    "platforms",
    "pull",
    "push",
    "secret",
    "secrets",
    "shm-size",
    "ssh",
    "tags",
    "target",
];

/// What one `--set` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Which targets.
    pattern: String,
    key: String,
    /// What follows the key: the name of an argument or a label.
    name: String,
    /// `None`: take it from the environment.
    value: Option<String>,
    /// `+=`: go on with the list that is there.
    append: bool,
}

impl Override {
    /// Reads one.
    ///
    /// # Errors
    /// It is not of the form `TARGET.KEY=VALUE`, or there is no such key.
    pub fn parse(text: &str) -> Result<Override> {
        let fault = |why: String| plain("bake-set", format!("--set '{text}': {why}"));
        let (left, value) = match text.split_once('=') {
            Some((left, value)) => (left, Some(value.to_owned())),
            None => (text, None),
        };
        let (left, append) = left.strip_suffix('+').map_or((left, false), |left| (left, true));
        let Some((pattern, rest)) = left.split_once('.') else {
            return Err(fault("it must be TARGET.KEY=VALUE".to_owned()).into());
        };
        let (key, name) = rest.split_once('.').unwrap_or((rest, ""));
        let named = format!("{key}.");
        if KEYS.contains(&named.as_str()) {
            if name.is_empty() {
                return Err(fault(format!("`{key}` needs a name, as in {pattern}.{key}.NAME=VALUE")).into());
            }
        } else if !KEYS.contains(&key) || !name.is_empty() {
            let known = KEYS.iter().map(|key| key.trim_end_matches('.'));
            return Err(suggest(fault(format!("there is no `{rest}` to set")), rest, known).into());
        }
        if value.is_none() && key != "args" {
            return Err(fault("it has no value".to_owned()).into());
        }
        if let Err(why) = glob::go_match(pattern.as_bytes(), b"") {
            return Err(fault(format!("`{pattern}` is no pattern: {why}")).into());
        }
        let owned = str::to_owned;
        Ok(Override { pattern: owned(pattern), key: owned(key), name: owned(name), value, append })
    }

    /// Whether a target is meant.
    pub fn matches(&self, target: &str) -> bool {
        glob::go_match(self.pattern.as_bytes(), target.as_bytes()).unwrap_or(false)
    }

    /// The error that no target is meant.
    pub fn no_match<'c>(&self, targets: impl IntoIterator<Item = &'c str>) -> Diagnostic {
        let fault = plain("bake-unknown-target", format!("--set: there is no target `{}`", self.pattern));
        suggest(fault, &self.pattern, targets)
    }
}

/// Puts all that is meant for a target over it. The first that names a list replaces it, unless it appends; further ones
/// go on with it.
pub fn apply(
    target: &mut Target,
    name: &str,
    overrides: &[Override],
    environment: &BTreeMap<String, String>,
) -> Result<()> {
    let mut begun: Vec<&str> = Vec::new();
    for set in overrides.iter().filter(|set| set.matches(name)) {
        let again = begun.contains(&set.key.as_str());
        begun.push(&set.key);
        one(target, set, set.append || again, environment).map_err(|why| {
            let value = set.value.as_deref().unwrap_or_default();
            plain("bake-set", format!("--set {name}.{}={value}: {why}", set.key))
        })?;
    }
    Ok(())
}

fn one(
    target: &mut Target,
    set: &Override,
    append: bool,
    environment: &BTreeMap<String, String>,
) -> std::result::Result<(), String> {
    let Some(value) = set.value.clone().or_else(|| environment.get(&set.name).cloned()) else { return Ok(()) };
    let text = Value::from(value.as_str());
    match set.key.as_str() {
        "annotations" => target.annotations.push(value),
        "args" => pair(&mut target.args, set, value),
        "attest" => merge_attest(&mut target.attest, Entry::attest(&text)?.into_iter().collect()),
        "cache-from" => list(&mut target.cache_from, append, Entry::cache(&text)?),
        "cache-to" => list(target.cache_to.get_or_insert_default(), append, Entry::cache(&text)?),
        "call" => target.call = Some(value),
        "context" => target.context = Some(value),
        "contexts" => {
            target.sites.remove(&format!("contexts.{}", set.name));
            target.contexts.insert(set.name.clone(), value);
        }
        "dockerfile" => target.dockerfile = Some(value),
        "entitlements" => target.entitlements.push(value),
        "extra-hosts" => pair(&mut target.extra_hosts, set, value),
        "labels" => pair(&mut target.labels, set, value),
        "load" if truth(&value)? => load(target.output.get_or_insert_default()),
        "load" => {}
        "network" => target.network = Some(value),
        "no-cache" => target.no_cache = Some(truth(&value)?),
        "no-cache-filter" => list(&mut target.no_cache_filter, append, Some(value)),
        "output" => list(target.output.get_or_insert_default(), append, Entry::output(&text)?),
        "platform" | "platforms" => list(target.platforms.get_or_insert_default(), append, Some(value)),
        "pull" => target.pull = Some(truth(&value)?),
        "push" => push(target.output.get_or_insert_default(), truth(&value)?),
        "secret" | "secrets" => list(&mut target.secret, append, Secret::read(&text)?),
        "shm-size" => target.shm_size = Some(value),
        "ssh" => list(&mut target.ssh, append, Ssh::read(&text)?),
        "tags" => list(target.tags.get_or_insert_default(), append, Some(value)),
        _ => target.target = Some(value),
    }
    Ok(())
}

fn pair(pairs: &mut BTreeMap<String, Option<String>>, set: &Override, value: String) {
    pairs.insert(set.name.clone(), Some(value));
}

fn list<T>(list: &mut Vec<T>, append: bool, item: Option<T>) {
    if !append {
        list.clear();
    }
    list.extend(item);
}

fn truth(text: &str) -> Parsed<bool> {
    Value::from(text).bool().ok_or_else(|| "it must be true or false".to_owned())
}

/// `--push`: images among the outputs are pushed; where there is no output but `docker`, one is added that pushes.
fn push(outputs: &mut Vec<Entry>, push: bool) {
    if !push {
        outputs.retain(|output| output.kind() != "registry");
    }
    for output in outputs.iter_mut().filter(|output| output.kind() == "image") {
        output.0.insert("push".to_owned(), push.to_string());
    }
    if push && outputs.iter().all(|output| output.kind() == "docker") {
        outputs.push(Entry::of([("type", "image"), ("push", "true")]));
    }
}

/// `--load`: an image is left in the store, unless files are what is wanted.
fn load(outputs: &mut Vec<Entry>) {
    let is_there = |output: &Entry| output.kind() == "docker" && output.get("dest").is_none();
    let is_image = |output: &Entry| matches!(output.kind(), "docker" | "image" | "registry" | "oci");
    if !outputs.iter().any(is_there) && outputs.iter().all(is_image) {
        outputs.push(Entry::of([("type", "docker")]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(target: &mut Target, texts: &[&str]) {
        let overrides: Vec<Override> = texts.iter().map(|text| Override::parse(text).unwrap()).collect();
        apply(target, "app", &overrides, &BTreeMap::from([("E".to_owned(), "e".to_owned())])).unwrap();
    }

    #[test]
    fn lists_are_replaced_once_and_then_continued() {
        let mut target = Target { tags: Some(vec!["old".into()]), ..Target::default() };
        set(&mut target, &["app.tags=a", "*.tags=b", "web.tags=c"]);
        assert_eq!(target.tags.as_deref().unwrap(), ["a", "b"]);
        set(&mut target, &["app.tags+=c", "app.args.E", "app.args.NONE", "app.labels.a.b=c=d"]);
        assert_eq!(target.tags.unwrap(), ["a", "b", "c"]);
        assert_eq!(target.args, [("E".to_owned(), Some("e".to_owned()))].into());
        assert_eq!(target.labels["a.b"].as_deref(), Some("c=d"));
    }

    #[test]
    fn what_is_no_override_is_refused() {
        for bad in ["app", "app.tags", "app.args=x", "app.frob=x", "app.tags.x=y", "[.tags=x"] {
            assert!(Override::parse(bad).is_err(), "{bad}");
        }
        let helped = Override::parse("app.tgas=x").unwrap_err();
        assert_eq!(helped.help, ["did you mean `tags`?"]);
    }
}
