//! The verifier must find what it is there to find: each test spoils one thing that was right.

use std::collections::BTreeMap;

use crate::support::compare::{
    Conservation, StoredHashes, compare_dead_letters, compare_online, compare_rows, compare_tables, read_dead_letters,
    read_rows,
};
use crate::support::generate::{SmallOptions, small};
use crate::support::oracle::{FeatureRow, PartitionRun, Topology, Value, run};

struct Verified {
    topology: Topology,
    runs: Vec<PartitionRun>,
    rows: Vec<FeatureRow>,
    stored: StoredHashes,
}

/// Exact and inexact values, nested ones, what is derived, two entities.
const TOPOLOGY: &str = r#"
topology: verified
source:
  topic: verified.events
  event_time: ts
  lateness: 1s
  grace: 100ms
  schema: {user_id: string, item: int64, event: string, category: string, qty: int64, price: double,
           amount: "decimal(9,2)", ts: timestamp_ms}
entities:
  user:
    key: user_id
    online_key: "user:{id}"
    features:
      f0: {count: "*", window: 1m, slide: 5s}
      f1: {sum: price, window: lifetime}
      f2: {quantile: price, q: 0.5, window: {session: 30s}}
      f3: {count: "*", by: event, window: {last: 20}}
      f4: {top_k: category, k: 2, window: {tumbling: 10m}}
      f5: {sum: amount, window: {since: "event = 'remove'"}}
      f6: {approx_distinct: item, window: lifetime}
    derived:
      d0: f1 / f6
      d1: share(f3)
  user_item:
    key: [user_id, item]
    online_key: "user_item:{id}"
    features:
      f0: {max: qty, window: lifetime}
"#;

/// A log, what the oracle makes of it, and stores that hold exactly that.
fn verified() -> Verified {
    let topology = Topology::from_yaml(TOPOLOGY);
    let options = SmallOptions { events: 2_000, partitions: 3, users: 30, extremes: false, offset_gaps: true };
    let runs = run(&topology, &small(1, &topology, options));
    let rows: Vec<FeatureRow> = runs.iter().flat_map(|run| run.rows.iter().cloned()).collect();
    let mut stored = StoredHashes::new();
    for row in &rows {
        let entity = &topology.entities[row.entity];
        let texts = entity.columns().into_iter().zip(&row.values);
        let mut hash: BTreeMap<String, String> =
            texts.filter_map(|((name, _), value)| Some((name.to_string(), value.text()?))).collect();
        hash.insert("_event_time".into(), row.event_time.to_string());
        stored.insert(entity.online_key.replace("{id}", &row.key), hash);
    }
    assert!(rows.len() > 500, "{} rows", rows.len());
    Verified { topology, runs, rows, stored }
}

#[test]
fn what_is_right_shows_no_difference() {
    let mut good = verified();
    good.rows.reverse();
    let expected: Vec<FeatureRow> = good.runs.iter().flat_map(|run| run.rows.iter().cloned()).collect();
    let rows = compare_rows(&good.topology, &expected, &good.rows);
    assert!(rows.is_none(), "{rows}");
    let online = compare_online(&good.topology, &good.runs, &good.stored);
    assert!(online.is_none() && online.expected > 20, "{online}");
    for run in &good.runs {
        let expected = Conservation::expected(run, 0);
        assert!(expected.gaps > 0);
        assert_eq!(expected.check_against(&expected), Ok(()));
    }
}

#[test]
fn one_changed_online_value_is_found() {
    let mut good = verified();
    let hash = good.stored.values_mut().find(|hash| hash.contains_key("f0")).expect("some entity has a value");
    hash.insert("f0".into(), "424242".into());
    let found = compare_online(&good.topology, &good.runs, &good.stored);
    assert_eq!((found.different, found.total(), found.first.len()), (1, 1, 1), "{found}");
    assert!(found.first[0].contains("424242"), "{found}");
}

#[test]
fn one_missing_and_one_unknown_online_key_are_found() {
    let mut good = verified();
    let key = good.stored.iter().find(|(_, hash)| hash.values().any(|text| text == "1")).expect("a one").0.clone();
    let hash = good.stored.remove(&key).expect("just seen");
    good.stored.insert("nobody".into(), hash);
    let found = compare_online(&good.topology, &good.runs, &good.stored);
    assert_eq!((found.missing, found.extra, found.different), (1, 1, 0), "{found}");
}

