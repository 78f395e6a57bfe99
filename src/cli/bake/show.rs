//! `bake --print` and `bake --list`.

use crate::bake::{self, Config, Definition};
use crate::base::text;
use crate::cli::failure::{Code, Failure};
use crate::ui::out;
use crate::ui::table::Table;
use serde::Serialize;

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

#[derive(Serialize)]
struct TargetRow<'c> {
    name: &'c str,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    group: bool,
}

fn list_targets(config: &Config, as_json: bool) -> Result<(), Failure> {
    let description = |target: &bake::Target| target.description.clone().unwrap_or_default();
    let targets = config.targets.iter();
    let targets = targets.map(|(name, of)| TargetRow { name, description: description(of), group: false });
    let groups = config.groups.iter();
    let groups = groups.map(|(name, of)| TargetRow { name, description: bake::described(of), group: true });
    let mut rows: Vec<TargetRow<'_>> = targets.chain(groups).collect();
    rows.sort_by_key(|row| (row.name, row.group));
    if as_json {
        return print_json(&rows);
    }
    let mut table = Table::new(&["TARGET", "DESCRIPTION"]);
    for row in rows {
        table.row([row.name.to_owned(), row.description]);
    }
    out::write(table.render().as_bytes())?;
    Ok(())
}

#[derive(Serialize)]
struct VariableRow<'c> {
    name: &'c str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'c str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

impl VariableRow<'_> {
    fn of(variable: &bake::Variable) -> VariableRow<'_> {
        let bake::Variable { name, kind, value, description } = variable;
        VariableRow { name, kind: kind.as_deref(), description, value: bake::shown(value) }
    }
}

fn list_variables(config: &Config, as_json: bool) -> Result<(), Failure> {
    let rows: Vec<VariableRow<'_>> = config.variables.iter().map(VariableRow::of).collect();
    if as_json {
        return print_json(&rows);
    }
    let mut table = Table::new(&["VARIABLE", "TYPE", "VALUE", "DESCRIPTION"]);
    for VariableRow { name, kind, value, description } in rows {
        let value = value.unwrap_or_else(|| "<null>".to_owned());
        table.row([name.to_owned(), kind.unwrap_or_default().to_owned(), value, description.to_owned()]);
    }
    out::write(table.render().as_bytes())?;
    Ok(())
}

fn print_json<T: Serialize>(rows: &[T]) -> Result<(), Failure> {
    out::line(&serde_json::to_string_pretty(rows).map_err(|error| Failure::new(Code::Bug, error))?)?;
    Ok(())
}
