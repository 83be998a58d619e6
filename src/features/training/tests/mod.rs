//! Tests of the join against real tables: a generated history in several commits, generated labels, and the law by brute
//! force: the last row in the order of its partition that was there at the label's time.

mod law;
mod page;
mod readers;
mod sources;
mod spark;
mod whole;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::config::{OfflineKind, OfflineSettings};
use crate::error::Result;
use crate::features::fixture;
use crate::lake::{LabelColumns, Labels, Place, TrainingFile};
use crate::sink::offline::OfflineWriter;
use crate::state::{EntityRows, Epoch};
use crate::task::{Shown, row_schema};
use crate::time::Span;
use crate::topology::Plan;

/// 2024-02-28T22:00:00Z.
pub const START: i64 = 1_709_157_600_000;
pub const PARTITIONS: i32 = 3;

/// A row of the history, as the engine would have written it.
#[derive(Debug, Clone)]
pub struct Past {
    pub entity: usize,
    pub key: String,
    pub event_time: i64,
    pub known_at: i64,
    pub partition: i32,
    pub offset: i64,
    pub sequence: i32,
    pub ordinal: i64,
    pub values: Vec<Shown>,
}

/// A label.
#[derive(Debug, Clone)]
pub struct Label {
    pub id: Option<String>,
    pub n: Option<i64>,
    /// In microseconds.
    pub at: i64,
}

/// A history in a folder of its own.
pub struct World {
    pub dir: tempfile::TempDir,
    pub settings: OfflineSettings,
    pub plan: Plan,
    /// By partition, in the order of ordinals.
    pub past: BTreeMap<i32, Vec<Past>>,
    pub watermarks: BTreeMap<i32, i64>,
    random: SmallRng,
}

impl World {
    /// An empty one of the topology of this room's tests: `user` by id, `pair` by id and n.
    pub fn new(seed: u64) -> Self {
        Self::of(seed, fixture::plan())
    }

