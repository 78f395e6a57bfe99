//! Evaluates expressions. What names mean is the caller's business ([`Names`]); what evaluation may take is limited here.

use super::expr::{Access, Expr, For, Kind, Operator, Part};
use super::fault::{Fault, Result, Site};
use super::types;
use super::value::Value;
use std::collections::BTreeMap;

/// What all values that an evaluation makes may weigh together, in about bytes.
const WEIGHT: usize = 16 << 20;

/// How deep expressions may stand in each other, calls of functions included.
const DEPTH: usize = 200;

/// The code of faults that `try` and `can` do not catch.
pub const LIMIT: &str = "bake-limit";

/// What names stand for.
pub trait Names {
    /// The value of a variable.
    fn variable(&mut self, name: &str, site: &Site) -> Result<Value>;
    /// An attribute of a block, as `target.app.tags`; `None`: blocks of this kind can't be named.
    fn attribute(&mut self, kind: &str, label: (&str, &Site), attribute: (&str, &Site)) -> Option<Result<Value>>;
    /// The result of a function.
    fn call(&mut self, name: &str, site: &Site, arguments: Vec<Value>) -> Result<Value>;
    /// What is left to spend.
    fn budget(&mut self) -> &mut Budget;
}

/// What an evaluation has taken.
#[derive(Debug, Default)]
pub struct Budget {
    weight: usize,
    depth: usize,
}

impl Budget {
    fn spend(&mut self, value: &Value, site: &Site) -> Result<()> {
        let (weight, depth) = value.measure();
        self.weight = self.weight.saturating_add(weight);
        if self.weight > WEIGHT {
            return Err(site.error(LIMIT, format!("evaluation makes more than {} MiB of values", WEIGHT >> 20)).into());
        }
        if depth > DEPTH {
            return Err(site.error(LIMIT, format!("values nest more than {DEPTH} deep")).into());
        }
        Ok(())
    }
}

/// Names that only a part of an expression knows: what `for` runs through, parameters, entries of a matrix.
#[derive(Clone, Copy, Debug, Default)]
pub struct Locals<'l> {
    names: Option<&'l BTreeMap<String, Value>>,
    outer: Option<&'l Locals<'l>>,
}

impl<'l> Locals<'l> {
    /// These names and no others.
    pub fn new(names: &'l BTreeMap<String, Value>) -> Locals<'l> {
        Locals { names: Some(names), outer: None }
    }

    fn within(names: &'l BTreeMap<String, Value>, outer: &'l Locals<'l>) -> Locals<'l> {
        Locals { names: Some(names), outer: Some(outer) }
    }

    fn get(&self, name: &str) -> Option<&'l Value> {
        let own = self.names.and_then(|names| names.get(name));
        own.or_else(|| self.outer.and_then(|outer| outer.get(name)))
    }
}

/// The value of an expression.
pub fn eval(expr: &Expr, locals: &Locals<'_>, names: &mut dyn Names) -> Result<Value> {
    let budget = names.budget();
    if budget.depth >= DEPTH {
        return Err(expr.site.error(LIMIT, format!("expressions nest more than {DEPTH} deep")).into());
    }
    budget.depth += 1;
    let value = Evaluation { locals, names }.kind(expr);
    names.budget().depth -= 1;
    let value = value?;
    names.budget().spend(&value, &expr.site)?;
    Ok(value)
}

/// One expression's evaluation.
struct Evaluation<'e, 'l> {
    locals: &'e Locals<'l>,
    names: &'e mut dyn Names,
}

impl Evaluation<'_, '_> {
    fn eval(&mut self, expr: &Expr) -> Result<Value> {
        eval(expr, self.locals, self.names)
    }

    fn kind(&mut self, expr: &Expr) -> Result<Value> {
        match &expr.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::List(items) => items.iter().map(|item| self.eval(item)).collect::<Result<Vec<_>>>().map(Value::List),
            Kind::Map(entries) => {
                let mut map = BTreeMap::new();
                for (key, value) in entries {
                    let name = self.text(key, "the name of an entry")?;
                    map.insert(name, self.eval(value)?);
                }
                Ok(Value::Map(map))
            }
            Kind::Template(parts) => match &parts[..] {
                // A template that is one value is that value, of whatever kind.
                [Part::Value(value)] => self.eval(value),
                parts => {
                    let mut out = String::new();
                    self.write(parts, &mut out)?;
                    Ok(out.into())
                }
            },
            Kind::Variable(name) => match self.locals.get(name) {
                Some(value) => Ok(value.clone()),
                None => self.names.variable(name, &expr.site),
            },
            Kind::Conditional(three) => {
                let [condition, yes, no] = &**three;
                let taken = self.truth(condition, "the condition")?;
                // Both sides count: the kind of the result does not depend on the condition.
                let (yes, no) = (self.side(yes, taken)?, self.side(no, !taken)?);
                let (value, other) = if taken { (yes, no) } else { (no, yes) };
                let value = value.unwrap_or(Value::Null);
                Ok(match &other {
                    Some(Value::String(_)) => value.text().map_or(value, Value::String),
                    _ => value,
                })
            }
            Kind::Call { name, site, arguments, expand } => self.call(expr, (name, site), arguments, *expand),
            Kind::Access(of, path) => self.access(of, path),
            Kind::Negate(of) => Ok((-self.number(of)?).into()),
            Kind::Not(of) => Ok((!self.truth(of, "what is negated")?).into()),
            Kind::Binary(operator, two) => self.binary(*operator, &two[0], &two[1], &expr.site),
            Kind::For(each) => self.each(each),
        }
    }

