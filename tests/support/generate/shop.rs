//! What `topologies/shop.yaml` reads: users of a web shop, who look, click, fill carts and buy.

use rand::Rng;
use rand::rngs::SmallRng;

use super::stream::Story;
use super::{Wrong, double, malformed, pick};

/// 20,000 users over 40 days, so that records leave the windows of 30.
pub static SHOP: Story = Story {
    name: "shop",
    yaml: include_str!("../../../topologies/shop.yaml"),
    topic: "shop.events",
    keys: 20_000,
    length: 40 * 86_400_000,
    bursts: 0.0,
    key: |number| format!("u{number}"),
    value,
    malformed: |rng, time| malformed(rng, &Wrong::in_millis(["user_id", "price", "ts"], time)),
};

const CATEGORIES: [&str; 7] =
    ["\"shoes\"", "\"books\"", "\"garden\"", "\"toys\"", "\"kitchen\"", "\"caf\u{e9}\"", "null"];

fn value(rng: &mut SmallRng, user: Option<&str>, time: i64) -> Vec<u8> {
    let event = match rng.random_range(0..100) {
        0..=58 => "view",
        59..=82 => "click",
        83..=90 => "cart",
        91..=92 => "remove",
        _ => "purchase",
    };
    let item = rng.random_range(0..5_000u32);
    let item_id = if rng.random_bool(0.01) { "null".into() } else { format!("\"item-{item}\"") };
    let price = match rng.random_range(0..100) {
        0..=1 => "null".into(),
        2..=11 => rng.random_range(1..500).to_string(),
        12..=14 => format!("-{}.{:02}", rng.random_range(1..50), rng.random_range(0..100)),
        _ => double(rng, 0, 400),
    };
    let (category, user) = (*pick(rng, &CATEGORIES), user.map_or("null".into(), |user| format!("\"{user}\"")));
    let (quantity, session) = (quantity(rng), rng.random::<u64>());
    let agent = pick(rng, &["Firefox/128.0", "Safari/17.5", "Chrome/126.0"]);
    format!(
        "{{\"user_id\":{user},\"event\":\"{event}\",\"item_id\":{item_id},\"category\":{category},\
         \"price\":{price},{quantity}\"ts\":{time},\"session\":\"{session:016x}\",\"agent\":\"{agent}\",\
         \"referrer\":\"https://shop.example/catalogue/{item}?from=home\",\"ab\":[1,{}]}}",
        item % 7
    )
    .into_bytes()
}

/// Absent, null, small, at the end of its type, or something else, which counts as null.
fn quantity(rng: &mut SmallRng) -> String {
    let quantity = match rng.random_range(0..1000) {
        0..=499 => return String::new(),
        500..=509 => "null".into(),
        510..=519 => "\"two\"".into(),
        520..=524 => "1.5".into(),
        525 => i64::MAX.to_string(),
        526 => "9223372036854775808".into(),
        _ => rng.random_range(0..5).to_string(),
    };
    format!("\"quantity\":{quantity},")
}
