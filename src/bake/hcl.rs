//! HCL files, and templates in strings, as expressions. The grammar is hcl-edit's, which keeps places.

use super::expr::{Access, Attribute, Block, Body, Expr, For, Kind, Operator, Part};
use super::fault::{Fault, Result, Site};
use super::value::Value;
use crate::diag::Source;
use hcl_edit::expr::{self as ast, BinaryOperator, Expression, ObjectKey, TraversalOperator, UnaryOperator};
use hcl_edit::structure::{BlockLabel, Structure};
use hcl_edit::template::{Directive, Element, Strip, Template};
use hcl_edit::{Decorated, Ident, Span};
use std::ops::Range;

/// How deep brackets may nest. The reader takes 64, but the time that it needs for a text with mistakes grows with the power
/// of it.
const DEPTH: usize = 32;
const TOO_DEEP: &str = "brackets nest more than 32 deep";

/// Where brackets nest too deep. Those in strings count, too: which are in strings only the reader can tell.
fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let deeper = |byte: u8| {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH
    };
    text.bytes().position(deeper)
}

/// Reads a file.
///
/// # Errors
/// The text is not HCL, or its brackets nest more than [`DEPTH`] deep.
pub fn read(source: &Source) -> Result<Body> {
    let place = Place { source, base: 0 };
    if let Some(at) = too_deep(source.text()) {
        return Err(place.site(Some(at..at + 1)).error("bake-limit", TOO_DEEP).into());
    }
    let body = hcl_edit::parser::parse_body(source.text()).map_err(|error| place.syntax(&error))?;
    place.body(&body)
}

/// Reads a string of a data file as a template, as HCL's JSON form has it.
///
/// # Errors
/// It is none.
pub fn template(text: &str, site: &Site) -> Result<Expr> {
    if !text.contains("${") && !text.contains("%{") {
        return Ok(Expr::literal(site, text));
    }
    if too_deep(text).is_some() {
        return Err(site.error("bake-limit", TOO_DEEP).into());
    }
    // Where the file has the string as it is, between quotes, places within it can be told.
    let start = site.span.start + 1;
    let base = (site.source.text().get(start..start + text.len()) == Some(text)).then_some(start);
    let place = Place { source: &site.source, base: base.unwrap_or_default() };
    let parsed = hcl_edit::parser::parse_template(text).map_err(|error| match base {
        Some(_) => place.syntax(&error),
        None => site.error("bake-syntax", format!("not a template: {}", message(&error))).into(),
    })?;
    let mut expr = Expr { site: site.clone(), kind: place.template(&parsed)? };
    if base.is_none() {
        settle(&mut expr, site);
    }
    Ok(expr)
}

/// Reads a string of a data file as an expression, for what cannot be a template (types).
///
/// # Errors
/// It is none.
pub fn expression(text: &str, site: &Site) -> Result<Expr> {
    if too_deep(text).is_some() {
        return Err(site.error("bake-limit", TOO_DEEP).into());
    }
    let wrong = |error| site.error("bake-syntax", format!("not an expression: {}", message(&error)));
    let parsed = hcl_edit::parser::parse_expr(text).map_err(wrong)?;
    let mut expr = Place { source: &site.source, base: 0 }.expr(&parsed)?;
    settle(&mut expr, site);
    Ok(expr)
}

