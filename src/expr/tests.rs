//! What an expression means on one record, what is refused, and that neighbours change nothing.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use proptest::prelude::*;

use super::*;

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("userId", DataType::Utf8, true),
        Field::new("event", DataType::Utf8, true),
        Field::new("price", DataType::Float64, true),
        Field::new("qty", DataType::Int64, true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("ts", time, true),
        Field::new("user", DataType::Utf8, true),
        Field::new("order", DataType::Utf8, true),
    ]))
}

/// Five records: the last is all null.
fn batch() -> RecordBatch {
    let text =
        |values: [&str; 4]| -> ArrayRef { Arc::new(StringArray::from_iter(values.iter().map(Some).chain([None]))) };
    let columns: Vec<ArrayRef> = vec![
        text(["u1", "u2", "u3", "ü4"]),
        text(["view", "click", "purchase", "View"]),
        Arc::new(Float64Array::from(vec![Some(0.0), Some(2.5), Some(1e308), Some(-4.0), None])),
        Arc::new(Int64Array::from(vec![Some(0), Some(2), Some(i64::MAX), Some(i64::MIN), None])),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), Some(false), None])),
        Arc::new(
            TimestampMillisecondArray::from(vec![Some(0), Some(86_400_001), Some(-1), Some(1_700_000_000_000), None])
                .with_timezone("UTC"),
        ),
        text(["a", "b", "c", "d"]),
        text(["1", "x", "3", ""]),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// The values as text (null is `-`), and the rows that failed.
fn run_on(sql: &str, batch: &RecordBatch) -> (Vec<String>, Vec<u32>) {
    let mut set = ExprSet::new(schema());
    let id = set.add(sql).unwrap_or_else(|problem| panic!("{sql}: {problem:?}"));
    let evaluated = set.evaluate(batch);
    let column = &evaluated.columns[id.0];
    assert_eq!(column.data_type(), &set.data_type(id), "{sql}");
    assert_eq!(column.len(), batch.num_rows(), "{sql}");
    let options = FormatOptions::default().with_null("-");
    let text = ArrayFormatter::try_new(column, &options).unwrap();
    let values = (0..column.len()).map(|row| text.value(row).to_string()).collect();
    (values, evaluated.failures.iter().map(|(_, row)| *row).collect())
}

fn run(sql: &str) -> (Vec<String>, Vec<u32>) {
    let whole = run_on(sql, &batch());
    // Each record alone must say the same as among the others.
    for row in 0..5 {
        let (value, failed) = run_on(sql, &batch().slice(row, 1));
        assert_eq!(
            (&value[0], !failed.is_empty()),
            (&whole.0[row], whole.1.contains(&(row as u32))),
            "{sql}, row {row}"
        );
    }
    whole
}

#[track_caller]
fn gives(sql: &str, values: [&str; 5], failed: &[u32]) {
    let (found, lost) = run(sql);
    assert_eq!(
        (found.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), lost.as_slice()),
        (&values[..], failed),
        "{sql}"
    );
}

#[track_caller]
fn refused(sql: &str) -> ExprProblem {
    ExprSet::new(schema()).add(sql).expect_err(sql)
}

#[test]
fn fields_are_case_sensitive_and_functions_are_not() {
    gives("userId", ["u1", "u2", "u3", "ü4", "-"], &[]);
    gives("UPPER(userId)", ["U1", "U2", "U3", "Ü4", "-"], &[]);
    gives("Event IS NULL".replace("Event", "event").as_str(), ["false", "false", "false", "false", "true"], &[]);
    let problem = refused("userid = 'x'");
    assert_eq!((problem.at, problem.message.as_str()), (Some(0), "unknown field `userid`"));
    assert!(problem.remedy.contains("`userId`"), "{problem:?}");
}

#[test]
fn a_plain_field_is_its_own_column() {
    let (batch, mut set) = (batch(), ExprSet::new(schema()));
    for (index, name) in ["userId", "event", "price", "qty", "ok", "ts"].iter().enumerate() {
        let id = set.add(name).unwrap();
        assert!(Arc::ptr_eq(&set.evaluate(&batch).columns[id.0], batch.column(index)), "{name}");
    }
}

