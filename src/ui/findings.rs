//! Findings about a Dockerfile for programs: JSON of our own, and SARIF 2.1.0 (OASIS), which code hosts read.

use crate::diag::fix::Edit;
use crate::diag::{Diagnostic, Label, Source, Span};
use crate::dockerfile::check::{RULES, Rule};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// One document: the file's name, and what was found in the file's order. Lines and columns count from 1, columns in
/// characters; an end is the place behind the last character. `bytes` are offsets in the text.
pub fn json(source: &Source, found: &[Diagnostic]) -> String {
    let findings: Vec<Value> = found
        .iter()
        .map(|d| {
            json!({
                "severity": d.severity,
                "code": d.code,
                "message": d.message,
                "places": d.labels.iter().map(|label| place(source, label)).collect::<Vec<_>>(),
                "notes": d.notes,
                "help": d.help,
                "fix": d.fixes.iter().map(|edit| replacement(source, edit)).collect::<Vec<_>>(),
            })
        })
        .collect();
    format!("{:#}", json!({ "file": source.name(), "findings": findings }))
}

fn place(source: &Source, label: &Label) -> Value {
    let mut place = range(source, label.span);
    place["text"] = label.text.as_str().into();
    place
}

fn replacement(source: &Source, edit: &Edit) -> Value {
    let mut place = range(source, edit.span);
    place["replacement"] = edit.text.as_str().into();
    place
}

fn range(source: &Source, span: Span) -> Value {
    let ((line, column), (end_line, end_column)) = (source.position(span.start), source.position(span.end));
    json!({
        "line": line, "column": column, "endLine": end_line, "endColumn": end_column,
        "bytes": [span.start, span.end],
    })
}

/// A log of one run. Columns count characters (`unicodeCodePoints`).
pub fn sarif(source: &Source, found: &[Diagnostic]) -> String {
    let rules: Vec<Value> = RULES.iter().map(sarif_rule).collect();
    let results: Vec<Value> = found.iter().map(|d| result(source, d)).collect();
    let log = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": env!("CARGO_PKG_NAME"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "artifacts": [{ "location": { "uri": uri(source.name()) } }],
            "results": results,
        }],
    });
    format!("{log:#}")
}

fn sarif_rule(rule: &Rule) -> Value {
    json!({
        "id": rule.name,
        "shortDescription": { "text": rule.description },
        "helpUri": format!("{}/blob/main/{}", env!("CARGO_PKG_REPOSITORY"), rule.page()),
        "defaultConfiguration": { "level": "warning" },
    })
}

fn result(source: &Source, diagnostic: &Diagnostic) -> Value {
    let mut text = diagnostic.message.clone();
    for more in diagnostic.notes.iter().chain(&diagnostic.help) {
        let _ = write!(text, "\n{more}");
    }
    let mut result = json!({
        "ruleId": diagnostic.code,
        "level": diagnostic.severity,
        "message": { "text": text },
    });
    // What the parser tells of has a code but is no rule of the list.
    if let Some(index) = RULES.iter().position(|rule| rule.name == diagnostic.code) {
        result["ruleIndex"] = index.into();
    }
    let mut labels = diagnostic.labels.iter();
    if let Some(primary) = labels.next() {
        result["locations"] = json!([{ "physicalLocation": physical(source, primary.span) }]);
    }
    let related: Vec<Value> = labels
        .enumerate()
        .map(|(id, label)| {
            let mut location = json!({ "id": id + 1, "physicalLocation": physical(source, label.span) });
            if !label.text.is_empty() {
                location["message"] = json!({ "text": label.text });
            }
            location
        })
        .collect();
    if !related.is_empty() {
        result["relatedLocations"] = related.into();
    }
    if !diagnostic.fixes.is_empty() {
        let replacements: Vec<Value> = diagnostic
            .fixes
            .iter()
            .map(|edit| json!({ "deletedRegion": region(source, edit.span), "insertedContent": { "text": edit.text } }))
            .collect();
        let change = json!({ "artifactLocation": artifact(source), "replacements": replacements });
        result["fixes"] = json!([{ "artifactChanges": [change] }]);
    }
    result
}

fn physical(source: &Source, span: Span) -> Value {
    json!({ "artifactLocation": artifact(source), "region": region(source, span) })
}

fn artifact(source: &Source) -> Value {
    json!({ "uri": uri(source.name()), "index": 0 })
}

fn region(source: &Source, span: Span) -> Value {
    let ((line, column), (end_line, end_column)) = (source.position(span.start), source.position(span.end));
    json!({ "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column })
}

/// A path as a relative or absolute URI reference (RFC 3986): all but unreserved characters and `/` in percent form.
fn uri(path: &str) -> String {
    let mut out = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_uris() {
        let cases =
            [("Dockerfile", "Dockerfile"), ("a b/é", "a%20b/%C3%A9"), ("<stdin>", "%3Cstdin%3E"), ("/x", "file:///x")];
        for (name, want) in cases {
            assert_eq!(uri(name), want);
        }
    }

    #[test]
    fn what_is_about_no_place_has_no_location() {
        let source = Source::new("Dockerfile", "FROM scratch\n");
        let mut finding = Diagnostic::error("invalid-check", "x", &source, Span::default());
        finding.labels.clear();
        let log: Value = serde_json::from_str(&sarif(&source, &[finding])).expect("JSON");
        let result = &log["runs"][0]["results"][0];
        assert_eq!((result["ruleId"].as_str(), result["level"].as_str()), (Some("invalid-check"), Some("error")));
        assert!(result["locations"].is_null() && result["ruleIndex"].is_null());
    }
}
