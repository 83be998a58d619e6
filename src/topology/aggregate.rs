//! The aggregates: what is computed, of what, with which arguments.

use std::ops::RangeInclusive;

use super::keys::{AGGREGATES, ARGUMENTS, listed};
use super::plan::Aggregate;
use super::types::{Literal, MAX_PRECISION, OutputType, ValueType, parse_decimal};
use super::walk::{Section, Walk};
use super::yaml::{Node, Scalar};
use crate::expr::ExprId;

/// The most values of a list.
const MAX_K: u32 = 1_000;
/// The bound `limit`: its default, and the most that may be asked for.
const DEFAULT_LIMIT: u32 = 10_000;
const MAX_LIMIT: u32 = 1_000_000;
const DEFAULT_PRECISION: u32 = 12;
const DEFAULT_ERROR: f64 = 0.01;
const MAX_QUANTILES: usize = 100;

/// A feature's aggregate as it was read.
#[derive(Debug)]
pub(super) struct Read {
    pub aggregate: Aggregate,
    pub input: Option<ExprId>,
    pub input_type: ValueType,
}

/// The type of an aggregate's value, without buckets.
pub(super) fn output_type(read: &Read) -> OutputType {
    OutputType::Scalar(match (&read.aggregate, read.input_type) {
        (Aggregate::Count | Aggregate::Distinct { .. } | Aggregate::ApproxDistinct { .. }, _) => ValueType::Int64,
        (Aggregate::Sum, ValueType::Decimal { scale, .. }) => ValueType::Decimal { precision: MAX_PRECISION, scale },
        (Aggregate::Sum | Aggregate::Min | Aggregate::Max | Aggregate::Last | Aggregate::First, ty) => ty,
        (Aggregate::Quantiles { .. }, _) => return OutputType::List(ValueType::Double),
        (Aggregate::FirstK { .. } | Aggregate::LastK { .. }, ty) => return OutputType::List(ty),
        (Aggregate::TopK { .. }, ty) => return OutputType::Counted(ty),
        _ => ValueType::Double,
    })
}

/// What an aggregate of this type shows of nothing.
fn nothing(read: &Read, output: &OutputType) -> Literal {
    let zero = matches!(
        read.aggregate,
        Aggregate::Count
            | Aggregate::Sum
            | Aggregate::Distinct { .. }
            | Aggregate::ApproxDistinct { .. }
            | Aggregate::DecayedCount { .. }
            | Aggregate::DecayedSum { .. }
    );
    match output {
        OutputType::Scalar(ValueType::Int64) if zero => Literal::Int(0),
        OutputType::Scalar(ValueType::Double) if zero => Literal::Double(0.0),
        OutputType::Scalar(ValueType::Decimal { .. }) if zero => Literal::Decimal(0),
        _ => Literal::Null,
    }
}

impl Walk {
    /// The aggregate, its input and the input's type.
    pub fn aggregate(&mut self, section: &Section<'_>) -> Option<Read> {
        let mut given = section.entries().iter().filter(|(key, _)| AGGREGATES.contains(&key.text.as_str()));
        let Some((key, node)) = given.next() else {
            if !section.excused {
                let names = listed(AGGREGATES.iter().copied());
                self.problem(section.at, &section.place, "no aggregate", format!("give it one of {names}"));
            }
            return None;
        };
        if let Some((second, _)) = given.next() {
            let found = format!("has two aggregates, `{}` and `{}`", key.text, second.text);
            self.problem(second.mark, &section.place, found, "keep one and make the other a feature of its own");
            return None;
        }
        let aggregate = self.arguments(section, key);
        let what = key.text.as_str();
        let expected = if what == "count" { "\"*\" or an SQL expression" } else { "an SQL expression" };
        let sql = self.scalar(node, &section.place, what, expected)?;
        if sql.text.trim() == "*" {
            if what == "count" {
                return Some(Read { aggregate: aggregate?, input: None, input_type: ValueType::Int64 });
            }
            let found = format!("{what} of `*`, which is for count");
            self.problem(sql.mark, &section.place, found, "write a field or an SQL expression");
            return None;
        }
        let input = self.sql(sql, &section.place, what)?;
        let aggregate = aggregate?;
        let ty = if what == "count" { ValueType::Int64 } else { input.ty };
        self.takes(section, &aggregate, sql, ty)?;
        Some(Read { aggregate, input: Some(input.id), input_type: ty })
    }

