//! Facts in JetStream, or in a spool until it answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use headframe_ingest::{
    Nats, NatsConfig, Publisher, PublisherConfig, StreamSettings, provision_stream,
};
use headframe_schemas::Stream;
use headframe_schemas::stream::{commands, hashrate, worker_shares, workers};
use headframe_stratum::spool::SpoolConfig;
use headframe_stratum::spool::durable_queue::Priority;
use headframe_stratum::{DurableFacts, FactError, Spooler};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::row::FactRow;
use super::{FactsError, FactsSection};

/// Rows in flight at once; what comes together goes in one message.
const IN_FLIGHT: usize = 256;
/// Between two tries to make the streams.
const AGAIN: Duration = Duration::from_secs(2);
/// The streams that are written.
const STREAMS: &[&dyn Stream] = &[
    &workers::Workers,
    &worker_shares::WorkerShares,
    &commands::Commands,
    &hashrate::Hashrates,
];

/// Facts on their way to JetStream.
pub(super) struct JetStreamFacts {
    facts: DurableFacts,
    spooler: Spooler,
    /// A connection of our own, whose streams may not be there yet.
    unprovisioned: Option<Nats>,
}

impl JetStreamFacts {
    /// Over a connection that there is, to streams that are there.
    pub(super) fn new(nats: Nats, config: &FactsSection) -> Result<Self, FactsError> {
        let spool = SpoolConfig {
            max_bytes: config.max_bytes,
            ..SpoolConfig::default()
        };
        // A producer of its own: rows are numbered by their producer, and other parts of the
        // process number theirs.
        let publisher = Publisher::new(nats, "coopmine", PublisherConfig::default());
        let folder = config.folder.join("spool");
        let (facts, spooler) = DurableFacts::open(publisher, &spool, &folder)?;
        Ok(Self {
            facts,
            spooler,
            unprovisioned: None,
        })
    }

    /// Over a connection of our own, which may come later.
    pub(super) async fn connect(
        nats: &NatsConfig,
        config: &FactsSection,
    ) -> Result<Self, FactsError> {
        let mut wanted = nats.clone();
        if wanted.name == NatsConfig::default().name {
            "coopmine".clone_into(&mut wanted.name);
        }
        let nats = Nats::connect_in_background(&wanted).await?;
        Ok(Self {
            unprovisioned: Some(nats.clone()),
            ..Self::new(nats, config)?
        })
    }

    /// Writes until `stop`, then what still waits: to the stream, or to the disk.
    pub(super) async fn run(
        self,
        mut rows: mpsc::Receiver<FactRow>,
        lost: &AtomicU64,
        stop: CancellationToken,
    ) {
        let Self {
            facts,
            spooler,
            unprovisioned,
        } = self;
        let written = async {
            let mut flying = FuturesUnordered::new();
            let mut is_closed = false;
            loop {
                tokio::select! {
                    () = stop.cancelled(), if !is_closed => {
                        is_closed = true;
                        rows.close();
                    }
                    Some(kept) = flying.next() => note(kept, lost),
                    row = rows.recv(), if flying.len() < IN_FLIGHT => match row {
                        Some(row) => flying.push(keep(&facts, row)),
                        None => break,
                    },
                }
            }
            while let Some(kept) = flying.next().await {
                note(kept, lost);
            }
            drop(flying);
            // The spooler ends with the last that can send.
            drop(facts);
        };
        let provisioned = async {
            if let Some(nats) = unprovisioned {
                provision(&nats, &stop).await;
            }
        };
        tokio::join!(written, provisioned, spooler.run());
    }
}

async fn keep(facts: &DurableFacts, row: FactRow) -> Result<(), FactError> {
    // Shares are what somebody may be asked about; the rest comes again in a minute.
    match &row {
        FactRow::Share(row) => facts.record(Priority::Normal, &**row).await,
        FactRow::Command(row) => facts.record(Priority::Normal, &**row).await,
        FactRow::Worker(row) => facts.record(Priority::Low, &**row).await,
        FactRow::Hashrate(row) => facts.record(Priority::Low, row).await,
    }
}

fn note(kept: Result<(), FactError>, lost: &AtomicU64) {
    if let Err(error) = kept
        && lost.fetch_add(1, Ordering::Relaxed) == 0
    {
        tracing::warn!(%error, "a row is lost");
    }
}

/// Makes the streams when JetStream is there; rows wait in the spool meanwhile.
async fn provision(nats: &Nats, stop: &CancellationToken) {
    let settings = StreamSettings::default();
    let mut complaint = String::new();
    for stream in STREAMS {
        loop {
            let made = tokio::select! {
                () = stop.cancelled() => return,
                made = provision_stream(&nats.js, *stream, &settings) => made,
            };
            let Err(error) = made else { break };
            let said = error.to_string();
            if said != complaint {
                tracing::warn!(reason = %said, "facts wait in the spool");
                complaint = said;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }
    tracing::info!("facts go to jetstream");
}
