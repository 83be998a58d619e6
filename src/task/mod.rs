//! The pure core: one partition of one version. Records in, effects out; no clock, thread, socket or randomness.
//!
//! [`Task::step`] takes decoded records in offset order and folds them into entities; [`Task::end_epoch`] writes all
//! that changed in one atomic batch, with the epoch's rows as one blob in the outbox, and answers the frozen epoch.
//! A crash between two epochs loses nothing: the log is read again from the stored position. Where an epoch ends
//! decides no value: that is a test.

mod builder;
mod cache;
mod columns;
mod derived;
mod entity;
mod entity_codec;
mod heads;
mod judge;
mod last_rows;
mod lifecycle;
mod lookahead;
mod meta;
mod program;
mod rows;
mod shown;
mod step;
mod tally;
mod timers;
mod vacant;
mod why;

pub use builder::ColumnBuilder;
pub use last_rows::{LastRows, RowPage};
pub use lookahead::{OnlineRows, Published};
pub use meta::{Counts, Meta, Pending};
pub use rows::row_schema;
pub use shown::Shown;
pub use step::{Limits, Task};
pub use tally::Tally;
pub use vacant::{Known, known, vacant};
pub use why::{
    Kept, KeptFeature, KeptState, Moment, Outside, Part, Parts, Trace, Traced, Traces, Verdict, Why, features_of, kept,
};
