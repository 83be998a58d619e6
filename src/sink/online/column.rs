//! One column of an epoch's rows as text: its type is known once a batch, its values go straight into the caller's
//! buffer.
//!
//! Always holds: int64 is decimal, a double its shortest form that reads back the same (as serde_json prints it: 12.0,
//! 1e+300), a bool `true` or `false`, a timestamp whole milliseconds since 1970, a decimal has all digits of its scale,
//! a string is itself. Lists are JSON arrays, maps JSON objects in the order of the row, what `top_k` counts
//! `[[value,n],...]`, all without blanks; in them a number is a number, text is quoted, and null is `null`.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray, MapArray,
    StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::Int64Type;

use crate::topology::{Literal, OutputType, ValueType};

/// A column with its type known.
#[derive(Debug, Clone)]
pub enum Column<'a> {
    String(&'a StringArray),
    Int64(&'a Int64Array),
    Double(&'a Float64Array),
    Bool(&'a BooleanArray),
    Timestamp(&'a TimestampMillisecondArray),
    Decimal(&'a Decimal128Array),
    Nested(Box<Nested<'a>>),
}

/// A column of lists or maps.
#[derive(Debug, Clone)]
pub enum Nested<'a> {
    List { lists: &'a ListArray, items: Column<'a> },
    Counted { lists: &'a ListArray, values: Column<'a>, counts: &'a Int64Array },
    Map { maps: &'a MapArray, buckets: &'a StringArray, values: Column<'a> },
}

impl<'a> Column<'a> {
    /// The array as a column of this type; `None` when it is of another.
    pub fn new(array: &'a ArrayRef, ty: &OutputType) -> Option<Self> {
        let nested = match ty {
            OutputType::Scalar(ty) => return Self::scalar(array, *ty),
            OutputType::List(ty) => {
                let lists = array.as_list_opt::<i32>()?;
                Nested::List { lists, items: Self::scalar(lists.values(), *ty)? }
            }
            OutputType::Counted(ty) => {
                let lists = array.as_list_opt::<i32>()?;
                let entries = lists.values().as_struct_opt().filter(|entries| entries.num_columns() == 2)?;
                let values = Self::scalar(entries.column(0), *ty)?;
                Nested::Counted { lists, values, counts: entries.column(1).as_primitive_opt::<Int64Type>()? }
            }
            OutputType::Map(ty) => {
                let maps = array.as_map_opt()?;
                let values = Self::new(maps.values(), ty)?;
                Nested::Map { maps, buckets: maps.keys().as_string_opt()?, values }
            }
        };
        Some(Self::Nested(Box::new(nested)))
    }

    fn scalar(array: &'a ArrayRef, ty: ValueType) -> Option<Self> {
        let any = array.as_any();
        match ty {
            ValueType::String => any.downcast_ref().map(Self::String),
            ValueType::Int64 => any.downcast_ref().map(Self::Int64),
            ValueType::Double => any.downcast_ref().map(Self::Double),
            ValueType::Bool => any.downcast_ref().map(Self::Bool),
            ValueType::Timestamp => any.downcast_ref().map(Self::Timestamp),
            ValueType::Decimal { scale, .. } => {
                let scaled = |array: &&Decimal128Array| array.scale() == scale as i8;
                any.downcast_ref().filter(scaled).map(Self::Decimal)
            }
        }
    }

    /// Whether the row has no value here. A double that is not a number cannot occur; it would have no text either.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        match self {
            Self::String(array) => array.is_null(row),
            Self::Int64(array) => array.is_null(row),
            Self::Double(array) => array.is_null(row) || !array.value(row).is_finite(),
            Self::Bool(array) => array.is_null(row),
            Self::Timestamp(array) => array.is_null(row),
            Self::Decimal(array) => array.is_null(row),
            Self::Nested(nested) => nested.is_null(row),
        }
    }

    /// Appends the text of a value that is not null.
    #[inline]
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::String(array) => out.extend_from_slice(array.value(row).as_bytes()),
            column => column.json(row, out),
        }
    }

    /// Appends a value that is not null as JSON.
    #[inline]
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::String(array) => quoted(array.value(row), out),
            Self::Int64(array) => out.extend_from_slice(itoa::Buffer::new().format(array.value(row)).as_bytes()),
            Self::Double(array) => {
                out.extend_from_slice(zmij::Buffer::new().format_finite(array.value(row)).as_bytes());
            }
            Self::Bool(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Self::Timestamp(array) => out.extend_from_slice(itoa::Buffer::new().format(array.value(row)).as_bytes()),
            Self::Decimal(array) => decimal(array.value(row), array.scale().max(0) as usize, out),
            Self::Nested(nested) => nested.json(row, out),
        }
    }

    fn json_or_null(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) { out.extend_from_slice(b"null") } else { self.json(row, out) }
    }

    /// Whether the row has just this value here.
    pub fn is(&self, row: usize, literal: &Literal) -> bool {
        match (self, literal) {
            (_, Literal::Null) => self.is_null(row),
            _ if self.is_null(row) => false,
            (Self::Int64(array), Literal::Int(value)) => array.value(row) == *value,
            (Self::Double(array), Literal::Double(value)) => array.value(row) == *value,
            (Self::Bool(array), Literal::Bool(value)) => array.value(row) == *value,
            (Self::Timestamp(array), Literal::Time(value)) => array.value(row) == *value,
            (Self::String(array), Literal::Str(value)) => array.value(row) == value,
            (Self::Decimal(array), Literal::Decimal(value)) => array.value(row) == *value,
            _ => false,
        }
    }
}

impl Nested<'_> {
    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::List { lists, .. } | Self::Counted { lists, .. } => lists.is_null(row),
            Self::Map { maps, .. } => maps.is_null(row),
        }
    }

    fn json(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::List { lists, items } => sequence(lists.value_offsets(), row, *b"[]", out, |item, out| {
                items.json_or_null(item, out);
            }),
            Self::Counted { lists, values, counts } => {
                sequence(lists.value_offsets(), row, *b"[]", out, |item, out| {
                    out.push(b'[');
                    values.json_or_null(item, out);
                    out.push(b',');
                    out.extend_from_slice(itoa::Buffer::new().format(counts.value(item)).as_bytes());
                    out.push(b']');
                });
            }
            Self::Map { maps, buckets, values } => {
                sequence(maps.value_offsets(), row, *b"{}", out, |item, out| {
                    quoted(buckets.value(item), out);
                    out.push(b':');
                    values.json_or_null(item, out);
                });
            }
        }
    }
}

