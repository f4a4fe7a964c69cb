//! The durable queue in a world of its own: a JetStream that dies, delays and answers to nobody, a
//! disk that fails, and crashes.

use headframe_ingest::SequencedBatch;
use headframe_schemas::Stream;
use headframe_schemas::stream::{blocks::Blocks, shares::Shares};
use headframe_stratum::spool::durable_queue::{
    DurableQueue, Priority, PublishFailure, QueueAction, QueueLimits, QueuedRow, RowRefusal,
};
use headframe_stratum::spool::frame::{self, Piece};
use headframe_stratum::spool::record::SpoolRecord;
use headframe_stratum::spool::segments::Segment;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

mod world;

use world::{Disk, DiskTask, World};

const STREAMS: [&dyn Stream; 2] = [&Shares, &Blocks];

fn limits(spool: u64) -> QueueLimits {
    QueueLimits {
        rows: 7,
        bytes: 200,
        spool,
        patience: Duration::from_millis(400),
    }
}

#[test]
fn what_was_promised_is_there_once_and_in_order_whatever_happens() {
    let (mut promised, mut refused, mut crashes, mut spooled) = (0, 0, 0, 0);
    for seed in 0..400 {
        let mut world = World::new(seed);
        for _ in 0..500 {
            world.live();
            spooled += u64::from(world.durable_queue.is_spooling());
        }
        world.settle();
        let left = world.next_row as usize - world.answered.len();
        assert!(
            world.runs > 0 || left == 0,
            "seed {seed}: {left} rows were never answered"
        );
        world.check();
        assert_eq!(world.disk.used(), 0, "seed {seed}: the spool is not empty");
        crashes += world.runs;
        promised += world.answered.values().filter(|ok| **ok).count();
        refused += world.answered.values().filter(|ok| !**ok).count();
    }
    // The world was neither too kind nor too cruel to show anything.
    assert!(
        promised > 30_000 && refused > 1_000 && crashes > 300 && spooled > 50_000,
        "{promised} {refused} {crashes} {spooled}"
    );
}

