//! Feast's bytes against vectors that Feast itself wrote, and the port's suite over a Redis that holds nothing else.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::future::BoxFuture;
use prost::Message;

use super::super::super::fixture::{Row, entity, rows, source};
use super::super::super::suite::{FIRST, From, conforms, progress, put};
use super::super::super::text::{EVENT_TIME_FIELD, POSITION_FIELD, RowText, VERSION_FIELD};
use super::super::super::{OnlineBatch, OnlineHash, OnlineRows, OnlineRowsBuilder, OnlineStore, Progress};
use super::super::RedisStore;
use super::super::tests::server::RedisServer;
use super::super::tests::{settings, sleep};
use super::value::Value;
use super::*;
use crate::config::{RedisFormat, RedisSettings};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key(project: &str, fields: &[(&str, FieldType)], key: &[usize], id: &str) -> Result<String> {
    let mut source = source();
    let declared = source.fields[0].clone();
    let field = |(name, ty): &(&str, FieldType)| {
        let mut field = declared.clone();
        (field.name, field.ty) = (name.to_string(), *ty);
        field
    };
    source.fields = fields.iter().map(field).collect();
    let entity = EntityPlan { key: key.to_vec(), ..entity() };
    let mut out = Vec::new();
    FeastView::new(project, &source, &entity).write_key(id, &mut out)?;
    Ok(hex(&out))
}

