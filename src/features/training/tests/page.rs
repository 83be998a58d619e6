//! docs/training.md: the table of a history, and the one of what it answers its labels.

use super::*;
use crate::features::fixture;

const PAGE: &str = include_str!("../../../../docs/training.md");

/// The cells of the table whose header begins like this, header first.
fn table(header: &str) -> Vec<Vec<&'static str>> {
    let lines = PAGE.lines().skip_while(|line| !line.starts_with(header)).take_while(|line| line.starts_with('|'));
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    lines.map(cells).filter(|cells| !cells[0].starts_with("---")).collect()
}

/// A time of day of 2024-02-28, in ms.
fn at(text: &str) -> i64 {
    format!("2024-02-28T{text}Z").parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_the_page_answer_its_labels() {
    let mut world = World::new(0);
    let rows = table("| event_time | known_at").split_off(1);
    let row = |(ordinal, cells): (usize, &Vec<&str>)| Past {
        entity: 0,
        key: "u0".into(),
        event_time: at(cells[0]),
        known_at: at(cells[1]),
        partition: 0,
        offset: ordinal as i64,
        sequence: 0,
        ordinal: ordinal as i64,
        values: fixture::row(cells[2].parse().unwrap(), 1.0, at(cells[0])),
    };
    let rows: Vec<Past> = rows.iter().enumerate().map(row).collect();
    assert_eq!(rows.len(), 3);
    world.fixed(rows).await;
    let mut answers = table("| Label's time");
    let header = answers.remove(0);
    assert_eq!((header.len(), answers.len()), (5, 7));
    let label = |cells: &Vec<&str>| Label { id: Some("u0".into()), n: None, at: at(cells[0]) * 1000 };
    let file = world.write("labels.parquet", &answers.iter().map(label).collect::<Vec<_>>());
    for (column, flag) in header.iter().enumerate().skip(1) {
        let rule = match *flag {
            "as known then" => Rule::default(),
            "--strict" => Rule { strict: true, ..Rule::default() },
            "--by-event-time" => Rule { by_event_time: true, ..Rule::default() },
            "--lookback 3m" => Rule { lookback: Some(180_000), ..Rule::default() },
            other => panic!("{other}"),
        };
        world.train(&world.job(&file, Question { rule, ..question(&["user:views"]) })).await.unwrap();
        let found = read(&world.path("train.parquet"), &world.settings).await;
        for (row, cells) in answers.iter().enumerate() {
            let shown = int(&found, "views", row).map_or(String::new(), |views| views.to_string());
            assert_eq!(shown, cells[column], "{flag} at {}", cells[0]);
        }
    }
}
