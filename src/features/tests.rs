//! Stored text there and back, values at a clock, and the online read on an embedded store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Float64Type;
use proptest::prelude::*;

use super::fixture::{Bench, HOUR, column, plan, row, stored};
use super::*;
use crate::aggregate::Value;
use crate::error::Error;
use crate::sink::online::Column;
use crate::task::Shown;
use crate::time::Millis;
use crate::topology::{OutputType, ValueType};

/// What the store writes of a column.
fn texts(column: &ArrayRef, ty: &OutputType) -> Vec<Option<String>> {
    let values = Column::new(column, ty).unwrap();
    let text = |row| {
        let mut text = Vec::new();
        values.write(row, &mut text);
        String::from_utf8(text).unwrap()
    };
    (0..column.len()).map(|row| (!values.is_null(row)).then(|| text(row))).collect()
}

fn single(ty: ValueType) -> BoxedStrategy<Value> {
    match ty {
        ValueType::String => ".*".prop_map(|text| Value::Str(text.into())).boxed(),
        ValueType::Int64 => any::<i64>().prop_map(Value::Int).boxed(),
        ValueType::Double => {
            let finite = any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |x| x.is_finite());
            finite.prop_map(|x| Value::Double(x + 0.0)).boxed()
        }
        ValueType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        ValueType::Timestamp => any::<i64>().prop_map(Value::Time).boxed(),
        ValueType::Decimal { precision, .. } => {
            let most = 10i128.pow(u32::from(precision)) - 1;
            (-most..=most).prop_map(|number| Value::Decimal(number.into())).boxed()
        }
    }
}

fn value(ty: OutputType) -> BoxedStrategy<Shown> {
    let some = match ty {
        OutputType::Scalar(ty) => single(ty).prop_map(Shown::Value).boxed(),
        OutputType::List(ty) => {
            let item = prop_oneof![1 => Just(Value::Null), 4 => single(ty)];
            prop::collection::vec(item, 0..5).prop_map(Shown::List).boxed()
        }
        OutputType::Counted(ty) => {
            prop::collection::vec((single(ty), 0..i64::MAX as u64), 0..5).prop_map(Shown::Counted).boxed()
        }
        OutputType::Map(ty) => {
            let entries = prop::collection::btree_map(".*", value(*ty), 0..5);
            let shown = |(bucket, value): (String, Shown)| (bucket.into_boxed_str(), value);
            entries.prop_map(move |entries| Shown::Map(entries.into_iter().map(shown).collect())).boxed()
        }
    };
    prop_oneof![1 => Just(Shown::Null), 5 => some].boxed()
}

fn any_type() -> impl Strategy<Value = OutputType> {
    let single = || {
        prop::sample::select(vec![
            ValueType::String,
            ValueType::Int64,
            ValueType::Double,
            ValueType::Bool,
            ValueType::Timestamp,
            ValueType::Decimal { precision: 38, scale: 4 },
            ValueType::Decimal { precision: 5, scale: 5 },
            ValueType::Decimal { precision: 9, scale: 0 },
        ])
    };
    let flat = prop_oneof![
        single().prop_map(OutputType::Scalar),
        single().prop_map(OutputType::List),
        single().prop_map(OutputType::Counted),
    ];
    (flat, any::<bool>()).prop_map(|(ty, map)| if map { OutputType::Map(Box::new(ty)) } else { ty })
}

proptest! {
    #[test]
    fn what_a_store_writes_of_any_type_reads_back_as_it_was(
        (ty, values) in any_type().prop_flat_map(|ty| {
            (Just(ty.clone()), prop::collection::vec(value(ty), 0..6))
        })
    ) {
        let written = column(&ty, &values);
        let texts = texts(&written, &ty);
        let read = parse::column(&ty, texts.iter().map(Option::as_deref)).unwrap();
        prop_assert_eq!(&*read, &*written);
        prop_assert!(texts.iter().flatten().all(|text| parse::checker(&ty)(text, &ty)));
    }
}

#[test]
fn text_of_another_form_is_no_value() {
    use OutputType::{Counted, List, Map, Scalar};
    let decimal = ValueType::Decimal { precision: 4, scale: 2 };
    let wrong: [(OutputType, &[&str]); 9] = [
        (Scalar(ValueType::Int64), &["", "1.0", "x", "9223372036854775808", "null"]),
        (Scalar(ValueType::Double), &["NaN", "inf", "1e999", "1.", "\"1\""]),
        (Scalar(ValueType::Bool), &["1", "True"]),
        (Scalar(ValueType::Timestamp), &["2026-01-01T00:00:00Z"]),
        (Scalar(decimal), &["007", "1.234", "100.00", "-"]),
        (List(ValueType::Int64), &["1", "[1", "[\"1\"]", "{}", "[[1]]"]),
        (List(ValueType::String), &["[1]", "[a]"]),
        (Counted(ValueType::String), &["[\"a\"]", "[[\"a\"]]", "[[null,1]]", "[[\"a\",-1]]", "[[\"a\",1,1]]"]),
        (Map(Box::new(Scalar(ValueType::Int64))), &["[]", "{\"a\":1.5}", "{a:1}", "{\"a\":[1]}"]),
    ];
    for (ty, texts) in wrong {
        for text in texts {
            assert!(!parse::checker(&ty)(text, &ty), "{text} as {ty}");
            let column = parse::column(&ty, [Some(*text)].into_iter()).unwrap();
            assert!(column.is_null(0) && column.data_type() == &ty.data_type(), "{text} as {ty}");
        }
    }
}

