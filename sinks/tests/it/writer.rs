//! The commit protocol under each failure of the table in `docs/exactly-once.md` that concerns the
//! table.

use headframe_sinks::{SinkError, SnapshotReader, StreamBinding};

use crate::failing_store::Fault;
use crate::fixture::{BINDING, Fixture, range, rows, table};

#[tokio::test]
async fn rows_and_offset_are_one_commit() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    writer.commit(range(1, 3), &rows(1, 3)).await.unwrap();
    writer.commit(range(4, 9), &[]).await.unwrap();
    let snapshot = SnapshotReader::open(&fixture.lake, table())
        .refresh()
        .await
        .unwrap();
    assert_eq!((snapshot.offset, snapshot.rows()), (Some(9), 3));
    assert_eq!(fixture.writer().await.offset(), Some(9));
    assert_eq!(fixture.sequences().await, [1, 2, 3]);
}

#[tokio::test]
async fn a_put_that_fails_before_or_after_it_landed_counts_once() {
    for fault in [Fault::Before, Fault::After] {
        let fixture = Fixture::new();
        let mut writer = fixture.writer().await;
        writer.commit(range(1, 2), &rows(1, 2)).await.unwrap();
        fixture.store.plan("_delta_log", fault);
        writer.commit(range(3, 4), &rows(3, 4)).await.unwrap();
        fixture.store.plan(".parquet", fault);
        writer.commit(range(5, 6), &rows(5, 6)).await.unwrap();
        assert_eq!(fixture.store.left(), 0, "every planned failure happened");
        assert_eq!(fixture.sequences().await, [1, 2, 3, 4, 5, 6], "{fault:?}");
    }
}

#[tokio::test]
async fn a_claim_in_doubt_is_repeated_with_a_higher_epoch() {
    let fixture = Fixture::new();
    fixture
        .writer()
        .await
        .commit(range(1, 1), &rows(1, 1))
        .await
        .unwrap();
    fixture.store.plan("_delta_log", Fault::After);
    let mut writer = fixture.writer().await;
    assert_eq!(fixture.store.left(), 0);
    writer.commit(range(2, 2), &rows(2, 2)).await.unwrap();
    assert_eq!(fixture.sequences().await, [1, 2]);
}

#[tokio::test]
async fn of_two_writers_the_older_one_loses() {
    let fixture = Fixture::new();
    let mut old = fixture.writer().await;
    old.commit(range(1, 2), &rows(1, 2)).await.unwrap();
    let mut new = fixture.writer().await;
    let lost = old.commit(range(3, 3), &rows(3, 3)).await.unwrap_err();
    assert!(matches!(lost, SinkError::Fenced { .. }), "{lost}");
    new.commit(range(3, 4), &rows(3, 4)).await.unwrap();
    assert_eq!(fixture.sequences().await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_range_that_does_not_follow_the_offset_is_refused() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    writer.commit(range(1, 5), &rows(1, 5)).await.unwrap();
    for wrong in [range(5, 6), range(7, 8), range(1, 5)] {
        let refused = writer
            .commit(wrong, &rows(wrong.first, wrong.last))
            .await
            .unwrap_err();
        assert!(
            matches!(refused, SinkError::OffsetMismatch { .. }),
            "{refused}"
        );
    }
    assert_eq!(fixture.sequences().await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_offset_somebody_moved_stops_the_writer() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    writer.commit(range(1, 5), &rows(1, 5)).await.unwrap();
    fixture.append(
        3,
        r#"{"txn":{"appId":"headframe/sensors/offset","version":2}}"#,
    );
    let refused = writer.commit(range(6, 6), &rows(6, 6)).await.unwrap_err();
    assert!(
        matches!(refused, SinkError::OffsetMismatch { found: Some(2), .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn a_table_dropped_and_made_anew_is_not_written() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    writer.commit(range(1, 5), &rows(1, 5)).await.unwrap();
    std::fs::remove_dir_all(fixture.folder.path().join("sensors")).unwrap();
    let mut other = fixture.writer().await;
    for seq in 1..=6 {
        other
            .commit(range(seq, seq), &rows(seq, seq))
            .await
            .unwrap();
    }
    let refused = writer.commit(range(6, 6), &rows(6, 6)).await.unwrap_err();
    assert!(matches!(refused, SinkError::Replaced { .. }), "{refused}");
    assert_eq!(fixture.sequences().await, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn an_expiring_offset_and_another_stream_are_refused() {
    let fixture = Fixture::new();
    fixture
        .writer()
        .await
        .commit(range(1, 5), &rows(1, 5))
        .await
        .unwrap();
    let other = fixture
        .try_writer(StreamBinding {
            created_ns: 8,
            ..BINDING
        })
        .await
        .unwrap_err();
    assert!(
        matches!(
            other,
            SinkError::StreamRecreated {
                bound: 7,
                found: 8,
                ..
            }
        ),
        "{other}"
    );
    let meta = fixture.meta_data().replace(
        r#""configuration":{"#,
        r#""configuration":{"delta.setTransactionRetentionDuration":"interval 1 days","#,
    );
    fixture.append(3, &meta);
    let refused = fixture.try_writer(BINDING).await.unwrap_err();
    assert!(
        matches!(refused, SinkError::Unsupported { .. }),
        "{refused}"
    );
}

/// A large batch is encoded for a second. Who waits for its commit must not keep a thread of the
/// runtime busy with that: while the only thread for blocking work is taken, nothing is put.
#[test]
fn a_batch_is_encoded_while_other_tasks_of_the_runtime_go_on() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let fixture = Fixture::in_memory();
        let mut writer = fixture.writer().await;
        let (release, released) = std::sync::mpsc::sync_channel(1);
        let taken = tokio::task::spawn_blocking(move || released.recv().unwrap());
        fixture.store.always(".parquet", Fault::Wait);
        let batch = rows(1, 500);
        let mut commit = std::pin::pin!(writer.commit(range(1, 500), &batch));
        // More turns than what comes before the encoding has awaits.
        for _ in 0..1_000 {
            assert!(futures::poll!(commit.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(fixture.store.waiting(), 0, "it was encoded in between");
        release.send(()).unwrap();
        let ((), done) = tokio::join!(
            async {
                fixture.store.one_waits().await;
                fixture.store.heal();
            },
            commit
        );
        done.unwrap();
        taken.await.unwrap();
        assert_eq!(fixture.sequences().await.len(), 500);
    });
}
