//! Accumulators: what a set of inputs comes to, foldable in any order.
//!
//! Always holds: the state after a sequence of folds, merges and subtractions depends on the resulting set of inputs
//! only. `Count`, `Int`, `Exact` and moments subtract; the others do not, and windows that lose tiles keep them in queues
//! of their own. The larger ones are in `rich`.

use super::codec::{Corrupt, Reader, put_i64, put_i128, put_u64};
use super::rich::{Rich, RichKind};
use super::sum::ExactSum;
use super::value::{Value, Wide};
use crate::time::Millis;

/// What one record brings to an aggregate.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    pub input: Input<'a>,
    /// Where the aggregate is bucketed, the bucket's text.
    pub bucket: &'a str,
    /// Event time.
    pub t: Millis,
    pub offset: i64,
}

/// One input of one record: never null.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// `count: "*"`: the record itself.
    Record,
    Int(i64),
    /// Finite, never -0.0.
    Double(f64),
    Bool(bool),
    Time(i64),
    Str(&'a str),
    Decimal(Wide),
}

impl<'a> Input<'a> {
    /// A kept value as an input again; null is the record itself.
    pub fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Record,
            Value::Int(n) => Self::Int(*n),
            Value::Double(x) => Self::Double(*x),
            Value::Bool(b) => Self::Bool(*b),
            Value::Time(t) => Self::Time(*t),
            Value::Str(s) => Self::Str(s),
            Value::Decimal(n) => Self::Decimal(*n),
        }
    }

    /// The input as a double; a decimal without its scale. 1 for what is no number.
    pub fn to_f64(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Double(x) => x,
            Self::Decimal(n) => i128::from(n) as f64,
            _ => 1.0,
        }
    }

    /// The input as a value to keep.
    pub fn to_value(self) -> Value {
        match self {
            Self::Record => Value::Null,
            Self::Int(n) => Value::Int(n),
            Self::Double(x) => Value::Double(x),
            Self::Bool(b) => Value::Bool(b),
            Self::Time(t) => Value::Time(t),
            Self::Str(s) => Value::Str(s.into()),
            Self::Decimal(n) => Value::Decimal(n),
        }
    }
}

/// Which accumulator.
#[derive(Debug, Clone, PartialEq)]
pub enum AccKind {
    /// How many inputs.
    Count,
    /// Sum and number of integers.
    Int,
    /// Sum and number of doubles, or of decimals without their scale.
    Exact,
    Min,
    Max,
    /// The input of the newest record by (event time, offset).
    Newest,
    Rich(RichKind),
}

/// An accumulator.
#[derive(Debug, Clone, PartialEq)]
pub enum Acc {
    Count(u64),
    /// The 128-bit sum in two halves (alignment), and how many.
    Int {
        hi: i64,
        lo: u64,
        n: u64,
    },
    Exact {
        sum: ExactSum,
        n: u64,
    },
    Min(Value),
    Max(Value),
    Newest {
        t: i64,
        offset: i64,
        value: Value,
    },
    Rich(Box<Rich>),
}

/// What a fold changed, for the rule of when a row is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// A value of an exact type differs now.
    pub value: bool,
    /// A non-null input entered or left.
    pub set: bool,
}

impl Change {
    /// Both.
    pub const ALL: Self = Self { value: true, set: true };
    /// The set alone.
    pub const SET: Self = Self { value: false, set: true };

    /// Changed by one or the other.
    pub fn or(self, other: Self) -> Self {
        Self { value: self.value || other.value, set: self.set || other.set }
    }
}

impl AccKind {
    /// The accumulator of the empty set.
    pub fn empty(&self) -> Acc {
        match self {
            Self::Count => Acc::Count(0),
            Self::Int => Acc::Int { hi: 0, lo: 0, n: 0 },
            Self::Exact => Acc::Exact { sum: ExactSum::default(), n: 0 },
            Self::Min => Acc::Min(Value::Null),
            Self::Max => Acc::Max(Value::Null),
            Self::Newest => Acc::Newest { t: i64::MIN, offset: i64::MIN, value: Value::Null },
            Self::Rich(kind) => Acc::Rich(Box::new(kind.empty())),
        }
    }

    /// Whether inputs can be taken away again.
    pub fn subtracts(&self) -> bool {
        matches!(self, Self::Count | Self::Int | Self::Exact | Self::Rich(RichKind::Moments))
    }

