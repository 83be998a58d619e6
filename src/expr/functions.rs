//! The functions that SQL lacks and features need.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, MapArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Float64Type};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, plan_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

/// All of them.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(ScalarUDF::new_from_impl(Share::new()))]
}

/// `share(map)`: each value of a map by the sum of all. Null values are left out; where the sum is 0 or there is none,
/// the answer is null.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Share {
    signature: Signature,
}

impl Share {
    fn new() -> Self {
        Self { signature: Signature::new(TypeSignature::Any(1), Volatility::Immutable) }
    }
}

/// Text to double.
fn shares() -> (Arc<Field>, Fields) {
    let fields =
        Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Float64, true)]);
    (Arc::new(Field::new("key_value", DataType::Struct(fields.clone()), false)), fields)
}

impl ScalarUDFImpl for Share {
    fn name(&self) -> &str {
        "share"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let values = match &types[0] {
            DataType::Map(entry, _) => match entry.data_type() {
                DataType::Struct(fields) => fields.get(1).map(|field| field.data_type()),
                _ => None,
            },
            _ => None,
        };
        let needed = "share needs a map to numbers, like a feature with `by`";
        match values {
            Some(values) if values.is_numeric() => Ok(DataType::Map(shares().0, false)),
            Some(values) => Err(plan_datafusion_err!("{needed}; found a map to {values}")),
            None => Err(plan_datafusion_err!("{needed}; found {}", types[0])),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let maps = args.args[0].to_array(args.number_rows)?;
        let maps = maps.as_map_opt().ok_or_else(|| exec_datafusion_err!("share of what is not a map"))?;
        Ok(ColumnarValue::Array(Arc::new(share(maps)?)))
    }
}

fn share(maps: &MapArray) -> Result<MapArray, DataFusionError> {
    let values = cast(maps.values(), &DataType::Float64)?;
    let values = values.as_primitive::<Float64Type>();
    let offsets = maps.value_offsets();
    let (mut take, mut answers, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in 0..maps.len() {
        let range = offsets[row] as usize..offsets[row + 1] as usize;
        let held = || range.clone().filter(|at| maps.is_valid(row) && values.is_valid(*at));
        let sum: f64 = held().map(|at| values.value(at)).sum();
        let fine = sum != 0.0 && sum.is_finite();
        let before = take.len();
        if fine {
            take.extend(held().map(|at| at as u32));
            answers.extend(held().map(|at| values.value(at) / sum + 0.0));
        }
        lengths.push(take.len() - before);
        valid.push(fine);
    }
    let keys: ArrayRef = arrow::compute::take(maps.keys(), &arrow::array::UInt32Array::from(take), None)?;
    let (entry, fields) = shares();
    let entries = StructArray::try_new(fields, vec![keys, Arc::new(Float64Array::from(answers))], None)?;
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
    Ok(MapArray::try_new(entry, offsets, entries, Some(valid.into()), false)?)
}
