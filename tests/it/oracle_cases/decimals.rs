//! Decimals: read digit by digit, summed exactly.

use super::*;
use crate::support::oracle::Value;

#[test]
fn decimals_come_as_numbers_or_as_plain_text() {
    let features = "s: {sum: d, window: lifetime}\na: {avg: d, window: lifetime}\nx: {max: d, window: lifetime}
        l: {last: d, window: lifetime}\nd: {distinct: d, window: lifetime}";
    check(
        &topology("", features),
        &["@1 u=a d=1.5 ts=1", "@2 u=a d=\"-0.50\" ts=2", "@3 u=a d=2e0 ts=3", "@4 u=a d=2.00 ts=4"],
        &[
            "0.0 #0 0:a T=1 known=1 [1.50, 1.5, 1.50, 1.50, 1]",
            "1.0 #1 0:a T=2 known=2 [1.00, 0.5, 1.50, -0.50, 2]",
            "2.0 #2 0:a T=3 known=3 [3.00, 1.0, 2.00, 2.00, 3]",
            "3.0 #3 0:a T=4 known=4 [5.00, 1.25, 2.00, 2.00, 3]",
        ],
    );
}

#[test]
fn a_decimal_whose_digits_do_not_fit_is_malformed() {
    let topology = topology("", COUNT);
    let class = |value: &str| class_of(&topology, format!("{{\"ts\":1,\"d\":{value}}}").as_bytes());
    for value in ["1000", "0.001", "1e3", "\"1e1\"", "\"\"", "\"x\"", "\" 1\"", "true", "[1]"] {
        assert_eq!(class(value), Judged::Malformed, "{value}");
    }
    for (value, digits) in [("999.99", 99_999), ("-999.99", -99_999), ("\"0.10\"", 10), ("-0", 0), ("12345e-2", 12_345)]
    {
        let Judged::Row { values, .. } = class(value) else { panic!("{value} is malformed") };
        assert_eq!(values[6], Value::Decimal(digits, 2), "{value}");
    }
    assert!(matches!(class("null"), Judged::Row { .. }));
}

#[test]
fn sums_of_decimals_have_38_digits_and_are_null_beyond() {
    let topology = Case::new(
        "{topology: t, source: {topic: t, format: json, event_time: ts, partitioned_by: u, schema: {u: string, d: 'decimal(38,0)', ts: timestamp_ms}}, \
         entities: {user: {key: u, features: {s: {sum: d, window: lifetime}, a: {avg: d, window: lifetime}}}}}",
    );
    let nines = "9".repeat(38);
    check(
        &topology,
        &[
            &format!("@1 raw:{{\"u\":\"a\",\"ts\":1,\"d\":{nines}}}"),
            "@2 raw:{\"u\":\"a\",\"ts\":2,\"d\":1}",
            &format!("@3 raw:{{\"u\":\"a\",\"ts\":3,\"d\":\"{nines}\"}}"),
            &format!("@4 raw:{{\"u\":\"a\",\"ts\":4,\"d\":-{nines}}}"),
            "@5 raw:{\"u\":\"a\",\"ts\":5,\"d\":-1}",
        ],
        &[
            &format!("0.0 #0 0:a T=1 known=1 [{nines}, 1e38]"),
            "1.0 #1 0:a T=2 known=2 [null, 5e37]",
            "2.0 #2 0:a T=3 known=3 [null, 6.6666666666666665e37]",
            "3.0 #3 0:a T=4 known=4 [null, 2.5e37]",
            &format!("4.0 #4 0:a T=5 known=5 [{nines}, 2e37]"),
        ],
    );
}

#[test]
fn decimals_are_compared_and_cast_in_conditions() {
    let features = "g: {count: '*', where: d > 1, window: lifetime}\nh: {count: '*', where: d >= 1.5, window: lifetime}
        s: {sum: cast(d as double), window: lifetime}\nn: {sum: case when f then -d end, window: lifetime}";
    check(
        &topology("", features),
        &["@1 u=a d=1.00 ts=1", "@2 u=a d=1.5 f=true ts=2", "@3 u=a ts=3"],
        &["0.0 #0 0:a T=1 known=1 [0, 0, 1.0, 0.00]", "1.0 #1 0:a T=2 known=2 [1, 1, 2.5, -1.50]"],
    );
}
