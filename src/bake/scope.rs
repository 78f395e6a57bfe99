//! What the names in a definition stand for: variables, attributes of the file, functions, attributes of other blocks. All
//! are looked up when they are needed, so their order in the file does not matter, and each once.

use super::eval::{self, Budget, Locals, Names};
use super::expr::{Attribute, Block, Body, Expr};
use super::fault::{self, Fault, Result, Site, suggest};
use super::functions;
use super::types::{self, Type};
use super::value::Value;
use crate::base::text::csv;
use std::collections::BTreeMap;

/// Blocks whose attributes others can name.
const NAMED: [&str; 2] = ["target", "group"];

/// The definition's names.
#[derive(Debug)]
pub struct Scope<'b> {
    variables: BTreeMap<&'b str, &'b Block>,
    attributes: BTreeMap<&'b str, &'b Attribute>,
    functions: BTreeMap<&'b str, &'b Block>,
    /// Blocks by kind and name, each with the entries of the matrix it is for.
    instances: BTreeMap<(&'static str, String), Vec<(&'b Block, Matrix)>>,
    environment: &'b BTreeMap<String, String>,
    given: BTreeMap<&'static str, String>,
    values: BTreeMap<String, Value>,
    /// What is being evaluated, for cycles.
    active: Vec<(String, Site)>,
    budget: Budget,
}

/// Entries of a matrix: what the names stand for in one instance of a block.
pub type Matrix = BTreeMap<String, Value>;

/// A variable, for `--list`.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// The name.
    pub name: String,
    /// Its type, if one is declared.
    pub kind: Option<String>,
    /// Its value.
    pub value: Value,
    /// What it is for.
    pub description: String,
}

