//! Hostile records and their classes, side by side; and that neither neighbours nor history change a record.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use proptest::prelude::*;

use super::*;
use crate::topology::TimeUnit;

const MAX_RECORD: usize = 4096;
const MAX_KEY: usize = 16;

fn field(name: &str, path: &[&str], ty: FieldType) -> Field {
    let from = FieldSource::Value(path.iter().map(|name| name.to_string()).collect());
    Field { name: name.into(), from, ty, null_on_error: false }
}

/// user, price, n, ok, ts, city (inside geo), lenient (null on error), at (RFC 3339), shop (the header), part (Kafka key).
fn source() -> SourcePlan {
    let top = |name: &str, ty| field(name, &[name], ty);
    let from = |name: &str, from, ty| Field { name: name.into(), from, ty, null_on_error: false };
    let fields = vec![
        top("user", FieldType::String),
        top("price", FieldType::Double),
        top("n", FieldType::Int64),
        top("ok", FieldType::Bool),
        top("ts", FieldType::Timestamp(TimeUnit::Millis)),
        field("city", &["geo", "city"], FieldType::String),
        Field { null_on_error: true, ..top("lenient", FieldType::Int64) },
        top("at", FieldType::TimestampText),
        from("shop", FieldSource::Header("shop".into()), FieldType::String),
        from("part", FieldSource::Key, FieldType::String),
    ];
    SourcePlan {
        topic: "t".into(),
        fields,
        event_time: 4,
        lateness: 0,
        grace: 0,
        max_future: None,
        filter: None,
        partition_field: 0,
        trusts_partitioning: true,
        max_record_bytes: MAX_RECORD,
        max_key_bytes: MAX_KEY,
    }
}

fn decoder() -> Decoder {
    Decoder::new(&source(), &[vec![0], vec![2]])
}

fn batch_of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> OwnedBatch {
    let mut batch = OwnedBatch::new();
    for (offset, value) in values.into_iter().enumerate() {
        batch.push(offset as i64, Some(0), None, Some(value), &[]);
    }
    batch
}

fn decode_one(value: &[u8]) -> Decoded {
    decoder().decode(&batch_of([value]))
}

