//! Upkeep changes files and never rows, and two owners never both count.

use headframe_sinks::maintenance::{Maintenance, MaintenanceConfig};
use headframe_sinks::{SinkError, SnapshotReader};

use crate::fixture::{Fixture, range, rows, rows_on, table};

/// 2026-01-03, when the rows of the fixture are a day old.
const NOW_MS: i64 = 1_767_398_400_000;

fn eager() -> MaintenanceConfig {
    MaintenanceConfig {
        small_files: 4,
        checkpoint_commits: 5,
        ..MaintenanceConfig::default()
    }
}

async fn filled(fixture: &Fixture) -> headframe_sinks::TableWriter {
    let mut writer = fixture.writer().await;
    for seq in 1..=10 {
        writer
            .commit(range(seq, seq), &rows(seq, seq))
            .await
            .unwrap();
    }
    writer
}

#[tokio::test]
async fn small_files_become_one_and_the_writer_goes_on() {
    let fixture = Fixture::new();
    let mut writer = filled(&fixture).await;
    let mut owner = Maintenance::open(&fixture.lake, table(), eager())
        .await
        .unwrap()
        .unwrap();
    let round = owner.round(NOW_MS).await.unwrap();
    assert_eq!((round.rewritten, round.checkpoint), (10, true));
    let reader = SnapshotReader::open(&fixture.lake, table());
    let snapshot = reader.refresh().await.unwrap();
    assert_eq!(
        (snapshot.files.len(), snapshot.rows(), snapshot.offset),
        (1, 10, Some(10))
    );
    writer.commit(range(11, 11), &rows(11, 11)).await.unwrap();
    assert_eq!(fixture.sequences().await, (1..=11).collect::<Vec<_>>());
    assert_eq!(
        fixture.writer().await.offset(),
        Some(11),
        "offset and fence survive the checkpoint"
    );
}

