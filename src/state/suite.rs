//! The conformance suite of the store port: the same laws over every store.

use super::keys::Key;
use super::{Batch, MemoryStore, RocksShared, RocksStore, Store};

fn stores() -> Vec<(Box<dyn Store>, Option<tempfile::TempDir>)> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let rocks = RocksStore::open(dir.path(), &RocksShared::new(1 << 20, 1 << 20, 64)).expect("a new database opens");
    vec![(Box::new(MemoryStore::default()), None), (Box::new(rocks), Some(dir))]
}

fn on_every_store(law: impl Fn(&dyn Store)) {
    for (store, _dir) in stores() {
        law(store.as_ref());
    }
}

fn batch(ops: &[(&[u8], Option<&[u8]>)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in ops {
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
    }
    batch
}

#[test]
fn a_batch_applies_in_order_and_a_repetition_changes_nothing() {
    on_every_store(|store| {
        let batch = batch(&[(b"a", Some(b"1")), (b"b", Some(b"2")), (b"a", None), (b"b", Some(b"3"))]);
        for _ in 0..2 {
            store.write(&batch).unwrap();
            assert_eq!(store.get(b"a").unwrap(), None);
            assert_eq!(store.get(b"b").unwrap().as_deref(), Some(&b"3"[..]));
        }
    });
}

#[test]
fn a_scan_is_ordered_half_open_and_limited() {
    on_every_store(|store| {
        store.write(&batch(&[(b"c", Some(b"")), (b"a", Some(b"")), (b"b", Some(b"")), (b"d", Some(b""))])).unwrap();
        let keys = |from: &[u8], to: &[u8], limit| -> Vec<Vec<u8>> {
            store.scan(from, to, limit).unwrap().into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(b"a", b"d", 10), [b"a", b"b", b"c"]);
        assert_eq!(keys(b"b", b"z", 2), [b"b", b"c"]);
        assert!(keys(b"d", b"a", 10).is_empty());
    });
}

#[test]
fn many_keys_are_answered_in_their_order() {
    on_every_store(|store| {
        store.write(&batch(&[(b"a", Some(b"1")), (b"", Some(b"empty key"))])).unwrap();
        let found = store.multi_get(&[b"x", b"a", b""]).unwrap();
        assert_eq!(found, [None, Some(b"1".to_vec()), Some(b"empty key".to_vec())]);
        // What has just been written is in memory.
        assert_eq!(store.multi_get_in_memory(&[b"x", b"a", b""]).unwrap(), Some(found));
    });
}

#[test]
fn what_lies_on_the_disk_alone_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let open = || RocksStore::open(dir.path(), &RocksShared::new(64 << 20, 64 << 20, 64)).unwrap();
    let (mut all, value) = (Batch::default(), |key: u32| format!("{key:0>1000}").into_bytes());
    (0..4_000u32).for_each(|key| all.put(&key.to_be_bytes(), &value(key)));
    open().write(&all).unwrap();
    // The log is written to a table when the database is opened again.
    drop(open());
    let (store, key, found) = (open(), 7u32.to_be_bytes(), vec![Some(value(7))]);
    assert_eq!(store.multi_get_in_memory(&[&key]).unwrap(), None);
    assert_eq!(store.multi_get(&[&key]).unwrap(), found);
    // Now it is in the cache.
    assert_eq!(store.multi_get_in_memory(&[&key]).unwrap(), Some(found));
}

#[test]
fn the_outbox_is_written_read_and_trimmed_with_the_rest() {
    on_every_store(|store| {
        let (one, two) = (Key::Outbox { epoch: 1 }.bytes(), Key::Outbox { epoch: 2 }.bytes());
        store.write(&batch(&[(&one, Some(b"1")), (&two, Some(b"2")), (b"m", Some(b"meta"))])).unwrap();
        store.write(&batch(&[(&one, None)])).unwrap();
        assert_eq!(store.get(&one).unwrap(), None);
        assert_eq!(store.scan(b"o", b"p", 9).unwrap(), [(two, b"2".to_vec())]);
        assert_eq!(store.scan(b"m", b"n", 9).unwrap().len(), 1);
    });
}

#[test]
fn what_rocksdb_wrote_is_there_after_it_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let shared = RocksShared::new(1 << 20, 1 << 20, 64);
    let store = RocksStore::open(dir.path(), &shared).unwrap();
    store.write(&batch(&[(b"a", Some(b"1")), (b"o1", Some(b"2"))])).unwrap();
    let locked = RocksStore::open(dir.path(), &shared).expect_err("a second opening is refused");
    assert!(locked.to_string().contains("another kappa"), "{locked}");
    drop(store);
    let store = RocksStore::open_read_only(dir.path(), &shared).unwrap();
    assert_eq!((store.get(b"a").unwrap(), store.get(b"o1").unwrap()), (Some(b"1".to_vec()), Some(b"2".to_vec())));
}