#[test]
fn keys_are_feasts_bytes() {
    let driver = [("driver_id", FieldType::Int64)];
    let expected = "0100000002000000090000006472697665725f69640400000008000000e9030000000000006672617564";
    assert_eq!(key("fraud", &driver, &[0], "1001").unwrap(), expected);
    let user = [("user_id", FieldType::String)];
    let expected = "010000000200000007000000757365725f69640200000003000000753432";
    assert_eq!(key("fraud", &user, &[0], "u42").unwrap(), format!("{expected}{}", hex(b"fraud")));
    // Names sorted, each value where its name is.
    let pair = [("user_id", FieldType::String), ("item", FieldType::Int64)];
    let expected = "0200000002000000040000006974656d0200000007000000757365725f6964";
    let values = format!("0400000008000000ffffffffffffffff0200000003000000{}{}", hex("ä\"".as_bytes()), hex(b"p"));
    assert_eq!(key("p", &pair, &[0, 1], r#"["ä\"",-1]"#).unwrap(), format!("{expected}{values}"));
    for (fields, key_fields, id) in [(&driver[..], &[0][..], "x"), (&pair, &[0, 1], "[\"a\"]"), (&pair, &[0, 1], "7")] {
        assert!(key("p", fields, key_fields, id).unwrap_err().to_string().contains("is no key of entity"));
    }
}

#[test]
fn fields_and_times_are_feasts_bytes() {
    assert_eq!(hex(&field("driver_hourly_stats", "conv_rate")), "6160e3da");
    assert_eq!(hex(&field("user_txn", "amount_sum_1h")), "8c0337c2");
    assert_eq!(hex(&timestamp(1_704_067_200_123)), "088081c8ac0610c0a9d33a");
    // Before 1970 the seconds go down, and what is left goes up.
    assert_eq!(hex(&timestamp(-1)), "08ffffffffffffffffff0110c08faedc03");
}

#[test]
fn values_are_feasts_bytes() {
    let (entity, source) = (entity(), source());
    let first = Row { count: Some(1000), sum: Some(0.85), category: Some("u42".into()), ..Row::full("a", 7) };
    let lists = Row { tags: Some(vec![Some("a".into()), Some("b".into())]), ..Row::full("b", 7) };
    let batch = rows(&[first, lists]);
    let text = RowText::new(&entity, &batch).unwrap();
    let view = FeastView::new("p", &source, &entity);
    let shown = |name: &str, row: usize| {
        let at = entity.columns().position(|(column, _)| column == name).unwrap();
        let mut out = Vec::new();
        view.write(&text.columns()[at], row, &mut out);
        hex(&out)
    };
    assert_eq!(shown("count", 0), "20e807");
    assert_eq!(shown("sum", 0), "29333333333333eb3f");
    assert_eq!(shown("category", 0), "1203753432");
    assert_eq!(shown("flag", 0), "3801");
    // Milliseconds: Feast's own type counts seconds.
    assert_eq!(shown("at", 0), "2087d095ffbc31");
    assert_eq!(shown("price", 0), "e20204372e3235");
    assert_eq!(shown("tags", 1), "62060a01610a0162");
    // A list with a null in it is a list of values.
    assert_eq!(shown("tags", 0), "d2020b0a07120574616720370a00");
    let pairs =
        ["0a160a0b0a0576616c7565120220070a070a016e12022002", "0a160a0b0a0576616c7565120220070a070a016e12022001"];
    assert_eq!(shown("top", 0), format!("9a0230{}", pairs.concat()));
    assert_eq!(shown("by", 0), "a201130a0a0a0178120572030a01070a050a01791200");
}

#[test]
fn two_features_in_one_field_are_refused() {
    let mut entities = vec![entity(), EntityPlan { name: "other".into(), ..entity() }];
    refuse_collisions(&entities).unwrap();
    entities[1].name = entities[0].name.clone();
    let error = refuse_collisions(&entities).unwrap_err().to_string();
    assert!(error.contains("`user:count`") && error.contains("rename one"), "{error}");
}

/// A store that holds only Feast's form, read back as Feast reads it: so the port's suite says what holds of that too.
#[derive(Debug)]
struct AsFeast {
    store: RedisStore,
    /// Fields that were written.
    names: Mutex<BTreeMap<[u8; 4], String>>,
}

impl AsFeast {
    async fn new(settings: RedisSettings) -> Self {
        let settings = RedisSettings { formats: vec![RedisFormat::Feast], ..settings };
        let store = RedisStore::connect(&settings, "shop", &[entity()]).await.unwrap();
        Self { store, names: Mutex::default() }
    }

    /// Every field of an entity's hash.
    async fn fields(&self, online_key: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let (source, entity) = (source(), entity());
        let mut key = Vec::new();
        FeastView::new("shop", &source, &entity).write_key(online_key.strip_prefix("t:").unwrap(), &mut key).unwrap();
        let answer = self.store.door.connect().await.unwrap().command(redis::cmd("HGETALL").arg(key)).await.unwrap();
        redis::from_redis_value(answer).unwrap()
    }

    async fn hash(&self, online_key: &str) -> Option<OnlineHash> {
        let (fields, mut hash) = (self.fields(online_key).await, OnlineHash::new());
        for (name, bytes) in &fields {
            if let Ok(name) = <[u8; 4]>::try_from(name.as_slice()) {
                let name = self.names.lock().unwrap()[&name].clone();
                hash.insert(name, Value::decode(bytes.as_slice()).unwrap().text().unwrap());
            }
        }
        let guard = fields.get(b"_kappa:user".as_slice())?;
        let guard = String::from_utf8_lossy(guard).into_owned();
        let mut words = guard.split(' ');
        hash.insert(POSITION_FIELD.into(), words.next().unwrap().into());
        hash.insert(VERSION_FIELD.into(), words.next().unwrap().into());
        let time = Timestamp::decode(fields[b"_ts:user".as_slice()].as_slice()).unwrap();
        hash.insert(EVENT_TIME_FIELD.into(), time.millis().to_string());
        Some(hash)
    }
}

impl OnlineStore for AsFeast {
    fn publish<'a>(&'a self, batch: &'a OnlineBatch<'a>) -> BoxFuture<'a, Result<()>> {
        let columns = batch.entity.columns().map(|(name, _)| (field("user", name), name.to_string()));
        self.names.lock().unwrap().extend(columns);
        self.store.publish(batch)
    }

    fn get<'a>(&'a self, online_key: &'a str) -> BoxFuture<'a, Result<Option<OnlineHash>>> {
        Box::pin(async move { Ok(self.hash(online_key).await) })
    }

    fn get_many<'a>(&'a self, online_keys: &'a [String], fields: &'a [&'a str]) -> BoxFuture<'a, Result<OnlineRows>> {
        Box::pin(async move {
            let mut rows = OnlineRowsBuilder::with_capacity(fields.len(), online_keys.len());
            for key in online_keys {
                match self.hash(key).await {
                    Some(hash) => {
                        let texts = fields.iter().map(|field| hash.get(*field).map(String::as_bytes));
                        rows.push(Some(hash[EVENT_TIME_FIELD].as_bytes()), texts);
                    }
                    None => rows.push_none(),
                }
            }
            Ok(rows.finish())
        })
    }

    fn set_progress<'a>(&'a self, partition: i32, progress: Progress) -> BoxFuture<'a, Result<()>> {
        self.store.set_progress(partition, progress)
    }

    fn progress<'a>(&'a self, partition: i32) -> BoxFuture<'a, Result<Option<Progress>>> {
        self.store.progress(partition)
    }

    fn check<'a>(&'a self, expected: &'a [(i32, Progress)]) -> BoxFuture<'a, Result<Vec<i32>>> {
        self.store.check(expected)
    }
}

