//! What a plan will do, before it does it: columns, shared expressions, shared tiles, timers, and estimates of the
//! state of an entity and of the rows that an event makes.
//!
//! Bytes are estimates to choose windows and slides by, not a promise: they count what must be kept, at its usual
//! encoded size, when every slide of every window had a record. They are the most that such an entity needs; one with
//! few records needs the head and a tile for each slide in which it had any.
//!
//! - head: [`HEAD_BYTES`], and for each feature its accumulator and the value of the previous row;
//! - accumulators: count 9 (value, flag); sum of int64 17 (128 bits), of double 25 (twice double precision, count);
//!   avg 33 (sum and count); last 17 and the value; min and max the value, or in a sliding window a queue of at most
//!   size/slide + 1 entries of a start and a value (inputs in random order need about the logarithm of that);
//! - tiles: features with the same size and slide share one queue of at most size/slide + 1 tiles, each
//!   [`TILE_BYTES`] and for each feature its part (count 3, sum 9 or 17, avg 20; min, max and last live in the head);
//! - a timer: [`TIMER_BYTES`].
//!
//! Rows: an event makes one row when it is folded, if a value changes, and each tile or session that it opened ends
//! once and may make one more. So an event makes at most 1 + (sliding windows) + (sessions) rows of an entity;
//! events that share a tile share its end, and a tile whose end changes nothing makes none.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::plan::{Aggregate, DerivedOn, DerivedPlan, EntityPlan, FeaturePlan, FieldSource, Plan, Window};
use super::types::{OutputType, ValueType};
use crate::expr::ExprId;
use crate::time::Span;

/// Key, largest event time and Kafka time, previous row's known time, lengths.
const HEAD_BYTES: u64 = 88;
/// Start of a tile, its place in the key.
const TILE_BYTES: u64 = 6;
/// Time and entity key of a pending timer.
const TIMER_BYTES: u64 = 40;

/// A plan explained; prints as text and serialises as JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    pub topology: String,
    pub fingerprint: String,
    pub source: SourceExplained,
    pub columns: Vec<Column>,
    pub expressions: Vec<Expression>,
    pub entities: Vec<EntityExplained>,
    /// The most rows that one event makes, over all entities.
    pub rows_per_event_at_most: u64,
}

/// The source and its bounds, as they hold with their defaults.
#[derive(Debug, Clone, Serialize)]
pub struct SourceExplained {
    pub topic: String,
    pub event_time: String,
    pub partition_field: String,
    pub lateness: String,
    pub grace: String,
    pub max_future: String,
    pub max_record_bytes: usize,
    pub max_key_bytes: usize,
}

/// A declared field: a column that is read from every record.
#[derive(Debug, Clone, Serialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub from: String,
    /// Empty: it is judged, and nothing reads it.
    pub used_by: Vec<String>,
}

/// A compiled expression, evaluated once for each batch however many use it.
#[derive(Debug, Clone, Serialize)]
pub struct Expression {
    pub sql: String,
    pub used_by: Vec<String>,
}

/// An entity.
#[derive(Debug, Clone, Serialize)]
pub struct EntityExplained {
    pub name: String,
    pub key: Vec<String>,
    pub online_key: String,
    pub empty_ttl: String,
    /// The pattern of the history table's path; null for `history: off`.
    pub history: Option<String>,
    pub features: Vec<FeatureExplained>,
    pub derived: Vec<DerivedExplained>,
    pub forget_after: Option<String>,
    pub tiles: Vec<Tiles>,
    pub timers_at_most: u64,
    pub state_bytes: StateBytes,
    /// The most rows that one event makes for this entity, and where they come from.
    pub rows_per_event_at_most: u64,
    pub rows_per_event: String,
}

/// A feature.
#[derive(Debug, Clone, Serialize)]
pub struct FeatureExplained {
    pub name: String,
    pub value: String,
    pub filter: Option<String>,
    pub window: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub accumulator_bytes: u64,
    /// Null: an online read gives it of any age.
    pub max_age: Option<String>,
    pub fingerprint: String,
}

