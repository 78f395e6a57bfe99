//! Functions of lists, sets and maps.

use super::arguments::{Function, MANY, Outcome, fits, function, list, number, text, texts, whole};
use super::text::compact;
use crate::bake::value::Value;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The most elements that a range may have.
const RANGE: usize = 1024;

pub const FUNCTIONS: &[Function] = &[
    function("chunklist", 2, 2, |a| {
        let items = list(a, 0)?;
        match usize::try_from(whole(a, 1)?).map_err(|_| "a size is not negative")? {
            0 => Ok(vec![a[0].clone()].into()),
            size => Ok(Value::List(items.chunks(size).map(|chunk| Value::List(chunk.to_vec())).collect())),
        }
    }),
    function("coalesce", 1, MANY, |a| {
        a.iter().find(|value| **value != Value::Null).cloned().ok_or_else(|| "all arguments are null".into())
    }),
    function("coalescelist", 1, MANY, |a| {
        let found = a.iter().find(|value| matches!(value, Value::List(items) if !items.is_empty()));
        found.cloned().ok_or_else(|| "all lists are empty".into())
    }),
    function("compact", 1, 1, compact),
    function("concat", 1, MANY, |a| {
        let mut all = Vec::new();
        for index in 0..a.len() {
            all.extend_from_slice(list(a, index)?);
        }
        Ok(all.into())
    }),
    function("contains", 2, 2, |a| Ok(list(a, 0)?.contains(&a[1]).into())),
    function("distinct", 1, 1, |a| Ok(distinct(list(a, 0)?).into())),
    function("element", 2, 2, |a| {
        let (items, index) = (list(a, 0)?, whole(a, 1)?);
        let index = usize::try_from(index).map_err(|_| "an index is not negative")?;
        if items.is_empty() { Err("the list is empty".into()) } else { Ok(items[index % items.len()].clone()) }
    }),
    function("flatten", 1, 1, |a| {
        let mut flat = Vec::new();
        flatten(list(a, 0)?, &mut flat);
        Ok(flat.into())
    }),
    function("hasindex", 2, 2, |a| Ok(at(&a[0], &a[1]).is_some().into())),
    function("index", 2, 2, |a| at(&a[0], &a[1]).cloned().ok_or_else(|| "there is no such element".into())),
    function("indexof", 2, 2, |a| {
        let found = list(a, 0)?.iter().position(|item| *item == a[1]);
        found.map(Value::from).ok_or_else(|| "the list has no such element".into())
    }),
    function("keys", 1, 1, |a| Ok(Value::List(map(a, 0)?.keys().map(|key| key.as_str().into()).collect()))),
    function("length", 1, 1, |a| match &a[0] {
        Value::List(items) => Ok(items.len().into()),
        Value::Map(entries) => Ok(entries.len().into()),
        other => Err(format!("{} has no length (strlen has that of a text)", other.kind())),
    }),
    function("lookup", 3, 3, |a| {
        let name = text(a, 1)?;
        Ok(map(a, 0)?.get(&name).unwrap_or(&a[2]).clone())
    }),
    function("merge", 0, MANY, |a| {
        let mut merged = BTreeMap::new();
        for index in 0..a.len() {
            if a[index] != Value::Null {
                merged.extend(map(a, index)?.clone());
            }
        }
        Ok(merged.into())
    }),
    function("range", 1, 3, range),
    function("reverselist", 1, 1, |a| Ok(Value::List(list(a, 0)?.iter().rev().cloned().collect()))),
    function("sethaselement", 2, 2, |a| Ok(list(a, 0)?.contains(&a[1]).into())),
    function("setintersection", 1, MANY, |a| {
        fold(a, |left, right| left.into_iter().filter(|item| right.contains(item)).collect())
    }),
    function("setproduct", 1, MANY, product),
    function("setsubtract", 2, 2, |a| fold(a, |left, right| left.into_iter().filter(|i| !right.contains(i)).collect())),
    function("setsymmetricdifference", 1, MANY, |a| {
        fold(a, |left, right| {
            let (new, old): (Vec<Value>, Vec<Value>) = right.iter().cloned().partition(|item| !left.contains(item));
            left.into_iter().filter(|item| !old.contains(item)).chain(new).collect()
        })
    }),
    function("setunion", 1, MANY, |a| fold(a, |left, right| left.into_iter().chain(right.iter().cloned()).collect())),
    function("slice", 3, 3, |a| {
        let (items, start, end) = (list(a, 0)?, whole(a, 1)?, whole(a, 2)?);
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        match range.and_then(|(start, end)| items.get(start..end)) {
            Some(part) => Ok(Value::List(part.to_vec())),
            None => Err(format!("{start} to {end} is no part of a list of {}", items.len())),
        }
    }),
    function("sort", 1, 1, |a| {
        let mut items = texts(a, 0)?;
        items.sort();
        Ok(Value::List(items.into_iter().map(Value::from).collect()))
    }),
    function("values", 1, 1, |a| Ok(Value::List(map(a, 0)?.values().cloned().collect()))),
    function("zipmap", 2, 2, |a| {
        let (keys, values) = (texts(a, 0)?, list(a, 1)?);
        if keys.len() != values.len() {
            return Err(format!("{} keys for {} values", keys.len(), values.len()));
        }
        Ok(Value::Map(keys.into_iter().zip(values.iter().cloned()).collect()))
    }),
];

