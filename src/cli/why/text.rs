//! The answer for people: the value, what it is made of, its records, and what the stores say.

use std::fmt::Write;

use arrow::array::Array;

use super::answer::Answer;
use super::compare::{self, Compared, Said};
use super::words::{VERDICTS, because, described, offsets, part, word};
use crate::cli::instant::show_instant as time;
use crate::cli::{output, rows};
use crate::error::Result;
use crate::task::{Kept, Why};
use crate::time::floor_to;
use crate::topology::Window;

/// Offsets of one part, in its line.
const OFFSETS: usize = 12;

/// All of it.
pub fn of(answer: &Answer<'_>, limit: usize) -> Result<String> {
    let question = answer.question;
    let (is, from_log) = if answer.is_cut { ("comes to", ", from what the log still has") } else { ("is", "") };
    let mut text = format!(
        "{} of {} {:?} {is} {} at {}{from_log}\n",
        question.name(),
        question.entity().name,
        question.id,
        rows::cell(&answer.value, 0)?,
        time(answer.at)
    );
    if let Some(sql) = question.derived_sql() {
        let _ = writeln!(text, "derived: {sql}");
    }
    let _ = writeln!(text, "{}", read(answer));
    for note in &answer.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for (feature, why) in answer.features.iter().enumerate() {
        text.push('\n');
        self::feature(&mut text, answer, feature, why, limit)?;
    }
    if let Some(state) = &answer.kept {
        kept(&mut text, answer, state, limit)?;
    }
    let _ = writeln!(text, "\n{}", compared(answer));
    Ok(text)
}

fn read(answer: &Answer<'_>) -> String {
    let (topic, partition) = (&answer.question.plan.source.topic, answer.partition);
    let own = answer.trace.records().len();
    match answer.trace.read() {
        0 => format!("read: {topic}, partition {}: it is empty", partition.partition),
        all => format!(
            "read: {topic}, partition {}, offsets {} to {}: {all} records, {own} of them the entity's",
            partition.partition,
            partition.low,
            partition.high - 1
        ),
    }
}

fn feature(text: &mut String, answer: &Answer<'_>, feature: usize, why: &Why, limit: usize) -> Result<()> {
    let of = answer.trace.feature(feature);
    let _ = writeln!(text, "{} = {}: {}", of.name, rows::cell(&why.value, 0)?, described(answer, of));
    if let Window::Sliding { size, slide } = of.window {
        let from = floor_to(why.at - size, slide);
        let _ = writeln!(text, "the window holds event times from {} to {}", time(from), time(why.at));
    }
    let left_out = why.window.parts.len().saturating_sub(limit);
    let mut table = vec![["part", "leaves", "comes to", "records", "offsets"].map(String::from).to_vec()];
    for (row, (of, held)) in why.window.parts.iter().enumerate().skip(left_out) {
        let (name, leaves) = part(of);
        let value = rows::cell(&why.window.values, row)?;
        table.push(vec![name, leaves, value, held.len().to_string(), offsets(held, limit.min(OFFSETS))]);
    }
    if table.len() > 1 {
        let _ = write!(text, "\n{}", output::table(&table));
    }
    if left_out > 0 {
        let _ = writeln!(text, "{left_out} older parts are left out; --limit shows more");
    }
    if let Some(buckets) = &why.buckets {
        let mut table = vec![["bucket", "comes to", "records", "offsets"].map(String::from).to_vec()];
        for (row, (bucket, held)) in buckets.parts.iter().enumerate().take(limit) {
            let value = rows::cell(&buckets.values, row)?;
            table.push(vec![bucket.to_string(), value, held.len().to_string(), offsets(held, limit.min(OFFSETS))]);
        }
        let _ = write!(text, "\n{}", output::table(&table));
        let left_out = buckets.parts.len().saturating_sub(limit);
        if left_out > 0 {
            let _ = writeln!(text, "{left_out} more buckets are left out; --limit shows more");
        }
    }
    records(text, answer, feature, why, limit)
}

