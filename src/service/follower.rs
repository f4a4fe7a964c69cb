//! The tail of a stream in a process without its pipeline: it follows the stream and lets go of
//! what others commit.
//!
//! It begins with the decoder's state of a committed version, so that it makes the very rows the
//! pipeline will commit, and begins again when the table moved away from under it: bound to another
//! stream, or far ahead.

use std::sync::Arc;
use std::time::Duration;

use headframe_ingest::{DecoderState, ExpectedStream, ReadFrom, follow_stream, inspect_stream};
use headframe_ingest::{Nats, ReadFault};
use headframe_pipelines::StreamHandle;
use headframe_pipelines::pipeline::raw_table;
use headframe_schemas::Table;
use headframe_sinks::{Lake, Snapshot, SnapshotReader, StreamBinding};
use tokio_util::sync::CancellationToken;

use crate::service::acknowledged::{Acknowledged, recreated};
use crate::service::faults::{Faults, TaskKind};

/// Pause between looks at the table.
const LOOK: Duration = Duration::from_millis(250);
/// Pause before a fault is looked at again: an operator may have decided.
const AGAIN: Duration = Duration::from_secs(1);
/// Messages the table may be ahead of this process before it begins anew from the table's state.
const AHEAD: i64 = 50_000;
/// How often a state that was just replaced is looked for before the table's rows are replayed.
const STATE_LOOKS: usize = 5;

/// Follows one stream.
pub struct Follower {
    /// The connection.
    pub nats: Nats,
    /// The tables.
    pub lake: Lake,
    /// Where the rows go.
    pub handle: Arc<StreamHandle>,
    /// Who must know to which stream the table is bound.
    pub acknowledged: Arc<Acknowledged>,
    /// Where faults are told.
    pub faults: Faults,
}

/// A committed version to begin from.
struct Begin {
    binding: StreamBinding,
    /// The table is complete through here.
    offset: i64,
    state: DecoderState,
}

impl Follower {
    /// Follows until stopped. No fault ends it: each is told, and looked at again.
    pub async fn run(self, stop: CancellationToken) {
        let name = self.handle.stream.name();
        let table = SnapshotReader::open(&self.lake, Table::raw(self.handle.stream));
        let mut bound = None;
        let work = async {
            loop {
                if let Err(why) = self.round(&table, &mut bound).await {
                    self.faults.record(TaskKind::Tail, name, &why);
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    /// From one beginning to the next, or to a fault.
    async fn round(
        &self,
        table: &SnapshotReader,
        bound: &mut Option<StreamBinding>,
    ) -> Result<(), String> {
        let begin = self.begin(table).await?;
        if bound.is_some_and(|bound| bound != begin.binding) {
            // The same numbers mean other messages now.
            self.handle.tail.reset(begin.offset);
        }
        *bound = Some(begin.binding);
        self.handle.set_base(begin.binding.base);
        self.acknowledged.bind(begin.binding);
        self.committed(begin.offset);
        let (binding, offset) = (begin.binding, begin.offset);
        tokio::select! {
            fault = self.follow(begin) => Err(fault.map_or_else(|| "it ended".to_owned(),
                |fault| fault.to_string())),
            () = self.watch(table, binding, offset) => Ok(()),
        }
    }

    async fn begin(&self, table: &SnapshotReader) -> Result<Begin, String> {
        let stream = self.handle.stream;
        let identity = inspect_stream(&self.nats.js, stream)
            .await
            .map_err(|error| error.to_string())?;
        let identity =
            identity.ok_or_else(|| format!("stream {} does not exist", stream.name()))?;
        let mut snapshot = table.refresh().await.map_err(|error| error.to_string())?;
        for _ in 0..STATE_LOOKS {
            let Some(offset) = snapshot.offset else { break };
            let saved = raw_table::store(&self.lake, stream)
                .load(offset)
                .await
                .map_err(|error| error.to_string())?;
            if saved.is_some() {
                break;
            }
            // Only the newest few states are kept: commits may have overtaken this look.
            tokio::time::sleep(LOOK).await;
            snapshot = table.refresh().await.map_err(|error| error.to_string())?;
        }
        let binding = snapshot.binding.unwrap_or(StreamBinding {
            created_ns: identity.created_ns,
            base: 0,
        });
        if binding.created_ns != identity.created_ns {
            self.seen(&snapshot, binding);
            return Err(recreated(stream));
        }
        let state = raw_table::state(&self.lake, stream, binding.base, snapshot.offset)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Begin {
            binding,
            offset: snapshot.offset.unwrap_or(binding.base),
            state,
        })
    }

    /// Reads and decodes; `None` never comes, because nothing cancels it but being dropped.
    async fn follow(&self, begin: Begin) -> Option<ReadFault> {
        let Begin {
            binding,
            offset,
            state,
        } = begin;
        let expect = ExpectedStream {
            created_ns: Some(binding.created_ns),
            last_message: state.last_message.clone(),
        };
        let from = ReadFrom {
            next: u64::try_from(offset - binding.base + 1).unwrap_or(1),
            expect,
        };
        let (nats, tail) = (self.nats.clone(), self.handle.tail.clone());
        follow_stream(
            nats,
            self.handle.stream,
            binding.base,
            from,
            state,
            tail,
            CancellationToken::new(),
        )
        .await
        .err()
    }

    /// Lets go of what is committed, until the beginning no longer holds.
    async fn watch(&self, table: &SnapshotReader, binding: StreamBinding, began: i64) {
        let name = self.handle.stream.name();
        loop {
            tokio::time::sleep(LOOK).await;
            let snapshot = match table.refresh().await {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    tracing::debug!(table = name, %error, "table cannot be read, trying again");
                    continue;
                }
            };
            // It still runs after a pause, so whatever was wrong is not any more.
            self.faults.clear(TaskKind::Tail, name);
            if !self.seen(&snapshot, binding) {
                tracing::warn!(table = name, "table was bound anew, beginning again");
                return;
            }
            let reached = self.handle.tail.pushed().max(began);
            if snapshot
                .offset
                .is_some_and(|offset| offset - reached > AHEAD)
            {
                tracing::info!(
                    table = name,
                    reached,
                    "table is far ahead, beginning again from there"
                );
                return;
            }
        }
    }

    /// Notes how far a version is complete; false when it is bound to another stream than this.
    fn seen(&self, snapshot: &Snapshot, binding: StreamBinding) -> bool {
        if snapshot.binding.is_some_and(|found| found != binding) {
            return false;
        }
        if let Some(offset) = snapshot.offset {
            self.committed(offset);
        }
        true
    }

    fn committed(&self, offset: i64) {
        self.handle.tail.committed(offset);
        self.handle.committed.send_replace(offset);
    }
}
