//! Types of variables, and how values become them.

use super::expr::{Expr, Kind};
use super::fault::{self, Result};
use super::value::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What a variable may hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Anything.
    Any,
    /// Text.
    String,
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// Elements of one type.
    List(Box<Type>),
    /// Elements of one type, none twice.
    Set(Box<Type>),
    /// Entries of one type.
    Map(Box<Type>),
    /// As many elements, each of its own type.
    Tuple(Vec<Type>),
    /// These entries, each of its own type; `true`: it may be missing.
    Object(BTreeMap<String, (Type, bool)>),
}

/// Reads a type: `string`, `list(number)`, `object({ a = string })`.
///
/// # Errors
/// It is none.
pub fn read(expr: &Expr) -> Result<Type> {
    let word = |name: &str| match name {
        "any" => Some(Type::Any),
        "string" => Some(Type::String),
        "number" => Some(Type::Number),
        "bool" => Some(Type::Bool),
        _ => None,
    };
    match &expr.kind {
        Kind::Variable(name) => word(name).ok_or_else(|| {
            let fault = expr.site.error("bake-type", format!("there is no type `{name}`"));
            fault::suggest(fault, name, ["any", "string", "number", "bool"])
                .note("types are string, number, bool, any, list(…), set(…), map(…), tuple([…]), object({…})")
                .into()
        }),
        Kind::Call { name, arguments, .. } => match (name.as_str(), &arguments[..], arguments.first().map(|a| &a.kind))
        {
            ("list", [of], _) => Ok(Type::List(Box::new(read(of)?))),
            ("set", [of], _) => Ok(Type::Set(Box::new(read(of)?))),
            ("map", [of], _) => Ok(Type::Map(Box::new(read(of)?))),
            ("tuple", [_], Some(Kind::List(items))) => Ok(Type::Tuple(items.iter().map(read).collect::<Result<_>>()?)),
            ("object", [_], Some(Kind::Map(entries))) => {
                let mut fields = BTreeMap::new();
                for (key, value) in entries {
                    let Some(name) = key.keyword() else {
                        return Err(key.site.error("bake-type", "the name of a field is no word").into());
                    };
                    let field = match &value.kind {
                        Kind::Call { name, arguments, .. } if name == "optional" && arguments.len() == 1 => {
                            (read(&arguments[0])?, true)
                        }
                        _ => (read(value)?, false),
                    };
                    fields.insert(name.to_owned(), field);
                }
                Ok(Type::Object(fields))
            }
            _ => Err(expr.site.error("bake-type", format!("`{name}(…)` is no type")).into()),
        },
        _ => Err(expr.site.error("bake-type", "this is no type").into()),
    }
}

impl Type {
    /// Whether it is text, a number, or true or false.
    pub fn is_plain(&self) -> bool {
        matches!(self, Type::Any | Type::String | Type::Number | Type::Bool)
    }

    /// The value as this type; null stays null.
    ///
    /// # Errors
    /// It cannot be: why, as a sentence.
    pub fn convert(&self, value: Value) -> std::result::Result<Value, String> {
        let unfit = |value: &Value| Err(format!("{} where {self} is wanted", value.kind()));
        Ok(match (self, value) {
            (Type::Any, value) => value,
            (_, Value::Null) => Value::Null,
            (Type::String, value) => match value.text() {
                Some(text) => text.into(),
                None => return unfit(&value),
            },
            (Type::Number, value) => match value.number() {
                Some(number) => number.into(),
                None => return unfit(&value),
            },
            (Type::Bool, value) => match value.bool() {
                Some(truth) => truth.into(),
                None => return unfit(&value),
            },
            (Type::List(of), Value::List(items)) => {
                Value::List(items.into_iter().map(|item| of.convert(item)).collect::<std::result::Result<_, _>>()?)
            }
            (Type::Set(of), Value::List(items)) => {
                let items: Vec<Value> =
                    items.into_iter().map(|i| of.convert(i)).collect::<std::result::Result<_, _>>()?;
                Value::List(super::functions::set(items))
            }
            (Type::Map(of), Value::Map(entries)) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| Ok((key, of.convert(value)?)))
                    .collect::<std::result::Result<_, String>>()?,
            ),
            (Type::Tuple(types), Value::List(items)) => {
                if types.len() != items.len() {
                    return Err(format!("{} elements where {self} is wanted", items.len()));
                }
                let converted = types.iter().zip(items).map(|(wanted, item)| wanted.convert(item));
                Value::List(converted.collect::<std::result::Result<_, _>>()?)
            }
            (Type::Object(fields), Value::Map(mut entries)) => {
                let mut out = BTreeMap::new();
                for (name, (wanted, optional)) in fields {
                    let value = match entries.remove(name) {
                        Some(value) => wanted.convert(value)?,
                        None if *optional => Value::Null,
                        None => return Err(format!("`{name}` is missing where {self} is wanted")),
                    };
                    out.insert(name.clone(), value);
                }
                Value::Map(out)
            }
            (_, value) => return unfit(&value),
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Any => f.write_str("any"),
            Type::String => f.write_str("string"),
            Type::Number => f.write_str("number"),
            Type::Bool => f.write_str("bool"),
            Type::List(of) => write!(f, "list of {of}"),
            Type::Set(of) => write!(f, "set of {of}"),
            Type::Map(of) => write!(f, "map of {of}"),
            Type::Tuple(_) => f.write_str("tuple"),
            Type::Object(_) => f.write_str("object"),
        }
    }
}
