//! What a function is, and how it takes its arguments.

use crate::bake::value::Value;

/// What a function gives: a value, or why it has none.
pub type Outcome = std::result::Result<Value, String>;

/// What one result may hold, in bytes; checked before a function makes what grows beyond its arguments.
const LIMIT: usize = 4 << 20;

/// A function.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// The name.
    pub name: &'static str,
    least: usize,
    most: usize,
    run: fn(&[Value]) -> Outcome,
}

/// Any number of arguments.
pub const MANY: usize = usize::MAX;

pub const fn function(name: &'static str, least: usize, most: usize, run: fn(&[Value]) -> Outcome) -> Function {
    Function { name, least, most, run }
}

impl Function {
    /// Calls it.
    ///
    /// # Errors
    /// There are too few or too many arguments, or it takes none of their kind or value: why, as a sentence.
    pub fn call(&self, arguments: &[Value]) -> Outcome {
        let count = arguments.len();
        if count < self.least || count > self.most {
            let (least, most) = (self.least, self.most);
            let wanted = match most {
                _ if least == most => format!("{least}"),
                MANY => format!("at least {least}"),
                _ => format!("{least} to {most}"),
            };
            return Err(format!("`{}` takes {wanted} argument(s), not {count}", self.name));
        }
        (self.run)(arguments).map_err(|why| format!("`{}`: {why}", self.name))
    }
}

/// Refuses what would grow beyond the limit.
pub fn fits(bytes: usize) -> std::result::Result<(), String> {
    if bytes > LIMIT { Err(format!("the result has more than {} MiB", LIMIT >> 20)) } else { Ok(()) }
}

pub fn want<T>(value: Option<T>, index: usize, found: &Value, wanted: &str) -> std::result::Result<T, String> {
    value.ok_or_else(|| format!("argument {} is {}, and must be {wanted}", index + 1, found.kind()))
}

pub fn text(arguments: &[Value], index: usize) -> std::result::Result<String, String> {
    want(arguments[index].text(), index, &arguments[index], "text")
}

pub fn number(arguments: &[Value], index: usize) -> std::result::Result<f64, String> {
    want(arguments[index].number(), index, &arguments[index], "a number")
}

pub fn truth(arguments: &[Value], index: usize) -> std::result::Result<bool, String> {
    want(arguments[index].bool(), index, &arguments[index], "true or false")
}

/// A whole number within ±2^53.
pub fn whole(arguments: &[Value], index: usize) -> std::result::Result<i64, String> {
    let number = number(arguments, index)?;
    if number.fract() != 0.0 || number.abs() > 9_007_199_254_740_992.0 {
        return Err(format!("argument {} is {number}, and must be a whole number", index + 1));
    }
    Ok(number as i64)
}

pub fn list(arguments: &[Value], index: usize) -> std::result::Result<&[Value], String> {
    match &arguments[index] {
        Value::List(items) => Ok(items),
        other => want(None, index, other, "a list"),
    }
}

/// A list of texts.
pub fn texts(arguments: &[Value], index: usize) -> std::result::Result<Vec<String>, String> {
    let text = |item: &Value| want(item.text(), index, item, "a list of texts");
    list(arguments, index)?.iter().map(text).collect()
}
