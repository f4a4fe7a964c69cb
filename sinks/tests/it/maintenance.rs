//! Upkeep changes files and never rows, and two owners never both count.

use headframe_sinks::maintenance::{Maintenance, MaintenanceConfig};
use headframe_sinks::{SinkError, SnapshotReader};

use crate::fixture::{Fixture, range, rows, table};

/// 2026-01-03, when the rows of the fixture are a day old.
const NOW_MS: i64 = 1_767_398_400_000;

fn eager() -> MaintenanceConfig {
    MaintenanceConfig { small_files: 4, checkpoint_commits: 5, ..MaintenanceConfig::default() }
}

async fn filled(fixture: &Fixture) -> headframe_sinks::TableWriter {
    let mut writer = fixture.writer().await;
    for seq in 1..=10 {
        writer.commit(range(seq, seq), &rows(seq, seq)).await.unwrap();
    }
    writer
}

#[tokio::test]
async fn small_files_become_one_and_the_writer_goes_on() {
    let fixture = Fixture::new();
    let mut writer = filled(&fixture).await;
    let mut owner = Maintenance::open(&fixture.lake, table(), eager()).await.unwrap().unwrap();
    let round = owner.round(NOW_MS).await.unwrap();
    assert_eq!((round.rewritten, round.checkpoint), (10, true));
    let reader = SnapshotReader::open(&fixture.lake, table());
    let snapshot = reader.refresh().await.unwrap();
    assert_eq!((snapshot.files.len(), snapshot.rows(), snapshot.offset), (1, 10, Some(10)));
    writer.commit(range(11, 11), &rows(11, 11)).await.unwrap();
    assert_eq!(fixture.sequences().await, (1..=11).collect::<Vec<_>>());
    assert_eq!(fixture.writer().await.offset(), Some(11), "offset and fence survive the checkpoint");
}

#[tokio::test]
async fn the_older_of_two_owners_changes_nothing() {
    let fixture = Fixture::new();
    let _writer = filled(&fixture).await;
    let mut old = Maintenance::open(&fixture.lake, table(), eager()).await.unwrap().unwrap();
    let mut new = Maintenance::open(&fixture.lake, table(), eager()).await.unwrap().unwrap();
    let lost = old.round(NOW_MS).await.unwrap_err();
    assert!(matches!(lost, SinkError::Fenced { .. }), "{lost}");
    assert_eq!(new.round(NOW_MS).await.unwrap().rewritten, 10);
    assert_eq!(fixture.sequences().await, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn old_rows_are_compressed_once_and_dropped_in_time() {
    let fixture = Fixture::new();
    let _writer = filled(&fixture).await;
    let mut owner = Maintenance::open(&fixture.lake, table(), eager()).await.unwrap().unwrap();
    let later = NOW_MS + 10 * 86_400_000;
    assert_eq!(owner.round(later).await.unwrap().rewritten, 10);
    assert_eq!(owner.round(later).await.unwrap().rewritten, 0, "cold files stay as they are");
    assert_eq!(fixture.sequences().await, (1..=10).collect::<Vec<_>>());
    assert_eq!(owner.round(NOW_MS + 731 * 86_400_000).await.unwrap().expired, 1);
    assert_eq!(fixture.sequences().await, Vec::<i64>::new());
}