    /// Notes an input of a type that the aggregate does not take.
    fn takes(&mut self, section: &Section<'_>, aggregate: &Aggregate, sql: &Scalar, ty: ValueType) -> Option<()> {
        let any = matches!(
            aggregate,
            Aggregate::Count
                | Aggregate::DecayedCount { .. }
                | Aggregate::Min
                | Aggregate::Max
                | Aggregate::Last
                | Aggregate::First
                | Aggregate::Distinct { .. }
                | Aggregate::ApproxDistinct { .. }
                | Aggregate::FirstK { .. }
                | Aggregate::LastK { .. }
                | Aggregate::TopK { .. }
        );
        if any || matches!(ty, ValueType::Int64 | ValueType::Double | ValueType::Decimal { .. }) {
            return Some(());
        }
        let found = format!("{} of `{}`, which is {ty}, needs int64, double or decimal", aggregate.name(), sql.text);
        self.problem(sql.mark, &section.place, found, "cast it, like cast(x as double), or use count or last");
        None
    }

    /// The aggregate with its arguments; notes those that belong to others.
    fn arguments(&mut self, section: &Section<'_>, key: &Scalar) -> Option<Aggregate> {
        let what = key.text.as_str();
        for (argument, owners) in ARGUMENTS {
            if let (Some((at, _)), false) = (section.get(argument), owners.contains(&what)) {
                let found = format!("`{argument}` beside `{what}`, which does not take it");
                let remedy = format!("remove it: it belongs to {}", listed(owners.iter().copied()));
                self.problem(at.mark, &section.place, found, remedy);
            }
        }
        if section.get("half_life").is_some() && ["count", "sum", "avg"].contains(&what) {
            let half_life = self.positive(section, "half_life")?;
            return Some(match what {
                "count" => Aggregate::DecayedCount { half_life },
                "sum" => Aggregate::DecayedSum { half_life },
                _ => Aggregate::DecayedAvg { half_life },
            });
        }
        Some(match what {
            "count" => Aggregate::Count,
            "sum" => Aggregate::Sum,
            "avg" => Aggregate::Avg,
            "min" => Aggregate::Min,
            "max" => Aggregate::Max,
            "last" => Aggregate::Last,
            "first" => Aggregate::First,
            "variance" => Aggregate::Variance,
            "stddev" => Aggregate::Stddev,
            "distinct" => Aggregate::Distinct { limit: self.limit(section)? },
            "approx_distinct" => {
                let precision = self.count(section, "precision", 4..=18)?.unwrap_or(DEFAULT_PRECISION);
                Aggregate::ApproxDistinct { precision: precision as u8 }
            }
            "quantile" => {
                let error = self.relative_error(section);
                let node = self.needed(section, key, "q", "add it: `q: 0.5` is the median")?;
                if let Node::Sequence(_) = node {
                    self.problem(node.mark(), &section.place, "q is a list", "write one share, or use `quantiles`");
                    return None;
                }
                Aggregate::Quantile { q: self.share(node, section)?, error: error? }
            }
            "quantiles" => {
                let error = self.relative_error(section);
                Aggregate::Quantiles { qs: self.shares(section, key)?, error: error? }
            }
            "first_k" => Aggregate::FirstK { k: self.k(section, key)? },
            "last_k" => Aggregate::LastK { k: self.k(section, key)? },
            _ => {
                let limit = self.limit(section);
                Aggregate::TopK { k: self.k(section, key)?, limit: limit? }
            }
        })
    }

    fn limit(&mut self, section: &Section<'_>) -> Option<u32> {
        Some(self.count(section, "limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT))
    }

    fn k(&mut self, section: &Section<'_>, key: &Scalar) -> Option<u32> {
        self.needed(section, key, "k", "add it, like `k: 10`")?;
        self.count(section, "k", 1..=MAX_K)?
    }

    /// The value of a key that this aggregate needs.
    fn needed<'a>(&mut self, section: &Section<'a>, key: &Scalar, name: &str, remedy: &str) -> Option<&'a Node> {
        let found = section.get(name).map(|(_, node)| node);
        if found.is_none() && !section.excused {
            self.problem(key.mark, &section.place, format!("`{}` needs `{name}`", key.text), remedy);
        }
        found
    }

