//! Follows the table of one source: from a checkpoint, over what was written since, to the newest
//! row.
//!
//! What is found is a function of the rows of the source and of the moments at which silence was
//! judged. A moment that found something is the row that it led to; one that found nothing changed
//! nothing. So the rows that were written after a checkpoint are found again on the way from it,
//! and the first that is not among them is the next to be written.

use std::time::Duration;

use headframe_ingest::inspect_stream;
use headframe_schemas::stream::anomalies::Anomaly;
use headframe_sinks::StateStore;
use tokio::time::Instant;

use super::modes::{GRACE_US, Modes};
use super::output::Output;
use super::source::{Source, SourceTable};
use super::watched::{Checkpoint, Match, Watched, Written};
use crate::clock::now_us;
use crate::fault::PipelineFault;
use crate::pipeline::Context;

/// The version of the checkpoint: another one begins anew.
const VERSION: &str = "detectors-2";
/// Sequences that are read in one step.
const STEP: i64 = 4_000;
/// Pauses of a rollup between two checkpoints: a minute by default.
const CHECKPOINT_PAUSES: u64 = 12;
/// How far before the newest row the first start begins, in microseconds: eight days, so that every
/// hour of the week is met.
const FIRST_REACH_US: i64 = 8 * 86_400_000_000;

/// One source on its way.
pub(super) struct Follower {
    source: SourceTable,
    store: StateStore,
    watched: Watched,
    written: Written,
    /// Rows found at or before this sequence are not written: what they would say was written by
    /// another version.
    silent_through: Option<i64>,
    saved_seq: i64,
    saved_at: Instant,
    /// When the end of the table was reached for the first time.
    caught_up: Option<Instant>,
    /// Rows that wait until the commands that hold for them are known.
    gate: Option<Gate>,
}

/// Rows of the source, and the commands that must be read before they are judged.
#[derive(Debug, Clone, Copy)]
struct Gate {
    /// The last of the rows.
    through: i64,
    opened: Instant,
    /// The last of the commands, once each was stored that may hold for the rows.
    commands: Option<i64>,
    /// When the stream held nothing beyond the rows, microseconds since 1970.
    held_all_at: Option<i64>,
}

/// Whether there is more to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is.
    Behind,
    /// There is not.
    CaughtUp,
}

impl Follower {
    /// Goes on from the newest checkpoint; without one begins eight days before the newest row.
    /// `None` while the table has no rows.
    pub(super) async fn recover(
        context: &Context,
        source: &'static Source,
        output: &Output,
    ) -> Result<Option<Self>, PipelineFault> {
        let name = source.stream.name();
        let source = SourceTable::open(&context.lake, source);
        let snapshot = source.table.refresh().await?;
        let Some(offset) = snapshot.offset else {
            return Ok(None);
        };
        let store = StateStore::new(
            context.lake.table("anomalies"),
            &format!("{VERSION}-{name}"),
        );
        let checkpoint = match store.load(offset).await? {
            Some((_, bytes)) => serde_json::from_slice::<Checkpoint>(&bytes)
                .inspect_err(|error| tracing::warn!(name, %error, "checkpoint passed over"))
                .ok(),
            None => None,
        };
        let (watched, written, silent_through) = match checkpoint {
            Some(found) if found.config == context.anomalies => {
                let rows = output.rows_after(name, found.written_through).await?;
                (found.watched, rows, None)
            }
            Some(found) => (found.watched, Vec::new(), output.last_input(name).await?),
            None => {
                let since = now_us() - FIRST_REACH_US;
                let before = source.seq_before(&snapshot, since).await?;
                let watched = Watched::new(name, before.unwrap_or(offset));
                (watched, Vec::new(), output.last_input(name).await?)
            }
        };
        tracing::info!(
            source = name,
            after = watched.seq,
            signals = watched.count(),
            found_again = written.len(),
            "anomalies go on"
        );
        let mut follower = Self {
            source,
            store,
            saved_seq: watched.seq,
            watched,
            written: Written::new(written),
            silent_through,
            saved_at: Instant::now(),
            caught_up: None,
            gate: None,
        };
        if follower.silent_through.is_none() {
            // What comes from here on is found again only from here.
            follower.save(context, output).await?;
        }
        Ok(Some(follower))
    }

    /// One step forward.
    pub(super) async fn advance(
        &mut self,
        context: &Context,
        modes: &mut Modes,
        output: &mut Output,
    ) -> Result<Progress, PipelineFault> {
        let config = &context.anomalies;
        while let Some(now) = self.written.is_at_tick(self.watched.seq) {
            let rows = self.watched.tick(now, config);
            if rows.is_empty() {
                self.begin_silence(output).await?;
            }
            self.write(rows, output).await?;
        }
        let snapshot = self.source.table.refresh().await?;
        let newest = snapshot.offset.unwrap_or(self.watched.seq);
        let through = self.judgeable(newest, context, modes).await?;
        let mut last = through.min(self.watched.seq + STEP);
        if let Some((tick, _)) = self.written.next_tick() {
            last = last.min(tick.max(self.watched.seq));
        }
        if let Some(silent) = self.silent_through {
            last = last.min(silent.max(self.watched.seq));
        }
        if last > self.watched.seq {
            let mut readings = self
                .source
                .readings(&snapshot, self.watched.seq, last)
                .await?;
            let mut rows = Vec::new();
            for reading in &mut readings {
                reading.sample.mode = modes.mode(reading);
                rows.extend(self.watched.take(reading, config));
            }
            self.watched.seq = last;
            self.write(rows, output).await?;
        }
        if self.written.is_behind(self.watched.seq) {
            self.begin_silence(output).await?;
        }
        self.end_silence(output).await?;
        metrics::gauge!("headframe_anomalies_offset", "table" => self.name())
            .set(self.watched.seq as f64);
        metrics::gauge!("headframe_anomalies_signals", "table" => self.name())
            .set(self.watched.count() as f64);
        metrics::gauge!("headframe_anomalies_refused_readings", "table" => self.name())
            .set(self.watched.refused() as f64);
        let pause = Duration::from_millis(context.config.rollup_ms * CHECKPOINT_PAUSES);
        if self.saved_at.elapsed() >= pause && self.saved_seq < self.watched.seq {
            self.save(context, output).await?;
        }
        match self.watched.seq < through {
            true => Ok(Progress::Behind),
            false if self.watched.seq < newest => Ok(Progress::CaughtUp),
            false => {
                self.caught_up.get_or_insert_with(Instant::now);
                Ok(Progress::CaughtUp)
            }
        }
    }

