//! JSON files as nodes. serde_json tells no places, but lends out the text of each value, and where that lies in the whole
//! is its place.

use super::fault::{Result, Site};
use super::node::{Data, Key, Node};
use crate::diag::Source;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Reads a file.
///
/// # Errors
/// The text is not JSON, nests deeper than serde_json takes (128), or has a name twice in one object.
pub fn read(source: &Source) -> Result<Node> {
    let text = source.text();
    let root: &RawValue = serde_json::from_str(text).map_err(|error| {
        let at = offset(text, error.line(), error.column());
        // The message ends with line and column, which the picture shows.
        let told = error.to_string();
        let reason = told.split(" at line ").next().unwrap_or(&told);
        Site::new(source, at, at + 1).error("bake-syntax", format!("not JSON: {reason}"))
    })?;
    node(source, root)
}

/// The byte at a line and column, which serde_json counts in bytes, from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn site(source: &Source, part: &str) -> Site {
    let start = (part.as_ptr() as usize).wrapping_sub(source.text().as_ptr() as usize);
    Site::new(source, start, start.saturating_add(part.len()))
}

fn node(source: &Source, raw: &RawValue) -> Result<Node> {
    let text = raw.get();
    let site = site(source, text);
    let wrong = |error: serde_json::Error| site.error("bake-syntax", format!("not JSON: {error}"));
    let data = match text.as_bytes().first() {
        Some(b'{') => {
            let mut entries: Vec<(Key, Node)> = Vec::new();
            for (name, value) in serde_json::Deserializer::from_str(text).deserialize_map(Entries).map_err(wrong)? {
                let place = match &name {
                    Cow::Borrowed(name) => self::site(source, name),
                    Cow::Owned(_) => self::site(source, value.get()),
                };
                if entries.iter().any(|(key, _)| key.text == name) {
                    return Err(place.error("bake-syntax", format!("`{name}` is there twice")).into());
                }
                entries.push((Key { site: place, text: name.into_owned() }, node(source, value)?));
            }
            Data::Map(entries)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
            Data::List(items.into_iter().map(|item| node(source, item)).collect::<Result<_>>()?)
        }
        _ => match serde_json::from_str(text).map_err(wrong)? {
            serde_json::Value::Bool(value) => Data::Bool(value),
            serde_json::Value::Number(number) => Data::Number(number.as_f64().unwrap_or_default()),
            serde_json::Value::String(text) => Data::String(text),
            _ => Data::Null,
        },
    };
    Ok(Node { site, data })
}

/// The entries of an object, in order, names borrowed where they need no unescaping.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((Name(name), value)) = map.next_entry()? {
            entries.push((name, value));
        }
        Ok(entries)
    }
}

/// A string, borrowed if possible: `Cow`'s own `Deserialize` always copies.
#[derive(serde::Deserialize)]
struct Name<'n>(#[serde(borrow)] Cow<'n, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_places() {
        let source = Source::new("x.json", r#"{"a": [1, {"b\n": "é"}]}"#);
        let root = read(&source).unwrap();
        let Data::List(items) = &root.get("a").unwrap().data else { panic!("{root:?}") };
        let text = |site: &Site| source.text()[site.span.range()].to_owned();
        assert_eq!(text(&items[0].site), "1");
        let (key, value) = &items[1].entries("x").unwrap()[0];
        assert_eq!((key.text.as_str(), text(&value.site).as_str()), ("b\n", "\"é\""));
    }

    #[test]
    fn what_is_not_json_is_told_with_its_place() {
        let cases = [("{\"a\": }", "1:7"), ("{\n  \"a\": 1,\n}", "3:1"), ("", "1:1"), (r#"{"a":1,"a":2}"#, "1:9")];
        for (text, place) in cases {
            let fault = read(&Source::new("x", text)).unwrap_err();
            assert_eq!(fault.place().unwrap(), format!("x:{place}"), "{text}: {}", fault.message);
        }
        let deep = "[".repeat(100_000);
        assert!(read(&Source::new("x", deep)).is_err());
    }
}
