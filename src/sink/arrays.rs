//! Lists, counted lists and maps as epochs hold them, for the tests of both stores.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, ListArray, MapArray, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};

/// Where each row's entries end, and which rows are null.
fn layout<T>(rows: &[Option<Vec<T>>]) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
    let lengths = rows.iter().map(|row| row.as_ref().map_or(0, Vec::len));
    let nulls = rows.iter().map(Option::is_some).collect::<Vec<bool>>();
    (OffsetBuffer::from_lengths(lengths), Some(nulls.into()))
}

/// One list a row; `items` makes the array of all of them.
pub fn lists<T: Clone>(rows: &[Option<Vec<T>>], items: impl FnOnce(Vec<T>) -> ArrayRef) -> ArrayRef {
    let (offsets, nulls) = layout(rows);
    let items = items(rows.iter().flatten().flatten().cloned().collect());
    let field = Field::new("item", items.data_type().clone(), true);
    Arc::new(ListArray::new(Arc::new(field), offsets, items, nulls))
}

/// One list of (value, n) a row; `values` makes the array of all values.
pub fn counted<T: Clone>(rows: &[Option<Vec<(T, i64)>>], values: impl FnOnce(Vec<T>) -> ArrayRef) -> ArrayRef {
    lists(rows, |entries| {
        let (all, counts): (Vec<T>, Vec<i64>) = entries.into_iter().unzip();
        let values = values(all);
        let value = Field::new("value", values.data_type().clone(), false);
        let fields = Fields::from(vec![value, Field::new("n", DataType::Int64, false)]);
        Arc::new(StructArray::new(fields, vec![values, Arc::new(Int64Array::from(counts))], None))
    })
}

/// One map a row, its buckets as given; `values` makes the array of all values.
pub fn maps<T: Clone>(rows: &[Option<Vec<(String, T)>>], values: impl FnOnce(Vec<T>) -> ArrayRef) -> ArrayRef {
    let (offsets, nulls) = layout(rows);
    let (keys, all): (Vec<String>, Vec<T>) = rows.iter().flatten().flatten().cloned().unzip();
    let values = values(all);
    let value = Field::new("value", values.data_type().clone(), true);
    let fields = Fields::from(vec![Field::new("key", DataType::Utf8, false), value]);
    let entries = StructArray::new(fields.clone(), vec![Arc::new(StringArray::from(keys)), values], None);
    let field = Field::new("key_value", DataType::Struct(fields), false);
    Arc::new(MapArray::new(Arc::new(field), offsets, entries, nulls, false))
}
