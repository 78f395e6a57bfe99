//! Blocks `target` and `group` as targets and groups.

use super::entry::{Entry, Parsed, Secret, Ssh};
use super::expr::{Attribute, Block, Expr, Kind};
use super::fault::{Fault, Result, Site, suggest};
use super::scope::{Matrix, Scope, label};
use super::target::{Pairs, Target};
use super::value::Value;
use crate::diag::Diagnostic;
use std::collections::BTreeMap;

/// What a target may say, and what makes several of one.
const ATTRIBUTES: [&str; 29] = [
    "annotations",
    "args",
    "attest",
    "cache-from",
    "cache-to",
    "call",
    "context",
    "contexts",
    "description",
    "dockerfile",
    "dockerfile-inline",
    "entitlements",
    "extra-hosts",
    "inherits",
    "labels",
    "matrix",
    "name",
    "network",
    "no-cache",
    "no-cache-filter",
    "output",
    "platforms",
    "pull",
    "secret",
    "shm-size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

/// The most targets that one block may make.
const INSTANCES: usize = 4096;

/// Several targets or groups to build.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// What it is for.
    pub description: Option<String>,
    /// Names of targets and groups.
    pub targets: Vec<String>,
    /// Where they are listed.
    pub site: Option<Site>,
}

/// Whether a name can be one of a target: letters, digits, `_` and `-`.
///
/// # Errors
/// It can't.
pub fn check_name(name: &str, site: &Site) -> Result<()> {
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return Ok(());
    }
    let fault = site.error("bake-name", format!("'{name}' is no name for a target"));
    Err(fault.note("a name has letters, digits, `_` and `-`").help("sanitize(…) makes one of any text").into())
}

/// The targets that a block makes: one, or one for each combination of its matrix.
pub fn instances(block: &Block, scope: &mut Scope<'_>) -> Result<Vec<(String, Matrix)>> {
    let (own, site) = label(block)?;
    check_name(own, site)?;
    let Some(attribute) = block.body.attribute("matrix") else {
        return match block.body.attribute("name") {
            None => Ok(vec![(own.clone(), Matrix::new())]),
            Some(attribute) => Err(attribute.site.error("bake-attribute", "`name` needs a `matrix`").into()),
        };
    };
    let wrong = |what: &str| -> Fault { attribute.value.site.error("bake-type", what.to_owned()).into() };
    let Value::Map(axes) = scope.eval(&attribute.value, &Matrix::new())? else {
        return Err(wrong("a matrix must be a map of lists"));
    };
    let mut rows = vec![Matrix::new()];
    for (axis, values) in axes {
        let Value::List(values) = values else { return Err(wrong(&format!("`{axis}` of the matrix must be a list"))) };
        if rows.len().saturating_mul(values.len()) > INSTANCES {
            return Err(attribute
                .site
                .error("bake-limit", format!("more than {INSTANCES} targets of one block"))
                .into());
        }
        let with = |value: &Value, row: &Matrix| {
            let mut row = row.clone();
            row.insert(axis.clone(), value.clone());
            row
        };
        rows = values.iter().flat_map(|value| rows.iter().map(move |row| with(value, row))).collect();
    }
    let mut made: Vec<(String, Matrix)> = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(attribute) = block.body.attribute("name") else {
            return Err(attribute.site.error("bake-attribute", "a `matrix` needs a `name`").into());
        };
        let place = &attribute.value.site;
        let name = scope.eval(&attribute.value, &row)?.text();
        let name = name.ok_or_else(|| Fault::from(place.error("bake-type", "`name` must be text")))?;
        check_name(&name, place)?;
        if made.iter().any(|(other, _)| *other == name) {
            let fault = place.error("bake-name", format!("two targets of the matrix are called `{name}`"));
            return Err(fault.help("use every name of the matrix in it").into());
        }
        made.push((name, row));
    }
    Ok(made)
}

/// Reads a group.
pub fn group(block: &Block, scope: &mut Scope<'_>) -> Result<Group> {
    let mut group = Group::default();
    for attribute in &block.body.attributes {
        let reader = Reader { attribute, value: scope.eval(&attribute.value, &Matrix::new())? };
        match attribute.name.as_str() {
            "description" => group.description = reader.text()?,
            "targets" => {
                group.targets = reader.texts()?.unwrap_or_default();
                group.site = Some(attribute.value.site.clone());
            }
            other => {
                let fault = attribute.site.error("bake-attribute", format!("a group has no `{other}`"));
                return Err(suggest(fault, other, ["targets", "description"]).into());
            }
        }
    }
    Ok(group)
}

/// Reads a target.
pub fn target(block: &Block, matrix: &Matrix, scope: &mut Scope<'_>, warnings: &mut Vec<Diagnostic>) -> Result<Target> {
    let mut target = Target::default();
    if let Some(inner) = block.body.blocks.first() {
        let fault = inner.site.error("bake-syntax", format!("a target has no block `{}`", inner.kind));
        return Err(fault.help(format!("an attribute has `=`: {} = …", inner.kind)).into());
    }
    for attribute in &block.body.attributes {
        let name = attribute.name.as_str();
        if !ATTRIBUTES.contains(&name) {
            let warning = attribute.site.warning("bake-attribute", format!("a target has no `{name}`: it is ignored"));
            warnings.push(suggest(warning, name, ATTRIBUTES));
            continue;
        }
        if matches!(name, "matrix" | "name") {
            continue;
        }
        let reader = Reader { attribute, value: scope.eval(&attribute.value, matrix)? };
        if reader.value != Value::Null {
            target.sites.insert(name.to_owned(), attribute.value.site.clone());
        }
        set(&mut target, name, &reader)?;
    }
    Ok(target)
}