    /// A side of a conditional. A fault of the side that is not taken does not matter.
    fn side(&mut self, expr: &Expr, taken: bool) -> Result<Option<Value>> {
        match self.eval(expr) {
            Ok(value) => Ok(Some(value)),
            Err(fault) if taken || fault.code == LIMIT => Err(fault),
            Err(_) => Ok(None),
        }
    }

    fn text(&mut self, expr: &Expr, what: &str) -> Result<String> {
        let value = self.eval(expr)?;
        value.text().ok_or_else(|| unfit(expr, what, &value, "text"))
    }

    fn number(&mut self, expr: &Expr) -> Result<f64> {
        let value = self.eval(expr)?;
        value.number().ok_or_else(|| unfit(expr, "this", &value, "a number"))
    }

    fn truth(&mut self, expr: &Expr, what: &str) -> Result<bool> {
        let value = self.eval(expr)?;
        value.bool().ok_or_else(|| unfit(expr, what, &value, "true or false"))
    }

    fn binary(&mut self, operator: Operator, left: &Expr, right: &Expr, site: &Site) -> Result<Value> {
        let undefined = |what: &str| Err(site.error("bake-value", what.to_owned()).into());
        Ok(match operator {
            Operator::Equal => (self.eval(left)? == self.eval(right)?).into(),
            Operator::NotEqual => (self.eval(left)? != self.eval(right)?).into(),
            Operator::And => {
                let (left, right) = (self.truth(left, "this")?, self.truth(right, "this")?);
                (left && right).into()
            }
            Operator::Or => {
                let (left, right) = (self.truth(left, "this")?, self.truth(right, "this")?);
                (left || right).into()
            }
            numeric => {
                let (left, right) = (self.number(left)?, self.number(right)?);
                match numeric {
                    Operator::Less => (left < right).into(),
                    Operator::LessEqual => (left <= right).into(),
                    Operator::Greater => (left > right).into(),
                    Operator::GreaterEqual => (left >= right).into(),
                    Operator::Add => (left + right).into(),
                    Operator::Subtract => (left - right).into(),
                    Operator::Multiply => (left * right).into(),
                    Operator::Divide if right == 0.0 => return undefined("a division by zero"),
                    Operator::Divide => (left / right).into(),
                    _ if right == 0.0 => return undefined("a division by zero"),
                    _ => (left % right).into(),
                }
            }
        })
    }

    fn call(&mut self, expr: &Expr, (name, site): (&str, &Site), arguments: &[Expr], expand: bool) -> Result<Value> {
        match (name, arguments) {
            ("can", [tried]) => match self.eval(tried) {
                Ok(_) => return Ok(true.into()),
                Err(fault) if fault.code == LIMIT => return Err(fault),
                Err(_) => return Ok(false.into()),
            },
            ("try", [_, ..]) => {
                let mut last = None;
                for tried in arguments {
                    match self.eval(tried) {
                        Ok(value) => return Ok(value),
                        Err(fault) if fault.code == LIMIT => return Err(fault),
                        Err(fault) => last = Some(fault),
                    }
                }
                return last.map_or(Ok(Value::Null), Err);
            }
            ("convert", [value, wanted]) => {
                let wanted = types::read(wanted)?;
                let value = self.eval(value)?;
                return wanted.convert(value).map_err(|why| expr.site.error("bake-type", why).into());
            }
            _ => {}
        }
        let mut values = Vec::with_capacity(arguments.len());
        for (index, argument) in arguments.iter().enumerate() {
            match self.eval(argument)? {
                Value::List(items) if expand && index + 1 == arguments.len() => values.extend(items),
                value if expand && index + 1 == arguments.len() => {
                    return Err(unfit(argument, "what is expanded", &value, "a list"));
                }
                value => values.push(value),
            }
        }
        self.names.call(name, site, values)
    }

    fn access(&mut self, of: &Expr, path: &[Access]) -> Result<Value> {
        // `target.app.tags` names an attribute of a block.
        if let (Kind::Variable(kind), [Access::Attribute(label, label_site), Access::Attribute(name, site), rest @ ..]) =
            (&of.kind, path)
            && self.locals.get(kind).is_none()
            && let Some(value) = self.names.attribute(kind, (label, label_site), (name, site))
        {
            return self.follow(value?, rest);
        }
        let value = self.eval(of)?;
        self.follow(value, path)
    }

