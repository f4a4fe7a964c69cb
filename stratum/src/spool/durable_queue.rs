//! The durable queue: decides what goes to JetStream, what goes to the disk, and in which order. No
//! clock, no socket, no file.
//!
//! One message a stream is under way at any time, and rows that come meanwhile make the next one.
//! So nothing overtakes, and one sync of a disk, JetStream's or ours, serves all rows that came
//! during the last. What JetStream does not confirm in time goes to the spool, and from then on
//! everything goes behind it, until the spool is read out and empty.
//!
//! Rows are numbered when they are put into a message, before anybody is offered it, and keep their
//! numbers in the spool.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use headframe_ingest::SequencedBatch;
use headframe_schemas::Stream;
use thiserror::Error;

use super::record::SpoolRecord;
use super::segments::Segment;
use replay::Replay;
use stream_queue::{DequeuedBatch, InFlight, StreamQueue};

mod replay;
mod stream_queue;

/// What a record takes on the disk beside its rows, at most.
const OVERHEAD: u64 = 512;
/// Bytes of rows held in memory, beyond which callers wait.
const MEMORY: usize = 16 * 1024 * 1024;

/// What bounds the durable queue.
#[derive(Debug, Clone)]
pub struct QueueLimits {
    /// Rows a message.
    pub rows: usize,
    /// Bytes a message.
    pub bytes: usize,
    /// Bytes of the spool.
    pub spool: u64,
    /// How long JetStream may take to confirm a message.
    pub patience: Duration,
}

/// How dear a row is, when the spool gets full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Nobody waits for it: refused shares, hashrate. It may fill half of the spool.
    Low,
    /// A miner is paid for it. It may fill nearly all.
    Normal,
    /// The pool is paid for it: blocks.
    High,
}

impl Priority {
    /// How much of a spool it may fill.
    fn part_of(self, spool: u64) -> u64 {
        match self {
            Priority::Low => spool / 2,
            Priority::Normal => spool - spool / 16,
            Priority::High => spool,
        }
    }
}

/// A row to be kept. `W` is whoever waits for it.
pub struct QueuedRow<W> {
    /// The stream it belongs to.
    pub stream: &'static dyn Stream,
    /// The value of the stream's key column.
    pub key: String,
    /// How dear it is.
    pub priority: Priority,
    /// A JSON object without a line feed.
    pub line: Vec<u8>,
    /// Who is told.
    pub waiter: W,
}

/// Why a row is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowRefusal {
    /// JetStream is away and the spool has no space for this priority of rows.
    #[error(
        "JetStream does not confirm, and the spool is full with {bytes} bytes; bring NATS back, or \
         raise stratum.spool.max_bytes"
    )]
    Full {
        /// Bytes in the spool.
        bytes: u64,
    },
    /// JetStream will never take it.
    #[error("JetStream will never take it: {0}")]
    Never(String),
    /// JetStream is away and the disk failed.
    #[error("JetStream does not confirm, and the spool failed: {0}")]
    Disk(String),
}

/// How an offer to JetStream failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishFailure {
    /// The same message can be offered again and may already be there.
    Retryable(String),
    /// The message can never be taken.
    Permanent(String),
}

/// What is to be done next.
#[derive(Debug)]
pub enum QueueAction<W> {
    /// Tell these.
    Answer(Vec<W>, Result<(), RowRefusal>),
    /// Offer a message to JetStream; then call [`DurableQueue::offered`] with the number.
    Offer(u64, SequencedBatch),
    /// Write records behind all others, sync, then call [`DurableQueue::appended`].
    Append(Vec<SpoolRecord>),
    /// Keep messages aside that JetStream will never take, remove the segment that is done with,
    /// read the oldest, in this order; then call [`DurableQueue::read`].
    Read {
        /// The messages and the reasons.
        aside: Vec<(SequencedBatch, String)>,
        /// The segment to remove.
        done: Option<u64>,
    },
}

/// The state. Times are since any fixed moment.
pub struct DurableQueue<W> {
    limits: QueueLimits,
    producer: Arc<str>,
    next_row: BTreeMap<&'static str, i64>,
    next_offer: u64,
    lines: Vec<StreamQueue<W>>,
    /// `Some` while JetStream is away or the spool is not empty.
    replay: Option<Replay>,
    /// DequeuedBatch back from JetStream, first to go to the disk.
    returned: Vec<(SpoolRecord, Vec<W>)>,
    answers: VecDeque<(Vec<W>, Result<(), RowRefusal>)>,
    /// JetStream will never take them; to be kept beside the spool.
    aside: Vec<(SequencedBatch, String)>,
    /// Who waits for the append in progress, and its size.
    writing: Option<(Vec<W>, u64)>,
    reading: bool,
    /// The disk's last work was an append, so a read is next: under load there is always something
    /// to append.
    appended: bool,
    used: u64,
    trouble: Option<String>,
    closing: bool,
}

