//! A stream of one writer against a real server: places, lost answers, rivals, sizes.

use std::time::Duration;

use headframe_ingest::{
    AppendError, ExclusiveAppender, Message, Nats, PublishError, Reader, StreamSettings,
    provision_stream,
};
use headframe_schemas::stream::sensors::Reading;

use crate::fixture::{Bed, PATIENCE, SENSORS, publisher, read_through, reading};

async fn open(nats: &Nats) -> ExclusiveAppender {
    ExclusiveAppender::open(nats.clone(), SENSORS, &StreamSettings::default())
        .await
        .unwrap()
}

fn rows(first: i64, count: i64) -> Vec<Reading> {
    (first..first + count).map(reading).collect()
}

async fn stored(nats: &Nats, last: u64) -> Vec<Message> {
    let mut reader = Reader::open(nats.clone(), SENSORS, Default::default())
        .await
        .unwrap();
    read_through(&mut reader, last).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_follow_each_other_and_hold_their_rows() {
    let bed = Bed::start().await;
    let nats = bed.nats().await;
    let mut appender = open(&nats).await;
    assert_eq!(appender.last_seq(), 0);
    assert_eq!(appender.append(&rows(1, 3)).await.unwrap(), 1);
    assert_eq!(appender.append(&rows(4, 1)).await.unwrap(), 2);
    assert_eq!(
        (appender.last_seq(), appender.settle().await.unwrap()),
        (2, None)
    );
    // Whoever opens it later goes on where it ends.
    let mut later = open(&nats).await;
    assert_eq!(later.last_seq(), 2);
    assert_eq!(later.append(&rows(5, 1)).await.unwrap(), 3);
    let messages = stored(&nats, 3).await;
    let lines: Vec<usize> = messages
        .iter()
        .map(|message| {
            message
                .payload
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
        })
        .collect();
    assert_eq!(lines, [3, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_one_loses_until_it_has_read_again() {
    let bed = Bed::start().await;
    let nats = bed.nats().await;
    let (mut first, mut second) = (open(&nats).await, open(&nats).await);
    // The very same rows are two facts when two writers state them.
    let (one, two) = (rows(1, 2), rows(1, 2));
    let (one, two) = tokio::join!(first.append(&one), second.append(&two));
    let (mut loser, lost) = match (one, two) {
        (Ok(1), Err(lost)) => (second, lost),
        (Err(lost), Ok(1)) => (first, lost),
        other => panic!("exactly one of them wins: {other:?}"),
    };
    assert!(
        matches!(
            lost,
            AppendError::Conflict {
                expected: 0,
                found: 1,
                ..
            }
        ),
        "{lost}"
    );
    let again = loser.append(&rows(2, 1)).await;
    assert!(
        matches!(again, Err(AppendError::Conflict { .. })),
        "{again:?}"
    );
    assert_eq!(loser.refresh().await.unwrap(), 1);
    assert_eq!(loser.append(&rows(2, 1)).await.unwrap(), 2);
    assert_eq!(stored(&nats, 2).await.len(), 2);
    // A row of anybody else has the same effect.
    let foreign = publisher(&nats).record(&reading(9)).await.unwrap();
    assert_eq!(foreign.seq, 3);
    assert!(matches!(
        loser.append(&rows(3, 1)).await,
        Err(AppendError::Conflict {
            expected: 2,
            found: 3,
            ..
        })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_was_dropped_is_settled_as_one_message() {
    let bed = Bed::start().await;
    let nats = bed.nats().await;
    let mut appender = open(&nats).await;
    for n in 1..=50 {
        // Dropped at a different moment each time: not sent, sent, stored, answered.
        let cut = tokio::time::timeout(
            Duration::from_micros(u64::try_from(n).unwrap() * 20),
            appender.append(&rows(n, 1)),
        )
        .await;
        let blocked = appender.refresh().await;
        match (cut, appender.settle().await.unwrap()) {
            (Ok(done), None) => assert_eq!(
                (done.unwrap(), blocked.unwrap()),
                (appender.last_seq(), appender.last_seq())
            ),
            (Err(_), Some(seq)) => {
                assert!(
                    matches!(blocked, Err(AppendError::Unknown { .. })),
                    "{blocked:?}"
                );
                assert_eq!(seq, appender.last_seq());
            }
            other => panic!("an append that was begun is either done or pending: {other:?}"),
        }
        assert_eq!(appender.last_seq(), u64::try_from(n).unwrap());
    }
    assert_eq!(stored(&nats, 50).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_lost_with_the_server_is_asked_for_again() {
    let mut bed = Bed::start().await;
    let nats = bed.nats().await;
    let mut appender = open(&nats).await;
    appender.append(&rows(1, 1)).await.unwrap();
    let mut appender = appender.with_settle_timeout(Duration::from_millis(300));
    // Sent, then dropped before the answer; the server goes away before anybody asks.
    let cut = tokio::time::timeout(Duration::from_micros(400), appender.append(&rows(2, 1))).await;
    bed.down().await;
    let gone = async {
        while nats.is_connected() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    let had = cut.is_ok();
    if !had {
        let unknown = appender.settle().await;
        assert!(
            matches!(unknown, Err(AppendError::Unknown { expected: 1, .. })),
            "{unknown:?}"
        );
        assert!(matches!(
            appender.append(&rows(3, 1)).await,
            Err(AppendError::Unknown { .. })
        ));
    }
    bed.up().await;
    let mut appender = appender.with_settle_timeout(PATIENCE);
    assert_eq!(appender.settle().await.unwrap(), (!had).then_some(2));
    assert_eq!(appender.append(&rows(3, 1)).await.unwrap(), 3);
    assert_eq!(stored(&nats, 3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_connection_nothing_is_sent_and_that_is_said() {
    let mut bed = Bed::start().await;
    let nats = bed.nats().await;
    let mut appender = open(&nats)
        .await
        .with_settle_timeout(Duration::from_millis(100));
    bed.down().await;
    let gone = async {
        while nats.is_connected() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    let refused = appender.append(&rows(1, 1)).await;
    assert!(
        matches!(
            refused,
            Err(AppendError::Refused(PublishError::Busy { .. }))
        ),
        "{refused:?}"
    );
    assert_eq!(appender.settle().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_before_it_is_sent() {
    let bed = Bed::start().await;
    let nats = bed.nats().await;
    let mut appender = open(&nats).await;
    let many: Vec<Reading> = rows(1, 40)
        .into_iter()
        .map(|row| Reading {
            sensor: "x".repeat(appender.max_message_bytes() / 10),
            ..row
        })
        .collect();
    let refused = appender.append(&many).await.unwrap_err();
    assert!(
        matches!(refused, AppendError::Refused(PublishError::TooLarge { .. })),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("bytes of rows, the limit is"),
        "{refused}"
    );
    let mut rest = many.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(appender.rows_that_fit(rest).unwrap());
        appender.append(now).await.unwrap();
        rest = later;
    }
    let lines = |message: &Message| {
        message
            .payload
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    };
    let lines: Vec<usize> = stored(&nats, appender.last_seq())
        .await
        .iter()
        .map(lines)
        .collect();
    assert_eq!(lines, [9, 9, 9, 9, 4]);

    let huge = Reading {
        sensor: "x".repeat(appender.max_message_bytes()),
        ..reading(1)
    };
    assert!(matches!(
        appender.rows_that_fit(&[huge]),
        Err(AppendError::Refused(PublishError::TooLarge { .. }))
    ));
    assert!(matches!(
        appender.append::<Reading>(&[]).await,
        Err(AppendError::Refused(PublishError::Encode(_)))
    ));
    let mixed = [
        reading(1),
        Reading {
            site: "south".to_owned(),
            ..reading(2)
        },
    ];
    assert!(matches!(
        appender.append(&mixed).await,
        Err(AppendError::Refused(PublishError::Encode(_)))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_made_anew_is_not_taken_for_the_old_one() {
    let bed = Bed::start().await;
    let nats = bed.nats().await;
    let mut appender = open(&nats).await;
    for n in 1..=2 {
        appender.append(&rows(n, 1)).await.unwrap();
    }
    assert_eq!(appender.verify().await.unwrap(), 2);
    nats.js.delete_stream(SENSORS.name()).await.unwrap();
    let gone = appender.verify().await;
    assert!(
        matches!(
            gone,
            Err(AppendError::Conflict {
                expected: 2,
                found: 0,
                lost: true,
                ..
            })
        ),
        "{gone:?}"
    );
    provision_stream(&nats.js, SENSORS, &StreamSettings::default())
        .await
        .unwrap();
    for length in 1..=3 {
        // Shorter than the old one, as long, and longer.
        publisher(&nats).record(&reading(length)).await.unwrap();
        for answer in [appender.verify().await, appender.refresh().await] {
            let found = u64::try_from(length).unwrap();
            let right = matches!(answer, Err(AppendError::Conflict { expected: 2, found: now,
                lost: true, .. }) if now == found);
            assert!(right, "{answer:?}");
        }
        if length != 2 {
            let answer = appender.append(&rows(9, 1)).await.unwrap_err();
            assert!(
                matches!(
                    answer,
                    AppendError::Conflict {
                        expected: 2,
                        lost: true,
                        ..
                    }
                ),
                "{answer}"
            );
            assert!(
                answer.to_string().contains("headframe adopt sensors"),
                "{answer}"
            );
        }
    }
    assert_eq!(appender.last_seq(), 2);
    assert_eq!(
        stored(&nats, 3).await.len(),
        3,
        "nothing of the old writer is in it"
    );
}
