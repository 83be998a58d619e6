//! The words for verdicts, parts and features.

use std::fmt::Write;

use super::answer::Answer;
use crate::cli::instant::show_instant as time;
use crate::task::{Outside, Part, Verdict};
use crate::time::{Millis, Span};
use crate::topology::{FeaturePlan, SourcePlan, Window};

/// How a verdict is summed up, in this order.
pub const VERDICTS: [&str; 12] = [
    "counted",
    "where not true",
    "null",
    "outside the window",
    "after the time asked for",
    "forgotten",
    "filtered",
    "late",
    "future",
    "tombstone",
    "over limit",
    "malformed",
];

/// The words for a verdict: one of [`VERDICTS`].
pub fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Counted(_) => "counted",
        Verdict::NotWhere => "where not true",
        Verdict::Null { .. } => "null",
        Verdict::Outside(_) => "outside the window",
        Verdict::After { .. } => "after the time asked for",
        Verdict::Forgotten => "forgotten",
        Verdict::Filtered => "filtered",
        Verdict::Late { .. } => "late",
        Verdict::Future => "future",
        Verdict::NoRow { class, .. } => class,
    }
}

/// Whether a record counts, and if not, why.
pub fn because(verdict: &Verdict, source: &SourcePlan) -> String {
    let why = match verdict {
        Verdict::Counted(_) => "yes".to_string(),
        Verdict::NoRow { class, reason } if reason.is_empty() => (*class).to_string(),
        Verdict::NoRow { class, reason } => format!("{class}: {reason}"),
        Verdict::Filtered => "filtered: the source's where is not true".to_string(),
        Verdict::Future => {
            let ahead = Span(source.max_future.unwrap_or_default());
            format!("future: more than max_future ({ahead}) ahead of its Kafka time")
        }
        Verdict::Late { watermark } => match source.grace {
            0 => format!("late: the watermark was {}", time(*watermark)),
            grace => format!("late: the watermark was {}, grace is {}", time(*watermark), Span(grace)),
        },
        Verdict::After { clock } => format!("after: when it came the entity was at {}", time(*clock)),
        Verdict::Forgotten => "forgotten: the entity was emptied after it (forget_after)".to_string(),
        Verdict::NotWhere => "where is not true".to_string(),
        Verdict::Outside(outside) => format!("outside the window: {}", self::outside(outside)),
        Verdict::Null { what, failed: true } => format!("null {what}: its expression failed"),
        Verdict::Null { what, failed: false } => format!("null {what}"),
    };
    if verdict.is_dead_letter() { format!("dead letter, {why}") } else { why }
}

fn outside(outside: &Outside) -> String {
    match outside {
        Outside::Left { at } => format!("left at {}", time(*at)),
        Outside::OtherWindow { start, end } => format!("in {} to {}", time(*start), time(*end)),
        Outside::EarlierSession => "in an earlier session".to_string(),
        Outside::SessionOver { at } => format!("the session was over at {}", time(*at)),
        Outside::Border => "it is the border".to_string(),
        Outside::BeforeBorder { offset } => format!("before the border (offset {offset})"),
        Outside::Beyond { n } => format!("{n} newer ones pass where"),
    }
}

/// What a part is, and when it leaves.
pub fn part(part: &Part) -> (String, String) {
    let range = |from: &Millis, to: &Millis| format!("{} to {}", time(*from), time(*to));
    match part {
        Part::Tile { start, end, leaves } => (range(start, end), time(*leaves)),
        Part::Tiles { start, end, leaves } => {
            (format!("{}, merged", range(start, end)), format!("{} on", time(*leaves)))
        }
        Part::Tumbling { start, end, shown_until } => (range(start, end), time(*shown_until)),
        Part::Session { start, last, over } => (format!("session {}", range(start, last)), time(*over)),
        Part::Since { border: Some((at, offset)) } => (format!("since offset {offset}, {}", time(*at)), String::new()),
        Part::Since { border: None } => ("all: nothing meets the condition".to_string(), String::new()),
        Part::Last { n } => (format!("the last {n}"), String::new()),
        Part::Lifetime => ("all".to_string(), String::new()),
    }
}

/// The newest `limit` offsets, neighbours as a range: `17, 20-23, 31`.
pub fn offsets(all: &[i64], limit: usize) -> String {
    if limit == 0 {
        return String::new();
    }
    let left_out = all.len().saturating_sub(limit);
    let mut text = if left_out > 0 { format!("{left_out} before, ") } else { String::new() };
    for (index, run) in all[left_out..].chunk_by(|a, b| a + 1 == *b).enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        // Writing to a string cannot fail.
        let _ = match run {
            [first, .., last] => write!(text, "{comma}{first}-{last}"),
            [only] => write!(text, "{comma}{only}"),
            [] => Ok(()),
        };
    }
    text
}

/// `sum price where event = 'purchase' by category, window 30d by 1d`.
pub fn described(answer: &Answer<'_>, of: &FeaturePlan) -> String {
    let sql = |id| answer.question.plan.exprs.canonical(id);
    let mut text = format!("{} {}", of.aggregate, of.input.map_or("*", sql));
    if let Some(filter) = of.filter {
        text.push_str(" where ");
        text.push_str(sql(filter));
    }
    if let Some(by) = of.by {
        text.push_str(" by ");
        text.push_str(sql(by.bucket));
    }
    match of.window {
        Window::Since { condition } => format!("{text}, window since {}", sql(condition)),
        window => format!("{text}, window {window}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_ranges_and_the_newest_are_named() {
        assert_eq!(offsets(&[17, 20, 21, 22, 31], 9), "17, 20-22, 31");
        assert_eq!(offsets(&[17, 20, 21, 22, 31], 2), "3 before, 22, 31");
        assert_eq!(offsets(&[5], 9), "5");
        assert_eq!((offsets(&[], 9), offsets(&[5, 6], 0)), (String::new(), String::new()));
    }

    #[test]
    fn every_verdict_has_its_word_and_dead_letters_are_named() {
        let yaml = r#"{topology: t, source: {topic: t, format: json, event_time: ts, lateness: 1s,
            schema: {user_id: string, ts: timestamp_ms}},
            entities: {user: {key: user_id, features: {views: {count: "*", window: lifetime}}}}}"#;
        let source = crate::topology::parse("t.yaml", yaml).unwrap().source;
        let no_row = |class| Verdict::NoRow { class, reason: String::new() };
        let refused = [no_row("malformed"), no_row("over limit"), Verdict::Future, Verdict::Late { watermark: 0 }];
        for verdict in &refused {
            assert!(because(verdict, &source).starts_with(&format!("dead letter, {}", word(verdict))), "{verdict:?}");
        }
        let others = [
            Verdict::Counted(0),
            Verdict::NotWhere,
            Verdict::Forgotten,
            Verdict::Filtered,
            Verdict::After { clock: 0 },
            Verdict::Null { what: "input", failed: true },
            Verdict::Outside(Outside::Border),
            no_row("tombstone"),
        ];
        assert!(others.iter().all(|verdict| !because(verdict, &source).contains("dead letter")));
        assert!(refused.iter().chain(&others).all(|verdict| VERDICTS.contains(&word(verdict))));
    }
}
