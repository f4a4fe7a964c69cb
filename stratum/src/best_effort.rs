//! Facts nobody waits for: refused shares and hashrate, published behind the answer through a
//! bounded queue.
//!
//! Whoever floods the pool with refused shares must not make honest miners wait for JetStream, so a
//! full queue gives the newest row up, counts it and says so; nothing is lost in silence.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use headframe_ingest::lasting_state::{LastingChange, LastingState};
use headframe_schemas::column::Column;
use headframe_schemas::stream::bans::Ban;
use headframe_schemas::stream::hashrate::Hashrate;
use headframe_schemas::stream::sessions::Session;
use headframe_schemas::stream::shares::Share;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::facts::{FactError, Facts};
use crate::stats::Counters;

/// Rows that may wait.
const QUEUE: usize = 16_384;
/// Places that refused shares leave free: whoever floods the pool with them must not hide his own
/// ban.
const KEPT_FREE: usize = QUEUE / 4;
/// Rows in flight at once; the publisher batches what comes together.
const IN_FLIGHT: usize = 256;

/// A row nobody waits for.
#[derive(Debug)]
pub(crate) enum BestEffortRow {
    Share(Share),
    Hashrate(Hashrate),
    Session(Box<Session>),
    Ban(Box<Ban>),
}

/// As much of a text as a row's column takes.
pub(crate) fn within_row(text: &str) -> &str {
    &text[..text.floor_char_boundary(Column::MAX_TEXT_BYTES)]
}

/// The queue's sending end.
#[derive(Debug, Clone)]
pub(crate) struct BestEffortQueue {
    queue: mpsc::Sender<BestEffortRow>,
    counters: Arc<Counters>,
}

/// The queue's other end, to be run.
pub(crate) struct BestEffortWorker {
    queue: mpsc::Receiver<BestEffortRow>,
    facts: Arc<dyn Facts>,
    counters: Arc<Counters>,
    losses: Losses,
}

/// Rows that are lost one after another.
#[derive(Default)]
struct Losses {
    state: LastingState,
    /// How many since the state began.
    rows: u64,
}

/// A queue with both ends.
pub(crate) fn best_effort(
    facts: Arc<dyn Facts>,
    counters: Arc<Counters>,
) -> (BestEffortQueue, BestEffortWorker) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (
        BestEffortQueue {
            queue: sender,
            counters: counters.clone(),
        },
        BestEffortWorker {
            queue: receiver,
            facts,
            counters,
            losses: Losses::default(),
        },
    )
}

impl BestEffortQueue {
    /// Publishes a row some time soon.
    pub(crate) fn push(&self, row: BestEffortRow) {
        let crowded = matches!(row, BestEffortRow::Share(_)) && self.queue.capacity() < KEPT_FREE;
        if crowded || self.queue.try_send(row).is_err() {
            self.counters.fact_lost();
        }
    }
}

impl BestEffortWorker {
    /// Publishes until `done`, then what is still queued.
    pub(crate) async fn run(mut self, done: CancellationToken) {
        let facts = self.facts.clone();
        let publish = |row: BestEffortRow| {
            let facts = facts.clone();
            async move {
                match row {
                    BestEffortRow::Share(share) => facts.share(share).await,
                    BestEffortRow::Hashrate(hashrate) => facts.hashrate(hashrate).await,
                    BestEffortRow::Session(session) => facts.session(*session).await,
                    BestEffortRow::Ban(ban) => facts.ban(*ban).await,
                }
            }
        };
        let mut flying = FuturesUnordered::new();
        let mut closed = false;
        loop {
            tokio::select! {
                () = done.cancelled(), if !closed => {
                    closed = true;
                    self.queue.close();
                }
                Some(result) = flying.next() => self.note(&result),
                row = self.queue.recv(), if flying.len() < IN_FLIGHT => match row {
                    Some(row) => flying.push(publish(row)),
                    None => break,
                },
            }
        }
        while let Some(result) = flying.next().await {
            self.note(&result);
        }
    }

    /// Counts every loss and logs losses that last.
    fn note(&mut self, result: &Result<(), FactError>) {
        if result.is_err() {
            self.counters.fact_lost();
        }
        let change = self.losses.note(result.is_ok(), Instant::now());
        match (change, result) {
            (Some((LastingChange::Lasts(_), rows)), Err(error)) => {
                tracing::warn!(%error, rows, "rows that nobody waited for are lost");
            }
            (Some((LastingChange::Ended(lasted), rows)), _) => {
                let lasted_s = lasted.as_secs_f64();
                tracing::info!(rows, lasted_s, "rows that nobody waited for are kept again");
            }
            _ => {}
        }
    }
}

impl Losses {
    /// A row was kept or lost now. What to log, if anything, and how many were lost.
    fn note(&mut self, is_kept: bool, now: Instant) -> Option<(LastingChange, u64)> {
        self.rows += u64::from(!is_kept);
        let change = self.state.update(!is_kept, now);
        let rows = self.rows;
        if is_kept {
            self.rows = 0;
        }
        change.map(|change| (change, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn lost_rows_are_logged_once_they_last_and_counted_to_the_end() {
        let (mut losses, start) = (Losses::default(), Instant::now());
        let mut at = |second, is_kept| losses.note(is_kept, start + Duration::from_secs(second));
        // A row lost now and then is counted and not logged.
        for second in 0..40 {
            assert_eq!(at(second, second % 2 == 0), None);
        }
        assert_eq!(
            (at(50, true), at(51, false), at(52, false)),
            (None, None, None)
        );
        let lasts = LastingChange::Lasts(Duration::from_secs(5));
        assert_eq!(at(56, false), Some((lasts, 3)));
        assert_eq!(at(57, false), None);
        let ended = LastingChange::Ended(Duration::from_secs(9));
        assert_eq!(at(60, true), Some((ended, 4)));
        assert_eq!(at(61, true), None);
    }

    #[test]
    fn a_flood_of_refused_shares_leaves_space_for_other_rows() {
        let (queue, mut rows) = mpsc::channel(QUEUE);
        let best_effort = BestEffortQueue {
            queue,
            counters: Arc::default(),
        };
        let share = || Share {
            event_time: 0,
            pool: String::new(),
            miner: String::new(),
            worker: String::new(),
            outcome: "invalid".to_owned(),
            difficulty: 0,
            network_difficulty: 0,
            height: 0,
            block_hash: None,
            solo: None,
        };
        (0..2 * QUEUE).for_each(|_| best_effort.push(BestEffortRow::Share(share())));
        let hashrate = Hashrate {
            event_time: 0,
            pool: String::new(),
            miner: String::new(),
            worker: String::new(),
            hashrate_hs: 0.0,
            source: "pool".to_owned(),
        };
        best_effort.push(BestEffortRow::Hashrate(hashrate));
        let mut taken = 0;
        while let Ok(row) = rows.try_recv() {
            taken += 1;
            assert_eq!(
                matches!(row, BestEffortRow::Hashrate(_)),
                taken == QUEUE - KEPT_FREE + 2,
                "row {taken}"
            );
        }
        assert!(taken > KEPT_FREE);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(within_row("short"), "short");
        let long = "ä".repeat(200);
        let cut = within_row(&long);
        assert_eq!((cut.len(), cut.chars().all(|c| c == 'ä')), (256, true));
        assert_eq!(within_row(&format!("x{long}")).len(), 255);
    }
}