    /// The last row that can be judged: one whose commands are known. Where no command was ever
    /// given that is the newest.
    async fn judgeable(
        &mut self,
        newest: i64,
        context: &Context,
        modes: &mut Modes,
    ) -> Result<i64, PipelineFault> {
        if newest <= self.watched.seq {
            return Ok(newest);
        }
        let open = self.gate.filter(|gate| gate.through > self.watched.seq);
        let mut gate = match open {
            Some(gate) => gate,
            None => {
                let now = now_us();
                let holds_all = self.holds_all(context, newest).await?;
                Gate {
                    through: newest,
                    opened: Instant::now(),
                    commands: None,
                    held_all_at: holds_all.then_some(now),
                }
            }
        };
        if gate.commands.is_none() {
            let Some(commands) = modes.newest(context).await? else {
                return Ok(newest);
            };
            let grace = Duration::from_micros(GRACE_US.unsigned_abs());
            if gate.opened.elapsed() >= grace {
                gate.commands = Some(commands);
            }
        }
        let is_known = match gate.commands {
            Some(commands) => modes.read().await? >= commands,
            None => false,
        };
        self.gate = Some(gate);
        Ok(if is_known {
            gate.through
        } else {
            self.watched.seq
        })
    }

    /// Judges silence now: once every row that the stream holds was taken in, and devices had the
    /// time to be heard since the start.
    pub(super) async fn tick(
        &mut self,
        context: &Context,
        output: &mut Output,
    ) -> Result<(), PipelineFault> {
        let patience = Duration::from_secs(context.anomalies.missing_after_s);
        let is_ready = self
            .caught_up
            .is_some_and(|since| since.elapsed() >= patience)
            && self.written.is_empty()
            && self.silent_through.is_none();
        if !is_ready {
            return Ok(());
        }
        let now = match self.gate.take() {
            Some(gate) if gate.through > self.watched.seq => {
                self.gate = Some(gate);
                return Ok(());
            }
            Some(Gate {
                held_all_at: Some(at),
                ..
            }) => at,
            _ if self.holds_all(context, self.watched.seq).await? => now_us(),
            _ => return Ok(()),
        };
        let now = now.max(self.watched.clock());
        let rows = self.watched.tick(now, &context.anomalies);
        self.write(rows, output).await
    }

    /// Whether every message of the stream is among the rows through a sequence: one that waits for
    /// a commit is no silence.
    async fn holds_all(&self, context: &Context, through: i64) -> Result<bool, PipelineFault> {
        let found = inspect_stream(&context.nats.js, self.source.source.stream).await?;
        let base = self
            .source
            .table
            .refresh()
            .await?
            .binding
            .map_or(0, |binding| binding.base);
        let last = found.map_or(0, |found| i64::try_from(found.last_seq).unwrap_or(i64::MAX));
        Ok(through >= base.saturating_add(last))
    }

    fn name(&self) -> &'static str {
        self.source.source.stream.name()
    }

    async fn write(
        &mut self,
        rows: Vec<Anomaly>,
        output: &mut Output,
    ) -> Result<(), PipelineFault> {
        if self.silent_through.is_some() {
            return Ok(());
        }
        match self.written.next(rows) {
            Match::New(rows) => output.append(&rows).await,
            Match::Different => self.begin_silence(output).await,
        }
    }

    /// What was written is not what is found: it was another program, or other limits. Nothing more
    /// is written until beyond it.
    async fn begin_silence(&mut self, output: &Output) -> Result<(), PipelineFault> {
        tracing::warn!(
            source = self.name(),
            after = self.watched.seq,
            "rows of anomalies differ from what the readings lead to; open ones are compared"
        );
        self.written = Written::default();
        self.silent_through = output.last_input(self.name()).await?;
        Ok(())
    }

    /// Beyond what another version wrote, what is open is made the same on both sides.
    async fn end_silence(&mut self, output: &mut Output) -> Result<(), PipelineFault> {
        let is_beyond = self
            .silent_through
            .is_some_and(|silent| self.watched.seq >= silent);
        if is_beyond {
            self.silent_through = None;
            let open = output.open_rows(self.name()).await?;
            let ends = self.watched.reconcile(&open);
            output.append(&ends).await?;
        }
        Ok(())
    }

    async fn save(&mut self, context: &Context, output: &Output) -> Result<(), PipelineFault> {
        if !self.written.is_empty() || self.silent_through.is_some() {
            return Ok(());
        }
        let checkpoint = Checkpoint {
            config: context.anomalies.clone(),
            written_through: output.written_through(),
            watched: self.watched.clone(),
        };
        let fault = PipelineFault::plan("saving a checkpoint", "anomalies");
        let bytes = serde_json::to_vec(&checkpoint).map_err(fault)?;
        self.store.save(self.watched.seq, &bytes).await?;
        (self.saved_seq, self.saved_at) = (self.watched.seq, Instant::now());
        Ok(())
    }
}
