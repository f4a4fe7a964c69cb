//! What `/health` and `/ready` ask: each says in a sentence what is missing, so that nobody has to
//! read a log first.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use async_trait::async_trait;
use headframe_ingest::{Nats, TailView, inspect_stream};
use headframe_pipelines::StreamHandle;
use headframe_pipelines::payment::{PayerStateHandle, WalletBalance};
use headframe_query_front::Probe;
use headframe_schemas::stream;
use headframe_sinks::Lake;
use headframe_stratum::{Stats, StatsHandle};

use crate::service::acknowledged::Acknowledged;
use crate::service::faults::{Faults, TaskFilter};

/// How long messages may wait to be read before the process calls itself late.
const UNREAD: Duration = Duration::from_secs(10);

/// Seconds of a daemon's silence that are worth a word.
const SILENT_S: u64 = 2;

/// Seconds for which `/ready` speaks of a chain that fell and of a block that was refused.
const RECENT_S: u64 = 600;

/// How long NATS may take to answer; shorter than a probe may take, so that the words are these.
const ANSWER: Duration = Duration::from_millis(1_500);

/// Does NATS answer. A frozen server keeps its connections open and their buffers take what is
/// written, so only an answer counts.
pub struct NatsProbe(pub Nats);

#[async_trait]
impl Probe for NatsProbe {
    fn name(&self) -> &str {
        "nats"
    }
    async fn check(&self) -> Result<(), String> {
        if !self.0.is_connected() {
            return Err(
                "there is no connection to NATS; it is tried again all the time".to_owned(),
            );
        }
        // Every process may ask for the streams that it provisioned, whatever else a server of the
        // operator's forbids it.
        let Some(stream) = stream::ALL.first() else {
            return Ok(());
        };
        match tokio::time::timeout(ANSWER, inspect_stream(&self.0.js, *stream)).await {
            // Whether the stream is there is asked elsewhere; somebody has answered.
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("JetStream does not answer as it should: {error}")),
            Err(_) => Err(format!(
                "NATS is connected but does not answer: nothing came within {} ms",
                ANSWER.as_millis()
            )),
        }
    }
}

/// Can the tables be found.
pub struct StorageProbe(pub Lake);

#[async_trait]
impl Probe for StorageProbe {
    fn name(&self) -> &str {
        "storage"
    }
    async fn check(&self) -> Result<(), String> {
        let listed = self.0.store().list_with_delimiter(None).await;
        listed
            .map(|_| ())
            .map_err(|error| format!("the tables at {} cannot be listed: {error}", self.0.url()))
    }
}

/// Is the ledger right. A wallet that is locked makes payments wait and is told elsewhere; it takes
/// nobody off the air.
pub struct PaymentProbe(pub PayerStateHandle);

#[async_trait]
impl Probe for PaymentProbe {
    fn name(&self) -> &str {
        "payments"
    }
    async fn check(&self) -> Result<(), String> {
        match self.0.get().stopped {
            Some(stopped) => Err(format!(
                "payments stopped, the ledger breaks the rule {stopped}"
            )),
            None => Ok(()),
        }
    }
    async fn note(&self) -> Option<String> {
        short(&self.0.get().wallet_balance?)
    }
}