/// A derived feature.
#[derive(Debug, Clone, Serialize)]
pub struct DerivedExplained {
    pub name: String,
    pub sql: String,
    /// `row` or `read`.
    pub on: &'static str,
    #[serde(rename = "type")]
    pub ty: String,
    pub max_age: Option<String>,
}

/// One queue of tiles, shared by the features of the same size and slide.
#[derive(Debug, Clone, Serialize)]
pub struct Tiles {
    pub window: String,
    pub tiles_at_most: u64,
    /// 0 when all its features live in the head.
    pub bytes_per_tile: u64,
    pub features: Vec<String>,
}

/// Estimated bytes of one entity.
#[derive(Debug, Clone, Serialize)]
pub struct StateBytes {
    /// Read and written with each event.
    pub head: u64,
    /// Written when a slide ends, read when its tile leaves.
    pub tiles_at_most: u64,
    pub timers_at_most: u64,
    pub total_at_most: u64,
}

impl Explanation {
    /// Explains a plan.
    pub fn of(plan: &Plan) -> Self {
        let uses = expression_uses(plan);
        let entities: Vec<EntityExplained> = plan.entities.iter().map(|entity| explain_entity(plan, entity)).collect();
        Self {
            topology: plan.topology.clone(),
            fingerprint: plan.fingerprint.clone(),
            source: explain_source(plan),
            columns: columns(plan, &uses),
            expressions: uses
                .into_iter()
                .map(|(id, used_by)| Expression { sql: plan.exprs.canonical(id).to_string(), used_by })
                .collect(),
            rows_per_event_at_most: entities.iter().map(|entity| entity.rows_per_event_at_most).sum(),
            entities,
        }
    }
}

fn explain_source(plan: &Plan) -> SourceExplained {
    let source = &plan.source;
    SourceExplained {
        topic: source.topic.clone(),
        event_time: source.fields[source.event_time].name.clone(),
        partition_field: source.fields[source.partition_field].name.clone(),
        lateness: Span(source.lateness).to_string(),
        grace: Span(source.grace).to_string(),
        max_future: source.max_future.map_or("off".to_string(), |bound| Span(bound).to_string()),
        max_record_bytes: source.max_record_bytes,
        max_key_bytes: source.max_key_bytes,
    }
}

/// Who uses which expression, as `entity.feature` and the key under which it stands.
fn expression_uses(plan: &Plan) -> BTreeMap<ExprId, Vec<String>> {
    let mut uses: BTreeMap<ExprId, Vec<String>> = BTreeMap::new();
    let mut note = |id: Option<ExprId>, by: String| {
        if let Some(id) = id {
            uses.entry(id).or_default().push(by);
        }
    };
    note(plan.source.filter, "source where".to_string());
    for entity in &plan.entities {
        for feature in &entity.features {
            let name = format!("{}.{}", entity.name, feature.name);
            note(feature.input, format!("{name} {}", feature.aggregate));
            note(feature.filter, format!("{name} where"));
            note(feature.by.map(|by| by.bucket), format!("{name} by"));
            if let Window::Since { condition } = feature.window {
                note(Some(condition), format!("{name} since"));
            }
        }
    }
    uses
}

fn columns(plan: &Plan, uses: &BTreeMap<ExprId, Vec<String>>) -> Vec<Column> {
    let describe = |(index, field): (usize, &super::plan::Field)| {
        let mut used_by = vec![];
        if index == plan.source.event_time {
            used_by.push("event time".to_string());
        }
        let keys = plan.entities.iter().filter(|entity| entity.key.contains(&index));
        used_by.extend(keys.map(|entity| format!("key of {}", entity.name)));
        let expressions = uses.iter().filter(|(id, _)| plan.exprs.fields(**id).contains(&index));
        used_by.extend(expressions.flat_map(|(_, by)| by.iter().cloned()));
        let from = match &field.from {
            FieldSource::Value(path) => format!("value: {}", path.join(".")),
            FieldSource::Key => "Kafka key".to_string(),
            FieldSource::Header(name) => format!("header: {name}"),
        };
        Column { name: field.name.clone(), ty: field.ty.to_string(), from, used_by }
    };
    plan.source.fields.iter().enumerate().map(describe).collect()
}

