//! Compose files: each service that has a `build:` is a target, and all of them are the group `default`.

mod build;
pub mod dotenv;
pub mod interpolate;
mod reader;

use super::config::Config;
use super::decode::{Group, check_name};
use super::fault::{Result, Site, suggest};
use super::node::{Data, Node};
use super::target::{Pairs, Target};
use crate::diag::Diagnostic;
use reader::Reader;
use std::collections::BTreeMap;

/// How many services may extend each other in a row.
const DEPTH: usize = 32;

/// A service, as far as it concerns building.
#[derive(Clone, Default)]
struct Service {
    image: Option<String>,
    build: Option<Target>,
    environment: Pairs,
    extends: Option<(String, Site)>,
    site: Option<Site>,
}

impl Service {
    /// Puts another file's word, or what extends this, over it. Lists go on.
    fn merge(&mut self, over: Service) {
        self.image = over.image.or(self.image.take());
        self.environment.extend(over.environment);
        self.extends = over.extends.or(self.extends.take());
        self.site = self.site.take().or(over.site);
        match (&mut self.build, over.build) {
            (Some(build), Some(mut over)) => {
                for (own, more) in [(&mut build.tags, &mut over.tags), (&mut build.platforms, &mut over.platforms)] {
                    own.get_or_insert_default().extend(more.take().unwrap_or_default());
                }
                let cache = over.cache_to.take().unwrap_or_default();
                build.cache_to.get_or_insert_default().extend(cache);
                build.merge(over);
            }
            (build @ None, over) => *build = over,
            (Some(_), None) => {}
        }
    }
}

/// Reads compose files as one: later ones are put over earlier ones.
pub fn read(
    files: &[Node],
    environment: &BTreeMap<String, String>,
    config: &mut Config,
    warnings: &mut Vec<Diagnostic>,
) -> Result<()> {
    let mut reader = Reader::new(environment);
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    let secrets = build::secrets(files, &mut reader)?;
    for file in files {
        for (key, node) in file.entries("a compose file")? {
            match key.text.as_str() {
                "services" => {
                    for (name, node) in node.entries("`services`")? {
                        let service = service(node, &name.site, &secrets, &mut reader)?;
                        services.entry(name.text.clone()).or_default().merge(service);
                    }
                }
                "include" => {
                    let fault = key.site.error("bake-compose", "`include` is not read");
                    return Err(fault.help("name the other files with -f").into());
                }
                _ => {}
            }
        }
    }
    let mut names = Vec::new();
    for (name, service) in &services {
        let mut whole = extended(name, service, &services, 0)?;
        let Some(mut target) = whole.build.take() else { continue };
        let name = name.replace('.', "_");
        if let Some(site) = &service.site {
            check_name(&name, site)?;
        }
        build::settle(&mut target, whole.image, &whole.environment, environment);
        config.targets.insert(name.clone(), target);
        names.push(name);
    }
    if !services.is_empty() {
        config.groups.insert("default".to_owned(), Group { targets: names, ..Group::default() });
    }
    warnings.append(&mut reader.warnings);
    Ok(())
}

/// A service with what it extends below it.
fn extended(name: &str, service: &Service, services: &BTreeMap<String, Service>, depth: usize) -> Result<Service> {
    let Some((base, site)) = &service.extends else { return Ok(service.clone()) };
    let Some(found) = services.get(base) else {
        let fault = site.error("bake-unknown-target", format!("there is no service `{base}`"));
        return Err(suggest(fault, base, services.keys().map(String::as_str)).into());
    };
    if depth >= DEPTH || base == name {
        return Err(site.error("bake-cycle", format!("service `{name}` extends itself")).into());
    }
    let mut whole = extended(base, found, services, depth + 1)?;
    whole.merge(service.clone());
    Ok(whole)
}

fn service(
    node: &Node,
    site: &Site,
    secrets: &BTreeMap<String, build::SecretSource>,
    reader: &mut Reader<'_>,
) -> Result<Service> {
    let mut service = Service { site: Some(site.clone()), ..Service::default() };
    for (key, node) in node.entries("a service")? {
        match key.text.as_str() {
            "image" => service.image = reader.text(node, "`image`")?,
            "build" => service.build = build::read(node, secrets, reader)?,
            "environment" => service.environment = reader.pairs(node, "`environment`")?,
            "extends" => {
                let base = match &node.data {
                    Data::Map(_) if node.get("file").is_some() => {
                        let fault = node.site.error("bake-compose", "`extends` from another file is not read");
                        return Err(fault.help("name the other file with -f").into());
                    }
                    Data::Map(_) => {
                        node.get("service").ok_or_else(|| node.unfit("`extends`", "the name of a service"))?
                    }
                    _ => node,
                };
                service.extends = Some((reader.some_text(base, "`extends`")?, base.site.clone()));
            }
            _ => {}
        }
    }
    Ok(service)
}
