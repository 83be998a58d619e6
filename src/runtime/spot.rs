//! Training equals serving, by sample: a few entities are read back from the online store at each commit of the history,
//! and held against the rows that the history has of them.
//!
//! Always holds: a read is held against the row that it names, and against no other. A row that comes with a later
//! commit is waited for; what the clock has refreshed, what another version wrote, and what is behind the history is let
//! go: it says nothing. A store that does not answer says nothing either. It costs one round trip a commit, and a row in
//! memory for each entity; it decides nothing but two counters and a line in the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::future::join_all;

use crate::error::Result;
use crate::metrics::{Counter, Metrics};
use crate::sink::online::text::{OnlineKey, POSITION_FIELD, RowText, VERSION_FIELD, hash};
use crate::sink::online::{OnlineBatch, OnlineHash, OnlineStore, Position};
use crate::state::Epoch;
use crate::topology::Plan;

/// How long the online store may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The samples of one run.
pub struct SpotChecks {
    plan: Arc<Plan>,
    store: Arc<dyn OnlineStore>,
    version: u32,
    /// Entities of one commit.
    count: usize,
    /// Rows that were appended last, one an epoch: what is read back at the next commit.
    picked: VecDeque<Row>,
    /// Read, and not yet appended.
    waiting: Vec<(usize, Position, OnlineHash)>,
    checked: Counter,
    different: Counter,
}

/// One row of the history.
struct Row {
    entity: usize,
    partition: i32,
    /// As in [`crate::state::EntityRows::rows`].
    rows: RecordBatch,
}

impl SpotChecks {
    /// Of so many entities a commit; `None` for none.
    pub fn new(
        plan: &Arc<Plan>,
        store: &Arc<dyn OnlineStore>,
        version: u32,
        count: usize,
        metrics: &Metrics,
    ) -> Option<Self> {
        (count > 0).then(|| Self {
            plan: Arc::clone(plan),
            store: Arc::clone(store),
            version,
            count,
            picked: VecDeque::new(),
            waiting: Vec::new(),
            checked: metrics.served_checked.clone(),
            different: metrics.served_different.clone(),
        })
    }

    /// An epoch whose rows go to the history.
    ///
    /// # Errors
    /// Internal: rows of another form.
    pub fn append(&mut self, epoch: &Epoch) -> Result<()> {
        let is_here = |(_, position, _): &mut (usize, Position, OnlineHash)| {
            position.partition == epoch.partition && position.offset < epoch.next_offset
        };
        for (entity, position, stored) in self.waiting.extract_if(.., is_here).collect::<Vec<_>>() {
            let of = epoch.rows.iter().find(|rows| rows.entity == entity);
            let row = of.map(|of| self.find(entity, &of.rows, position)).transpose()?.flatten();
            // What is not here came with the epochs before, or is pending in one to come.
            if let (Some(row), Some(of)) = (row, of) {
                self.hold(entity, &of.rows, row, position, &stored)?;
            }
        }
        let with_history = epoch.rows.iter().filter(|rows| self.plan.entities[rows.entity].history);
        let Some(of) = with_history.max_by_key(|rows| rows.rows.num_rows()) else { return Ok(()) };
        // The epoch's number chooses: every row has its turn, and no chance is needed.
        let row = (epoch.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % of.rows.num_rows().max(1);
        if self.picked.len() == self.count {
            self.picked.pop_front();
        }
        self.picked.push_back(Row {
            entity: of.entity,
            partition: epoch.partition,
            rows: of.rows.slice(row, of.rows.num_rows().min(1)),
        });
        Ok(())
    }

    /// What was appended is committed: reads the picked entities back.
    ///
    /// # Errors
    /// Internal: rows of another form.
    pub async fn committed(&mut self) -> Result<()> {
        let picked: Vec<Row> = self.picked.drain(..).filter(|row| row.rows.num_rows() == 1).collect();
        let mut keys = Vec::with_capacity(picked.len());
        for row in &picked {
            let entity = &self.plan.entities[row.entity];
            keys.push(OnlineKey::of(entity).text(RowText::new(entity, &row.rows)?.key(0)));
        }
        let reads = join_all(keys.iter().map(|key| self.store.get(key)));
        let Ok(reads) = tokio::time::timeout(PATIENCE, reads).await else { return Ok(()) };
        for (row, stored) in picked.iter().zip(reads) {
            let Ok(Some(stored)) = stored else { continue };
            let Some(position) = self.own_position(&stored, row.partition) else { continue };
            let entity = &self.plan.entities[row.entity];
            let kept = RowText::new(entity, &row.rows)?.position(0, row.partition, position.generation, None);
            if position == kept {
                self.hold(row.entity, &row.rows, 0, position, &stored)?;
            } else if position > kept && self.waiting.len() < 2 * self.count {
                self.waiting.push((row.entity, position, stored));
            }
        }
        Ok(())
    }

    /// The position of a row that this version wrote, and no clock.
    fn own_position(&self, stored: &OnlineHash, partition: i32) -> Option<Position> {
        let version = stored.get(VERSION_FIELD)?.parse::<u32>().ok()?;
        let position: Position = stored.get(POSITION_FIELD)?.parse().ok()?;
        let is_own = version == self.version && position.partition == partition && position.refresh.is_none();
        is_own.then_some(position)
    }

    fn find(&self, entity: usize, rows: &RecordBatch, position: Position) -> Result<Option<usize>> {
        let text = RowText::new(&self.plan.entities[entity], rows)?;
        let is_it = |row: &usize| text.position(*row, position.partition, position.generation, None) == position;
        Ok((0..rows.num_rows()).find(is_it))
    }

    /// Whether what was read is the row.
    fn hold(
        &self,
        entity: usize,
        rows: &RecordBatch,
        row: usize,
        position: Position,
        stored: &OnlineHash,
    ) -> Result<()> {
        let entity = &self.plan.entities[entity];
        let text = RowText::new(entity, rows)?;
        let batch = OnlineBatch {
            source: &self.plan.source,
            entity,
            rows,
            picks: &[],
            partition: position.partition,
            generation: position.generation,
            version: self.version,
            refresh: None,
        };
        let expected = hash(&batch, &text, row);
        self.checked.add(1);
        if *stored != expected {
            self.different.add(1);
            let fields = expected.keys().chain(stored.keys());
            let field = fields.into_iter().find(|field| expected.get(*field) != stored.get(*field));
            tracing::error!(
                entity = entity.name,
                id = text.key(row),
                %position,
                field = field.map_or("", String::as_str),
                "the online store has another value than the history has in the same row"
            );
        }
        Ok(())
    }
}