fn explain_entity(plan: &Plan, entity: &EntityPlan) -> EntityExplained {
    let mut queues: BTreeMap<(i64, i64), Vec<&FeaturePlan>> = BTreeMap::new();
    let mut sessions: Vec<i64> = vec![];
    let mut tumbling = 0;
    for feature in &entity.features {
        match feature.window {
            Window::Sliding { size, slide } => queues.entry((size, slide)).or_default().push(feature),
            Window::Session { gap } if !sessions.contains(&gap) => sessions.push(gap),
            Window::Tumbling { .. } => tumbling += 1,
            Window::Session { .. } | Window::Lifetime | Window::Since { .. } | Window::LastN { .. } => {}
        }
    }
    let tiles: Vec<Tiles> = queues.iter().map(|(&(size, slide), features)| tiles(size, slide, features)).collect();
    let timers = (queues.len() + sessions.len() + tumbling + usize::from(entity.forget_after.is_some())) as u64;
    let head = HEAD_BYTES
        + entity.features.iter().map(|feature| accumulator_bytes(feature) + previous_bytes(feature)).sum::<u64>()
        + 24 * sessions.len() as u64;
    let tile_bytes = tiles.iter().map(|tiles| tiles.tiles_at_most * tiles.bytes_per_tile).sum();
    let timer_bytes = timers * TIMER_BYTES;
    EntityExplained {
        name: entity.name.clone(),
        key: entity.key.iter().map(|&field| plan.source.fields[field].name.clone()).collect(),
        online_key: entity.online_key.clone(),
        empty_ttl: Span(entity.empty_ttl).to_string(),
        history: entity.history.then(|| format!("{{offline.url}}/{}/{}/v{{n}}", plan.topology, entity.name)),
        features: entity.features.iter().map(|feature| explain_feature(plan, entity, feature)).collect(),
        derived: entity.derived.iter().map(|derived| explain_derived(entity, derived)).collect(),
        forget_after: entity.forget_after.map(|after| Span(after).to_string()),
        timers_at_most: timers,
        state_bytes: StateBytes {
            head,
            tiles_at_most: tile_bytes,
            timers_at_most: timer_bytes,
            total_at_most: head + tile_bytes + timer_bytes,
        },
        rows_per_event_at_most: 1 + timers,
        rows_per_event: rows_text(queues.len(), sessions.len(), tumbling),
        tiles,
    }
}

fn rows_text(sliding: usize, sessions: usize, tumbling: usize) -> String {
    let mut parts = vec!["1 when it is folded".to_string()];
    if sliding > 0 {
        parts.push(format!("{sliding} when its tiles leave their windows (events in one slide share them)"));
    }
    if sessions > 0 {
        parts.push(format!("{sessions} when its sessions end (events of one session share them)"));
    }
    if tumbling > 0 {
        parts.push(format!("{tumbling} when tumbling windows end (all events of a window share them)"));
    }
    parts.join(", ")
}

fn explain_feature(plan: &Plan, entity: &EntityPlan, feature: &FeaturePlan) -> FeatureExplained {
    let sql = |id: ExprId| plan.exprs.canonical(id).to_string();
    FeatureExplained {
        name: feature.name.clone(),
        value: value_text(plan, feature),
        filter: feature.filter.map(sql),
        window: feature.window.to_string(),
        ty: feature.output_type.to_string(),
        accumulator_bytes: accumulator_bytes(feature),
        max_age: feature.max_age.map(|age| Span(age).to_string()),
        fingerprint: plan.feature_fingerprint(entity, feature),
    }
}

/// `sum(price) by category`, `last_k 10(item)`.
fn value_text(plan: &Plan, feature: &FeaturePlan) -> String {
    let sql = |id: ExprId| plan.exprs.canonical(id).to_string();
    let input = feature.input.map_or("*".to_string(), sql);
    let by = feature.by.map_or(String::new(), |by| format!(" by {}", sql(by.bucket)));
    format!("{}({input}){by}", feature.aggregate)
}

