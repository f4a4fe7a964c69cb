//! One stream as this process has it: the rows that no commit holds yet, and how far JetStream is.

use std::sync::Arc;

use headframe_ingest::Nats;
use headframe_pipelines::StreamHandle;
use headframe_schemas::{Table, stream};
use headframe_sinks::{Lake, SnapshotReader};

use crate::config::Config;
use crate::service::acknowledged::Acknowledged;
use crate::service::faults::Faults;

/// One stream in this process.
#[derive(Clone)]
pub struct LocalStream {
    /// Rows after the last commit.
    pub handle: Arc<StreamHandle>,
    /// The last sequence that JetStream acknowledged.
    pub acknowledged: Arc<Acknowledged>,
}

impl LocalStream {
    /// Every stream there is, from where its table is now.
    pub async fn open_all(
        lake: &Lake,
        nats: &Nats,
        config: &Config,
        faults: &Faults,
    ) -> anyhow::Result<Vec<Self>> {
        let mut streams = Vec::new();
        for stream in stream::ALL {
            let snapshot = SnapshotReader::open(lake, Table::raw(*stream))
                .refresh()
                .await?;
            let base = snapshot.binding.map_or(0, |binding| binding.base);
            let after = snapshot.offset.unwrap_or(base);
            let handle = StreamHandle::new(*stream, after, &config.pipelines);
            handle.set_base(base);
            let acknowledged = Acknowledged::new(nats.clone(), lake, *stream, faults.clone());
            streams.push(Self {
                handle,
                acknowledged: Arc::new(acknowledged),
            });
        }
        Ok(streams)
    }
}
