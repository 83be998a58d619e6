//! The conformance suite of the port: what holds for every online store, run over each of them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::fixture::{Row, entity, rows, source};
use super::{EmbeddedStore, OnlineBatch, OnlineHash, OnlineStore, Progress};
use crate::error::Result;
use crate::state::{MemoryStore, RocksShared, RocksStore, Store};
use crate::time::Millis;
use crate::topology::EntityPlan;

/// Where a batch comes from.
#[derive(Debug, Clone, Copy)]
pub struct From {
    pub generation: u64,
    pub version: u32,
    pub refresh: Option<Millis>,
}

pub const FIRST: From = From { generation: 1, version: 1, refresh: None };

/// Publishes all these rows.
pub async fn put(store: &dyn OnlineStore, entity: &EntityPlan, from: From, list: &[Row]) -> Result<()> {
    let batch = rows(list);
    let picks: Vec<u32> = (0..list.len() as u32).collect();
    let From { generation, version, refresh } = from;
    let (source, rows, picks) = (&source(), &batch, picks.as_slice());
    store.publish(&OnlineBatch { source, entity, rows, picks, partition: 3, generation, version, refresh }).await
}

async fn hash(store: &dyn OnlineStore, id: &str) -> Option<OnlineHash> {
    store.get(&format!("t:{id}")).await.unwrap()
}

async fn field(store: &dyn OnlineStore, id: &str, name: &str) -> Option<String> {
    hash(store, id).await?.get(name).cloned()
}

pub fn progress(generation: u64, next_offset: i64, watermark: Option<Millis>) -> Progress {
    Progress { generation, next_offset, watermark }
}

/// Everything that holds for any store. `expire` lets the given time pass (for the store).
pub async fn conforms<F: Future<Output = ()>>(store: &dyn OnlineStore, expire: impl Fn(Millis) -> F) {
    a_hash_is_plain_text(store).await;
    newer_wins(store).await;
    a_refresh_beats_its_row_and_loses_to_the_next(store).await;
    the_generation_comes_first(store).await;
    null_clears_the_field(store).await;
    all_empty_expires(store, expire).await;
    any_key_is_a_key(store).await;
    many_entities_at_once(store).await;
    many_features_at_once(store).await;
    many_hashes_are_read_at_once(store).await;
    progress_comes_back(store).await;
}

