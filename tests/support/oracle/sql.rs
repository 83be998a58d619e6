//! The little SQL that the tests use, interpreted value by value.
//!
//! Columns, literals, `= != <> < <= > >=`, `and or not`, `is [not] null`, `+ - * / %`, `in`, `between`, both forms of
//! `case`, `coalesce`, `nullif`, `cast` and `::` between scalars, `now()`, and Kappa's own `share`. Three-valued logic;
//! whole-number arithmetic is checked; a time minus a time is whole milliseconds. A failure makes the whole expression
//! null, and so do NaN and infinity. What it leaves out: other functions, dates, `like`, arithmetic on decimals.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Value;
use super::exact::exact_sum;
use super::sql_parser;

/// The type of an expression or of a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    Null,
    Str,
    Int,
    Double,
    Bool,
    Ts,
    /// Digits in all, and of them after the point.
    Decimal(u8, u8),
    List(Box<Type>),
    /// From text to this.
    Map(Box<Type>),
    /// Pairs of this and a number.
    Counted(Box<Type>),
}

/// A parsed expression with its type.
#[derive(Debug, Clone)]
pub struct Expr {
    node: Node,
    pub ty: Type,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Column(usize, Type),
    Literal(Value),
    Not(Box<Node>),
    Negate(Box<Node>),
    IsNull(Box<Node>, bool),
    Binary(&'static str, Box<Node>, Box<Node>),
    In(Box<Node>, Vec<Node>, bool),
    Case { operand: Option<Box<Node>>, whens: Vec<(Node, Node)>, otherwise: Option<Box<Node>> },
    Coalesce(Vec<Node>),
    NullIf(Box<Node>, Box<Node>),
    Cast(Box<Node>, Type),
    Share(Box<Node>),
}

/// The evaluation stopped: overflow, division by zero.
struct Failed;

impl Expr {
    /// Parses `sql` over columns of these names and types.
    pub fn parse(sql: &str, columns: &[(String, Type)]) -> Result<Self, String> {
        sql_parser::parse(sql, columns).map(|node| Self { ty: node.ty(), node })
    }

    /// The value on one row: null when it fails or is not a finite number.
    pub fn value(&self, row: &[Value]) -> Value {
        match self.node.eval(row).unwrap_or(Value::Null) {
            Value::Double(v) if !v.is_finite() => Value::Null,
            Value::Double(v) => Value::Double(v + 0.0),
            Value::Int(v) if self.ty == Type::Double => Value::Double(v as f64),
            other => other,
        }
    }

    /// Whether a condition is true on one record; null is not true.
    pub fn holds(&self, row: &[Value]) -> bool {
        self.value(row) == Value::Bool(true)
    }
}

impl Node {
    fn ty(&self) -> Type {
        match self {
            Node::Column(_, ty) | Node::Cast(_, ty) => ty.clone(),
            Node::Literal(value) => match value {
                Value::Null => Type::Null,
                Value::Int(_) => Type::Int,
                Value::Double(_) => Type::Double,
                Value::Bool(_) => Type::Bool,
                Value::Str(_) => Type::Str,
                other => panic!("no literal is {other}"),
            },
            Node::Not(_) | Node::IsNull(..) | Node::In(..) => Type::Bool,
            Node::Negate(inner) => inner.ty(),
            Node::Binary("+" | "-" | "*" | "/" | "%", a, b) => match (a.ty(), b.ty()) {
                (Type::Ts, Type::Ts) => Type::Int,
                (a, b) => common(a, b),
            },
            Node::Binary(..) => Type::Bool,
            Node::Case { whens, otherwise, .. } => {
                let last = otherwise.as_ref().map_or(Type::Null, |node| node.ty());
                whens.iter().map(|(_, then)| then.ty()).fold(last, common)
            }
            Node::Coalesce(choices) => choices.iter().map(Node::ty).fold(Type::Null, common),
            Node::NullIf(value, _) => value.ty(),
            Node::Share(_) => Type::Map(Box::new(Type::Double)),
        }
    }

    /// A choice between numbers is a double as soon as one of them is.
    fn widened(&self, value: Value) -> Value {
        match value {
            Value::Int(_) | Value::Decimal(..) if self.ty() == Type::Double => {
                value.number().map_or(Value::Null, Value::Double)
            }
            other => other,
        }
    }

