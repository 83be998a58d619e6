//! `kappa demo`: the whole way in under a minute, with nothing installed but this binary.
//!
//! Only the broker is a substitute (librdkafka's in-process one), and the online store where no redis-server is on
//! PATH; both are said. Everything between is what `kappa run` runs.

mod feed;
mod redis;
mod shop;
mod show;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use self::feed::{Feed, HISTORY_DAYS, HISTORY_EVENTS, LIVE_PER_SECOND};
use self::redis::OwnRedis;
use super::{block_on, logging, output, pipeline, rows, signals};
use crate::config::{Override, Settings};
use crate::error::{Error, Result};
use crate::runtime::{self, Observer, RunOptions};
use crate::sink::offline;
use crate::source::{Codec, EmbeddedBroker, Producer};
use crate::topology::{self, Plan};

/// The demo's topology, as it stands in the repository.
const SHOP: &str = include_str!("../../../topologies/shop.yaml");
const PARTITIONS: i32 = 4;
/// Whose features are shown: the busiest, and some who are not.
const SHOWN: [&str; 5] = ["u1", "u2", "u3", "u42", "u300"];
/// What is shown of them; the last one is known only to who reads, and the first ones change with every other event.
const FEATURES: [&str; 7] = [
    "views_1h",
    "cart_value",
    "items_viewed_this_session",
    "lifetime_value",
    "user_avg_purchase_90d",
    "category_affinity_score",
    "time_since_last_click",
];
/// A folder with this file in it was made by a demo, and may be emptied by one.
const MARKER: &str = ".kappa-demo";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the demo keeps its data; emptied at the start
    #[arg(long, value_name = "DIR", default_value = "data/demo")]
    dir: PathBuf,
    /// How long the features are shown as they change, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    seconds: u64,
}

pub fn run(args: &Args) -> Result<()> {
    prepare(&args.dir)?;
    block_on(demo(&args.dir, Duration::from_secs(args.seconds)))
}

async fn demo(dir: &Path, time: Duration) -> Result<()> {
    let plan = topology::parse("topologies/shop.yaml", SHOP)?;
    say("kappa demo: a shop's events, through Kafka, to features\n")?;
    let broker = EmbeddedBroker::start(&plan.source.topic, PARTITIONS)?;
    say(&format!(
        "  broker    embedded at {}, topic {}, {PARTITIONS} partitions",
        broker.brokers(),
        plan.source.topic
    ))?;
    let feed = feed(&broker, &plan).await?;
    say(&format!(
        "  events    {HISTORY_EVENTS} of the last {HISTORY_DAYS} days, and {LIVE_PER_SECOND} more every second"
    ))?;
    let redis = OwnRedis::start(&dir.join("redis"));
    say(&match &redis {
        Some(redis) => format!("  online    redis-server, its own, on port {}", redis.port),
        None => "  online    the embedded store: no redis-server on PATH".to_string(),
    })?;
    let settings = settings(dir, &broker, redis.as_ref())?;
    logging::start(&settings.log)?;
    say(&format!("  offline   Delta tables in {}", settings.offline.url))?;
    let watched = Watched { redis: redis.as_ref().map(|redis| redis.port), time };
    if watch_features(&plan, &settings, feed, watched).await? {
        training_data(&plan, &settings).await?;
        say(&next_steps(&settings))?;
    }
    Ok(())
}

/// Text and the end of its line, whether it has one or not.
fn say(text: &str) -> Result<()> {
    output::print(&format!("{text}\n"))
}

/// An empty folder; one that holds something else than a demo's data is refused.
fn prepare(dir: &Path) -> Result<()> {
    let cannot = |error: std::io::Error| {
        Error::configuration(format!("the demo's folder {}: {error}; name another with --dir", dir.display()))
    };
    let is_used = dir.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if is_used && !dir.join(MARKER).exists() {
        return Err(Error::configuration(format!(
            "{} holds something that no demo made: name another folder with --dir",
            dir.display()
        )));
    }
    if is_used {
        std::fs::remove_dir_all(dir).map_err(cannot)?;
    }
    std::fs::create_dir_all(dir.join("redis")).map_err(cannot)?;
    std::fs::write(dir.join(MARKER), "").map_err(cannot)
}