/// What `/ready` says of a pool that is ready: what happened of late, and what is about to end.
fn pool_notes(stats: &Stats) -> Option<String> {
    let is_recent = |ago_s: &u64| *ago_s <= RECENT_S;
    let fall = stats.chain_fell.filter(|fall| is_recent(&fall.ago_s));
    let notes = [
        stats
            .stopping
            .then(|| "the pool stops: it takes no more miners".to_owned()),
        stats.daemon_silent_s.and_then(silence),
        fall.map(|fall| {
            format!(
                "the chain fell by {} blocks {} s ago; found blocks above are looked at again",
                fall.blocks, fall.ago_s
            )
        }),
        stats.block_refused_s.filter(is_recent).map(|ago_s| {
            format!("the daemon refused a found block {ago_s} s ago; the table blocks says why")
        }),
    ];
    let notes: Vec<String> = notes.into_iter().flatten().collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// What `/ready` says of a daemon that does not answer, while miners go on with the last template.
fn silence(seconds: u64) -> Option<String> {
    (seconds >= SILENT_S).then(|| {
        format!("the daemon has not answered for {seconds} s; miners keep the last template")
    })
}

/// What `/ready`, which anybody may ask, says of a wallet that is short: no figures.
fn short(wallet_balance: &WalletBalance) -> Option<String> {
    (wallet_balance.shortfall() > 0).then(|| {
        "the wallet holds less than is owed; GET /api/v1/payments/state has the figures".to_owned()
    })
}

/// Did a task of this process stop.
pub struct TaskProbe {
    /// As `/ready` calls it.
    pub name: &'static str,
    /// Which tasks it reports on.
    pub includes: TaskFilter,
    /// Where faults are recorded.
    pub faults: Faults,
}

#[async_trait]
impl Probe for TaskProbe {
    fn name(&self) -> &str {
        self.name
    }
    async fn check(&self) -> Result<(), String> {
        let stopped = self.faults.of_tasks(self.includes);
        if stopped.is_empty() {
            Ok(())
        } else {
            Err(stopped.join("; "))
        }
    }
}

/// Has the pool something to mine.
pub struct PoolProbe(pub StatsHandle);

#[async_trait]
impl Probe for PoolProbe {
    fn name(&self) -> &str {
        "pool"
    }
    async fn check(&self) -> Result<(), String> {
        self.0.snapshot().unready.map_or(Ok(()), Err)
    }
    async fn note(&self) -> Option<String> {
        pool_notes(&self.0.snapshot())
    }
}

/// Is a stream fit, and is this process up with it.
pub struct StreamProbe {
    name: String,
    nats: Nats,
    handle: Arc<StreamHandle>,
    acknowledged: Arc<Acknowledged>,
    /// How long a row may wait for its commit; `None` where others commit.
    commit: Option<Duration>,
    /// Since when the tail has been at this place with messages after it.
    unread: Mutex<Option<(i64, Instant)>>,
}

impl StreamProbe {
    /// A probe of one stream. `commit` is how long a row may wait for its commit in this process.
    pub fn new(
        nats: Nats,
        handle: Arc<StreamHandle>,
        acknowledged: Arc<Acknowledged>,
        commit: Option<Duration>,
    ) -> Self {
        let name = format!("stream {}", handle.stream.name());
        Self {
            name,
            nats,
            handle,
            acknowledged,
            commit,
            unread: Mutex::default(),
        }
    }

    fn read(&self, view: &TailView, newest: i64) -> Result<(), String> {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        if newest <= view.through {
            *unread = None;
            return Ok(());
        }
        let since = match *unread {
            Some((through, since)) if through == view.through => since,
            _ => Instant::now(),
        };
        *unread = Some((view.through, since));
        let (waiting, seconds) = (newest - view.through, since.elapsed().as_secs());
        match since.elapsed() > UNREAD {
            true if view.truncated => Err(format!(
                "the memory for rows that are not stored yet is used up since {seconds} s; \
                 {waiting} messages wait"
            )),
            true => Err(format!(
                "{waiting} messages wait to be read since {seconds} s"
            )),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Probe for StreamProbe {
    fn name(&self) -> &str {
        &self.name
    }
    async fn check(&self) -> Result<(), String> {
        // Without NATS nothing can be said of a stream, but of the rows that were read from it.
        let view = self.handle.tail.view();
        if let Some(held) = self.handle.held() {
            return Err(format!(
                "a batch is held since {} s, because it cannot be stored: {}",
                held.since.elapsed().as_secs(),
                held.why
            ));
        }
        if let Some(limit) = self.commit {
            overdue(&view, limit, SystemTime::now())?;
        }
        if !self.nats.is_connected() {
            return Err("not known while NATS is away".to_owned());
        }
        self.read(&view, self.acknowledged.newest().await?)
    }
}

/// Says so when a row waits longer for its commit than it may.
fn overdue(view: &TailView, limit: Duration, now: SystemTime) -> Result<(), String> {
    let Some(oldest) = oldest_us(view) else {
        return Ok(());
    };
    let oldest = UNIX_EPOCH + Duration::from_micros(u64::try_from(oldest).unwrap_or_default());
    // A clock that was set back makes rows of the future, which have not waited at all.
    let age = now.duration_since(oldest).unwrap_or_default();
    if age <= limit {
        return Ok(());
    }
    let (waiting, after) = (view.through - view.after, view.after);
    Err(format!(
        "{waiting} messages after sequence {after} wait for their commit since {} s; the storage \
         is away, full or slow, and the log says why",
        age.as_secs()
    ))
}

/// JetStream's time of the oldest row that no commit holds, in microseconds since 1970.
fn oldest_us(view: &TailView) -> Option<i64> {
    let rows = view.batches.iter().filter_map(|batch| {
        let seqs = batch
            .column_by_name("seq")?
            .as_primitive_opt::<Int64Type>()?;
        let row = seqs.values().iter().position(|&seq| seq > view.after)?;
        let times = batch
            .column_by_name("ingest_time")?
            .as_primitive_opt::<TimestampMicrosecondType>()?;
        // The row that stands for a gap has no time.
        times.is_valid(row).then(|| times.value(row))
    });
    rows.min()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};

    use headframe_stratum::ChainFall;

    use super::*;

    fn view(after: i64, rows: &[(i64, Option<i64>)]) -> TailView {
        let seqs: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter(
            rows.iter().map(|row| row.1),
        ));
        let batch = RecordBatch::try_from_iter([("seq", seqs), ("ingest_time", times)]).unwrap();
        let through = rows.last().map_or(after, |row| row.0);
        TailView {
            batches: vec![batch],
            after,
            through,
            truncated: false,
            generation: 1,
        }
    }

    #[test]
    fn a_silent_daemon_is_told_with_its_seconds() {
        assert_eq!(silence(1), None);
        assert!(silence(28).is_some_and(|said| said.contains("for 28 s")));
    }

    #[test]
    fn a_pool_that_is_ready_notes_what_happened_of_late_and_what_ends() {
        assert_eq!(pool_notes(&Stats::default()), None);
        let fall = |ago_s| Some(ChainFall { blocks: 71, ago_s });
        let stats = Stats {
            daemon_silent_s: Some(28),
            chain_fell: fall(9),
            block_refused_s: Some(3),
            stopping: true,
            ..Stats::default()
        };
        let said = pool_notes(&stats).unwrap();
        for part in [
            "takes no more miners",
            "not answered for 28 s",
            "fell by 71 blocks 9 s ago",
            "refused a found block 3 s ago",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let long_ago = Stats {
            chain_fell: fall(RECENT_S + 1),
            block_refused_s: Some(RECENT_S + 1),
            ..Stats::default()
        };
        assert_eq!(pool_notes(&long_ago), None);
    }

    #[test]
    fn a_wallet_that_is_short_is_told_without_figures() {
        let wallet_balance = |total| WalletBalance {
            unlocked: 0,
            total,
            owed: 7_654,
        };
        assert_eq!(short(&wallet_balance(7_654)), None);
        let said = short(&wallet_balance(1_234)).unwrap();
        assert!(
            said.contains("payments/state")
                && !["7654", "1234", "6420"]
                    .iter()
                    .any(|figure| said.contains(figure)),
            "{said}"
        );
    }

    #[test]
    fn a_row_may_wait_for_its_commit_and_no_longer() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let limit = Duration::from_secs(30);
        // The row of 100 s is committed already; that of 150 s is the oldest that waits.
        let waiting = view(
            7,
            &[
                (7, Some(100_000_000)),
                (8, Some(150_000_000)),
                (9, Some(170_000_000)),
            ],
        );
        assert_eq!(overdue(&waiting, limit, at(180)), Ok(()));
        let said = overdue(&waiting, limit, at(181)).unwrap_err();
        assert!(
            said.starts_with("2 messages after sequence 7 wait for their commit since 31 s"),
            "{said}"
        );
        assert_eq!(
            overdue(&waiting, limit, at(90)),
            Ok(()),
            "the clock was set back"
        );
        assert_eq!(
            overdue(&view(7, &[(8, None)]), limit, at(1_000)),
            Ok(()),
            "a gap has no time"
        );
        assert_eq!(
            overdue(&view(9, &[(9, Some(0))]), limit, at(1_000)),
            Ok(()),
            "all is committed"
        );
        assert_eq!(
            overdue(&view(9, &[]), limit, at(1_000)),
            Ok(()),
            "nothing waits"
        );
    }
}
