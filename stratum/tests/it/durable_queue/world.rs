//! The world of the durable queue's test: a disk, a JetStream, crashes, and what was promised.

use super::*;

/// Files as bytes, so that a crash can tear the last one.
#[derive(Default)]
pub struct Disk {
    files: VecDeque<(u64, Vec<u8>)>,
    /// Whether the newest file may be written on.
    open: bool,
    next: u64,
}

impl Disk {
    pub fn used(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    pub fn append(&mut self, bytes: &[u8]) {
        if !self.open {
            self.next += 1;
            self.files.push_back((self.next, Vec::new()));
            self.open = true;
        }
        self.files.back_mut().unwrap().1.extend_from_slice(bytes);
    }

    pub fn read(&mut self, done: Option<u64>) -> Option<Segment> {
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

pub enum DiskTask {
    Append(Vec<u8>),
    Read(Option<u64>),
}

/// Everything around the durable queue, and what it has promised.
pub struct World {
    random: StdRng,
    now: Duration,
    pub durable_queue: DurableQueue<u64>,
    pub runs: u64,
    pub next_row: u64,
    up: bool,
    calm: bool,
    offers: Vec<(u64, SequencedBatch)>,
    /// Messages that will be stored although their sender was told that they failed.
    ghosts: Vec<SequencedBatch>,
    work: Option<DiskTask>,
    pub disk: Disk,
    /// What the streams hold, by message id, and every row in the order it came.
    ids: BTreeMap<(&'static str, String), Vec<u8>>,
    stored: Vec<(String, String, i64, u64)>,
    pub answered: BTreeMap<u64, bool>,
    spool: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
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
                        self.work.replace(DiskTask::Append(bytes)).is_none(),
                        "two works on the disk at once"
                    );
                }
                QueueAction::Read { done, aside } => {
                    assert!(aside.is_empty() && self.work.replace(DiskTask::Read(done)).is_none());
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
            Some(DiskTask::Append(bytes)) => {
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
            Some(DiskTask::Read(_)) if self.chance(0.05) => {
                // Nothing was done, so the same is asked again.
                self.durable_queue
                    .read(self.now, Err("cannot read".to_owned()), self.disk.used());
            }
            Some(DiskTask::Read(done)) => {
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
            Some(DiskTask::Append(bytes)) => {
                let cut = self.random.random_range(0..=bytes.len());
                self.disk.append(&bytes[..cut]);
            }
            Some(DiskTask::Read(Some(done))) if self.random.random_bool(0.5) => {
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

    pub fn live(&mut self) {
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
    pub fn settle(&mut self) {
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

    pub fn check(&self) {
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
