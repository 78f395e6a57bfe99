//! A target: what one image is built from and how, as a definition says it.

use super::entry::{Entry, Secret, Ssh};
use super::fault::Site;
use serde::Serialize;
use std::collections::BTreeMap;

/// Names and values; a value of null leaves what another definition says.
pub type Pairs = BTreeMap<String, Option<String>>;

/// A target. Fields are attributes of the file, in the order in which buildx prints them.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Target {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Targets whose attributes it takes where it has none.
    #[serde(skip)]
    pub inherits: Vec<(String, Option<Site>)>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "escaped_list")]
    pub annotations: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attest: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Named contexts; an empty value takes one away.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "escaped_text")]
    pub dockerfile_inline: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "escaped_pairs")]
    pub args: Pairs,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "escaped_pairs")]
    pub labels: Pairs,
    #[serde(skip_serializing_if = "is_empty")]
    pub tags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<Entry>,
    #[serde(skip_serializing_if = "is_empty")]
    pub cache_to: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret: Vec<Secret>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<Ssh>,
    #[serde(skip_serializing_if = "is_empty")]
    pub platforms: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_empty")]
    pub output: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_cache: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_cache_filter: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entitlements: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "escaped_pairs")]
    pub extra_hosts: Pairs,
    /// Where attributes stand, and entries of `contexts` as `contexts.NAME`.
    #[serde(skip)]
    pub sites: BTreeMap<String, Site>,
    /// Whether it is built only because others use it.
    #[serde(skip)]
    pub linked: bool,
}

fn is_empty<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

/// What is printed can be read again: a literal `${` is written as HCL writes it.
fn escaped(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

fn escaped_text<S: serde::Serializer>(text: &Option<String>, out: S) -> Result<S::Ok, S::Error> {
    text.as_deref().map(escaped).serialize(out)
}

fn escaped_list<S: serde::Serializer>(list: &[String], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(list.iter().map(|text| escaped(text)))
}

fn escaped_pairs<S: serde::Serializer>(pairs: &Pairs, out: S) -> Result<S::Ok, S::Error> {
    out.collect_map(pairs.iter().map(|(key, value)| (key, value.as_deref().map(escaped))))
}

fn overlay(pairs: &mut Pairs, over: Pairs) {
    pairs.extend(over.into_iter().filter(|(_, value)| value.is_some()));
}

fn replace<T>(old: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *old = new;
    }
}

impl Target {
    /// Puts what `over` says over this: single values, tags, platforms, outputs and `cache-to` replace, maps are merged by
    /// name, other lists are continued.
    pub fn merge(&mut self, over: Target) {
        replace(&mut self.description, over.description);
        self.inherits.extend(over.inherits);
        self.annotations.extend(over.annotations);
        merge_attest(&mut self.attest, over.attest);
        replace(&mut self.context, over.context);
        self.contexts.extend(over.contexts);
        replace(&mut self.dockerfile, over.dockerfile);
        replace(&mut self.dockerfile_inline, over.dockerfile_inline);
        overlay(&mut self.args, over.args);
        overlay(&mut self.labels, over.labels);
        replace(&mut self.tags, over.tags);
        self.cache_from.extend(over.cache_from);
        replace(&mut self.cache_to, over.cache_to);
        replace(&mut self.target, over.target);
        self.secret.extend(over.secret);
        self.ssh.extend(over.ssh);
        replace(&mut self.platforms, over.platforms);
        replace(&mut self.output, over.output);
        replace(&mut self.pull, over.pull);
        replace(&mut self.no_cache, over.no_cache);
        replace(&mut self.network, over.network);
        self.no_cache_filter.extend(over.no_cache_filter);
        replace(&mut self.shm_size, over.shm_size);
        self.ulimits.extend(over.ulimits);
        replace(&mut self.call, over.call);
        self.entitlements.extend(over.entitlements);
        overlay(&mut self.extra_hosts, over.extra_hosts);
        self.sites.extend(over.sites);
    }

    /// Takes out what is there twice or empty.
    pub fn normalise(&mut self) {
        once(&mut self.annotations);
        once(&mut self.no_cache_filter);
        once(&mut self.ulimits);
        for list in [&mut self.tags, &mut self.platforms].into_iter().flatten() {
            once(list);
        }
        if self.network.as_deref() == Some("host") {
            self.entitlements.push("network.host".to_owned());
        }
        once(&mut self.entitlements);
        let mut attest = Vec::new();
        merge_attest(&mut attest, std::mem::take(&mut self.attest));
        self.attest = attest;
        dedup(&mut self.cache_from);
        self.cache_to.iter_mut().chain(&mut self.output).for_each(dedup);
        dedup(&mut self.secret);
        dedup(&mut self.ssh);
        self.contexts.retain(|_, value| !value.is_empty());
        for pairs in [&mut self.args, &mut self.labels, &mut self.extra_hosts] {
            pairs.retain(|_, value| value.is_some());
        }
    }
}

/// One attestation a kind: a later one takes the earlier one's place.
pub fn merge_attest(attest: &mut Vec<Entry>, over: Vec<Entry>) {
    for entry in over {
        match attest.iter_mut().find(|old| old.kind() == entry.kind()) {
            Some(old) => *old = entry,
            None => attest.push(entry),
        }
    }
}

fn once(list: &mut Vec<String>) {
    dedup(list);
    list.retain(|text| !text.is_empty());
}

fn dedup<T: PartialEq>(list: &mut Vec<T>) {
    let mut kept: Vec<T> = Vec::with_capacity(list.len());
    for item in std::mem::take(list) {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    *list = kept;
}
