//! What an attestation says, in a line.

use super::statement::{PROVENANCE, SPDX, Statement};
use serde_json::Value;

/// Words of a filter and the predicate types that they stand for; a type itself stands for itself.
pub const KINDS: [(&str, &str); 2] = [("provenance", PROVENANCE), ("sbom", SPDX)];

/// The short name of a predicate type, if it has one.
pub fn kind(predicate_type: &str) -> &str {
    KINDS.iter().find(|(_, known)| *known == predicate_type).map_or(predicate_type, |(word, _)| word)
}

/// Whether a statement is of the kind that `wanted` names: a word of [`KINDS`], or a predicate type.
pub fn is_of(statement: &Statement, wanted: &str) -> bool {
    let wanted = KINDS.iter().find(|(word, _)| *word == wanted).map_or(wanted, |(_, known)| known);
    statement.predicate_type == wanted
}

/// What it says, for people: `91 packages`.
pub fn line(statement: &Statement) -> String {
    let predicate = &statement.predicate;
    match statement.predicate_type.as_str() {
        SPDX => {
            let packages = count(&predicate["packages"]);
            let listed = packages.saturating_sub(1);
            let gaps = if count(&predicate["annotations"]) > 0 { ", not complete" } else { "" };
            format!("{listed} packages{gaps}")
        }
        PROVENANCE => {
            let definition = &predicate["buildDefinition"];
            let mode = definition["internalParameters"]["mode"].as_str().map(|mode| format!("mode {mode}, "));
            format!("{}{} materials", mode.unwrap_or_default(), count(&definition["resolvedDependencies"]))
        }
        _ => String::new(),
    }
}

fn count(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_counts_what_matters() {
        let statement = |kind: &str, predicate: Value| Statement {
            form: String::new(),
            subject: vec![],
            predicate_type: kind.into(),
            predicate,
        };
        let sbom = statement(SPDX, json!({ "packages": [1, 2, 3], "annotations": [1] }));
        assert_eq!((line(&sbom).as_str(), kind(SPDX)), ("2 packages, not complete", "sbom"));
        assert!(is_of(&sbom, "sbom") && is_of(&sbom, SPDX) && !is_of(&sbom, "provenance"));
        let definition = json!({ "internalParameters": { "mode": "max" }, "resolvedDependencies": [1] });
        let provenance = statement(PROVENANCE, json!({ "buildDefinition": definition }));
        assert_eq!(line(&provenance), "mode max, 1 materials");
        assert_eq!((line(&statement("x", Value::Null)).as_str(), kind("x")), ("", "x"));
    }
}