async fn feed(broker: &EmbeddedBroker, plan: &Plan) -> Result<Feed> {
    let producer = Producer::new(broker.brokers(), &plan.source.topic, Codec::Zstd, &Default::default())?;
    tokio::task::spawn_blocking(move || Feed::start(producer))
        .await
        .map_err(|error| Error::internal(format!("the demo's producer: {error}")))?
}

fn settings(dir: &Path, broker: &EmbeddedBroker, redis: Option<&OwnRedis>) -> Result<Settings> {
    let below = |name: &str| dir.join(name).display().to_string();
    let mut pairs = vec![
        ("kafka.brokers".to_string(), broker.brokers().to_string()),
        ("data_dir".into(), below("state")),
        ("offline.url".into(), below("offline")),
        ("offline.commit_interval".into(), "5s".into()),
        ("http.listen".into(), "127.0.0.1:0".into()),
        // One machine does everything here, the events too: an answer may be late.
        ("http.read_timeout".into(), "1s".into()),
        ("log.level".into(), "warn".into()),
    ];
    match redis {
        Some(redis) => pairs.push(("online.redis.url".into(), format!("redis://127.0.0.1:{}", redis.port))),
        None => pairs.push(("online.store".into(), "embedded".into())),
    }
    pairs.extend(EmbeddedBroker::options().into_iter().map(|(name, value)| (format!("kafka.options.{name}"), value)));
    let from = |(key, value)| Override { key, value, from: "the demo".into() };
    Settings::load(None, &pairs.into_iter().map(from).collect::<Vec<_>>())
}

/// How the features are watched.
#[derive(Clone, Copy)]
struct Watched {
    /// The port of the demo's own Redis.
    redis: Option<u16>,
    time: Duration,
}

/// How to look for oneself while it runs.
fn invitation(redis: Option<u16>, http: SocketAddr) -> String {
    let mut lines = vec!["  look      for yourself, in another terminal, as long as this runs:".to_string()];
    if let Some(port) = redis {
        let ask = "HMGET features:u42 lifetime_value views_1h";
        lines.push(format!("              redis-cli -p {port} {ask}"));
        lines.push(format!("              redis-cli -p {port} -i 0.5 -r -1 {ask}    # again every half second"));
    }
    let page = format!("http://{http}/v1/features/user/u42?names=time_since_last_click,cart_value");
    lines.push(format!("              curl '{page}'"));
    lines.push(format!("            http://{http}/docs has every page; kappa demo --seconds 300 runs for longer\n"));
    lines.join("\n")
}

/// Runs the pipeline while its features are shown, then drains it. False when the user has had enough.
async fn watch_features(plan: &Plan, settings: &Settings, feed: Feed, watched: Watched) -> Result<bool> {
    let observer = Observer::default();
    let mut signalled = signals::stop_on_signal(observer.clone())?;
    let (stop, stopped) = watch::channel(false);
    let (tell, told) = oneshot::channel();
    // Nobody is told when the pipeline has failed before it listens.
    let listening = move |address| {
        let _ = tell.send(address);
    };
    let running = pipeline::run(plan.clone(), settings.clone(), RunOptions::default(), observer, stopped, listening);
    let mut running = std::pin::pin!(running);
    let shown = async {
        let Ok(address) = told.await else { return std::future::pending().await };
        say(&format!("  pipeline  topologies/shop.yaml; http://{address} has metrics, health and features"))?;
        say(&invitation(watched.redis, address))?;
        show::ready(address).await;
        show::features(address, &plan.entities[0].name, &FEATURES, &SHOWN, watched.time).await
    };
    let completed = tokio::select! {
        ended = &mut running => {
            ended?;
            return Err(Error::internal("the demo's pipeline ended by itself"));
        }
        _ = signalled.changed() => false,
        shown = shown => { shown?; true }
    };
    tokio::task::block_in_place(|| feed.stop())?;
    // The pipeline is listening for as long as it runs.
    let _ = stop.send(true);
    let summary = running.await?;
    say(&format!("\n  drained   {summary}"))?;
    Ok(completed)
}

