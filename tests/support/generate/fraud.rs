//! What `topologies/fraud.yaml` reads: transactions of cards, most at merchants that a card knows, some in bursts.

use rand::Rng;
use rand::rngs::SmallRng;

use super::stream::Story;
use super::{Wrong, double, malformed, partition_of, pick};

/// 20,000 cards over 120 days, so that a card at a merchant is forgotten after its 90.
pub static FRAUD: Story = Story {
    name: "fraud",
    yaml: include_str!("../../../topologies/fraud.yaml"),
    topic: "card.transactions",
    keys: 20_000,
    length: 120 * 86_400_000,
    bursts: 0.01,
    key: |number| format!("c{number:06}"),
    value,
    malformed: |rng, time| malformed(rng, &Wrong::in_millis(["card_id", "amount", "at"], time)),
};

const MERCHANTS: i32 = 3_000;
const COUNTRIES: [&str; 6] = ["\"FR\"", "\"PL\"", "\"AT\"", "\"US\"", "\"T\u{fc}rkiye\"", "null"];
const CATEGORIES: [&str; 6] =
    ["\"grocery\"", "\"fuel\"", "\"travel\"", "\"online \\\"shop\\\"\"", "\"caf\\u00e9\"", "null"];

fn value(rng: &mut SmallRng, card: Option<&str>, time: i64) -> Vec<u8> {
    let usual = card.map_or(0, |card| partition_of(card, MERCHANTS));
    let merchant = match rng.random_range(0..100) {
        0 => "null".into(),
        1..=60 => format!("\"m{}\"", (usual + rng.random_range(0..4)) % MERCHANTS),
        _ => format!("\"m{}\"", rng.random_range(0..MERCHANTS)),
    };
    let country = if rng.random_bool(0.85) { "\"DE\"" } else { *pick(rng, &COUNTRIES) };
    let category = *pick(rng, &CATEGORIES);
    let amount = match rng.random_range(0..1000) {
        0..=9 => "null".into(),
        10..=29 => double(rng, -60, 0),
        30..=39 => rng.random_range(1_000..100_000).to_string(),
        // One price of one merchant, over and over: no spread at all.
        40..=99 => "9.99".into(),
        _ => double(rng, 0, 300),
    };
    let approved = match rng.random_range(0..100) {
        0 => "null",
        1..=6 => "false",
        _ => "true",
    };
    let card = card.map_or("null".into(), |card| format!("\"{card}\""));
    let (id, entry) = (rng.random::<u64>(), pick(rng, &["chip", "stripe", "contactless", "typed"]));
    format!(
        "{{\"id\":\"t{id:016x}\",\"card_id\":{card},\"merchant_id\":{merchant},\"country\":{country},\
         \"category\":{category},\"amount\":{amount},\"currency\":\"EUR\",\"approved\":{approved},\"at\":{time},\
         \"terminal\":{{\"id\":\"{:08x}\",\"entry\":\"{entry}\",\"attended\":true}},\"codes\":[0,{}]}}",
        id as u32,
        id % 100
    )
    .into_bytes()
}
