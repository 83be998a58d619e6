//! A training set from end to end: labels in rounds, each joined with every entity's history, written in order.
//!
//! Always holds: how many rounds there are shows in nothing but time. Nothing stands at the file's place before all of
//! it is written, and a refusal leaves what stood there.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::ask::{self, Ask};
use super::join::{Wanted, join};
use super::keys::{KeyColumns, KeyIndex};
use super::labels::{self, Rebatched};
use super::manifest::{Manifest, Rebuilt, Table};
use super::output::{self, Answered, Marks, Slice};
use super::sql::{Dialect, as_sql};
use super::{Question, join::Watch};
use crate::config::OfflineSettings;
use crate::error::{Error, Result};
use crate::lake::{BATCH_ROWS, Labels, Place, TrainingFile};
use crate::sink::offline::{self, HistoryTable};
use crate::time::{Millis, Span};
use crate::topology::Plan;

/// Bytes that a label takes while it waits for its row, for each entity: key, time, slot, rank, place.
const BYTES_PER_LABEL: usize = 112;
/// Bytes of one value, about: while it is held, and while it is put in its place.
const BYTES_PER_VALUE: usize = 24;

/// A training set to be made.
#[derive(Debug, Clone)]
pub struct Job {
    pub plan: Plan,
    pub version: u32,
    pub question: Question,
    /// A file, or the place of a table.
    pub labels: String,
    pub out: PathBuf,
    /// Bytes that a round of labels may take, about.
    pub memory: usize,
    /// What it is a rebuild of.
    pub rebuild: Option<Manifest>,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Report {
    pub manifest: Manifest,
    /// Where the manifest stands.
    pub manifest_path: PathBuf,
    pub labels: u64,
    /// Labels whose answer may still change.
    pub incomplete: u64,
    pub entities: Vec<EntityReport>,
}

/// What was made of one entity's history.
#[derive(Debug, Clone, Default)]
pub struct EntityReport {
    pub entity: String,
    /// Labels that have a row.
    pub found: u64,
    /// Labels before which newer rows happened that were known only long after; and how long after, at most, in ms.
    pub passed_over: u64,
    pub known_after: Millis,
}

/// Makes a training set.
///
/// # Errors
/// Configuration: the question or the labels. Refused: incomplete labels where none may be; a table or labels that are
/// not those of the manifest; a rebuilt file that is another one. Unavailable, stopped: the tables or the disk.
pub async fn train(job: &Job, settings: &OfflineSettings, watch: Watch<'_>) -> Result<Report> {
    let ask = ask::resolve(&job.plan, &job.question)?;
    let columns = ask::label_columns(&job.plan, &job.question)?;
    let at = job.rebuild.as_ref().and_then(|manifest| manifest.labels.table_version);
    let labels = Labels::open(&job.labels, Place::of_labels(&job.labels, settings), &columns, at).await?;
    if let Some(manifest) = &job.rebuild {
        manifest.check_labels(&labels)?;
    }
    let schema = ask.schema(labels.schema(), &job.question)?;
    let mut manifest = Manifest::new(&job.plan, job.version, &job.question, &settings.url, &labels);
    let histories = open(job, settings, &ask, &mut manifest).await?;
    let marks = manifest.tables.iter().map(Table::marks).collect();
    let mut work = Work::new(job, ask, schema, histories, marks)?;
    let mut labels = Rebatched::new(labels);
    while let Some(round) = work.gather(&mut labels).await? {
        work.join(round, watch).await?;
    }
    work.finish(manifest)
}

/// The same join as SQL of another engine, over the same labels and tables.
///
/// # Errors
/// As [`train`], and a value that only Kappa computes.
pub async fn statement(job: &Job, settings: &OfflineSettings, dialect: Dialect) -> Result<String> {
    let ask = ask::resolve(&job.plan, &job.question)?;
    let columns = ask::label_columns(&job.plan, &job.question)?;
    let labels = Labels::open(&job.labels, Place::of_labels(&job.labels, settings), &columns, None).await?;
    ask.schema(labels.schema(), &job.question)?;
    let mut manifest = Manifest::new(&job.plan, job.version, &job.question, &settings.url, &labels);
    open(job, settings, &ask, &mut manifest).await?;
    let names: Vec<String> = labels.schema().fields().iter().map(|field| field.name().clone()).collect();
    as_sql(&job.plan, &manifest, &names, dialect)
}

/// The histories of the entities, as they are now or as the manifest has them, which learns of them.
async fn open(
    job: &Job,
    settings: &OfflineSettings,
    ask: &Ask,
    manifest: &mut Manifest,
) -> Result<Vec<Option<Arc<HistoryTable>>>> {
    let mut histories = Vec::new();
    for asked in &ask.entities {
        let before = job.rebuild.as_ref().map(|manifest| manifest.table(&asked.name).cloned());
        let at = before.as_ref().and_then(|table| table.as_ref()?.table_version);
        let was_missing = before.is_some() && at.is_none();
        let history = match was_missing {
            true => None,
            false => HistoryTable::open(settings, &job.plan, asked.entity, job.version, at).await?,
        };
        let path = format!("{}/{}/v{}", job.plan.topology, asked.name, job.version);
        if history.is_none() && !was_missing {
            missing(job, settings, &asked.name).await?;
        }
        manifest.tables.push(before.flatten().unwrap_or_else(|| Table::of(&asked.name, &path, history.as_ref())));
        histories.push(history.map(Arc::new));
    }
    Ok(histories)
}

/// A history that is not there: of a version that has no table at all, that is a mistake.
async fn missing(job: &Job, settings: &OfflineSettings, entity: &str) -> Result<()> {
    let tables = offline::table_versions(settings, &job.plan, job.version).await?;
    if !tables.is_empty() && job.rebuild.is_none() {
        return Ok(());
    }
    Err(Error::configuration(format!(
        "there is no history of {}'s {entity} in version {} at offline.url `{}`: name the place with --offline-url, or \
         another --version (kappa versions lists them)",
        job.plan.topology, job.version, settings.url
    )))
}

/// Labels that are joined together.
struct Round {
    batches: Vec<RecordBatch>,
    /// In microseconds.
    times: Vec<i64>,
    /// By entity: the numbers of the labels' keys.
    keys: Vec<(Vec<u32>, KeyIndex)>,
}

impl Round {
    fn memory(&self, per_label: usize) -> usize {
        let labels: usize = self.batches.iter().map(RecordBatch::get_array_memory_size).sum();
        let keys: usize = self.keys.iter().map(|(_, index)| index.memory()).sum();
        labels + keys + self.times.len() * per_label
    }
}

/// The work on one training set.
struct Work<'a> {
    job: &'a Job,
    ask: Ask,
    schema: SchemaRef,
    histories: Vec<Option<Arc<HistoryTable>>>,
    marks: Vec<Marks>,
    file: TrainingFile,
    /// Labels read so far.
    read: u64,
    incomplete: u64,
    entities: Vec<EntityReport>,
}

