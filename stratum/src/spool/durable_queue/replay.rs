//! The way back: one segment in hand, its messages offered one by one, until the spool is empty.

use std::collections::VecDeque;
use std::time::Duration;

use headframe_ingest::SequencedBatch;

use super::super::record;
use super::super::segments::Segment;
use super::PublishFailure;

/// A spool with no more than this left counts as nearly read out.
const NEARLY: u64 = 1024 * 1024;
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Replay {
    segment: Option<InHand>,
    /// The offer under way and since when.
    offer: Option<(u64, Duration)>,
    retry_at: Duration,
    backoff: Duration,
    /// Since when rows are held back, because JetStream takes what it is offered.
    held_since: Option<Duration>,
}

#[derive(Debug)]
struct InHand {
    number: u64,
    bytes: u64,
    messages: VecDeque<SequencedBatch>,
}

impl Replay {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            segment: None,
            offer: None,
            retry_at: now,
            backoff: MIN_BACKOFF,
            held_since: None,
        }
    }

    /// `Some` when the next segment should be read, with the one that is done with.
    pub(super) fn wants_segment(&self, now: Duration) -> Option<Option<u64>> {
        let done = self
            .segment
            .as_ref()
            .is_none_or(|segment| segment.messages.is_empty());
        (done && now >= self.retry_at).then(|| self.segment.as_ref().map(|segment| segment.number))
    }

    pub(super) fn begin(&mut self, segment: Segment, max_rows: usize, max_bytes: usize) {
        let messages = record::messages(segment.records, max_rows, max_bytes).into();
        self.segment = Some(InHand {
            number: segment.number,
            bytes: segment.bytes,
            messages,
        });
    }

    /// The next message, when none is under way.
    pub(super) fn offer(&mut self, now: Duration, number: u64) -> Option<SequencedBatch> {
        if self.offer.is_some() || now < self.retry_at {
            return None;
        }
        let message = self.segment.as_ref()?.messages.front()?.clone();
        self.offer = Some((number, now));
        Some(message)
    }

    /// Takes JetStream's answer, and gives a message back that it will never take.
    pub(super) fn offered(
        &mut self,
        now: Duration,
        number: u64,
        answer: Result<(), PublishFailure>,
        patience: Duration,
    ) -> Option<(SequencedBatch, String)> {
        if self.offer.is_none_or(|(under_way, _)| under_way != number) {
            return None;
        }
        self.offer = None;
        match answer {
            Ok(()) => {
                self.backoff = MIN_BACKOFF;
                if self.held_since.is_none_or(|since| since + patience <= now) {
                    self.held_since = Some(now);
                }
                self.next();
                None
            }
            Err(PublishFailure::Retryable(_)) => {
                self.held_since = None;
                self.retry_at = now + self.backoff;
                self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
                None
            }
            Err(PublishFailure::Permanent(reason)) => self.next().map(|message| (message, reason)),
        }
    }

    /// The disk failed; it is asked again later.
    pub(super) fn pause(&mut self, now: Duration) {
        self.retry_at = now + MAX_BACKOFF;
    }

    /// Whether new rows should wait for the end rather than go to the disk.
    pub(super) fn holds(&self, now: Duration, used: u64, patience: Duration) -> bool {
        let in_hand = |segment: &InHand| {
            let left: usize = segment
                .messages
                .iter()
                .map(|message| message.text.len())
                .sum();
            (segment.bytes, left as u64)
        };
        let (bytes, left) = self.segment.as_ref().map_or((0, 0), in_hand);
        used.saturating_sub(bytes) + left <= NEARLY
            && self.hold_ends(patience).is_some_and(|end| now < end)
    }

    /// When rows that are held back have waited long enough.
    pub(super) fn hold_ends(&self, patience: Duration) -> Option<Duration> {
        Some(self.held_since? + patience)
    }

    /// When to try again after a failure.
    pub(super) fn retry_at(&self) -> Duration {
        self.retry_at
    }

    fn next(&mut self) -> Option<SequencedBatch> {
        self.segment.as_mut()?.messages.pop_front()
    }
}