/// What lies between a row's offsets, each `write`n, with commas between and a bracket at either end.
fn sequence(
    offsets: &[i32],
    row: usize,
    [open, close]: [u8; 2],
    out: &mut Vec<u8>,
    write: impl Fn(usize, &mut Vec<u8>),
) {
    let (first, end) = (offsets[row] as usize, offsets[row + 1] as usize);
    out.push(open);
    for item in first..end {
        if item > first {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(close);
}

/// Appends text as JSON.
pub fn quoted(text: &str, out: &mut Vec<u8>) {
    // The rule: names and words, in which nothing needs an escape.
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // Text always has a JSON form, and memory takes all that is written.
    serde_json::to_writer(out, text).expect("text is written to memory as JSON");
}

/// A plain decimal: `-0.05` is -5 at scale 2.
fn decimal(value: i128, scale: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs()).as_bytes();
    if value < 0 {
        out.push(b'-');
    }
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(scale));
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    if scale > 0 {
        out.push(b'.');
        out.resize(out.len() + scale - fraction.len(), b'0');
        out.extend_from_slice(fraction);
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use proptest::prelude::*;

    use super::super::fixture::{Row, entity, rows};
    use super::*;
    use crate::state::ROW_COLUMNS;

    /// The texts of one column of the fixture's rows, null as `-`.
    fn texts(name: &str, batch: &RecordBatch) -> Vec<String> {
        let entity = entity();
        let at = entity.columns().position(|(column, _)| column == name).unwrap();
        let (_, ty) = entity.columns().nth(at).unwrap();
        let column = Column::new(batch.column(ROW_COLUMNS.len() + at), ty).unwrap();
        let text = |row| {
            let mut out = Vec::new();
            if column.is_null(row) {
                out.push(b'-')
            } else {
                column.write(row, &mut out)
            }
            String::from_utf8(out).unwrap()
        };
        (0..batch.num_rows()).map(text).collect()
    }

    fn double(value: f64) -> String {
        let array = Float64Array::from(vec![value]);
        let mut out = Vec::new();
        Column::Double(&array).write(0, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_are_written_in_their_shortest_form() {
        let shown = [12.0, 0.1, 1e300, 5e-324, -2.5, 1e21, 123456789012345680.0, 0.0].map(double);
        assert_eq!(shown.join(" "), "12.0 0.1 1e+300 5e-324 -2.5 1e+21 1.2345678901234568e+17 0.0");
    }

    #[test]
    fn decimals_are_plain_with_all_digits_of_their_scale() {
        let shown = |value, scale| {
            let mut out = Vec::new();
            decimal(value, scale, &mut out);
            String::from_utf8(out).unwrap()
        };
        let cases = [(0, 2), (5, 2), (-5, 2), (50, 2), (-1234, 2), (7, 0), (-70, 0), (1, 38), (i128::MAX, 1)];
        assert_eq!(
            cases.map(|(value, scale)| shown(value, scale)).join(" "),
            "0.00 0.05 -0.05 0.50 -12.34 7 -70 0.00000000000000000000000000000000000001 \
             17014118346046923173168730371588410572.7"
        );
    }

    #[test]
    fn lists_and_maps_are_json_without_blanks() {
        let odd = "a\"\\\n\u{1}é";
        let map = [("".to_string(), None), (odd.to_string(), Some(vec![Some(7), None]))];
        let row = Row {
            price: Some(-5),
            tags: Some(vec![Some(odd.to_string()), None, Some("b".to_string())]),
            top: Some(vec![(i64::MAX, 3), (-1, 1)]),
            by: Some(map.to_vec()),
            ..Row::full("a", 1)
        };
        let none = Row { price: None, tags: None, top: None, by: None, ..Row::full("b", 2) };
        let blank = Row { tags: Some(vec![]), top: Some(vec![]), by: Some(vec![]), ..Row::full("c", 3) };
        // Sliced, so that offsets do not begin at 0.
        let batch = rows(&[Row::full("z", 0), row, none, blank]).slice(1, 3);
        assert_eq!(texts("price", &batch), ["-0.05", "-", "3.25"]);
        assert_eq!(texts("tags", &batch), [r#"["a\"\\\n\u0001é",null,"b"]"#, "-", "[]"]);
        assert_eq!(texts("top", &batch), ["[[9223372036854775807,3],[-1,1]]", "-", "[]"]);
        assert_eq!(texts("by", &batch), [r#"{"":null,"a\"\\\n\u0001é":[7,null]}"#, "-", "{}"]);
    }

    #[test]
    fn a_value_is_a_literal_of_its_own_type() {
        let batch = rows(&[Row::full("a", 3), Row { count: None, tags: None, ..Row::full("b", 3) }]);
        let entity = entity();
        let columns: Vec<_> = entity.columns().zip(&batch.columns()[ROW_COLUMNS.len()..]).collect();
        let is = |name: &str, row: usize, literal: Literal| {
            let ((_, ty), array) = columns.iter().find(|((column, _), _)| *column == name).unwrap();
            Column::new(array, ty).unwrap().is(row, &literal)
        };
        assert!(is("count", 0, Literal::Int(3)) && is("sum", 0, Literal::Double(3.5)));
        assert!(is("category", 0, Literal::Str("category 3".into())) && is("flag", 0, Literal::Bool(true)));
        assert!(is("at", 0, Literal::Time(1_700_000_000_003)) && is("price", 0, Literal::Decimal(325)));
        assert!(is("count", 1, Literal::Null) && is("tags", 1, Literal::Null));
        assert!(!is("count", 0, Literal::Null) && !is("count", 1, Literal::Int(0)) && !is("tags", 0, Literal::Null));
        assert!(!is("count", 0, Literal::Int(4)) && !is("at", 0, Literal::Int(1_700_000_000_003)));
    }

    proptest! {
        #[test]
        fn a_double_is_written_as_serde_json_prints_it(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(double(value), serde_json::to_string(&value).unwrap());
        }

        #[test]
        fn nested_text_is_json_that_reads_back(list in prop::option::of(prop::collection::vec(prop::option::of(".*"), 0..4))) {
            let batch = rows(&[Row { tags: list.clone(), ..Row::full("a", 1) }]);
            let text = texts("tags", &batch).remove(0);
            match list {
                None => prop_assert_eq!(text, "-"),
                Some(list) => prop_assert_eq!(text, serde_json::to_string(&list).unwrap()),
            }
        }
    }
}