#[test]
fn fields_named_like_sql_words_are_found() {
    gives("user", ["a", "b", "c", "d", "-"], &[]);
    gives("user || '!'", ["a!", "b!", "c!", "d!", "-"], &[]);
    gives("\"order\"", ["1", "x", "3", "", "-"], &[]);
}

#[test]
fn conditions_follow_sql() {
    gives("event = 'view'", ["true", "false", "false", "false", "-"], &[]);
    gives("event in ('view', 'click')", ["true", "true", "false", "false", "-"], &[]);
    gives("event like '%ie%' and ok", ["true", "false", "false", "false", "-"], &[]);
    gives("event ilike 'view'", ["true", "false", "false", "true", "-"], &[]);
    gives("qty between 0 and 2", ["true", "true", "false", "false", "-"], &[]);
    gives("price is not null or ok", ["true", "true", "true", "true", "-"], &[]);
    gives("not ok", ["false", "true", "false", "true", "-"], &[]);
    gives("event ~ '^[a-z]+$'", ["true", "true", "true", "false", "-"], &[]);
    gives("case event when 'view' then 1 when 'click' then -price end", ["1.0", "-2.5", "-", "-", "-"], &[]);
    gives("case when ok then event else userId end", ["view", "u2", "purchase", "ü4", "-"], &[]);
    gives("coalesce(price, 7)", ["0.0", "2.5", "1e308", "-4.0", "7.0"], &[]);
    gives("nullif(event, 'view')", ["-", "click", "purchase", "View", "-"], &[]);
    gives("nvl2(price, 1, 0)", ["1.0", "1.0", "1.0", "1.0", "0.0"], &[]);
    gives("greatest(price, 1)", ["1.0", "2.5", "1e308", "1.0", "1.0"], &[]);
}

#[test]
fn integers_never_wrap() {
    let max = "9223372036854775807";
    gives("qty + 1", ["1", "3", "-", "-9223372036854775807", "-"], &[2]);
    gives("qty - 1", ["-1", "1", "9223372036854775806", "-", "-"], &[3]);
    gives("qty * 2", ["0", "4", "-", "-", "-"], &[2, 3]);
    gives("-qty", ["0", "-2", "-9223372036854775807", "-", "-"], &[3]);
    gives("10 / qty", ["-", "5", "0", "0", "-"], &[0]);
    gives("10 % qty", ["-", "0", "10", "10", "-"], &[0]);
    gives("qty / -1", ["0", "-2", "-9223372036854775807", "-", "-"], &[3]);
    gives("abs(qty)", ["0", "2", max, "-", "-"], &[3]);
    gives("case when qty = 0 then 0 else 10 / qty end", ["0", "5", "0", "0", "-"], &[]);
    gives("qty <> 0 and 10 / qty > 1", ["false", "true", "false", "false", "-"], &[]);
    gives("10 / qty > 1 and qty <> 0", ["-", "true", "false", "false", "-"], &[0]);
    for constant in ["9223372036854775807 + 1", "1 / 0", "cast('x' as bigint)", "9223372036854775807 * 2", "sqrt(-1)"] {
        let problem = refused(constant);
        assert!(problem.message.contains("every record"), "{constant}: {problem:?}");
    }
    // A constant that overflows inside a branch is not folded into a wrapped number either.
    gives("case when ok then 9223372036854775807 + 1 else 0 end", ["-", "0", "-", "0", "0"], &[0, 2]);
}

#[test]
fn doubles_are_finite_and_have_no_negative_zero() {
    gives("price / 0", ["-", "-", "-", "-", "-"], &[0, 1, 2, 3]);
    gives("1 / price", ["-", "0.4", "1e-308", "-0.25", "-"], &[0]);
    gives("price * 10", ["0.0", "25.0", "-", "-40.0", "-"], &[2]);
    gives("sqrt(price)", ["0.0", "1.5811388300841898", "1e154", "-", "-"], &[3]);
    gives("-price", ["0.0", "-2.5", "-1e308", "4.0", "-"], &[]);
    gives("price * -1", ["0.0", "-2.5", "-1e308", "4.0", "-"], &[]);
    // Zeros are equal inside an expression too.
    gives("-price = 0", ["true", "false", "false", "false", "-"], &[]);
    gives("price * -1 >= 0", ["true", "false", "false", "true", "-"], &[]);
    gives("round(price / -1000) = 0.0", ["true", "true", "false", "true", "-"], &[]);
    gives("cast('-0' as double) = price", ["true", "false", "false", "false", "-"], &[]);
    gives("price in (-0.0)", ["true", "false", "false", "false", "-"], &[]);
}