#[test]
fn a_refreshed_hash_is_compared_with_the_law_at_its_own_time() {
    let mut good = verified();
    let last: BTreeMap<String, (usize, usize)> = good
        .runs
        .iter()
        .enumerate()
        .flat_map(|(index, run)| run.rows.iter().enumerate().map(move |(row, _)| (index, row)))
        .map(|(index, row)| {
            let row_there = &good.runs[index].rows[row];
            (good.topology.entities[row_there.entity].online_key.replace("{id}", &row_there.key), (index, row))
        })
        .collect();
    for (key, (index, row)) in last {
        let (run, row) = (&good.runs[index], &good.runs[index].rows[row]);
        let later = row.event_time + 1_000_000_000_000;
        let values = run.values_at(&good.topology, row.entity, &row.key, later).expect("it has a row");
        let hash = good.stored.get_mut(&key).expect("it has a row");
        hash.clear();
        hash.insert("_event_time".into(), later.to_string());
        for ((name, _), value) in good.topology.entities[row.entity].columns().into_iter().zip(&values) {
            value.text().map(|text| hash.insert(name.to_string(), text));
        }
    }
    let found = compare_online(&good.topology, &good.runs, &good.stored);
    assert!(found.is_none(), "{found}");
}

#[test]
fn one_dropped_row_is_found() {
    let good = verified();
    let mut rows = good.rows.clone();
    rows.remove(123);
    let found = compare_rows(&good.topology, &good.rows, &rows);
    assert_eq!((found.lost, found.total()), (1, 1), "{found}");
}

#[test]
fn one_doubled_row_is_found() {
    let good = verified();
    let mut rows = good.rows.clone();
    rows.push(rows[123].clone());
    let found = compare_rows(&good.topology, &good.rows, &rows);
    assert_eq!((found.doubled, found.total()), (1, 1), "{found}");
}

#[test]
fn an_invented_row_and_a_changed_value_are_found() {
    let good = verified();
    let mut rows = good.rows.clone();
    let mut invented = rows[7].clone();
    invented.sequence = 9_999;
    rows[50].known_at += 1;
    let spoiled = rows.iter().rposition(|row| matches!(row.values[0], Value::Int(_))).expect("a whole number");
    rows[spoiled].values[0] = Value::Int(-77);
    rows.push(invented);
    let found = compare_rows(&good.topology, &good.rows, &rows);
    assert_eq!((found.extra, found.different, found.total()), (1, 2, 3), "{found}");
    assert!(found.first.iter().any(|line| line.starts_with("known_at")), "{found}");
}

#[test]
fn a_changed_value_inside_a_map_and_a_changed_derived_value_are_found() {
    let good = verified();
    let mut rows = good.rows.clone();
    let bucket = rows.iter().position(|row| matches!(row.values.get(3), Some(Value::Map(_)))).expect("a map");
    if let Value::Map(pairs) = &rows[bucket].values[3] {
        let more = |(key, value): &(_, Value)| match value {
            Value::Int(n) => (std::sync::Arc::clone(key), Value::Int(n + 1)),
            other => panic!("{other} is no count"),
        };
        rows[bucket].values[3] = Value::Map(pairs.iter().map(more).collect());
    }
    let derived = rows.iter().rposition(|row| matches!(row.values.get(7), Some(Value::Double(_)))).expect("a ratio");
    rows[derived].values[7] = Value::Double(-0.125);
    let found = compare_rows(&good.topology, &good.rows, &rows);
    assert_eq!((found.different, found.total()), (2, 2), "{found}");
    assert!(found.first[0].starts_with("f3: ") && found.first[1].starts_with("d0: "), "{found}");
}

#[test]
fn an_online_text_that_is_not_in_its_own_form_is_found() {
    let mut good = verified();
    let hash = good.stored.values_mut().find(|hash| hash.contains_key("f3")).expect("some entity has buckets");
    let blanks = hash["f3"].replace(':', ": ");
    hash.insert("f3".into(), blanks);
    let found = compare_online(&good.topology, &good.runs, &good.stored);
    assert_eq!((found.different, found.total()), (1, 1), "{found}");
}