/// Gives an expression and all in it one place.
fn settle(expr: &mut Expr, site: &Site) {
    expr.site = site.clone();
    match &mut expr.kind {
        Kind::Literal(_) | Kind::Variable(_) => {}
        Kind::List(items) => items.iter_mut().for_each(|item| settle(item, site)),
        Kind::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
            settle(key, site);
            settle(value, site);
        }),
        Kind::Template(parts) => parts.iter_mut().for_each(|part| settle_part(part, site)),
        Kind::Conditional(three) => three.iter_mut().for_each(|item| settle(item, site)),
        Kind::Call { site: own, arguments, .. } => {
            *own = site.clone();
            arguments.iter_mut().for_each(|item| settle(item, site));
        }
        Kind::Access(of, path) => {
            settle(of, site);
            for step in path {
                match step {
                    Access::Attribute(_, own) => *own = site.clone(),
                    Access::Index(index) => settle(index, site),
                    Access::AttributeSplat | Access::Splat => {}
                }
            }
        }
        Kind::Negate(of) | Kind::Not(of) => settle(of, site),
        Kind::Binary(_, two) => two.iter_mut().for_each(|item| settle(item, site)),
        Kind::For(each) => {
            let parts =
                [Some(&mut each.collection), each.key_result.as_mut(), Some(&mut each.result), each.condition.as_mut()];
            parts.into_iter().flatten().for_each(|item| settle(item, site));
        }
    }
}

fn settle_part(part: &mut Part, site: &Site) {
    match part {
        Part::Text(_) => {}
        Part::Value(expr) => settle(expr, site),
        Part::If(condition, then, otherwise) => {
            settle(condition, site);
            then.iter_mut().chain(otherwise).for_each(|part| settle_part(part, site));
        }
        Part::For { collection, body, .. } => {
            settle(collection, site);
            body.iter_mut().for_each(|part| settle_part(part, site));
        }
    }
}

fn message(error: &hcl_edit::parser::Error) -> String {
    error.message().replace('\n', "; ")
}

/// What turns the reader's places into ours.
struct Place<'s> {
    source: &'s Source,
    /// Where the text that was read begins in the source.
    base: usize,
}