#[test]
fn a_cast_that_fails_is_null_for_its_record_alone() {
    gives("cast(\"order\" as bigint)", ["1", "-", "3", "-", "-"], &[1, 3]);
    gives("try_cast(\"order\" as bigint)", ["1", "-", "3", "-", "-"], &[]);
    gives("cast(price as bigint)", ["0", "2", "-", "-4", "-"], &[2]);
}

#[test]
fn every_type_becomes_one_that_the_engine_knows() {
    let type_of = |sql: &str| {
        let mut set = ExprSet::new(schema());
        let id = set.add(sql).unwrap_or_else(|problem| panic!("{sql}: {problem:?}"));
        assert_eq!(set.evaluate(&batch()).columns[id.0].data_type(), &set.data_type(id), "{sql}");
        set.data_type(id)
    };
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    for (sql, expected) in [
        ("cast(qty / 9223372036854775807 as int)", DataType::Int64),
        ("cast(1 as smallint)", DataType::Int64),
        ("cast(price / 1e308 as real)", DataType::Float64),
        ("cast(1.5 as decimal(5, 2))", DataType::Decimal128(5, 2)),
        ("cast(15 as decimal(5, 0))", DataType::Decimal128(5, 0)),
        ("arrow_cast(event, 'Utf8View')", DataType::Utf8),
        ("arrow_cast(event, 'LargeUtf8')", DataType::Utf8),
        ("cast(event as varchar)", DataType::Utf8),
        ("substr(event, 1, 2)", DataType::Utf8),
        ("length(event)", DataType::Int64),
        ("date_part('year', ts)", DataType::Int64),
        ("date_trunc('day', ts)", time.clone()),
        ("cast(ts as date)", time.clone()),
        ("ts + interval '1 day'", time.clone()),
        ("ts - ts", DataType::Int64),
        ("to_timestamp('2026-03-01T00:00:00Z')", time),
        ("ts > '2026-01-01'", DataType::Boolean),
        ("pi()", DataType::Float64),
    ] {
        assert_eq!(type_of(sql), expected, "{sql}");
    }
    gives(
        "date_trunc('day', ts)",
        ["1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z", "1969-12-31T00:00:00Z", "2023-11-14T00:00:00Z", "-"],
        &[],
    );
    gives(
        "cast(ts as date)",
        ["1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z", "1969-12-31T00:00:00Z", "2023-11-14T00:00:00Z", "-"],
        &[],
    );
    gives("ts - to_timestamp('1970-01-01T00:00:01Z')", ["-1000", "86399001", "-1001", "1699999999000", "-"], &[]);
    gives(
        "cast(qty as bigint unsigned) + cast(9223372036854775807 as bigint unsigned)",
        ["9223372036854775807", "-", "-", "-", "-"],
        &[1, 2, 3],
    );
    for (sql, found) in [("null", "null"), ("interval '1 day'", "Interval"), ("arrow_cast(event, 'Binary')", "Binary")]
    {
        let problem = refused(sql);
        assert!(problem.message.contains(found), "{sql}: {problem:?}");
    }
}

#[test]
fn what_may_change_from_call_to_call_is_refused() {
    for sql in [
        "now()",
        "NOW()",
        "current_timestamp",
        "current_timestamp()",
        "current_date",
        "current_time",
        "today()",
        "random() > 0.5",
        "uuid()",
        "case when ok then now() end",
        "ts > now() - interval '1 day'",
    ] {
        let problem = refused(sql);
        assert!(problem.message.contains("differently each time"), "{sql}: {problem:?}");
        assert!(problem.at.is_some(), "{sql}");
    }
}