impl<'a> Work<'a> {
    fn new(
        job: &'a Job,
        ask: Ask,
        schema: SchemaRef,
        histories: Vec<Option<Arc<HistoryTable>>>,
        marks: Vec<Marks>,
    ) -> Result<Self> {
        let report = |asked: &ask::EntityAsk| EntityReport { entity: asked.name.clone(), ..EntityReport::default() };
        let entities = ask.entities.iter().map(report).collect();
        let file = TrainingFile::create(&job.out, &schema)?;
        Ok(Self { job, ask, schema, histories, marks, file, read: 0, incomplete: 0, entities })
    }

    /// As many labels as fit into memory, and at least one batch; `None` when there are no more.
    async fn gather(&mut self, labels: &mut Rebatched) -> Result<Option<Round>> {
        let entities = self.ask.entities.len();
        let per_label = entities * BYTES_PER_LABEL + self.ask.columns.len() * BYTES_PER_VALUE;
        let keys = (0..entities).map(|_| (Vec::new(), KeyIndex::default())).collect();
        let mut round = Round { batches: Vec::new(), times: Vec::new(), keys };
        while round.memory(per_label) < self.job.memory {
            let Some(batch) = labels.next().await? else { break };
            self.add(&mut round, batch)?;
        }
        Ok((!round.batches.is_empty()).then_some(round))
    }

