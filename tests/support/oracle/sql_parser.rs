//! From the text of an expression to its tree: the grammar of the little SQL.

use std::sync::Arc;

use super::Value;
use super::sql::{Node, Type};

/// Parses the whole text.
pub(super) fn parse(sql: &str, columns: &[(String, Type)]) -> Result<Node, String> {
    let mut parser = Parser { tokens: tokens(sql)?, at: 0, columns };
    let node = parser.level(0)?;
    match parser.tokens.get(parser.at) {
        None => Ok(node),
        Some(token) => Err(format!("`{sql}`: unexpected {token:?}")),
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
                "<=" | ">=" | "!=" | "<>" | "::" => {
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
    columns: &'a [(String, Type)],
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
        let mut value = self.primary()?;
        while self.accept("::") {
            value = Node::Cast(Box::new(value), self.cast_type()?);
        }
        Ok(value)
    }

    fn primary(&mut self) -> Result<Node, String> {
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
                name if self.accept("(") => self.function(name),
                name => self.column(name),
            },
            None => Err("the expression ends too early".into()),
        }
    }

    fn column(&self, name: &str) -> Result<Node, String> {
        let index = self.columns.iter().position(|column| column.0 == name);
        let index = index.ok_or_else(|| format!("`{name}` is no column here"))?;
        Ok(Node::Column(index, self.columns[index].1.clone()))
    }

    /// A call whose opening bracket has been taken.
    fn function(&mut self, name: &str) -> Result<Node, String> {
        if name == "now" {
            self.expect(")")?;
            return self.column("now()");
        }
        let first = self.level(0)?;
        if name == "cast" {
            self.expect("as")?;
            let ty = self.cast_type()?;
            self.expect(")")?;
            return Ok(Node::Cast(Box::new(first), ty));
        }
        let mut arguments = vec![first];
        while self.accept(",") {
            arguments.push(self.level(0)?);
        }
        self.expect(")")?;
        match (name, arguments.as_slice()) {
            ("coalesce", _) => Ok(Node::Coalesce(arguments)),
            ("nullif", [value, other]) => Ok(Node::NullIf(Box::new(value.clone()), Box::new(other.clone()))),
            ("share", [map]) => Ok(Node::Share(Box::new(map.clone()))),
            _ => Err(format!("no function `{name}` of {} arguments", arguments.len())),
        }
    }

    fn cast_type(&mut self) -> Result<Type, String> {
        let types = [("double", Type::Double), ("bigint", Type::Int), ("varchar", Type::Str), ("boolean", Type::Bool)];
        let found = types.into_iter().find(|(word, _)| self.accept(word));
        found.map(|(_, ty)| ty).ok_or_else(|| format!("no type at {:?}", self.tokens.get(self.at)))
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
