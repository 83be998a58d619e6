//! The same join as SQL, for the engine of a lake that outgrew one machine.
//!
//! Always holds: what the statement gives is what `kappa training-data` gives, column by column, but for values that only
//! Kappa computes: what is derived `on: read`, and decayed maps, are refused by name. The tables are named at the
//! versions that were asked for as far as the engine can read an old version. Labels are numbered as the engine reads
//! them; order the answer by that number.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::ask::{self, Ask, EntityAsk, INCOMPLETE, POSITION, Wanted};
use super::manifest::{Manifest, Table};
use super::output::Marks;
use super::{Question, Rule};
use crate::error::{Error, Result};
use crate::lake::Format;
use crate::time::Millis;
use crate::topology::{EntityPlan, OutputType, Plan};

/// What makes a row newer than another of the same entity, first things first.
const RANK: [&str; 3] = ["event_time", "partition", "ordinal"];

/// An engine's SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    DuckDb,
    Spark,
    BigQuery,
}

impl Dialect {
    fn name(self, name: &str) -> String {
        match self {
            Self::DuckDb => format!("\"{}\"", name.replace('"', "\"\"")),
            Self::Spark => format!("`{}`", name.replace('`', "``")),
            Self::BigQuery => format!("`{}`", name.replace('`', "\\`")),
        }
    }

    fn text(self, text: &str) -> String {
        match self {
            Self::BigQuery => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
            _ => format!("'{}'", text.replace('\'', "''")),
        }
    }

    /// A time as a moment in UTC, whatever the column is.
    fn moment(self, column: &str) -> String {
        match self {
            // What has no offset is UTC.
            Self::DuckDb => format!("CAST({column} AS TIMESTAMPTZ)"),
            _ => format!("CAST({column} AS TIMESTAMP)"),
        }
    }

    /// Milliseconds from one moment to another; finer parts of the later one are cut.
    fn millis_between(self, from: &str, to: &str) -> String {
        match self {
            Self::DuckDb => format!("(epoch_ms({to}) - epoch_ms({from}))"),
            Self::Spark => format!("(unix_millis({to}) - unix_millis({from}))"),
            Self::BigQuery => format!("(UNIX_MILLIS({to}) - UNIX_MILLIS({from}))"),
        }
    }

    fn earlier(self, moment: &str, millis: Millis) -> String {
        match self {
            Self::DuckDb => format!("{moment} - to_milliseconds({millis})"),
            Self::Spark => format!("timestampadd(MILLISECOND, -{millis}, {moment})"),
            Self::BigQuery => format!("TIMESTAMP_SUB({moment}, INTERVAL {millis} MILLISECOND)"),
        }
    }

    fn at_millis(self, millis: Millis) -> String {
        match self {
            Self::DuckDb => format!("make_timestamptz({})", millis.saturating_mul(1000)),
            Self::Spark => format!("timestamp_millis({millis})"),
            Self::BigQuery => format!("TIMESTAMP_MILLIS({millis})"),
        }
    }

    /// The history of an entity, as something to select from.
    fn history(self, offline_url: &str, table: &Table) -> String {
        let place = format!("{}/{}", offline_url.trim_end_matches('/'), table.path);
        let version = table.table_version.unwrap_or(0);
        match self {
            Self::DuckDb => format!("delta_scan({})", self.text(&place)),
            Self::Spark => format!("delta.{} VERSION AS OF {version}", self.name(&place)),
            Self::BigQuery => self.name(&table.path.replace('/', "_")),
        }
    }

    fn labels(self, place: &str, format: Format) -> String {
        match (self, format) {
            (Self::DuckDb, Format::Parquet) => format!("read_parquet({})", self.text(place)),
            (Self::DuckDb, Format::Csv) => format!("read_csv({}, header = true)", self.text(place)),
            (Self::DuckDb, Format::Delta) => format!("delta_scan({})", self.text(place)),
            (Self::Spark, Format::Parquet) => format!("parquet.{}", self.name(place)),
            (Self::Spark, Format::Csv) => format!("csv.{}", self.name(place)),
            (Self::Spark, Format::Delta) => format!("delta.{}", self.name(place)),
            (Self::BigQuery, _) => self.name("labels"),
        }
    }
}

/// The statement for a question over labels of these columns; the manifest says of which tables, and of how many of their
/// partitions' records.
///
/// # Errors
/// Configuration: the question; or a value that only Kappa computes.
pub fn as_sql(plan: &Plan, manifest: &Manifest, label_names: &[String], dialect: Dialect) -> Result<String> {
    let question = &manifest.question;
    let ask = ask::resolve(plan, question)?;
    let statement = Statement { plan, ask: &ask, question, manifest, dialect };
    statement.write(label_names)
}

struct Statement<'a> {
    plan: &'a Plan,
    ask: &'a Ask,
    question: &'a Question,
    manifest: &'a Manifest,
    dialect: Dialect,
}