impl<'b> Scope<'b> {
    /// The names of a definition. `given` are those that rbuild sets.
    pub fn new(
        body: &'b Body,
        environment: &'b BTreeMap<String, String>,
        given: BTreeMap<&'static str, String>,
    ) -> Result<Scope<'b>> {
        let mut scope = Scope {
            variables: BTreeMap::new(),
            attributes: BTreeMap::new(),
            functions: BTreeMap::new(),
            instances: BTreeMap::new(),
            environment,
            given,
            values: BTreeMap::new(),
            active: Vec::new(),
            budget: Budget::default(),
        };
        let reserved = |scope: &Scope<'_>, name: &str| NAMED.contains(&name) || scope.given.contains_key(name);
        for block in &body.blocks {
            let map = match block.kind.as_str() {
                "variable" => &mut scope.variables,
                "function" => &mut scope.functions,
                _ => continue,
            };
            map.insert(&label(block)?.0, block);
        }
        for attribute in &body.attributes {
            scope.attributes.insert(&attribute.name, attribute);
        }
        let taken: Vec<&str> = scope.variables.keys().copied().filter(|name| reserved(&scope, name)).collect();
        for name in taken {
            scope.variables.remove(name);
        }
        Ok(scope)
    }

    /// Makes a block known under a name, so that others can name its attributes.
    pub fn add_instance(&mut self, block: &'b Block, name: &str, matrix: Matrix) {
        if let Some(kind) = NAMED.into_iter().find(|kind| *kind == block.kind) {
            self.instances.entry((kind, name.to_owned())).or_default().push((block, matrix));
        }
    }

    /// Evaluates an expression of a block.
    pub fn eval(&mut self, expr: &Expr, matrix: &Matrix) -> Result<Value> {
        eval::eval(expr, &Locals::new(matrix), self)
    }

    /// Evaluates all that is defined, whether it is used or not, and holds the variables against their rules.
    pub fn check(&mut self) -> Result<Vec<Variable>> {
        let mut told = Vec::new();
        for (name, block) in self.variables.clone() {
            let (_, site) = label(block)?;
            let value = Names::variable(self, name, site)?;
            known(block, &["default", "type", "description"])?;
            let description = match block.body.attribute("description") {
                Some(attribute) => self.eval(&attribute.value, &Matrix::new())?.text().unwrap_or_default(),
                None => String::new(),
            };
            let kind = block.body.attribute("type").map(|a| types::read(&a.value)).transpose()?;
            told.push(Variable { name: name.to_owned(), kind: kind.map(|kind| kind.to_string()), value, description });
        }
        for block in self.variables.clone().into_values() {
            for rule in block.body.blocks.iter().filter(|inner| inner.kind == "validation") {
                self.hold(rule)?;
            }
        }
        for (name, attribute) in self.attributes.clone() {
            Names::variable(self, name, &attribute.site)?;
        }
        for block in self.functions.clone().into_values() {
            known(block, &["params", "variadic_params", "result"])?;
            UserFunction::read(block)?;
        }
        Ok(told)
    }

    fn hold(&mut self, rule: &Block) -> Result<()> {
        let wanted = |name: &str| {
            let fault = || rule.site.error("bake-attribute", format!("`validation` has no `{name}`"));
            rule.body.attribute(name).ok_or_else(|| Fault::from(fault()))
        };
        let (condition, message) = (wanted("condition")?, wanted("error_message")?);
        match self.eval(&condition.value, &Matrix::new())?.bool() {
            Some(true) => Ok(()),
            Some(false) => {
                let message = self.eval(&message.value, &Matrix::new())?.text().unwrap_or_default();
                Err(condition.value.site.error("bake-validation", message).label("does not hold").into())
            }
            None => Err(condition.value.site.error("bake-type", "a condition must be true or false").into()),
        }
    }

    /// Goes through `within` unless it is being gone through already.
    fn guarded<T>(&mut self, what: String, site: &Site, within: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if let Some(at) = self.active.iter().position(|(name, _)| *name == what) {
            let mut way: Vec<&str> = self.active[at..].iter().map(|(name, _)| name.as_str()).collect();
            way.push(&what);
            let mut fault = site.error("bake-cycle", format!("`{what}` depends on itself"));
            if way.len() > 2 {
                fault = fault.note(format!("the way round: {}", way.join(" → ")));
            }
            return Err(fault.into());
        }
        self.active.push((what, site.clone()));
        let result = within(self);
        self.active.pop();
        result
    }

    /// The value of what a block `variable` or an attribute of the file defines.
    fn define(&mut self, name: &str, site: &Site) -> Result<Value> {
        let attribute = self.attributes.get(name).copied();
        let Some(block) = self.variables.get(name).copied() else {
            return match attribute {
                Some(attribute) => self.eval(&attribute.value, &Matrix::new()),
                None => Err(self.unknown(name, site)),
            };
        };
        let default = attribute.or(block.body.attribute("default"));
        let value = match default {
            Some(attribute) => Some(self.eval(&attribute.value, &Matrix::new())?),
            None => None,
        };
        let site = default.map_or(&block.site, |attribute| &attribute.value.site);
        if let Some(attribute) = block.body.attribute("type") {
            let wanted = types::read(&attribute.value)?;
            let value = match self.typed(name, &wanted)? {
                Some(value) => value,
                None => value.unwrap_or(Value::Null),
            };
            let unfit = |why: String| -> Fault { site.error("bake-type", format!("variable `{name}`: {why}")).into() };
            return wanted.convert(value).map_err(unfit);
        }
        match (value, self.environment.get(name)) {
            (None, text) => Ok(text.cloned().unwrap_or_default().into()),
            (Some(value), None) => Ok(value),
            (Some(default), Some(text)) => untyped(name, &default, text),
        }
    }

    /// The value of a variable with a type from the environment: `NAME_JSON`, else `NAME`, a list as comma-separated values.
    fn typed(&self, name: &str, wanted: &Type) -> Result<Option<Value>> {
        let wrong = |variable: &str, why: String| -> Fault {
            fault::plain("bake-environment", format!("{variable} in the environment: {why}")).into()
        };
        let json = format!("{name}_JSON");
        if !wanted.is_plain()
            && let Some(text) = self.environment.get(&json)
        {
            let value: serde_json::Value =
                serde_json::from_str(text).map_err(|error| wrong(&json, format!("not JSON: {error}")))?;
            return wanted.convert(value.into()).map(Some).map_err(|why| wrong(&json, why));
        }
        let Some(text) = self.environment.get(name) else { return Ok(None) };
        let value = match wanted {
            plain if plain.is_plain() => scalar(name, plain, text)?,
            Type::List(_) | Type::Set(_) | Type::Tuple(_) => {
                let fields = csv(text).map_err(|why| wrong(name, why.to_owned()))?;
                match text.as_str() {
                    "" => Value::List(Vec::new()),
                    _ => Value::List(fields.into_iter().map(|(_, field)| field.into()).collect()),
                }
            }
            other => {
                let fault = wrong(name, format!("a value of type {other} can't be given like that"));
                return Err(fault.help(format!("give it as JSON in {json}")).into());
            }
        };
        wanted.convert(value).map(Some).map_err(|why| wrong(name, why))
    }

    fn unknown(&self, name: &str, site: &Site) -> Fault {
        let fault = site.error("bake-unknown-variable", format!("there is no variable `{name}`"));
        let known = self.variables.keys().chain(self.attributes.keys()).chain(self.given.keys());
        let fault = suggest(fault, name, known.copied());
        match self.environment.contains_key(name) {
            true => fault.help(format!("the environment has it; declare it: variable \"{name}\" {{}}")),
            false => fault,
        }
        .into()
    }
}

