//! Where the cluster's facts go: to JetStream when it is configured, else into files here.
//!
//! Mining never waits for a fact. Rows go through a bounded queue; with JetStream they are durable
//! in a spool of this machine when it does not answer, and are sent, once, when it does.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use headframe_ingest::{Nats, NatsConfig, NatsError, PublishError};
use headframe_stratum::spool::segments::SpoolError;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cluster::fact::ClusterFact;
use jet_stream::JetStreamFacts;
use local_files::LocalFiles;
use row::FactRow;

mod jet_stream;
mod local_files;
mod row;

/// Rows that wait to be written.
const QUEUE: usize = 16_384;

/// The section `[facts]`: what happens, as rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactsSection {
    /// Where rows are kept, or wait for JetStream; empty keeps none without JetStream.
    pub folder: PathBuf,
    /// Bytes that they may take there: of each stream's file, or of what waits.
    pub max_bytes: u64,
    /// JetStream, which SQL reads from.
    pub nats: Option<NatsConfig>,
}

impl Default for FactsSection {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("coopmine-data/facts"),
            max_bytes: 256 * 1024 * 1024,
            nats: None,
        }
    }
}

impl FactsSection {
    /// Refuses what cannot work: the key, its value and the reason.
    pub fn validate(&self) -> Result<(), (&'static str, String, String)> {
        if self.max_bytes < 1024 * 1024 {
            let reason = "1048576 is the least".to_owned();
            return Err(("facts.max_bytes", self.max_bytes.to_string(), reason));
        }
        let Some(nats) = &self.nats else {
            return Ok(());
        };
        if self.folder.as_os_str().is_empty() {
            let reason = "rows wait there while JetStream is away: name a folder".to_owned();
            return Err(("facts.folder", String::new(), reason));
        }
        let checked = nats.validate();
        checked.map_err(|reason| ("facts.nats", nats.url.clone(), reason))
    }
}

/// Why facts cannot be kept.
#[derive(Debug, Error)]
pub enum FactsError {
    /// The folder, where files are written.
    #[error("cannot keep facts in {path}: {reason}; set facts.folder to a folder of ours")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        reason: std::io::Error,
    },
    /// The folder, where rows wait for JetStream.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// NATS' configuration.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// A row.
    #[error("cannot keep a row: {0}")]
    Row(#[from] PublishError),
}

/// The sending end, which never waits.
#[derive(Debug, Clone)]
pub struct FactQueue {
    rows: mpsc::Sender<FactRow>,
    lost: Arc<AtomicU64>,
    cluster: Arc<str>,
    miner: Arc<str>,
}

impl FactQueue {
    /// Takes facts that happened now.
    pub fn push(&self, facts: Vec<ClusterFact>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_us = i64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(i64::MAX);
        for fact in facts {
            for row in FactRow::rows(fact, &self.cluster, &self.miner, now_us) {
                if self.rows.try_send(row).is_err() {
                    // The first one says it; the number tells the rest.
                    if self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                        tracing::warn!("rows are lost: they come faster than they are written");
                    }
                }
            }
        }
    }

    /// Rows that were lost since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// What writes the rows; to be run.
pub struct FactWriter {
    rows: mpsc::Receiver<FactRow>,
    lost: Arc<AtomicU64>,
    store: FactStore,
}

enum FactStore {
    JetStream(Box<JetStreamFacts>),
    Files(LocalFiles),
    Nowhere,
}

impl FactWriter {
    /// Opens the place. `nats` is a connection that there is already, whose streams are made.
    pub async fn open(
        config: &FactsSection,
        nats: Option<Nats>,
        cluster: &str,
        miner: &str,
    ) -> Result<(FactQueue, Self), FactsError> {
        let store = match (nats, &config.nats) {
            (Some(nats), _) => FactStore::JetStream(Box::new(JetStreamFacts::new(nats, config)?)),
            (None, Some(wanted)) => {
                let facts = JetStreamFacts::connect(wanted, config).await?;
                FactStore::JetStream(Box::new(facts))
            }
            (None, None) if config.folder.as_os_str().is_empty() => FactStore::Nowhere,
            (None, None) => FactStore::Files(LocalFiles::open(&config.folder, config.max_bytes)?),
        };
        let (sender, rows) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let queue = FactQueue {
            rows: sender,
            lost: lost.clone(),
            cluster: cluster.into(),
            miner: miner.into(),
        };
        Ok((queue, Self { rows, lost, store }))
    }

    /// Writes until `stop`, then what still waits.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            mut rows,
            lost,
            store,
        } = self;
        match store {
            FactStore::JetStream(facts) => facts.run(rows, &lost, stop).await,
            FactStore::Files(files) => local_files::run(files, rows, &lost, stop).await,
            FactStore::Nowhere => {
                let thrown_away = async { while rows.recv().await.is_some() {} };
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = thrown_away => {}
                }
            }
        }
    }
}
