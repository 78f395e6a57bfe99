//! From what files say to what is built: groups opened, what targets inherit and what the command line sets put together,
//! targets that others use brought in.

use super::config::{Config, Definition};
use super::decode::Group;
use super::entry;
use super::fault::{Fault, Result, Site, at, plain, suggest};
use super::paths;
use super::set::{self, Override};
use super::target::Target;
use super::value::Value;
use crate::dockerfile::glob;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// How deep inheritance, groups and links may go.
const DEPTH: usize = 100;

/// The group that is built when none is named.
const DEFAULT: &str = "default";

/// Resolves a configuration for the command line's targets and overrides.
pub fn resolve(
    config: &Config,
    wanted: &[String],
    overrides: &[Override],
    environment: &BTreeMap<String, String>,
) -> Result<Definition> {
    let resolver = Resolver { config, overrides, environment };
    if let Some(lost) = overrides.iter().find(|set| !config.targets.keys().any(|name| set.matches(name))) {
        return Err(lost.no_match(config.targets.keys().map(String::as_str)).into());
    }
    let wanted = resolver.wanted(wanted)?;
    let mut definition = Definition::default();
    for name in &wanted {
        let mut found = Found::default();
        resolver.open(name, None, &mut Vec::new(), &mut found)?;
        for target in found.targets {
            if let Entry::Vacant(place) = definition.targets.entry(target) {
                let resolved = resolver.target(place.key())?;
                place.insert(resolved);
            }
        }
        for group in found.groups {
            let opened = config.groups.get(&group).cloned().unwrap_or_default();
            definition.groups.insert(group, opened);
        }
    }
    // `default` stands for what is built, sorted.
    for name in wanted {
        if name == DEFAULT && definition.groups.contains_key(DEFAULT) {
            continue;
        }
        definition.groups.entry(DEFAULT.to_owned()).or_default().targets.push(name);
    }
    for (name, group) in &mut definition.groups {
        let mut seen = BTreeSet::new();
        group.targets.retain(|target| seen.insert(target.clone()));
        if name == DEFAULT {
            group.targets.sort();
        }
    }
    let mut links = Links { targets: definition.targets, done: BTreeSet::new(), way: Vec::new() };
    for name in links.targets.keys().cloned().collect::<Vec<_>>() {
        resolver.link(&name, &mut links)?;
    }
    definition.targets = links.targets;
    for target in definition.targets.values_mut() {
        settle_paths(target);
    }
    Ok(definition)
}

struct Resolver<'c> {
    config: &'c Config,
    overrides: &'c [Override],
    environment: &'c BTreeMap<String, String>,
}

/// What a name of the command line stands for.
#[derive(Default)]
struct Found {
    targets: Vec<String>,
    groups: Vec<String>,
}

/// Targets while those are brought in that their contexts name.
struct Links {
    targets: BTreeMap<String, Target>,
    /// Those whose contexts are all there.
    done: BTreeSet<String>,
    /// From which target on which others need each other.
    way: Vec<String>,
}

