//! The store on RocksDB (its only room): one database per task, shared cache, write buffers and threads.
//!
//! Two column families: `default` for state, `outbox` for the frozen epochs, which are written once, read soon and
//! deleted in order. The write-ahead log is not synced per write: a kill loses nothing, a power cut a suffix;
//! [`Store::sync`] closes that gap where a sink is about to be told. After an I/O error RocksDB stays read-only until
//! the process restarts, so every error here is [`crate::error::ErrorKind::State`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, ErrorKind, IteratorMode,
    Options, ReadOptions, ReadTier, WriteBatch, WriteBufferManager, WriteOptions,
};

use super::keys::{self, OUTBOX};
use super::store::{Batch, Pair, Store};
use crate::error::{Error, Result};

/// What all databases of a process share.
#[derive(Clone)]
pub struct RocksShared {
    cache: Cache,
    write_buffers: Arc<WriteBufferManager>,
    write_buffer_bytes: u64,
    open_files: i32,
}

impl std::fmt::Debug for RocksShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksShared").field("cache_bytes", &self.cache.get_usage()).finish_non_exhaustive()
    }
}

impl RocksShared {
    /// One block cache and one write-buffer budget, in bytes, and the open files of each database.
    pub fn new(block_cache_bytes: u64, write_buffer_bytes: u64, open_files: i32) -> Self {
        Self {
            cache: Cache::new_lru_cache(block_cache_bytes as usize),
            write_buffers: Arc::new(WriteBufferManager::new_write_buffer_manager(write_buffer_bytes as usize, false)),
            write_buffer_bytes,
            open_files,
        }
    }
}

/// A RocksDB behind the store port.
pub struct RocksStore {
    db: DB,
    path: PathBuf,
}

impl std::fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RocksStore {
    /// Opens or creates the database at `path`; one process at a time.
    ///
    /// # Errors
    /// State: locked by another process, corrupt, or no space; the message names the path.
    pub fn open(path: &Path, shared: &RocksShared) -> Result<Self> {
        std::fs::create_dir_all(path)
            .map_err(|e| Error::state(format!("{}: cannot be created: {e}; mend the permissions", path.display())))?;
        let mut options = base_options(shared);
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let families = [
            ColumnFamilyDescriptor::new("default", state_options(shared)),
            ColumnFamilyDescriptor::new("outbox", outbox_options(shared)),
        ];
        let db = DB::open_cf_descriptors(&options, path, families).map_err(|e| open_error(path, &e))?;
        Ok(Self { db, path: path.to_path_buf() })
    }

    /// Opens it to read only, beside or without a running process; sees what was flushed and logged until now.
    ///
    /// # Errors
    /// State: there is no database at `path`.
    pub fn open_read_only(path: &Path, shared: &RocksShared) -> Result<Self> {
        let families = [
            ColumnFamilyDescriptor::new("default", state_options(shared)),
            ColumnFamilyDescriptor::new("outbox", outbox_options(shared)),
        ];
        let db = DB::open_cf_descriptors_read_only(&base_options(shared), path, families, false)
            .map_err(|e| open_error(path, &e))?;
        Ok(Self { db, path: path.to_path_buf() })
    }

    fn outbox(&self) -> Result<&ColumnFamily> {
        self.db
            .cf_handle("outbox")
            .ok_or_else(|| Error::state(format!("{}: has no outbox; it is not Kappa's state", self.path.display())))
    }

    fn error(&self, e: &rocksdb::Error) -> Error {
        Error::state(format!(
            "state at {}: {e}; free disk space or mend the disk, then restart: it resumes from its last epoch",
            self.path.display()
        ))
    }

    /// Whether writes are stopped, and the bytes a second to which they are slowed (0: not slowed), by compaction that
    /// is behind.
    pub fn stalls(&self) -> (bool, u64) {
        (self.property("rocksdb.is-write-stopped") > 0, self.property("rocksdb.actual-delayed-write-rate"))
    }

