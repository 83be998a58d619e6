//! The verifier must find what it is there to find: each test spoils one thing that was right.

use std::collections::BTreeMap;

use crate::support::compare::{
    Conservation, StoredHashes, compare_dead_letters, compare_online, compare_rows, read_dead_letters, read_rows,
};
use crate::support::generate::{SmallOptions, random_topology, small};

use crate::support::oracle::{Aggregate, FeatureRow, PartitionRun, Topology, Value, run};

struct Verified {
    topology: Topology,
    runs: Vec<PartitionRun>,
    rows: Vec<FeatureRow>,
    stored: StoredHashes,
}

/// A log, what the oracle makes of it, and stores that hold exactly that.
fn verified() -> Verified {
    // One whose first feature is a plain count: the tests spoil that.
    let plain_count = |topology: &Topology| {
        let feature = &topology.entities[0].features[0];
        (&feature.aggregate, feature.by.is_none(), feature.half_life, &feature.empty)
            == (&Aggregate::Count, true, None, &None)
    };
    let topology = (0..).map(|seed| random_topology(seed).topology).find(plain_count).expect("seeds do not end");
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
         w: timestamp_ms, ts: timestamp_ms}}, entities: {pair: {key: [u, i], features: {c: {count: '*', window: \
         lifetime}, p: {sum: p, window: lifetime}, b: {last: b, window: lifetime}, w: {last: w, window: lifetime}, \
         s: {last: u, window: lifetime}}}}}",
    );
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
                r#"10.0 #100 0:["a\"",7] T=1 known=3 [1, 0.5, true, @9, null]"#,
                r#"11.3 #101 0:["b",-1] T=-2 known=4 [2, null, null, @8, 'x']"#,
            ]
        );
        let second = read_rows(url, &topology, 0, Some(5)).await.expect("rows of one partition");
        assert_eq!((second.len(), second[0].partition), (1, 5));
        let letters = read_dead_letters(url).await.expect("dead letters");
        assert_eq!(letters.iter().map(|letter| letter.offset).sum::<i64>(), 21);
    });
}
