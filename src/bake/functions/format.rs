//! `format` and `formatlist`: Go's verbs.

use super::arguments::{Function, MANY, Outcome, fits, function, text};
use crate::bake::value::Value;
use std::iter::Peekable;
use std::str::Chars;

/// The most that a width or a precision may be.
const WIDEST: usize = 1024;

pub const FUNCTIONS: &[Function] = &[
    function("format", 1, MANY, |a| Ok(format(&text(a, 0)?, &a[1..])?.into())),
    function("formatlist", 1, MANY, formatlist),
];

/// Formats once for each element of the lists among the arguments; others are the same each time.
fn formatlist(arguments: &[Value]) -> Outcome {
    let pattern = text(arguments, 0)?;
    let lengths = arguments[1..].iter().filter_map(|value| match value {
        Value::List(items) => Some(items.len()),
        _ => None,
    });
    let mut lengths: Vec<usize> = lengths.collect();
    lengths.dedup();
    let rounds = match lengths[..] {
        [] => 1,
        [length] => length,
        _ => return Err("the lists have different lengths".into()),
    };
    let mut out = Vec::with_capacity(rounds);
    let mut total = 0;
    for round in 0..rounds {
        let values = arguments[1..].iter().map(|value| match value {
            Value::List(items) => items[round].clone(),
            other => other.clone(),
        });
        let line = format(&pattern, &values.collect::<Vec<_>>())?;
        total += line.len();
        fits(total)?;
        out.push(line.into());
    }
    Ok(Value::List(out))
}

/// Between `%` and the verb.
#[derive(Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

fn format(pattern: &str, values: &[Value]) -> std::result::Result<String, String> {
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    let mut next = 0;
    let mut most = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut spec = flags(&mut chars);
        spec.width = digits(&mut chars)?;
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(digits(&mut chars)?.unwrap_or(0));
        }
        if chars.next_if_eq(&'[').is_some() {
            next = digits(&mut chars)?.and_then(|number| number.checked_sub(1)).ok_or("`%[` needs a number from 1")?;
            chars.next_if_eq(&']').ok_or("`%[` is not closed")?;
        }
        let verb = chars.next().ok_or("the text ends within a verb")?;
        let value = values.get(next).ok_or_else(|| format!("there is no argument for `%{verb}`"))?;
        next += 1;
        most = most.max(next);
        out.push_str(&pad(one(verb, value, &spec)?, &spec, verb));
        fits(out.len())?;
    }
    if most < values.len() {
        return Err(format!("{} argument(s) too many", values.len() - most));
    }
    Ok(out)
}

fn flags(chars: &mut Peekable<Chars<'_>>) -> Spec {
    let mut spec = Spec::default();
    while let Some(flag) = chars.next_if(|c| "-+ 0#".contains(*c)) {
        match flag {
            '-' => spec.left = true,
            '+' => spec.plus = true,
            ' ' => spec.space = true,
            '0' => spec.zero = true,
            _ => spec.sharp = true,
        }
    }
    spec
}

fn digits(chars: &mut Peekable<Chars<'_>>) -> std::result::Result<Option<usize>, String> {
    let mut number: Option<usize> = None;
    while let Some(digit) = chars.next_if(char::is_ascii_digit).and_then(|c| c.to_digit(10)) {
        let more = number.unwrap_or(0) * 10 + digit as usize;
        if more > WIDEST {
            return Err(format!("a width of more than {WIDEST}"));
        }
        number = Some(more);
    }
    Ok(number)
}

fn one(verb: char, value: &Value, spec: &Spec) -> std::result::Result<String, String> {
    let unfit = |wanted: &str| format!("`%{verb}` takes {wanted}, not {}", value.kind());
    let number = || value.number().ok_or_else(|| unfit("a number"));
    let text = || value.text().ok_or_else(|| unfit("text"));
    let cut = |text: String| match spec.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text,
    };
    Ok(match verb {
        'v' if spec.sharp => value.json(),
        'v' => value.text().unwrap_or_else(|| value.json()),
        's' => cut(text()?),
        'q' => serde_json::Value::from(cut(text()?)).to_string(),
        't' => value.bool().ok_or_else(|| unfit("true or false"))?.to_string(),
        'd' => signed(number()?.trunc(), |n| format!("{n:.0}"), spec),
        'b' | 'o' | 'x' | 'X' => match value {
            Value::String(text) if verb == 'x' => hex::encode(text),
            Value::String(text) if verb == 'X' => hex::encode_upper(text),
            _ => {
                let radix = |n: f64| match verb {
                    'b' => format!("{:b}", n as u64),
                    'o' => format!("{:o}", n as u64),
                    'x' => format!("{:x}", n as u64),
                    _ => format!("{:X}", n as u64),
                };
                signed(number()?.trunc(), radix, spec)
            }
        },
        'f' | 'F' => signed(number()?, |n| format!("{n:.*}", spec.precision.unwrap_or(6)), spec),
        'e' | 'E' => {
            let text = signed(number()?, |n| exponent(n, spec.precision.unwrap_or(6)), spec);
            if verb == 'E' { text.to_uppercase() } else { text }
        }
        'g' | 'G' => signed(number()?, |n| general(n, spec.precision), spec),
        other => return Err(format!("there is no verb `%{other}`")),
    })
}

fn signed(number: f64, spell: impl Fn(f64) -> String, spec: &Spec) -> String {
    let sign = match number {
        n if n < 0.0 => "-",
        _ if spec.plus => "+",
        _ if spec.space => " ",
        _ => "",
    };
    format!("{sign}{}", spell(number.abs()))
}

/// `1.5e+03`: Go's exponents have a sign and two digits.
fn exponent(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn general(number: f64, precision: Option<usize>) -> String {
    let power = if number == 0.0 { 0.0 } else { number.log10().floor() };
    let digits = precision.map(|p| p.max(1));
    if power < -4.0 || power >= digits.map_or(21.0, |d| d as f64) {
        return match digits {
            Some(digits) => exponent(number, digits - 1),
            None => {
                let text = format!("{number:e}");
                let mantissa = text.split('e').next().unwrap_or_default();
                exponent(number, mantissa.len().saturating_sub(2))
            }
        };
    }
    match digits {
        Some(digits) => {
            let text = format!("{number:.*}", (digits as f64 - 1.0 - power).max(0.0) as usize);
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
        }
        None => format!("{number}"),
    }
}

fn pad(text: String, spec: &Spec, verb: char) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if missing == 0 {
        return text;
    }
    if spec.left {
        return text + &" ".repeat(missing);
    }
    if spec.zero {
        let numeric = "dboxXfFeEgG".contains(verb);
        let sign = text.chars().take(usize::from(numeric && text.starts_with(['-', '+', ' ']))).collect::<String>();
        return format!("{sign}{}{}", "0".repeat(missing), &text[sign.len()..]);
    }
    " ".repeat(missing) + &text
}
