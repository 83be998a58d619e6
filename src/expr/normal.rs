//! From any type that DataFusion gives to one of the engine's: Utf8, Int64, Float64, Boolean, Timestamp(ms, UTC), Decimal128;
//! lists and maps stay as they are.
//!
//! Always holds of a normal array: no NaN, no infinity, no -0.0, no time finer than a millisecond (floored). A value
//! that does not fit is null and reported. What has no natural place among them (intervals, bytes) is
//! refused when the expression is compiled.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Float64Array, PrimitiveArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};

/// How an array becomes normal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Normal {
    /// It is already.
    AsIs(DataType),
    /// By a checked cast to this type.
    Cast(DataType),
    /// An instant, or a day, to Timestamp(ms, UTC).
    Instant,
    /// A length of time to whole milliseconds.
    Length,
}

/// The engine's timestamps.
pub(super) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

impl Normal {
    /// The way from this type, or `None` when there is none.
    pub(super) fn of(from: &DataType) -> Option<Self> {
        Some(match from {
            DataType::Utf8 | DataType::Int64 | DataType::Boolean => Self::AsIs(from.clone()),
            DataType::Decimal128(_, scale) if *scale >= 0 => Self::AsIs(from.clone()),
            // Only where declared: what a feature shows is normal already.
            DataType::List(_) | DataType::Map(..) => Self::AsIs(from.clone()),
            DataType::Utf8View | DataType::LargeUtf8 => Self::Cast(DataType::Utf8),
            DataType::Float64 | DataType::Float32 | DataType::Float16 => Self::Cast(DataType::Float64),
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Self::Instant,
            DataType::Duration(_) => Self::Length,
            DataType::Decimal32(_, scale)
            | DataType::Decimal64(_, scale)
            | DataType::Decimal128(_, scale)
            | DataType::Decimal256(_, scale) => {
                Self::Cast(if *scale <= 0 { DataType::Int64 } else { DataType::Float64 })
            }
            DataType::Dictionary(_, value) => match Self::of(value)? {
                Self::AsIs(to) | Self::Cast(to) => Self::Cast(to),
                Self::Instant | Self::Length => return None,
            },
            whole if whole.is_integer() => Self::Cast(DataType::Int64),
            _ => return None,
        })
    }

    /// The type of the normal array.
    pub(super) fn data_type(&self) -> DataType {
        match self {
            Self::AsIs(to) | Self::Cast(to) => to.clone(),
            Self::Instant => timestamp(),
            Self::Length => DataType::Int64,
        }
    }

    /// The normal array and its rows (ascending) whose value did not fit and is null; `None` when nothing fits.
    pub(super) fn apply(&self, array: ArrayRef) -> Option<(ArrayRef, Vec<u32>)> {
        let normal = match self {
            Self::AsIs(to) if to == array.data_type() => return Some((array, Vec::new())),
            Self::Cast(to) if to == array.data_type() => Arc::clone(&array),
            Self::AsIs(to) | Self::Cast(to) => {
                let options = CastOptions { safe: true, ..Default::default() };
                cast_with_options(&array, to, &options).ok()?
            }
            Self::Instant => instants(&array)?,
            Self::Length => lengths(&array)?,
        };
        let normal = match normal.as_primitive_opt::<Float64Type>() {
            Some(floats) => finite(floats).unwrap_or(normal),
            None => normal,
        };
        let lost = if normal.null_count() == array.null_count() { Vec::new() } else { newly_null(&array, &normal) };
        Some((normal, lost))
    }
}

/// Rows that are null in `after` but not in `before`.
fn newly_null(before: &ArrayRef, after: &ArrayRef) -> Vec<u32> {
    (0..after.len()).filter(|row| after.is_null(*row) && before.is_valid(*row)).map(|row| row as u32).collect()
}

/// With NaN and infinity as null and -0.0 as 0.0; `None` when there is nothing to do.
fn finite(floats: &Float64Array) -> Option<ArrayRef> {
    let fine = |x: &f64| x.is_finite() && x.to_bits() != (-0.0_f64).to_bits();
    if floats.values().iter().all(fine) {
        return None;
    }
    let finite = |x: f64| x.is_finite().then_some(x + 0.0);
    Some(Arc::new(floats.unary_opt::<_, Float64Type>(finite)))
}

/// Maps every value; one that gives `None` is null.
fn map<F, T>(array: &ArrayRef, f: impl Fn(F::Native) -> Option<T::Native>) -> PrimitiveArray<T>
where
    F: ArrowPrimitiveType,
    T: ArrowPrimitiveType,
{
    array.as_primitive::<F>().unary_opt(f)
}

fn instants(array: &ArrayRef) -> Option<ArrayRef> {
    type Ms = TimestampMillisecondType;
    let millis: PrimitiveArray<Ms> = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => map::<TimestampSecondType, Ms>(array, |t| t.checked_mul(1000)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => array.as_primitive::<Ms>().clone(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            map::<TimestampMicrosecondType, Ms>(array, |t| Some(t.div_euclid(1000)))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            map::<TimestampNanosecondType, Ms>(array, |t| Some(t.div_euclid(1_000_000)))
        }
        DataType::Date32 => map::<Date32Type, Ms>(array, |day| Some(i64::from(day) * 86_400_000)),
        DataType::Date64 => map::<Date64Type, Ms>(array, Some),
        _ => return None,
    };
    Some(Arc::new(millis.with_data_type(timestamp())))
}

fn lengths(array: &ArrayRef) -> Option<ArrayRef> {
    let millis: PrimitiveArray<Int64Type> = match array.data_type() {
        DataType::Duration(TimeUnit::Second) => map::<DurationSecondType, _>(array, |d| d.checked_mul(1000)),
        DataType::Duration(TimeUnit::Millisecond) => map::<DurationMillisecondType, _>(array, Some),
        DataType::Duration(TimeUnit::Microsecond) => {
            map::<DurationMicrosecondType, _>(array, |d| Some(d.div_euclid(1000)))
        }
        DataType::Duration(TimeUnit::Nanosecond) => {
            map::<DurationNanosecondType, _>(array, |d| Some(d.div_euclid(1_000_000)))
        }
        _ => return None,
    };
    Some(Arc::new(millis))
}