    fn eval(&self, row: &[Value]) -> Result<Value, Failed> {
        Ok(match self {
            Node::Column(index, _) => row[*index].clone(),
            Node::Literal(value) => value.clone(),
            Node::Not(inner) => match inner.eval(row)? {
                Value::Bool(v) => Value::Bool(!v),
                _ => Value::Null,
            },
            Node::Negate(inner) => match inner.eval(row)? {
                Value::Int(v) => Value::Int(v.checked_neg().ok_or(Failed)?),
                Value::Double(v) => Value::Double(-v),
                Value::Decimal(v, scale) => Value::Decimal(-v, scale),
                _ => Value::Null,
            },
            Node::IsNull(inner, negated) => Value::Bool(inner.eval(row)?.is_null() != *negated),
            Node::Binary("and", a, b) => match a.eval(row)? {
                Value::Bool(false) => Value::Bool(false),
                Value::Bool(true) => b.eval(row)?,
                _ => match b.eval(row)? {
                    Value::Bool(false) => Value::Bool(false),
                    _ => Value::Null,
                },
            },
            Node::Binary("or", a, b) => match a.eval(row)? {
                Value::Bool(true) => Value::Bool(true),
                Value::Bool(false) => b.eval(row)?,
                _ => match b.eval(row)? {
                    Value::Bool(true) => Value::Bool(true),
                    _ => Value::Null,
                },
            },
            Node::Binary(op, a, b) => binary(op, a.eval(row)?, b.eval(row)?)?,
            Node::In(needle, list, negated) => {
                let needle = needle.eval(row)?;
                let mut found = Value::Bool(*negated);
                for item in list {
                    match binary("=", needle.clone(), item.eval(row)?)? {
                        Value::Bool(true) => return Ok(Value::Bool(!*negated)),
                        Value::Null => found = Value::Null,
                        _ => {}
                    }
                }
                found
            }
            Node::Case { operand, whens, otherwise } => {
                let operand = operand.as_ref().map(|node| node.eval(row)).transpose()?;
                for (when, then) in whens {
                    let when = when.eval(row)?;
                    let met = match &operand {
                        Some(operand) => binary("=", operand.clone(), when)?,
                        None => when,
                    };
                    if met == Value::Bool(true) {
                        return then.eval(row).map(|value| self.widened(value));
                    }
                }
                self.widened(otherwise.as_ref().map_or(Ok(Value::Null), |node| node.eval(row))?)
            }
            Node::Coalesce(choices) => {
                for choice in choices {
                    let value = choice.eval(row)?;
                    if !value.is_null() {
                        return Ok(self.widened(value));
                    }
                }
                Value::Null
            }
            Node::NullIf(value, other) => {
                let value = value.eval(row)?;
                let same = binary("=", value.clone(), other.eval(row)?)? == Value::Bool(true);
                if same { Value::Null } else { value }
            }
            Node::Cast(inner, ty) => cast(inner.eval(row)?, ty)?,
            Node::Share(inner) => match inner.eval(row)? {
                Value::Map(pairs) => share(&pairs),
                _ => Value::Null,
            },
        })
    }
}

fn common(a: Type, b: Type) -> Type {
    match (a, b) {
        (Type::Null, other) | (other, Type::Null) => other,
        (Type::Double, _) | (_, Type::Double) => Type::Double,
        (a, _) => a,
    }
}

fn binary(op: &str, a: Value, b: Value) -> Result<Value, Failed> {
    let order = match (&a, &b) {
        (Value::Null, _) | (_, Value::Null) => return Ok(Value::Null),
        (Value::Int(a), Value::Int(b)) => {
            if let Some(result) = whole(op, *a, *b)? {
                return Ok(result);
            }
            a.cmp(b)
        }
        (Value::Int(v), Value::Decimal(..)) => Value::Decimal(i128::from(*v), 0).order(&b),
        (Value::Decimal(..), Value::Int(v)) => a.order(&Value::Decimal(i128::from(*v), 0)),
        (Value::Ts(a), Value::Ts(b)) if op == "-" => return a.checked_sub(*b).map(Value::Int).ok_or(Failed),
        (Value::Double(_), other) | (other, Value::Double(_)) if other.number().is_some() => {
            let (a, b) = (a.number().unwrap_or(f64::NAN), b.number().unwrap_or(f64::NAN));
            match op {
                "+" => return Ok(Value::Double(a + b)),
                "-" => return Ok(Value::Double(a - b)),
                "*" => return Ok(Value::Double(a * b)),
                "/" => return Ok(Value::Double(a / b)),
                "%" => return Ok(Value::Double(a % b)),
                _ => a.total_cmp(&b),
            }
        }
        _ => a.order(&b),
    };
    Ok(Value::Bool(match op {
        "=" => order == Ordering::Equal,
        "!=" => order != Ordering::Equal,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        ">" => order == Ordering::Greater,
        ">=" => order != Ordering::Less,
        _ => panic!("{a} {op} {b} has no meaning here"),
    }))
}

fn whole(op: &str, a: i64, b: i64) -> Result<Option<Value>, Failed> {
    let result = match op {
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        "/" => a.checked_div(b),
        "%" => a.checked_rem(b),
        _ => return Ok(None),
    };
    result.map(|v| Some(Value::Int(v))).ok_or(Failed)
}

fn cast(value: Value, ty: &Type) -> Result<Value, Failed> {
    Ok(match (&value, ty) {
        (Value::Null, _) => Value::Null,
        (Value::Double(v), Type::Int) => {
            let whole = v.trunc();
            // 2^63 is a double, the largest int64 is not.
            if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole) {
                return Err(Failed);
            }
            Value::Int(whole as i64)
        }
        (Value::Int(_), Type::Int) => value,
        (Value::Bool(v), Type::Int) => Value::Int(i64::from(*v)),
        (Value::Bool(v), Type::Double) => Value::Double(f64::from(u8::from(*v))),
        (_, Type::Double) => Value::Double(value.number().ok_or(Failed)?),
        (Value::Int(_) | Value::Bool(_) | Value::Str(_), Type::Str) => {
            Value::Str(Arc::from(value.text().expect("it is not null")))
        }
        _ => panic!("a cast of {value} to {ty:?} has no meaning here"),
    })
}

/// Each value by the sum of all; what is null is left out.
fn share(pairs: &[(Arc<str>, Value)]) -> Value {
    let numbers: Vec<(Arc<str>, f64)> =
        pairs.iter().filter_map(|(key, value)| Some((key.clone(), value.number()?))).collect();
    let sum = exact_sum(&numbers.iter().map(|(_, number)| *number).collect::<Vec<_>>());
    match sum {
        Some(sum) if sum != 0.0 => {
            let shares = numbers.into_iter().map(|(key, number)| (key, Value::Double(number / sum + 0.0)));
            Value::Map(shares.collect())
        }
        _ => Value::Null,
    }
}
