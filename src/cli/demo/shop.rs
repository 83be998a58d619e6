//! A shop's visitors: skewed like real ones, the same every time but for the clock.
//!
//! A few users do much and most do little (Zipf), and so with items; people click what they view, put some of it into
//! the cart and buy a part of that. A few events arrive out of order, a few too late, a few are broken.

use crate::time::Millis;

const USERS: usize = 2_000;
const ITEMS: usize = 400;
const CATEGORIES: [&str; 8] = ["books", "garden", "games", "kitchen", "music", "shoes", "sports", "toys"];

/// A record for the log: its key, its value, and when Kafka got it.
pub struct Event {
    pub key: String,
    pub value: String,
    pub arrived: Millis,
}

/// Makes events.
pub struct Shop {
    chance: Chance,
    users: Zipf,
    items: Zipf,
    /// What each user looks at.
    looks_at: Vec<usize>,
}

impl Shop {
    pub fn new() -> Self {
        Self {
            chance: Chance(0x9E37_79B9_7F4A_7C15),
            users: Zipf::new(USERS),
            items: Zipf::new(ITEMS),
            looks_at: vec![0; USERS],
        }
    }

    /// What arrives at this moment.
    pub fn event(&mut self, arrived: Millis) -> Event {
        let user = self.users.pick(&mut self.chance);
        let what = match self.chance.below(100) {
            0..66 => "view",
            66..87 => "click",
            87..95 => "cart",
            _ => "purchase",
        };
        if what == "view" {
            self.looks_at[user] = self.items.pick(&mut self.chance);
        }
        let item = self.looks_at[user];
        let (key, happened) = (format!("u{}", user + 1), arrived - self.delay());
        let value = match self.chance.below(1_000) {
            0 => format!("{{\"user_id\":\"{key}\",\"event\":\"{what}\",\"ts\":\"just now\"}}"),
            _ => format!(
                "{{\"user_id\":\"{key}\",\"event\":\"{what}\",\"item_id\":\"i{item}\",\"category\":\"{}\",\"price\":{}.{:02},\"ts\":{happened}}}",
                CATEGORIES[item % CATEGORIES.len()],
                3 + item * 7 % 190,
                item * 31 % 100,
            ),
        };
        Event { key, value, arrived }
    }

    /// How long an event was on its way, in ms: mostly not at all, sometimes a little, seldom too long.
    fn delay(&mut self) -> Millis {
        let limit = match self.chance.below(1_000) {
            0..4 => 60_000,
            4..60 => 4_000,
            _ => 20,
        };
        self.chance.below(limit) as Millis
    }
}

/// Draws 0, 1, 2 ... with weights 1, 1/2, 1/3 ...
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize) -> Self {
        let mut sum = 0.0;
        Self(
            (1..=count)
                .map(|rank| {
                    sum += 1.0 / rank as f64;
                    sum
                })
                .collect(),
        )
    }

    fn pick(&self, chance: &mut Chance) -> usize {
        let total = self.0.last().copied().unwrap_or_default();
        let point = chance.below(1 << 53) as f64 / (1_u64 << 53) as f64 * total;
        self.0.partition_point(|&sum| sum <= point).min(self.0.len() - 1)
    }
}

/// SplitMix64: a fixed sequence.
struct Chance(u64);

impl Chance {
    /// 0 to `limit` - 1 (`limit` > 0).
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_skewed_mostly_in_order_and_the_same_every_time() {
        let (mut first, mut second) = (Shop::new(), Shop::new());
        let events: Vec<Event> = (0..20_000).map(|at| first.event(at * 1_000)).collect();
        assert!((0..20_000).all(|at| second.event(at * 1_000).value == events[at as usize].value));
        let hottest = events.iter().filter(|event| event.key == "u1").count();
        assert!((1_500..4_000).contains(&hottest), "{hottest}");
        let broken = events.iter().filter(|event| event.value.contains("just now")).count();
        assert!((5..60).contains(&broken), "{broken}");
        let parse = |event: &Event| serde_json::from_str::<serde_json::Value>(&event.value).unwrap();
        let late = events.iter().filter(|e| parse(e)["ts"].as_i64().is_some_and(|ts| ts < e.arrived - 5_000)).count();
        assert!((10..200).contains(&late), "{late}");
        assert!(events.iter().all(|event| parse(event)["user_id"] == event.key.as_str()));
    }
}