impl Names for Scope<'_> {
    fn variable(&mut self, name: &str, site: &Site) -> Result<Value> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        if let Some(value) = self.given.get(name)
            && !self.attributes.contains_key(name)
        {
            return Ok(value.as_str().into());
        }
        if NAMED.contains(&name) {
            let fault = site.error("bake-unknown-variable", format!("`{name}` alone stands for nothing"));
            return Err(fault.help(format!("name an attribute: {name}.NAME.ATTRIBUTE")).into());
        }
        let value = self.guarded(name.to_owned(), site, |scope| scope.define(name, site))?;
        self.values.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn attribute(
        &mut self,
        kind: &str,
        (label, label_site): (&str, &Site),
        (name, site): (&str, &Site),
    ) -> Option<Result<Value>> {
        let kind = NAMED.into_iter().find(|named| *named == kind)?;
        let Some(instances) = self.instances.get(&(kind, label.to_owned())) else {
            let fault = label_site.error("bake-unknown-target", format!("there is no {kind} `{label}`"));
            let known = self.instances.keys().filter(|(of, _)| *of == kind).map(|(_, name)| name.as_str());
            return Some(Err(suggest(fault, label, known).into()));
        };
        let found =
            instances.iter().rev().find_map(|(block, matrix)| Some((block.body.attribute(name)?, matrix.clone())));
        let Some((attribute, matrix)) = found else {
            let fault = site.error("bake-attribute", format!("{kind} `{label}` sets no `{name}` itself"));
            return Some(Err(fault.note("what it inherits is not known yet").into()));
        };
        let expr = &attribute.value;
        Some(self.guarded(format!("{kind}.{label}.{name}"), site, |scope| scope.eval(expr, &matrix)))
    }

    fn call(&mut self, name: &str, site: &Site, arguments: Vec<Value>) -> Result<Value> {
        let Some(block) = self.functions.get(name).copied() else {
            if (name, &arguments[..]) == ("timestamp", &[]) {
                return self.now(site);
            }
            let Some(function) = functions::find(name) else { return Err(self.no_function(name, site)) };
            return function.call(&arguments).map_err(|why| site.error("bake-call", why).into());
        };
        let function = UserFunction::read(block)?;
        let wrong = |wanted: String| -> Fault {
            let fault =
                site.error("bake-call", format!("`{name}` takes {wanted} argument(s), not {}", arguments.len()));
            fault.into()
        };
        let count = function.parameters.len();
        if arguments.len() < count || (function.rest.is_none() && arguments.len() > count) {
            return Err(wrong(if function.rest.is_some() { format!("at least {count}") } else { count.to_string() }));
        }
        let mut arguments = arguments;
        let rest = arguments.split_off(count);
        let mut matrix: Matrix = function.parameters.iter().map(|name| (*name).to_owned()).zip(arguments).collect();
        if let Some(name) = function.rest {
            matrix.insert(name.to_owned(), Value::List(rest));
        }
        self.guarded(format!("{name}()"), site, |scope| scope.eval(function.result, &matrix))
    }

    fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }
}

