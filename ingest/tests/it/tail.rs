//! The tail: no gap, no overlap, honest about what it does not hold; and it follows a stream.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use headframe_ingest::{
    DecodedRows, Decoder, DecoderState, Message, ReadFrom, Tail, TailView, follow_stream,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Bed, PATIENCE, SENSORS, line, publisher, reading};

fn chunk(first: u64, last: u64) -> DecodedRows {
    let messages: Vec<Message> = (first..=last)
        .map(|seq| Message {
            seq,
            payload: line(i64::try_from(seq).unwrap()).into(),
            ..Message::default()
        })
        .collect();
    Decoder::new(SENSORS, 0, DecoderState::default()).decode(&messages)
}

fn seqs(view: &TailView) -> Vec<i64> {
    view.batches
        .iter()
        .flat_map(|batch| batch["seq"].as_primitive::<Int64Type>().values().to_vec())
        .collect()
}

#[test]
fn rows_are_held_until_they_are_committed() {
    let tail = Tail::new(0, 1 << 20);
    tail.push(&chunk(1, 3));
    tail.push(&chunk(4, 4));
    tail.push(&chunk(3, 6));
    let view = tail.view();
    assert_eq!((view.after, view.through, view.truncated), (0, 6, false));
    assert_eq!(seqs(&view), [1, 2, 3, 4, 5, 6]);
    tail.committed(4);
    let view = tail.view();
    assert_eq!((view.after, view.through), (4, 6));
    assert!(seqs(&view).ends_with(&[5, 6]));
    tail.committed(9);
    let view = tail.view();
    assert_eq!(
        (view.after, view.through, seqs(&view).len(), tail.bytes()),
        (9, 9, 0, 0)
    );
    tail.push(&chunk(8, 11));
    assert_eq!(seqs(&tail.view()), [10, 11]);
}

#[test]
fn what_does_not_fit_is_not_claimed_and_commits_heal_it() {
    let tail = Tail::new(0, 64 * 1024);
    let mut last = 0;
    while !tail.view().truncated {
        tail.push(&chunk(last + 1, last + 10));
        last += 10;
        assert!(tail.bytes() <= 64 * 1024 && last < 100_000);
    }
    let view = tail.view();
    assert_eq!(
        view.through,
        i64::try_from(last).unwrap() - 10,
        "the last chunk was not held"
    );
    assert_eq!(seqs(&view), (1..=view.through).collect::<Vec<_>>());
    // Space appears while the hole is open: newer rows are held, but not claimed.
    tail.committed(view.through);
    tail.push(&chunk(last + 1, last + 10));
    let open = tail.view();
    assert!(open.truncated && open.batches.is_empty() && open.through == view.through);
    // The commit passes the hole.
    tail.committed(i64::try_from(last).unwrap());
    let healed = tail.view();
    assert!(!healed.truncated);
    assert_eq!(
        (healed.through, seqs(&healed).len()),
        (i64::try_from(last).unwrap() + 10, 10)
    );
}

#[test]
fn a_tail_that_begins_anew_has_forgotten_everything() {
    let tail = Tail::new(0, 1 << 20);
    tail.push(&chunk(1, 9));
    tail.committed(4);
    assert_eq!(tail.pushed(), 9);
    tail.committed(20);
    assert_eq!(
        tail.pushed(),
        9,
        "commits of others are not rows that were read here"
    );
    // The table's sequences count in another stream now: its rows 3 and 4 are other rows than those
    // pushed before.
    tail.reset(2);
    let view = tail.view();
    assert_eq!(
        (view.after, view.through, tail.pushed(), tail.bytes()),
        (2, 2, 2, 0)
    );
    tail.push(&chunk(3, 4));
    assert_eq!(seqs(&tail.view()), [3, 4]);
}

#[tokio::test]
async fn waiting_ends_when_rows_or_commits_arrive() {
    let tail = Arc::new(Tail::new(0, 1 << 20));
    assert!(
        !tail
            .wait_through(1, Instant::now() + Duration::from_millis(20))
            .await
    );
    let waiting = tokio::spawn({
        let tail = tail.clone();
        async move { tail.wait_through(3, Instant::now() + PATIENCE).await }
    });
    tail.push(&chunk(1, 2));
    tail.push(&chunk(3, 3));
    assert!(waiting.await.unwrap());
    tail.committed(50);
    assert!(tail.wait_through(50, Instant::now()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_what_was_published() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let tail = Arc::new(Tail::new(100, 1 << 24));
    let stop = CancellationToken::new();
    let task = tokio::spawn(follow_stream(
        nats.clone(),
        SENSORS,
        100,
        ReadFrom::default(),
        DecoderState::default(),
        tail.clone(),
        stop.clone(),
    ));
    let publisher = publisher(&nats);
    let mut last = 0;
    for n in 0..20 {
        if n == 10 {
            bed.kill().await;
        }
        last = publisher.record(&reading(n)).await.unwrap().seq;
    }
    let through = 100 + i64::try_from(last).unwrap();
    assert!(tail.wait_through(through, Instant::now() + PATIENCE).await);
    let view = tail.view();
    assert_eq!(
        view.batches
            .iter()
            .map(arrow::array::RecordBatch::num_rows)
            .sum::<usize>(),
        20
    );
    stop.cancel();
    task.await.unwrap().unwrap();
}
