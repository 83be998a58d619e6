//! What the history and the online store say of the entity. A store that does not answer is noted, and no more.

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};

use super::Question;
use crate::cli::{block_on, history, open};
use crate::config::{OfflineKind, OnlineKind, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Versions;
use crate::sink::offline::{self, HistoryQuery};
use crate::sink::online::text::{EVENT_TIME_FIELD, POSITION_FIELD};
use crate::sink::online::{OnlineHash, Position};
use crate::task::Moment;
use crate::time::Millis;
use crate::topology::{OutputType, ValueType};

/// What the stores say; `Err` says why one was not asked.
pub struct Stored {
    pub version: Option<u32>,
    /// `None`: there is no row up to the time that is asked for.
    pub history: Result<Option<Row>, String>,
    /// `None`: nothing is stored.
    pub online: Result<Option<Online>, String>,
    pub notes: Vec<String>,
}

/// A row of the history.
pub struct Row {
    pub moment: Moment,
    pub partition: i32,
    /// The value of the feature, one row; `None` where rows do not have it.
    pub value: Option<ArrayRef>,
}

/// The entity as the online store has it.
pub struct Online {
    pub moment: Moment,
    pub partition: Option<i32>,
    /// The feature's; `None` when the field is absent.
    pub value: Option<String>,
}

impl Stored {
    /// Asks both stores: the history for the last row up to `to`, the online store for what it has now.
    ///
    /// # Errors
    /// Internal alone: everything else is a note.
    pub fn look(settings: &Settings, question: &Question, version: Option<u32>, to: Option<Millis>) -> Result<Self> {
        let mut notes = Vec::new();
        let version = match version {
            Some(version) => Some(version),
            None => history::live_version(settings, &question.plan).unwrap_or_else(|error| {
                notes.push(error.to_string());
                None
            }),
        };
        let versions = Versions::open(&settings.data_dir, &question.plan.topology).ok();
        let known = version.and_then(|number| versions.as_ref()?.get(number));
        if let Some(version) = known.filter(|version| version.fingerprint != question.plan.fingerprint) {
            notes.push(format!(
                "version {} was written by other logic (fingerprint {}, the topology's is {}): its values may differ",
                version.number, version.fingerprint, question.plan.fingerprint
            ));
        }
        let history = match (settings.offline.store, version) {
            (OfflineKind::None, _) => Err("`offline.store` is none".to_string()),
            _ if !question.entity().history => Err(format!("{} has `history: off`", question.entity().name)),
            (_, None) => Err(format!("no version is live in `{}`", settings.data_dir.display())),
            (_, Some(version)) => noted(row(settings, question, version, to))?,
        };
        let online = match settings.online.store {
            OnlineKind::None => Err("`online.store` is none".to_string()),
            _ => noted(online(settings, question))?,
        };
        Ok(Self { version, history, online, notes })
    }

    /// The partition that the entity's key is in, when a store tells.
    pub fn partition(&self) -> Option<i32> {
        self.row().map(|row| row.partition).or_else(|| self.hash()?.partition)
    }

    /// The newest event time that a store has.
    pub fn newest(&self) -> Option<Millis> {
        let of_history = self.row().map(|row| row.moment.at);
        of_history.into_iter().chain(self.hash().map(|online| online.moment.at)).max()
    }

    fn row(&self) -> Option<&Row> {
        self.history.as_ref().ok()?.as_ref()
    }

    fn hash(&self) -> Option<&Online> {
        self.online.as_ref().ok()?.as_ref()
    }
}

/// An answer, or why there is none.
fn noted<T>(answer: Result<T>) -> Result<Result<T, String>> {
    match answer {
        Err(error) if error.kind() == ErrorKind::Internal => Err(error),
        answer => Ok(answer.map_err(|error| error.to_string())),
    }
}

fn row(settings: &Settings, question: &Question, version: u32, to: Option<Millis>) -> Result<Option<Row>> {
    let query = HistoryQuery { key: question.id.clone(), limit: Some(1), to, ..HistoryQuery::default() };
    let read = offline::read_history(&settings.offline, &question.plan, version, &question.entity().name, &query);
    let batches = block_on(read)?;
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
    let time = as_type(batch, "event_time", &OutputType::Scalar(ValueType::Timestamp))?;
    let value = question.is_stored().then(|| as_type(batch, question.name(), question.output_type()));
    Ok(Some(Row {
        moment: Moment {
            at: time.as_primitive::<TimestampMillisecondType>().value(0),
            through: column(batch, "offset")?.as_primitive::<Int64Type>().value(0),
        },
        partition: column(batch, "partition")?.as_primitive::<Int32Type>().value(0),
        value: value.transpose()?,
    }))
}

fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let missing = || {
        Error::configuration(format!(
            "the history has no column `{name}`: it was written by other logic; name its version with --version"
        ))
    };
    Ok(batch.column_by_name(name).ok_or_else(missing)?.slice(0, 1))
}

/// A column in the engine's own type: the history's timestamps are finer.
fn as_type(batch: &RecordBatch, name: &str, ty: &OutputType) -> Result<ArrayRef> {
    let column = column(batch, name)?;
    cast(&column, &ty.data_type()).map_err(|error| {
        Error::configuration(format!("the history's `{name}` is no {ty}: it was written by other logic ({error})"))
    })
}

fn online(settings: &Settings, question: &Question) -> Result<Option<Online>> {
    let key = question.entity().online_key.replacen("{id}", &question.id, 1);
    let store = open::online_to_read(settings, &question.plan)?;
    let hash = block_on(async { store.get(&key).await })?;
    let of = |hash: OnlineHash| {
        let position = hash.get(POSITION_FIELD).and_then(|text| text.parse::<Position>().ok());
        // What was refreshed may hold records that came after its row and changed nothing then.
        let through = position.filter(|position| position.refresh.is_none()).map_or(i64::MAX, |row| row.offset);
        Some(Online {
            moment: Moment { at: hash.get(EVENT_TIME_FIELD)?.parse().ok()?, through },
            partition: position.map(|position| position.partition),
            value: hash.get(question.name()).cloned(),
        })
    };
    Ok(hash.and_then(of))
}