impl Scope<'_> {
    /// The date of the build, if it has one: that of the clock would make every build another.
    fn now(&self, site: &Site) -> Result<Value> {
        const EPOCH: &str = "SOURCE_DATE_EPOCH";
        let moment = self.environment.get(EPOCH).and_then(|text| functions::moment(text.parse().ok()?));
        moment.map(Value::from).ok_or_else(|| {
            let fault =
                site.error("bake-call", format!("`timestamp` gives the date of the build, and {EPOCH} is not set"));
            fault.help(format!("for the time of day: {EPOCH}=$(date +%s) rbuild bake …")).into()
        })
    }

    fn no_function(&self, name: &str, site: &Site) -> Fault {
        let fault = site.error("bake-unknown-function", format!("there is no function `{name}`"));
        if let Some(why) = functions::refused(name) {
            return fault.note(why).into();
        }
        let library: Vec<&str> = functions::all().map(|function| function.name).chain(functions::FORMS).collect();
        suggest(fault, name, self.functions.keys().copied().chain(library)).into()
    }
}

/// A block `function`.
struct UserFunction<'b> {
    parameters: Vec<&'b str>,
    rest: Option<&'b str>,
    result: &'b Expr,
}

impl<'b> UserFunction<'b> {
    fn read(block: &'b Block) -> Result<UserFunction<'b>> {
        let (name, site) = label(block)?;
        let missing =
            |what: &str| -> Fault { site.error("bake-attribute", format!("function `{name}` has no `{what}`")).into() };
        let word = |expr: &'b Expr| -> Result<&'b str> {
            expr.keyword().ok_or_else(|| expr.site.error("bake-type", "a parameter must be a bare name").into())
        };
        let parameters = &block.body.attribute("params").ok_or_else(|| missing("params"))?.value;
        let super::expr::Kind::List(items) = &parameters.kind else {
            return Err(parameters.site.error("bake-type", "parameters must be a list of names").into());
        };
        Ok(UserFunction {
            parameters: items.iter().map(word).collect::<Result<_>>()?,
            rest: block.body.attribute("variadic_params").map(|attribute| word(&attribute.value)).transpose()?,
            result: &block.body.attribute("result").ok_or_else(|| missing("result"))?.value,
        })
    }
}

/// The one label of a block.
pub fn label(block: &Block) -> Result<&(String, Site)> {
    match &block.labels[..] {
        [label] => Ok(label),
        [] => Err(block.site.error("bake-syntax", format!("`{}` needs a name", block.kind)).into()),
        [_, more, ..] => Err(more.1.error("bake-syntax", format!("`{}` has one name", block.kind)).into()),
    }
}

/// Refuses attributes that a block does not have.
fn known(block: &Block, names: &[&str]) -> Result<()> {
    match block.body.attributes.iter().find(|attribute| !names.contains(&attribute.name.as_str())) {
        None => Ok(()),
        Some(attribute) => {
            let fault = attribute.site.error("bake-attribute", format!("`{}` has no `{}`", block.kind, attribute.name));
            Err(suggest(fault, &attribute.name, names.iter().copied()).into())
        }
    }
}

/// A variable without a type takes that of its default.
fn untyped(name: &str, default: &Value, text: &str) -> Result<Value> {
    match default {
        Value::Bool(_) => scalar(name, &Type::Bool, text),
        Value::Number(_) => scalar(name, &Type::Number, text),
        Value::String(_) | Value::Null => Ok(text.into()),
        other => {
            let message = format!("{name} in the environment: its default is {}, and it has no type", other.kind());
            Err(fault::plain("bake-environment", message).help("declare one, as `type = list(string)`").into())
        }
    }
}

/// One value from the environment.
fn scalar(name: &str, wanted: &Type, text: &str) -> Result<Value> {
    let value = match wanted {
        // The spellings that Go takes for truth.
        Type::Bool => match text {
            "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true.into()),
            "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false.into()),
            _ => None,
        },
        Type::Number => super::value::number(text).map(Value::from),
        _ => Some(text.into()),
    };
    value.ok_or_else(|| {
        fault::plain("bake-environment", format!("{name} in the environment is '{text}', and must be a {wanted}"))
            .into()
    })
}