#[test]
fn what_is_about_many_records_is_refused() {
    for sql in [
        "sum(price)",
        "COUNT(*)",
        "avg(price) + 1",
        "max(ts)",
        "row_number() over ()",
        "sum(price) over ()",
        "lag(price)",
        "abs(price) over ()",
        "first_value(price)",
    ] {
        let problem = refused(sql);
        assert!(problem.message.contains("many records"), "{sql}: {problem:?}");
        assert!(problem.remedy.contains("window"), "{sql}");
    }
    for sql in [
        "(select 1)",
        "price in (select 1)",
        "exists (select 1)",
        "price > (select max(x) from t)",
        "price > any(select 1)",
    ] {
        let problem = refused(sql);
        assert!(problem.message.contains("subquer"), "{sql}: {problem:?}");
    }
    for sql in ["*", "t.*", "$1", "price = ?"] {
        refused(sql);
    }
}

#[test]
fn problems_say_where_and_what_to_do() {
    let problem = refused("evnt = 'view'");
    assert_eq!((problem.at, problem.message.as_str()), (Some(0), "unknown field `evnt`"));
    assert!(problem.remedy.starts_with("did you mean `event`?") && problem.remedy.contains("userId, event, price"));
    assert_eq!(refused("ok and\n  \"ü\" || prise > 'x'").at, Some(9));
    assert_eq!(refused("ok and\n  'ü' || prise > 'x'").at, Some(17));
    assert!(refused("event = \"view\"").remedy.contains("single quotes: 'view'"));
    assert_eq!(refused("geo.city = 'x'").message, "unknown field `geo.city`");
    let problem = refused("lowr(event)");
    assert_eq!(
        (problem.message.as_str(), problem.remedy.as_str()),
        ("unknown function `lowr`", "did you mean `lower`?")
    );
    for (sql, at) in [
        ("price >", 7),
        ("price > 1 2", 10),
        ("(price", 6),
        ("price = 'x", 8),
        ("", 0),
        ("price; ok", 5),
        ("price as p", 9),
    ] {
        assert_eq!(refused(sql).at, Some(at), "{sql}: {:?}", refused(sql));
    }
    for sql in ["event + ok", "ok > ts", "lower(1, 2)", "date_part(ok, ts)", "price and ok"] {
        assert!(!refused(sql).message.is_empty() && refused(sql).message.len() < 400, "{:?}", refused(sql));
    }
}

#[test]
fn the_same_meaning_in_other_letters_is_one_expression() {
    let mut set = ExprSet::new(schema());
    let id = set.add("case when LOWER(event)='view' then price else 0 end").unwrap();
    assert_eq!(set.add("CASE WHEN lower( event ) = 'view' -- a view\n THEN price ELSE 0 END").unwrap(), id);
    assert_ne!(set.add("case when lower(event)='VIEW' then price else 0 end").unwrap(), id);
    assert_eq!(set.canonical(id), "CASE WHEN lower(event) = 'view' THEN price ELSE 0 END");
    assert_eq!((set.fields(id), set.len()), (&[1, 2][..], 2));
    let constant = set.add("1").unwrap();
    assert_eq!((set.fields(constant), set.data_type(constant)), (&[][..], DataType::Int64));
}

#[test]
fn an_empty_batch_gives_empty_columns_and_no_failures() {
    let (found, failed) = run_on("10 / qty", &batch().slice(0, 0));
    assert!(found.is_empty() && failed.is_empty());
}

#[test]
fn failures_are_listed_by_expression_then_row() {
    let mut set = ExprSet::new(schema());
    let (halves, field, sums) = (set.add("10 / qty").unwrap(), set.add("event").unwrap(), set.add("qty + 1").unwrap());
    assert_eq!(set.evaluate(&batch()).failures, [(halves, 0), (sums, 2)]);
    assert_eq!(field, ExprId(1));
}