    /// Goes into a value.
    fn follow(&mut self, mut value: Value, path: &[Access]) -> Result<Value> {
        let mut path = path;
        while let [step, rest @ ..] = path {
            path = rest;
            value = match step {
                Access::Attribute(name, site) => attribute(value, name, site)?,
                Access::Index(index) => {
                    let key = self.eval(index)?;
                    element(value, &key, &index.site)?
                }
                splat => {
                    let only_attributes = matches!(splat, Access::AttributeSplat);
                    let attributes = rest.iter().take_while(|step| matches!(step, Access::Attribute(..))).count();
                    let (each, after) = rest.split_at(if only_attributes { attributes } else { rest.len() });
                    path = after;
                    let items = match value {
                        Value::Null => Vec::new(),
                        Value::List(items) => items,
                        single => vec![single],
                    };
                    let followed = items.into_iter().map(|item| self.follow(item, each));
                    Value::List(followed.collect::<Result<_>>()?)
                }
            };
        }
        Ok(value)
    }

    fn each(&mut self, each: &For) -> Result<Value> {
        let mut list = Vec::new();
        let mut map: BTreeMap<String, Value> = BTreeMap::new();
        for (key, value) in self.pairs(&each.collection)? {
            let mut names = BTreeMap::from([(each.value.clone(), value)]);
            if let Some(name) = &each.key {
                names.insert(name.clone(), key);
            }
            let locals = Locals::within(&names, self.locals);
            let mut inner = Evaluation { locals: &locals, names: &mut *self.names };
            if let Some(condition) = &each.condition
                && !inner.truth(condition, "the condition")?
            {
                continue;
            }
            let Some(key) = &each.key_result else {
                list.push(inner.eval(&each.result)?);
                continue;
            };
            let name = inner.text(key, "the name of an entry")?;
            let result = inner.eval(&each.result)?;
            match map.get_mut(&name) {
                Some(Value::List(items)) if each.grouping => items.push(result),
                Some(_) => {
                    let fault = key.site.error("bake-value", format!("`{name}` comes up twice"));
                    return Err(fault.help("collect the values of each: `key => value...`").into());
                }
                None if each.grouping => {
                    map.insert(name, Value::List(vec![result]));
                }
                None => {
                    map.insert(name, result);
                }
            }
        }
        Ok(if each.key_result.is_some() { Value::Map(map) } else { Value::List(list) })
    }

    /// The elements of a collection, each with its key.
    fn pairs(&mut self, collection: &Expr) -> Result<Vec<(Value, Value)>> {
        match self.eval(collection)? {
            Value::List(items) => Ok(items.into_iter().enumerate().map(|(i, item)| (i.into(), item)).collect()),
            Value::Map(entries) => Ok(entries.into_iter().map(|(key, value)| (key.into(), value)).collect()),
            other => Err(unfit(collection, "what `for` goes through", &other, "a list or a map")),
        }
    }

    fn write(&mut self, parts: &[Part], out: &mut String) -> Result<()> {
        for part in parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(value) => out.push_str(&self.text(value, "what goes into a text")?),
                Part::If(condition, yes, no) => {
                    let taken = if self.truth(condition, "the condition")? { yes } else { no };
                    self.write(taken, out)?;
                }
                Part::For { key, value: name, collection, body } => {
                    for (index, value) in self.pairs(collection)? {
                        let mut names = BTreeMap::from([(name.clone(), value)]);
                        if let Some(key) = key {
                            names.insert(key.clone(), index);
                        }
                        let locals = Locals::within(&names, self.locals);
                        Evaluation { locals: &locals, names: &mut *self.names }.write(body, out)?;
                        if out.len() > WEIGHT {
                            return Err(collection.site.error(LIMIT, "the text grows without end").into());
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn unfit(expr: &Expr, what: &str, value: &Value, wanted: &str) -> Fault {
    expr.site.error("bake-type", format!("{what} is {}, and must be {wanted}", value.kind())).into()
}

fn attribute(value: Value, name: &str, site: &Site) -> Result<Value> {
    match value {
        Value::Map(mut map) => match map.remove(name) {
            Some(value) => Ok(value),
            None => {
                let fault = site.error("bake-value", format!("there is no `{name}` here"));
                Err(super::fault::suggest(fault, name, map.keys().map(String::as_str)).into())
            }
        },
        other => Err(site.error("bake-type", format!("`.{name}` of {}: only maps have names", other.kind())).into()),
    }
}

fn element(value: Value, key: &Value, site: &Site) -> Result<Value> {
    match value {
        Value::List(mut items) => {
            let index = key.number().filter(|n| n.fract() == 0.0 && *n >= 0.0 && *n < items.len() as f64);
            match index {
                Some(index) => Ok(items.swap_remove(index as usize)),
                None => {
                    let shown = key.text().unwrap_or_else(|| key.kind().to_owned());
                    let message = format!("no element {shown} in a list of {}", items.len());
                    Err(site.error("bake-value", message).into())
                }
            }
        }
        Value::Map(_) => match key.text() {
            Some(name) => attribute(value, &name, site),
            None => Err(site.error("bake-type", format!("a map has no key that is {}", key.kind())).into()),
        },
        other => Err(site.error("bake-type", format!("{} has no elements", other.kind())).into()),
    }
}
