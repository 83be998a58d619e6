//! Delta tables in a store: what the history's tables and the archive have in common, and the archive's layout, which
//! its writer (`sink`) and its reader (`source`) share.
//!
//! - `place`: from a url of the settings to a table, and what a store needs on top of Delta's log;
//! - `s3`: S3 among the stores;
//! - `layout`: the archive's columns, and the names of its files, which say what they cover;
//! - `kept`: what an archive holds of each partition;
//! - `segment`: the records of one of its files;
//! - `columns`: some columns of any table's file, row group by row group;
//! - `labels`: the labels of a training set, from Parquet, CSV or a table; `training`: the file that it becomes.

mod columns;
mod kept;
mod labels;
mod layout;
mod place;
mod s3;
mod segment;
mod training;

pub use columns::ColumnsFile;
pub use kept::{KeptLog, Segment};
pub use labels::{Format, LabelColumns, Labels};
pub use layout::{PARTITION, STATS_COLUMNS, TOPIC_ID, file_name, stored_columns};
pub use place::{Place, TableAt, commit_path, not_opened, sync, unavailable, upload};
pub use segment::SegmentReader;
pub use training::{BATCH_ROWS, TrainingFile, Written};
