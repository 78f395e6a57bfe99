//! Functions of numbers, and of truth.

use super::arguments::{Function, MANY, Outcome, function, number, text, truth, whole};
use crate::bake::value::Value;

pub const FUNCTIONS: &[Function] = &[
    function("absolute", 1, 1, |a| Ok(number(a, 0)?.abs().into())),
    function("add", 2, 2, |a| Ok((number(a, 0)? + number(a, 1)?).into())),
    function("and", 2, 2, |a| Ok((truth(a, 0)? && truth(a, 1)?).into())),
    function("ceil", 1, 1, |a| Ok(number(a, 0)?.ceil().into())),
    function("divide", 2, 2, |a| divided(a, |x, y| x / y)),
    function("equal", 2, 2, |a| Ok((a[0] == a[1]).into())),
    function("floor", 1, 1, |a| Ok(number(a, 0)?.floor().into())),
    function("greaterthan", 2, 2, |a| Ok((number(a, 0)? > number(a, 1)?).into())),
    function("greaterthanorequalto", 2, 2, |a| Ok((number(a, 0)? >= number(a, 1)?).into())),
    function("int", 1, 1, |a| Ok(number(a, 0)?.trunc().into())),
    function("lessthan", 2, 2, |a| Ok((number(a, 0)? < number(a, 1)?).into())),
    function("lessthanorequalto", 2, 2, |a| Ok((number(a, 0)? <= number(a, 1)?).into())),
    function("log", 2, 2, |a| finite(number(a, 0)?.ln() / number(a, 1)?.ln())),
    function("max", 1, MANY, |a| extreme(a, f64::max)),
    function("min", 1, MANY, |a| extreme(a, f64::min)),
    function("modulo", 2, 2, |a| divided(a, |x, y| x % y)),
    function("multiply", 2, 2, |a| Ok((number(a, 0)? * number(a, 1)?).into())),
    function("negate", 1, 1, |a| Ok((-number(a, 0)?).into())),
    function("not", 1, 1, |a| Ok((!truth(a, 0)?).into())),
    function("notequal", 2, 2, |a| Ok((a[0] != a[1]).into())),
    function("or", 2, 2, |a| Ok((truth(a, 0)? || truth(a, 1)?).into())),
    function("parseint", 2, 2, |a| {
        let (digits, base) = (text(a, 0)?, whole(a, 1)?);
        let base = u32::try_from(base).ok().filter(|base| (2..=36).contains(base)).ok_or("a base is 2 to 36")?;
        let number =
            i64::from_str_radix(&digits, base).map_err(|_| format!("'{digits}' is no number in base {base}"))?;
        Ok((number as f64).into())
    }),
    function("pow", 2, 2, |a| finite(number(a, 0)?.powf(number(a, 1)?))),
    function("signum", 1, 1, |a| {
        let number = number(a, 0)?;
        Ok((if number == 0.0 { 0.0 } else { number.signum() }).into())
    }),
    function("subtract", 2, 2, |a| Ok((number(a, 0)? - number(a, 1)?).into())),
];

fn divided(arguments: &[Value], divide: fn(f64, f64) -> f64) -> Outcome {
    match number(arguments, 1)? {
        0.0 => Err("a division by zero".into()),
        by => Ok(divide(number(arguments, 0)?, by).into()),
    }
}

fn extreme(arguments: &[Value], better: fn(f64, f64) -> f64) -> Outcome {
    let mut best = number(arguments, 0)?;
    for index in 1..arguments.len() {
        best = better(best, number(arguments, index)?);
    }
    Ok(best.into())
}

fn finite(result: f64) -> Outcome {
    if result.is_finite() { Ok(result.into()) } else { Err("the result is no finite number".into()) }
}