impl<W> DurableQueue<W> {
    /// A durable queue whose rows carry this producer id, which no other run has. `used` bytes are
    /// in the spool already.
    pub fn new(limits: QueueLimits, producer: Arc<str>, used: u64) -> Self {
        Self {
            limits,
            producer,
            next_row: BTreeMap::new(),
            next_offer: 0,
            lines: Vec::new(),
            replay: (used > 0).then(|| Replay::new(Duration::ZERO)),
            returned: Vec::new(),
            answers: VecDeque::new(),
            aside: Vec::new(),
            writing: None,
            reading: false,
            appended: false,
            used,
            trouble: None,
            closing: false,
        }
    }

    /// Takes a row in.
    pub fn row(&mut self, row: QueuedRow<W>) {
        if self.replay.is_some() && !self.fits(row.priority, row.line.len()) {
            return self
                .answers
                .push_back((vec![row.waiter], Err(RowRefusal::Full { bytes: self.used })));
        }
        let place = self
            .lines
            .iter()
            .position(|line| line.takes(row.stream, &row.key));
        let line = match place {
            Some(place) => &mut self.lines[place],
            None => {
                self.lines.push(StreamQueue::new(row.stream, row.key));
                let last = self.lines.len() - 1;
                &mut self.lines[last]
            }
        };
        line.gather(
            row.line,
            row.priority,
            row.waiter,
            self.limits.rows,
            self.limits.bytes,
        );
    }

    /// What to do now; to be asked again until there is nothing.
    pub fn step(&mut self, now: Duration) -> Option<QueueAction<W>> {
        if let Some((waiters, verdict)) = self.answers.pop_front() {
            return Some(QueueAction::Answer(waiters, verdict));
        }
        if self.replay.is_none() {
            let late = |flight: &InFlight<W>| flight.since + self.limits.patience <= now;
            if !self
                .lines
                .iter()
                .filter_map(|line| line.flight.as_ref())
                .any(late)
            {
                return self.offer_gathered(now);
            }
            self.leave(now);
        }
        self.spool(now)
    }

    /// JetStream's answer to an offer.
    pub fn offered(&mut self, now: Duration, number: u64, answer: Result<(), PublishFailure>) {
        let Some(replay) = &mut self.replay else {
            let holds = |line: &&mut StreamQueue<W>| {
                line.flight
                    .as_ref()
                    .is_some_and(|flight| flight.number == number)
            };
            let Some(line) = self.lines.iter_mut().find(holds) else {
                return;
            };
            match answer {
                Err(PublishFailure::Retryable(_)) => self.leave(now),
                settled => {
                    let verdict = settled.map_err(|failure| RowRefusal::Never(failure.reason()));
                    let waiters = line
                        .flight
                        .take()
                        .map(|flight| flight.waiters)
                        .unwrap_or_default();
                    self.answers.push_back((waiters, verdict));
                }
            }
            return;
        };
        if let Some((message, reason)) = replay.offered(now, number, answer, self.limits.patience) {
            self.aside.push((message, reason));
        }
    }

    /// The end of an append; `used` is the size of the spool.
    pub fn appended(&mut self, result: Result<(), String>, used: u64) {
        self.used = used;
        self.appended = true;
        let (waiters, _) = self.writing.take().unwrap_or((Vec::new(), 0));
        self.trouble = result.as_ref().err().cloned();
        self.answers
            .push_back((waiters, result.map_err(RowRefusal::Disk)));
    }

    /// The end of a read; `used` is the size of the spool.
    pub fn read(&mut self, now: Duration, result: Result<Option<Segment>, String>, used: u64) {
        self.used = used;
        self.reading = false;
        if result.is_ok() {
            self.aside.clear();
        }
        let Some(replay) = &mut self.replay else {
            return;
        };
        match result {
            Ok(Some(segment)) => replay.begin(segment, self.limits.rows, self.limits.bytes),
            // Empty: whatever was gathered meanwhile comes right behind what JetStream has
            // confirmed.
            Ok(None) => self.replay = None,
            Err(reason) => {
                replay.pause(now);
                self.trouble = Some(reason);
            }
        }
    }

    /// The work on the disk broke off without an answer.
    pub fn broken(&mut self, now: Duration, reason: String) {
        if self.writing.is_some() {
            self.appended(Err(reason), self.used);
        } else {
            self.read(now, Err(reason), self.used);
        }
    }

    /// No more rows will come; those that are there need not wait for the spool to be read out.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Whether every row has been answered.
    pub fn is_settled(&self) -> bool {
        let quiet = |line: &StreamQueue<W>| line.flight.is_none() && line.gathered() == 0;
        self.answers.is_empty()
            && self.returned.is_empty()
            && self.writing.is_none()
            && self.lines.iter().all(quiet)
    }

    /// Whether more rows may be held in memory.
    pub fn has_space(&self) -> bool {
        self.gathered() < MEMORY
    }

    /// When to ask for a step although nothing has happened; always after `now`.
    pub fn wake_at(&self, now: Duration) -> Option<Duration> {
        let patience = self.limits.patience;
        let flights = self
            .lines
            .iter()
            .filter_map(|line| line.flight.as_ref())
            .map(|flight| flight.since + patience);
        let replay = self
            .replay
            .iter()
            .flat_map(|replay| [Some(replay.retry_at()), replay.hold_ends(patience)])
            .flatten();
        flights.chain(replay).filter(|at| *at > now).min()
    }