    pub fn of(seed: u64, plan: Plan) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = OfflineSettings {
            store: OfflineKind::Delta,
            url: dir.path().join("offline").display().to_string(),
            options: BTreeMap::new(),
            commit_interval: Span(60_000),
            commit_bytes: 1 << 28,
            compact_interval: None,
            vacuum_retention: None,
            check_entities: 0,
        };
        let random = SmallRng::seed_from_u64(seed);
        Self { dir, settings, plan, past: BTreeMap::new(), watermarks: BTreeMap::new(), random }
    }

    /// Appends rows to every partition, in several commits.
    pub async fn live(&mut self, rows: usize, commits: usize) {
        let partitions: Vec<i32> = (0..PARTITIONS).collect();
        let mut writer = OfflineWriter::open(&self.settings, &self.plan, 1, &partitions).await.unwrap();
        for _ in 0..commits {
            for &partition in &partitions {
                let epoch = self.epoch(partition, rows / commits);
                writer.append(&epoch).unwrap();
            }
            writer.commit().await.unwrap();
        }
        writer.settle().await;
    }

    /// A history of exactly these rows, all of one partition.
    pub async fn fixed(&mut self, rows: Vec<Past>) {
        let mut writer = OfflineWriter::open(&self.settings, &self.plan, 1, &[0]).await.unwrap();
        self.past.insert(0, rows);
        writer.append(&self.since(0, 0)).unwrap();
        writer.commit().await.unwrap();
    }

    fn epoch(&mut self, partition: i32, rows: usize) -> Epoch {
        let mut past = self.past.remove(&partition).unwrap_or_default();
        let from = past.len();
        for _ in 0..rows {
            let row = self.row(partition, &past);
            past.push(row);
        }
        self.past.insert(partition, past);
        self.since(partition, from)
    }

    /// The epoch with the rows of a partition from this one on.
    fn since(&mut self, partition: i32, from: usize) -> Epoch {
        let past = &self.past[&partition];
        let entity_rows = |entity: usize| {
            let rows: Vec<&Past> = past[from..].iter().filter(|row| row.entity == entity).collect();
            (!rows.is_empty()).then(|| EntityRows { entity, rows: self.batch(entity, &rows) })
        };
        let rows = (0..self.plan.entities.len()).filter_map(entity_rows).collect();
        let newest = past.iter().map(|row| row.event_time).max().unwrap_or(START);
        let (next_ordinal, next_offset) = (past.len() as i64, past.last().map_or(0, |row| row.offset + 1));
        let watermark = newest - self.random.random_range(0..5_000);
        let watermark = watermark.max(self.watermarks.get(&partition).copied().unwrap_or(watermark));
        self.watermarks.insert(partition, watermark);
        Epoch {
            number: next_ordinal as u64,
            partition,
            next_offset,
            watermark: Some(watermark),
            next_ordinal,
            next_dead_letter: 0,
            rows,
            dead_letters: None,
        }
    }

    /// The next row of a partition: of an entity, neither event time nor known time goes back.
    fn row(&mut self, partition: i32, past: &[Past]) -> Past {
        let random = &mut self.random;
        let entity = random.random_range(0..self.plan.entities.len());
        let number = random.random_range(0..6);
        let key = match (self.plan.entities[entity].key.len(), self.plan.source.fields[0].name.as_str()) {
            (2, _) => format!("[\"u{partition}\",{number}]"),
            (_, "n") => (i64::from(partition) * 100 - number).to_string(),
            _ => format!("u{partition}{}", if number < 3 { String::new() } else { format!("-{number}") }),
        };
        let before = past.iter().rev().find(|row| row.entity == entity && row.key == key);
        let step = [0, 1, 999, 1000, 60_000, 86_400_000][random.random_range(0..6)];
        let event_time = before.map_or(START + random.random_range(0..3_600_000), |row| row.event_time + step);
        let lag = [0, 0, 1, 4_000, 5_000, 100 * 3_600_000][random.random_range(0..6)];
        let known_at = (event_time + lag).max(before.map_or(i64::MIN, |row| row.known_at));
        let (offset, sequence) = match past.last() {
            Some(last) if random.random_bool(0.3) => (last.offset, last.sequence + 1),
            Some(last) => (last.offset + random.random_range(1..4), 0),
            None => (0, 0),
        };
        let ordinal = past.len() as i64;
        let values = match entity {
            0 if self.plan.entities.len() == 2 => {
                fixture::row(ordinal, random.random_range(0.0..8.0), event_time - random.random_range(0..7_200_000))
            }
            _ => vec![Shown::Value(crate::aggregate::Value::Int(ordinal))],
        };
        Past { entity, key, event_time, known_at, partition, offset, sequence, ordinal, values }
    }

    fn batch(&self, entity: usize, rows: &[&Past]) -> RecordBatch {
        let of = &self.plan.entities[entity];
        let int = |f: &dyn Fn(&Past) -> i64| {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| f(row)))) as ArrayRef
        };
        let fixed = [
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.key.as_str()))) as ArrayRef,
            int(&|row| row.event_time),
            int(&|row| row.known_at),
            int(&|row| row.offset),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.sequence))),
            int(&|row| row.ordinal),
        ];
        let values: Vec<Vec<Shown>> = rows.iter().map(|row| row.values.clone()).collect();
        let columns = fixed.into_iter().chain(fixture::stored(of, &values)).collect();
        RecordBatch::try_new(row_schema(of), columns).unwrap()
    }

    /// Labels about these rows: at their times, a little beside them, far away; of strangers, and of nobody.
    pub fn labels(&mut self, count: usize) -> Vec<Label> {
        let rows: Vec<&Past> = self.past.values().flatten().collect();
        let random = &mut self.random;
        let mut labels: Vec<Label> = Vec::new();
        for _ in 0..count {
            if !labels.is_empty() && random.random_bool(0.05) {
                labels.push(labels[random.random_range(0..labels.len())].clone());
                continue;
            }
            let row = rows[random.random_range(0..rows.len())];
            let near = [0, 0, 1, -1, 999, -1000, 30_000_000, 100_000_000_000, -900_000_000_000];
            let time = if random.random_bool(0.7) { row.event_time } else { row.known_at };
            let at = time * 1000 + near[random.random_range(0..near.len())];
            let id = match random.random_range(0..20) {
                0 => None,
                1 => Some("nobody".to_string()),
                _ => Some(format!("u{}{}", row.partition, ["", "", "-3", "-4"][random.random_range(0..4)])),
            };
            let n = random.random_bool(0.9).then(|| random.random_range(0..6));
            labels.push(Label { id, n, at });
        }
        labels
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes labels as a Parquet file, in batches of this size.
    pub fn write(&self, name: &str, labels: &[Label]) -> String {
        let batch = label_batch(labels);
        let path = self.path(name);
        let mut file = TrainingFile::create(&path, &batch.schema()).unwrap();
        file.write(&batch).unwrap();
        file.finish().unwrap();
        file.publish().unwrap();
        path.display().to_string()
    }

    pub fn job(&self, labels: &str, question: Question) -> Job {
        let (plan, out) = (self.plan.clone(), self.path("train.parquet"));
        Job { plan, version: 1, question, labels: labels.into(), out, memory: 1 << 28, rebuild: None }
    }

    pub async fn train(&self, job: &Job) -> Result<Report> {
        train(job, &self.settings, &|_, _| {}).await
    }

    /// The row that a label gets of an entity, by the law.
    pub fn answer(&self, entity: usize, key: &str, at: i64, rule: Rule) -> Option<&Past> {
        let there = |time: i64| if rule.strict { time * 1000 < at } else { time * 1000 <= at };
        let of_key = |row: &&Past| row.entity == entity && row.key == key;
        let is_there = |row: &&Past| there(row.event_time) && (rule.by_event_time || there(row.known_at));
        let rows = self.past.values().flat_map(|rows| rows.iter().rev().filter(of_key).find(is_there));
        let young = |row: &Past| rule.lookback.is_none_or(|lookback| row.event_time * 1000 >= at - lookback * 1000);
        rows.into_iter().find(|row| young(row))
    }
}