fn share(row: u64, priority: Priority) -> QueuedRow<u64> {
    QueuedRow {
        stream: &Shares,
        key: "main".to_owned(),
        priority,
        line: row.to_string().into_bytes(),
        waiter: row,
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn one_sync_serves_all_rows_that_came_during_the_last() {
    let mut durable_queue = DurableQueue::new(
        QueueLimits {
            rows: 1_000,
            bytes: 100_000,
            ..limits(1_000_000)
        },
        "p".into(),
        0,
    );
    durable_queue.row(share(0, Priority::Normal));
    assert!(matches!(
        durable_queue.step(ms(0)),
        Some(QueueAction::Offer(0, _))
    ));
    durable_queue.row(share(1, Priority::Normal));
    assert!(
        durable_queue.step(ms(399)).is_none(),
        "one message is under way, so the next row waits"
    );
    assert_eq!(durable_queue.wake_at(ms(399)), Some(ms(400)));
    // Out of patience: what was offered goes first, as it was offered, and the row behind it goes
    // along.
    let Some(QueueAction::Append(records)) = durable_queue.step(ms(400)) else {
        panic!("nothing goes to the disk")
    };
    let delivered: Vec<_> = records
        .iter()
        .map(|record| (record.message.id(), record.offered))
        .collect();
    assert_eq!(
        delivered,
        [("p/1+1".to_owned(), true), ("p/2+1".to_owned(), false)]
    );
    for row in 2..500 {
        durable_queue.row(share(row, Priority::Normal));
    }
    assert!(durable_queue.step(ms(401)).is_none(), "the disk is busy");
    durable_queue.appended(Ok(()), 100);
    assert!(
        matches!(durable_queue.step(ms(402)), Some(QueueAction::Answer(rows, Ok(()))) if rows == [0,
            1])
    );
    assert!(
        matches!(
            durable_queue.step(ms(402)),
            Some(QueueAction::Read { done: None, .. })
        ),
        "a read has its turn"
    );
    let records = records.into_iter().collect();
    durable_queue.read(
        ms(403),
        Ok(Some(Segment {
            number: 1,
            bytes: 100,
            records,
            damaged: 0,
        })),
        100,
    );
    let Some(QueueAction::Append(records)) = durable_queue.step(ms(403)) else {
        panic!("the rows wait for nothing")
    };
    assert_eq!(
        records
            .iter()
            .map(|record| record.message.rows)
            .collect::<Vec<_>>(),
        [498],
        "498 rows, one record, one sync"
    );
    // The late answer to the first offer says nothing any more; the second offer of the same
    // message does.
    durable_queue.offered(ms(404), 0, Ok(()));
    let Some(QueueAction::Offer(1, again)) = durable_queue.step(ms(404)) else {
        panic!("nothing is offered")
    };
    assert_eq!(again.id(), "p/1+1");
}

#[test]
fn a_full_spool_refuses_the_cheap_first_and_blocks_last() {
    let mut durable_queue = DurableQueue::new(
        QueueLimits {
            rows: 1_000,
            bytes: 100_000,
            ..limits(100_000)
        },
        "p".into(),
        1,
    );
    let refused = |durable_queue: &mut DurableQueue<u64>, priority| {
        durable_queue.row(share(9, priority));
        let step = durable_queue.step(ms(0));
        match step {
            Some(QueueAction::Answer(_, Err(RowRefusal::Full { .. }))) => true,
            Some(QueueAction::Append(_)) => false,
            other => panic!("{other:?}"),
        }
    };
    for (used, expected) in [
        (40_000, [false, false, false]),
        (60_000, [true, false, false]),
        (97_000, [true, true, false]),
        (99_900, [true; 3]),
    ] {
        for (priority, expected) in [Priority::Low, Priority::Normal, Priority::High]
            .into_iter()
            .zip(expected)
        {
            let mut fresh = DurableQueue::new(
                QueueLimits {
                    rows: 1_000,
                    bytes: 100_000,
                    ..limits(100_000)
                },
                "p".into(),
                used,
            );
            assert_eq!(
                refused(&mut fresh, priority),
                expected,
                "{priority:?} with {used} bytes"
            );
            assert_eq!(fresh.refuses().is_some(), used > 93_000);
        }
    }
    assert!(!refused(&mut durable_queue, Priority::Low) && durable_queue.refuses().is_none());
}

/// JetStream is back while shares keep coming: the spool must get empty, not only short.
#[test]
fn the_spool_is_left_although_rows_never_stop_coming() {
    let (sync, trip) = (ms(3), ms(7));
    let mut durable_queue = DurableQueue::new(
        QueueLimits {
            rows: 5_000,
            bytes: 256 * 1024,
            ..limits(1 << 30)
        },
        "p".into(),
        0,
    );
    let mut disk = Disk::default();
    let mut offer: Option<(Duration, u64)> = None;
    let mut work: Option<(Duration, DiskTask)> = None;
    let (mut offered_at, mut longest) = (BTreeMap::new(), Duration::ZERO);
    let (mut away, mut back) = (false, None);
    for at in 0..20_000 {
        let now = ms(at);
        for row in [2 * at, 2 * at + 1] {
            durable_queue.row(share(row, Priority::Normal));
            offered_at.insert(row, now);
        }
        // Away for five seconds; then every answer takes its time, but comes.
        let up = !(1_000..6_000).contains(&at);
        if let Some((_, number)) = offer.filter(|(due, _)| *due <= now) {
            offer = None;
            durable_queue.offered(
                now,
                number,
                if up {
                    Ok(())
                } else {
                    Err(PublishFailure::Retryable("away".to_owned()))
                },
            );
        }
        match work.take() {
            Some((due, todo)) if due > now => work = Some((due, todo)),
            Some((_, DiskTask::Append(bytes))) => {
                disk.append(&bytes);
                durable_queue.appended(Ok(()), disk.used());
            }
            Some((_, DiskTask::Read(done))) => {
                let segment = disk.read(done);
                durable_queue.read(now, Ok(segment), disk.used());
            }
            None => {}
        }
        while let Some(step) = durable_queue.step(now) {
            match step {
                QueueAction::Answer(rows, verdict) => {
                    assert_eq!(verdict, Ok(()));
                    longest = rows
                        .iter()
                        .filter_map(|row| offered_at.remove(row))
                        .map(|since| now - since)
                        .max()
                        .unwrap_or_default()
                        .max(longest);
                }
                QueueAction::Offer(number, _) => {
                    offer = Some((now + if up { trip } else { ms(1) }, number))
                }
                QueueAction::Append(records) => {
                    let mut bytes = Vec::new();
                    records
                        .iter()
                        .for_each(|record| frame::encode(&record.encode(), &mut bytes));
                    work = Some((now + sync, DiskTask::Append(bytes)));
                }
                QueueAction::Read { done, .. } => work = Some((now + ms(1), DiskTask::Read(done))),
            }
        }
        away |= durable_queue.is_spooling();
        if up && away && !durable_queue.is_spooling() && back.is_none() {
            back = Some(now);
        }
    }
    let back = back.expect("the spool was never left");
    assert!(away && back < ms(9_000), "back only at {back:?}");
    assert!(!durable_queue.is_spooling() && disk.used() == 0);
    assert!(longest < ms(1_000), "somebody waited {longest:?}");
}
