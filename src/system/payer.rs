//! The payer as a task of this process: opened when tables and streams are there, then left to itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use headframe_ingest::{Nats, StreamSettings};
use headframe_pipelines::Payer;
use headframe_pipelines::payment::lake::LakeJournal;
use headframe_pipelines::payment::{PaymentConfig, StateHandle};
use headframe_sinks::wallet::vault::{FolderVault, Vault};
use headframe_sinks::{Lake, Wallet};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Pause before the journal is opened again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a payer is made of.
pub struct Opened {
    config: PaymentConfig,
    settings: StreamSettings,
    lake: Lake,
    nats: Nats,
    wallet: Arc<dyn Wallet>,
    vault: Arc<dyn Vault>,
    state: StateHandle,
}

/// Checks what can be checked at the start; the wallet itself may come later.
pub fn open(config: &Config, lake: &Lake, nats: &Nats, state: StateHandle) -> anyhow::Result<Opened> {
    let wallet = config.payments.wallet.open()?.context("payments.wallet.kind is none")?;
    let vault = FolderVault::open(&config.data_dir.join("payments"))?;
    Ok(Opened {
        config: config.payments.clone(),
        settings: config.streams.clone(),
        lake: lake.clone(),
        nats: nats.clone(),
        wallet,
        vault: Arc::new(vault),
        state,
    })
}

impl Opened {
    /// Pays until shutdown.
    pub async fn run(self, stop: CancellationToken) {
        let Self { config, settings, lake, nats, wallet, vault, state } = self;
        loop {
            match LakeJournal::open(&lake, nats.clone(), &settings, &config.pool).await {
                Ok(journal) => return Payer::new(config, journal, wallet, vault, state).run(stop).await,
                Err(error) => tracing::warn!(%error, "payments cannot begin, trying again"),
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}