#[test]
fn functions_give_each_record_its_own_value() {
    // Their arguments vary from row to row, so that a kernel that looks at the first row only would show.
    for sql in [
        "repeat(event, length(userId))",
        "substr(event, length(\"order\") + 1)",
        "replace(event, left(event, 1), userId)",
        "regexp_replace(event, left(event, 1), userId)",
        "regexp_like(event, left(event, 2))",
        "starts_with(event, left(event, 3))",
        "lpad(userId, length(event), user)",
        "split_part(event, left(event, 1), 2)",
        "strpos(event, right(event, 1))",
        "translate(event, user, userId)",
        "concat(event, user, \"order\")",
        "event like left(event, 1) || '%'",
        "round(price, length(\"order\"))",
        "power(price, length(\"order\"))",
        "trunc(price)",
        "date_part('hour', ts)",
        "to_char(ts, '%Y-%m-%d')",
        "date_bin(interval '1 hour', ts)",
        "case userId when 'u1' then event else user end",
        "event in (user, 'view', userId)",
        "event is distinct from user",
        "concat_ws(user, event, userId)",
        "initcap(event)",
        "reverse(event)",
        "ascii(event)",
        "ts + interval '1 month'",
        "extract(dow from ts)",
        "position(user in event)",
        "price between qty and 5",
        "event similar to 'v%'",
        "coalesce(nullif(event, 'view'), user)",
        "overlay(event placing user from 2)",
        "trim(leading left(event, 1) from event)",
        "levenshtein(event, user)",
        "btrim(event, user)",
        "floor(price)",
        "ceil(price)",
    ] {
        run(sql);
    }
}

/// Expressions that short-cut, branch or fail, in all the ways that DataFusion evaluates specially.
const TREACHEROUS: [&str; 16] = [
    "qty <> 0 and 10 / qty > 1",
    "qty = 0 or 10 / qty > 1",
    "10 / qty > 1 or ok",
    "ok and (event = 'a' or 6 % qty = 0)",
    "not ok or (qty > 1 and 10 / (qty - 2) = 0)",
    "case when ok then 10 / qty else qty * 9000000000000000000 end",
    "case qty when 0 then price when 1 then 1 / (qty - 1) else -price end",
    "case when event = 'a' then qty when ok then 1 / qty end",
    "case event when 'a' then 1 when 'b' then 2 else 3 end",
    "case when ok then 'x' when price > 1 then event end",
    "qty in (1, 10 / qty, price)",
    "event in ('a', 'b', userId)",
    "coalesce(price / qty, qty / qty, 7)",
    "nullif(price, 0) / price > 0 and ok",
    "cast(event as bigint) + qty",
    "case when qty <> 0 then 10 / qty end is null and event like '%a'",
];

fn random_batch() -> impl Strategy<Value = RecordBatch> {
    let text = || prop::option::of(prop::sample::select(vec!["a", "b", "7", ""]));
    let number = prop::option::of(prop::sample::select(vec![0.0, 1.0, 2.5, -1.0, 1e308]));
    let int = prop::option::of(prop::sample::select(vec![0, 1, 2, 3, -1, i64::MAX, i64::MIN]));
    let row = (text(), text(), number, int, prop::option::weighted(0.9, any::<bool>()));
    prop::collection::vec(row, 1..40).prop_map(|rows| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.0))),
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1))),
            Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.2))),
            Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.3))),
            Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.4))),
            Arc::new(TimestampMillisecondArray::from(vec![None; rows.len()]).with_timezone("UTC")),
            Arc::new(StringArray::from(vec![None::<&str>; rows.len()])),
            Arc::new(StringArray::from(vec![None::<&str>; rows.len()])),
        ];
        RecordBatch::try_new(schema(), columns).unwrap()
    })
}

proptest! {
    #[test]
    fn a_record_has_the_same_values_alone_and_among_any_others(batch in random_batch()) {
        let mut set = ExprSet::new(schema());
        for sql in TREACHEROUS {
            set.add(sql).unwrap_or_else(|problem| panic!("{sql}: {problem:?}"));
        }
        let whole = set.evaluate(&batch);
        for row in 0..batch.num_rows() {
            let alone = set.evaluate(&batch.slice(row, 1));
            for (index, sql) in TREACHEROUS.iter().enumerate() {
                let failed = |found: &Evaluated, row: usize| found.failures.contains(&(ExprId(index), row as u32));
                prop_assert_eq!(failed(&whole, row), failed(&alone, 0), "{}, row {}", sql, row);
                prop_assert_eq!(&whole.columns[index].slice(row, 1), &alone.columns[index], "{}, row {}", sql, row);
            }
        }
    }
}