#[test]
fn one_skipped_offset_is_found() {
    let good = verified();
    let expected = Conservation::expected(&good.runs[0], 0);
    let skipped = Conservation { delivered: expected.delivered - 1, applied: expected.applied - 1, ..expected };
    let problems = skipped.check_against(&expected).expect_err("a record is missing");
    assert!(problems[0].contains("end - start = delivered + gaps"), "{problems:?}");
    // Taken for a gap, it still differs from what the oracle counts.
    assert!(Conservation { gaps: expected.gaps + 1, ..skipped }.check_against(&expected).is_err());
    let unnoticed = Conservation { dead_letters: expected.dead_letters + 1, ..expected };
    assert_eq!(unnoticed.check().expect_err("one too many").len(), 1);
}

#[test]
fn a_lost_and_a_doubled_dead_letter_are_found() {
    let good = verified();
    let letters: Vec<_> = good.runs.iter().flat_map(|run| run.dead_letters.iter().cloned()).collect();
    assert!(letters.len() > 3);
    assert!(compare_dead_letters(&letters, &letters).is_empty());
    assert_eq!(compare_dead_letters(&letters, &letters[1..]).len(), 1);
    let doubled: Vec<_> = letters.iter().chain(&letters[..1]).cloned().collect();
    assert_eq!(compare_dead_letters(&letters, &doubled).len(), 1);
}

#[test]
fn rows_and_dead_letters_come_back_from_a_delta_table() {
    use arrow::array::*;
    use std::sync::Arc;
    let topology = Topology::from_yaml(
        "{topology: t, source: {topic: t, event_time: ts, schema: {u: string, i: int64, p: double, b: bool, \
         a: 'decimal(5,2)', w: timestamp_ms, ts: timestamp_ms}}, entities: {pair: {key: [u, i], features: {c: {count: \
         '*', window: lifetime}, p: {sum: p, window: lifetime}, b: {last: b, window: lifetime}, w: {last: w, window: \
         lifetime}, s: {last: u, window: lifetime}, q: {quantiles: p, q: [0.5, 1], window: lifetime}, m: {count: '*', \
         by: u, window: lifetime}, k: {top_k: u, k: 2, window: lifetime}, d: {sum: a, window: lifetime}}, derived: {r: \
         c + 1}}}}",
    );
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("a");
    map.values().append_value(1);
    map.keys().append_value("b");
    map.values().append_null();
    map.append(true).expect("keys and values are of one length");
    map.append(false).expect("no entry");
    let counted = StructArray::try_from(vec![
        ("value", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
        ("n", Arc::new(Int64Array::from(vec![3, 1]))),
    ])
    .expect("columns are of one length");
    let counted = ListArray::new(
        Arc::new(arrow::datatypes::Field::new("item", counted.data_type().clone(), true)),
        arrow::buffer::OffsetBuffer::from_lengths([2, 0]),
        Arc::new(counted),
        Some(vec![true, false].into()),
    );
    let decimal = Decimal128Array::from(vec![Some(150), None]).with_precision_and_scale(38, 2).expect("it fits");
    let list = ListArray::from_iter_primitive::<arrow::datatypes::Float64Type, _, _>([Some([Some(1.5), None]), None]);
    let micros = |values: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("u", Arc::new(StringArray::from(vec!["a\"", "b"])) as ArrayRef),
        ("i", Arc::new(Int64Array::from(vec![7, -1]))),
        ("event_time", micros(vec![1_000, -2_000])),
        ("known_at", micros(vec![3_000, 4_000])),
        ("partition", Arc::new(Int32Array::from(vec![2, 5]))),
        ("offset", Arc::new(Int64Array::from(vec![10, 11]))),
        ("sequence", Arc::new(Int32Array::from(vec![0, 3]))),
        ("ordinal", Arc::new(Int64Array::from(vec![100, 101]))),
        ("c", Arc::new(Int64Array::from(vec![1, 2]))),
        ("p", Arc::new(Float64Array::from(vec![Some(0.5), None]))),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("w", micros(vec![9_000, 8_000])),
        ("s", Arc::new(StringArray::from(vec![None, Some("x")]))),
        ("q", Arc::new(list)),
        ("m", Arc::new(map.finish())),
        ("k", Arc::new(counted)),
        ("d", Arc::new(decimal)),
        ("r", Arc::new(Int64Array::from(vec![2, 3]))),
        ("class", Arc::new(StringArray::from(vec!["late", "future"]))),
    ])
    .expect("columns are of one length");
    let directory = tempfile::tempdir().expect("a directory");
    let url = directory.path().to_str().expect("a path in UTF-8");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let table = deltalake::DeltaTable::try_from_url(deltalake::ensure_table_uri(url).expect("a URL")).await;
        table.expect("a table").write(vec![batch]).await.expect("a commit");
        let mut rows = read_rows(url, &topology, 0, None).await.expect("rows");
        rows.sort_by_key(|row| row.ordinal);
        let shown: Vec<String> = rows.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                r#"10.0 #100 0:["a\"",7] T=1 known=3 [1, 0.5, true, @9, null, [1.5, null], {a: 1, b: null}, ['a' x 3, 'b' x 1], 1.50, 2]"#,
                r#"11.3 #101 0:["b",-1] T=-2 known=4 [2, null, null, @8, 'x', null, null, null, null, 3]"#,
            ]
        );
        let second = read_rows(url, &topology, 0, Some(5)).await.expect("rows of one partition");
        assert_eq!((second.len(), second[0].partition), (1, 5));
        let letters = read_dead_letters(url).await.expect("dead letters");
        assert_eq!(letters.iter().map(|letter| letter.offset).sum::<i64>(), 21);
    });
}

