//! Delta tables in a store: what the history's tables and the archive have in common, and the archive's layout, which
//! its writer (`sink`) and its reader (`source`) share.
//!
//! - `place`: from a url of the settings to a table, and what a store needs on top of Delta's log;
//! - `s3`: S3 among the stores;
//! - `layout`: the archive's columns, and the names of its files, which say what they cover;
//! - `kept`: what an archive holds of each partition;
//! - `segment`: the records of one of its files.

mod kept;
mod layout;
mod place;
mod s3;
mod segment;

pub use kept::{KeptLog, Segment};
pub use layout::{PARTITION, STATS_COLUMNS, TOPIC_ID, file_name, stored_columns};
pub use place::{Place, commit_path, not_opened, sync, unavailable, upload};
pub use segment::SegmentReader;
