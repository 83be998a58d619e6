//! A shop's visitors: skewed like real ones, the same every time but for the clock.
//!
//! A few users do much and most do little (Zipf), and so with items; people click what they view, put some of it into
//! the cart, take some out again, and buy. Only what is in a cart is taken out of it. A few events arrive out of order, a
//! few too late, a few are broken.

use crate::time::Millis;

const USERS: usize = 2_000;
const ITEMS: usize = 400;
/// The most that lies in a cart.
const CART: usize = 6;
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
    visitors: Vec<Visitor>,
}

/// What a user is about.
#[derive(Debug, Clone, Default)]
struct Visitor {
    looks_at: usize,
    /// Items, and how many of each.
    cart: Vec<(usize, u64)>,
}

impl Shop {
    pub fn new() -> Self {
        Self {
            chance: Chance(0x9E37_79B9_7F4A_7C15),
            users: Zipf::new(USERS),
            items: Zipf::new(ITEMS),
            visitors: vec![Visitor::default(); USERS],
        }
    }

    /// What arrives at this moment.
    pub fn event(&mut self, arrived: Millis) -> Event {
        let user = self.users.pick(&mut self.chance);
        let (what, item, quantity) = self.act(user);
        let (key, happened) = (format!("u{}", user + 1), arrived - self.delay());
        let value = match self.chance.below(1_000) {
            0 => format!("{{\"user_id\":\"{key}\",\"event\":\"{what}\",\"ts\":\"just now\"}}"),
            _ => format!(
                "{{\"user_id\":\"{key}\",\"event\":\"{what}\",\"item_id\":\"i{item}\",\"category\":\"{}\",\"price\":{}.{:02},\"quantity\":{quantity},\"ts\":{happened}}}",
                CATEGORIES[item % CATEGORIES.len()],
                3 + item * 7 % 190,
                item * 31 % 100,
            ),
        };
        Event { key, value, arrived }
    }

    /// What this user does now: the event, the item, and how many of it.
    fn act(&mut self, user: usize) -> (&'static str, usize, u64) {
        let (chance, visitor) = (&mut self.chance, &mut self.visitors[user]);
        match chance.below(100) {
            60..82 => ("click", visitor.looks_at, 1),
            82..91 if visitor.cart.len() < CART => {
                // One of it, mostly.
                let quantity = 1 + chance.below(5) / 4;
                visitor.cart.push((visitor.looks_at, quantity));
                ("cart", visitor.looks_at, quantity)
            }
            91..95 if !visitor.cart.is_empty() => {
                let at = chance.below(visitor.cart.len() as u64) as usize;
                let (item, quantity) = visitor.cart.swap_remove(at);
                ("remove", item, quantity)
            }
            95..100 => {
                let bought = visitor.cart.last().copied().unwrap_or((visitor.looks_at, 1));
                visitor.cart.clear();
                ("purchase", bought.0, bought.1)
            }
            _ => {
                visitor.looks_at = self.items.pick(chance);
                ("view", visitor.looks_at, 1)
            }
        }
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

    #[test]
    fn nothing_is_taken_out_of_a_cart_that_is_not_in_it() {
        let mut shop = Shop::new();
        let (mut carts, mut seen) = (vec![vec![]; USERS], std::collections::BTreeMap::new());
        for _ in 0..50_000 {
            let user = shop.users.pick(&mut shop.chance);
            let (what, item, quantity) = shop.act(user);
            *seen.entry(what).or_insert(0) += 1;
            match what {
                "cart" => carts[user].push((item, quantity)),
                "remove" => {
                    let at = carts[user].iter().position(|held| *held == (item, quantity)).unwrap();
                    carts[user].swap_remove(at);
                }
                "purchase" => carts[user].clear(),
                _ => {}
            }
        }
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), ["cart", "click", "purchase", "remove", "view"]);
        assert!(seen.values().all(|count| *count > 500), "{seen:?}");
    }
}
