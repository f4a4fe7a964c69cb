//! A view with all who subscribe to it: its rows are made once, whoever reads them.
//!
//! The rows of a view without a condition are made here, out of the tail that the whole process
//! shares. What a condition says is for the engine: each new piece of the stream is asked about
//! once, not once a subscriber.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::access::Principal;
use crate::error::QueryError;
use crate::live::chunk::{CHUNK_ROWS, Chunk, places};
use crate::live::pages::Pages;
use crate::live::position::Position;
use crate::live::ring::{Next, Ring, RingEnd};
use crate::live::tail::{LiveTail, TailRows};
use crate::live::view::View;
use headframe_schemas::table::{ROW, SEQ};

/// Pause between two questions about a condition.
const PAUSE: Duration = Duration::from_millis(100);

/// A view that somebody reads.
pub(super) struct Topic {
    pub(super) view: View,
    ring: Mutex<Ring>,
    changed: watch::Sender<()>,
    _reading: DropGuard,
}

/// Who says which rows a condition is true for.
pub(super) struct Judge {
    pub(super) pages: Arc<Pages>,
    pub(super) principal: Principal,
}

impl Topic {
    /// Follows the tail from now on, until nobody holds the topic.
    pub(super) fn start(
        view: View,
        tail: Arc<dyn LiveTail>,
        judge: Option<Judge>,
        capacity: usize,
    ) -> Result<Arc<Self>, QueryError> {
        let TailRows {
            through,
            generation,
            ..
        } = tail.newer_than(i64::MAX).map_err(QueryError::internal)?;
        let stop = CancellationToken::new();
        let topic = Arc::new(Self {
            view,
            ring: Mutex::new(Ring::new(Position::after_message(through), capacity)),
            changed: watch::channel(()).0,
            _reading: stop.clone().drop_guard(),
        });
        let reader = TopicReader {
            topic: Arc::downgrade(&topic),
            tail,
            judge,
            generation,
            through,
        };
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = reader.run() => {}
            }
        });
        Ok(topic)
    }

    /// Notes each change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// What comes after a place.
    pub(super) fn next(&self, position: Position) -> Next {
        self.lock().next(position)
    }

    /// How far the view is known.
    pub(super) fn through(&self) -> Position {
        self.lock().through()
    }

    /// Whether a subscriber at this place may read on here.
    pub(super) fn reaches(&self, position: Position) -> bool {
        self.lock().reaches(position)
    }

    /// Whether nothing comes any more.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().has_ended()
    }

    fn change(&self, change: impl FnOnce(&mut Ring)) {
        change(&mut self.lock());
        self.changed.send_replace(());
    }

    /// A ring is whole between any two statements, so that a panic elsewhere cannot have left it
    /// half changed.
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What brings the rows of a topic.
struct TopicReader {
    topic: Weak<Topic>,
    tail: Arc<dyn LiveTail>,
    judge: Option<Judge>,
    generation: u64,
    through: i64,
}

impl TopicReader {
    async fn run(mut self) {
        let mut changes = self.tail.changes();
        loop {
            changes.borrow_and_update();
            let Some(topic) = self.topic.upgrade() else {
                return;
            };
            if let Err(end) = self.round(&topic).await {
                topic.change(|ring| ring.finish(end));
                return;
            }
            drop(topic);
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Adds what came since the last round.
    async fn round(&mut self, topic: &Topic) -> Result<(), RingEnd> {
        let rows = self.tail.newer_than(self.through);
        let rows = rows.map_err(|why| RingEnd::Failed(QueryError::internal(why)))?;
        if rows.generation != self.generation {
            return Err(RingEnd::Replaced);
        }
        let through = rows.through.max(self.through);
        match &self.judge {
            Some(_)
                if !self
                    .may_hold_rows(&topic.view, &rows)
                    .map_err(RingEnd::Failed)? =>
            {
                topic.change(|ring| ring.advance(Position::after_message(through)));
                self.through = through;
            }
            Some(judge) if through > self.through => {
                let after = Position::after_message(self.through);
                judge_rows(topic, judge, after, through).await?;
                self.through = through;
                tokio::time::sleep(PAUSE).await;
            }
            Some(_) => {}
            None => {
                self.add(topic, rows).await.map_err(RingEnd::Failed)?;
                self.through = through;
            }
        }
        Ok(())
    }

    /// Whether what came may hold rows that a condition has to be asked about: a miner's condition
    /// costs nothing while others send rows.
    fn may_hold_rows(&self, view: &View, rows: &TailRows) -> Result<bool, QueryError> {
        if !view.is_own() || rows.after > self.through {
            return Ok(true);
        }
        for batch in &rows.batches {
            if view.of_physical(batch)?.num_rows() > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn add(&self, topic: &Topic, rows: TailRows) -> Result<(), QueryError> {
        if rows.after > self.through {
            topic.change(|ring| ring.skip(Position::after_message(rows.after)));
        }
        for batch in &rows.batches {
            for first in (0..batch.num_rows()).step_by(CHUNK_ROWS) {
                let length = CHUNK_ROWS.min(batch.num_rows() - first);
                if let Some(chunk) = chunk_of(&topic.view, &batch.slice(first, length))? {
                    topic.change(|ring| ring.push(Arc::new(chunk)));
                }
                tokio::task::yield_now().await;
            }
        }
        topic.change(|ring| ring.advance(Position::after_message(rows.through)));
        Ok(())
    }
}

/// The rows of a piece of the tail that are shown; `None` where there are none.
fn chunk_of(view: &View, batch: &RecordBatch) -> Result<Option<Chunk>, QueryError> {
    let rows = view.of_physical(batch)?;
    let shown: Vec<usize> = (0..view.width()).collect();
    // The place stands behind what is shown, where it may stand as well.
    let behind: Vec<usize> = (view.width()..rows.num_columns()).collect();
    let unreadable = |error: arrow::error::ArrowError| QueryError::internal(error.to_string());
    let behind = rows.project(&behind).map_err(unreadable)?;
    let places = places(&behind, SEQ.name, ROW.name)?;
    let Some(last) = places.last() else {
        return Ok(None);
    };
    let shown = rows.project(&shown).map_err(unreadable)?;
    Chunk::encode(view.ids(), *last, &places, &shown).map(Some)
}

/// Adds the rows up to a message that a condition is true for.
async fn judge_rows(
    topic: &Topic,
    judge: &Judge,
    mut after: Position,
    last: i64,
) -> Result<(), RingEnd> {
    while after < Position::after_message(last) {
        let page = judge
            .pages
            .read(&topic.view, &judge.principal, after, last)
            .await
            .map_err(RingEnd::Failed)?;
        after = page.through;
        topic.change(|ring| {
            for chunk in page.chunks {
                ring.push(chunk);
            }
            ring.advance(after);
        });
    }
    Ok(())
}
