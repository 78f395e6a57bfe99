//! `--format`: the part of Go's templates that scripts use with docker: `{{.Field}}`, `{{.Config.Env}}`, `{{json .}}`,
//! `{{json .Field}}`, `{{"text"}}`, and the escapes `\t` and `\n`. Anything else is refused, never guessed.

use crate::diag::suggest::nearest;
use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    table: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field { path: Vec<String>, json: bool },
}

/// Why a template can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("the template '{0}' has '{{{{' without '}}}}'")]
    Open(String),
    /// Something other than a field.
    #[error(
        "'{{{{{0}}}}}' is not supported in a template; there are {{{{.Field}}}}, {{{{json .}}}} and {{{{json .Field}}}}"
    )]
    Unsupported(String),
    /// A field that is not there.
    #[error("there is no field '.{path}'{}", hint(fields, near.as_deref()))]
    NoField {
        /// As written, without the first dot.
        path: String,
        /// The fields there are at that place.
        fields: Vec<String>,
        /// One that looks like it.
        near: Option<String>,
    },
}

fn hint(fields: &[String], near: Option<&str>) -> String {
    match near {
        Some(near) => format!("; did you mean '{near}'?"),
        None if fields.is_empty() => String::new(),
        None => format!("; there are {}", fields.join(", ")),
    }
}

impl Template {
    /// Parses a template; `table …` prints headings and aligns columns, `json` is `{{json .}}`.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        if text == "json" {
            return Ok(Template { parts: vec![Part::Field { path: Vec::new(), json: true }], table: false });
        }
        let (table, text) = match text.strip_prefix("table ") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("{{") {
            parts.push(Part::Text(unescape(&rest[..at])));
            let Some((inner, tail)) = rest[at + 2..].split_once("}}") else {
                return Err(TemplateError::Open(text.to_owned()));
            };
            parts.push(action(inner.trim())?);
            rest = tail;
        }
        parts.push(Part::Text(unescape(rest)));
        Ok(Template { parts, table })
    }

    /// Whether headings and aligned columns are wanted.
    pub fn is_table(&self) -> bool {
        self.table
    }

    /// The headings of a table: field names in upper case where the fields stand.
    pub fn heading(&self) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field { path, .. } => path.last().map(|name| name.to_uppercase()).unwrap_or_default(),
        };
        self.parts.iter().map(text).collect()
    }

    /// Fills the template from a document.
    pub fn render(&self, value: &Value) -> Result<String, TemplateError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Field { path, json } => {
                    let field = lookup(value, path)?;
                    if *json { text += &field.to_string() } else { plain(field, &mut text) }
                }
            }
        }
        Ok(text)
    }
}

/// What stands between `{{` and `}}`.
fn action(inner: &str) -> Result<Part, TemplateError> {
    let unsupported = || TemplateError::Unsupported(inner.to_owned());
    if let Some(literal) = inner.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        return Ok(Part::Text(unescape(literal)));
    }
    let (json, path) = match inner.strip_prefix("json ") {
        Some(path) => (true, path.trim()),
        None => (false, inner),
    };
    let path = path.strip_prefix('.').ok_or_else(unsupported)?;
    let names: Vec<String> = if path.is_empty() { Vec::new() } else { path.split('.').map(str::to_owned).collect() };
    let is_name = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if names.iter().all(is_name) { Ok(Part::Field { path: names, json }) } else { Err(unsupported()) }
}

fn lookup<'v>(value: &'v Value, path: &[String]) -> Result<&'v Value, TemplateError> {
    let mut here = value;
    for name in path {
        here = here.get(name).ok_or_else(|| {
            let fields: Vec<String> = here.as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default();
            let near = nearest(name, fields.iter().map(String::as_str)).map(str::to_owned);
            TemplateError::NoField { path: path.join("."), fields, near }
        })?;
    }
    Ok(here)
}

/// As Go prints a value: text bare, lists as `[a b]`, maps as `map[k:v]`, nothing as `<no value>`.
fn plain(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("<no value>"),
        Value::String(s) => text.push_str(s),
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(' ');
                }
                plain(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            text.push_str("map[");
            for (i, (name, item)) in fields.iter().enumerate() {
                if i > 0 {
                    text.push(' ');
                }
                text.push_str(name);
                text.push(':');
                plain(item, text);
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_render_as_go_prints_them() {
        let value = json!({"ID": "x", "N": 3, "Config": {"Env": ["A=1", "B=2"], "User": null}});
        let cases = [
            ("{{.ID}}", "x"),
            ("{{ .ID }}\\t{{.N}}", "x\t3"),
            ("{{.Config.Env}}", "[A=1 B=2]"),
            ("{{json .Config.Env}}", r#"["A=1","B=2"]"#),
            ("{{.Config}}", "map[Env:[A=1 B=2] User:<no value>]"),
            ("{{json .ID}}", "\"x\""),
            ("a{{\"{{\"}}b", "a{{b"),
            ("plain", "plain"),
        ];
        for (template, expected) in cases {
            assert_eq!(Template::parse(template).unwrap().render(&value).unwrap(), expected, "{template}");
        }
        assert_eq!(Template::parse("json").unwrap().render(&json!({"a": 1})).unwrap(), "{\"a\":1}");
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for bad in ["{{.ID", "{{range .X}}", "{{upper .ID}}", "{{.A..B}}", "{{ID}}", "{{.A | json}}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        let error = Template::parse("{{.Idd}}").unwrap().render(&json!({"ID": 1})).unwrap_err();
        assert_eq!(error.to_string(), "there is no field '.Idd'; did you mean 'ID'?");
    }
}