    fn property(&self, name: &str) -> u64 {
        self.db.property_int_value(name).ok().flatten().unwrap_or(0)
    }
}

fn open_error(path: &Path, e: &rocksdb::Error) -> Error {
    Error::state(format!(
        "state at {}: {e}; is another kappa running on this data_dir, or is the disk full?",
        path.display()
    ))
}

fn base_options(shared: &RocksShared) -> Options {
    let mut options = Options::default();
    options.set_max_open_files(shared.open_files);
    options.set_write_buffer_manager(&shared.write_buffers);
    options.set_max_total_wal_size(shared.write_buffer_bytes.max(64 << 20));
    options.set_keep_log_file_num(2);
    options.set_max_background_jobs(2);
    options.set_stats_dump_period_sec(0);
    options.set_avoid_unnecessary_blocking_io(true);
    options
}

fn table_options(shared: &RocksShared) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&shared.cache);
    table.set_block_size(16 << 10);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(10.0, false);
    table.set_format_version(5);
    table
}

fn state_options(shared: &RocksShared) -> Options {
    let mut options = base_options(shared);
    options.set_block_based_table_factory(&table_options(shared));
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_write_buffer_size(64 << 20);
    options
}

fn outbox_options(shared: &RocksShared) -> Options {
    let mut options = base_options(shared);
    options.set_block_based_table_factory(&table_options(shared));
    // Written once and deleted within a minute: neither compressing nor rewriting it pays.
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(64 << 20);
    options.set_level_zero_file_num_compaction_trigger(16);
    options.set_level_zero_slowdown_writes_trigger(64);
    options.set_level_zero_stop_writes_trigger(128);
    options
}

impl Store for RocksStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = if key.first() == Some(&OUTBOX) { self.db.get_cf(self.outbox()?, key) } else { self.db.get(key) };
        value.map_err(|e| self.error(&e))
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.db.multi_get(keys).into_iter().map(|value| value.map_err(|e| self.error(&e))).collect()
    }

    fn multi_get_in_memory(&self, keys: &[&[u8]]) -> Result<Option<Vec<Option<Vec<u8>>>>> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        let mut values = Vec::with_capacity(keys.len());
        // One by one: a read of several keys at once does not keep to the tier.
        for key in keys {
            match self.db.get_opt(key, &options) {
                Ok(value) => values.push(value),
                // It is not in the memtables, nor a block of it in the cache.
                Err(e) if e.kind() == ErrorKind::Incomplete => return Ok(None),
                Err(e) => return Err(self.error(&e)),
            }
        }
        Ok(Some(values))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        let pairs = if from.first() == Some(&OUTBOX) {
            self.db.iterator_cf_opt(self.outbox()?, options, IteratorMode::Start)
        } else {
            self.db.iterator_opt(IteratorMode::Start, options)
        };
        pairs
            .take(limit)
            .map(|pair| pair.map(|(key, value)| (key.into_vec(), value.into_vec())).map_err(|e| self.error(&e)))
            .collect()
    }

    fn write(&self, batch: &Batch) -> Result<()> {
        let outbox = self.outbox()?;
        let mut writes = WriteBatch::default();
        for (key, value) in batch.iter() {
            match (keys::is_outbox(key), value) {
                (false, Some(value)) => writes.put(key, value),
                (false, None) => writes.delete(key),
                (true, Some(value)) => writes.put_cf(outbox, key, value),
                (true, None) => writes.delete_cf(outbox, key),
            }
        }
        self.db.write_opt(writes, &WriteOptions::default()).map_err(|e| self.error(&e))
    }

    fn sync(&self) -> Result<()> {
        self.db.flush_wal(true).map_err(|e| self.error(&e))
    }

    fn bytes(&self) -> u64 {
        self.property("rocksdb.total-sst-files-size") + self.property("rocksdb.cur-size-all-mem-tables")
    }
}
