//! Entries of caches, outputs, attestations, secrets and ssh agents: maps, or docker's comma-separated lists.

use super::value::Value;
use crate::base::text;
use serde::Serialize;
use std::collections::BTreeMap;

/// A cache, an output or an attestation: `type` and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Entry(pub BTreeMap<String, String>);

/// A secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// What steps call it.
    pub id: String,
    /// The file that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<String>,
    /// The environment variable that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

/// An ssh agent, or keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ssh {
    /// What steps call it.
    pub id: String,
    /// The agent's socket; files with keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// An entry, or why the value is none.
pub type Parsed<T> = Result<T, String>;

type Fields = BTreeMap<String, Value>;

impl Entry {
    /// What it is: its `type`.
    pub fn kind(&self) -> &str {
        self.0.get("type").map_or("", String::as_str)
    }

    /// A value of it.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// An entry with these values.
    pub fn of<const N: usize>(values: [(&str, &str); N]) -> Entry {
        Entry(values.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    /// As docker writes it on a command line.
    pub fn line(&self) -> String {
        let field = |(key, value): (&String, &String)| {
            let field = format!("{key}={value}");
            if field.contains([',', '"']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
        };
        self.0.iter().map(field).collect::<Vec<_>>().join(",")
    }

    /// A cache: an image's name alone is one in a registry.
    pub fn cache(value: &Value) -> Parsed<Option<Entry>> {
        if let Value::String(name) = value
            && !name.contains('=')
        {
            return Ok((!name.is_empty()).then(|| Entry::of([("type", "registry"), ("ref", name)])));
        }
        entry(value, "a cache")
    }

    /// An output: a path alone is a directory, `-` a tar on standard output.
    pub fn output(value: &Value) -> Parsed<Option<Entry>> {
        match value {
            Value::String(text) if text == "-" => Ok(Some(Entry::of([("type", "tar"), ("dest", "-")]))),
            Value::String(text) if !text.is_empty() && !text.contains("type=") && !text.contains(',') => {
                Ok(Some(Entry::of([("type", "local"), ("dest", text)])))
            }
            value => entry(value, "an output"),
        }
    }

    /// An attestation.
    pub fn attest(value: &Value) -> Parsed<Option<Entry>> {
        entry(value, "an attestation")
    }
}

fn entry(value: &Value, what: &str) -> Parsed<Option<Entry>> {
    let Some(fields) = fields(value, what)? else { return Ok(None) };
    let mut values = BTreeMap::new();
    for (key, value) in fields {
        values.insert(key.clone(), value.text().ok_or_else(|| format!("`{key}` of {what} must be text"))?);
    }
    if values.get("type").is_none_or(String::is_empty) {
        return Err(format!("{what} needs a type, as in type=…"));
    }
    Ok(Some(Entry(values)))
}

/// The fields of a map or a list of `key=value`; `None` if it is empty text.
fn fields(value: &Value, what: &str) -> Parsed<Option<Fields>> {
    match value {
        Value::Map(values) => {
            Ok(Some(values.iter().filter(|(_, v)| **v != Value::Null).map(|(k, v)| (k.clone(), v.clone())).collect()))
        }
        Value::String(line) if line.is_empty() => Ok(None),
        Value::String(line) => {
            let pairs = text::pairs(line).map_err(str::to_owned)?;
            let pair = |(key, value): (String, Option<String>)| match value {
                Some(value) => Ok((key, value.into())),
                None => Err(format!("`{key}` in {what} must be key=value")),
            };
            pairs.into_iter().map(pair).collect::<Parsed<Fields>>().map(Some)
        }
        other => Err(format!("{what} is {}, and must be a map or text", other.kind())),
    }
}

impl Secret {
    /// Reads one.
    pub fn read(value: &Value) -> Parsed<Option<Secret>> {
        let Some(fields) = fields(value, "a secret")? else { return Ok(None) };
        let mut secret = Secret::default();
        let mut from_environment = false;
        for (key, value) in &fields {
            let text = value.text().ok_or_else(|| format!("`{key}` of a secret must be text"))?;
            match key.as_str() {
                "id" => secret.id = text,
                "src" | "source" => secret.src = Some(text),
                "env" => secret.env = Some(text),
                "type" if text == "env" => from_environment = true,
                "type" if text == "file" => {}
                "type" => return Err(format!("a secret has no type '{text}' (file, env)")),
                other => return Err(format!("a secret has no `{other}` (id, src, env, type)")),
            }
        }
        if from_environment && secret.env.is_none() {
            secret.env = secret.src.take();
        }
        Ok(Some(secret))
    }

    /// As docker writes it on a command line.
    pub fn line(&self) -> String {
        let fields = [("id", Some(&self.id)), ("src", self.src.as_ref()), ("env", self.env.as_ref())];
        let fields = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.clone())));
        Entry(fields.collect()).line()
    }
}

impl Ssh {
    /// Reads one: `default`, `ID=PATH[,PATH…]`, or a map with `id` and `paths`.
    pub fn read(value: &Value) -> Parsed<Option<Ssh>> {
        match value {
            Value::String(line) if line.is_empty() => Ok(None),
            Value::String(line) => Ok(Some(match line.split_once('=') {
                None => Ssh { id: line.clone(), paths: Vec::new() },
                Some((id, paths)) => Ssh { id: id.to_owned(), paths: paths.split(',').map(str::to_owned).collect() },
            })),
            Value::Map(values) => {
                let mut ssh = Ssh::default();
                for (key, value) in values {
                    match (key.as_str(), value) {
                        ("id", value) => ssh.id = value.text().ok_or("`id` of an ssh agent must be text")?,
                        ("paths", Value::List(paths)) => {
                            let paths: Option<Vec<String>> = paths.iter().map(Value::text).collect();
                            ssh.paths = paths.ok_or("`paths` of an ssh agent must be texts")?;
                        }
                        (_, Value::Null) => {}
                        (other, _) => return Err(format!("an ssh agent has no such `{other}` (id, paths)")),
                    }
                }
                Ok(Some(ssh))
            }
            other => Err(format!("an ssh agent is {}, and must be a map or text", other.kind())),
        }
    }

    /// As docker writes it on a command line.
    pub fn line(&self) -> String {
        if self.paths.is_empty() { self.id.clone() } else { format!("{}={}", self.id, self.paths.join(",")) }
    }
}
