//! Why a feature is what it is: the records of one entity in one partition, each judged by the law, and what the
//! feature's window holds of them at any `T`.
//!
//! Always holds: a value of a [`Trace`] is folded from the list of records alone, never from state, so it is a second
//! opinion on what the task wrote. Asked for the event time of a row, it is the value of that row (of the last, if
//! several have it): a record takes part when the entity's own clock, `max(largest event time, watermark)`, was not
//! beyond `T` once it was folded. What the state itself keeps is in [`kept()`], for a log that has lost its beginning.

mod brings;
mod hold;
mod kept;
mod records;

use std::collections::BTreeMap;

use arrow::array::ArrayRef;

use super::builder::ColumnBuilder;
use super::derived;
use super::program::acc_kind;
use super::shown::{Output, Shown};
use crate::aggregate::Item;
use crate::error::{Error, Result};
use crate::time::Millis;
use crate::topology::{EntityPlan, FeaturePlan, OutputType, ValueType, value_type};

use brings::{Brings, Entry};
use hold::{Member, hold};
pub use hold::{Outside, Part};
pub use kept::{Kept, KeptFeature, KeptState, kept};
use records::Fate;
pub use records::{Trace, Traced, Traces};

/// A moment in the life of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The law's `T`.
    pub at: Millis,
    /// The last offset that takes part.
    pub through: i64,
}

impl Moment {
    /// With every record whose turn had come by `at`.
    pub fn at(at: Millis) -> Self {
        Self { at, through: i64::MAX }
    }
}

/// What becomes of one record at `T`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is in this part of the window.
    Counted(usize),
    /// Tombstone, over limit or malformed: the reason, where there is one.
    NoRow { class: &'static str, reason: String },
    /// The source's own `where` is not true.
    Filtered,
    /// Its event time is too far ahead of its Kafka time.
    Future,
    /// It came after the watermark had passed it, less the grace.
    Late { watermark: Millis },
    /// It comes after the moment: when it was folded the entity was at `clock`.
    After { clock: Millis },
    /// The entity was emptied after it (`forget_after`).
    Forgotten,
    /// The feature's `where` is not true.
    NotWhere,
    /// The window does not hold it.
    Outside(Outside),
    /// `what`, its input or its bucket, is null; `failed`: because the expression failed.
    Null { what: &'static str, failed: bool },
}

impl Verdict {
    /// Whether the record lies among the dead letters.
    pub fn is_dead_letter(&self) -> bool {
        match self {
            Self::NoRow { class, .. } => *class != TOMBSTONE,
            Self::Future | Self::Late { .. } => true,
            _ => false,
        }
    }
}

/// The class of a record without a value.
const TOMBSTONE: &str = "tombstone";

/// Parts of a value: their records and what each comes to by itself.
#[derive(Debug)]
pub struct Parts<T> {
    /// With the offsets of the records that count in it, ascending.
    pub parts: Vec<(T, Vec<i64>)>,
    /// One row a part.
    pub values: ArrayRef,
}

/// A feature at `T`.
#[derive(Debug)]
pub struct Why {
    pub at: Millis,
    /// One row.
    pub value: ArrayRef,
    /// Tiles, or the one window.
    pub window: Parts<Part>,
    /// Only where there is a `by`, in byte order; none when there are more than may be.
    pub buckets: Option<Parts<Box<str>>>,
    /// One for each of [`Trace::records`].
    pub verdicts: Vec<Verdict>,
}

impl Trace {
    /// The feature (by its place among those traced) at a moment.
    ///
    /// # Errors
    /// Internal: values do not form a column.
    pub fn why(&self, feature: usize, moment: Moment) -> Result<Why> {
        let (plan, at) = (self.feature(feature), moment.at);
        let (mut verdicts, folded) = self.judged(moment);
        let members: Vec<Member> = folded.iter().map(|&record| self.member(feature, record)).collect();
        let held = hold(plan.window, &members, at);
        for (&record, held) in folded.iter().zip(&held.members) {
            verdicts[record] = match (&self.brings(feature, record).entry, held) {
                (Entry::Out, _) => Verdict::NotWhere,
                (_, Err(outside)) => Verdict::Outside(*outside),
                (Entry::Null { what, failed }, _) => Verdict::Null { what, failed: *failed },
                (Entry::In { .. }, Ok(part)) => Verdict::Counted(part.unwrap_or_default()),
            };
        }
        let folder = Folder { plan, output: Output::of(plan), at };
        let mut items: Vec<Item<'_>> = Vec::new();
        let mut by_part: Vec<Vec<Item<'_>>> = held.parts.iter().map(|_| Vec::new()).collect();
        for (record, verdict) in verdicts.iter().enumerate() {
            if let Verdict::Counted(part) = verdict {
                let item = self.item(feature, record);
                items.push(item);
                by_part[*part].push(item);
            }
        }
        let whole = folder.fold(&items);
        let shown: Vec<Shown> = by_part.iter().map(|items| folder.fold(items)).collect();
        let offsets = |items: &Vec<Item<'_>>| items.iter().map(|item| item.offset).collect::<Vec<i64>>();
        let parts = held.parts.into_iter().zip(by_part.iter().map(offsets)).collect();
        let window = Parts { parts, values: column(&plan.output_type, &shown)? };
        let buckets = buckets(plan, &whole, &items)?;
        let value = column(&plan.output_type, &[whole])?;
        Ok(Why { at, value, window, buckets, verdicts })
    }

    /// A derived feature (by its place in the entity's list) at a moment, where every feature that it needs is traced.
    ///
    /// # Errors
    /// Internal: a feature that it needs is not.
    pub fn derived(&self, index: usize, moment: Moment) -> Result<ArrayRef> {
        let needed = derived::features_of(self.entity(), index);
        let values = needed.into_iter().map(|feature| {
            let place = self
                .place_of(feature)
                .ok_or_else(|| Error::internal("a feature that another is derived from is not traced"))?;
            Ok((feature, self.why(place, moment)?.value))
        });
        derived::at(self.entity(), index, &values.collect::<Result<Vec<_>>>()?, moment.at)
    }

    /// The inputs of a feature, one row a record; `None` for `count: "*"`.
    ///
    /// # Errors
    /// Internal: values do not form a column.
    pub fn inputs(&self, feature: usize) -> Result<Option<ArrayRef>> {
        let Some(ty) = self.input_type(feature) else { return Ok(None) };
        let value = |record: usize| match &self.brings(feature, record).entry {
            Entry::In { value, .. } => Shown::Value(value.clone()),
            _ => Shown::Null,
        };
        let values: Vec<Shown> = (0..self.records().len()).map(value).collect();
        column(&OutputType::Scalar(ty), &values).map(Some)
    }

    /// The bucket of a record, where the feature has some.
    pub fn bucket(&self, feature: usize, record: usize) -> Option<&str> {
        match &self.brings(feature, record).entry {
            Entry::In { bucket, .. } if self.feature(feature).by.is_some() => Some(bucket),
            _ => None,
        }
    }

    fn input_type(&self, feature: usize) -> Option<ValueType> {
        value_type(&self.plan().exprs.data_type(self.feature(feature).input?))
    }

    /// What the law says of every record before the window is asked; and those that are folded by the moment and not
    /// forgotten: their verdict is still open.
    fn judged(&self, moment: Moment) -> (Vec<Verdict>, Vec<usize>) {
        let era = self.era(moment);
        let mut folded = Vec::new();
        let verdict = |(index, record): (usize, &Traced)| match &record.fate {
            Fate::Refused(verdict) => verdict.clone(),
            Fate::Applied { clock, .. } if *clock > moment.at || record.offset > moment.through => {
                Verdict::After { clock: *clock }
            }
            Fate::Applied { era: of, .. } if *of != era => Verdict::Forgotten,
            Fate::Applied { .. } => {
                folded.push(index);
                Verdict::NotWhere
            }
        };
        let verdicts = self.records().iter().enumerate().map(verdict).collect();
        (verdicts, folded)
    }

    fn member(&self, feature: usize, record: usize) -> Member {
        let Brings { entry, meets } = self.brings(feature, record);
        let of = &self.records()[record];
        Member {
            t: of.event_time.unwrap_or_default(),
            offset: of.offset,
            passes: !matches!(entry, Entry::Out),
            counts: matches!(entry, Entry::In { .. }),
            meets: *meets,
        }
    }

    fn item(&self, feature: usize, record: usize) -> Item<'_> {
        let of = &self.records()[record];
        self.brings(feature, record).item(of.event_time.unwrap_or_default(), of.offset)
    }
}

