//! Rows read back for an online store are those of the epochs, to the byte.

use arrow::array::Array;
use futures::TryStreamExt;

use super::tidy::tidy_all;
use super::*;
use crate::sink::online::text::RowText;

/// Every row of an entity's history: its partition, key, position, event time and texts.
async fn read_back(settings: &OfflineSettings, entity: usize) -> Vec<String> {
    let plan = plan();
    let history = History::open(settings, &plan, 1, entity).await.unwrap().unwrap();
    let mut found = Vec::new();
    for files in history.dates() {
        for file in files {
            let opened = history.open_file(file).await.unwrap();
            let places: Vec<_> = opened.places(None).unwrap().try_collect().await.unwrap();
            let all: Vec<u32> = (0..places.iter().map(|places| places.keys.len() as u32).sum()).collect();
            // Every other row, then the others: the numbers of rows are those of the file.
            for half in [0, 1] {
                let wanted: Vec<u32> = all.iter().copied().filter(|row| row % 2 == half).collect();
                let batches: Vec<_> = opened.rows_at(&wanted).unwrap().try_collect().await.unwrap();
                for (partitions, rows) in batches {
                    found.extend(shown(&plan.entities[entity], &rows, |row| partitions.value(row)));
                }
            }
        }
    }
    found.sort();
    found
}

fn shown(entity: &EntityPlan, rows: &RecordBatch, partition: impl Fn(usize) -> i32) -> Vec<String> {
    let text = RowText::new(entity, rows).unwrap();
    let row = |row: usize| {
        let values = text.columns().iter().map(|column| {
            let mut bytes = Vec::new();
            if !column.is_null(row) {
                column.write(row, &mut bytes);
            }
            String::from_utf8(bytes).unwrap()
        });
        let values = values.collect::<Vec<_>>().join("|");
        let position = text.position(row, partition(row), 7, None);
        format!("{} {position} {} {} {values}", text.key(row), text.event_time(row), text.all_empty(row))
    };
    (0..rows.num_rows()).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_back_as_the_epochs_had_them_before_and_after_compaction() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0, 3]).await;
    let mut expected = vec![Vec::new(); 3];
    for (number, rows) in [0..130, 130..135, 135..300].into_iter().enumerate() {
        for partition in [0, 3] {
            let epoch = epoch(number as u64 + 1, partition, rows.clone(), 0..0);
            for of_entity in epoch.rows.iter().filter(|rows| rows.entity < 3) {
                let entity = &plan().entities[of_entity.entity];
                expected[of_entity.entity].extend(shown(entity, &of_entity.rows, |_| partition));
            }
            writer.append(&epoch).unwrap();
        }
        writer.commit().await.unwrap();
    }
    expected.iter_mut().for_each(|rows| rows.sort());
    for round in ["as written", "compacted"] {
        for (entity, expected) in expected.iter().enumerate() {
            assert_eq!(&read_back(&settings, entity).await, expected, "{round}: entity {entity}");
        }
        tidy_all(&settings, None).await;
    }
    let history = History::open(&settings, &plan(), 1, 0).await.unwrap().unwrap();
    assert_eq!(history.rows(), expected[0].len() as u64);
    assert_eq!(history.progress.partitions[&3].next_ordinal, 300);
    assert!(History::open(&settings, &plan(), 9, 0).await.unwrap().is_none());
}