#[tokio::test]
async fn feasts_form_conforms() {
    let server = RedisServer::start(&[]);
    conforms(&AsFeast::new(settings(&server.url())).await, sleep).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn feasts_form_in_a_cluster_conforms() {
    let server = RedisServer::start_cluster();
    let settings = RedisSettings { cluster: true, ..settings(&server.url()) };
    conforms(&AsFeast::new(settings).await, sleep).await;
}

#[tokio::test]
async fn views_with_the_same_join_keys_share_a_hash_and_keep_their_own_positions() {
    let server = RedisServer::start(&[]);
    let feast = AsFeast::new(settings(&server.url())).await;
    let short = EntityPlan { empty_ttl: 200, ..entity() };
    let other = EntityPlan { name: "other".into(), ..short.clone() };
    put(&feast, &other, FIRST, &[Row::full("a", 5)]).await.unwrap();
    put(&feast, &short, FIRST, &[Row::full("a", 3)]).await.unwrap();
    put(&feast, &short, FIRST, &[Row { category: None, ..Row::full("a", 4) }]).await.unwrap();
    put(&feast, &other, FIRST, &[Row::full("a", 4)]).await.unwrap();
    let fields = feast.fields("t:a").await;
    let guard = |name: &str| String::from_utf8_lossy(&fields[name.as_bytes()]).into_owned();
    assert!(guard("_kappa:other").starts_with("1:3:5:0 1 -") && guard("_kappa:user").starts_with("1:3:4:0 1 -"));
    let has = |view: &str, name: &str| fields.contains_key(field(view, name).as_slice());
    assert!(has("other", "category") && !has("user", "category") && has("user", "count"));
    // The hash stays while one of them shows something, or while somebody else has a view in it.
    put(&feast, &short, FIRST, &[Row::empty("a", 6)]).await.unwrap();
    sleep(300).await;
    assert_eq!(feast.fields("t:a").await.keys().filter(|name| name.starts_with(b"_ts:")).count(), 2);
    put(&feast, &other, FIRST, &[Row::empty("a", 7)]).await.unwrap();
    put(&feast, &other, FIRST, &[Row::empty("b", 7)]).await.unwrap();
    sleep(300).await;
    assert!(feast.fields("t:a").await.is_empty() && feast.fields("t:b").await.is_empty());
    let theirs = |command: &str| {
        let mut key = Vec::new();
        FeastView::new("shop", &source(), &entity()).write_key("c", &mut key).unwrap();
        redis::cmd(command).arg(key).arg("_ts:theirs").arg("x").to_owned()
    };
    feast.store.door.connect().await.unwrap().command(&theirs("HSET")).await.unwrap();
    put(&feast, &short, FIRST, &[Row::empty("c", 7)]).await.unwrap();
    sleep(300).await;
    assert!(feast.fields("t:c").await.contains_key(b"_ts:user".as_slice()));
}

#[tokio::test]
async fn a_view_that_feast_has_removed_is_written_again() {
    let server = RedisServer::start(&[]);
    let feast = AsFeast::new(settings(&server.url())).await;
    put(&feast, &entity(), FIRST, &[Row::full("a", 5)]).await.unwrap();
    let (source, entity) = (source(), entity());
    let (view, mut key) = (FeastView::new("shop", &source, &entity), Vec::new());
    view.write_key("a", &mut key).unwrap();
    // As its `delete_table` does where another view is left.
    let mut call = redis::cmd("HDEL");
    call.arg(key).arg("_ts:user");
    view.fields().iter().for_each(|field| {
        call.arg(field.as_slice());
    });
    feast.store.door.connect().await.unwrap().command(&call).await.unwrap();
    put(&feast, &entity, FIRST, &[Row::full("a", 5)]).await.unwrap();
    assert_eq!(feast.hash("t:a").await.unwrap()["count"], "5");
}

#[tokio::test]
async fn both_forms_are_written_and_each_has_its_own_position() {
    let server = RedisServer::start(&[]);
    let both = RedisSettings { formats: vec![RedisFormat::Hash, RedisFormat::Feast], ..settings(&server.url()) };
    let both = RedisStore::connect(&both, "shop", &[entity()]).await.unwrap();
    let feast = AsFeast::new(settings(&server.url())).await;
    put(&feast, &entity(), FIRST, &[Row::full("a", 9)]).await.unwrap();
    put(&both, &entity(), FIRST, &[Row::full("a", 5)]).await.unwrap();
    assert_eq!(both.get("t:a").await.unwrap().unwrap()["count"], "5");
    assert_eq!(feast.hash("t:a").await.unwrap()["count"], "9");
    put(&both, &entity(), From { generation: 2, ..FIRST }, &[Row::full("a", 1)]).await.unwrap();
    assert_eq!(both.get("t:a").await.unwrap().unwrap()["count"], "1");
    assert_eq!(feast.hash("t:a").await.unwrap()["count"], "1");
}

#[tokio::test]
async fn a_form_that_is_added_has_everything_to_come() {
    let server = RedisServer::start(&[]);
    let with = async |formats: &[RedisFormat]| {
        let settings = RedisSettings { formats: formats.to_vec(), ..settings(&server.url()) };
        RedisStore::connect(&settings, "shop", &[entity()]).await.unwrap()
    };
    let (hash, both) = ([RedisFormat::Hash], [RedisFormat::Hash, RedisFormat::Feast]);
    let expected = [(3, progress(1, 2, None))];
    with(&hash).await.set_progress(3, expected[0].1).await.unwrap();
    for (formats, lost) in [(&hash[..], 0), (&both, 1), (&hash, 1), (&hash, 0)] {
        let store = with(formats).await;
        assert_eq!(store.check(&expected).await.unwrap().len(), lost, "{formats:?}");
        store.set_progress(3, expected[0].1).await.unwrap();
        assert!(store.check(&expected).await.unwrap().is_empty(), "{formats:?}");
    }
}

#[tokio::test]
async fn what_only_feast_reads_is_not_read_as_nothing() {
    let server = RedisServer::start(&[]);
    let settings = RedisSettings { formats: vec![RedisFormat::Feast], ..settings(&server.url()) };
    let error = RedisStore::to_read(&settings, "shop").unwrap_err();
    assert!(error.to_string().contains("add hash"), "{error}");
    let store = RedisStore::connect(&settings, "shop", &[entity()]).await.unwrap();
    assert!(store.get("t:a").await.is_err() && store.get_many(&["t:a".into()], &[]).await.is_err());
}
