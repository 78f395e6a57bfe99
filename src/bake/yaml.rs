//! YAML files as nodes: the events of a parser, with limits. Scalars follow the core schema of YAML 1.2, and `<<` merges, as
//! compose files use it.

use super::fault::{Result, Site};
use super::node::{Data, Key, Node};
use crate::diag::Source;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::borrow::Cow;
use std::collections::HashMap;

/// How deep collections may nest.
const DEPTH: usize = 64;

/// How many nodes a file may have, those that aliases stand for counted each time.
const NODES: usize = 100_000;

/// Reads the first document of a file. An empty one is null.
///
/// # Errors
/// The text is not YAML, it nests too deeply or unfolds to too much, or has a name twice in one map.
pub fn read(source: &Source) -> Result<Node> {
    let mut reader = Reader {
        source,
        offsets: Offsets::of(source.text()),
        anchors: HashMap::new(),
        events: Parser::new_from_str(source.text()),
        nodes: 0,
    };
    loop {
        match reader.next()? {
            (Event::StreamEnd, span) => {
                return Ok(Node { site: reader.site(span), data: Data::Null });
            }
            (Event::DocumentStart(_), _) => {
                let first = reader.next()?;
                return reader.node(first, 0);
            }
            _ => {}
        }
    }
}

/// Where characters begin, in bytes: the parser counts characters.
struct Offsets(Option<Vec<usize>>);

impl Offsets {
    fn of(text: &str) -> Offsets {
        Offsets((!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()))
    }

    fn byte(&self, character: usize) -> usize {
        match &self.0 {
            None => character,
            Some(starts) => starts.get(character).or(starts.last()).copied().unwrap_or_default(),
        }
    }
}

struct Reader<'s> {
    source: &'s Source,
    offsets: Offsets,
    /// Nodes with an anchor, and how many nodes each is.
    anchors: HashMap<usize, (Node, usize)>,
    events: Parser<'s, saphyr_parser::StrInput<'s>>,
    nodes: usize,
}

impl<'s> Reader<'s> {
    fn next(&mut self) -> Result<(Event<'s>, Span)> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let at = self.offsets.byte(error.marker().index());
                let site = Site::new(self.source, at, at + 1);
                Err(site.error("bake-syntax", format!("not YAML: {}", error.info())).into())
            }
            None => {
                let end = self.source.text().len();
                Err(Site::new(self.source, end, end).error("bake-syntax", "the file ends too early").into())
            }
        }
    }

    fn site(&self, span: Span) -> Site {
        Site::new(self.source, self.offsets.byte(span.start.index()), self.offsets.byte(span.end.index()))
    }

    /// Counts nodes against the limit.
    fn count(&mut self, more: usize, site: &Site) -> Result<()> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > NODES {
            let fault = site.error("bake-limit", format!("the file stands for more than {NODES} values"));
            return Err(fault.note("each use of an alias (`*name`) counts all that it stands for").into());
        }
        Ok(())
    }

    fn node(&mut self, (event, span): (Event<'s>, Span), depth: usize) -> Result<Node> {
        let site = self.site(span);
        if depth > DEPTH {
            return Err(site.error("bake-limit", format!("nested more than {DEPTH} deep")).into());
        }
        let before = self.nodes;
        self.count(1, &site)?;
        let (anchor, node) = match event {
            Event::Alias(id) => {
                // An alias within what it names: its node is not there yet.
                let Some((node, nodes)) = self.anchors.get(&id).cloned() else {
                    return Err(site.error("bake-syntax", "an alias of what it is part of").into());
                };
                self.count(nodes, &site)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, Node { data: scalar(text, style, tag.as_deref()), site })
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        event => items.push(self.node(event, depth + 1)?),
                    }
                }
                (anchor, Node { site, data: Data::List(items) })
            }
            Event::MappingStart(anchor, _) => (anchor, Node { data: self.map(depth)?, site }),
            _ => return Err(site.error("bake-syntax", "not YAML: a value was expected").into()),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn map(&mut self, depth: usize) -> Result<Data> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let site = self.site(span);
            let plain = matches!(event, Event::Scalar(_, ScalarStyle::Plain, ..));
            let text = match event {
                Event::MappingEnd => break,
                Event::Scalar(ref text, ..) => text.to_string(),
                _ => match self.node((event, span), depth + 1)?.text() {
                    Some(text) => text,
                    None => return Err(site.error("bake-syntax", "the name of an entry must be a string").into()),
                },
            };
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            if plain && text == "<<" {
                merged.push(value);
            } else if entries.iter().any(|(key, _)| key.text == text) {
                return Err(site.error("bake-syntax", format!("`{text}` is there twice")).into());
            } else {
                entries.push((Key { site, text }, value));
            }
        }
        for node in merged {
            let sources = match node.data {
                Data::List(items) => items,
                _ => vec![node],
            };
            for source in sources {
                let Data::Map(more) = source.data else { return Err(source.unfit("what is merged", "a map")) };
                for (key, value) in more {
                    if !entries.iter().any(|(own, _)| own.text == key.text) {
                        entries.push((key, value));
                    }
                }
            }
        }
        Ok(Data::Map(entries))
    }
}