    /// Reads what [`Acc::encode`] wrote for this kind.
    pub fn decode(&self, input: &mut Reader<'_>) -> Result<Acc, Corrupt> {
        Ok(match self {
            Self::Count => Acc::Count(input.u64()?),
            Self::Int => {
                let sum = input.i128()?;
                Acc::Int { hi: (sum >> 64) as i64, lo: sum as u64, n: input.u64()? }
            }
            Self::Exact => Acc::Exact { sum: ExactSum::decode(input)?, n: input.u64()? },
            Self::Min => Acc::Min(Value::decode(input)?),
            Self::Max => Acc::Max(Value::decode(input)?),
            Self::Newest => match Value::decode(input)? {
                Value::Null => self.empty(),
                value => Acc::Newest { value, t: input.i64()?, offset: input.i64()? },
            },
            Self::Rich(kind) => Acc::Rich(Box::new(kind.decode(input)?)),
        })
    }
}

fn int_sum(hi: i64, lo: u64) -> i128 {
    (i128::from(hi) << 64) | i128::from(lo)
}

/// Moves a sum; its value is null beyond 64 bits, before and after alike.
fn shift_sum(hi: &mut i64, lo: &mut u64, by: i128) -> Change {
    let before = int_sum(*hi, *lo);
    let after = before + by;
    (*hi, *lo) = ((after >> 64) as i64, after as u64);
    Change { value: i64::try_from(before).ok() != i64::try_from(after).ok(), set: true }
}

impl Acc {
    /// Folds one input. For rich accumulators `value` of the change is not told: their features are compared.
    pub fn add(&mut self, item: &Item<'_>) -> Change {
        match (self, item.input) {
            (Self::Count(n), _) => {
                *n += 1;
                Change::ALL
            }
            (Self::Int { hi, lo, n }, Input::Int(x)) => {
                *n += 1;
                shift_sum(hi, lo, i128::from(x))
            }
            (Self::Exact { sum, n }, Input::Double(x)) => {
                sum.add(x);
                *n += 1;
                Change::ALL
            }
            (Self::Exact { sum, n }, Input::Decimal(x)) => {
                *n += 1;
                shift_decimal(sum, |sum| sum.add_integer(x.into()))
            }
            (Self::Min(kept), x) => replace_if(kept, x, std::cmp::Ordering::Less),
            (Self::Max(kept), x) => replace_if(kept, x, std::cmp::Ordering::Greater),
            (Self::Newest { t: kept_t, offset: kept_offset, value }, x) => {
                if (item.t, item.offset) <= (*kept_t, *kept_offset) && !value.is_null() {
                    return Change { value: false, set: true };
                }
                let new = x.to_value();
                let change = Change { value: new != *value, set: true };
                (*kept_t, *kept_offset, *value) = (item.t, item.offset, new);
                change
            }
            (Self::Rich(rich), _) => {
                rich.add(item);
                Change::SET
            }
            // The plan gives sums inputs of their own type.
            (Self::Int { .. } | Self::Exact { .. }, _) => Change::default(),
        }
    }

    /// Folds another set of inputs of the same kind.
    pub fn merge(&mut self, other: &Self) -> Change {
        if other.is_empty() {
            return Change::default();
        }
        match (self, other) {
            (Self::Count(n), Self::Count(m)) => *n += m,
            (Self::Int { hi, lo, n }, Self::Int { hi: h, lo: l, n: m }) => {
                *n += m;
                return shift_sum(hi, lo, int_sum(*h, *l));
            }
            (Self::Exact { sum, n }, Self::Exact { sum: s, n: m }) => {
                *n += m;
                return shift_decimal(sum, |sum| sum.merge(s));
            }
            (Self::Rich(rich), Self::Rich(other)) => {
                rich.merge(other);
                return Change::SET;
            }
            (Self::Min(a), Self::Min(b)) => return keep_if(a, b, std::cmp::Ordering::Less),
            (Self::Max(a), Self::Max(b)) => return keep_if(a, b, std::cmp::Ordering::Greater),
            (Self::Newest { t, offset, value }, Self::Newest { t: u, offset: p, value: other }) => {
                if value.is_null() || (*u, *p) > (*t, *offset) {
                    let change = Change { value: value != other, set: true };
                    (*t, *offset, *value) = (*u, *p, other.clone());
                    return change;
                }
                return Change { value: false, set: true };
            }
            _ => return Change::default(),
        }
        Change::ALL
    }

