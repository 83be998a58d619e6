//! A topology with values of every kind, and an embedded store with rows of it, for the tests of this room and of HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};

use super::{Reader, StoreDoor};
use crate::aggregate::Value;
use crate::sink::online::{Clock, EmbeddedStore, OnlineBatch, OnlineStore};
use crate::state::MemoryStore;
use crate::task::{ColumnBuilder, Shown, row_schema};
use crate::time::Millis;
use crate::topology::{self, EntityPlan, OutputType, Plan};

pub const HOUR: Millis = 3_600_000;

pub const YAML: &str = r#"
topology: reads
source:
  topic: t
  format: json
  event_time: at
  max_key_bytes: 64
  schema: {id: string, n: int64, kind: string, x: double, at: timestamp_ms}
entities:
  user:
    key: id
    features:
      views: {count: "*", window: 1h}
      warm: {sum: x, half_life: 1h, window: lifetime}
      warm_by: {count: "*", by: kind, half_life: 1h, window: lifetime}
      mean: {avg: x, half_life: 1h, window: lifetime}
      label: {last: kind, window: lifetime, max_age: 1m}
      seen: {last: at, window: lifetime}
    derived:
      twice: "views * 2"
      age: {sql: "now() - seen", on: read}
      is_hot: {sql: "warm > 1 and age < 10800000", on: read, max_age: 3h}
  pair:
    key: [id, n]
    features:
      views: {count: "*", window: 1h}
"#;

pub fn plan() -> Plan {
    topology::parse("reads.yaml", YAML).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The column of these values.
pub fn column(ty: &OutputType, values: &[Shown]) -> ArrayRef {
    let mut column = ColumnBuilder::new(ty);
    values.iter().for_each(|value| column.push(value));
    column.finish().unwrap()
}

/// One row's stored values of `user`: views, warm, warm by kind, mean, label, seen, twice.
pub fn row(views: i64, warm: f64, seen: Millis) -> Vec<Shown> {
    let double = |x| Shown::Value(Value::Double(x));
    vec![
        Shown::Value(Value::Int(views)),
        double(warm),
        Shown::Map(vec![("a".into(), double(8.0)), ("b".into(), Shown::Null)]),
        double(3.5),
        Shown::Value(Value::Str("a \"quoted\" label".into())),
        Shown::Value(Value::Time(seen)),
        Shown::Value(Value::Int(views * 2)),
    ]
}

/// The columns of these rows.
pub fn stored(entity: &EntityPlan, rows: &[Vec<Shown>]) -> Vec<ArrayRef> {
    let at = |(index, (_, ty)): (usize, (&str, &OutputType))| {
        column(ty, &rows.iter().map(|row| row[index].clone()).collect::<Vec<_>>())
    };
    entity.columns().enumerate().map(at).collect()
}

/// A reader at a clock that the test sets, and the store that it reads.
pub struct Bench {
    pub reader: Arc<Reader>,
    pub now: Arc<AtomicI64>,
    store: Arc<EmbeddedStore>,
}

impl Bench {
    /// Nothing is stored, and it is two o'clock on the first day.
    pub fn empty() -> Self {
        let now = Arc::new(AtomicI64::new(2 * HOUR));
        let clock = |now: &Arc<AtomicI64>| {
            let now = Arc::clone(now);
            Box::new(move || now.load(Ordering::SeqCst)) as Clock
        };
        let store = Arc::new(EmbeddedStore::new(Box::new(MemoryStore::default()), clock(&now)));
        let door = Arc::clone(&store);
        let door: StoreDoor = Box::new(move || Ok(Arc::clone(&door) as Arc<dyn OnlineStore>));
        let reader = Arc::new(Reader::new(Arc::new(plan()), door, clock(&now), Duration::from_secs(10)));
        Self { reader, now, store }
    }

    /// Publishes a row of an entity of this plan.
    pub async fn put(&self, entity: &EntityPlan, id: &str, event_time: Millis, row: &[Shown]) {
        let times = || Arc::new(Int64Array::from(vec![event_time])) as ArrayRef;
        let fixed = [
            Arc::new(StringArray::from(vec![id])) as ArrayRef,
            times(),
            times(),
            Arc::new(Int64Array::from(vec![9])),
            Arc::new(Int32Array::from(vec![0])),
            times(),
        ];
        let columns = fixed.into_iter().chain(stored(entity, &[row.to_vec()])).collect();
        let rows = RecordBatch::try_new(row_schema(entity), columns).unwrap();
        let (partition, generation, version, refresh) = (2, 1, 3, None);
        let source = &self.reader.plan().source;
        let batch = OnlineBatch { source, entity, rows: &rows, picks: &[0], partition, generation, version, refresh };
        self.store.publish(&batch).await.unwrap();
    }
}