async fn a_hash_is_plain_text(store: &dyn OnlineStore) {
    let row = Row { offset: 42, sequence: 7, sum: Some(1e300), flag: Some(false), ..Row::full("text", 42) };
    put(store, &entity(), From { version: 9, ..FIRST }, &[row]).await.unwrap();
    let expected = [
        ("_event_time", "1042"),
        ("_position", "1:3:42:7"),
        ("_version", "9"),
        ("at", "1700000000042"),
        ("by", r#"{"x":[42],"y":null}"#),
        ("category", "category 42"),
        ("count", "42"),
        ("flag", "false"),
        ("price", "42.25"),
        ("ratio", "10.5"),
        ("sum", "1e+300"),
        ("tags", r#"["tag 42",null]"#),
        ("top", "[[42,2],[7,1]]"),
    ];
    let expected: OnlineHash = expected.into_iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
    assert_eq!(hash(store, "text").await, Some(expected));
    assert_eq!(hash(store, "nobody").await, None);
    for (offset, sum, text) in [(43, 12.0, "12.0"), (44, 0.1 + 0.2, "0.30000000000000004"), (45, -5e-324, "-5e-324")] {
        put(store, &entity(), FIRST, &[Row { sum: Some(sum), ..Row::full("text", offset) }]).await.unwrap();
        assert_eq!(field(store, "text", "sum").await.as_deref(), Some(text));
    }
}

async fn newer_wins(store: &dyn OnlineStore) {
    let row = |offset, sequence, count| Row { sequence, count: Some(count), ..Row::full("newer", offset) };
    // (offset, sequence, what is read after it): numbers are compared, not texts; an equal position changes nothing.
    for (count, (offset, sequence, read)) in
        [(9, 0, 0), (10, 0, 1), (9, 5, 1), (10, 0, 1), (10, 2, 4), (10, 1, 4), (1 << 52, 0, 6), ((1 << 52) - 1, 9, 6)]
            .into_iter()
            .enumerate()
    {
        put(store, &entity(), FIRST, &[row(offset, sequence, count as i64)]).await.unwrap();
        assert_eq!(field(store, "newer", "count").await.as_deref(), Some(read.to_string().as_str()), "{offset}");
    }
}

async fn a_refresh_beats_its_row_and_loses_to_the_next(store: &dyn OnlineStore) {
    let row = |offset, count| Row { count: Some(count), ..Row::full("refresh", offset) };
    let at = |refresh| From { refresh, ..FIRST };
    for (offset, refresh, count, read) in [
        (5, None, 0, 0),
        (5, Some(70_000), 1, 1),
        (5, None, 2, 1),
        (5, Some(70_000), 3, 1),
        (5, Some(69_999), 4, 1),
        (5, Some(100_000), 5, 5),
        (4, Some(200_000), 6, 5),
        (6, None, 7, 7),
        (5, Some(300_000), 8, 7),
    ] {
        put(store, &entity(), at(refresh), &[row(offset, count)]).await.unwrap();
        assert_eq!(field(store, "refresh", "count").await, Some(read.to_string()), "{count}");
        if count == 5 {
            assert_eq!(field(store, "refresh", "_event_time").await.as_deref(), Some("100000"));
            assert_eq!(field(store, "refresh", "_position").await.as_deref(), Some("1:3:5:0:100000"));
        }
    }
    put(store, &entity(), at(Some(-5)), &[row(7, 9)]).await.unwrap();
    put(store, &entity(), at(Some(-4)), &[row(7, 10)]).await.unwrap();
    assert_eq!(field(store, "refresh", "count").await.as_deref(), Some("10"));
}

async fn the_generation_comes_first(store: &dyn OnlineStore) {
    let row = |offset, count| Row { count: Some(count), ..Row::full("generation", offset) };
    for (generation, offset, count, read) in [(2, 100, 0, 0), (10, 5, 1, 1), (9, 200, 2, 1), (10, 6, 3, 3)] {
        put(store, &entity(), From { generation, ..FIRST }, &[row(offset, count)]).await.unwrap();
        assert_eq!(field(store, "generation", "count").await, Some(read.to_string()));
    }
}

async fn null_clears_the_field(store: &dyn OnlineStore) {
    put(store, &entity(), FIRST, &[Row::full("null", 1)]).await.unwrap();
    put(store, &entity(), FIRST, &[Row { category: None, sum: None, ..Row::full("null", 2) }]).await.unwrap();
    let stored = hash(store, "null").await.unwrap();
    assert!(!stored.contains_key("category") && !stored.contains_key("sum") && stored.contains_key("count"));
    // A feature that a new version no longer has is gone as well; "" is a value.
    let mut fewer = entity();
    fewer.features[0].name = "renamed".to_string();
    put(store, &fewer, FIRST, &[Row { category: Some(String::new()), ..Row::full("null", 3) }]).await.unwrap();
    let stored = hash(store, "null").await.unwrap();
    assert_eq!((stored.get("count"), stored["renamed"].as_str(), stored["category"].as_str()), (None, "3", ""));
}

async fn all_empty_expires<F: Future<Output = ()>>(store: &dyn OnlineStore, expire: impl Fn(Millis) -> F) {
    let short = EntityPlan { empty_ttl: 300, ..entity() };
    put(store, &short, FIRST, &[Row::full("gone", 1), Row::full("back", 1), Row::full("stays", 1)]).await.unwrap();
    put(store, &short, FIRST, &[Row::empty("gone", 2), Row::empty("back", 2)]).await.unwrap();
    put(store, &short, FIRST, &[Row { count: Some(0), sum: None, ..Row::empty("stays", 2) }]).await.unwrap();
    // A value again before the time is up: it stays.
    put(store, &short, FIRST, &[Row::full("back", 3)]).await.unwrap();
    put(store, &entity(), FIRST, &[Row::empty("long", 1)]).await.unwrap();
    expire(400).await;
    assert_eq!(hash(store, "gone").await, None);
    let read = store.get_many(&["t:gone", "t:back"].map(String::from), &[]).await.unwrap();
    assert_eq!(read.iter().map(|row| row.is_some()).collect::<Vec<_>>(), [false, true]);
    assert_eq!(field(store, "back", "count").await.as_deref(), Some("3"));
    assert_eq!(field(store, "stays", "count").await.as_deref(), Some("0"));
    assert_eq!(field(store, "long", "count").await.as_deref(), Some("0"));
    put(store, &short, FIRST, &[Row::full("gone", 4)]).await.unwrap();
    assert_eq!(field(store, "gone", "count").await.as_deref(), Some("4"));
}

async fn any_key_is_a_key(store: &dyn OnlineStore) {
    let keys = [
        "",
        " ",
        "a b\r\n$3\r\n",
        "\u{0}\u{1}\u{7f}",
        "Ω→🙂",
        "{x}y",
        "*",
        "features:",
        "[\"u1\",7]",
        &"k".repeat(1024),
    ];
    let list: Vec<Row> = keys.iter().enumerate().map(|(at, key)| Row::full(key, 1 + at as i64)).collect();
    put(store, &entity(), FIRST, &list).await.unwrap();
    for row in &list {
        assert_eq!(field(store, &row.key, "count").await, Some(row.offset.to_string()), "{:?}", row.key);
    }
    let text = "ä\u{0}\r\n".repeat(50_000);
    let tags = Some(vec![Some(text.clone()); 2]);
    let long = Row {
        category: Some(text),
        tags: tags.clone(),
        price: Some(-(10i128.pow(10) - 1)),
        ..Row::full("long value", 1)
    };
    put(store, &entity(), FIRST, std::slice::from_ref(&long)).await.unwrap();
    assert_eq!(field(store, "long value", "category").await, long.category);
    assert_eq!(field(store, "long value", "tags").await, serde_json::to_string(&tags).ok());
    assert_eq!(field(store, "long value", "price").await.as_deref(), Some("-99999999.99"));
}

async fn many_entities_at_once(store: &dyn OnlineStore) {
    let list: Vec<Row> = (0..3_000).map(|at| Row::full(&format!("many {at}"), at)).collect();
    let batch = rows(&list);
    let picks: Vec<u32> = (0..3_000).filter(|at| at % 3 != 0).collect();
    let (source, entity) = (&source(), &entity());
    let (rows, picks, refresh) = (&batch, picks.as_slice(), None);
    let batch = OnlineBatch { source, entity, rows, picks, partition: 0, generation: 1, version: 1, refresh };
    store.publish(&batch).await.unwrap();
    for at in [0, 1, 2, 1_500, 1_501, 2_998, 2_999] {
        let expected = (at % 3 != 0).then(|| at.to_string());
        assert_eq!(field(store, &format!("many {at}"), "count").await, expected);
    }
    store.publish(&OnlineBatch { picks: &[], ..batch }).await.unwrap();
}

async fn many_features_at_once(store: &dyn OnlineStore) {
    let width = 5_000;
    let (wide, batch) = super::fixture::wide("wide", 1, width);
    let batch = OnlineBatch {
        source: &source(),
        entity: &wide,
        rows: &batch,
        picks: &[0],
        partition: 0,
        generation: 1,
        version: 1,
        refresh: None,
    };
    store.publish(&batch).await.unwrap();
    let stored = hash(store, "wide").await.unwrap();
    assert_eq!((stored.len(), stored["f0"].as_str(), stored["f4999"].as_str()), (width + 3, "0", "4999"));
}

async fn many_hashes_are_read_at_once(store: &dyn OnlineStore) {
    let list: Vec<Row> = (0..300).map(|at| Row::full(&format!("read {at}"), at)).collect();
    put(store, &entity(), FIRST, &list).await.unwrap();
    put(store, &entity(), FIRST, &[Row { category: None, ..Row::full("read 7", 1_000) }]).await.unwrap();
    let fields = ["category", "_version", "nothing", "count", "by", "count"];
    // Out of order, some twice, some that nobody has.
    let asked: Vec<usize> = (0..600).rev().chain([5, 5]).collect();
    let keys: Vec<String> = asked.iter().map(|at| format!("t:read {at}")).collect();
    let read = store.get_many(&keys, &fields).await.unwrap();
    assert_eq!(read.len(), asked.len());
    for (at, row) in asked.iter().zip(read.iter()) {
        let offset = if *at == 7 { 1_000 } else { *at };
        let texts = [
            (*at != 7).then(|| format!("category {at}")),
            Some("1".to_string()),
            None,
            Some(offset.to_string()),
            Some(format!(r#"{{"x":[{offset}],"y":null}}"#)),
            Some(offset.to_string()),
        ];
        let row = row.map(|row| (row.event_time, row.texts().map(|text| text.map(str::to_string)).collect::<Vec<_>>()));
        assert_eq!(row, (*at < 300).then_some((1_000 + offset as Millis, texts.to_vec())), "{at}");
    }
    let bare = store.get_many(&keys[299..302], &[]).await.unwrap();
    assert_eq!(bare.iter().map(|row| row.map(|row| row.texts().len())).collect::<Vec<_>>(), [None, Some(0), Some(0)]);
    assert!(store.get_many(&[], &fields).await.unwrap().is_empty());
}

async fn progress_comes_back(store: &dyn OnlineStore) {
    assert_eq!(store.progress(3).await.unwrap(), None);
    assert_eq!(store.check(&[]).await.unwrap(), [0; 0]);
    assert_eq!(store.check(&[(3, progress(1, 5, None))]).await.unwrap(), [3]);
    let steps = [
        (progress(1, 10, None), progress(1, 10, None)),
        (progress(1, 10, Some(-7)), progress(1, 10, Some(-7))),
        (progress(1, 9, Some(50)), progress(1, 10, Some(-7))),
        (progress(1, 11, Some(-8)), progress(1, 11, Some(-8))),
        (progress(2, 3, None), progress(2, 3, None)),
        (progress(1, 1 << 52, Some(1)), progress(2, 3, None)),
    ];
    for (written, read) in steps {
        store.set_progress(3, written).await.unwrap();
        assert_eq!(store.progress(3).await.unwrap(), Some(read));
    }
    store.set_progress(4, progress(2, 1, Some(1_700_000_000_123))).await.unwrap();
    assert_eq!(store.progress(4).await.unwrap(), Some(progress(2, 1, Some(1_700_000_000_123))));
    let expected = [(3, progress(2, 3, None)), (4, progress(2, 2, None)), (5, progress(1, 0, None))];
    assert_eq!(store.check(&expected).await.unwrap(), [4, 5]);
}

fn embedded(store: Box<dyn Store>) -> (EmbeddedStore, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(1_000_000));
    let clock = now.clone();
    (EmbeddedStore::new(store, Box::new(move || clock.load(Ordering::SeqCst))), now)
}

#[tokio::test]
async fn the_embedded_store_in_memory_conforms() {
    let (store, now) = embedded(Box::new(MemoryStore::default()));
    conforms(&store, async |time| {
        now.fetch_add(time, Ordering::SeqCst);
    })
    .await;
}

#[tokio::test]
async fn the_embedded_store_on_rocksdb_conforms_and_reopens() {
    let directory = tempfile::tempdir().unwrap();
    let shared = RocksShared::new(8 << 20, 8 << 20, 64);
    let open = || embedded(Box::new(RocksStore::open(directory.path(), &shared).unwrap()));
    let (store, now) = open();
    conforms(&store, async |time| {
        now.fetch_add(time, Ordering::SeqCst);
    })
    .await;
    drop(store);
    let (store, _) = open();
    assert_eq!(field(&store, "newer", "count").await.as_deref(), Some("6"));
    assert_eq!(store.progress(3).await.unwrap(), Some(progress(2, 3, None)));
}

#[tokio::test]
async fn the_embedded_store_sweeps_what_has_expired() {
    let memory = Arc::new(MemoryStore::default());
    let (store, now) = embedded(Box::new(Shared(memory.clone())));
    let empty: Vec<Row> = (0..2_500).map(|at| Row::empty(&format!("e{at}"), at)).collect();
    put(&store, &EntityPlan { empty_ttl: 10, ..entity() }, FIRST, &empty).await.unwrap();
    now.fetch_add(10, Ordering::SeqCst);
    for offset in 0..3 {
        put(&store, &entity(), FIRST, &[Row::full("other", offset)]).await.unwrap();
    }
    assert_eq!(memory.scan(&[0], &[255], 10).unwrap().len(), 1);
}

/// A store that the test can look into.
struct Shared(Arc<MemoryStore>);

impl Store for Shared {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.get(key)
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.0.multi_get(keys)
    }

    fn multi_get_in_memory(&self, keys: &[&[u8]]) -> Result<Option<Vec<Option<Vec<u8>>>>> {
        self.0.multi_get_in_memory(keys)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<crate::state::Pair>> {
        self.0.scan(from, to, limit)
    }

    fn write(&self, batch: &crate::state::Batch) -> Result<()> {
        self.0.write(batch)
    }

    fn sync(&self) -> Result<()> {
        self.0.sync()
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}
