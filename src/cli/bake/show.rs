//! `bake --print` and `bake --list`.

use crate::bake::{self, Config, Definition};
use crate::base::text;
use crate::cli::failure::{Code, Failure};
use crate::ui::out;
use crate::ui::table::Table;
use serde_json::json;

/// What is listed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    variables: bool,
    json: bool,
}

impl Listing {
    /// For clap: `targets`, `variables`, or `type=targets,format=json`.
    pub fn parse(text: &str) -> Result<Listing, String> {
        let mut listing = Listing { variables: false, json: false };
        for (key, value) in text::pairs(text)? {
            match (key.as_str(), value.as_deref()) {
                ("targets", None) | ("type", Some("targets")) => listing.variables = false,
                ("variables", None) | ("type", Some("variables")) => listing.variables = true,
                ("format", Some("json")) => listing.json = true,
                ("format", Some("table")) => listing.json = false,
                _ => return Err("expected targets, variables, or type=targets|variables,format=table|json".into()),
            }
        }
        Ok(listing)
    }
}

/// Prints what would be built.
pub fn print(definition: &Definition) -> Result<(), Failure> {
    out::line(&definition.json().map_err(|error| Failure::new(Code::Bug, error))?)?;
    Ok(())
}

/// Lists what there is.
pub fn list(config: &Config, listing: Listing) -> Result<(), Failure> {
    if listing.variables { list_variables(config, listing.json) } else { list_targets(config, listing.json) }
}

fn list_targets(config: &Config, as_json: bool) -> Result<(), Failure> {
    let mut rows: Vec<(&str, String, bool)> = Vec::new();
    for (name, target) in &config.targets {
        rows.push((name, target.description.clone().unwrap_or_default(), false));
    }
    for (name, group) in &config.groups {
        rows.push((name, bake::described(group), true));
    }
    rows.sort();
    if as_json {
        let row = |(name, description, group): (&str, String, bool)| {
            let mut row = json!({ "name": name });
            if !description.is_empty() {
                row["description"] = description.into();
            }
            if group {
                row["group"] = true.into();
            }
            row
        };
        let rows: Vec<_> = rows.into_iter().map(row).collect();
        out::line(&format!("{:#}", json!(rows)))?;
        return Ok(());
    }
    let mut table = Table::new(&["TARGET", "DESCRIPTION"]);
    for (name, description, _) in rows {
        table.row([name.to_owned(), description]);
    }
    out::write(table.render().as_bytes())?;
    Ok(())
}

fn list_variables(config: &Config, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let row = |variable: &bake::Variable| {
            let mut row = json!({ "name": variable.name });
            if let Some(kind) = &variable.kind {
                row["type"] = kind.as_str().into();
            }
            if !variable.description.is_empty() {
                row["description"] = variable.description.as_str().into();
            }
            if let Some(value) = bake::shown(&variable.value) {
                row["value"] = value.into();
            }
            row
        };
        let rows: Vec<_> = config.variables.iter().map(row).collect();
        out::line(&format!("{:#}", json!(rows)))?;
        return Ok(());
    }
    let mut table = Table::new(&["VARIABLE", "TYPE", "VALUE", "DESCRIPTION"]);
    for variable in &config.variables {
        let value = bake::shown(&variable.value).unwrap_or_else(|| "<null>".to_owned());
        table.row([
            variable.name.clone(),
            variable.kind.clone().unwrap_or_default(),
            value,
            variable.description.clone(),
        ]);
    }
    out::write(table.render().as_bytes())?;
    Ok(())
}