impl Resolver<'_> {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.config.groups.keys().chain(self.config.targets.keys()).map(String::as_str)
    }

    /// The command line's names, with patterns opened.
    fn wanted(&self, wanted: &[String]) -> Result<Vec<String>> {
        if wanted.is_empty() {
            return Ok(vec![DEFAULT.to_owned()]);
        }
        let mut names: Vec<String> = Vec::new();
        for name in wanted {
            // The names of services may have dots, which those of targets do not.
            let name = name.replace('.', "_");
            if !name.contains(['*', '?', '[', ']']) {
                names.push(name);
                continue;
            }
            let is_pattern = glob::go_match(name.as_bytes(), b"");
            is_pattern.map_err(|why| plain("bake-unknown-target", format!("`{name}` is no pattern: {why}")))?;
            let matching = self.names().filter(|n| glob::go_match(name.as_bytes(), n.as_bytes()) == Ok(true));
            let before = names.len();
            names.extend(matching.map(str::to_owned));
            if names.len() == before {
                return Err(self.unknown(&name, None, "no target matches"));
            }
        }
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        Ok(names)
    }

    fn unknown(&self, name: &str, site: Option<&Site>, what: &str) -> Fault {
        let fault = suggest(at(site, "bake-unknown-target", format!("{what} `{name}`")), name, self.names());
        if !fault.help.is_empty() || self.names().next().is_none() {
            return fault.into();
        }
        let names: Vec<&str> = self.names().take(20).collect();
        fault.note(format!("there are: {}", names.join(", "))).into()
    }

    /// Opens a group, or finds a target.
    fn open(&self, name: &str, site: Option<&Site>, within: &mut Vec<String>, found: &mut Found) -> Result<()> {
        let is_target = self.config.targets.contains_key(name);
        let inside = within.iter().any(|group| group == name);
        let Some(group) = self.config.groups.get(name).filter(|_| !(inside && is_target)) else {
            if !is_target {
                return Err(self.unknown(name, site, "there is no target"));
            }
            if !found.targets.iter().any(|target| target == name) {
                found.targets.push(name.to_owned());
            }
            return Ok(());
        };
        if inside || within.len() > DEPTH {
            within.push(name.to_owned());
            let fault = at(site, "bake-cycle", format!("group `{name}` contains itself"));
            return Err(fault.note(format!("the way round: {}", within.join(" → "))).into());
        }
        if found.groups.iter().any(|group| group == name) {
            return Ok(());
        }
        within.push(name.to_owned());
        found.groups.push(name.to_owned());
        for target in &group.targets {
            self.open(target, group.site.as_ref(), within, found)?;
        }
        within.pop();
        Ok(())
    }

    /// A target with all that it inherits, and what is set for it.
    fn target(&self, name: &str) -> Result<Target> {
        let mut target = self.inherit(name, None, &mut BTreeMap::new(), 0)?.unwrap_or_default();
        target.inherits.clear();
        target.context.get_or_insert_with(|| ".".to_owned());
        if target.dockerfile.as_deref().unwrap_or_default().is_empty() {
            target.dockerfile = Some("Dockerfile".to_owned());
        }
        Ok(target)
    }

    /// `None`: the target is being put together further up, so that it adds nothing here.
    fn inherit(
        &self,
        name: &str,
        site: Option<&Site>,
        seen: &mut BTreeMap<String, Option<Target>>,
        depth: usize,
    ) -> Result<Option<Target>> {
        if let Some(target) = seen.get(name) {
            return Ok(target.clone());
        }
        let Some(own) = self.config.targets.get(name) else {
            return Err(self.unknown(name, site, "there is no target"));
        };
        if depth > DEPTH {
            return Err(at(site, "bake-limit", format!("inheritance goes more than {DEPTH} deep")).into());
        }
        seen.insert(name.to_owned(), None);
        let mut target = Target::default();
        for (parent, site) in &own.inherits {
            if let Some(parent) = self.inherit(parent, site.as_ref(), seen, depth + 1)? {
                target.merge(parent);
            }
        }
        target.merge(own.clone());
        set::apply(&mut target, name, self.overrides, self.environment)?;
        target.normalise();
        seen.insert(name.to_owned(), Some(target.clone()));
        Ok(Some(target))
    }

    /// Brings in the targets that a target's contexts name.
    fn link(&self, name: &str, links: &mut Links) -> Result<()> {
        let Some(target) = links.targets.get(name).filter(|_| !links.done.contains(name)).cloned() else {
            return Ok(());
        };
        links.way.push(name.to_owned());
        for (context, value) in &target.contexts {
            let Some(used) = value.strip_prefix("target:") else { continue };
            let site = target.sites.get(&format!("contexts.{context}"));
            self.bring_in(used, site, links)?;
            let Some(linked) = links.targets.get(used).cloned() else { continue };
            let (wanted, has) = (listed(&target.platforms), listed(&linked.platforms));
            if wanted.len() > 1 && has.len() > 1 && !wanted.iter().all(|platform| has.contains(platform)) {
                let message =
                    format!("`{name}` is for {}, and `{used}` only for {}", wanted.join(", "), has.join(", "));
                return Err(at(site, "bake-platforms", message).into());
            }
            if let Some(target) = links.targets.get_mut(name) {
                let more = linked.entitlements.into_iter().filter(|right| !target.entitlements.contains(right));
                let more: Vec<String> = more.collect();
                target.entitlements.extend(more);
            }
        }
        links.way.pop();
        links.done.insert(name.to_owned());
        Ok(())
    }

    /// A target that another uses: built without being asked for, it is only there for others.
    fn bring_in(&self, used: &str, site: Option<&Site>, links: &mut Links) -> Result<()> {
        if let Some(from) = links.way.iter().position(|other| other == used) {
            let way: Vec<&str> = links.way[from..].iter().map(String::as_str).chain([used]).collect();
            let fault = at(site, "bake-cycle", format!("target `{used}` needs itself"));
            return Err(fault.note(format!("the way round: {}", way.join(" → "))).into());
        }
        if links.way.len() > DEPTH {
            return Err(at(site, "bake-limit", format!("targets use each other more than {DEPTH} deep")).into());
        }
        if !self.config.targets.contains_key(used) {
            return Err(self.unknown(used, site, "there is no target"));
        }
        if !links.targets.contains_key(used) {
            let mut linked = self.target(used)?;
            linked.output = Some(vec![entry::Entry::of([("type", "cacheonly")])]);
            linked.linked = true;
            links.targets.insert(used.to_owned(), linked);
        }
        self.link(used, links)
    }
}

fn listed(list: &Option<Vec<String>>) -> &[String] {
    list.as_deref().unwrap_or_default()
}

/// Paths are printed as short as they can be; `cwd://` says that they are relative to here, which they are.
fn settle_paths(target: &mut Target) {
    if let Some(context) = &mut target.context
        && !paths::is_address(context)
    {
        *context = paths::clean(context.strip_prefix("cwd://").unwrap_or(context));
    }
    for context in target.contexts.values_mut() {
        if let Some(path) = context.strip_prefix("cwd://") {
            *context = paths::clean(path);
        }
    }
    if let Some(path) = target.dockerfile.as_deref().and_then(|path| path.strip_prefix("cwd://")) {
        target.dockerfile = Some(paths::clean(path));
    }
}

/// What `--list targets` tells of a name.
pub fn described(group: &Group) -> String {
    let targets = group.targets.join(", ");
    match &group.description {
        Some(text) if !text.is_empty() => format!("{text} ({targets})"),
        _ => targets,
    }
}

/// A variable's value as text; `None`: null.
pub fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        value => Some(value.text().unwrap_or_else(|| value.json())),
    }
}
