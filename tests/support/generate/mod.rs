//! Seeded event logs and topologies: the same seed gives the same bytes, on every machine.
//!
//! Two profiles. `small` logs are short and hostile: borders of windows hit to the millisecond, ties, grace, clocks
//! that run ahead, every malformed kind; they come with a random topology. A `stream` is long and realistic, and tells
//! one of the stories that the shipped topologies read.

mod features;
mod fraud;
mod sensors;
mod shop;
mod small;
mod stream;
mod topologies;

pub use fraud::FRAUD;
pub use sensors::SENSORS;
pub use shop::SHOP;
pub use small::{SmallOptions, small};
pub use stream::{Story, Stream};
pub use topologies::{RandomTopology, random_topology};

use rand::Rng;
use rand::rngs::SmallRng;

/// Everything that a shipped topology reads.
pub static STORIES: [&Story; 3] = [&SHOP, &FRAUD, &SENSORS];

/// The story that a topology of this name reads; otherwise, which there are.
pub fn story(name: &str) -> Result<&'static Story, String> {
    let names = STORIES.map(|story| story.name).join(", ");
    STORIES.into_iter().find(|story| story.name == name).ok_or_else(|| format!("there are {names}"))
}

/// What a malformed record is made of.
struct Wrong {
    /// Of a string that is the key, of a double, of the event time.
    names: [&'static str; 3],
    /// An event time as records write it, and some that none does.
    time: String,
    times: Vec<String>,
}

impl Wrong {
    /// Event times are whole milliseconds.
    fn in_millis(names: [&'static str; 3], time: i64) -> Self {
        let times = vec![format!("\"{time}\""), format!("{time}.0"), "null".into(), "99999999999999999".into()];
        Self { names, time: time.to_string(), times }
    }
}

/// Values that no topology with such fields accepts.
fn malformed(rng: &mut SmallRng, wrong: &Wrong) -> Vec<u8> {
    let Wrong { names: [key, number, at], time, times } = wrong;
    let begun = format!("{{\"{key}\":\"u1\",\"{at}\":");
    let mut texts = vec![
        format!("{begun}{time}"),
        format!("{begun}{time},}}"),
        format!("{begun}{time}}}}}"),
        format!("[{begun}{time}}}]"),
        format!("{{'{key}':'u1','{at}':{time}}}"),
        format!("{begun}{time},\"{number}\":\"12.5\"}}"),
        format!("{begun}{time},\"{number}\":NaN}}"),
        format!("{begun}{time},\"{number}\":1e999}}"),
        format!("{{\"{key}\":7,\"{at}\":{time}}}"),
        format!("{{\"{key}\":\"u1\"}}"),
    ];
    texts.extend(times.iter().map(|time| format!("{begun}{time}}}")));
    texts.extend(["", "not json", "\u{feff}{}", "null"].map(String::from));
    let kind = rng.random_range(0..=texts.len());
    match texts.get(kind) {
        Some(text) => text.clone().into_bytes(),
        None => b"{\"user_id\":\"\xff\xfe\",\"ts\":1}".to_vec(),
    }
}

/// A double between two whole numbers, as it may be written; now and then one at the borders of its type.
fn double(rng: &mut SmallRng, from: i32, to: i32) -> String {
    const BORDERS: [&str; 10] = [
        "-0.0",
        "0.1",
        "1e-7",
        "5e-324",
        "2.2250738585072014e-308",
        "4503599627370496.5",
        "9007199254740993",
        "-1e15",
        "123456789.123456789",
        "1E+2",
    ];
    match rng.random_range(0..2000) {
        0 => (*pick(rng, &BORDERS)).into(),
        1..=40 => format!("{}e-1", rng.random_range(from * 10..to * 10)),
        _ => format!("{:.2}", f64::from(rng.random_range(from * 100..to * 100)) / 100.0),
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
