//! What the roles of one process share: connection, tables, streams, faults.

use std::sync::Arc;

use headframe_coopmine::coordinator::Coordinator;
use headframe_coopmine::facts::FactsSection;
use headframe_ingest::{Nats, Publisher, provision_stream};
use headframe_pipelines::UserPipeline;
use headframe_pipelines::payment::PayerStateHandle;
use headframe_schemas::stream;
use headframe_sinks::Lake;
use headframe_stratum::chain::coinbase_tag::CoinbaseKey;
use headframe_stratum::{BoundPool, DurableFacts, Spooler, Stratum, StratumConfig};

use crate::config::{Config, Role};
use crate::service::faults::Faults;
use crate::service::local_stream::LocalStream;

/// What the roles share.
pub struct Components {
    pub config: Config,
    pub nats: Nats,
    pub publisher: Publisher,
    pub faults: Faults,
    /// What the payer does, when this process runs it.
    pub payer: PayerStateHandle,
    /// Where tables are needed: their place, and each stream's rows in this process.
    pub tables: Option<(Lake, Vec<LocalStream>)>,
    /// The pipelines of the user's own.
    pub user_pipelines: Vec<Arc<UserPipeline>>,
}

impl Components {
    /// Opens the tables, connects to NATS and makes the streams that are not there.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        let user_pipelines = config.user_pipelines().map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}", faults.join("; "))
        })?;
        let lake = match config.needs_tables() {
            true => Some(Lake::open(&config.lake_url(), &config.lake.options)?),
            false => None,
        };
        let nats = Nats::connect(&config.nats).await?;
        for stream in stream::ALL {
            provision_stream(&nats.js, *stream, &config.streams).await?;
        }
        let publisher = Publisher::new(nats.clone(), "headframe", config.publisher.clone());
        let faults = Faults::default();
        let tables = match lake {
            Some(lake) => {
                let streams = LocalStream::open_all(&lake, &nats, &config, &faults).await?;
                Some((lake, streams))
            }
            None => None,
        };
        Ok(Self {
            config,
            nats,
            publisher,
            faults,
            payer: PayerStateHandle::default(),
            tables,
            user_pipelines,
        })
    }

    /// The pool, which listens from now on, and what makes its facts durable.
    pub async fn bind_pool(&self) -> anyhow::Result<(BoundPool, Spooler)> {
        let key = self.config.data_dir.join("keys/blocks.key");
        let config = StratumConfig {
            coinbase_key: Some(CoinbaseKey::open(&key)?),
            terms: self.config.payouts.terms(),
            solo_terms: self.config.payouts.solo_terms(),
            ..self.config.stratum.clone()
        };
        let folder = self.config.data_dir.join("stratum/spool");
        let (facts, spooler) = DurableFacts::open(self.publisher.clone(), &config.spool, &folder)?;
        Ok((Stratum::bind(config, Arc::new(facts)).await?, spooler))
    }

    /// The coordinator of workers, which listens from now on, in the role coopmine.
    pub async fn bind_coordinator(&self) -> anyhow::Result<Option<Coordinator>> {
        if !self.runs(Role::Coopmine) {
            return Ok(None);
        }
        let mut config = self.config.coopmine.clone();
        if config.facts.folder == FactsSection::default().folder {
            config.facts.folder = self.config.data_dir.join("coopmine");
        }
        let bound = Coordinator::bind_with(config, Some(self.nats.clone())).await?;
        Ok(Some(bound))
    }

    /// Whether this process has the role.
    pub fn runs(&self, role: Role) -> bool {
        self.config.runs(role)
    }
}
