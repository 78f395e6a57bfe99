//! Data files (JSON, TOML) as bodies: HCL's JSON form. Which entries are blocks, their names say; every string is a template.

use super::expr::{Attribute, Block, Body, Expr, Kind};
use super::fault::Result;
use super::hcl;
use super::node::{Data, Key, Node};
use super::value::Value;

/// The blocks of a file, which have a label each.
const LABELLED: [&str; 4] = ["group", "target", "variable", "function"];

/// Reads a file's root.
///
/// # Errors
/// It is no map, or a block is none, or a string is no template.
pub fn body(root: &Node) -> Result<Body> {
    let mut body = Body::default();
    for (key, node) in root.entries("the file")? {
        if !LABELLED.contains(&key.text.as_str()) {
            body.attributes.push(attribute(key, node)?);
            continue;
        }
        for blocks in one_or_many(node) {
            for (label, block) in blocks.entries(&format!("`{}`", key.text))? {
                for block in one_or_many(block) {
                    body.blocks.push(Block {
                        kind: key.text.clone(),
                        site: label.site.clone(),
                        labels: vec![(label.text.clone(), label.site.clone())],
                        body: inner(&key.text, &label.text, block)?,
                    });
                }
            }
        }
    }
    Ok(body)
}

/// A block that is written several times is a list.
fn one_or_many(node: &Node) -> &[Node] {
    match &node.data {
        Data::List(items) => items,
        _ => std::slice::from_ref(node),
    }
}

fn inner(kind: &str, label: &str, node: &Node) -> Result<Body> {
    let mut body = Body::default();
    for (key, node) in node.entries(&format!("{kind} `{label}`"))? {
        if kind == "variable" && key.text == "validation" {
            for block in one_or_many(node) {
                let body_of = inner("validation", label, block)?;
                body.blocks.push(Block {
                    kind: key.text.clone(),
                    site: key.site.clone(),
                    labels: Vec::new(),
                    body: body_of,
                });
            }
        } else if kind == "variable" && key.text == "type" {
            let value = match &node.data {
                Data::String(text) => hcl::expression(text, &node.site)?,
                _ => return Err(node.unfit("a type", "a string")),
            };
            body.attributes.push(Attribute { name: key.text.clone(), site: key.site.clone(), value });
        } else {
            body.attributes.push(attribute(key, node)?);
        }
    }
    Ok(body)
}

fn attribute(key: &Key, node: &Node) -> Result<Attribute> {
    Ok(Attribute { name: key.text.clone(), site: key.site.clone(), value: expr(node)? })
}

fn expr(node: &Node) -> Result<Expr> {
    let kind = match &node.data {
        Data::Null => Kind::Literal(Value::Null),
        Data::Bool(value) => Kind::Literal((*value).into()),
        Data::Number(number) => Kind::Literal((*number).into()),
        Data::String(text) => return hcl::template(text, &node.site),
        Data::List(items) => Kind::List(items.iter().map(expr).collect::<Result<_>>()?),
        Data::Map(entries) => {
            let entry = |(key, node): &(Key, Node)| Ok((hcl::template(&key.text, &key.site)?, expr(node)?));
            Kind::Map(entries.iter().map(entry).collect::<Result<_>>()?)
        }
    };
    Ok(Expr { site: node.site.clone(), kind })
}