/// A table of rows (partition, ordinal, value) on days that follow from their ordinals.
async fn table(rows: &[(i32, i64, f64)], version: i32) -> tempfile::TempDir {
    use arrow::array::*;
    use std::sync::Arc;
    let days = rows.iter().map(|row| 20_000 + row.1 as i32 / 2);
    let columns: [(&str, ArrayRef); 5] = [
        ("event_date", Arc::new(Date32Array::from_iter_values(days))),
        ("partition", Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0)))),
        ("ordinal", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)))),
        ("value", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2)))),
        ("version", Arc::new(Int32Array::from_iter_values(rows.iter().map(|_| version)))),
    ];
    let directory = tempfile::tempdir().expect("a directory");
    let url = deltalake::ensure_table_uri(directory.path().to_str().expect("a path in UTF-8")).expect("a URL");
    let table = deltalake::DeltaTable::try_from_url(url).await.expect("a table");
    table.write(vec![RecordBatch::try_from_iter(columns).expect("equal lengths")]).await.expect("a commit");
    directory
}

#[test]
fn tables_are_compared_row_by_row_and_to_the_last_bit() {
    let rows = [(0, 0, 0.3), (1, 0, 0.0), (0, 1, 1.5), (0, 2, 2.5), (1, 3, 3.5)];
    let spoiled = |index: usize, row: (i32, i64, f64)| {
        let mut rows = rows.to_vec();
        rows[index] = row;
        rows
    };
    let compared = |actual: Vec<(i32, i64, f64)>| {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let (expected, actual) = (table(&rows, 1).await, table(&actual, 2).await);
            let urls = [&expected, &actual].map(|of| of.path().to_str().expect("a path in UTF-8"));
            compare_tables(urls[0], urls[1], "event_date").await.expect("both are read")
        })
    };
    let mut reversed = rows.to_vec();
    reversed.reverse();
    let found = compared(reversed);
    assert!(found.is_none() && (found.expected, found.actual) == (5, 5), "{found}");
    for changed in [spoiled(0, (0, 0, 0.1 + 0.2)), spoiled(1, (1, 0, -0.0))] {
        let found = compared(changed);
        assert_eq!((found.different, found.total(), found.first.len()), (1, 1, 1), "{found}");
        assert!(found.first[0].contains("value is"), "{found}");
    }
    let found = compared(rows[..4].to_vec());
    assert_eq!((found.lost, found.total()), (1, 1), "{found}");
    let found = compared([&rows[..], &[(1, 1, 0.5)], &rows[..1]].concat());
    assert_eq!((found.extra, found.doubled, found.total()), (1, 1, 2), "{found}");
}
