//! The scanner against the grammar, literal by literal, and against serde_json.

use proptest::prelude::*;

use super::*;

/// The grammar as serde_json reads it, which builds no strings and so forgives lone surrogates, like ours.
fn is_json(text: &str) -> bool {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    <serde::de::IgnoredAny as serde::Deserialize>::deserialize(&mut reader).is_ok() && reader.end().is_ok()
}

fn scans(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.white();
    scanner.skip(0).and_then(|()| scanner.end()).is_ok()
}

fn number(text: &str) -> Number<'_> {
    Scanner::new(text).number().unwrap()
}

#[test]
fn the_grammar_is_strict() {
    let good = [
        "0",
        "-0",
        "-0.0e-0",
        "1E+5",
        "\"\\u00e9\\/\"",
        "\"\u{7f}\"",
        "[]",
        "[ ]",
        "{ }",
        "{\"\":[1 , {}]}",
        " null ",
        "\"\\ud800\"",
        "1e400",
        "true",
    ];
    let bad = [
        "",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "--1",
        "0x1",
        "NaN",
        "Infinity",
        "-Infinity",
        "nul",
        "truex",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u123\"",
        "\"\n\"",
        "\"\u{0}\"",
        "'a'",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[",
        "]",
        "{,}",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{\"a\":}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1",
        "1 2",
        "{} {}",
        "/* */1",
        "\u{feff}1",
        "1\u{b}",
        "\u{a0}1",
    ];
    for text in good {
        assert!(scans(text) && is_json(text), "{text}");
    }
    for text in bad {
        assert!(!scans(text) && !is_json(text), "{text}");
    }
}

#[test]
fn whole_numbers_reach_the_ends_of_64_bits_and_no_further() {
    let ints = |text| number(text).int();
    assert_eq!(ints("9223372036854775807"), Some(i64::MAX));
    assert_eq!(ints("-9223372036854775808"), Some(i64::MIN));
    assert_eq!((ints("9223372036854775808"), ints("-9223372036854775809")), (None, None));
    assert_eq!((ints("18446744073709551617"), ints("100000000000000000000")), (None, None));
    assert_eq!((ints("-0"), ints("1.0"), ints("1e3"), ints("0.0")), (Some(0), None, None, None));
}

#[test]
fn doubles_have_no_negative_zero_and_no_infinity() {
    for zero in ["-0", "-0.0", "-0e5", "-1e-400", "0"] {
        assert_eq!(number(zero).double().map(f64::to_bits), Some(0), "{zero}");
    }
    assert_eq!((number("1e400").double(), number("-1e400").double()), (None, None));
    assert_eq!(number("1.7976931348623157e308").double(), Some(f64::MAX));
    assert_eq!(number(&"9".repeat(309)).double(), None);
    assert_eq!(number("-12.34").double(), Some(-12.34));
}

#[test]
fn escapes_give_their_characters_and_half_pairs_give_none() {
    let text = |raw| {
        let mut out = String::from("x");
        Literal { raw, plain: false }.unescape(&mut out).then_some(out)
    };
    assert_eq!(text(r#"a\"\\\/\b\f\n\r\té\u00e9\ud83d\ude00z"#).unwrap(), "xa\"\\/\u{8}\u{c}\n\r\té\u{e9}😀z");
    for half in [r"\ud800", r"\ud800x", r"\ud800\n", r"\ud800\u0041", r"\udc00", r"\ud83d\ud83d\ude00"] {
        assert_eq!(text(half), None, "{half}");
    }
}

#[test]
fn depth_is_told_from_grammar_by_what_comes_first() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let scan = |text: &str| Scanner::new(text).skip(0);
    assert_eq!(scan(&nested(MAX_DEPTH)), Ok(()));
    assert_eq!(scan(&nested(MAX_DEPTH + 1)), Err(Fault { at: MAX_DEPTH, why: Why::Depth }));
    assert!(matches!(scan(&format!("[1 2,{}", nested(200))), Err(Fault { at: 3, why: Why::CommaOrBracket })));
    assert_eq!(scan(&"[".repeat(100_000)), Err(Fault { at: MAX_DEPTH, why: Why::Depth }));
}

proptest! {
    #[test]
    fn any_text_is_json_exactly_when_serde_json_says_so(
        text in r#"([\[\]{},:"\\ \n0-9eE.+\-untrfalsé\x00-\x1f]|"a"|null|true|\\u[0-9a-fA-F]{3,4}|"b":){0,24}"#
    ) {
        prop_assert_eq!(scans(&text), is_json(&text));
    }

    #[test]
    fn any_number_is_the_double_that_rust_reads(text in r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?") {
        let expected: f64 = text.parse().unwrap();
        prop_assert_eq!(number(&text).double(), expected.is_finite().then_some(expected + 0.0));
    }

    #[test]
    fn any_string_comes_back_from_its_literal(text in any::<String>()) {
        let written = serde_json::to_string(&text).unwrap();
        let literal = Scanner::new(&written).string().unwrap();
        let mut out = String::new();
        prop_assert!(literal.unescape(&mut out));
        prop_assert_eq!(out, text);
    }
}