fn explain_derived(entity: &EntityPlan, derived: &DerivedPlan) -> DerivedExplained {
    DerivedExplained {
        name: derived.name.clone(),
        sql: entity.derived_exprs.canonical(derived.expr).to_string(),
        on: if derived.on == DerivedOn::Row { "row" } else { "read" },
        ty: derived.output_type.to_string(),
        max_age: derived.max_age.map(|age| Span(age).to_string()),
    }
}

fn tiles(size: i64, slide: i64, features: &[&FeaturePlan]) -> Tiles {
    let parts: u64 = features.iter().map(|feature| tile_bytes(feature)).sum();
    Tiles {
        window: Window::Sliding { size, slide }.to_string(),
        tiles_at_most: slides(size, slide) + 1,
        bytes_per_tile: if parts > 0 { TILE_BYTES + parts } else { 0 },
        features: features.iter().map(|feature| feature.name.clone()).collect(),
    }
}

/// Slides in a window; both are positive in every plan.
fn slides(size: i64, slide: i64) -> u64 {
    (size / slide + i64::from(size % slide != 0)) as u64
}

fn value_bytes(ty: ValueType) -> u64 {
    match ty {
        ValueType::String => 20,
        ValueType::Bool => 1,
        ValueType::Int64 | ValueType::Double | ValueType::Timestamp | ValueType::Decimal { .. } => 8,
    }
}

/// The value of the previous row, with its null flag.
fn previous_bytes(feature: &FeaturePlan) -> u64 {
    1 + match &feature.output_type {
        OutputType::Scalar(ty) => value_bytes(*ty),
        _ => 8,
    }
}

fn accumulator_bytes(feature: &FeaturePlan) -> u64 {
    let one = plain_bytes(feature);
    // A bucket's text, and its accumulator, for some buckets.
    if feature.by.is_some() { SOME * (20 + one) } else { one }
}

fn plain_bytes(feature: &FeaturePlan) -> u64 {
    let value = value_bytes(feature.input_type);
    match (&feature.aggregate, feature.window) {
        (Aggregate::Count, _) => 9,
        (Aggregate::Sum, _) if feature.input_type == ValueType::Int64 => 17,
        (Aggregate::Sum, _) => 25,
        (Aggregate::Avg, _) => 33,
        (Aggregate::Last | Aggregate::First, _) => 17 + value,
        (Aggregate::Min | Aggregate::Max, Window::Sliding { size, slide }) => (slides(size, slide) + 1) * (8 + value),
        (Aggregate::Min | Aggregate::Max, _) => 1 + value,
        (Aggregate::Variance | Aggregate::Stddev, _) => 58,
        (Aggregate::Distinct { .. }, _) => SOME * (1 + value),
        (Aggregate::TopK { .. }, _) => SOME * (3 + value),
        (Aggregate::ApproxDistinct { precision }, _) => 1 << *precision,
        (Aggregate::Quantile { .. } | Aggregate::Quantiles { .. }, _) => SOME * 4,
        (Aggregate::FirstK { k } | Aggregate::LastK { k }, _) => u64::from(*k) * (12 + value),
        _ => 26,
    }
}

/// How many different values or buckets an entity is taken to have, where nothing says.
const SOME: u64 = 10;