fn map(arguments: &[Value], index: usize) -> std::result::Result<&BTreeMap<String, Value>, String> {
    match &arguments[index] {
        Value::Map(entries) => Ok(entries),
        other => super::arguments::want(None, index, other, "a map"),
    }
}

fn at<'v>(of: &'v Value, key: &Value) -> Option<&'v Value> {
    match of {
        Value::List(items) => {
            let index = key.number().filter(|number| number.fract() == 0.0 && *number >= 0.0)?;
            items.get(index as usize)
        }
        Value::Map(entries) => entries.get(&key.text()?),
        _ => None,
    }
}

fn flatten(items: &[Value], flat: &mut Vec<Value>) {
    for item in items {
        match item {
            Value::List(inner) => flatten(inner, flat),
            other => flat.push(other.clone()),
        }
    }
}

fn distinct(items: &[Value]) -> Vec<Value> {
    let mut seen: Vec<&Value> = items.iter().collect();
    seen.sort_by(|a, b| order(a, b));
    seen.dedup();
    let mut left: Vec<bool> = vec![true; seen.len()];
    let mut kept = Vec::with_capacity(seen.len());
    for item in items {
        if let Ok(index) = seen.binary_search_by(|other| order(other, item))
            && std::mem::take(&mut left[index])
        {
            kept.push(item.clone());
        }
    }
    kept
}

/// The elements as a set: in order, none twice.
pub fn set(mut items: Vec<Value>) -> Vec<Value> {
    items.sort_by(order);
    items.dedup();
    items
}

/// Some total order.
fn order(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::List(_) => 4,
        Value::Map(_) => 5,
    };
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.total_cmp(b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::List(_), Value::List(_)) | (Value::Map(_), Value::Map(_)) => a.json().cmp(&b.json()),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// Combines sets from the left.
fn fold(arguments: &[Value], combine: fn(Vec<Value>, &[Value]) -> Vec<Value>) -> Outcome {
    let mut left = set(list(arguments, 0)?.to_vec());
    for index in 1..arguments.len() {
        let right = list(arguments, index)?;
        // What is compared with what grows as the product.
        fits(left.len().saturating_mul(right.len()))?;
        left = set(combine(left, right));
    }
    Ok(left.into())
}

fn product(arguments: &[Value]) -> Outcome {
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for index in 0..arguments.len() {
        let items = list(arguments, index)?;
        let weight: usize = rows.iter().flatten().map(Value::weight).sum::<usize>().saturating_mul(items.len());
        let own: usize = items.iter().map(Value::weight).sum::<usize>().saturating_mul(rows.len());
        fits(weight.saturating_add(own))?;
        let longer = |row: &Vec<Value>, item: &Value| row.iter().chain([item]).cloned().collect();
        rows = rows.iter().flat_map(|row| items.iter().map(move |item| longer(row, item))).collect();
    }
    Ok(Value::List(rows.into_iter().map(Value::List).collect()))
}

/// Numbers from a start (or 0) up to, but without, an end, in steps of 1 (or -1) or as given.
fn range(arguments: &[Value]) -> Outcome {
    let first = number(arguments, 0)?;
    let (start, end) = if arguments.len() == 1 { (0.0, first) } else { (first, number(arguments, 1)?) };
    let step = match arguments.len() {
        3 => number(arguments, 2)?,
        _ if end < start => -1.0,
        _ => 1.0,
    };
    if step == 0.0 || (end - start) * step < 0.0 {
        return Err(format!("steps of {step} do not lead from {start} to {end}"));
    }
    let mut numbers = Vec::new();
    let mut at = start;
    while if step > 0.0 { at < end } else { at > end } {
        if numbers.len() >= RANGE {
            return Err(format!("more than {RANGE} numbers"));
        }
        numbers.push(Value::from(at));
        at += step;
    }
    Ok(numbers.into())
}
