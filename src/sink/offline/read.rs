//! Reading the tables back: the history of an entity, SQL over a version's tables, and the newest progress.
//!
//! Always holds: a reader changes nothing, not even by making a directory; a table that does not exist yet is an empty
//! history and no progress.

use std::collections::{BTreeMap, HashMap};

use arrow::array::RecordBatch;
use deltalake::DeltaTable;
use deltalake::datafusion::common::{Column, DataFusionError, ScalarValue, TableReference};
use deltalake::datafusion::prelude::{DataFrame, Expr, SessionContext, lit};
use deltalake::delta_datafusion::DeltaSessionContext;
use futures::StreamExt;

use super::progress::{self, Progress};
use super::rows::day;
use super::schema::{self, DEAD_LETTERS, EVENT_DATE, KeyType, Kind, TableSpec};
use crate::config::OfflineSettings;
use crate::error::{Error, Result};
use crate::lake::{Place, TableAt, unavailable};
use crate::time::{MAX_EVENT_TIME, MIN_EVENT_TIME, Millis};
use crate::topology::Plan;

/// Which rows of one entity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The key's text, as in an online key: `u42`, `7`, `["u1",7]`.
    pub key: String,
    /// Only the newest so many.
    pub limit: Option<usize>,
    /// Event times from here on, in ms.
    pub from: Option<Millis>,
    /// Event times up to and with this one, in ms.
    pub to: Option<Millis>,
    /// The table as it was then; the newest state otherwise.
    pub at: Option<TableAt>,
}

/// The rows of one entity, all columns, by partition and ordinal.
///
/// Errors: configuration (no such entity, no history, a key of another form), unavailable.
pub async fn read_history(
    settings: &OfflineSettings,
    plan: &Plan,
    version: u32,
    entity: &str,
    query: &HistoryQuery,
) -> Result<Vec<RecordBatch>> {
    let spec = spec_of(plan, version, entity)?;
    let wanted = key_filter(&spec, &query.key)?;
    let place = Place::new(settings);
    let table = match query.at {
        Some(at) => place.load_at(&spec.path, at).await?,
        None => place.load(&spec.path).await?,
    };
    let Some(table) = table else { return Ok(vec![]) };
    let failed = |e| unavailable(table.table_url(), "read", &e);
    let session = session()?;
    register(&session, entity, &table).await?;
    let rows = session.table(quoted(entity)).await.map_err(failed)?;
    let rows = times(rows.filter(wanted).map_err(failed)?, query).map_err(failed)?;
    newest(rows, query.limit).map_err(failed)?.collect().await.map_err(failed)
}

/// Calls `each` with these columns of all rows of an entity's history, some rows at a time and in no order.
///
/// Errors: configuration (no such entity, no history), unavailable, and what `each` answers.
pub async fn sweep_history(
    settings: &OfflineSettings,
    plan: &Plan,
    version: u32,
    entity: &str,
    columns: &[&str],
    each: &mut dyn FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let spec = spec_of(plan, version, entity)?;
    let Some(table) = Place::new(settings).load(&spec.path).await? else { return Ok(()) };
    let failed = |e| unavailable(table.table_url(), "read", &e);
    let session = session()?;
    register(&session, entity, &table).await?;
    let rows = session.table(quoted(entity)).await.map_err(failed)?;
    let wanted: Vec<Expr> = columns.iter().map(|name| column(name)).collect();
    let mut rows = rows.select(wanted).map_err(failed)?.execute_stream().await.map_err(failed)?;
    while let Some(batch) = rows.next().await {
        each(batch.map_err(failed)?)?;
    }
    Ok(())
}

/// The answer of a SQL query over a version's tables, each under its entity's name, and `dead_letters`.
///
/// Errors: configuration, when the query is wrong or names a table that does not exist; unavailable.
pub async fn query(settings: &OfflineSettings, plan: &Plan, version: u32, sql: &str) -> Result<Vec<RecordBatch>> {
    let place = Place::new(settings);
    let session = session()?;
    for spec in schema::tables(plan, version)? {
        if let Some(table) = place.load(&spec.path).await? {
            register(&session, name_of(plan, &spec), &table).await?;
        }
    }
    let wrong = |e: DataFusionError| {
        let message = format!("the query `{sql}` over version {version} of {}: {e}", plan.topology);
        match e.find_root() {
            DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => Error::unavailable(message),
            _ => Error::configuration(message),
        }
    };
    session.sql(sql).await.map_err(wrong)?.collect().await.map_err(wrong)
}

/// Where the tasks stood at the newest commits to an entity's table; empty when there is none.
pub async fn read_progress(settings: &OfflineSettings, plan: &Plan, version: u32, entity: &str) -> Result<Progress> {
    match Place::new(settings).load(&spec_of(plan, version, entity)?.path).await? {
        Some(table) => progress::newest(&table).await,
        None => Ok(Progress::default()),
    }
}

pub(super) fn name_of<'a>(plan: &'a Plan, spec: &TableSpec) -> &'a str {
    match spec.kind {
        Kind::History { entity, .. } => &plan.entities[entity].name,
        Kind::DeadLetters => DEAD_LETTERS,
        Kind::RawLog => &plan.source.topic,
    }
}