    fn shares(&mut self, section: &Section<'_>, key: &Scalar) -> Option<Vec<f64>> {
        let node = self.needed(section, key, "q", "add it, like `q: [0.5, 0.95]`")?;
        let Node::Sequence(list) = node else {
            let found = format!("q is {}, a list is expected", node.describe());
            self.problem(node.mark(), &section.place, found, "write it like [0.5, 0.95], or use `quantile`");
            return None;
        };
        if list.items.is_empty() || list.items.len() > MAX_QUANTILES {
            let found = format!("q has {} shares, 1 to {MAX_QUANTILES} are expected", list.items.len());
            self.problem(node.mark(), &section.place, found, "write it like [0.5, 0.95]");
            return None;
        }
        let shares: Vec<Option<f64>> = list.items.iter().map(|item| self.share(item, section)).collect();
        shares.into_iter().collect()
    }

    fn share(&mut self, node: &Node, section: &Section<'_>) -> Option<f64> {
        self.number(node, &section.place, "q", 0.0..=1.0, 0.5)
    }

    fn relative_error(&mut self, section: &Section<'_>) -> Option<f64> {
        match section.get("relative_error") {
            Some((_, node)) => self.number(node, &section.place, "relative_error", 0.001..=0.1, DEFAULT_ERROR),
            None => Some(DEFAULT_ERROR),
        }
    }

    /// A number within a range, for instance `example`.
    fn number(
        &mut self,
        node: &Node,
        place: &str,
        name: &str,
        range: RangeInclusive<f64>,
        example: f64,
    ) -> Option<f64> {
        let (least, most) = (range.start(), range.end());
        let scalar = self.scalar(node, place, name, &format!("a number from {least} to {most}"))?;
        let number = scalar.text.parse::<f64>().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let found = format!("{name} `{}` is not a number from {least} to {most}", scalar.text);
            self.problem(scalar.mark, place, found, format!("write one, like {example}"));
        }
        number.map(|number| number + 0.0)
    }

    /// A whole number within a range, when the key is there; `None` when it is wrong, and noted.
    pub fn count(&mut self, section: &Section<'_>, name: &str, range: RangeInclusive<u32>) -> Option<Option<u32>> {
        if section.get(name).is_none() {
            return Some(None);
        }
        let (least, most) = (range.start(), range.end());
        let scalar = self.text(section, name, "a whole number")?;
        match scalar.text.parse::<u32>().ok().filter(|number| range.contains(number)) {
            Some(number) => Some(Some(number)),
            None => {
                let found = format!("{name} `{}` is not a whole number from {least} to {most}", scalar.text);
                let remedy = match scalar.text.parse::<i64>() {
                    Ok(number) if number > i64::from(*most) => format!("write {most} or less"),
                    Ok(_) => format!("write {least} or more"),
                    Err(_) => "write one in digits".to_string(),
                };
                self.problem(scalar.mark, &section.place, found, remedy);
                None
            }
        }
    }

    /// What the feature shows when nothing is left.
    pub fn empty(&mut self, section: &Section<'_>, read: &Read, output: &OutputType) -> Option<Literal> {
        let Some((key, node)) = section.get("empty") else { return Some(nothing(read, output)) };
        if node.is_null() {
            return Some(Literal::Null);
        }
        let OutputType::Scalar(ty) = output else {
            let found = format!("`empty` of a {output}, which can only be null");
            self.problem(key.mark, &section.place, found, "remove it: an empty list or map is null");
            return None;
        };
        let scalar = self.scalar(node, &section.place, "empty", "one value, or null")?;
        let literal = literal(&scalar.text, *ty);
        if literal.is_none() {
            let found = format!("empty `{}` is not of the feature's type, {ty}", scalar.text);
            self.problem(scalar.mark, &section.place, found, format!("write {}, or null", written(*ty)));
        }
        literal
    }
}

/// How a constant of this type is written.
fn written(ty: ValueType) -> String {
    match ty {
        ValueType::String => "a text".to_string(),
        ValueType::Int64 => "a whole number".to_string(),
        ValueType::Double => "a number".to_string(),
        ValueType::Bool => "true, false".to_string(),
        ValueType::Timestamp => "milliseconds since 1970".to_string(),
        ValueType::Decimal { scale, .. } => format!("a number of at most {scale} digits after the point"),
    }
}

fn literal(text: &str, ty: ValueType) -> Option<Literal> {
    Some(match ty {
        ValueType::String => Literal::Str(text.to_string()),
        ValueType::Int64 => Literal::Int(text.parse().ok()?),
        ValueType::Double => Literal::Double(text.parse::<f64>().ok().filter(|x| x.is_finite())? + 0.0),
        ValueType::Bool => Literal::Bool(text.parse().ok()?),
        ValueType::Timestamp => Literal::Time(text.parse().ok()?),
        ValueType::Decimal { precision, scale } => Literal::Decimal(parse_decimal(text, precision, scale)?),
    })
}