    /// Takes inputs away that were added before; for kinds that [`AccKind::subtracts`] says.
    pub fn subtract(&mut self, other: &Self) -> Change {
        if other.is_empty() {
            return Change::default();
        }
        match (self, other) {
            (Self::Count(n), Self::Count(m)) => *n -= m,
            (Self::Int { hi, lo, n }, Self::Int { hi: h, lo: l, n: m }) => {
                *n -= m;
                return shift_sum(hi, lo, -int_sum(*h, *l));
            }
            (Self::Exact { sum, n }, Self::Exact { sum: s, n: m }) => {
                *n -= m;
                return shift_decimal(sum, |sum| sum.subtract(s));
            }
            (Self::Rich(rich), Self::Rich(other)) => {
                rich.subtract(other);
                return Change::SET;
            }
            _ => return Change::default(),
        }
        Change::ALL
    }

    /// Whether no input is in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Count(n) | Self::Int { n, .. } | Self::Exact { n, .. } => *n == 0,
            Self::Min(value) | Self::Max(value) | Self::Newest { value, .. } => value.is_null(),
            Self::Rich(rich) => rich.is_empty(),
        }
    }

    /// How many inputs, for the accumulators that count.
    pub fn count(&self) -> u64 {
        match self {
            Self::Count(n) | Self::Int { n, .. } | Self::Exact { n, .. } => *n,
            _ => u64::from(!self.is_empty()),
        }
    }

    /// The 64-bit sum of integers; `None` beyond 64 bits.
    pub fn int_sum(&self) -> Option<i64> {
        match self {
            Self::Int { hi, lo, .. } => int_sum(*hi, *lo).try_into().ok(),
            _ => None,
        }
    }

    /// The sum of decimals without their scale; `None` for other sums, and beyond 38 digits.
    pub fn decimal_sum(&self) -> Option<i128> {
        if let Self::Exact { sum, .. } = self { sum.integer() } else { None }
    }

    /// Sum by number, a double; `None` when empty or beyond the largest double.
    pub fn mean(&self) -> Option<f64> {
        match self {
            _ if self.is_empty() => None,
            Self::Int { hi, lo, n } => Some(int_sum(*hi, *lo) as f64 / *n as f64),
            Self::Exact { sum, n } => sum.value().map(|sum| sum / *n as f64 + 0.0),
            _ => None,
        }
    }

    /// Whether a feature of an exact type shows the same value for both.
    pub fn shows_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int { .. }, _) => self.int_sum() == other.int_sum(),
            (Self::Exact { .. }, _) => self.decimal_sum() == other.decimal_sum(),
            (Self::Newest { value, .. }, Self::Newest { value: other, .. }) => value == other,
            _ => self == other,
        }
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Count(n) => put_u64(out, *n),
            Self::Int { hi, lo, n } => {
                put_i128(out, int_sum(*hi, *lo));
                put_u64(out, *n);
            }
            Self::Exact { sum, n } => {
                sum.encode(out);
                put_u64(out, *n);
            }
            Self::Min(value) | Self::Max(value) => value.encode(out),
            Self::Newest { t, offset, value } => {
                value.encode(out);
                if !value.is_null() {
                    put_i64(out, *t);
                    put_i64(out, *offset);
                }
            }
            Self::Rich(rich) => rich.encode(out),
        }
    }

    /// Bytes in memory beyond the accumulator itself, approximately.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Min(value) | Self::Max(value) | Self::Newest { value, .. } => value.heap_bytes(),
            Self::Rich(rich) => size_of::<Rich>() + rich.heap_bytes(),
            _ => 0,
        }
    }
}

/// Moves an exact sum. Decimals are an exact type, for which a sum that stays is no change; for doubles it is not asked.
fn shift_decimal(sum: &mut ExactSum, shift: impl FnOnce(&mut ExactSum)) -> Change {
    let before = sum.integer();
    shift(sum);
    Change { value: before != sum.integer(), set: true }
}

fn replace_if(kept: &mut Value, input: Input<'_>, wanted: std::cmp::Ordering) -> Change {
    // Strings are compared before they are copied.
    let replaces = match (&*kept, input) {
        (Value::Null, _) => true,
        (Value::Str(kept), Input::Str(new)) => new.as_bytes().cmp(kept.as_bytes()) == wanted,
        (kept, new) => new.to_value().order(kept) == wanted,
    };
    if replaces {
        *kept = input.to_value();
    }
    Change { value: replaces, set: true }
}

fn keep_if(kept: &mut Value, other: &Value, wanted: std::cmp::Ordering) -> Change {
    let replaces = kept.is_null() || other.order(kept) == wanted;
    if replaces {
        *kept = other.clone();
    }
    Change { value: replaces, set: true }
}
