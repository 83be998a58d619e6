//! Decimals: their types, and numbers read as them.

use super::*;

#[test]
fn a_decimal_type_has_1_to_38_digits() {
    for (name, precision, scale) in
        [("decimal(1,0)", 1, 0), ("decimal(1,1)", 1, 1), ("decimal(38,38)", 38, 38), ("decimal( 10 , 2 )", 10, 2)]
    {
        assert_eq!(name.parse::<FieldType>(), Ok(FieldType::Decimal { precision, scale }));
    }
    assert_eq!(FieldType::Decimal { precision: 10, scale: 2 }.to_string(), "decimal(10,2)");
    for name in [
        "decimal",
        "decimal()",
        "decimal(10)",
        "decimal(0,0)",
        "decimal(39,0)",
        "decimal(5,9)",
        "decimal(10,-2)",
        "decimal(10,2,1)",
        "decimal(10,2",
        "Decimal(10,2)",
        "decimal (10,2)",
        "decimal(300,2)",
    ] {
        assert!(name.parse::<FieldType>().is_err(), "{name}");
    }
}

#[test]
fn a_number_that_fits_is_read_exactly() {
    for (text, precision, scale, number) in [
        ("0", 1, 0, 0),
        ("-0", 5, 2, 0),
        ("-0.00", 5, 2, 0),
        ("12.5", 5, 2, 1250),
        ("-12.50", 5, 2, -1250),
        ("12.50000", 5, 2, 1250),
        ("007", 3, 0, 7),
        ("999.99", 5, 2, 99_999),
        ("1e3", 5, 0, 1_000),
        ("1E+3", 5, 0, 1_000),
        ("1.5e1", 2, 0, 15),
        ("100e-2", 1, 0, 1),
        ("15e-1", 3, 1, 15),
        ("0e99", 1, 0, 0),
        ("0.1", 38, 38, 10i128.pow(37)),
        ("99999999999999999999999999999999999999", 38, 0, 10i128.pow(38) - 1),
        ("-99999999999999999999999999999999999999", 38, 0, 1 - 10i128.pow(38)),
    ] {
        assert_eq!(parse_decimal(text, precision, scale), Some(number), "{text}");
    }
}

#[test]
fn a_number_whose_digits_do_not_fit_is_none() {
    for (text, precision, scale) in [
        ("1000", 5, 2),
        ("-1000", 5, 2),
        ("0.001", 5, 2),
        ("12.345", 5, 2),
        ("1e-3", 5, 2),
        ("1e38", 38, 0),
        ("1e99", 38, 0),
        ("1e-99", 38, 38),
        ("1e2147483647", 38, 0),
        ("1e-2147483648", 38, 38),
        ("1e99999999999", 38, 0),
        ("100000000000000000000000000000000000000", 38, 0),
        ("999999999999999999999999999999999999999999999", 38, 0),
    ] {
        assert_eq!(parse_decimal(text, precision, scale), None, "{text}");
    }
}

#[test]
fn what_is_not_a_plain_number_is_none() {
    for text in [
        "", "-", ".", ".5", "5.", "5.e1", "+5", "--5", "1_000", "1,5", " 5", "5 ", "1e", "e5", "0x10", "NaN", "\u{664}",
    ] {
        assert_eq!(parse_decimal(text, 38, 5), None, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn a_number_reads_back_from_its_own_text(number in -(10i128.pow(38) - 1)..10i128.pow(38), scale in 0u8..=38) {
        let digits = format!("{:0>1$}", number.unsigned_abs(), usize::from(scale) + 1);
        let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
        let sign = if number < 0 { "-" } else { "" };
        let text = if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") };
        proptest::prop_assert_eq!(parse_decimal(&text, 38, scale), Some(number));
        proptest::prop_assert_eq!(parse_decimal(&format!("{number}e-{scale}"), 38, scale), Some(number));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[-+0-9.eE]{0,60}", precision in 1u8..=38) {
        let number = parse_decimal(&text, precision, precision / 2);
        proptest::prop_assert!(number.is_none_or(|number| number.unsigned_abs() < 10u128.pow(precision.into())));
    }
}
