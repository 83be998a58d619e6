//! Seeded event logs and topologies: the same seed gives the same bytes, on every machine.
//!
//! Two profiles. `small` logs are short and hostile: borders of windows hit to the millisecond, ties, grace, clocks
//! that run ahead, every malformed kind; they come with a random topology. `shop` is the long, realistic one over the
//! schema of `topologies/shop.yaml`.

mod features;
mod shop;
mod small;
mod topologies;

pub use shop::{Shop, ShopOptions};
pub use small::{SmallOptions, small};
pub use topologies::{RandomTopology, random_topology};

use rand::Rng;
use rand::rngs::SmallRng;

/// Values that no topology with a timestamp `ts`, a double `price` and a string `user_id` accepts.
fn malformed(rng: &mut SmallRng, time: i64) -> Vec<u8> {
    let texts = [
        format!("{{\"user_id\":\"u1\",\"ts\":{time}"),
        format!("{{\"user_id\":\"u1\",\"ts\":{time},}}"),
        format!("{{\"user_id\":\"u1\",\"ts\":{time}}}}}"),
        format!("[{{\"user_id\":\"u1\",\"ts\":{time}}}]"),
        format!("{{'user_id':'u1','ts':{time}}}"),
        format!("{{\"user_id\":\"u1\",\"ts\":{time},\"price\":\"12.5\"}}"),
        format!("{{\"user_id\":\"u1\",\"ts\":{time},\"price\":NaN}}"),
        format!("{{\"user_id\":\"u1\",\"ts\":{time},\"price\":1e999}}"),
        format!("{{\"user_id\":7,\"ts\":{time}}}"),
        format!("{{\"user_id\":\"u1\",\"ts\":\"{time}\"}}"),
        format!("{{\"user_id\":\"u1\",\"ts\":{time}.0}}"),
        "{\"user_id\":\"u1\"}".into(),
        "{\"user_id\":\"u1\",\"ts\":null}".into(),
        "{\"user_id\":\"u1\",\"ts\":99999999999999999}".into(),
        "".into(),
        "not json".into(),
        "\u{feff}{}".into(),
        "null".into(),
    ];
    let kind = rng.random_range(0..=texts.len());
    match texts.get(kind) {
        Some(text) => text.clone().into_bytes(),
        None => b"{\"user_id\":\"\xff\xfe\",\"ts\":1}".to_vec(),
    }
}

/// A well-formed value that nests too deep.
fn too_deep(time: i64) -> Vec<u8> {
    format!("{{\"ts\":{time},\"deep\":{}{}}}", "[".repeat(300), "]".repeat(300)).into_bytes()
}

/// A stable hash that places a key in a partition.
pub fn partition_of(key: &str, partitions: i32) -> i32 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in key.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    ((hash >> 33) % partitions as u64) as i32
}

/// One of `items`.
fn pick<'a, T>(rng: &mut SmallRng, items: &'a [T]) -> &'a T {
    &items[rng.random_range(0..items.len())]
}
