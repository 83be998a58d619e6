//! What `topologies/sensors.yaml` reads: readings of machines' sensors, in runs of a few with silence between.

use jiff::Timestamp;
use rand::Rng;
use rand::rngs::SmallRng;

use super::stream::Story;
use super::{Wrong, double, malformed, partition_of, pick};

/// 10,000 machines over 45 days, so that those that fall silent are forgotten after 30.
pub static SENSORS: Story = Story {
    name: "sensors",
    yaml: include_str!("../../../topologies/sensors.yaml"),
    topic: "sensor.readings",
    keys: 10_000,
    length: 45 * 86_400_000,
    bursts: 0.03,
    key: |number| format!("machine-{number}"),
    value,
    malformed: |rng, time| malformed(rng, &wrong(time)),
};

const HOUR: i64 = 3_600_000;

fn wrong(time: i64) -> Wrong {
    let times = ["1767225600000", "\"2026-02-30T00:00:00Z\"", "\"2026-01-01T00:00:00\"", "\"yesterday\""];
    Wrong {
        names: ["machine", "value", "time"],
        time: format!("\"{}\"", text(time * 1000)),
        times: times.map(String::from).to_vec(),
    }
}

/// RFC 3339 of microseconds, in UTC.
fn text(micros: i64) -> String {
    Timestamp::from_microsecond(micros).expect("a time of the year 2026").to_string()
}

/// In UTC or elsewhere, sometimes finer than the milliseconds that count.
fn time_text(rng: &mut SmallRng, time: i64) -> String {
    let micros = time * 1000 + if rng.random_bool(0.2) { rng.random_range(0..1000) } else { 0 };
    match rng.random_range(0..10) {
        0 => text(micros + 2 * HOUR * 1000).replace('Z', "+02:00"),
        1 => text(micros - 9 * HOUR * 1000 - HOUR * 500).replace('Z', "-09:30"),
        _ => text(micros),
    }
}

fn value(rng: &mut SmallRng, machine: Option<&str>, time: i64) -> Vec<u8> {
    let sensor = match rng.random_range(0..100) {
        0 => "null".into(),
        1 => "\"\"".into(),
        n => format!("\"{}\"", ["pressure", "temperature", "flow", "\u{394}t"][n % 4]),
    };
    // Every machine has its own level.
    let level = machine.map_or(0, |machine| partition_of(machine, 500)) - 100;
    let reading = match rng.random_range(0..1000) {
        0..=19 => "null".into(),
        20..=29 => "0".into(),
        // Stuck: no spread at all.
        30..=129 => format!("{level}.5"),
        _ => double(rng, level, level + 20),
    };
    let status = match rng.random_range(0..100) {
        0 => "null",
        1..=3 => "\"fault\"",
        4..=9 => "\"warm\"",
        10..=12 => "\"maintenance\"",
        _ => "\"ok\"",
    };
    let time = time_text(rng, time);
    let (machine, unit) = (machine.map_or("null".into(), |machine| format!("\"{machine}\"")), pick(rng, &["K", "Pa"]));
    format!(
        "{{\"machine\":{machine},\"sensor\":{sensor},\"value\":{reading},\"status\":{status},\"time\":\"{time}\",\
         \"unit\":\"{unit}\",\"firmware\":\"4.2.{}\",\"site\":{{\"hall\":{},\"line\":\"north\"}}}}",
        level.rem_euclid(7),
        level.rem_euclid(11)
    )
    .into_bytes()
}
