//! Values of compose files: variables replaced in every text.

use super::interpolate;
use crate::bake::fault::{Result, Site};
use crate::bake::node::{Data, Key, Node};
use crate::bake::target::Pairs;
use crate::diag::Diagnostic;
use std::collections::BTreeMap;

/// What texts in a compose file are read with.
pub struct Reader<'e> {
    environment: &'e BTreeMap<String, String>,
    /// What is likely not as meant.
    pub warnings: Vec<Diagnostic>,
}

impl<'e> Reader<'e> {
    /// Reads with an environment.
    pub fn new(environment: &'e BTreeMap<String, String>) -> Reader<'e> {
        Reader { environment, warnings: Vec::new() }
    }

    /// A text, with variables replaced; `None`: null.
    pub fn text(&mut self, node: &Node, what: &str) -> Result<Option<String>> {
        let Data::String(text) = &node.data else {
            return match node.data {
                Data::Null => Ok(None),
                _ => node.text().map(Some).ok_or_else(|| node.unfit(what, "text")),
            };
        };
        match interpolate::interpolate(text, self.environment) {
            Ok((text, unset)) => {
                for name in unset {
                    let message = format!("the variable {name} is not set: a blank string stands in for it");
                    let warning = node.site.warning("bake-unset", message);
                    self.warnings.push(warning.help(format!("${{{name}:-…}} gives a default")));
                }
                Ok(Some(text))
            }
            Err(broken) => {
                let Site { source, span } = &node.site;
                // The place within the text can be told where the file has it unchanged.
                let whole = &source.text()[span.range()];
                let site = match whole.find(text.as_str()) {
                    Some(offset) => Site::new(source, span.start + offset + broken.at, span.end),
                    None => node.site.clone(),
                };
                Err(site.error("bake-variable", broken.why).into())
            }
        }
    }

    /// A text that must be there.
    pub fn some_text(&mut self, node: &Node, what: &str) -> Result<String> {
        self.text(node, what)?.ok_or_else(|| node.unfit(what, "text"))
    }

    /// A list of texts.
    pub fn texts(&mut self, node: &Node, what: &str) -> Result<Vec<String>> {
        match &node.data {
            Data::Null => Ok(Vec::new()),
            Data::List(items) => items.iter().map(|item| self.some_text(item, what)).collect(),
            _ => Err(node.unfit(what, "a list")),
        }
    }

    /// A map, or a list of `name=value`; an entry without a value is null.
    pub fn pairs(&mut self, node: &Node, what: &str) -> Result<Pairs> {
        if let Data::List(items) = &node.data {
            let pair = |item: &Node| {
                let text = self.some_text(item, what)?;
                let split = text.split_once('=').map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
                Ok(split.unwrap_or((text, None)))
            };
            return items.iter().map(pair).collect();
        }
        let pair = |(key, node): &(Key, Node)| Ok((key.text.clone(), self.text(node, what)?));
        node.entries(what)?.iter().map(pair).collect()
    }

    /// True or false, or text that spells one.
    pub fn truth(&mut self, node: &Node, what: &str) -> Result<bool> {
        let text = self.some_text(node, what)?;
        crate::bake::value::Value::from(text).bool().ok_or_else(|| node.unfit(what, "true or false"))
    }
}