/// What a training job asks: the features of some users as they were known at some moments.
async fn training_data(plan: &Plan, settings: &Settings) -> Result<()> {
    let sql = point_in_time(runtime::now());
    let rows = offline::query(&settings.offline, plan, 1, &sql).await?;
    say(&format!("\nTraining data: what was known of a user at a past moment, from the Delta table\n\n{sql}\n"))?;
    output::print(&rows::as_table(&rows)?)?;
    let dead = "SELECT class, count(*) AS records FROM dead_letters GROUP BY class ORDER BY class";
    say(&format!("\nRecords that could not be used are kept with their reason:\n\n{dead}\n"))?;
    output::print(&rows::as_table(&offline::query(&settings.offline, plan, 1, dead).await?)?)
}

fn point_in_time(now: crate::time::Millis) -> String {
    let moment = |hours: i64| {
        jiff::Timestamp::from_second(now / 1000 - hours * 3600).map(|time| time.to_string()).unwrap_or_default()
    };
    let labels = [("u1", 48), ("u1", 1), ("u42", 48), ("u42", 1)];
    let labels =
        labels.map(|(user, hours)| format!("('{user}', TIMESTAMP '{}')", moment(hours))).join(",\n             ");
    format!(
        "SELECT label.user_id, label.at, h.known_at, h.views_1h, h.cart_value, h.items_viewed_this_session,
       h.lifetime_value, h.user_avg_purchase_90d, h.last_click_at
FROM (VALUES {labels}) AS label(user_id, at)
JOIN \"user\" h ON h.user_id = label.user_id AND h.event_time <= label.at AND h.known_at <= label.at
QUALIFY row_number() OVER (PARTITION BY label.user_id, label.at ORDER BY h.ordinal DESC) = 1
ORDER BY 1, 2"
    )
}

fn next_steps(settings: &Settings) -> String {
    let table = format!("{}/shop/user/v1", settings.offline.url);
    format!(
        "
What to try next
  read the history yourself (it stays):
    duckdb -c \"SELECT user_id, event_time, views_1h FROM delta_scan('{table}') LIMIT 5\"
    python3 -c \"import polars; print(polars.read_delta('{table}'))\"
    kappa history user u42 --limit 5 --data-dir {} --offline-url {}
  see what a topology costs:
    kappa explain topologies/shop.yaml
  run it on your own Kafka and Redis:
    kappa run topologies/shop.yaml --brokers localhost:9092 --redis-url redis://127.0.0.1:6379
    redis-cli HMGET features:u42 lifetime_value views_1h
    curl localhost:9464/metrics
",
        settings.data_dir.display(),
        settings.offline.url
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_that_a_demo_made_is_emptied() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("demo");
        prepare(&dir).unwrap();
        std::fs::write(dir.join("old"), "").unwrap();
        prepare(&dir).unwrap();
        assert!(!dir.join("old").exists() && dir.join(MARKER).exists());
        std::fs::write(home.path().join("precious"), "").unwrap();
        assert_eq!(prepare(home.path()).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_label_is_a_moment() {
        assert!(point_in_time(1_700_000_000_000).contains("('u1', TIMESTAMP '2023-11-12T22:13:20Z')"));
    }

    #[test]
    fn what_is_shown_and_asked_is_in_the_topology() {
        let plan = topology::parse("shop.yaml", SHOP).unwrap();
        let user = &plan.entities[0];
        let shown: Vec<&str> = user.shown().map(|(name, _)| name).collect();
        assert!(FEATURES.iter().all(|name| shown.contains(name)), "{shown:?}");
        let columns: Vec<&str> =
            user.columns().map(|(name, _)| name).chain(["known_at", "user_id", "event_time", "ordinal"]).collect();
        let sql = point_in_time(0);
        let of_history = sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
        for name in of_history.filter_map(|word| word.strip_prefix("h.")) {
            assert!(columns.contains(&name), "the history has no {name}");
        }
        assert!(
            invitation(Some(6380), ([127, 0, 0, 1], 9464).into())
                .contains("redis-cli -p 6380 HMGET features:u42 lifetime_value views_1h\n")
        );
    }
}
