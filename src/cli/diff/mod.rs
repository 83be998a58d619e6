//! `kappa diff V1 V2`: how the values of two versions differ, before one takes over from the other.
//!
//! Always holds: what is compared is every key's last row, read from both states beside whoever runs them; nothing is
//! written. `join` lays the states side by side, `values` says how far two values lie apart, `tally` counts, `report`
//! prints, and a bound on what may have changed makes the answer an error (exit code 3), so that it can stand before
//! `kappa promote`.

mod join;
mod report;
mod tally;
mod values;

use self::join::{Comparison, Scope, Side, compare};
use self::report::{Report, percent, share, totals};
use super::{output, versions};
use crate::error::{Error, Result};

/// The arguments of `kappa diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A version's number (kappa versions): the left side, usually the live one
    #[arg(value_name = "V1")]
    left: u32,
    /// Another's: the right side, usually the one that is to be live
    #[arg(value_name = "V2")]
    right: u32,
    /// Only this entity; may be given several times
    #[arg(long, value_name = "NAME")]
    entity: Vec<String>,
    /// Compare only this share of the keys (0.1 or 10%), the same ones each time
    #[arg(long, value_name = "SHARE", value_parser = parse_sample)]
    sample: Option<f64>,
    /// Numbers within this share of the larger count as equal (1e-9 or 5%)
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = parse_share)]
    tolerance: f64,
    /// Exit with code 3 when a feature that both have differs for more than this share of the keys (0.05 or 5%)
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    max_changed: Option<f64>,
    #[command(flatten)]
    of: versions::Args,
}

/// Prints the comparison; an error of the kind refused when more has changed than may.
pub fn run(args: &Args) -> Result<()> {
    let (_, versions, _) = args.of.open()?;
    let sides = [Side::open(&versions, args.left)?, Side::open(&versions, args.right)?];
    let scope = Scope { entities: args.entity.clone(), sample: args.sample, tolerance: args.tolerance };
    let found = compare(&versions, &sides, &scope)?;
    let report = Report { sides: &sides, scope: &scope, found: &found };
    if args.of.ask.json {
        output::tree(&report.json(), true)?
    } else {
        output::print(&report.text())?
    }
    args.max_changed.map_or(Ok(()), |most| within(&found, most))
}

/// An error when more than this share of the compared keys has changed, or when there is nothing to judge by.
fn within(found: &Comparison, most: f64) -> Result<()> {
    let (compared, changed) = totals(found);
    if compared == 0 {
        return Err(Error::refused(
            "no key was compared, so --max-changed has nothing to judge by: compare more of them",
        ));
    }
    if share(changed, compared) <= most {
        return Ok(());
    }
    let features = found.entities.iter().flat_map(|entity| {
        let differing = entity.features.iter().filter(|feature| feature.differing() > 0);
        differing.map(|feature| (feature.differing(), format!("{}.{}", entity.entity, feature.common.name)))
    });
    let mut features: Vec<(u64, String)> = features.collect();
    features.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let features: Vec<String> = features.iter().map(|(keys, name)| format!("{name} ({keys})")).collect();
    Err(Error::refused(format!(
        "{changed} of {compared} compared keys have changed ({}), more than --max-changed {}: {}. See the table, and raise \
         --max-changed or --tolerance if that is as it should be",
        percent(share(changed, compared)),
        percent(most),
        features.join(", ")
    )))
}

/// `0.05`, `5%`.
fn parse_share(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| percent / 100.0),
        None => number(text),
    };
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "write a share from 0 to 1, like 0.05 or 5%".into())
}

fn parse_sample(text: &str) -> Result<f64, String> {
    let share = parse_share(text)?;
    if share > 0.0 { Ok(share) } else { Err("a sample of nothing compares nothing; write 0.1 or 10%".into()) }
}

#[cfg(test)]
mod tests {
    use super::tally::{Common, EntityTally, Pair};
    use super::*;
    use crate::cli::test::value::Value;

    /// `keys` keys of two features, of which the first differs for some, the second for one.
    fn comparison(keys: usize, differing: usize) -> Comparison {
        let common = |name: &str, at: usize| Common {
            name: name.into(),
            at: [at, at],
            empty: [Value::Null, Value::Null],
            types: ["int64".into(), "int64".into()],
            is_changed: true,
        };
        let mut tally = EntityTally::new("user", vec![common("many", 0), common("one", 1)], [vec![], vec![]]);
        for index in 0..keys {
            let right = [Value::Int(i64::from(index < differing)), Value::Int(i64::from(index == 0))];
            let left = [Value::Int(0), Value::Int(0)];
            let rows = [Some(&left[..]), Some(&right[..])];
            tally.add(Pair { key: &index.to_string(), partition: 0, rows }, 0.0);
        }
        Comparison { partitions: vec![], entities: vec![tally], entities_only: [vec![], vec![]] }
    }

    #[test]
    fn more_than_may_change_is_refused_with_the_features_by_how_much_they_differ() {
        assert!(within(&comparison(100, 5), 0.05).is_ok());
        let refused = within(&comparison(100, 6), 0.05).unwrap_err();
        assert_eq!(refused.exit_code(), 3);
        let text = refused.to_string();
        assert!(text.starts_with("6 of 100 compared keys have changed (6.0%)"), "{text}");
        assert!(text.contains("user.many (6), user.one (1)"), "{text}");
    }

    #[test]
    fn nothing_compared_is_no_reason_to_go_on() {
        assert_eq!(within(&comparison(0, 0), 1.0).unwrap_err().exit_code(), 3);
    }

    #[test]
    fn shares_are_parts_of_one_or_percents() {
        for (text, share) in [("5%", 0.05), ("0.05", 0.05), ("0", 0.0), ("100%", 1.0), ("1e-9", 1e-9)] {
            assert_eq!(parse_share(text), Ok(share), "{text}");
        }
        for text in ["5", "-1%", "101%", "NaN", "", "%", "five"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
        assert!(parse_sample("0").is_err());
    }
}
