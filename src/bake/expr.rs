//! Expressions and the bodies that hold them, of whichever form the file has.

use super::fault::Site;
use super::value::Value;

/// An expression with its place.
#[derive(Clone, Debug)]
pub struct Expr {
    /// Where it stands.
    pub site: Site,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of expressions.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A value as it stands.
    Literal(Value),
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `{ a = b }`.
    Map(Vec<(Expr, Expr)>),
    /// `"text ${a}"`.
    Template(Vec<Part>),
    /// A name.
    Variable(String),
    /// `a ? b : c`.
    Conditional(Box<[Expr; 3]>),
    /// `name(arguments)`.
    Call {
        /// The function.
        name: String,
        /// Where its name stands.
        site: Site,
        /// What it is given.
        arguments: Vec<Expr>,
        /// Whether the last argument stands for its elements.
        expand: bool,
    },
    /// `a.b[c]`.
    Access(Box<Expr>, Vec<Access>),
    /// `-a`.
    Negate(Box<Expr>),
    /// `!a`.
    Not(Box<Expr>),
    /// `a + b`.
    Binary(Operator, Box<[Expr; 2]>),
    /// `[for k, v in a : b if c]`.
    For(Box<For>),
}

/// Operators with two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    And,
    Or,
}

/// A list or a map made from another.
#[derive(Clone, Debug)]
pub struct For {
    /// What each key is called.
    pub key: Option<String>,
    /// What each value is called.
    pub value: String,
    /// What is gone through.
    pub collection: Expr,
    /// The key of each entry; `None`: a list is made.
    pub key_result: Option<Expr>,
    /// Each element.
    pub result: Expr,
    /// Whether values with the same key are collected (`...`).
    pub grouping: bool,
    /// Which elements are taken.
    pub condition: Option<Expr>,
}

/// One step into a value.
#[derive(Clone, Debug)]
pub enum Access {
    /// `.name`.
    Attribute(String, Site),
    /// `[index]`.
    Index(Expr),
    /// `.*`: attributes of each element.
    AttributeSplat,
    /// `[*]`: anything of each element.
    Splat,
}

/// A part of a template.
#[derive(Clone, Debug)]
pub enum Part {
    /// Text.
    Text(String),
    /// `${a}`.
    Value(Expr),
    /// `%{ if a }b%{ else }c%{ endif }`.
    If(Box<Expr>, Vec<Part>, Vec<Part>),
    /// `%{ for k, v in a }b%{ endfor }`.
    For {
        /// What each key is called.
        key: Option<String>,
        /// What each value is called.
        value: String,
        /// What is gone through.
        collection: Box<Expr>,
        /// What is written for each.
        body: Vec<Part>,
    },
}

impl Expr {
    /// A value as it stands.
    pub fn literal(site: &Site, value: impl Into<Value>) -> Expr {
        Expr { site: site.clone(), kind: Kind::Literal(value.into()) }
    }

    /// As a bare name: an identifier, or a string that is one (the JSON form has no other way).
    pub fn keyword(&self) -> Option<&str> {
        let name = match &self.kind {
            Kind::Variable(name) | Kind::Literal(Value::String(name)) => name,
            _ => return None,
        };
        let valid = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        (name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(valid)).then_some(name)
    }
}

/// What a file or a block holds.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// `name = value`.
    pub attributes: Vec<Attribute>,
    /// `kind "label" { … }`.
    pub blocks: Vec<Block>,
}

impl Body {
    /// The attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// Puts another body's contents after this one's.
    pub fn append(&mut self, other: Body) {
        self.attributes.extend(other.attributes);
        self.blocks.extend(other.blocks);
    }
}

/// `name = value`.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// The name.
    pub name: String,
    /// Where the name stands.
    pub site: Site,
    /// The value.
    pub value: Expr,
}

/// `kind "label" { … }`.
#[derive(Clone, Debug)]
pub struct Block {
    /// `target`, `group`, `variable`, `function`, `validation`, or a word that means nothing.
    pub kind: String,
    /// Where the kind stands; in data files, the name.
    pub site: Site,
    /// The labels.
    pub labels: Vec<(String, Site)>,
    /// What it holds.
    pub body: Body,
}