fn spec_of(plan: &Plan, version: u32, entity: &str) -> Result<TableSpec> {
    let specs = schema::tables(plan, version)?;
    specs.into_iter().find(|spec| name_of(plan, spec) == entity && spec.kind != Kind::DeadLetters).ok_or_else(|| {
        let names: Vec<_> = plan.entities.iter().filter(|e| e.history).map(|e| e.name.as_str()).collect();
        Error::configuration(format!(
            "topology {} keeps no history of an entity `{entity}`; it does of: {}",
            plan.topology,
            names.join(", ")
        ))
    })
}

/// Text columns come back as plain Utf8, and filters go down to the Parquet pages.
fn session() -> Result<SessionContext> {
    let settings = HashMap::from([
        ("datafusion.execution.parquet.schema_force_view_types".to_string(), "false".to_string()),
        ("datafusion.execution.parquet.pushdown_filters".to_string(), "true".to_string()),
    ]);
    let session = DeltaSessionContext::new_with_session_overrides(&settings);
    Ok(session.map_err(|e| Error::internal(format!("no query session: {e}")))?.into_inner())
}

async fn register(session: &SessionContext, name: &str, table: &DeltaTable) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| unavailable(table.table_url(), "read", e);
    table.update_datafusion_session(&session.state()).map_err(|e| failed(&e))?;
    let provider = table.table_provider().await.map_err(|e| failed(&e))?;
    session.register_table(quoted(name), provider).map_err(|e| failed(&e))?;
    Ok(())
}

/// A name as it stands, whatever its case.
fn quoted(name: &str) -> TableReference {
    TableReference::bare(name.to_string())
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

/// One comparison a key field.
fn key_filter(spec: &TableSpec, text: &str) -> Result<Expr> {
    let Kind::History { key, .. } = &spec.kind else {
        return Err(Error::internal(format!("{} has no key", spec.path)));
    };
    let names: Vec<&str> = spec.columns.fields().iter().take(key.len()).map(|field| field.name().as_str()).collect();
    let wrong = || {
        let form = if key.len() == 1 { "a number" } else { "a JSON list like [\"u1\",7], one value a key field" };
        Error::configuration(format!("`{text}` is not a key of ({}): give {form}", names.join(", ")))
    };
    let values: Vec<serde_json::Value> = match key.as_slice() {
        [KeyType::String] => vec![text.into()],
        [KeyType::Int64] => vec![text.parse::<i64>().map_err(|_| wrong())?.into()],
        _ => serde_json::from_str(text).map_err(|_| wrong())?,
    };
    if values.len() != key.len() {
        return Err(wrong());
    }
    let mut filter = lit(true);
    for ((name, ty), value) in names.iter().zip(key).zip(&values) {
        let value = match ty {
            KeyType::String => lit(value.as_str().ok_or_else(wrong)?),
            KeyType::Int64 => lit(value.as_i64().ok_or_else(wrong)?),
        };
        filter = filter.and(column(name).eq(value));
    }
    Ok(filter)
}

type Framed = deltalake::datafusion::common::Result<DataFrame>;

/// Event times in the wanted range; whole files fall away by their date.
fn times(mut rows: DataFrame, query: &HistoryQuery) -> Framed {
    let time = |millis: Millis| {
        Expr::Literal(ScalarValue::TimestampMicrosecond(Some(millis * 1000), Some("UTC".into())), None)
    };
    let date = |millis: Millis| Expr::Literal(ScalarValue::Date32(Some(day(millis))), None);
    let possible = |millis: Millis| millis.clamp(MIN_EVENT_TIME, MAX_EVENT_TIME);
    if let Some(from) = query.from.map(possible) {
        rows = rows.filter(column("event_time").gt_eq(time(from)).and(column(EVENT_DATE).gt_eq(date(from))))?;
    }
    if let Some(to) = query.to.map(possible) {
        rows = rows.filter(column("event_time").lt_eq(time(to)).and(column(EVENT_DATE).lt_eq(date(to))))?;
    }
    Ok(rows)
}

/// The newest so many by (partition, ordinal), oldest first.
fn newest(rows: DataFrame, limit: Option<usize>) -> Framed {
    let order = |ascending| ["partition", "ordinal"].map(|name| column(name).sort(ascending, false)).to_vec();
    match limit {
        Some(limit) => rows.sort(order(false))?.limit(0, Some(limit))?.sort(order(true)),
        None => rows.sort(order(true)),
    }
}

/// The tables of a version that exist, by name, with their versions: for status.
pub async fn table_versions(settings: &OfflineSettings, plan: &Plan, version: u32) -> Result<BTreeMap<String, u64>> {
    let place = Place::new(settings);
    let mut found = BTreeMap::new();
    for spec in schema::tables(plan, version)? {
        if let Some(table) = place.load(&spec.path).await? {
            found.insert(name_of(plan, &spec).to_string(), table.version().unwrap_or(0));
        }
    }
    Ok(found)
}
