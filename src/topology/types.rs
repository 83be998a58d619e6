//! The types of a topology: of declared fields, of values inside the engine, and of what features show.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field as Column, TimeUnit as ArrowUnit};

/// The declared type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    String,
    Int64,
    Double,
    Bool,
    /// A JSON integer counting this unit since 1970; finer than a millisecond is floored.
    Timestamp(TimeUnit),
    /// RFC 3339 text with an offset.
    TimestampText,
    /// A JSON number or a plain decimal in quotes: at most `precision` digits, `scale` of them after the point.
    Decimal {
        precision: u8,
        scale: u8,
    },
}

/// The unit of an integer timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

/// The type of a value inside the engine, and its Arrow type in every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueType {
    /// Utf8.
    String,
    /// Int64.
    Int64,
    /// Float64; never NaN, infinite or -0.0.
    Double,
    /// Boolean.
    Bool,
    /// Timestamp(Millisecond, "UTC").
    Timestamp,
    /// Decimal128.
    Decimal { precision: u8, scale: u8 },
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Null,
    Int(i64),
    Double(f64),
    Bool(bool),
    /// Milliseconds since 1970.
    Time(i64),
    Str(String),
    /// Without its scale, which the type says.
    Decimal(i128),
}

/// The type of a feature's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OutputType {
    Scalar(ValueType),
    /// List of nullable items.
    List(ValueType),
    /// List of (value, n): `top_k`.
    Counted(ValueType),
    /// From bucket to a nullable value, buckets in byte order: `by`.
    Map(Box<OutputType>),
}

impl OutputType {
    /// Its Arrow type in every batch and row.
    pub fn data_type(&self) -> DataType {
        let item = |ty: DataType| Arc::new(Column::new("item", ty, true));
        match self {
            OutputType::Scalar(ty) => ty.data_type(),
            OutputType::List(ty) => DataType::List(item(ty.data_type())),
            OutputType::Counted(ty) => {
                let value = Column::new("value", ty.data_type(), false);
                let n = Column::new("n", DataType::Int64, false);
                DataType::List(item(DataType::Struct(vec![value, n].into())))
            }
            OutputType::Map(value) => {
                let key = Column::new("key", DataType::Utf8, false);
                let entry = DataType::Struct(vec![key, Column::new("value", value.data_type(), true)].into());
                DataType::Map(Arc::new(Column::new("key_value", entry, false)), false)
            }
        }
    }
}

impl FieldType {
    /// The type of its values inside the engine.
    pub fn value_type(self) -> ValueType {
        match self {
            FieldType::String => ValueType::String,
            FieldType::Int64 => ValueType::Int64,
            FieldType::Double => ValueType::Double,
            FieldType::Bool => ValueType::Bool,
            FieldType::Timestamp(_) | FieldType::TimestampText => ValueType::Timestamp,
            FieldType::Decimal { precision, scale } => ValueType::Decimal { precision, scale },
        }
    }
}

/// Its name in a topology.
impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FieldType::String => "string",
            FieldType::Int64 => "int64",
            FieldType::Double => "double",
            FieldType::Bool => "bool",
            FieldType::Timestamp(TimeUnit::Seconds) => "timestamp_s",
            FieldType::Timestamp(TimeUnit::Millis) => "timestamp_ms",
            FieldType::Timestamp(TimeUnit::Micros) => "timestamp_us",
            FieldType::Timestamp(TimeUnit::Nanos) => "timestamp_ns",
            FieldType::TimestampText => "timestamp",
            FieldType::Decimal { precision, scale } => return write!(f, "decimal({precision},{scale})"),
        })
    }
}

impl std::str::FromStr for FieldType {
    type Err = ();

    /// The type of this name; `Err` when there is none.
    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "string" => FieldType::String,
            "int64" => FieldType::Int64,
            "double" => FieldType::Double,
            "bool" => FieldType::Bool,
            "timestamp_s" => FieldType::Timestamp(TimeUnit::Seconds),
            "timestamp_ms" => FieldType::Timestamp(TimeUnit::Millis),
            "timestamp_us" => FieldType::Timestamp(TimeUnit::Micros),
            "timestamp_ns" => FieldType::Timestamp(TimeUnit::Nanos),
            "timestamp" => FieldType::TimestampText,
            _ => return decimal(name).ok_or(()),
        })
    }
}

/// The most digits of a decimal.
pub const MAX_PRECISION: u8 = 38;

/// A plain decimal number (`-12.50`, `1e3`) as an integer without its scale; `None` when it is none, or when its digits
/// do not fit: zeros that change nothing always do.
pub fn parse_decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || (fraction.is_empty() && digits.ends_with('.')) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let mut number = 0i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = char::from(digit).to_digit(10)?;
        number = number.checked_mul(10)?.checked_add(i128::from(digit))?;
    }
    if number != 0 {
        let mut shift = i64::from(scale) + i64::from(exponent) - fraction.len() as i64;
        while shift < 0 {
            if number % 10 != 0 {
                return None;
            }
            (number, shift) = (number / 10, shift + 1);
        }
        let factor = 10i128.checked_pow(u32::try_from(shift).ok()?)?;
        number = number.checked_mul(factor)?;
    }
    let fits = number < 10i128.pow(u32::from(precision));
    fits.then_some(if negative { -number } else { number })
}

/// `decimal(p,s)`.
fn decimal(name: &str) -> Option<FieldType> {
    let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    ((1..=MAX_PRECISION).contains(&precision) && scale <= precision).then_some(FieldType::Decimal { precision, scale })
}

impl ValueType {
    /// Its Arrow type in every batch and row.
    pub fn data_type(self) -> DataType {
        match self {
            ValueType::String => DataType::Utf8,
            ValueType::Int64 => DataType::Int64,
            ValueType::Double => DataType::Float64,
            ValueType::Bool => DataType::Boolean,
            ValueType::Timestamp => DataType::Timestamp(ArrowUnit::Millisecond, Some("UTC".into())),
            ValueType::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
        }
    }
}

/// As in a topology: `string`, `int64`, `double`, `bool`, `timestamp`, `decimal(10,2)`.
impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueType::String => "string",
            ValueType::Int64 => "int64",
            ValueType::Double => "double",
            ValueType::Bool => "bool",
            ValueType::Timestamp => "timestamp",
            ValueType::Decimal { precision, scale } => return write!(f, "decimal({precision},{scale})"),
        })
    }
}

/// `int64`, `list of string`, `list of (string, n)`, `map to double`.
impl fmt::Display for OutputType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutputType::Scalar(ty) => write!(f, "{ty}"),
            OutputType::List(ty) => write!(f, "list of {ty}"),
            OutputType::Counted(ty) => write!(f, "list of ({ty}, n)"),
            OutputType::Map(value) => write!(f, "map to {value}"),
        }
    }
}
