//! Taking one coherent look at a stream: the stored tables through sequence `S` and the rows in
//! memory after `S`.
//!
//! The order of the steps is what makes it exact. The tail is looked at before the tables, so that
//! rows which a commit moves from memory to storage in between are seen twice and cut once, never
//! missed; rollups are looked at before the raw table they are computed from, so that they are
//! never ahead of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::catalog::TableProvider;
use headframe_schemas::rollup::LATENESS_SECONDS;
use headframe_schemas::table::{INGEST_TIME, REJECT_REASON};
use headframe_schemas::{Rollup, Table};

use crate::error::EngineError;
use crate::own_rows::OwnRowsTable;
use crate::source::{Live, Source, SourceError, Stored, Tail};
use crate::uncommitted_rows::RowCounts;
use crate::union::{NewerRows, UnionTable};
use headframe_query_front::access::OwnRows;
use headframe_query_front::{At, Coverage};

/// How often the tail and the tables are looked at again when they do not meet.
const ATTEMPTS: usize = 5;
/// Pause before looking again.
const PAUSE: Duration = Duration::from_millis(20);
/// How many versions of a rollup to step back to find one that is not ahead of its raw table.
const STEPS_BACK: usize = 8;

/// One coherent look at a stream.
pub struct StreamSnapshot {
    /// What the raw table holds: every row through [`StreamSnapshot::stored_through`].
    pub raw: Stored,
    /// The rollups asked for; `None` where no version fits the raw table, and the rollup is to be
    /// computed from raw rows alone.
    pub rollups: Vec<(&'static dyn Rollup, Option<Stored>)>,
    /// What to tell the user.
    pub coverage: Coverage,
    /// How long the newest rows were waited for.
    pub tail_wait: Duration,
    table: Table,
    /// The rows in memory that are newer than the raw table.
    newer: NewerRows,
    /// How many of them were not refused.
    newer_good: usize,
    past: bool,
    /// The miner whose rows are all that leaves here.
    own: Option<OwnRows>,
}

impl StreamSnapshot {
    /// Looks at a stream and those of its rollups that are needed. `wait` bounds the wait for rows
    /// JetStream has acknowledged.
    pub async fn read(
        source: &dyn Source,
        rollups: &[&'static dyn Rollup],
        at: At,
        wait: Duration,
    ) -> Result<Self, EngineError> {
        match at {
            At::Latest => Self::latest(source, rollups, wait).await,
            At::Version(_) | At::Time(_) => Self::past(source, rollups, at).await,
        }
    }

    async fn latest(
        source: &dyn Source,
        rollups: &[&'static dyn Rollup],
        wait: Duration,
    ) -> Result<Self, EngineError> {
        let begun = Instant::now();
        let Live {
            acknowledged,
            mut tail,
        } = source.live(wait).await;
        let tail_wait = begun.elapsed();
        let mut attempt = 1;
        loop {
            let mut stored = Vec::with_capacity(rollups.len());
            for rollup in rollups {
                stored.push((*rollup, Some(source.rollup(*rollup, At::Latest).await?)));
            }
            let raw = source.raw(At::Latest).await?;
            let meets = tail.after <= raw.offset.unwrap_or(0);
            if meets || attempt == ATTEMPTS {
                let tail = meets.then_some(tail);
                let snapshot = Self::join(source, raw, stored, tail, acknowledged).await?;
                return Ok(Self {
                    tail_wait,
                    ..snapshot
                });
            }
            attempt += 1;
            tokio::time::sleep(PAUSE).await;
            tail = source.live(Duration::ZERO).await.tail;
        }
    }

    async fn join(
        source: &dyn Source,
        raw: Stored,
        rollups: Vec<(&'static dyn Rollup, Option<Stored>)>,
        tail: Option<Tail>,
        acknowledged: Result<i64, SourceError>,
    ) -> Result<Self, EngineError> {
        let stored_through = raw.offset.unwrap_or(0);
        let through = tail.as_ref().map_or(0, |tail| tail.through);
        let counts = match &tail {
            Some(tail) if through > stored_through => tail.rows.count(stored_through).await?,
            _ => RowCounts::default(),
        };
        let through = through.max(stored_through);
        let reason = match (&acknowledged, &tail) {
            (Err(error), _) => Some(format!(
                "it is not known what JetStream has acknowledged: {error}"
            )),
            (Ok(seq), _) if *seq <= through => None,
            (Ok(_), None) => {
                Some("the stored table is behind the rows held in memory; try again".to_owned())
            }
            (Ok(_), Some(tail)) if tail.truncated => Some(
                "the memory for rows that are not stored yet is used up until the next commit"
                    .to_owned(),
            ),
            (Ok(_), Some(_)) => Some("newer rows were not read from JetStream in time".to_owned()),
        };
        let coverage = Coverage {
            stream: source.stream().name(),
            version: Some(raw.version),
            through: (through > 0).then_some(through),
            acknowledged: acknowledged.ok(),
            complete: Some(reason.is_none()),
            reason,
        };
        let table = Table::raw(source.stream());
        Ok(Self {
            raw,
            rollups,
            coverage,
            tail_wait: Duration::ZERO,
            table,
            newer: NewerRows {
                rows: tail.unwrap_or_else(Tail::empty).rows,
                after: stored_through,
                count: counts.rows,
            },
            newer_good: counts.good,
            past: false,
            own: None,
        })
    }

    async fn past(
        source: &dyn Source,
        rollups: &[&'static dyn Rollup],
        at: At,
    ) -> Result<Self, EngineError> {
        let raw = source.raw(at).await?;
        let mut stored = Vec::with_capacity(rollups.len());
        for rollup in rollups {
            stored.push((*rollup, rollup_behind(source, *rollup, &raw).await?));
        }
        let coverage = Coverage {
            stream: source.stream().name(),
            version: Some(raw.version),
            through: raw.offset,
            acknowledged: None,
            complete: None,
            reason: None,
        };
        let table = Table::raw(source.stream());
        Ok(Self {
            raw,
            rollups: stored,
            coverage,
            tail_wait: Duration::ZERO,
            table,
            newer: NewerRows {
                rows: Tail::empty().rows,
                after: 0,
                count: 0,
            },
            newer_good: 0,
            past: true,
            own: None,
        })
    }

    /// The same look, from which only the rows of one miner leave.
    pub fn restricted_to(self, own: Option<OwnRows>) -> Self {
        Self { own, ..self }
    }

    /// A table of these rows, or of those among them that may leave.
    fn leaving(&self, rows: Arc<dyn TableProvider>) -> Arc<dyn TableProvider> {
        match &self.own {
            None => rows,
            Some(own) => Arc::new(OwnRowsTable::new(rows, own.clone())),
        }
    }

    /// The partial rows of a version of a rollup. Those of a rollup that does not say whose its
    /// windows are leave to nobody who may not see them all.
    pub fn partial_rows(
        &self,
        rollup: &dyn Rollup,
        stored: &Stored,
    ) -> Option<Arc<dyn TableProvider>> {
        let rows = stored.rows.between(None, None);
        match (&self.own, rollup.miner_column()) {
            (None, _) => Some(rows),
            (Some(own), Some(column)) => {
                let own = OwnRows {
                    column,
                    ..own.clone()
                };
                Some(Arc::new(OwnRowsTable::new(rows, own)))
            }
            (Some(_), None) => None,
        }
    }

    /// The raw table is complete through this sequence; 0 when nothing was ever stored.
    pub fn stored_through(&self) -> i64 {
        self.raw.offset.unwrap_or(0)
    }

    /// The rows with `after < seq`, stored and in memory, with the physical columns. `after` must
    /// not be beyond [`StreamSnapshot::stored_through`].
    pub fn rows_after(&self, after: Option<i64>) -> Arc<dyn TableProvider> {
        let stored = match after {
            Some(after) if after >= self.stored_through() => None,
            _ if self.raw.offset.is_none() => None,
            _ => Some(self.raw.rows.between(after, None)),
        };
        let rows = UnionTable::new(self.table.schema(), stored, Some(self.newer.clone()));
        self.leaving(Arc::new(rows))
    }

    /// Whether a rollup that is complete through `through` lacks nothing.
    pub fn nothing_after(&self, through: Option<i64>) -> bool {
        self.newer.count == 0 && through.is_some_and(|through| through >= self.stored_through())
    }

    /// The stored rows with `seq <= through`, with the physical columns. `through` must not be
    /// beyond [`StreamSnapshot::stored_through`].
    pub fn rows_through(&self, through: i64) -> Arc<dyn TableProvider> {
        self.leaving(self.raw.rows.between(None, Some(through)))
    }

    /// Whether it is known that no row was refused.
    pub fn all_good(&self) -> bool {
        (self.raw.all_good || self.raw.offset.is_none()) && self.newer_good == self.newer.count
    }

    /// How many rows were not refused, stored and in memory, where that is known. How many of them
    /// are one miner's is not.
    pub fn good_rows(&self) -> Option<usize> {
        if self.own.is_some() {
            return None;
        }
        match self.raw.offset {
            None => Some(self.newer_good),
            Some(_) => Some(self.raw.good_rows? + self.newer_good),
        }
    }

    /// Windows that end before this time, in microseconds since 1970, have all their rows, given
    /// the time now.
    ///
    /// When rows are missing, or the answer is of the past, only the rows seen say how far time has
    /// come.
    pub async fn complete_to_us(&self, now_us: i64) -> Result<i64, EngineError> {
        let reached = match (self.past, self.coverage.complete) {
            (false, Some(true)) => now_us,
            (false, _) => self.newest_us().await?.unwrap_or(0).min(now_us),
            (true, _) => {
                let newest = self.newest_us().await?;
                newest.unwrap_or(i64::MAX).min(self.raw.committed_us)
            }
        };
        Ok(reached - LATENESS_SECONDS * 1_000_000)
    }

    /// The newest `ingest_time`, stored or in memory, in microseconds since 1970, where it is
    /// known.
    pub async fn newest_us(&self) -> Result<Option<i64>, EngineError> {
        if self.newer.count == 0 {
            return Ok(self.raw.newest_us);
        }
        let newest = self.newer.rows.newest_us(self.newer.after).await?;
        Ok(newest.or(self.raw.newest_us))
    }

    /// How many rows came since a time, in microseconds since 1970, and were not refused, without
    /// reading any stored one: of a file that began before it, the part by time. `None` where the
    /// stored ones are not known.
    pub async fn rows_since(&self, since_us: i64) -> Result<Option<i64>, EngineError> {
        let stored = match self.raw.offset {
            None => Some(0.0),
            Some(_) => self.raw.rows.count_since(since_us),
        };
        let Some(stored) = stored else {
            return Ok(None);
        };
        let schema = self.table.schema();
        let names = [INGEST_TIME.name, REJECT_REASON.name];
        let columns: Vec<usize> = names
            .iter()
            .filter_map(|name| schema.index_of(name).ok())
            .collect();
        let newer = match self.newer.count {
            0 => Vec::new(),
            _ => self.newer.rows.columns(self.newer.after, &columns).await?,
        };
        let good = newer.iter().map(|batch| good_since(batch, since_us));
        Ok(Some(stored.round() as i64 + good.sum::<usize>() as i64))
    }
}

/// How many of these rows, of `ingest_time` and `reject_reason`, came since a time and were not
/// refused.
fn good_since(batch: &RecordBatch, since_us: i64) -> usize {
    let [times, reasons] = batch.columns() else {
        return 0;
    };
    let times = times.as_primitive_opt::<TimestampMicrosecondType>();
    let times = times.into_iter().flatten().enumerate();
    times
        .filter(|(row, time)| time.is_some_and(|us| us >= since_us) && reasons.is_null(*row))
        .count()
}

/// The newest version of a rollup that was not ahead of this version of its raw table.
async fn rollup_behind(
    source: &dyn Source,
    rollup: &'static dyn Rollup,
    raw: &Stored,
) -> Result<Option<Stored>, EngineError> {
    let mut at = At::Time(raw.committed_us);
    for _ in 0..STEPS_BACK {
        let stored = match source.rollup(rollup, at).await {
            Err(SourceError::NoSuchVersion { .. }) => return Ok(None),
            other => other?,
        };
        if stored.offset.unwrap_or(0) <= raw.offset.unwrap_or(0) {
            return Ok(Some(stored));
        }
        let Some(before) = stored.version.checked_sub(1) else {
            return Ok(None);
        };
        at = At::Version(before);
    }
    Ok(None)
}
