//! A store that is full, away or slow: the batch is held, said to be held, and lands once when the
//! store is back.

use headframe_sinks::SnapshotReader;

use crate::failing_store::Fault;
use crate::fixture::{Fixture, range, rows, table};

#[tokio::test]
async fn a_full_store_holds_the_batch_and_says_so() {
    // No data file can be put; no log entry can; each lands although it is called a failure.
    for (part, fault) in [
        (".parquet", Fault::Before),
        ("_delta_log", Fault::Before),
        ("_delta_log", Fault::After),
    ] {
        let fixture = Fixture::new();
        let mut writer = fixture.writer().await;
        writer.commit(range(1, 2), &rows(1, 2)).await.unwrap();
        let mut held = writer.held();
        fixture.store.always(part, fault);
        let (batch, store) = (rows(3, 4), fixture.store.clone());
        let (done, why) = tokio::join!(writer.commit(range(3, 4), &batch), async {
            let why = held
                .wait_for(Option::is_some)
                .await
                .unwrap()
                .clone()
                .unwrap()
                .why;
            store.heal();
            why
        });
        done.unwrap();
        assert!(
            why.contains("planned failure") && why.contains("table sensors"),
            "{why}"
        );
        assert!(writer.held().borrow().is_none(), "nothing is held any more");
        assert_eq!(fixture.sequences().await, [1, 2, 3, 4], "{part} {fault:?}");
    }
}

#[tokio::test]
async fn a_slow_put_is_waited_for_and_readers_see_the_version_before() {
    for part in [".parquet", "_delta_log"] {
        let fixture = Fixture::new();
        let mut writer = fixture.writer().await;
        writer.commit(range(1, 2), &rows(1, 2)).await.unwrap();
        fixture.store.always(part, Fault::Wait);
        let batch = rows(3, 4);
        let (done, seen) = tokio::join!(writer.commit(range(3, 4), &batch), async {
            fixture.store.one_waits().await;
            let snapshot = SnapshotReader::open(&fixture.lake, table())
                .refresh()
                .await
                .unwrap();
            fixture.store.heal();
            (snapshot.offset, snapshot.rows())
        });
        done.unwrap();
        assert_eq!(seen, (Some(2), 2), "{part}");
        assert_eq!(fixture.sequences().await, [1, 2, 3, 4], "{part}");
    }
}

#[tokio::test]
async fn a_slow_writer_that_lost_its_table_meanwhile_commits_nothing() {
    let fixture = Fixture::new();
    let mut old = fixture.writer().await;
    old.commit(range(1, 2), &rows(1, 2)).await.unwrap();
    fixture.store.always(".parquet", Fault::Wait);
    let batch = rows(3, 9);
    let (lost, ()) = tokio::join!(old.commit(range(3, 9), &batch), async {
        fixture.store.one_waits().await;
        // The one that takes over has nothing to put but log entries.
        let mut new = fixture.writer().await;
        new.commit(range(3, 4), &[]).await.unwrap();
        fixture.store.heal();
    });
    assert!(
        matches!(lost, Err(headframe_sinks::SinkError::Fenced { .. })),
        "{lost:?}"
    );
    assert_eq!(
        fixture.sequences().await,
        [1, 2],
        "the files of the older one are orphans"
    );
    assert_eq!(fixture.writer().await.offset(), Some(4));
}

/// What a vacuum does to files of a batch that waits for longer than files of no version are kept.
#[tokio::test]
async fn data_files_that_were_vacuumed_before_their_commit_are_put_again() {
    let fixture = Fixture::new();
    let mut writer = fixture
        .writer()
        .await
        .with_uploads_trusted_for(std::time::Duration::ZERO);
    fixture.store.always("_delta_log", Fault::Wait);
    let batch = rows(1, 3);
    let (done, removed) = tokio::join!(writer.commit(range(1, 3), &batch), async {
        fixture.store.one_waits().await;
        let day = fixture.folder.path().join("sensors/ingest_date=2026-01-02");
        let files: Vec<_> = std::fs::read_dir(&day)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        files
            .iter()
            .for_each(|file| std::fs::remove_file(file).unwrap());
        fixture.store.heal();
        files.len()
    });
    done.unwrap();
    assert_eq!(removed, 1);
    assert_eq!(fixture.sequences().await, [1, 2, 3]);
}