#[test]
fn decayed_sums_go_on_after_their_row_and_means_do_not() {
    let plan = plan();
    let entity = &plan.entities[0];
    let columns = stored(entity, &[row(1, 12.0, 0), row(1, 12.0, 0), row(1, -0.0, 0), row(1, 12.0, 0)]);
    // Two hours later, at once, an hour later, and by a clock that is behind.
    let (from, to) = ([0, 5, 0, 10 * HOUR], [2 * HOUR, 5, HOUR, 0]);
    let seen = at_clock(entity, &Needed::all(entity), &columns, &from, &to).unwrap();
    let doubles = |array: &ArrayRef| array.as_primitive::<Float64Type>().iter().flatten().collect::<Vec<_>>();
    assert_eq!(doubles(&seen[1]), [3.0, 12.0, 0.0, 12.0]);
    assert!(doubles(&seen[1])[2].is_sign_positive());
    assert_eq!(texts(&seen[2], &entity.features[2].output_type)[0].as_deref(), Some(r#"{"a":2.0,"b":null}"#));
    assert_eq!(doubles(seen[2].as_map().values()), [2.0, 8.0, 4.0, 8.0]);
    assert_eq!(doubles(&seen[3]), [3.5; 4]);
}

#[test]
fn many_rows_at_their_clocks_are_what_each_is_alone() {
    let plan = plan();
    let entity = &plan.entities[0];
    let rows: Vec<Vec<Shown>> = (0..50).map(|at| row(at, at as f64 / 3.0, at * 1_000)).collect();
    let times: Vec<Millis> = (0..50).map(|at| at * 7_000).collect();
    let clocks: Vec<Millis> = (0..50).map(|at| at * 300_000).collect();
    let together = at_clock(entity, &Needed::all(entity), &stored(entity, &rows), &times, &clocks).unwrap();
    assert_eq!(together.len(), entity.shown().count());
    for at in 0..50 {
        let columns = stored(entity, &rows[at..=at]);
        let alone = at_clock(entity, &Needed::all(entity), &columns, &times[at..=at], &clocks[at..=at]).unwrap();
        for ((together, alone), (name, _)) in together.iter().zip(&alone).zip(entity.shown()) {
            assert_eq!(&*together.slice(at, 1), &**alone, "{name} of row {at}");
        }
    }
}

#[test]
fn what_is_needed_is_all_that_a_value_is_computed_from() {
    let plan = plan();
    let entity = &plan.entities[0];
    let names = |needed: &Needed| {
        let kept = entity.shown().enumerate().filter(|(place, _)| needed.contains(*place));
        kept.map(|(_, (name, _))| name).collect::<Vec<_>>()
    };
    let place = |name: &str| entity.shown().position(|(shown, _)| shown == name).unwrap();
    assert_eq!(names(&Needed::of(entity, [place("is_hot")])), ["warm", "seen", "age", "is_hot"]);
    // It is stored: what it was computed from is not needed any more.
    assert_eq!(names(&Needed::of(entity, [place("twice")])), ["twice"]);
}

#[test]
fn an_id_is_written_as_tasks_write_it() {
    let plan = plan();
    let (user, pair) = (&plan.entities[0], &plan.entities[1]);
    let id = |entity, parts: &[serde_json::Value]| id_of(&plan, entity, &parts.iter().collect::<Vec<_>>());
    assert_eq!(id(user, &["u \"1\"".into()]).as_deref(), Ok("u \"1\""));
    assert_eq!(id(pair, &["u \"1\"\n".into(), (-7).into()]).as_deref(), Ok(r#"["u \"1\"\n",-7]"#));
    for (parts, what) in [
        (["u1".into(), 1.5.into()], "1.5 of `n` is not an integer"),
        (["u1".into(), "7".into()], "\"7\" of `n` is not an integer"),
        ([serde_json::Value::Null, 7.into()], "null of `id` is not a string"),
        (["u1".into(), "x".repeat(1_000_000).into()], "... of `n` is not an integer"),
    ] {
        let error = id(pair, &parts).unwrap_err();
        assert!(error.contains(what) && error.len() < 200, "{error}");
    }
}

/// Status and text of these features of a user.
async fn read(bench: &Bench, names: &[&str], id: &str) -> Vec<(&'static str, Option<String>)> {
    let ask = bench.reader.ask(0, names).unwrap();
    let answer = bench.reader.read(&ask, &[id.to_string()]).await.unwrap();
    let cells = answer.get(0).into_iter().flat_map(|found| found.cells());
    cells.map(|cell| (cell.status.name(), cell.text.map(str::to_string))).collect()
}

fn present(text: &str) -> (&'static str, Option<String>) {
    ("PRESENT", Some(text.to_string()))
}

#[tokio::test]
async fn an_answer_is_in_the_order_of_the_question_and_as_of_its_clock() {
    let bench = Bench::empty();
    let plan = plan();
    bench.put(&plan.entities[0], "u1", HOUR, &row(4, 12.0, HOUR - 7)).await;
    let names = ["age", "views", "warm", "warm_by", "mean", "is_hot", "twice", "seen"];
    let expected = ["3600007", "4", "6.0", r#"{"a":4.0,"b":null}"#, "3.5", "true", "8", "3599993"];
    assert_eq!(read(&bench, &names, "u1").await, expected.map(present));
    bench.now.store(5 * HOUR, Ordering::SeqCst);
    assert_eq!(read(&bench, &["warm", "age"], "u1").await, ["0.75", "14400007"].map(present));
    assert_eq!(read(&bench, &[], "u1").await.len(), plan.entities[0].shown().count());
    let ask = bench.reader.ask(0, &["views"]).unwrap().with_origin();
    let ids = ["u1", "nobody", "u1"].map(String::from);
    let answer = bench.reader.read(&ask, &ids).await.unwrap();
    let found = answer.get(2).unwrap();
    assert_eq!((answer.now, found.event_time(), found.version()), (5 * HOUR, HOUR, Some(3)));
    assert_eq!(found.position(), Some("1:2:9:0"));
    assert_eq!([0, 2].map(|id| Some(answer.column(0).cell(id))), [found.cells().next(); 2]);
    assert!(answer.get(1).is_none());
}

#[tokio::test]
async fn what_is_not_there_null_too_old_or_of_another_type_is_told_apart() {
    let bench = Bench::empty();
    let plan = plan();
    let mut nulls = row(0, 0.0, 0);
    nulls[1..6].fill(Shown::Null);
    bench.put(&plan.entities[0], "null", 2 * HOUR, &nulls).await;
    bench.put(&plan.entities[0], "old", 2 * HOUR - 60_000, &row(1, 1.0, 0)).await;
    assert!(read(&bench, &["views"], "nobody").await.is_empty());
    let null = ("NULL_VALUE", None);
    assert_eq!(
        read(&bench, &["views", "warm", "label", "age", "is_hot"], "null").await,
        [present("0"), null.clone(), null.clone(), null.clone(), null]
    );
    assert_eq!(read(&bench, &["label"], "old").await, [present("a \"quoted\" label")]);
    bench.now.fetch_add(1, Ordering::SeqCst);
    assert_eq!(read(&bench, &["label", "views"], "old").await, [("OUTSIDE_MAX_AGE", None), present("1")]);

    let mut other = plan.entities[0].clone();
    other.features[0].output_type = OutputType::Scalar(ValueType::String);
    other.features[1].output_type = OutputType::Scalar(ValueType::String);
    let text = Shown::Value(Value::Str("many".into()));
    bench.put(&other, "other", 0, &[&[text.clone(), text][..], &row(0, 0.0, 0)[2..]].concat()).await;
    let invalid = ("INVALID", None);
    assert_eq!(read(&bench, &["views", "warm", "mean"], "other").await, [invalid.clone(), invalid, present("3.5")]);
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_says_what_is_wrong_with_it() {
    let bench = Bench::empty();
    let wrong = |names: &[&str]| bench.reader.ask(0, names).unwrap_err().to_string();
    assert_eq!(wrong(&["views", "vews"]), "user has no feature `vews`; did you mean `views`?");
    assert!(wrong(&["x"]).contains("it has `views`, `warm`"));
    assert_eq!(wrong(&["views", "warm", "views"]), "`views` of user is asked for twice");
    assert!(wrong(&[&"long".repeat(100_000)]).len() < 400);
    assert!(bench.reader.entity("usr").unwrap_err().to_string().contains("it has `user` and `pair`"));
    let ask = bench.reader.ask(0, &["views"]).unwrap();
    let long = bench.reader.read(&ask, &["x".repeat(65)]).await.unwrap_err();
    assert_eq!(long.to_string(), "an id of user has 65 bytes, and at most 64 (max_key_bytes)");
    assert!(matches!(long, ReadError::Asked(_)));
    let closed: StoreDoor = Box::new(|| Err(Error::unavailable("not open yet")));
    let closed = Reader::new(Arc::new(plan()), closed, Box::new(|| 0), Duration::from_secs(1));
    assert!(matches!(closed.read(&ask, &["a".to_string()]).await, Err(ReadError::Store(_))));
}