fn records(text: &mut String, answer: &Answer<'_>, feature: usize, why: &Why, limit: usize) -> Result<()> {
    let trace = &answer.trace;
    let inputs = trace.inputs(feature)?;
    let has_buckets = trace.feature(feature).by.is_some();
    let mut head = vec!["offset", "event time", "Kafka time"];
    head.extend(inputs.as_ref().map(|_| "input"));
    head.extend(has_buckets.then_some("bucket"));
    head.push("counted");
    let mut table: Vec<Vec<String>> = vec![head.into_iter().map(String::from).collect()];
    let chosen = answer.records(why, limit);
    for &record in &chosen {
        let of = &trace.records()[record];
        let mut row = vec![of.offset.to_string()];
        row.extend([of.event_time, of.kafka_time].map(|at| at.map_or_else(|| "none".to_string(), time)));
        if let Some(inputs) = &inputs {
            row.push(if inputs.is_null(record) { String::new() } else { rows::cell(inputs, record)? });
        }
        if has_buckets {
            row.push(trace.bucket(feature, record).unwrap_or_default().to_string());
        }
        row.push(because(&why.verdicts[record], &answer.question.plan.source));
        table.push(row);
    }
    if !chosen.is_empty() {
        let _ = write!(text, "\n{}", output::table(&table));
    }
    let left_out = why.verdicts.len() - chosen.len();
    let _ = writeln!(text, "{} records: {}", why.verdicts.len(), summary(why));
    if left_out > 0 {
        let _ = writeln!(text, "{left_out} of them are left out above; --limit shows more");
    }
    Ok(())
}

fn summary(why: &Why) -> String {
    let count = |name: &str| why.verdicts.iter().filter(|verdict| word(verdict) == name).count();
    let counts = VERDICTS.iter().map(|name| (name, count(name))).filter(|(name, n)| *n > 0 || **name == "counted");
    counts.map(|(name, n)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
}

/// What the state keeps.
fn kept(text: &mut String, answer: &Answer<'_>, state: &Kept, limit: usize) -> Result<()> {
    for (feature, of) in state.features.iter().enumerate() {
        let name = &answer.trace.feature(feature).name;
        let (value, at) = (rows::cell(&of.value, 0)?, time(state.at));
        let _ = writeln!(
            text,
            "\nthe state has {name} = {value} at {at}, of the records before offset {}",
            state.next_offset
        );
        let left_out = of.parts.len().saturating_sub(limit);
        let mut table = vec![["part", "leaves", "comes to"].map(String::from).to_vec()];
        for (row, of_state) in of.parts.iter().enumerate().skip(left_out) {
            let (name, leaves) = part(of_state);
            table.push(vec![name, leaves, rows::cell(&of.values, row)?]);
        }
        if table.len() > 1 {
            let _ = write!(text, "\n{}", output::table(&table));
        }
        if left_out > 0 {
            let _ = writeln!(text, "{left_out} older parts are left out; --limit shows more");
        }
        if !of.offsets.is_empty() {
            let _ = writeln!(text, "kept one by one: offsets {}", offsets(&of.offsets, limit));
        }
    }
    Ok(())
}

/// The value from the log, from the history and from the online store.
fn compared(answer: &Answer<'_>) -> String {
    let line = |name: &str, said: &Said| match said {
        Said::Nothing(why) => vec![name.to_string(), "-".to_string(), why.clone()],
        Said::Value(compared) => vec![name.to_string(), shown(&compared.stored), judgement(answer, compared)],
    };
    let value = shown(&compare::shown(answer.question, &answer.value));
    let recomputed = vec!["recomputed".to_string(), value, format!("at {}", time(answer.at))];
    let table = [recomputed, line("history", &answer.history), line("online", &answer.online)];
    output::table(&table).trim_end().to_string()
}

fn shown(value: &Option<String>) -> String {
    value.clone().unwrap_or_else(|| "null".to_string())
}

fn judgement(answer: &Answer<'_>, compared: &Compared) -> String {
    let version = compared.version.map_or_else(String::new, |version| format!(", version {version}"));
    let offset = match compared.moment.through {
        i64::MAX => String::new(),
        offset => format!(", offset {offset}"),
    };
    let at = format!("at {}{version}{offset}", time(compared.moment.at));
    let now = compare::shown(answer.question, &answer.value);
    let then = shown(&compared.recomputed);
    match compared.same {
        true if compared.moment.at == answer.at && compared.recomputed == now => format!("{at}: the same"),
        true => format!("{at}: the same as the log comes to there"),
        false if answer.is_cut => format!("{at}: what the log still has comes to {then} there"),
        false => format!("{at}: DIFFERS: the log comes to {then} there"),
    }
}
