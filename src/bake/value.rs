//! Values of expressions, and how they turn into each other: HCL's rules, without its unknown values. Sets are lists without
//! repetitions in order, tuples are lists, objects are maps.

use std::collections::BTreeMap;

/// What an expression yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number; whole ones are exact up to 2^53.
    Number(f64),
    /// Text.
    String(String),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name.
    Map(BTreeMap<String, Value>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        // There is but one zero in HCL.
        Value::Number(value + 0.0)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Value::Number(value as f64)
    }
}

impl From<Vec<Value>> for Value {
    fn from(values: Vec<Value>) -> Value {
        Value::List(values)
    }
}

impl From<BTreeMap<String, Value>> for Value {
    fn from(values: BTreeMap<String, Value>) -> Value {
        Value::Map(values)
    }
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a bool",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// As text, if it is a string, a number or a bool.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(format!("{number}")),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }

    /// As a number, if it is one or spells one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            Value::String(text) => number(text),
            _ => None,
        }
    }

    /// As true or false, if it is one of them or spells one.
    pub fn bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            Value::String(text) => match text.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// How much it holds, in about bytes. What evaluation may make is limited by this.
    pub fn weight(&self) -> usize {
        self.measure().0
    }

    /// Its weight, and how deep it nests.
    pub fn measure(&self) -> (usize, usize) {
        const SELF: usize = 16;
        let sum =
            |(weight, depth): (usize, usize), (more, inner): (usize, usize)| (weight + more, depth.max(inner + 1));
        match self {
            Value::Null | Value::Bool(_) | Value::Number(_) => (SELF, 0),
            Value::String(text) => (SELF + text.len(), 0),
            Value::List(values) => values.iter().map(Value::measure).fold((SELF, 0), sum),
            Value::Map(values) => {
                let entries = values.iter().map(|(key, value)| (key, value.measure()));
                entries.map(|(key, (weight, depth))| (key.len() + weight, depth)).fold((SELF, 0), sum)
            }
        }
    }

    /// As JSON, as Go writes it: `<`, `>` and `&` are escaped.
    pub fn json(&self) -> String {
        let json = serde_json::Value::from(self).to_string();
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }
}

/// A number as HCL converts strings: decimal, with an exponent at most.
pub fn number(text: &str) -> Option<f64> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    text.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> serde_json::Value {
        match value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => (*number as i64).into(),
            Value::Number(number) => (*number).into(),
            Value::String(text) => text.as_str().into(),
            Value::List(values) => values.iter().map(serde_json::Value::from).collect(),
            Value::Map(values) => values.iter().map(|(k, v)| (k.clone(), serde_json::Value::from(v))).collect(),
        }
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => value.into(),
            serde_json::Value::Number(number) => number.as_f64().unwrap_or_default().into(),
            serde_json::Value::String(text) => text.into(),
            serde_json::Value::Array(values) => Value::List(values.into_iter().map(Value::from).collect()),
            serde_json::Value::Object(values) => {
                Value::Map(values.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_shortest_spelling_without_exponent() {
        let cases = [(1.0, "1"), (-0.0, "0"), (0.25, "0.25"), (1e21, "1000000000000000000000"), (-2.5, "-2.5")];
        for (number, text) in cases {
            assert_eq!(Value::from(number).text().as_deref(), Some(text));
        }
    }

    #[test]
    fn strings_spell_numbers_and_bools() {
        for (text, want) in
            [("5", Some(5.0)), ("-1.5e1", Some(-15.0)), ("inf", None), ("NaN", None), ("", None), ("x", None)]
        {
            assert_eq!(Value::from(text).number(), want, "{text}");
        }
        for (text, want) in [("true", Some(true)), ("0", Some(false)), ("yes", None)] {
            assert_eq!(Value::from(text).bool(), want, "{text}");
        }
    }
}
