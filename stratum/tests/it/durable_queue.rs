//! The durable queue in a world of its own: a JetStream that dies, delays and answers to nobody, a disk
//! that fails, and crashes.

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

const STREAMS: [&dyn Stream; 2] = [&Shares, &Blocks];

fn limits(spool: u64) -> QueueLimits {
    QueueLimits {
        rows: 7,
        bytes: 200,
        spool,
        patience: Duration::from_millis(400),
    }
}

/// Files as bytes, so that a crash can tear the last one.
#[derive(Default)]
struct Disk {
    files: VecDeque<(u64, Vec<u8>)>,
    /// Whether the newest file may be written on.
    open: bool,
    next: u64,
}

impl Disk {
    fn used(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    fn append(&mut self, bytes: &[u8]) {
        if !self.open {
            self.next += 1;
            self.files.push_back((self.next, Vec::new()));
            self.open = true;
        }
        self.files.back_mut().unwrap().1.extend_from_slice(bytes);
    }

    fn read(&mut self, done: Option<u64>) -> Option<Segment> {
        if let Some(done) = done {
            assert_eq!(self.files.pop_front().unwrap().0, done);
        }
        self.open = self.open && self.files.len() > 1;
        let (number, bytes) = self.files.front()?;
        let mut segment = Segment {
            number: *number,
            bytes: bytes.len() as u64,
            records: Vec::new(),
            damaged: 0,
        };
        for piece in frame::scan(bytes) {
            match piece {
                Piece::Record(range) => segment
                    .records
                    .push(SpoolRecord::decode(&bytes[range]).unwrap()),
                Piece::Torn(_) => {}
                Piece::Damaged(range) => panic!("nobody damaged {range:?}"),
            }
        }
        Some(segment)
    }
}

enum Work {
    Append(Vec<u8>),
    Read(Option<u64>),
}

/// Everything around the durable queue, and what it has promised.
struct World {
    random: StdRng,
    now: Duration,
    durable_queue: DurableQueue<u64>,
    runs: u64,
    next_row: u64,
    up: bool,
    calm: bool,
    offers: Vec<(u64, SequencedBatch)>,
    /// Messages that will be stored although their sender was told that they failed.
    ghosts: Vec<SequencedBatch>,
    work: Option<Work>,
    disk: Disk,
    /// What the streams hold, by message id, and every row in the order it came.
    ids: BTreeMap<(&'static str, String), Vec<u8>>,
    stored: Vec<(String, String, i64, u64)>,
    answered: BTreeMap<u64, bool>,
    spool: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let spool = if random.random_bool(0.3) {
            9_000
        } else {
            1_000_000
        };
        let durable_queue = DurableQueue::new(limits(spool), "run-0".into(), 0);
        Self {
            random,
            now: Duration::ZERO,
            durable_queue,
            runs: 0,
            next_row: 0,
            up: true,
            calm: false,
            offers: Vec::new(),
            ghosts: Vec::new(),
            work: None,
            disk: Disk::default(),
            ids: BTreeMap::new(),
            stored: Vec::new(),
            answered: BTreeMap::new(),
            spool,
        }
    }

    fn chance(&mut self, probability: f64) -> bool {
        !self.calm && self.random.random_bool(probability)
    }

    fn row(&mut self) {
        let row = self.next_row;
        self.next_row += 1;
        let (stream, priority) = match self.random.random_range(0..10) {
            0 => (STREAMS[1], Priority::High),
            1..4 => (STREAMS[0], Priority::Low),
            _ => (STREAMS[0], Priority::Normal),
        };
        self.durable_queue.row(QueuedRow {
            stream,
            key: "main".to_owned(),
            priority,
            line: row.to_string().into_bytes(),
            waiter: row,
        });
    }

    fn obey(&mut self) {
        while let Some(step) = self.durable_queue.step(self.now) {
            match step {
                QueueAction::Answer(rows, verdict) => {
                    for row in rows {
                        assert_eq!(
                            self.answered.insert(row, verdict.is_ok()),
                            None,
                            "row {row} was answered twice"
                        );
                    }
                }
                QueueAction::Offer(number, message) => self.offers.push((number, message)),
                QueueAction::Append(records) => {
                    let mut bytes = Vec::new();
                    records
                        .iter()
                        .for_each(|record| frame::encode(&record.encode(), &mut bytes));
                    assert!(
                        self.work.replace(Work::Append(bytes)).is_none(),
                        "two works on the disk at once"
                    );
                }
                QueueAction::Read { done, aside } => {
                    assert!(aside.is_empty() && self.work.replace(Work::Read(done)).is_none());
                }
            }
        }
        assert!(
            self.disk.used() <= self.spool,
            "the spool outgrew its bound: {} bytes",
            self.disk.used()
        );
    }

    fn store(&mut self, message: &SequencedBatch) {
        let id = (message.stream.name(), message.id());
        if let Some(stored) = self.ids.get(&id) {
            assert_eq!(stored, &message.text, "two messages of one id");
            // JetStream's window is finite: sometimes a repetition is stored, and the numbers must
            // tell it.
            if self.random.random_bool(0.5) {
                return;
            }
        }
        self.ids.insert(id, message.text.to_vec());
        for (line, number) in std::str::from_utf8(&message.text)
            .unwrap()
            .lines()
            .zip(message.first..)
        {
            self.stored.push((
                message.stream.name().to_owned(),
                message.producer.to_string(),
                number,
                line.parse().unwrap(),
            ));
        }
    }

