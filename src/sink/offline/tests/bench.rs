//! What a row costs: run with `cargo test --lib sink::offline::tests::bench -- --ignored --nocapture`.

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::*;

/// 8 features as in `topologies/shop.yaml`: four counts, three doubles, a text; one time. Skewed users.
fn rows(random: &mut SmallRng, from: i64, rows: usize, days: i64, total: i64) -> EntityRows {
    let users: Vec<i64> = (0..rows).map(|_| (100_000f64.powf(random.random::<f64>())) as i64).collect();
    let times: Vec<i64> = (0..rows as i64)
        .map(|row| START + (from + row) * days * 86_400_000 / total - random.random_range(0..60_000))
        .collect();
    let counts = |random: &mut SmallRng, top: i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(
            users.iter().map(|u| random.random_range(0..top) / u.ilog2().max(1) as i64),
        ))
    };
    let money = |random: &mut SmallRng, distinct: i64| -> ArrayRef {
        let mut price = |user: &i64| (random.random_range(0..distinct) * 100 + user % 977) as f64 / 100.0;
        Arc::new(Float64Array::from_iter(users.iter().map(|u| (u % 5 != 0).then(|| price(u)))))
    };
    let int = |f: &dyn Fn(usize) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((0..rows).map(f))) };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from_iter_values(users.iter().map(|u| format!("u{u}"))))),
        ("event_time", int(&|row| times[row])),
        ("known_at", int(&|row| times[row] + 5000)),
        ("offset", int(&|row| (from + row as i64) / 2)),
        ("sequence", Arc::new(Int32Array::from_iter_values((0..rows as i32).map(|row| row % 2)))),
        ("ordinal", int(&|row| from + row as i64)),
        ("views_1h", counts(random, 30)),
        ("clicks_24h", counts(random, 200)),
        ("items_this_session", counts(random, 12)),
        ("avg", money(random, 3000)),
        ("lifetime_value", money(random, 100_000)),
        ("largest", money(random, 500)),
        (
            "last_category",
            Arc::new(StringArray::from_iter_values(users.iter().map(|u| format!("category-{}", u % 12)))),
        ),
        (
            "last_click_at",
            Arc::new(
                TimestampMillisecondArray::from_iter_values(times.iter().map(|t| t - 40_000)).with_timezone("UTC"),
            ),
        ),
    ];
    EntityRows { entity: 0, rows: RecordBatch::try_from_iter(columns).unwrap() }
}

fn bench_plan() -> Plan {
    let mut plan = plan();
    let (int, double, text, time) = (ValueType::Int64, ValueType::Double, ValueType::String, ValueType::Timestamp);
    let types = [int, int, int, double, double, double, text, time];
    let features = types.iter().enumerate().map(|(i, ty)| feature(&format!("f{i}"), *ty)).collect();
    plan.entities = vec![entity("user", &[0], features)];
    plan
}

/// The epochs of one task: `total` rows over `days` days.
fn epochs(random: &mut SmallRng, partition: i32, epoch_rows: usize, days: i64, total: i64) -> Vec<Epoch> {
    let epoch = |number: i64| {
        let from = number * epoch_rows as i64;
        let next = from + epoch_rows as i64;
        Epoch {
            number: number as u64 + 1,
            partition,
            next_offset: next,
            watermark: None,
            next_ordinal: next,
            next_dead_letter: 0,
            rows: vec![rows(random, from, epoch_rows, days, total)],
            dead_letters: None,
        }
    };
    (0..total / epoch_rows as i64).map(epoch).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn microseconds_and_bytes_per_row() {
    for (name, epoch_rows, days) in [("replay", 65_536, 1), ("replay, 30 days", 65_536, 30), ("live", 50, 1)] {
        let total = if epoch_rows < 1000 { 500_000 } else { 2_000_000 };
        let directory = tempfile::tempdir().unwrap();
        let mut writer = OfflineWriter::open(&settings(&directory), &bench_plan(), 1, &[0]).await.unwrap();
        let mut random = SmallRng::seed_from_u64(7);
        let epochs = epochs(&mut random, 0, epoch_rows, days, total);
        let start = cpu_nanos();
        epochs.iter().for_each(|epoch| writer.append(epoch).unwrap());
        let appended = cpu_nanos();
        let pending = writer.pending_bytes();
        let written = writer.commit().await.unwrap();
        let committed = cpu_nanos();
        let row = |nanos: u64| nanos as f64 / 1000.0 / written.rows as f64;
        println!(
            "{name}: append {:.3} CPU us a row, commit {:.3}, {:.1} bytes a row, {} files, {pending} pending bytes",
            row(appended - start),
            row(committed - appended),
            written.bytes as f64 / written.rows as f64,
            written.files
        );
    }
}

/// Many dates with few rows each, from one task or several that go through them one after the other.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn cpu_seconds_of_many_small_files() {
    const DATES: i64 = 625;
    for tasks in [1, 4] {
        let directory = tempfile::tempdir().unwrap();
        let partitions: Vec<i32> = (0..tasks).collect();
        let mut writer = OfflineWriter::open(&settings(&directory), &bench_plan(), 1, &partitions).await.unwrap();
        let mut random = SmallRng::seed_from_u64(7);
        let total = DATES * 700 / i64::from(tasks);
        let of_tasks = partitions.iter().map(|partition| epochs(&mut random, *partition, 4375, DATES, total));
        let of_tasks: Vec<Vec<Epoch>> = of_tasks.collect();
        for round in 0..3 {
            let start = process_seconds();
            for epoch in of_tasks.iter().flatten() {
                writer.append(&later(epoch, round, total)).unwrap();
            }
            let appended = process_seconds();
            let began = std::time::Instant::now();
            let written = writer.commit().await.unwrap();
            println!(
                "{tasks} tasks, commit {round}: {} rows, {} files, {:.1} bytes a row, append {:.2} CPU s, commit {:.2} \
                 CPU s, {:.2} s",
                written.rows,
                written.files,
                written.bytes as f64 / written.rows as f64,
                appended - start,
                process_seconds() - appended,
                began.elapsed().as_secs_f64(),
            );
        }
    }
}

/// The same epoch again, as if everything before it had been there `round` times.
fn later(epoch: &Epoch, round: i64, total: i64) -> Epoch {
    let mut later = epoch.clone();
    later.number += 1_000_000 * round as u64;
    later.next_offset += total * round;
    later.next_ordinal += total * round;
    for rows in &mut later.rows {
        let mut columns = rows.rows.columns().to_vec();
        let ordinals = columns[5].as_primitive::<Int64Type>().unary::<_, Int64Type>(|ordinal| ordinal + total * round);
        columns[5] = Arc::new(ordinals);
        rows.rows = RecordBatch::try_new(rows.rows.schema(), columns).unwrap();
    }
    later
}

/// CPU time of all threads.
fn process_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime, in hundredths.
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// CPU time of this thread, on which everything is encoded.
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
