//! TOML files as nodes.

use super::fault::{Result, Site};
use super::node::{Data, Key, Node};
use crate::diag::Source;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads a file.
///
/// # Errors
/// The text is not TOML, or nests deeper than the reader takes.
pub fn read(source: &Source) -> Result<Node> {
    let table = DeTable::parse(source.text()).map_err(|error| {
        let span = error.span().unwrap_or_default();
        Site::new(source, span.start, span.end).error("bake-syntax", format!("not TOML: {}", error.message()))
    })?;
    let span = table.span();
    Ok(Node { site: Site::new(source, span.start, span.end), data: map(source, table.get_ref())? })
}

fn map(source: &Source, table: &DeTable<'_>) -> Result<Data> {
    let mut entries = Vec::with_capacity(table.len());
    for (name, value) in table {
        let span = name.span();
        let key = Key { site: Site::new(source, span.start, span.end), text: name.get_ref().to_string() };
        entries.push((key, node(source, value)?));
    }
    entries.sort_by_key(|(key, _)| key.site.span.start);
    Ok(Data::Map(entries))
}

fn node(source: &Source, value: &Spanned<DeValue<'_>>) -> Result<Node> {
    let span = value.span();
    let site = Site::new(source, span.start, span.end);
    let number = |text: String| text.replace('_', "").parse::<f64>().ok().filter(|number| number.is_finite());
    let data = match value.get_ref() {
        DeValue::String(text) => Data::String(text.to_string()),
        DeValue::Boolean(value) => Data::Bool(*value),
        DeValue::Integer(value) => match i64::from_str_radix(value.as_str(), value.radix()) {
            Ok(value) => Data::Number(value as f64),
            Err(_) => return Err(site.error("bake-type", "a number out of range").into()),
        },
        DeValue::Float(value) => match number(value.to_string()) {
            Some(value) => Data::Number(value),
            None => return Err(site.error("bake-type", "neither infinity nor NaN has a meaning here").into()),
        },
        DeValue::Datetime(time) => Data::String(time.to_string()),
        DeValue::Array(items) => Data::List(items.iter().map(|item| node(source, item)).collect::<Result<_>>()?),
        DeValue::Table(table) => map(source, table)?,
    };
    Ok(Node { site, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_the_order_of_the_file() {
        let source = Source::new("rbuild.toml", "[target.b]\ntags = [\"x\", 1]\n[target.a]\nno-cache = true\n");
        let root = read(&source).unwrap();
        let targets = root.get("target").unwrap().entries("target").unwrap();
        let names: Vec<&str> = targets.iter().map(|(key, _)| key.text.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        let tags = targets[0].1.get("tags").unwrap();
        assert_eq!(&source.text()[tags.site.span.range()], "[\"x\", 1]");
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_place() {
        for (text, line) in [("a = ", 1), ("x = 1\nx = 2", 2), ("a = inf", 1), ("a = 99999999999999999999", 1)] {
            let fault = read(&Source::new("x", text)).unwrap_err();
            assert!(fault.place().unwrap().starts_with(&format!("x:{line}:")), "{text}: {fault:?}");
        }
        assert!(read(&Source::new("x", format!("a = {}", "[".repeat(100_000)))).is_err());
    }
}