    fn add(&mut self, round: &mut Round, batch: RecordBatch) -> Result<()> {
        let (mut columns, schema) = (batch.columns().to_vec(), batch.schema());
        for (asked, (numbers, index)) in self.ask.entities.iter().zip(&mut round.keys) {
            let columns = labels::keys(&batch, &asked.key)?;
            let keys = KeyColumns::new(&columns)?;
            let mut scratch = Vec::new();
            numbers.extend((0..batch.num_rows()).map(|row| index.add(&keys, row, &mut scratch)));
        }
        let timestamp = &self.job.question.timestamp;
        let at = schema.index_of(timestamp).map_err(|error| Error::internal(error.to_string()))?;
        let (times, column) = labels::times(&columns[at], timestamp, self.read)?;
        columns[at] = column;
        self.read += times.len() as u64;
        round.times.extend(times);
        let fields = self.schema.fields().iter().take(columns.len()).cloned().collect::<Vec<_>>();
        let batch = RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns);
        round.batches.push(batch.map_err(|error| Error::internal(format!("labels do not fit together: {error}")))?);
        Ok(())
    }

    /// Joins a round and writes it.
    async fn join(&mut self, round: Round, watch: Watch<'_>) -> Result<()> {
        let Round { batches, times, keys } = round;
        let (times, rule) = (Arc::new(times), self.job.question.rule);
        let mut answers = Vec::new();
        for (index, (numbers, of_keys)) in keys.into_iter().enumerate() {
            let asked = &self.ask.entities[index];
            let wanted = Wanted { keys: numbers.clone(), index: of_keys, times: Arc::clone(&times) };
            let found = match &self.histories[index] {
                Some(history) => join(history, asked, rule, wanted, watch).await?,
                None => wanted.nothing(),
            };
            let report = &mut self.entities[index];
            report.found += found.of_label.iter().filter(|row| **row != super::join::NONE).count() as u64;
            report.passed_over += found.passed_over;
            report.known_after = report.known_after.max(found.known_after / 1000);
            answers.push(Answered { asked, keys: numbers, found, marks: &self.marks[index] });
        }
        let mut first = 0;
        for labels in &batches {
            let rows = first..first + labels.num_rows();
            first = rows.end;
            let slice = Slice { labels, times: &times[rows.clone()], rows };
            let (rows, open) = output::rows(&self.job.plan, &self.ask, &self.schema, rule, &answers, &slice)?;
            self.incomplete += open;
            self.file.write(&rows)?;
        }
        debug_assert!(batches.iter().rev().skip(1).all(|batch| batch.num_rows() == BATCH_ROWS));
        Ok(())
    }

    /// Ends the file, and puts it and its manifest in their places.
    fn finish(self, mut manifest: Manifest) -> Result<Report> {
        let Self { job, mut file, incomplete, read, entities, .. } = self;
        let written = file.finish()?;
        if job.question.complete_only && incomplete > 0 {
            return Err(Error::refused(format!(
                "{incomplete} of {read} labels are later than their partition's watermark: rows that they would get may still \
                 come. Wait until the history has come so far (kappa status), leave those labels out, or leave out \
                 --complete-only and see the column `{}`",
                ask::INCOMPLETE
            )));
        }
        manifest.wrote(&job.out, &written);
        if let Some(before) = &job.rebuild
            && let Rebuilt::Other { expected, found } = before.compare(&manifest)
        {
            return Err(Error::refused(format!(
                "the rebuilt file is another one: its SHA-256 is {found}, and the manifest's {expected}. The history was \
                 changed by something else than Kappa, or this is another release than the one that wrote it; {} is as it \
                 was",
                job.out.display()
            )));
        }
        file.publish()?;
        let manifest_path = Manifest::path_of(&job.out);
        manifest.write(&manifest_path)?;
        Ok(Report { manifest, manifest_path, labels: read, incomplete, entities })
    }
}

impl EntityReport {
    /// What to know of a history that was known long after it happened.
    pub fn note(&self, labels: u64) -> Option<String> {
        (self.passed_over > 0).then(|| {
            format!(
                "{} of {labels} labels have newer rows of {} before them that were known only later, by up to {} after they \
                 happened: this history was loaded afterwards. As known then they do not count; with --by-event-time they do",
                self.passed_over,
                self.entity,
                Span(self.known_after)
            )
        })
    }
}
