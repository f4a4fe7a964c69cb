//! How far JetStream has come, in the sequences of the raw table, or why that cannot be said.
//!
//! A stream that was made anew counts from 1 again: its last sequence compared with the table's
//! would prove nothing, and an answer would be called complete that is not. So the incarnation is
//! compared before the number is used.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use headframe_ingest::{Nats, inspect_stream};
use headframe_query_engine::LastSeq;
use headframe_schemas::{Stream, Table};
use headframe_sinks::{Lake, SnapshotReader, StreamBinding};

use crate::service::faults::Faults;

/// One stream's last acknowledged sequence.
pub struct Acknowledged {
    nats: Nats,
    stream: &'static dyn Stream,
    table: SnapshotReader,
    faults: Faults,
    known: Mutex<Option<StreamBinding>>,
}

impl Acknowledged {
    /// Does no I/O.
    pub fn new(nats: Nats, lake: &Lake, stream: &'static dyn Stream, faults: Faults) -> Self {
        Self {
            nats,
            stream,
            table: SnapshotReader::open(lake, Table::raw(stream)),
            faults,
            known: Mutex::default(),
        }
    }

    /// Says that the table is bound so from now on.
    pub fn bind(&self, binding: StreamBinding) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(binding);
    }

    /// The last sequence, whether or not anybody here reads the stream.
    pub async fn newest(&self) -> Result<i64, String> {
        let name = self.stream.name();
        let identity = inspect_stream(&self.nats.js, self.stream)
            .await
            .map_err(|error| error.to_string())?;
        let identity = identity.ok_or_else(|| {
            format!("stream {name} does not exist; start a process that may make it")
        })?;
        let binding = self.binding(identity.created_ns).await?;
        i64::try_from(identity.last_seq)
            .map(|last| binding.base + last)
            .map_err(|error| error.to_string())
    }

    async fn binding(&self, created_ns: i64) -> Result<StreamBinding, String> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.filter(|known| known.created_ns == created_ns) {
            return Ok(known);
        }
        let snapshot = self
            .table
            .refresh()
            .await
            .map_err(|error| error.to_string())?;
        match snapshot.binding {
            // Nobody has made the table yet; whoever does binds it to this stream.
            None => Ok(StreamBinding {
                created_ns,
                base: 0,
            }),
            Some(binding) if binding.created_ns == created_ns => {
                self.bind(binding);
                Ok(binding)
            }
            Some(_) => Err(recreated(self.stream)),
        }
    }
}

/// What to say of a stream that is not the one its table is bound to.
pub fn recreated(stream: &dyn Stream) -> String {
    let name = stream.name();
    format!(
        "stream {name} was made anew and table {name} still belongs to the old one; restore it, or \
         run `headframe adopt {name}`"
    )
}

#[async_trait]
impl LastSeq for Acknowledged {
    async fn last_seq(&self) -> Result<i64, String> {
        match self.faults.of_stream(self.stream.name()) {
            Some(fault) => Err(fault),
            None => self.newest().await,
        }
    }
}
