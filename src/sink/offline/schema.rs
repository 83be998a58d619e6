//! What the tables look like: names, places, columns, types and table properties.
//!
//! Always holds: one table an entity with history and one for dead letters, each at `{url}/{topology}/{name}/v{version}`,
//! and one for the raw log of a topic, at `{url}/{topic}` of the archive; the files hold every column but the last, the
//! partition column: a date, or the Kafka partition. Nothing beyond Delta's basic
//! protocol (reader 1, writer 2): no deletion vectors, no column mapping, no feature that a reader might lack.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::{ArrayType, DataType as DeltaType, MapType, StructField};

use crate::error::{Error, Result};
use crate::lake::{PARTITION, STATS_COLUMNS, TOPIC_ID, stored_columns};
use crate::topology::{EntityPlan, FieldType, Plan};

/// The name of the dead letters' table, beside the entities' names.
pub const DEAD_LETTERS: &str = "dead_letters";
/// The columns of a history table between the key and the features with what is derived from them.
pub const HISTORY_COLUMNS: [&str; 7] =
    ["event_time", "known_at", "partition", "offset", "sequence", "ordinal", "version"];
/// The partition column of a history table: the UTC date of `event_time`.
pub const EVENT_DATE: &str = "event_date";
/// The partition column of the dead letters: the UTC date of `kafka_time`, or 1970-01-01.
pub const DEAD_DATE: &str = "dead_date";
/// The table property that names the logic which wrote the table.
pub const FINGERPRINT: &str = "kappa.fingerprint";

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Feature rows of the entity of this index in the plan.
    History {
        entity: usize,
        key: Vec<KeyType>,
    },
    DeadLetters,
    /// The records of a topic as they lie in Kafka.
    RawLog,
}

/// The type of a key column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    String,
    Int64,
}

/// One table: where it is and what it holds.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// `{topology}/{name}/v{version}`, or the topic: its place below the url, and the beginning of its appIds.
    pub path: String,
    pub kind: Kind,
    pub version: u32,
    /// The columns of its files: all but the partition column, all in the table's order.
    pub columns: SchemaRef,
    /// The partition column.
    pub partition_column: &'static str,
    /// How many leading columns have minimum and maximum in the log.
    pub stats_columns: usize,
    /// Of the logic that writes it; of a raw log the topic's id, empty where the brokers do not tell it.
    pub fingerprint: String,
}

impl TableSpec {
    /// The appId of a task in this table.
    pub fn app_id(&self, partition: i32) -> String {
        format!("{}/{partition}", self.path)
    }

    /// How many leading columns are the entity's key.
    pub fn key_columns(&self) -> usize {
        match &self.kind {
            Kind::History { key, .. } => key.len(),
            Kind::DeadLetters | Kind::RawLog => 0,
        }
    }

    /// The property with [`Self::fingerprint`].
    pub fn identity(&self) -> &'static str {
        if self.kind == Kind::RawLog { TOPIC_ID } else { FINGERPRINT }
    }

    /// What to do about a table that is not this one.
    pub fn remedy(&self) -> &'static str {
        match self.kind {
            Kind::RawLog => "give another archive.url, where a new archive begins with what the log has",
            _ => "start a new version (--replay-from 0 --again), or give another offline.url",
        }
    }

    /// The columns as Delta declares them, the partition column last.
    ///
    /// # Errors
    /// Internal: a column has a type that Delta has not, which no table has.
    pub fn delta_fields(&self) -> Result<Vec<StructField>> {
        let ty = if self.kind == Kind::RawLog { DeltaType::INTEGER } else { DeltaType::DATE };
        let partition = StructField::nullable(self.partition_column, ty);
        self.columns.fields().iter().map(|field| delta_field(field)).chain([Ok(partition)]).collect()
    }

    /// Table properties: statistics only where they prune, a checkpoint every 100 commits, and a log that only Kappa
    /// trims, which knows of manifests.
    pub fn properties(&self) -> [(String, Option<String>); 4] {
        [
            ("delta.enableExpiredLogCleanup".into(), Some("false".into())),
            ("delta.checkpointInterval".into(), Some(super::table::CHECKPOINT_INTERVAL.to_string())),
            ("delta.dataSkippingNumIndexedCols".into(), Some(self.stats_columns.to_string())),
            (self.identity().into(), (!self.fingerprint.is_empty()).then(|| self.fingerprint.clone())),
        ]
    }
}

/// The tables of a version: the entities with history in the topology's order, then the dead letters.
///
/// Errors: two columns of one table whose names differ by no more than case, or a name that Parquet readers refuse.
pub fn tables(plan: &Plan, version: u32) -> Result<Vec<TableSpec>> {
    let histories = plan.entities.iter().enumerate().filter(|(_, entity)| entity.history);
    let mut specs = histories.map(|(index, _)| history(plan, index, version)).collect::<Result<Vec<_>>>()?;
    specs.push(dead_letters(plan, version));
    Ok(specs)
}

/// The history table of the entity of this index.
pub fn history(plan: &Plan, index: usize, version: u32) -> Result<TableSpec> {
    let entity = &plan.entities[index];
    if entity.name == DEAD_LETTERS {
        return Err(Error::configuration(format!(
            "entity `{DEAD_LETTERS}` takes the name of the dead letters' table: rename it, or give it `history: off`"
        )));
    }
    let key: Vec<KeyType> = entity.key.iter().map(|&field| key_type(plan.source.fields[field].ty)).collect();
    let columns = history_columns(plan, entity, &key);
    check_names(entity, &columns)?;
    Ok(TableSpec {
        path: format!("{}/{}/v{version}", plan.topology, entity.name),
        stats_columns: key.len() + HISTORY_COLUMNS.len() - 1,
        kind: Kind::History { entity: index, key },
        version,
        columns: Arc::new(Schema::new(columns)),
        partition_column: EVENT_DATE,
        fingerprint: plan.fingerprint.clone(),
    })
}

