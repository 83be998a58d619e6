//! The little SQL that the tests use, interpreted record by record.
//!
//! Columns, literals, `= != <> < <= > >=`, `and or not`, `is [not] null`, `+ - * / %`, `in`, `between`, both forms of
//! `case`. Three-valued logic; whole-number arithmetic is checked. A failure makes the whole expression null, and so
//! do NaN and infinity. What it leaves out: functions, dates, `like`, casts.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Value;
use super::topology::{Field, FieldType};

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Null,
    Str,
    Int,
    Double,
    Bool,
    Ts,
}

/// A parsed expression with its type.
#[derive(Debug, Clone)]
pub struct Expr {
    node: Node,
    pub ty: Type,
}

#[derive(Debug, Clone)]
enum Node {
    Column(usize, Type),
    Literal(Value),
    Not(Box<Node>),
    Negate(Box<Node>),
    IsNull(Box<Node>, bool),
    Binary(&'static str, Box<Node>, Box<Node>),
    In(Box<Node>, Vec<Node>, bool),
    Case { operand: Option<Box<Node>>, whens: Vec<(Node, Node)>, otherwise: Option<Box<Node>> },
}

/// The evaluation stopped: overflow, division by zero.
struct Failed;

impl Expr {
    /// Parses `sql` over the declared fields.
    pub fn parse(sql: &str, fields: &[Field]) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(sql)?, at: 0, fields };
        let node = parser.level(0)?;
        match parser.tokens.get(parser.at) {
            None => Ok(Self { ty: node.ty(), node }),
            Some(token) => Err(format!("`{sql}`: unexpected {token:?}")),
        }
    }

    /// The value on one record: null when it fails or is not a finite number.
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
            Node::Column(_, ty) => *ty,
            Node::Literal(value) => match value {
                Value::Null => Type::Null,
                Value::Int(_) => Type::Int,
                Value::Double(_) => Type::Double,
                Value::Bool(_) => Type::Bool,
                Value::Str(_) => Type::Str,
                Value::Ts(_) => Type::Ts,
            },
            Node::Not(_) | Node::IsNull(..) | Node::In(..) => Type::Bool,
            Node::Negate(inner) => inner.ty(),
            Node::Binary("+" | "-" | "*" | "/" | "%", a, b) => common(a.ty(), b.ty()),
            Node::Binary(..) => Type::Bool,
            Node::Case { whens, otherwise, .. } => {
                let last = otherwise.as_ref().map_or(Type::Null, |node| node.ty());
                whens.iter().map(|(_, then)| then.ty()).fold(last, common)
            }
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
                        return then.eval(row);
                    }
                }
                otherwise.as_ref().map_or(Ok(Value::Null), |node| node.eval(row))?
            }
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
        (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => {
            let (a, b) = (number(&a), number(&b));
            match op {
                "+" => return Ok(Value::Double(a + b)),
                "-" => return Ok(Value::Double(a - b)),
                "*" => return Ok(Value::Double(a * b)),
                "/" => return Ok(Value::Double(a / b)),
                "%" => return Ok(Value::Double(a % b)),
                _ => a.total_cmp(&b),
            }
        }
        (Value::Str(a), Value::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Ts(a), Value::Ts(b)) => a.cmp(b),
        _ => panic!("{a} {op} {b}: the plan refuses such types"),
    };
    Ok(Value::Bool(match op {
        "=" => order == Ordering::Equal,
        "!=" => order != Ordering::Equal,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        ">" => order == Ordering::Greater,
        ">=" => order != Ordering::Less,
        _ => panic!("{op} has no meaning here"),
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

fn number(value: &Value) -> f64 {
    match value {
        Value::Int(v) => *v as f64,
        // -0.0 and 0.0 are equal.
        Value::Double(v) => *v + 0.0,
        _ => unreachable!("only numbers come here"),
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// Keywords, names and symbols; names not in quotes are lower case.
    Word(String),
    Literal(Value),
}

fn tokens(sql: &str) -> Result<Vec<Token>, String> {
    let chars: Vec<char> = sql.chars().collect();
    let (mut out, mut i) = (vec![], 0);
    while i < chars.len() {
        let c = chars[i];
        let start = i;
        i += 1;
        if c.is_whitespace() {
            continue;
        }
        if c == '\'' || c == '"' {
            let mut text = String::new();
            loop {
                match chars.get(i) {
                    None => return Err(format!("`{sql}`: a quote is not closed")),
                    Some(d) if *d == c && chars.get(i + 1) == Some(&c) => {
                        text.push(c);
                        i += 2;
                    }
                    Some(d) if *d == c => break,
                    Some(d) => {
                        text.push(*d);
                        i += 1;
                    }
                }
            }
            i += 1;
            out.push(if c == '"' { Token::Word(text) } else { Token::Literal(Value::Str(Arc::from(text))) });
        } else if c.is_ascii_digit() {
            while i < chars.len() && (chars[i].is_ascii_alphanumeric() || chars[i] == '.' || after_e(&chars, i)) {
                i += 1;
            }
            let text: String = chars[start..i].iter().collect();
            let value = match text.parse::<i64>() {
                Ok(v) => Value::Int(v),
                Err(_) => Value::Double(text.parse().map_err(|_| format!("`{text}` is not a number"))?),
            };
            out.push(Token::Literal(value));
        } else if c.is_alphabetic() || c == '_' {
            while i < chars.len() && (chars[i].is_alphanumeric() || chars[i] == '_') {
                i += 1;
            }
            out.push(Token::Word(chars[start..i].iter().collect::<String>().to_lowercase()));
        } else {
            let two: String = chars[start..(start + 2).min(chars.len())].iter().collect();
            let symbol = match two.as_str() {
                "<=" | ">=" | "!=" | "<>" => {
                    i += 1;
                    two.replace("<>", "!=")
                }
                _ => c.to_string(),
            };
            out.push(Token::Word(symbol));
        }
    }
    Ok(out)
}

/// A sign that belongs to an exponent.
fn after_e(chars: &[char], at: usize) -> bool {
    (chars[at] == '-' || chars[at] == '+') && matches!(chars[at - 1], 'e' | 'E')
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    fields: &'a [Field],
}

/// Binary operators by how loosely they bind.
const LEVELS: [&[&str]; 5] = [&["or"], &["and"], &["=", "!=", "<", "<=", ">", ">="], &["+", "-"], &["*", "/", "%"]];
const COMPARISON: usize = 2;

impl Parser<'_> {
    fn accept(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Word(w)) if w == word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.accept(word) { Ok(()) } else { Err(format!("expected `{word}` at {:?}", self.tokens.get(self.at))) }
    }

    fn level(&mut self, level: usize) -> Result<Node, String> {
        if level == LEVELS.len() {
            return self.unary();
        }
        if level == COMPARISON && self.accept("not") {
            return Ok(Node::Not(Box::new(self.level(level)?)));
        }
        let mut left = self.level(level + 1)?;
        loop {
            if level == COMPARISON && self.suffix(&mut left)? {
                continue;
            }
            let Some(op) = LEVELS[level].iter().copied().find(|op| self.accept(op)) else { return Ok(left) };
            left = Node::Binary(op, Box::new(left), Box::new(self.level(level + 1)?));
        }
    }

    /// `is [not] null`, `[not] in (...)`, `[not] between a and b`.
    fn suffix(&mut self, left: &mut Node) -> Result<bool, String> {
        let operand = || Box::new(left.clone());
        let node = if self.accept("is") {
            let negated = self.accept("not");
            self.expect("null")?;
            Node::IsNull(operand(), negated)
        } else {
            let negated = self.accept("not");
            if self.accept("in") {
                self.expect("(")?;
                let mut list = vec![self.level(0)?];
                while self.accept(",") {
                    list.push(self.level(0)?);
                }
                self.expect(")")?;
                Node::In(operand(), list, negated)
            } else if self.accept("between") {
                let low = self.level(COMPARISON + 1)?;
                self.expect("and")?;
                let high = self.level(COMPARISON + 1)?;
                let low = Node::Binary(">=", operand(), Box::new(low));
                let both = Node::Binary("and", Box::new(low), Box::new(Node::Binary("<=", operand(), Box::new(high))));
                if negated { Node::Not(Box::new(both)) } else { both }
            } else {
                return if negated { Err("`not` stands alone".into()) } else { Ok(false) };
            }
        };
        *left = node;
        Ok(true)
    }

    fn unary(&mut self) -> Result<Node, String> {
        if self.accept("-") {
            return Ok(Node::Negate(Box::new(self.unary()?)));
        }
        if self.accept("(") {
            let inner = self.level(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.accept("case") {
            return self.case();
        }
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        match token {
            Some(Token::Literal(value)) => Ok(Node::Literal(value)),
            Some(Token::Word(word)) => match word.as_str() {
                "true" => Ok(Node::Literal(Value::Bool(true))),
                "false" => Ok(Node::Literal(Value::Bool(false))),
                "null" => Ok(Node::Literal(Value::Null)),
                name => {
                    let index = self.fields.iter().position(|field| field.name == name);
                    let index = index.ok_or_else(|| format!("`{name}` is not a declared field"))?;
                    Ok(Node::Column(index, column_type(&self.fields[index].ty)))
                }
            },
            None => Err("the expression ends too early".into()),
        }
    }

    fn case(&mut self) -> Result<Node, String> {
        let starts = matches!(self.tokens.get(self.at), Some(Token::Word(word)) if word == "when");
        let operand = if starts { None } else { Some(Box::new(self.level(0)?)) };
        let mut whens = vec![];
        while self.accept("when") {
            let when = self.level(0)?;
            self.expect("then")?;
            whens.push((when, self.level(0)?));
        }
        let otherwise = if self.accept("else") { Some(Box::new(self.level(0)?)) } else { None };
        self.expect("end")?;
        Ok(Node::Case { operand, whens, otherwise })
    }
}

fn column_type(ty: &FieldType) -> Type {
    match ty {
        FieldType::Str => Type::Str,
        FieldType::Int => Type::Int,
        FieldType::Double => Type::Double,
        FieldType::Bool => Type::Bool,
        FieldType::Ts { .. } | FieldType::TsText => Type::Ts,
    }
}