impl Place<'_> {
    fn site(&self, span: Option<Range<usize>>) -> Site {
        let span = span.unwrap_or_default();
        Site::new(self.source, self.base + span.start, self.base + span.end)
    }

    fn syntax(&self, error: &hcl_edit::parser::Error) -> Fault {
        let at = error.location().offset();
        self.site(Some(at..at + 1)).error("bake-syntax", format!("not HCL: {}", message(error))).into()
    }

    fn body(&self, body: &hcl_edit::structure::Body) -> Result<Body> {
        let mut own = Body::default();
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => {
                    let (name, site) = self.name(&attribute.key);
                    if own.attribute(&name).is_some() {
                        return Err(site.error("bake-syntax", format!("`{name}` is set twice")).into());
                    }
                    own.attributes.push(Attribute { name, site, value: self.expr(&attribute.value)? });
                }
                Structure::Block(block) => {
                    let (kind, site) = self.name(&block.ident);
                    let label = |label: &BlockLabel| match label {
                        BlockLabel::Ident(name) => self.name(name),
                        BlockLabel::String(name) => (name.as_str().to_owned(), self.site(name.span())),
                    };
                    let labels = block.labels.iter().map(label).collect();
                    own.blocks.push(Block { kind, site, labels, body: self.body(&block.body)? });
                }
            }
        }
        Ok(own)
    }

    fn name(&self, name: &Decorated<Ident>) -> (String, Site) {
        (name.as_str().to_owned(), self.site(name.span()))
    }

    fn expr(&self, expr: &Expression) -> Result<Expr> {
        let boxed = |expr: &Expression| self.expr(expr).map(Box::new);
        let kind = match expr {
            Expression::Null(_) => Kind::Literal(Value::Null),
            Expression::Bool(value) => Kind::Literal((**value).into()),
            Expression::Number(number) => Kind::Literal(number.as_f64().unwrap_or_default().into()),
            Expression::String(text) => Kind::Literal(text.as_str().into()),
            Expression::Array(items) => Kind::List(items.iter().map(|item| self.expr(item)).collect::<Result<_>>()?),
            Expression::Object(entries) => {
                let entry = |(key, value): (&ObjectKey, &ast::ObjectValue)| {
                    let key = match key {
                        ObjectKey::Ident(name) => {
                            let (name, site) = self.name(name);
                            Expr { site, kind: Kind::Literal(name.into()) }
                        }
                        // A bare name that the reader takes for an expression is a name all the same.
                        ObjectKey::Expression(Expression::Variable(name)) => {
                            let (name, site) = self.name(name);
                            Expr { site, kind: Kind::Literal(name.into()) }
                        }
                        ObjectKey::Expression(expr) => self.expr(expr)?,
                    };
                    Ok((key, self.expr(value.expr())?))
                };
                Kind::Map(entries.iter().map(entry).collect::<Result<_>>()?)
            }
            Expression::StringTemplate(template) => self.parts_kind(template.iter())?,
            Expression::HeredocTemplate(heredoc) => self.template(&heredoc.template)?,
            Expression::Parenthesis(inner) => self.expr(inner.inner())?.kind,
            Expression::Variable(name) => Kind::Variable(name.as_str().to_owned()),
            Expression::Conditional(c) => Kind::Conditional(Box::new([
                self.expr(&c.cond_expr)?,
                self.expr(&c.true_expr)?,
                self.expr(&c.false_expr)?,
            ])),
            Expression::FuncCall(call) => {
                let (mut name, site) = self.name(&call.name.name);
                for space in call.name.namespace.iter().rev() {
                    name = format!("{}::{name}", space.as_str());
                }
                let arguments = call.args.iter().map(|item| self.expr(item)).collect::<Result<_>>()?;
                Kind::Call { name, site, arguments, expand: call.args.expand_final() }
            }
            Expression::Traversal(traversal) => {
                let path = traversal.operators.iter().map(|step| self.access(step)).collect::<Result<_>>()?;
                Kind::Access(boxed(&traversal.expr)?, path)
            }
            Expression::UnaryOp(op) => match *op.operator.value() {
                UnaryOperator::Neg => Kind::Negate(boxed(&op.expr)?),
                UnaryOperator::Not => Kind::Not(boxed(&op.expr)?),
            },
            Expression::BinaryOp(op) => {
                let sides = [self.expr(&op.lhs_expr)?, self.expr(&op.rhs_expr)?];
                Kind::Binary(operator(*op.operator.value()), Box::new(sides))
            }
            Expression::ForExpr(each) => Kind::For(Box::new(For {
                key: each.intro.key_var.as_ref().map(|name| name.as_str().to_owned()),
                value: each.intro.value_var.as_str().to_owned(),
                collection: self.expr(&each.intro.collection_expr)?,
                key_result: each.key_expr.as_ref().map(|key| self.expr(key)).transpose()?,
                result: self.expr(&each.value_expr)?,
                grouping: each.grouping,
                condition: each.cond.as_ref().map(|condition| self.expr(&condition.expr)).transpose()?,
            })),
        };
        Ok(Expr { site: self.site(expr.span()), kind })
    }

    fn access(&self, step: &Decorated<TraversalOperator>) -> Result<Access> {
        Ok(match step.value() {
            TraversalOperator::AttrSplat(_) => Access::AttributeSplat,
            TraversalOperator::FullSplat(_) => Access::Splat,
            TraversalOperator::GetAttr(name) => {
                let (name, site) = self.name(name);
                Access::Attribute(name, site)
            }
            TraversalOperator::Index(index) => Access::Index(self.expr(index)?),
            TraversalOperator::LegacyIndex(index) => {
                let site = self.site(index.span());
                Access::Index(Expr { site, kind: Kind::Literal((*index.value() as f64).into()) })
            }
        })
    }

    fn template(&self, template: &Template) -> Result<Kind> {
        self.parts_kind(template.iter())
    }

    fn parts_kind<'e>(&self, elements: impl Iterator<Item = &'e Element>) -> Result<Kind> {
        let mut parts = Parts::default();
        self.parts(elements, &mut parts)?;
        Ok(Kind::Template(parts.done))
    }

    fn parts<'e>(&self, elements: impl Iterator<Item = &'e Element>, parts: &mut Parts) -> Result<()> {
        for element in elements {
            match element {
                Element::Literal(text) => parts.text(text.value()),
                Element::Interpolation(value) => {
                    let expr = self.expr(&value.expr)?;
                    parts.part(value.strip, value.strip, Part::Value(expr));
                }
                Element::Directive(directive) => self.directive(directive, parts)?,
            }
        }
        Ok(())
    }

    /// A directive strips blanks on both sides of each of its marks: those between two marks belong to the body.
    fn directive(&self, directive: &Directive, parts: &mut Parts) -> Result<()> {
        match directive {
            Directive::If(d) => {
                let condition = Box::new(self.expr(&d.if_expr.cond_expr)?);
                let middle = d.else_expr.as_ref().map_or(d.endif_expr.strip, |e| e.strip);
                let then = self.inner(&d.if_expr.template, d.if_expr.strip, middle)?;
                let otherwise = match &d.else_expr {
                    Some(otherwise) => self.inner(&otherwise.template, otherwise.strip, d.endif_expr.strip)?,
                    None => Vec::new(),
                };
                parts.part(d.if_expr.strip, d.endif_expr.strip, Part::If(condition, then, otherwise));
            }
            Directive::For(d) => {
                let each = &d.for_expr;
                let part = Part::For {
                    key: each.key_var.as_ref().map(|name| name.as_str().to_owned()),
                    value: each.value_var.as_str().to_owned(),
                    collection: Box::new(self.expr(&each.collection_expr)?),
                    body: self.inner(&each.template, each.strip, d.endfor_expr.strip)?,
                };
                parts.part(each.strip, d.endfor_expr.strip, part);
            }
        }
        Ok(())
    }

    /// What is between two marks.
    fn inner(&self, template: &Template, before: Strip, after: Strip) -> Result<Vec<Part>> {
        let mut parts = Parts { strip_next: strips_after(before), ..Parts::default() };
        self.parts(template.iter(), &mut parts)?;
        if strips_before(after) {
            parts.strip_last();
        }
        Ok(parts.done)
    }
}

