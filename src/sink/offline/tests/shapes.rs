//! What the tables look like: columns, types, dates, keys, and what is refused.

use arrow::util::pretty::pretty_format_batches;

use super::*;
use crate::error::ErrorKind;
use crate::time::{MAX_EVENT_TIME, MIN_EVENT_TIME};

fn key(text: &str) -> HistoryQuery {
    HistoryQuery { key: text.into(), ..Default::default() }
}

/// Lines of a printed table without its borders and its first two lines, cells joined by `|`.
fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let cells =
        |line: &str| line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join("|");
    text.lines().filter(|line| line.starts_with('|')).map(cells).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_comes_back_as_it_went_in() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[4]).await;
    writer.append(&epoch(1, 4, 0..40, 0..4)).unwrap();
    writer.commit().await.unwrap();
    let rows = read_history(&settings, &plan(), 1, "user", &key("u2")).await.unwrap();
    assert_eq!(
        lines(&rows),
        [
            "user_id|event_time|known_at|partition|offset|sequence|ordinal|version|views|total|label|flag|last_at|spent|fee|recent|top|by_label|prices|ratio|event_date",
            "u2|2024-02-28T22:02:00Z|2024-02-28T22:02:00.007Z|4|1001|0|2|1|1|0.6666666666666666|é2|false|2024-02-28T22:01:59.999Z|19999999999999999999999999999.95|0.003|[2024-02-28T22:02:00Z, , 2024-02-28T22:01:59.999Z]|[{value: é2, n: 2}, {value: , n: 1}]|{: , é: 0.6666666666666666}|{a: [0.0002, ], b: }|0.2857142857142857|2024-02-28",
            "u2|2024-02-28T22:12:00Z|2024-02-28T22:12:00.007Z|4|1006|0|12|1|2024-02-28",
            "u2|2024-02-28T22:22:00Z|2024-02-28T22:22:00.007Z|4|1011|0|22|1|61|7.333333333333333|é1|false|2024-02-28T22:21:59.999Z|219999999999999999999999999999.95|-0.017|[2024-02-28T22:22:00Z, , 2024-02-28T22:21:59.999Z]|[{value: é1, n: 22}, {value: , n: 1}]|{: , é: 7.333333333333333}|{a: [0.0022, ], b: }|3.142857142857143|2024-02-28",
            "u2|2024-02-28T22:32:00Z|2024-02-28T22:32:00.007Z|4|1016|0|32|1|2024-02-28",
        ]
    );
    let dead = query(&settings, &plan(), 1, "select * from dead_letters order by ordinal").await.unwrap();
    assert_eq!(
        lines(&dead),
        [
            "ordinal|partition|offset|kafka_time|class|reason|key|value|dead_date",
            "0|4|500|malformed|no event time in 0|7b30|1970-01-01",
            "1|4|501|2024-02-28T22:01:00Z|malformed|no event time in 1|ff01|7b31|2024-02-28",
            "2|4|502|2024-02-28T22:02:00Z|malformed|no event time in 2|ff02|7b32|2024-02-28",
            "3|4|503|malformed|no event time in 3|7b33|1970-01-01",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn number_and_composite_keys_have_a_column_a_field() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0]).await;
    writer.append(&epoch(1, 0, 0..200, 0..0)).unwrap();
    writer.commit().await.unwrap();
    let ordinals = |batches: Vec<RecordBatch>| {
        let column = |batch: &RecordBatch| batch["ordinal"].as_primitive::<Int64Type>().values().to_vec();
        batches.iter().flat_map(column).collect::<Vec<_>>()
    };
    let expected = |entity, wanted: &str| {
        (0..200).filter(|o| entity_of(*o) == entity && key_of(entity, *o) == wanted).collect::<Vec<_>>()
    };
    let plan = plan();
    for (entity, name, text) in [(1, "order", "-3"), (1, "order", "3"), (2, "pair", "[\"u\\\"1\",2]")] {
        let rows = ordinals(read_history(&settings, &plan, 1, name, &key(text)).await.unwrap());
        assert_eq!(rows, expected(entity, text), "{name} {text}");
        assert!(!rows.is_empty());
    }
    let newest = HistoryQuery { key: "u5".into(), limit: Some(3), to: Some(time_of(100)), ..Default::default() };
    let rows = ordinals(read_history(&settings, &plan, 1, "user", &newest).await.unwrap());
    assert_eq!(rows, [75, 85, 95]);
    let later = HistoryQuery { from: Some(time_of(95)), ..newest };
    assert_eq!(ordinals(read_history(&settings, &plan, 1, "user", &later).await.unwrap()), [95]);
    for (name, text) in [("order", "x"), ("pair", "u1"), ("pair", "[\"u1\"]"), ("silent", "u1"), ("nobody", "u1")] {
        let error = read_history(&settings, &plan, 1, name, &key(text)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    }
    assert!(read_history(&settings, &plan, 2, "user", &key("u1")).await.unwrap().is_empty());
    assert!(!directory.path().join("offline/shop/user/v2").exists());
    assert!(!directory.path().join("offline/shop/silent").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_commit_holds_many_dates_from_year_1_to_9999() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0]).await;
    let far = [MIN_EVENT_TIME, MAX_EVENT_TIME, -1, 0, 86_399_999, 86_400_000];
    let times = (0..100).map(|day| START + day % 50 * 86_400_000).chain(far);
    let rows: Vec<_> = times.enumerate().map(|(ordinal, time)| (ordinal as i64, time)).collect();
    let mut epoch = epoch(1, 0, 0..0, 0..0);
    (epoch.next_ordinal, epoch.rows) = (rows.len() as i64, vec![entity_rows(0, &rows)]);
    writer.append(&epoch).unwrap();
    let summary = writer.commit().await.unwrap();
    assert_eq!((summary.rows, summary.files), (106, 50 + 5));
    let sql = "select ordinal, event_time, event_date from \"user\" where ordinal >= 100 order by ordinal";
    assert_eq!(
        lines(&query(&settings, &plan(), 1, sql).await.unwrap())[1..],
        [
            "100|0001-01-01T00:00:00Z|0001-01-01",
            "101|9999-12-31T23:59:59.999Z|9999-12-31",
            "102|1969-12-31T23:59:59.999Z|1969-12-31",
            "103|1970-01-01T00:00:00Z|1970-01-01",
            "104|1970-01-01T23:59:59.999Z|1970-01-01",
            "105|1970-01-02T00:00:00Z|1970-01-02",
        ]
    );
    let wrong = "select count(*) from \"user\" where event_date != cast(event_time as date)";
    assert_eq!(lines(&query(&settings, &plan(), 1, wrong).await.unwrap())[1], "0");
    let old = "select count(*) from \"user\" where event_time < to_timestamp_micros(0)";
    assert_eq!(lines(&query(&settings, &plan(), 1, old).await.unwrap())[1], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_another_topology_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    open(&settings, &[0]).await;
    open(&settings, &[0]).await;
    let mut wider = plan();
    wider.entities[0].features.push(feature("one_more", ValueType::Double));
    let retyped = |name: &str, ty: OutputType| {
        let mut plan = plan();
        plan.entities[0].features.iter_mut().find(|feature| feature.name == name).unwrap().output_type = ty;
        plan
    };
    let scalar = OutputType::Scalar;
    let mut underived = plan();
    underived.entities[0].derived[0].on = DerivedOn::Read;
    let mut relogic = plan();
    relogic.fingerprint = "f2".into();
    let others = [
        (wider, "missing [one_more double]"),
        (retyped("views", scalar(ValueType::Double)), "missing [views double], not in the topology [views long]"),
        (retyped("spent", scalar(decimal(38, 3))), "missing [spent decimal(38,3)]"),
        (retyped("recent", scalar(ValueType::Timestamp)), "not in the topology [recent array<timestamp>]"),
        (retyped("top", OutputType::Counted(ValueType::Int64)), "[top array<struct<value: long, n: long>>]"),
        (retyped("prices", OutputType::Map(Box::new(scalar(ValueType::Bool)))), "[prices map<string, boolean>]"),
        (underived, "not in the topology [ratio double]"),
        (relogic, "fingerprint f1, now f2"),
    ];
    for (other, shows) in others {
        let error = OfflineWriter::open(&settings, &other, 1, &[0]).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains(shows), "{error}");
        OfflineWriter::open(&settings, &other, 2, &[0]).await.unwrap();
        std::fs::remove_dir_all(directory.path().join("offline/shop/user/v2")).unwrap();
        for table in ["order", "pair", DEAD_LETTERS] {
            std::fs::remove_dir_all(directory.path().join(format!("offline/shop/{table}/v2"))).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_a_table_cannot_have_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["ORDINAL", "user_id", "event_date", "a b", "Views"] {
        let mut plan = plan();
        plan.entities[0].features.push(feature(name, ValueType::Double));
        let error = OfflineWriter::open(&settings(&directory), &plan, 1, &[0]).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        plan.entities[0].history = false;
        OfflineWriter::open(&settings(&directory), &plan, 1, &[0]).await.unwrap();
    }
    let mut odd = settings(&directory);
    odd.url = "ftp://somewhere/else".into();
    let error = OfflineWriter::open(&odd, &plan(), 1, &[0]).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_url_and_a_directory_are_the_same_place() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(&directory);
    let mut writer = open(&settings, &[0]).await;
    writer.append(&epoch(1, 0, 0..10, 0..0)).unwrap();
    writer.commit().await.unwrap();
    settings.url = format!("file://{}/", settings.url);
    assert_eq!(open(&settings, &[0]).await.committed()[&0].next_ordinal, 10);
    assert_eq!(stored(&settings, "order").await.len(), 2);
}