/// What each bucket shows, and with how many records; nothing while there are more than may be.
fn buckets(plan: &FeaturePlan, whole: &Shown, items: &[Item<'_>]) -> Result<Option<Parts<Box<str>>>> {
    let OutputType::Map(inner) = &plan.output_type else { return Ok(None) };
    let mut offsets: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    items.iter().for_each(|item| offsets.entry(item.bucket).or_default().push(item.offset));
    let shown = match whole {
        Shown::Map(shown) => shown.as_slice(),
        _ => &[],
    };
    let parts = shown.iter().map(|(name, _)| (name.clone(), offsets.remove(&**name).unwrap_or_default())).collect();
    let values: Vec<Shown> = shown.iter().map(|(_, shown)| shown.clone()).collect();
    Ok(Some(Parts { parts, values: column(inner, &values)? }))
}

/// Folds inputs with the feature's own accumulator.
struct Folder<'a> {
    plan: &'a FeaturePlan,
    output: Output,
    at: Millis,
}

impl Folder<'_> {
    fn fold(&self, items: &[Item<'_>]) -> Shown {
        let mut acc = acc_kind(self.plan).empty();
        for item in items {
            acc.add(item);
        }
        if acc.is_empty() { Shown::of(&self.plan.empty) } else { self.output.show(&acc, self.at) }
    }
}

fn column(ty: &OutputType, values: &[Shown]) -> Result<ArrayRef> {
    let mut builder = ColumnBuilder::new(ty);
    values.iter().for_each(|shown| builder.push(shown));
    builder.finish()
}

/// The indices of the features that a derived feature needs: those that it reads, and those of what it reads.
pub fn features_of(entity: &EntityPlan, derived: usize) -> Vec<usize> {
    derived::features_of(entity, derived).into_iter().collect()
}