impl Statement<'_> {
    fn write(&self, label_names: &[String]) -> Result<String> {
        let Self { dialect, manifest, .. } = self;
        let mut sql = self.heading();
        let from = dialect.labels(&manifest.labels.path, manifest.labels.format);
        let at = dialect.moment(&dialect.name(&self.question.timestamp));
        let order = if *dialect == Dialect::Spark { "ORDER BY monotonically_increasing_id()" } else { "" };
        let _ = write!(
            sql,
            "WITH labels AS (\n    SELECT *, {at} AS _at, ROW_NUMBER() OVER ({order}) AS _label\n    FROM {from}\n)"
        );
        for asked in &self.ask.entities {
            let table = manifest.table(&asked.name).filter(|table| table.table_version.is_some());
            let table = table.ok_or_else(|| {
                Error::configuration(format!("there is no history of {} yet: nothing to join with", asked.name))
            })?;
            sql += &self.found(asked, table);
        }
        sql += "\nSELECT\n";
        let mut columns: Vec<String> = label_names.iter().map(|name| format!("l.{}", dialect.name(name))).collect();
        for (entity, wanted) in &self.ask.columns {
            let asked = &self.ask.entities[*entity];
            columns.push(self.value(asked, &asked.wanted[*wanted])?);
        }
        if self.question.positions {
            let of = |asked: &EntityAsk| {
                let (entity, alias) = (asked.name.clone(), alias(dialect, asked));
                POSITION.map(|name| {
                    format!("{alias}.{} AS {}", dialect.name(name), dialect.name(&format!("{entity}__{name}")))
                })
            };
            columns.extend(self.ask.entities.iter().flat_map(of));
        }
        columns.push(self.incomplete());
        sql += &columns.iter().map(|column| format!("    {column}")).collect::<Vec<_>>().join(",\n");
        sql += "\nFROM labels AS l";
        for asked in &self.ask.entities {
            let alias = alias(dialect, asked);
            let _ = write!(sql, "\nLEFT JOIN {alias} ON {alias}._label = l._label");
        }
        sql += "\nORDER BY l._label;\n";
        Ok(sql)
    }

    /// What to know before it is run.
    fn heading(&self) -> String {
        let Manifest { version, topology, .. } = self.manifest;
        let mut text = format!("-- Labels with the features of {}, version {version}.\n", topology.name);
        match self.dialect {
            Dialect::DuckDb => {
                text += "-- Needs the delta extension (INSTALL delta; LOAD delta). It reads each table as it is now.\n";
                text += "SET TimeZone = 'UTC';\n";
            }
            Dialect::Spark => {
                text += "-- Needs delta-spark, and spark.sql.session.timeZone = UTC.\n";
            }
            Dialect::BigQuery => {
                text += "-- Needs the labels as a table `labels`, and each history as an external table of its Delta table:\n";
                for table in &self.manifest.tables {
                    let _ = writeln!(
                        text,
                        "--   {} of {}/{}",
                        self.dialect.name(&table.path.replace('/', "_")),
                        self.manifest.offline_url.trim_end_matches('/'),
                        table.path
                    );
                }
            }
        }
        text
    }

    /// The row of an entity that each label gets.
    fn found(&self, asked: &EntityAsk, table: &Table) -> String {
        let quoted = |name: &str| self.dialect.name(name);
        let read = asked.read.fields().iter().map(|field| field.name().as_str());
        let mut names: Vec<&str> = ["event_time", "partition"].into_iter().chain(read).collect();
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(*name));
        let columns: Vec<String> = names.iter().map(|name| format!("h.{}", quoted(name))).collect();
        let (columns, alias) = (columns.join(", "), alias(&self.dialect, asked));
        let keys = asked.key.iter().map(|part| format!("h.{} = l.{}", quoted(&part.field), quoted(&part.column)));
        let keys: Vec<String> = keys.collect();
        let from = self.dialect.history(&self.manifest.offline_url, table);
        let found = match self.dialect {
            Dialect::DuckDb => self.as_of(asked, &columns, &keys, &from),
            _ => self.ranked(&columns, keys, &from),
        };
        format!(",\n{alias} AS (\n{found}\n)")
    }

    /// The newest row by its rank, as a join as of a time: event times and known times of an entity never go back.
    fn as_of(&self, asked: &EntityAsk, columns: &str, keys: &[String], from: &str) -> String {
        let dialect = self.dialect;
        let Rule { strict, lookback, by_event_time } = self.question.rule;
        let (event_time, known_at) = (dialect.name("event_time"), dialect.name("known_at"));
        let at = if by_event_time { event_time.clone() } else { format!("greatest({event_time}, {known_at})") };
        let key = asked.key.iter().map(|part| dialect.name(&part.field)).collect::<Vec<_>>().join(", ");
        let order = RANK.map(|name| format!("{} DESC", dialect.name(name))).join(", ");
        let since = match lookback {
            Some(lookback) => format!("\n    WHERE h.{event_time} >= {}", dialect.earlier("l._at", lookback)),
            None => String::new(),
        };
        format!(
            "    SELECT l._label, {columns}\n    FROM labels AS l\n    ASOF JOIN (\n        SELECT *, {at} AS _at FROM \
             {from}\n        QUALIFY ROW_NUMBER() OVER (PARTITION BY {key}, {at} ORDER BY {order}) = 1\n    ) AS h\n        \
             ON {} AND l._at {} h._at{since}",
            keys.join(" AND "),
            if strict { ">" } else { ">=" }
        )
    }

    /// The newest row by its rank, among all that were there.
    fn ranked(&self, columns: &str, mut conditions: Vec<String>, from: &str) -> String {
        let dialect = self.dialect;
        let Rule { strict, lookback, by_event_time } = self.question.rule;
        let before = if strict { "<" } else { "<=" };
        let event_time = dialect.name("event_time");
        conditions.push(format!("h.{event_time} {before} l._at"));
        if !by_event_time {
            conditions.push(format!("h.{} {before} l._at", dialect.name("known_at")));
        }
        if let Some(lookback) = lookback {
            conditions.push(format!("h.{event_time} >= {}", dialect.earlier("l._at", lookback)));
        }
        let order = RANK.map(|name| format!("h.{} DESC", dialect.name(name))).join(", ");
        format!(
            "    SELECT * FROM (\n        SELECT l._label, {columns},\n            ROW_NUMBER() OVER (PARTITION BY l._label \
             ORDER BY {order}) AS _rank\n        FROM labels AS l\n        JOIN {from} AS h\n            ON {}\n    ) AS \
             ranked\n    WHERE _rank = 1",
            conditions.join("\n            AND ")
        )
    }

    fn value(&self, asked: &EntityAsk, wanted: &Wanted) -> Result<String> {
        let dialect = self.dialect;
        let (of, alias) = (&self.plan.entities[asked.entity], alias(&dialect, asked));
        let column = format!("{alias}.{}", dialect.name(&wanted.feature));
        let age = dialect.millis_between(&format!("{alias}.{}", dialect.name("event_time")), "l._at");
        let value = match wanted.computed {
            false => column,
            true => {
                let half_life = decays(of, wanted).ok_or_else(|| only_kappa(asked, wanted))?;
                // Doubles, said so: a literal with a point is a decimal in some engines, and its quotients are rounded.
                let double = if dialect == Dialect::BigQuery { "FLOAT64" } else { "DOUBLE" };
                format!("{column} * POWER(CAST(2 AS {double}), -CAST(GREATEST({age}, 0) AS {double}) / {half_life})")
            }
        };
        let value = match wanted.max_age {
            Some(most) => format!("CASE WHEN {age} <= {most} THEN {value} END"),
            None => value,
        };
        Ok(format!("{value} AS {}", dialect.name(&wanted.name)))
    }

    /// Whether rows may still come.
    fn incomplete(&self) -> String {
        let dialect = self.dialect;
        let later = if self.question.rule.strict { ">" } else { ">=" };
        let of = |asked: &EntityAsk| {
            let marks = self.manifest.table(&asked.name).map(Table::marks).unwrap_or_default();
            let keys = asked.key.iter().map(|part| format!("l.{} IS NOT NULL", dialect.name(&part.column)));
            let keys = keys.collect::<Vec<_>>().join(" AND ");
            format!("({keys} AND {})", self.is_open(&marks, asked, later))
        };
        let any = self.ask.entities.iter().map(of).collect::<Vec<_>>().join(" OR ");
        format!("({any}) AS {}", dialect.name(INCOMPLETE))
    }

    fn is_open(&self, marks: &Marks, asked: &EntityAsk, later: &str) -> String {
        let dialect = self.dialect;
        let than = |watermark: Option<Millis>| match watermark {
            Some(watermark) => format!("l._at {later} {}", dialect.at_millis(watermark)),
            None => "TRUE".to_string(),
        };
        let partition = format!("{}.{}", alias(&dialect, asked), dialect.name("partition"));
        let cases = marks.partitions().map(|(number, mark)| format!("WHEN {number} THEN {}", than(mark)));
        let cases: Vec<String> = cases.collect();
        match cases.is_empty() {
            true => than(None),
            false => format!("CASE {partition} {} ELSE {} END", cases.join(" "), than(marks.of(None))),
        }
    }
}

fn alias(dialect: &Dialect, asked: &EntityAsk) -> String {
    dialect.name(&format!("_{}", asked.name))
}

/// The half-life of a decayed double.
fn decays(of: &EntityPlan, wanted: &Wanted) -> Option<Millis> {
    let feature = of.features.get(wanted.place)?;
    match feature.output_type {
        OutputType::Map(_) => None,
        _ => feature.decays(),
    }
}

fn only_kappa(asked: &EntityAsk, wanted: &Wanted) -> Error {
    Error::configuration(format!(
        "{}:{} is computed by Kappa at the label's time and has no SQL of another engine: leave it out, and name what it is \
         computed from",
        asked.name, wanted.feature
    ))
}