    /// JetStream answers one of the offers, or its answer is lost.
    fn answer(&mut self) {
        if self.offers.is_empty() {
            return;
        }
        let place = self.random.random_range(0..self.offers.len());
        let (number, message) = self.offers.swap_remove(place);
        let lost = Err(PublishFailure::Retryable("no answer".to_owned()));
        if !self.up {
            if self.chance(0.2) {
                self.store(&message);
            } else if self.chance(0.2) {
                self.ghosts.push(message);
            }
            return self.durable_queue.offered(self.now, number, lost);
        }
        self.store(&message);
        let answer = if self.chance(0.1) { lost } else { Ok(()) };
        self.durable_queue.offered(self.now, number, answer);
    }

    fn finish_work(&mut self) {
        match self.work.take() {
            None => {}
            Some(Work::Append(bytes)) => {
                let fails = self.chance(0.05);
                // A disk that reports an error may have written all the same.
                if !fails || self.chance(0.3) {
                    self.disk.append(&bytes);
                }
                self.disk.open = self.disk.open && !fails;
                self.durable_queue.appended(
                    if fails {
                        Err("no space".to_owned())
                    } else {
                        Ok(())
                    },
                    self.disk.used(),
                );
            }
            Some(Work::Read(_)) if self.chance(0.05) => {
                // Nothing was done, so the same is asked again.
                self.durable_queue
                    .read(self.now, Err("cannot read".to_owned()), self.disk.used());
            }
            Some(Work::Read(done)) => {
                let segment = self.disk.read(done);
                self.durable_queue
                    .read(self.now, Ok(segment), self.disk.used());
            }
        }
    }

    /// kill -9: what was being written may be there, in part or whole; what was being sent may
    /// arrive.
    fn crash(&mut self) {
        match self.work.take() {
            Some(Work::Append(bytes)) => {
                let cut = self.random.random_range(0..=bytes.len());
                self.disk.append(&bytes[..cut]);
            }
            Some(Work::Read(Some(done))) if self.random.random_bool(0.5) => {
                self.disk.read(Some(done));
            }
            _ => {}
        }
        self.disk.open = false;
        for (_, message) in std::mem::take(&mut self.offers) {
            if self.up && self.random.random_bool(0.5) {
                self.store(&message);
            }
        }
        self.runs += 1;
        self.durable_queue = DurableQueue::new(
            limits(self.spool),
            format!("run-{}", self.runs).into(),
            self.disk.used(),
        );
    }

    fn live(&mut self) {
        match self.random.random_range(0..100) {
            0..40 => self.row(),
            40..60 => self.answer(),
            60..80 => self.finish_work(),
            80..92 => self.now += Duration::from_millis(self.random.random_range(1..300)),
            92..95 => self.up = !self.up,
            95..98 => {
                if let Some(ghost) = self.ghosts.pop() {
                    self.store(&ghost);
                }
            }
            _ if self.random.random_bool(0.3) => self.crash(),
            _ => {}
        }
        self.obey();
    }

    /// Everything works again; everything must come to rest.
    fn settle(&mut self) {
        (self.up, self.calm) = (true, true);
        for _ in 0..10_000 {
            self.answer();
            self.finish_work();
            self.now += Duration::from_millis(50);
            self.obey();
            if self.durable_queue.is_settled() && !self.durable_queue.is_spooling() {
                return;
            }
        }
        panic!(
            "it never came to rest; {} bytes in the spool",
            self.disk.used()
        );
    }

    fn check(&self) {
        let mut seen = BTreeMap::new();
        let mut order: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
        for (stream, producer, number, row) in &self.stored {
            let key = (stream.as_str(), producer.as_str(), *number);
            match seen.insert(key, *row) {
                Some(before) => assert_eq!(before, *row, "{key:?} names two rows"),
                None if self.answered.get(row) == Some(&true) => {
                    order.entry((stream, producer)).or_default().push(*row)
                }
                None => {}
            }
        }
        let rows: Vec<u64> = seen.values().copied().collect();
        let distinct: BTreeSet<u64> = rows.iter().copied().collect();
        assert_eq!(rows.len(), distinct.len(), "a row has two numbers");
        for (row, _) in self.answered.iter().filter(|(_, ok)| **ok) {
            assert!(
                distinct.contains(row),
                "row {row} was promised and is missing"
            );
        }
        for (line, rows) in order {
            assert!(rows.is_sorted(), "{line:?} is out of order: {rows:?}");
        }
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
    let told: Vec<_> = records
        .iter()
        .map(|record| (record.message.id(), record.offered))
        .collect();
    assert_eq!(
        told,
        [("p/1+1".to_owned(), true), ("p/2+1".to_owned(), false)]
    );
    for row in 2..500 {
        durable_queue.row(share(row, Priority::Normal));
    }
    assert!(durable_queue.step(ms(401)).is_none(), "the disk is busy");
    durable_queue.appended(Ok(()), 100);
    assert!(
        matches!(durable_queue.step(ms(402)), Some(QueueAction::Answer(rows, Ok(()))) if rows == [0, 1])
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
    let mut work: Option<(Duration, Work)> = None;
    let (mut asked, mut longest) = (BTreeMap::new(), Duration::ZERO);
    let (mut away, mut back) = (false, None);
    for at in 0..20_000 {
        let now = ms(at);
        for row in [2 * at, 2 * at + 1] {
            durable_queue.row(share(row, Priority::Normal));
            asked.insert(row, now);
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
            Some((_, Work::Append(bytes))) => {
                disk.append(&bytes);
                durable_queue.appended(Ok(()), disk.used());
            }
            Some((_, Work::Read(done))) => {
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
                        .filter_map(|row| asked.remove(row))
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
                    work = Some((now + sync, Work::Append(bytes)));
                }
                QueueAction::Read { done, .. } => work = Some((now + ms(1), Work::Read(done))),
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