fn strips_before(strip: Strip) -> bool {
    matches!(strip, Strip::Start | Strip::Both)
}

fn strips_after(strip: Strip) -> bool {
    matches!(strip, Strip::End | Strip::Both)
}

/// Parts of a template as they are put together.
#[derive(Default)]
struct Parts {
    done: Vec<Part>,
    strip_next: bool,
}

impl Parts {
    fn text(&mut self, text: &str) {
        let text = if std::mem::take(&mut self.strip_next) { text.trim_start() } else { text };
        self.done.push(Part::Text(text.to_owned()));
    }

    /// Adds a part whose first mark strips as `first` says, and whose last as `last`.
    fn part(&mut self, first: Strip, last: Strip, part: Part) {
        if strips_before(first) {
            self.strip_last();
        }
        self.done.push(part);
        self.strip_next = strips_after(last);
    }

    fn strip_last(&mut self) {
        if let Some(Part::Text(text)) = self.done.last_mut() {
            text.truncate(text.trim_end().len());
        }
    }
}

fn operator(operator: BinaryOperator) -> Operator {
    match operator {
        BinaryOperator::Eq => Operator::Equal,
        BinaryOperator::NotEq => Operator::NotEqual,
        BinaryOperator::LessEq => Operator::LessEqual,
        BinaryOperator::GreaterEq => Operator::GreaterEqual,
        BinaryOperator::Less => Operator::Less,
        BinaryOperator::Greater => Operator::Greater,
        BinaryOperator::Plus => Operator::Add,
        BinaryOperator::Minus => Operator::Subtract,
        BinaryOperator::Mul => Operator::Multiply,
        BinaryOperator::Div => Operator::Divide,
        BinaryOperator::Mod => Operator::Modulo,
        BinaryOperator::And => Operator::And,
        BinaryOperator::Or => Operator::Or,
    }
}
