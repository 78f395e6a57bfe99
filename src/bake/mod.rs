//! Several images from one definition: `docker-bake.hcl`, `docker-bake.json`, compose files, and `rbuild.toml`, which is the
//! JSON form in TOML. From files to targets as data; nothing here builds, or looks at more than the text it is given.
//!
//! Files are read into bodies ([`files`], each form in its own file), names are given a meaning ([`scope`]), expressions
//! values ([`eval`]), blocks become targets ([`decode`]), and what the command line wants of them is put together
//! ([`resolve`]). Faults are diagnostics with a place in the file. What is read is bounded: files, nesting, what aliases
//! and expressions unfold to.

mod compose;
mod config;
mod data;
mod decode;
mod entry;
mod eval;
mod expr;
mod fault;
pub mod files;
mod functions;
mod hcl;
mod json;
mod node;
mod paths;
mod resolve;
mod scope;
mod set;
mod target;
mod toml;
mod types;
mod value;
mod yaml;

pub use config::{Config, Definition, Surroundings};
pub use decode::Group;
pub use entry::{Entry, Secret, Ssh};
pub use fault::{Fault, Result, Site, at, plain};
pub use paths::is_address;
pub use resolve::{described, shown};
pub use scope::Variable;
pub use target::{Pairs, Target};

use crate::diag::{Diagnostic, Source};
use std::collections::BTreeMap;

/// Reads files and evaluates all that is in them. What is likely not as meant goes to `warnings`.
///
/// # Errors
/// The first fault that is found.
pub fn load(sources: &[Source], surroundings: &Surroundings, warnings: &mut Vec<Diagnostic>) -> Result<Config> {
    let mut config = Config::default();
    let mut services = Vec::new();
    let mut body = expr::Body::default();
    for source in sources {
        match files::read(source)? {
            files::File::Compose(node) => services.push(node),
            files::File::Bake(more) => body.append(more),
        }
    }
    if !services.is_empty() {
        let mut environment = surroundings.environment.clone();
        if let Some(dotenv) = &surroundings.dotenv {
            compose::dotenv::read(dotenv.text(), &mut environment).map_err(|(line, why)| {
                let start: usize = dotenv.text().split_inclusive('\n').take(line - 1).map(str::len).sum();
                Site::new(dotenv, start, start + dotenv.line(line).len()).error("bake-syntax", why)
            })?;
        }
        compose::read(&services, &environment, &mut config, warnings)?;
    }
    bake(&body, surroundings, &mut config, warnings)?;
    Ok(config)
}

/// Puts what bake files define over what compose files do.
fn bake(
    body: &expr::Body,
    surroundings: &Surroundings,
    config: &mut Config,
    warnings: &mut Vec<Diagnostic>,
) -> Result<()> {
    const KINDS: [&str; 4] = ["target", "group", "variable", "function"];
    let given = BTreeMap::from([
        ("BAKE_CMD_CONTEXT", "cwd://".to_owned()),
        ("BAKE_LOCAL_PLATFORM", surroundings.platform.clone()),
    ]);
    let mut scope = scope::Scope::new(body, &surroundings.environment, given)?;
    let mut made = Vec::new();
    for block in &body.blocks {
        match block.kind.as_str() {
            "group" => {
                let (name, site) = scope::label(block)?;
                decode::check_name(name, site)?;
                scope.add_instance(block, name, scope::Matrix::new());
            }
            "target" => {
                for (name, matrix) in decode::instances(block, &mut scope)? {
                    scope.add_instance(block, &name, matrix.clone());
                    made.push((block, name, matrix));
                }
            }
            kind if !KINDS.contains(&kind) => {
                let warning =
                    block.site.warning("bake-attribute", format!("there are no blocks `{kind}`: it is ignored"));
                warnings.push(fault::suggest(warning, kind, KINDS));
            }
            _ => {}
        }
    }
    config.variables = scope.check()?;
    for block in body.blocks.iter().filter(|block| block.kind == "group") {
        let group = decode::group(block, &mut scope)?;
        config.groups.insert(scope::label(block)?.0.clone(), group);
    }
    for (block, name, matrix) in &made {
        let target = decode::target(block, matrix, &mut scope, warnings)?;
        config.targets.entry(name.clone()).or_default().merge(target);
    }
    // The name of a block with a matrix stands for all that it makes.
    for (block, name, _) in made {
        let own = &scope::label(block)?.0;
        if *own != name {
            config.groups.entry(own.clone()).or_default().targets.push(name);
        }
    }
    Ok(())
}

/// What to build for these targets (none: `default`), with these overrides (`TARGET.KEY=VALUE`).
///
/// # Errors
/// A target or an override is not there, or targets need each other.
pub fn resolve(
    config: &Config,
    targets: &[String],
    overrides: &[String],
    surroundings: &Surroundings,
) -> Result<Definition> {
    let overrides: Vec<set::Override> =
        overrides.iter().map(|text| set::Override::parse(text)).collect::<Result<_>>()?;
    resolve::resolve(config, targets, &overrides, &surroundings.environment)
}

#[cfg(test)]
mod tests;
