//! Delta's statistics of a file: number of rows, and for the leading columns minimum, maximum and nulls.
//!
//! Always holds: a bound is a true bound (a text may be cut: the maximum is then rounded up). Times are printed with
//! milliseconds, which is exact here.

use deltalake::parquet::file::metadata::ParquetMetaData;
use deltalake::parquet::file::statistics::Statistics;
use serde_json::{Map, Value, json};

use super::rows::{date_text, day};
use super::schema::TableSpec;
use arrow::datatypes::DataType;

/// The `stats` of an `add` action.
pub fn of(spec: &TableSpec, metadata: &ParquetMetaData) -> String {
    let (mut low, mut high, mut nulls) = (Map::new(), Map::new(), Map::new());
    for (index, field) in spec.columns.fields().iter().enumerate().take(spec.stats_columns) {
        let mut column = Column::default();
        for group in metadata.row_groups() {
            column.add(group.column(index).statistics());
        }
        let is_time = matches!(field.data_type(), DataType::Timestamp(..));
        if let Some((min, max)) = column.bounds.filter(|_| !column.unknown) {
            low.insert(field.name().clone(), min.json(is_time));
            high.insert(field.name().clone(), max.json(is_time));
        }
        if let Some(count) = column.nulls {
            nulls.insert(field.name().clone(), json!(count));
        }
    }
    json!({
        "numRecords": metadata.file_metadata().num_rows(),
        "minValues": Value::Object(low),
        "maxValues": Value::Object(high),
        "nullCount": Value::Object(nulls),
    })
    .to_string()
}

#[derive(Default)]
struct Column {
    bounds: Option<(Bound, Bound)>,
    nulls: Option<u64>,
    /// A row group without bounds that has values: the file has none.
    unknown: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Int(i64),
    Text(String),
}

impl Column {
    fn add(&mut self, statistics: Option<&Statistics>) {
        let Some(statistics) = statistics else {
            self.unknown = true;
            return;
        };
        self.nulls = statistics.null_count_opt().map(|count| count + self.nulls.unwrap_or(0));
        let bounds = match statistics {
            Statistics::Int32(s) => pair(s.min_opt(), s.max_opt(), |v| Some(Bound::Int(i64::from(*v)))),
            Statistics::Int64(s) => pair(s.min_opt(), s.max_opt(), |v| Some(Bound::Int(*v))),
            Statistics::ByteArray(s) => {
                pair(s.min_opt(), s.max_opt(), |v| Some(Bound::Text(v.as_utf8().ok()?.to_string())))
            }
            _ => None,
        };
        self.bounds = match (self.bounds.take(), bounds) {
            (Some((low, high)), Some((min, max))) => Some((low.min(min), high.max(max))),
            (had, None) => {
                self.unknown |= statistics.min_bytes_opt().is_some();
                had
            }
            (None, bounds) => bounds,
        };
    }
}

fn pair<T>(min: Option<&T>, max: Option<&T>, bound: impl Fn(&T) -> Option<Bound>) -> Option<(Bound, Bound)> {
    Some((bound(min?)?, bound(max?)?))
}

impl Bound {
    fn json(&self, is_time: bool) -> Value {
        match self {
            Bound::Int(micros) if is_time => Value::String(time_text(*micros)),
            Bound::Int(number) => json!(number),
            Bound::Text(text) => json!(text),
        }
    }
}

/// Microseconds since 1970 as `2024-01-31T09:30:00.123Z`.
fn time_text(micros: i64) -> String {
    let millis = micros.div_euclid(1000);
    let date = day(millis);
    let rest = millis - i64::from(date) * 86_400_000;
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", date_text(date), rest % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{MAX_EVENT_TIME, MIN_EVENT_TIME};

    #[test]
    fn times_print_in_all_years_from_1_to_9999() {
        let print = |millis: i64| time_text(millis * 1000);
        assert_eq!(print(MIN_EVENT_TIME), "0001-01-01T00:00:00.000Z");
        assert_eq!(print(MAX_EVENT_TIME), "9999-12-31T23:59:59.999Z");
        assert_eq!(print(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(print(1_709_199_000_123), "2024-02-29T09:30:00.123Z");
    }
}