fn set(target: &mut Target, name: &str, reader: &Reader<'_>) -> Result<()> {
    let plural = |list: Option<Vec<String>>| list.unwrap_or_default();
    match name {
        "annotations" => target.annotations = plural(reader.texts()?),
        "args" => target.args = reader.pairs()?,
        "attest" => target.attest = reader.entries(Entry::attest)?.unwrap_or_default(),
        "cache-from" => target.cache_from = reader.entries(Entry::cache)?.unwrap_or_default(),
        "cache-to" => target.cache_to = reader.entries(Entry::cache)?,
        "call" => target.call = reader.text()?,
        "context" => target.context = reader.text()?,
        "contexts" => {
            for (key, value) in reader.pairs()? {
                target.sites.insert(format!("contexts.{key}"), reader.site_of(&key).clone());
                target.contexts.insert(key, value.unwrap_or_default());
            }
        }
        "description" => target.description = reader.text()?,
        "dockerfile" => target.dockerfile = reader.text()?,
        "dockerfile-inline" => target.dockerfile_inline = reader.text()?,
        "entitlements" => target.entitlements = plural(reader.texts()?),
        "extra-hosts" => target.extra_hosts = reader.pairs()?,
        "inherits" => {
            let names = plural(reader.texts()?).into_iter().enumerate();
            target.inherits = names.map(|(index, name)| (name, Some(reader.site_at(index).clone()))).collect();
        }
        "labels" => target.labels = reader.pairs()?,
        "network" => target.network = reader.text()?,
        "no-cache" => target.no_cache = reader.truth()?,
        "no-cache-filter" => target.no_cache_filter = plural(reader.texts()?),
        "output" => target.output = reader.entries(Entry::output)?,
        "platforms" => target.platforms = reader.texts()?,
        "pull" => target.pull = reader.truth()?,
        "secret" => target.secret = reader.entries(Secret::read)?.unwrap_or_default(),
        "shm-size" => target.shm_size = reader.text()?,
        "ssh" => target.ssh = reader.entries(Ssh::read)?.unwrap_or_default(),
        "tags" => target.tags = reader.texts()?,
        "target" => target.target = reader.text()?,
        _ => target.ulimits = plural(reader.texts()?),
    }
    Ok(())
}

/// An attribute and its value.
struct Reader<'b> {
    attribute: &'b Attribute,
    value: Value,
}

impl Reader<'_> {
    fn unfit(&self, wanted: &str) -> Fault {
        let Attribute { name, value, .. } = self.attribute;
        value.site.error("bake-type", format!("`{name}` is {}, and must be {wanted}", self.value.kind())).into()
    }

    /// Where an element of a list stands, if it is written out.
    fn site_at(&self, index: usize) -> &Site {
        let whole = &self.attribute.value;
        match &whole.kind {
            Kind::List(items) => items.get(index).map_or(&whole.site, |item| &item.site),
            _ => &whole.site,
        }
    }

    /// Where an entry of a map stands, if it is written out.
    fn site_of(&self, name: &str) -> &Site {
        let whole = &self.attribute.value;
        let Kind::Map(entries) = &whole.kind else { return &whole.site };
        let is_named = |key: &Expr| matches!(&key.kind, Kind::Literal(value) if value.text().as_deref() == Some(name));
        entries.iter().find(|(key, _)| is_named(key)).map_or(&whole.site, |(_, value)| &value.site)
    }

    fn text(&self) -> Result<Option<String>> {
        match &self.value {
            Value::Null => Ok(None),
            value => value.text().map(Some).ok_or_else(|| self.unfit("text")),
        }
    }

    fn truth(&self) -> Result<Option<bool>> {
        match &self.value {
            Value::Null => Ok(None),
            value => value.bool().map(Some).ok_or_else(|| self.unfit("true or false")),
        }
    }

    fn list(&self) -> Result<Option<&[Value]>> {
        match &self.value {
            Value::Null => Ok(None),
            Value::List(items) => Ok(Some(items)),
            _ => Err(self.unfit("a list")),
        }
    }

    fn texts(&self) -> Result<Option<Vec<String>>> {
        let name = &self.attribute.name;
        let text = |(index, item): (usize, &Value)| {
            let message = || format!("an element of `{name}` is {}, and must be text", item.kind());
            item.text().ok_or_else(|| self.site_at(index).error("bake-type", message()).into())
        };
        self.list()?.map(|items| items.iter().enumerate().map(text).collect()).transpose()
    }

    fn pairs(&self) -> Result<Pairs> {
        let entries: &BTreeMap<String, Value> = match &self.value {
            Value::Null => return Ok(Pairs::new()),
            Value::Map(entries) => entries,
            _ => return Err(self.unfit("a map")),
        };
        let name = &self.attribute.name;
        let pair = |(key, value): (&String, &Value)| {
            let message = || format!("`{key}` of `{name}` is {}, and must be text", value.kind());
            match value {
                Value::Null => Ok((key.clone(), None)),
                value => match value.text() {
                    Some(text) => Ok((key.clone(), Some(text))),
                    None => Err(self.site_of(key).error("bake-type", message()).into()),
                },
            }
        };
        entries.iter().map(pair).collect()
    }

    fn entries<T>(&self, read: impl Fn(&Value) -> Parsed<Option<T>>) -> Result<Option<Vec<T>>> {
        let Some(items) = self.list()? else { return Ok(None) };
        let mut entries = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match read(item) {
                Ok(entry) => entries.extend(entry),
                Err(why) => return Err(self.site_at(index).error("bake-type", why).into()),
            }
        }
        Ok(Some(entries))
    }
}
