//! One subscriber: history out of the tables, then what the topic has, each row once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::access::{OngoingAccess, Principal};
use crate::error::QueryError;
use crate::live::chunk::Chunk;
use crate::live::event::{Event, Place};
use crate::live::pages::{PAGE_ROWS, Page, Pages};
use crate::live::position::Position;
use crate::live::ring::{Next, RingEnd};
use crate::live::subscribers::Seat;
use crate::live::topic::Topic;

/// Between two words about how far the view is known.
const PROGRESS: Duration = Duration::from_secs(5);
/// Between two signs of life while history is read.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Messages that the first page of history is looked for in, and those of the widest.
const SPAN: i64 = 10_000;
const WIDEST: i64 = 1 << 30;

/// One subscriber. What it holds besides is shared with the others.
pub(crate) struct Subscription {
    topic: Arc<Topic>,
    parts: SubscriptionParts,
    changes: watch::Receiver<()>,
    /// Everything up to here was told.
    position: Position,
    phase: Phase,
    is_ready: bool,
    /// When something must be said next.
    due: Instant,
}

/// What a subscription needs of its server, and what it holds there.
pub(super) struct SubscriptionParts {
    pub(super) pages: Arc<Pages>,
    pub(super) principal: Principal,
    pub(super) stop: CancellationToken,
    pub(super) access: Arc<OngoingAccess>,
    /// It is counted as long as it is there.
    #[expect(dead_code, reason = "it is there to be dropped")]
    pub(super) seat: Seat,
}

enum Phase {
    /// Nothing was said yet.
    Opening,
    /// Rows come from the tables.
    History(Box<History>),
    /// Rows come from the topic; whether any did.
    Live(bool),
    /// The last word was said.
    Ended,
}

struct History {
    /// How many messages the next page is looked for in.
    span: i64,
    reading: Option<BoxFuture<'static, Result<Page, QueryError>>>,
    page: Option<Page>,
    chunks: VecDeque<Arc<Chunk>>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            span: SPAN,
            reading: None,
            page: None,
            chunks: VecDeque::new(),
        }
    }
}

impl Subscription {
    /// A subscriber of a topic that has had everything up to `position`.
    pub(super) fn new(topic: Arc<Topic>, position: Position, parts: SubscriptionParts) -> Self {
        Self {
            changes: topic.changes(),
            topic,
            parts,
            position,
            phase: Phase::Opening,
            is_ready: false,
            due: Instant::now() + PROGRESS,
        }
    }

    /// The next event; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let event = match &mut self.phase {
                Phase::Ended => return None,
                _ if self.parts.stop.is_cancelled() => Some(self.at_place(Event::Draining)),
                Phase::Opening => {
                    self.phase = self.first_phase();
                    return Some(Event::Opened);
                }
                Phase::History(_) => self.history().await,
                Phase::Live(_) => self.live().await,
            };
            match event {
                Some(event @ (Event::Gap(..) | Event::Draining(_) | Event::Failed(_))) => {
                    self.phase = Phase::Ended;
                    return Some(event);
                }
                Some(event) => return Some(event),
                None => {}
            }
        }
    }

    /// Where the rows after the position come from.
    fn first_phase(&self) -> Phase {
        match self.topic.reaches(self.position) {
            true => Phase::Live(false),
            false => Phase::History(Box::default()),
        }
    }

    /// One step through the tables.
    async fn history(&mut self) -> Option<Event> {
        if Instant::now() >= self.due {
            self.due = Instant::now() + HEARTBEAT;
            return Some(self.still(Event::Heartbeat));
        }
        let Phase::History(history) = &mut self.phase else {
            return None;
        };
        if let Some(chunk) = history.chunks.pop_front() {
            self.position = self.position.max(chunk.through);
            // A page holds nothing that was told before it was asked for.
            return chunk.rows_after(BEFORE_ALL).map(Event::Rows);
        }
        if let Some(page) = history.page.take() {
            self.position = self.position.max(page.through);
            if self.topic.reaches(self.position) {
                self.phase = Phase::Live(false);
                return None;
            }
        }
        let reading = history.reading.get_or_insert_with(|| {
            let (topic, pages) = (self.topic.clone(), self.parts.pages.clone());
            let (principal, after) = (self.parts.principal.clone(), self.position);
            let last = after.seq.saturating_add(history.span);
            async move { pages.read(&topic.view, &principal, after, last).await }.boxed()
        });
        tokio::select! {
            read = reading => {
                history.reading = None;
                match read {
                    Ok(mut page) => {
                        if page.rows < PAGE_ROWS / 4 {
                            history.span = (history.span * 2).min(WIDEST);
                        }
                        history.chunks = std::mem::take(&mut page.chunks).into();
                        history.page = Some(page);
                        None
                    }
                    // Fewer messages at a time may be within the limits.
                    Err(error) if error.is_limit() && history.span > 1_000 => {
                        history.span /= 10;
                        None
                    }
                    Err(error) => Some(Event::Failed(error)),
                }
            }
            () = sleep_until(self.due) => None,
            () = self.parts.stop.cancelled() => None,
        }
    }

    /// One step with the topic.
    async fn live(&mut self) -> Option<Event> {
        if self.is_ready && Instant::now() >= self.due {
            self.due = Instant::now() + PROGRESS;
            return Some(self.still(self.at_place(Event::Progress)));
        }
        self.changes.borrow_and_update();
        match self.topic.next(self.position) {
            Next::Rows(rows, through) => {
                self.position = through;
                self.phase = Phase::Live(true);
                return Some(Event::Rows(rows));
            }
            Next::Current(through) => self.position = through,
            Next::InTables => {
                self.phase = Phase::History(Box::default());
                return None;
            }
            Next::TooSlow => {
                // History may be overtaken before the first look at the topic.
                if matches!(self.phase, Phase::Live(true)) {
                    metrics::counter!("headframe_live_slow_total").increment(1);
                    return Some(self.at_place(|place| Event::Gap(place, "slow")));
                }
                self.phase = Phase::History(Box::default());
                return None;
            }
            Next::Ended(RingEnd::Replaced) => {
                return Some(self.at_place(|place| Event::Gap(place, "replaced")));
            }
            Next::Ended(RingEnd::Failed(error)) => return Some(Event::Failed(error)),
        }
        if !self.is_ready {
            self.is_ready = true;
            self.due = Instant::now() + PROGRESS;
            return Some(self.at_place(Event::Ready));
        }
        tokio::select! {
            _ = self.changes.changed() => None,
            () = sleep_until(self.due) => None,
            () = self.parts.stop.cancelled() => None,
        }
    }

    /// An event that tells where the subscriber is.
    fn at_place(&self, event: impl FnOnce(Place) -> Event) -> Event {
        match self.topic.view.place(self.position) {
            Ok(place) => event(place),
            Err(error) => Event::Failed(error),
        }
    }

    /// An event, unless the subscriber would not be let in any more.
    fn still(&self, event: Event) -> Event {
        match self.parts.access.check() {
            Ok(()) => event,
            Err(refusal) => Event::Failed(refusal),
        }
    }
}

/// Before every row.
const BEFORE_ALL: Position = Position {
    seq: i64::MIN,
    row: i64::MIN,
};