/// The labels as columns, with one beside that is carried through.
pub fn label_batch(labels: &[Label]) -> RecordBatch {
    let at = TimestampMicrosecondArray::from_iter_values(labels.iter().map(|label| label.at)).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(StringArray::from_iter(labels.iter().map(|label| label.id.clone())))),
        ("n", Arc::new(Int64Array::from_iter(labels.iter().map(|label| label.n)))),
        ("event_timestamp", Arc::new(at)),
        ("amount", Arc::new(Float64Array::from_iter_values((0..labels.len()).map(|row| row as f64 / 4.0)))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// All rows of a Parquet file.
pub async fn read(path: &std::path::Path, settings: &OfflineSettings) -> RecordBatch {
    let place = path.display().to_string();
    let columns = LabelColumns::default();
    let mut file = Labels::open(&place, Place::of_labels(&place, settings), &columns, None).await.unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = file.next().await.unwrap() {
        batches.push(batch);
    }
    concat_batches(file.schema(), &batches).unwrap()
}

pub fn question(features: &[&str]) -> Question {
    Question {
        features: features.iter().map(ToString::to_string).collect(),
        timestamp: "event_timestamp".into(),
        ..Question::default()
    }
}

/// An integer of a column, if there is one.
pub fn int(rows: &RecordBatch, column: &str, row: usize) -> Option<i64> {
    use arrow::array::Array;
    let column = rows[column].as_primitive::<arrow::datatypes::Int64Type>();
    column.is_valid(row).then(|| column.value(row))
}