fn tile_bytes(feature: &FeaturePlan) -> u64 {
    match feature.aggregate {
        _ if feature.by.is_some() => accumulator_bytes(feature),
        Aggregate::Count => 3,
        Aggregate::Sum if feature.input_type == ValueType::Int64 => 9,
        Aggregate::Sum => 17,
        Aggregate::Avg => 20,
        Aggregate::Min | Aggregate::Max | Aggregate::Last => 0,
        _ => accumulator_bytes(feature),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = &self.source;
        writeln!(f, "topology {}, fingerprint {}", self.topology, self.fingerprint)?;
        writeln!(f, "source: topic {}, partition field {}", source.topic, source.partition_field)?;
        writeln!(
            f,
            "  event time {}, lateness {}, grace {}, max_future {}; records to {} bytes, keys to {}",
            source.event_time,
            source.lateness,
            source.grace,
            source.max_future,
            source.max_record_bytes,
            source.max_key_bytes
        )?;
        writeln!(f, "\ncolumns read from each record")?;
        let columns = self.columns.iter().map(|column| {
            let used_by = if column.used_by.is_empty() { "only judged".into() } else { column.used_by.join(", ") };
            [column.name.clone(), column.ty.clone(), column.from.clone(), used_by]
        });
        table(f, columns)?;
        writeln!(f, "\nexpressions, each evaluated once a batch")?;
        let expressions = self.expressions.iter().map(|expr| {
            [
                expr.sql.clone(),
                format!("{} use{}", expr.used_by.len(), plural(expr.used_by.len())),
                expr.used_by.join(", "),
            ]
        });
        table(f, expressions)?;
        self.entities.iter().try_for_each(|entity| write!(f, "\n{entity}"))
    }
}

impl fmt::Display for EntityExplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "entity {}, key {}", self.name, self.key.join(", "))?;
        writeln!(f, "  online {} (empty for {}, then gone)", self.online_key, self.empty_ttl)?;
        writeln!(f, "  history {}", self.history.as_deref().unwrap_or("off"))?;
        writeln!(f, "  features (accumulator bytes, estimated)")?;
        let features = self.features.iter().map(|feature| {
            let condition = feature.filter.as_ref().map(|sql| format!("where {sql}"));
            let condition = condition.into_iter().chain(max_age_text(&feature.max_age)).collect::<Vec<_>>().join(", ");
            let bytes = format!("{} B", feature.accumulator_bytes);
            let (name, value) = (feature.name.clone(), feature.value.clone());
            [name, value, feature.window.clone(), feature.ty.clone(), bytes, condition]
        });
        table(f, features)?;
        if !self.derived.is_empty() {
            writeln!(f, "  derived from them")?;
        }
        table(f, self.derived.iter().map(|one| [one.name.clone(), one.ty.clone(), on_text(one), one.sql.clone()]))?;
        if let Some(after) = &self.forget_after {
            writeln!(f, "  emptied {after} after its largest event time")?;
        }
        if !self.tiles.is_empty() {
            writeln!(f, "  tiles, one queue for each size and slide")?;
        }
        let tiles = self.tiles.iter().map(|tiles| {
            let size = match tiles.bytes_per_tile {
                0 => "kept in the head".to_string(),
                bytes => format!("at most {} of {bytes} B", tiles.tiles_at_most),
            };
            [tiles.window.clone(), size, tiles.features.join(", ")]
        });
        table(f, tiles)?;
        let bytes = &self.state_bytes;
        writeln!(f, "  timers: at most {} pending", self.timers_at_most)?;
        writeln!(
            f,
            "  state of an entity: about {} B head, at most {} B of tiles and {} B of timers, {} B in all",
            bytes.head, bytes.tiles_at_most, bytes.timers_at_most, bytes.total_at_most
        )?;
        writeln!(f, "  rows per event: at most {} ({})", self.rows_per_event_at_most, self.rows_per_event)
    }
}

fn max_age_text(max_age: &Option<String>) -> Option<String> {
    max_age.as_ref().map(|age| format!("read up to an age of {age}"))
}

/// `on read, read up to an age of 1h`.
fn on_text(derived: &DerivedExplained) -> String {
    let on = Some(format!("on {}", derived.on));
    on.into_iter().chain(max_age_text(&derived.max_age)).collect::<Vec<_>>().join(", ")
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Lines of cells, aligned, the last cell free.
fn table<const N: usize>(f: &mut fmt::Formatter<'_>, rows: impl Iterator<Item = [String; N]>) -> fmt::Result {
    let rows: Vec<[String; N]> = rows.collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in &rows {
        let cells: Vec<String> = (0..N).map(|column| format!("{:<1$}", row[column], widths[column])).collect();
        writeln!(f, "    {}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