/// The table of a topic's raw log.
pub fn raw_log(topic: &str, topic_id: Option<&str>) -> TableSpec {
    TableSpec {
        path: topic.into(),
        kind: Kind::RawLog,
        version: 0,
        columns: stored_columns(),
        partition_column: PARTITION,
        stats_columns: STATS_COLUMNS,
        fingerprint: topic_id.unwrap_or_default().into(),
    }
}

fn dead_letters(plan: &Plan, version: u32) -> TableSpec {
    let columns = vec![
        Field::new("ordinal", DataType::Int64, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("kafka_time", timestamp(), true),
        Field::new("class", DataType::Utf8, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
    ];
    TableSpec {
        path: format!("{}/{DEAD_LETTERS}/v{version}", plan.topology),
        kind: Kind::DeadLetters,
        version,
        columns: Arc::new(Schema::new(columns)),
        partition_column: DEAD_DATE,
        stats_columns: 4,
        fingerprint: plan.fingerprint.clone(),
    }
}

fn history_columns(plan: &Plan, entity: &EntityPlan, key: &[KeyType]) -> Vec<Field> {
    let key_column = |(&field, ty): (&usize, &KeyType)| {
        let data_type = if *ty == KeyType::String { DataType::Utf8 } else { DataType::Int64 };
        Field::new(&plan.source.fields[field].name, data_type, false)
    };
    let types =
        [timestamp(), timestamp(), DataType::Int32, DataType::Int64, DataType::Int32, DataType::Int64, DataType::Int32];
    let fixed = HISTORY_COLUMNS.iter().zip(types).map(|(name, data_type)| Field::new(*name, data_type, false));
    let values = entity.columns().map(|(name, ty)| Field::new(name, stored(&ty.data_type()), true));
    entity.key.iter().zip(key).map(key_column).chain(fixed).chain(values).collect()
}

/// Readers compare names without case, and Parquet readers refuse these characters without column mapping.
fn check_names(entity: &EntityPlan, columns: &[Field]) -> Result<()> {
    let mut seen = BTreeSet::from([EVENT_DATE.to_string()]);
    for name in columns.iter().map(|column| column.name()) {
        let problem = if !seen.insert(name.to_lowercase()) {
            "is the name of two columns (case does not count)"
        } else if name.is_empty() || name.contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '=']) {
            "has a character that Delta tables do not allow in a column's name"
        } else {
            continue;
        };
        return Err(Error::configuration(format!(
            "entity `{}`: `{name}` {problem} in its history table: rename the field or feature, or say `history: off`; \
             taken names: the key fields, {}, {EVENT_DATE}",
            entity.name,
            HISTORY_COLUMNS.join(", "),
        )));
    }
    Ok(())
}

fn key_type(ty: FieldType) -> KeyType {
    match ty {
        FieldType::Int64 => KeyType::Int64,
        // The plan holds no key of another type.
        _ => KeyType::String,
    }
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The type in the files of an epoch's column: times in microseconds; in lists and maps Delta's own names, and nullable
/// all but a map's keys, because some readers know nothing else there.
pub(super) fn stored(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(..) => timestamp(),
        DataType::List(item) => DataType::List(Arc::new(Field::new("element", stored(item.data_type()), true))),
        DataType::Struct(fields) => {
            let nullable = |field: &Arc<Field>| Field::new(field.name(), stored(field.data_type()), true);
            DataType::Struct(fields.iter().map(nullable).collect())
        }
        DataType::Map(entry, _) => match entry.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                let key = Field::new("key", fields[0].data_type().clone(), false);
                let value = Field::new("value", stored(fields[1].data_type()), true);
                let entry = Field::new("key_value", DataType::Struct(vec![key, value].into()), false);
                DataType::Map(Arc::new(entry), false)
            }
            _ => data_type.clone(),
        },
        other => other.clone(),
    }
}

fn delta_field(field: &Field) -> Result<StructField> {
    Ok(StructField::new(field.name(), delta_type(field.data_type())?, field.is_nullable()))
}

fn delta_type(data_type: &DataType) -> Result<DeltaType> {
    let unknown = |e: &dyn std::fmt::Display| Error::internal(format!("{data_type} is no type of a Delta table: {e}"));
    Ok(match data_type {
        DataType::Int64 => DeltaType::LONG,
        DataType::Int32 => DeltaType::INTEGER,
        DataType::Float64 => DeltaType::DOUBLE,
        DataType::Boolean => DeltaType::BOOLEAN,
        DataType::Timestamp(..) => DeltaType::TIMESTAMP,
        DataType::Binary => DeltaType::BINARY,
        DataType::Utf8 => DeltaType::STRING,
        DataType::Decimal128(precision, scale) => {
            let scale = u8::try_from(*scale).map_err(|e| unknown(&e))?;
            DeltaType::decimal(*precision, scale).map_err(|e| unknown(&e))?
        }
        DataType::List(item) => ArrayType::new(delta_type(item.data_type())?, item.is_nullable()).into(),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| delta_field(field)).collect::<Result<Vec<_>>>()?;
            DeltaType::try_struct_type(fields).map_err(|e| unknown(&e))?
        }
        DataType::Map(entry, _) => match entry.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                let (key, value) = (delta_type(fields[0].data_type())?, delta_type(fields[1].data_type())?);
                MapType::new(key, value, fields[1].is_nullable()).into()
            }
            _ => return Err(unknown(&"its entries are not pairs")),
        },
        _ => return Err(unknown(&"nothing of an epoch has it")),
    })
}