#[tokio::test]
async fn the_older_of_two_owners_changes_nothing() {
    let fixture = Fixture::new();
    let _writer = filled(&fixture).await;
    let mut old = Maintenance::open(&fixture.lake, table(), eager())
        .await
        .unwrap()
        .unwrap();
    let mut new = Maintenance::open(&fixture.lake, table(), eager())
        .await
        .unwrap()
        .unwrap();
    let lost = old.round(NOW_MS).await.unwrap_err();
    assert!(matches!(lost, SinkError::Fenced { .. }), "{lost}");
    assert_eq!(new.round(NOW_MS).await.unwrap().rewritten, 10);
    assert_eq!(fixture.sequences().await, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn old_rows_are_compressed_once_and_dropped_in_time() {
    let fixture = Fixture::new();
    let mut writer = filled(&fixture).await;
    let mut owner = Maintenance::open(&fixture.lake, table(), eager())
        .await
        .unwrap()
        .unwrap();
    let later = NOW_MS + 10 * 86_400_000;
    assert_eq!(owner.round(later).await.unwrap().rewritten, 10);
    assert_eq!(
        owner.round(later).await.unwrap().rewritten,
        0,
        "cold files stay as they are"
    );
    assert_eq!(fixture.sequences().await, (1..=10).collect::<Vec<_>>());
    let years_later = NOW_MS + 731 * 86_400_000;
    writer
        .commit(
            range(11, 11),
            &rows_on("2028-01-04", years_later * 1_000, 11, 11),
        )
        .await
        .unwrap();
    assert_eq!(owner.round(years_later).await.unwrap().expired, 1);
    assert_eq!(fixture.sequences().await, [11]);
}

#[tokio::test]
async fn a_clock_that_jumps_drops_nothing() {
    let fixture = Fixture::new();
    let mut writer = filled(&fixture).await;
    let mut owner = Maintenance::open(&fixture.lake, table(), eager())
        .await
        .unwrap()
        .unwrap();
    // 2038, then back to before the rows were stored.
    for now in [2_147_483_648_000, NOW_MS - 400 * 86_400_000, NOW_MS] {
        assert_eq!(owner.round(now).await.unwrap().expired, 0, "at {now}");
        assert_eq!(
            fixture.sequences().await,
            (1..=10).collect::<Vec<_>>(),
            "at {now}"
        );
    }
    writer.commit(range(11, 11), &rows(11, 11)).await.unwrap();
    assert_eq!(fixture.sequences().await, (1..=11).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_rewrite_whose_rows_do_not_add_up_is_not_committed() {
    let fixture = Fixture::new();
    let _writer = filled(&fixture).await;
    let entry = std::fs::read_to_string(
        fixture
            .folder
            .path()
            .join("sensors/_delta_log/00000000000000000002.json"),
    )
    .unwrap();
    let add = entry.lines().find(|line| line.contains("\"add\"")).unwrap();
    let wrong = add.replace("\\\"numRecords\\\":1", "\\\"numRecords\\\":2");
    assert_ne!(wrong, add, "{add}");
    fixture.append(12, &wrong);
    let mut owner = Maintenance::open(&fixture.lake, table(), eager())
        .await
        .unwrap()
        .unwrap();
    let refused = owner.round(NOW_MS).await.unwrap_err();
    assert!(matches!(refused, SinkError::RowsDiffer { .. }), "{refused}");
    assert_eq!(fixture.sequences().await, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn orphans_are_removed_when_no_batch_can_still_name_them() {
    let fixture = Fixture::new();
    let mut writer = filled(&fixture).await;
    let day = fixture.folder.path().join("sensors/ingest_date=2026-01-02");
    let age = |path: &std::path::Path, hours: u64| {
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3_600);
        std::fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(then)
            .unwrap();
    };
    // A writer crashed after it had put its files, yesterday; another is about to commit.
    let (crashed, in_flight) = (day.join("crashed.parquet"), day.join("in-flight.parquet"));
    for (path, hours) in [(&crashed, 25), (&in_flight, 23)] {
        std::fs::write(path, b"no version names this").unwrap();
        age(path, hours);
    }
    let state = fixture
        .folder
        .path()
        .join("sensors/_state/decoder-1/00000000000000000010");
    std::fs::create_dir_all(state.parent().unwrap()).unwrap();
    std::fs::write(&state, b"what the decoder knew").unwrap();
    age(&state, 1_000);
    let mut owner = Maintenance::open(&fixture.lake, table(), eager())
        .await
        .unwrap()
        .unwrap();
    assert!(
        owner.round(NOW_MS).await.unwrap().checkpoint,
        "a vacuum comes with the checkpoint"
    );
    assert!(!crashed.exists() && in_flight.exists() && state.exists());
    writer.commit(range(11, 11), &rows(11, 11)).await.unwrap();
    assert_eq!(fixture.sequences().await, (1..=11).collect::<Vec<_>>());
}

/// The only thread for blocking work is taken, and a rewrite waits for it: what it decodes and
/// encodes never holds a thread of the runtime, on which everything else in the process runs.
#[test]
fn a_rewrite_decodes_and_encodes_on_no_thread_of_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let fixture = Fixture::in_memory();
        let _writer = filled(&fixture).await;
        let config = MaintenanceConfig {
            small_files: 4,
            checkpoint_commits: 1_000,
            ..MaintenanceConfig::default()
        };
        let mut owner = Maintenance::open(&fixture.lake, table(), config)
            .await
            .unwrap()
            .unwrap();
        let (release, released) = std::sync::mpsc::sync_channel(1);
        let taken = tokio::task::spawn_blocking(move || released.recv().unwrap());
        let round = tokio::spawn(async move { owner.round(NOW_MS).await });
        // More turns than all of it has awaits.
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        assert!(
            !round.is_finished(),
            "the files were rewritten on the runtime's own thread"
        );
        release.send(()).unwrap();
        assert_eq!(round.await.unwrap().unwrap().rewritten, 10);
        taken.await.unwrap();
        assert_eq!(fixture.sequences().await, (1..=10).collect::<Vec<_>>());
    });
}
