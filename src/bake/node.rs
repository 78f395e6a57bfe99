//! The tree that JSON, TOML and YAML files have in common, each node with its place.

use super::fault::{Result, Site};

/// A value of a data file.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands.
    pub site: Site,
    /// What it is.
    pub data: Data,
}

/// What a node may be.
#[derive(Clone, Debug)]
pub enum Data {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text.
    String(String),
    /// Nodes in order.
    List(Vec<Node>),
    /// Nodes by name, in the order of the file; no name twice.
    Map(Vec<(Key, Node)>),
}

/// The name of an entry.
#[derive(Clone, Debug)]
pub struct Key {
    /// Where it stands.
    pub site: Site,
    /// The name.
    pub text: String,
}

impl Node {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self.data {
            Data::Null => "null",
            Data::Bool(_) => "a bool",
            Data::Number(_) => "a number",
            Data::String(_) => "a string",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
        }
    }

    /// The entry of that name, if this is a map that has it.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The entries of a map; none for null. Anything else is an error that names `what`.
    pub fn entries(&self, what: &str) -> Result<&[(Key, Node)]> {
        match &self.data {
            Data::Map(entries) => Ok(entries),
            Data::Null => Ok(&[]),
            _ => Err(self.unfit(what, "a map")),
        }
    }

    /// The error that something else was wanted here.
    pub fn unfit(&self, what: &str, wanted: &str) -> super::fault::Fault {
        let message = format!("{what} is {}, and must be {wanted}", self.kind());
        self.site.error("bake-type", message).into()
    }

    /// As text, if it is a string, a number or a bool.
    pub fn text(&self) -> Option<String> {
        match &self.data {
            Data::String(text) => Some(text.clone()),
            Data::Number(number) => Some(format!("{number}")),
            Data::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }
}