/// What a scalar is, by the core schema: quoted ones and those tagged `!!str` are strings.
fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Data {
    let string = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    if style != ScalarStyle::Plain || string {
        return Data::String(text.into_owned());
    }
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
        "true" | "True" | "TRUE" => return Data::Bool(true),
        "false" | "False" | "FALSE" => return Data::Bool(false),
        _ => {}
    }
    let radix = |prefix: &str, radix| text.strip_prefix(prefix).and_then(|d| i64::from_str_radix(d, radix).ok());
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Data::Number(number as f64);
    }
    match super::value::number(&text) {
        Some(number) => Data::Number(number),
        None => Data::String(text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Node> {
        read(&Source::new("x.yaml", text))
    }

    #[test]
    fn anchors_merge_and_keep_what_is_there() {
        let root = parse("a: &a {k: 1, l: é}\nb:\n  <<: *a\n  k: two\nc: [*a]\n").unwrap();
        let b = root.get("b").unwrap();
        assert_eq!(b.get("k").unwrap().text().unwrap(), "two");
        assert_eq!(b.get("l").unwrap().text().unwrap(), "é");
        let site = &b.get("k").unwrap().site;
        assert_eq!(&site.source.text()[site.span.range()], "two");
    }

    #[test]
    fn a_bomb_of_aliases_is_refused_soon() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..30 {
            let below = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", ")));
        }
        assert_eq!(parse(&text).unwrap_err().code, "bake-limit");
        assert_eq!(parse(&"[".repeat(5000)).unwrap_err().severity, crate::diag::Severity::Error);
        assert_eq!(parse(&format!("{}x", "- ".repeat(500))).unwrap_err().code, "bake-limit");
        assert!(parse("a: &a [*a]").is_err());
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let cases = [
            ("1", "a number"),
            ("-1.5", "a number"),
            ("0x1f", "a number"),
            ("1.2.3", "a string"),
            ("yes", "a string"),
            ("true", "a bool"),
            ("'true'", "a string"),
            ("!!str 5", "a string"),
            ("~", "null"),
            ("", "null"),
            ("inf", "a string"),
        ];
        for (text, kind) in cases {
            assert_eq!(parse(&format!("k: {text}")).unwrap().get("k").unwrap().kind(), kind, "{text}");
        }
    }

    #[test]
    fn what_is_not_yaml_is_told_with_its_place() {
        for (text, line) in [("a: [", 1), ("a: 1\na: 2\n", 2), ("a:\n\t- x", 2), ("é: *nope", 1)] {
            let fault = parse(text).unwrap_err();
            assert!(fault.place().unwrap().starts_with(&format!("x.yaml:{line}:")), "{text:?}: {fault:?}");
        }
    }
}