    /// Bytes in the spool.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Whether rows go to the spool.
    pub fn is_spooling(&self) -> bool {
        self.replay.is_some()
    }

    /// Why good shares are refused now, if they are.
    pub fn refuses(&self) -> Option<RowRefusal> {
        self.replay.as_ref()?;
        let full =
            (!self.fits(Priority::Normal, 1024)).then_some(RowRefusal::Full { bytes: self.used });
        full.or_else(|| self.trouble.clone().map(RowRefusal::Disk))
    }

    fn gathered(&self) -> usize {
        self.lines.iter().map(StreamQueue::gathered).sum()
    }

    fn fits(&self, priority: Priority, more: usize) -> bool {
        let returned: usize = self
            .returned
            .iter()
            .map(|(record, _)| record.message.text.len())
            .sum();
        let writing = self.writing.as_ref().map_or(0, |(_, bytes)| *bytes);
        let coming = (self.gathered() + returned + more) as u64 + writing + OVERHEAD;
        self.used + coming <= priority.part_of(self.limits.spool)
    }

    /// Rows go to JetStream: the next message of each stream that has none under way.
    fn offer_gathered(&mut self, now: Duration) -> Option<QueueAction<W>> {
        let line = self
            .lines
            .iter_mut()
            .find(|line| line.flight.is_none() && line.gathered() > 0)?;
        let DequeuedBatch {
            message,
            priority,
            waiters,
        } = line.take(&self.producer, &mut self.next_row)?;
        let number = self.next_offer;
        self.next_offer += 1;
        line.flight = Some(InFlight {
            number,
            message: message.clone(),
            priority,
            waiters,
            since: now,
        });
        Some(QueueAction::Offer(number, message))
    }

    /// JetStream is called away: what is under way goes to the spool first, as it was offered.
    fn leave(&mut self, now: Duration) {
        self.replay = Some(Replay::new(now));
        for place in 0..self.lines.len() {
            let Some(flight) = self.lines[place].flight.take() else {
                continue;
            };
            if self.fits(flight.priority, flight.message.text.len()) {
                self.returned.push((
                    SpoolRecord {
                        message: flight.message,
                        offered: true,
                    },
                    flight.waiters,
                ));
            } else {
                self.answers
                    .push_back((flight.waiters, Err(RowRefusal::Full { bytes: self.used })));
            }
        }
    }

    fn spool(&mut self, now: Duration) -> Option<QueueAction<W>> {
        if self.writing.is_none() && !self.reading {
            let wanted = self
                .replay
                .as_ref()
                .and_then(|replay| replay.wants_segment(now));
            let records = if self.appended && wanted.is_some() {
                Vec::new()
            } else {
                self.for_the_disk(now)
            };
            if !records.is_empty() {
                return Some(QueueAction::Append(records));
            }
            if let Some(done) = wanted {
                (self.reading, self.appended) = (true, false);
                return Some(QueueAction::Read {
                    aside: self.aside.clone(),
                    done,
                });
            }
        }
        let number = self.next_offer;
        let message = self.replay.as_mut()?.offer(now, number)?;
        self.next_offer += 1;
        Some(QueueAction::Offer(number, message))
    }

    /// Everything that waits for the disk. Nothing, when the spool is nearly read out: then the
    /// rows wait the moment until it is empty, for with every row behind the last it would never
    /// be.
    fn for_the_disk(&mut self, now: Duration) -> Vec<SpoolRecord> {
        let held = self
            .replay
            .as_ref()
            .is_some_and(|replay| replay.holds(now, self.used, self.limits.patience));
        let mut records = Vec::new();
        let (mut waiting, mut bytes) = (Vec::new(), 0);
        for (record, waiters) in std::mem::take(&mut self.returned) {
            bytes += record.message.text.len() as u64 + OVERHEAD;
            records.push(record);
            waiting.extend(waiters);
        }
        if !held || self.closing {
            for place in 0..self.lines.len() {
                while let Some(priority) = self.lines[place].next_class() {
                    // Rows that came before JetStream was called away were let in without asking
                    // for space.
                    let fits = self.used + bytes + self.lines[place].next_bytes() + OVERHEAD
                        <= priority.part_of(self.limits.spool);
                    let Some(DequeuedBatch {
                        message, waiters, ..
                    }) = self.lines[place].take(&self.producer, &mut self.next_row)
                    else {
                        break;
                    };
                    if !fits {
                        self.answers
                            .push_back((waiters, Err(RowRefusal::Full { bytes: self.used })));
                        continue;
                    }
                    bytes += message.text.len() as u64 + OVERHEAD;
                    records.push(SpoolRecord {
                        message,
                        offered: false,
                    });
                    waiting.extend(waiters);
                }
            }
        }
        if !records.is_empty() {
            self.writing = Some((waiting, bytes));
        }
        records
    }
}

impl PublishFailure {
    fn reason(self) -> String {
        match self {
            PublishFailure::Retryable(reason) | PublishFailure::Permanent(reason) => reason,
        }
    }
}