/// One letter for the class: R, T, O or M.
fn class(outcome: &Outcome) -> char {
    match outcome {
        Outcome::Row(_) => 'R',
        Outcome::Tombstone => 'T',
        Outcome::OverLimit(_) => 'O',
        Outcome::Malformed(_) => 'M',
    }
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn every_hostile_record_has_its_class() {
    let table: Vec<(char, Vec<u8>)> = [
        // Shapes of the whole.
        ('R', r#"{"ts":0}"#.to_string()),
        ('R', " \n\t\r{ \"ts\" : 0 } \n".into()),
        ('M', "".into()),
        ('M', " ".into()),
        ('M', "\u{feff}{\"ts\":0}".into()),
        ('M', "[]".into()),
        ('M', "null".into()),
        ('M', "1".into()),
        ('M', "\"{}\"".into()),
        ('M', "{\"ts\":0} x".into()),
        ('M', "{\"ts\":0}{\"ts\":0}".into()),
        ('M', "{\"ts\":0,}".into()),
        ('M', "{\"ts\":0".into()),
        ('M', "{'ts':0}".into()),
        ('M', "{ts:0}".into()),
        ('M', "{\"ts\":0,\"x\":NaN}".into()),
        ('M', "{\"ts\":0,\"price\":NaN}".into()),
        ('M', "{\"ts\":0,\"price\":Infinity}".into()),
        ('M', "{\"ts\":0/**/}".into()),
        ('M', "{\"\u{0}:0,\"ts\":0}".into()),
        // The event time.
        ('M', "{}".into()),
        ('M', r#"{"ts":null}"#.into()),
        ('M', r#"{"ts":"0"}"#.into()),
        ('M', r#"{"ts":0.0}"#.into()),
        ('M', r#"{"ts":1e3}"#.into()),
        ('M', r#"{"ts":true}"#.into()),
        ('R', r#"{"ts":-62135596800000}"#.into()),
        ('M', r#"{"ts":-62135596800001}"#.into()),
        ('R', r#"{"ts":253402300799999}"#.into()),
        ('M', r#"{"ts":253402300800000}"#.into()),
        ('M', r#"{"ts":9223372036854775808}"#.into()),
        // Repeated names: the last counts, whatever the ones before.
        ('R', r#"{"ts":"x","ts":0}"#.into()),
        ('M', r#"{"ts":0,"ts":"x"}"#.into()),
        ('M', r#"{"ts":0,"ts":null}"#.into()),
        ('R', r#"{"ts":0,"user":"\ud800","user":"u"}"#.into()),
        ('R', r#"{"ts":0,"geo":7,"geo":{"city":"x"}}"#.into()),
        ('M', r#"{"ts":0,"geo":{"city":"x"},"geo":7}"#.into()),
        ('R', r#"{"ts":0,"us\u0065r":"u","n":1}"#.into()),
        ('M', r#"{"ts":0,"us\u0065r":1}"#.into()),
        // Types.
        ('R', r#"{"ts":0,"user":null,"price":null,"n":null,"ok":null,"geo":null,"at":null}"#.into()),
        ('M', r#"{"ts":0,"user":1}"#.into()),
        ('M', r#"{"ts":0,"user":["u"]}"#.into()),
        ('M', r#"{"ts":0,"price":"1"}"#.into()),
        ('R', r#"{"ts":0,"price":1}"#.into()),
        ('R', r#"{"ts":0,"price":-0}"#.into()),
        ('R', r#"{"ts":0,"price":1e-400}"#.into()),
        ('M', r#"{"ts":0,"price":1e400}"#.into()),
        ('M', r#"{"ts":0,"price":-1e309}"#.into()),
        ('R', r#"{"ts":0,"x":1e400}"#.into()),
        ('R', r#"{"ts":0,"price":123456789012345678901234567890}"#.into()),
        ('R', r#"{"ts":0,"n":-0}"#.into()),
        ('M', r#"{"ts":0,"n":1.0}"#.into()),
        ('M', r#"{"ts":0,"n":1e0}"#.into()),
        ('M', r#"{"ts":0,"n":-0.0}"#.into()),
        ('M', r#"{"ts":0,"n":01}"#.into()),
        ('M', r#"{"ts":0,"n":12345678901234567890123}"#.into()),
        ('M', r#"{"ts":0,"ok":0}"#.into()),
        ('M', r#"{"ts":0,"ok":"true"}"#.into()),
        ('M', r#"{"ts":0,"ok":True}"#.into()),
        ('R', r#"{"ts":0,"lenient":"x"}"#.into()),
        ('R', r#"{"ts":0,"lenient":{"a":[1]}}"#.into()),
        ('M', r#"{"ts":0,"lenient":{"a":[1}}"#.into()),
        ('R', r#"{"ts":0,"at":"2026-03-01T12:00:00.123456+01:00"}"#.into()),
        ('R', r#"{"ts":0,"at":"2026-03-01T12:00:00\u005a"}"#.into()),
        ('M', r#"{"ts":0,"at":"2026-03-01T12:00:00"}"#.into()),
        ('M', r#"{"ts":0,"at":0}"#.into()),
        // Strings.
        ('M', r#"{"ts":0,"user":"\ud800"}"#.into()),
        ('M', r#"{"ts":0,"user":"\udc00\ud800"}"#.into()),
        ('R', r#"{"ts":0,"user":"\ud83d\ude00"}"#.into()),
        ('R', r#"{"ts":0,"x":"\ud800"}"#.into()),
        ('R', r#"{"ts":0,"\ud800":1}"#.into()),
        ('M', r#"{"ts":0,"x":"\u12"}"#.into()),
        ('M', r#"{"ts":0,"x":"\x"}"#.into()),
        ('M', "{\"ts\":0,\"x\":\"\n\"}".into()),
        ('M', "{\"ts\":0,\"user\":\"\t\"}".into()),
        ('R', "{\"ts\":0,\"user\":\"\\u0000\u{7f}é\"}".into()),
        // Paths.
        ('R', r#"{"ts":0,"geo":{}}"#.into()),
        ('R', r#"{"ts":0,"geo":{"city":null,"city ":1}}"#.into()),
        ('M', r#"{"ts":0,"geo":{"city":1}}"#.into()),
        ('M', r#"{"ts":0,"geo":[]}"#.into()),
        ('M', r#"{"ts":0,"geo":"x"}"#.into()),
        ('M', r#"{"ts":0,"geo":false}"#.into()),
        ('R', r#"{"ts":0,"geo.city":1}"#.into()),
        // Bounds, and what comes first of two faults.
        ('R', format!(r#"{{"ts":0,"x":{}}}"#, nested(127))),
        ('O', format!(r#"{{"ts":0,"x":{}}}"#, nested(128))),
        ('O', nested(129)),
        ('M', nested(128)),
        ('O', format!(r#"{{"ts":"x","x":{}"#, nested(128))),
        ('M', format!(r#"{{"ts":0,,"x":{}}}"#, nested(128))),
        ('O', format!(r#"{{"ts":0,"user":{}}}"#, nested(128))),
        ('O', format!(r#"{{"ts":0,"geo":{}}}"#, nested(128))),
        ('O', format!(r#"{{"ts":0,"user":"{}"}}"#, "u".repeat(MAX_KEY + 1))),
        ('R', format!(r#"{{"ts":0,"user":"{}"}}"#, "u".repeat(MAX_KEY))),
        ('R', format!(r#"{{"ts":0,"user":"{}"}}"#, r"\u0041".repeat(MAX_KEY))),
        ('O', format!(r#"{{"ts":0,"user":"{}"}}"#, r"\u00e9".repeat(MAX_KEY))),
        ('O', format!(r#"{{"ts":"x","user":"{}"}}"#, "u".repeat(MAX_KEY + 1))),
        ('M', format!(r#"{{"ts":0,"user":"{}""#, "u".repeat(MAX_KEY + 1))),
        ('R', r#"{"ts":0,"n":-999999999999999}"#.into()),
        ('O', r#"{"ts":0,"n":-9999999999999999}"#.into()),
        ('O', format!(r#"{{"ts":0,"x":"{}"}}"#, "x".repeat(MAX_RECORD))),
        ('O', "x".repeat(MAX_RECORD + 1)),
        ('M', "x".repeat(MAX_RECORD)),
    ]
    .into_iter()
    .map(|(class, text)| (class, text.into_bytes()))
    .collect();
    for (expected, value) in &table {
        let decoded = decode_one(value);
        let shown = String::from_utf8_lossy(&value[..value.len().min(100)]);
        assert_eq!(class(&decoded.outcomes[0]), *expected, "{shown}: {:?}", decoded.outcomes);
        assert_eq!(decoded.rows.num_rows(), usize::from(*expected == 'R'), "{shown}");
    }
    // All in one batch, and in the other order: neighbours change nothing.
    let values: Vec<&[u8]> = table.iter().map(|(_, value)| value.as_slice()).rev().collect();
    let together = decoder().decode(&batch_of(values));
    let classes: String = together.outcomes.iter().map(class).collect();
    assert_eq!(classes, table.iter().rev().map(|(class, _)| *class).collect::<String>());
}

#[test]
fn bytes_that_are_not_utf8_are_malformed_wherever_they_stand() {
    let with = |before: &str, after: &str| [before.as_bytes(), b"\xff", after.as_bytes()].concat();
    for value in [
        with("", "{\"ts\":0}"),
        with("{\"ts\":0,\"user\":\"", "\"}"),
        with("{\"ts\":0,\"x\":\"", "\"}"),
        with("{\"", "\":0,\"ts\":0}"),
        with("{\"ts\":0}", ""),
        with("", &nested(200)),
        b"{\"ts\":0,\"x\":\"\xed\xa0\x80\"}".to_vec(),
        b"{\"ts\":0,\"x\":\"\xc3\"}".to_vec(),
        b"\xff\xfe{\x00}\x00".to_vec(),
    ] {
        let outcome = decode_one(&value).outcomes.remove(0);
        assert!(matches!(&outcome, Outcome::Malformed(text) if text.contains("UTF-8")), "{outcome:?}");
    }
    // Too deep before the first bad byte is over limit.
    assert_eq!(class(&decode_one(&with(&"[".repeat(129), "")).outcomes[0]), 'O');
}

#[test]
fn a_null_value_is_a_tombstone_and_a_long_kafka_key_is_over_limit() {
    let mut batch = OwnedBatch::new();
    let long = [b'k'; MAX_KEY + 1];
    batch.push(0, None, Some(&long), None, &[]);
    batch.push(1, None, Some(&long), Some(b"not json"), &[]);
    batch.push(2, None, Some(b"\xff"), Some(b"{\"ts\":0}"), &[]);
    batch.push(3, None, Some(b"k"), Some(b"{\"ts\":0}"), &[("shop", Some(b"a")), ("shop", Some(b"b"))]);
    batch.push(4, None, None, Some(b"{\"ts\":0}"), &[("shop", Some(b"\xff"))]);
    batch.push(5, None, None, Some(b"{\"ts\":0}"), &[("shop", None)]);
    let decoded = decoder().decode(&batch);
    assert_eq!(decoded.outcomes.iter().map(class).collect::<String>(), "TOMRMR");
    assert_eq!(cells(&decoded, 8), ["b", ""]);
    assert_eq!(cells(&decoded, 9), ["k", ""]);
}

#[test]
fn the_text_of_a_whole_key_has_the_bound() {
    let mut decoder = Decoder::new(&source(), &[vec![0], vec![0, 2]]);
    let mut class_of = |value: &str| class(&decoder.decode(&batch_of([value.as_bytes()])).outcomes[0]);
    // `["uuuuuuuu",123]` has 16 bytes.
    assert_eq!(class_of(r#"{"ts":0,"user":"uuuuuuuu","n":123}"#), 'R');
    assert_eq!(class_of(r#"{"ts":0,"user":"uuuuuuuuu","n":123}"#), 'O');
    assert_eq!(class_of(r#"{"ts":0,"user":"uuuuuuuu","n":-123}"#), 'O');
    // Escapes count as they stand in the key; where a part is null there is no key.
    assert_eq!(class_of(r#"{"ts":0,"user":"\"\"\"\"","n":123}"#), 'R');
    assert_eq!(class_of(r#"{"ts":0,"user":"\"\"\"\u0001","n":123}"#), 'O');
    assert_eq!(class_of(r#"{"ts":0,"user":"uuuuuuuuuuuuuuuu"}"#), 'R');
    for text in ["", "a\"b\\c/\u{7f}é\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f}😀"] {
        assert_eq!(json_len(text), serde_json::to_string(text).unwrap().len(), "{text:?}");
    }
}

#[test]
fn int64_keys_outside_the_value_are_decimal_text() {
    let mut source = source();
    source.fields[9].ty = FieldType::Int64;
    let texts = ["42", "-0", "-9223372036854775808", "007", "+1", "1.0", "1 ", "", "x", "9223372036854775808"];
    let mut batch = OwnedBatch::new();
    for text in texts {
        batch.push(0, None, Some(text.as_bytes()), Some(b"{\"ts\":0}"), &[]);
    }
    source.max_key_bytes = 100;
    let decoded = Decoder::new(&source, &[vec![0]]).decode(&batch);
    assert_eq!(decoded.outcomes.iter().map(class).collect::<String>(), "RRRMMMMMMM");
    assert_eq!(cells(&decoded, 9), ["42", "0", "-9223372036854775808"]);
}

#[test]
fn values_arrive_as_they_are_written() {
    let decoded = decode_one(
        r#"{"x":[1,{"user":"no"}],"ts":-1,"user":"a\n\u00e9","price":-0.0,"n":-0,"ok":true,"geo":{"x":{"city":"no"},
            "city":"Köln"},"lenient":1.5,"at":"1970-01-01T00:00:00.0019Z"}"#
            .as_bytes(),
    );
    assert_eq!((&decoded.outcomes[0], &decoded.event_times[..]), (&Outcome::Row(0), &[-1][..]));
    let row = &decoded.rows;
    assert_eq!(row.column(0).as_string::<i32>().value(0), "a\né");
    assert_eq!(row.column(1).as_primitive::<Float64Type>().value(0).to_bits(), 0);
    assert_eq!(row.column(2).as_primitive::<Int64Type>().value(0), 0);
    assert!(row.column(3).as_boolean().value(0) && row.column(6).is_null(0) && row.column(8).is_null(0));
    assert_eq!(row.column(4).as_primitive::<TimestampMillisecondType>().value(0), -1);
    assert_eq!(row.column(5).as_string::<i32>().value(0), "Köln");
    assert_eq!(row.column(7).as_primitive::<TimestampMillisecondType>().value(0), 1);
}

#[test]
fn the_last_of_repeated_objects_empties_what_an_earlier_one_held() {
    let decoded = decode_one(br#"{"ts":0,"geo":{"city":"x"},"geo":{}}"#);
    assert!(decoded.rows.column(5).is_null(0));
}

#[test]
fn one_path_may_be_declared_twice_and_a_path_may_go_on_below_another() {
    let mut source = source();
    source.fields[1] = field("price", &["user"], FieldType::String);
    source.fields[3] = Field { null_on_error: true, ..field("whole", &["geo"], FieldType::String) };
    let values: [&[u8]; 3] =
        [br#"{"ts":0,"user":"u","geo":{"city":"x"}}"#, br#"{"ts":0,"geo":null}"#, br#"{"ts":0,"geo":"text"}"#];
    let decoded = Decoder::new(&source, &[]).decode(&batch_of(values));
    assert_eq!(decoded.outcomes.iter().map(class).collect::<String>(), "RRM");
    assert_eq!(
        (cells(&decoded, 0), cells(&decoded, 1)),
        (vec!["u".to_string(), "".into()], vec!["u".into(), "".into()])
    );
    assert_eq!((cells(&decoded, 3), cells(&decoded, 5)), (vec!["".to_string(); 2], vec!["x".into(), "".into()]));
}

#[test]
fn reasons_say_where_and_what_and_stay_short() {
    let reason = |value: &[u8]| match decode_one(value).outcomes.remove(0) {
        Outcome::Malformed(text) | Outcome::OverLimit(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        reason(br#"{"ts":0,"price":"abc"}"#),
        "`price` (byte 16): expected a number within a double's range, found `\"abc\"`"
    );
    assert_eq!(reason(br#"{"ts":0,}"#), "byte 8: not JSON: expected a name in double quotes, found `}`");
    assert_eq!(reason(b""), "the value is empty (0 bytes)");
    assert_eq!(reason(b"{}"), "no event time: `ts` is absent or null");
    assert_eq!(reason("\u{feff}{}".as_bytes()), "it begins with a byte-order mark");
    assert_eq!(reason(nested(129).as_bytes()), "byte 128: nested deeper than 128 levels");
    assert!(reason(b"{\"ts\":0,\"x\":\"\xff\"}").starts_with("byte 13: not UTF-8"));
    let long = format!(r#"{{"ts":0,"price":"{}"}}"#, "é".repeat(500));
    assert!(reason(long.as_bytes()).len() <= MAX_REASON && reason(long.as_bytes()).ends_with("...`"));
}

/// A column's values as text; null is empty.
fn cells(decoded: &Decoded, column: usize) -> Vec<String> {
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(decoded.rows.column(column), &options).unwrap();
    (0..decoded.rows.num_rows()).map(|row| text.value(row).to_string()).collect()
}

/// Everything that a decoded batch says, record by record.
fn told(decoded: &Decoded) -> Vec<String> {
    let columns: Vec<Vec<String>> = (0..decoded.rows.num_columns()).map(|column| cells(decoded, column)).collect();
    let mut row = 0;
    let tell = |outcome: &Outcome| match outcome {
        Outcome::Row(at) => {
            assert_eq!(*at, row, "rows are numbered in order");
            row += 1;
            let at = *at as usize;
            let cells: Vec<&String> = columns.iter().map(|column| &column[at]).collect();
            format!("{} {cells:?}", decoded.event_times[at])
        }
        other => format!("{other:?}"),
    };
    decoded.outcomes.iter().map(tell).collect()
}

fn json_value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_string()),
        Just("true".to_string()),
        (-5i64..5).prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|x| x.to_string()),
        Just("-0".to_string()),
        Just("1e999".to_string()),
        "[a-zé\"\\\\\\x00]{0,20}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just("\"\\ud800\"".to_string()),
        Just("\"2026-03-01T00:00:00Z\"".to_string()),
        Just("broken".to_string()),
    ];
    scalar.prop_recursive(3, 12, 4, |inner| {
        let name = prop::sample::select(vec!["user", "geo", "city", "x", "ts", "us\\u0065r"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((name, inner), 0..3).prop_map(object),
        ]
    })
}

fn object(fields: Vec<(&'static str, String)>) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn record() -> impl Strategy<Value = String> {
    let names = vec!["user", "price", "n", "ok", "geo", "lenient", "at", "x", "us\\u0065r", "ts"];
    let field = (prop::sample::select(names), json_value());
    (any::<bool>(), prop::collection::vec(field, 0..6)).prop_map(|(timed, mut fields)| {
        if timed {
            fields.push(("ts", "7".into()));
        }
        object(fields)
    })
}

proptest! {
    #[test]
    fn a_record_says_the_same_alone_and_in_any_batch(values in prop::collection::vec(record(), 1..20)) {
        let bytes: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        let alone: Vec<String> = bytes.iter().flat_map(|value| told(&decode_one(value))).collect();
        // A decoder that has seen other records, too, says the same.
        let mut seasoned = decoder();
        prop_assert_eq!(&told(&seasoned.decode(&batch_of(bytes.clone()))), &alone);
        let halves = bytes.split_at(bytes.len() / 2);
        let mut parts = told(&seasoned.decode(&batch_of(halves.0.to_vec())));
        parts.extend(told(&seasoned.decode(&batch_of(halves.1.to_vec()))));
        prop_assert_eq!(&parts, &alone);
    }

    #[test]
    fn a_good_record_has_the_values_that_serde_json_reads(value in record()) {
        let decoded = decode_one(value.as_bytes());
        if let Outcome::Row(_) = decoded.outcomes[0] {
            // It keeps the last of repeated names too; 1e999 and half pairs it does not read at all.
            if let Ok(reference) = serde_json::from_str::<serde_json::Value>(&value) {
                let user = reference["user"].as_str().unwrap_or_default();
                let city = reference["geo"]["city"].as_str().unwrap_or_default();
                prop_assert_eq!((cells(&decoded, 0), cells(&decoded, 5)), (vec![user.to_string()], vec![city.to_string()]));
                let price = reference["price"].as_f64().map(|x| x + 0.0);
                let column = decoded.rows.column(1).as_primitive::<Float64Type>();
                prop_assert_eq!(column.is_valid(0).then(|| column.value(0).to_bits()), price.map(f64::to_bits));
            }
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_fail(value in prop::collection::vec(any::<u8>(), 0..64)) {
        decode_one(&value);
    }

    #[test]
    fn no_slip_in_a_record_makes_the_decoder_fail(value in record(), at in any::<prop::sample::Index>(), slip in any::<char>()) {
        let chars: Vec<char> = value.chars().collect();
        let at = at.index(chars.len());
        for tail in [at, at + 1] {
            // Inserted, in place of a character, and as the last one.
            let slipped: String = chars[..at].iter().chain([&slip]).chain(&chars[tail..]).collect();
            decode_one(slipped.as_bytes());
        }
        decode_one(chars[..at].iter().chain([&slip]).collect::<String>().as_bytes());
    }
}
