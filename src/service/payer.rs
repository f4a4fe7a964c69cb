//! The payer as a task of this process: opened when tables and streams are there, then left to
//! itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use headframe_ingest::{Nats, StreamSettings};
use headframe_pipelines::Payer;
use headframe_pipelines::clock::now_us;
use headframe_pipelines::payment::lake_journal::LakeJournal;
use headframe_pipelines::payment::{
    JournalError, PayerStateHandle, PaymentConfig, SignedTx, signed_tx,
};
use headframe_sinks::wallet::signed_tx_store::{SignedTxFolder, SignedTxStore};
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
    vault: Arc<dyn SignedTxStore>,
    /// Where the vault's files are.
    folder: PathBuf,
    state: PayerStateHandle,
}

/// Checks what can be checked at the start; the wallet itself may come later.
pub fn open(
    config: &Config,
    lake: &Lake,
    nats: &Nats,
    state: PayerStateHandle,
) -> anyhow::Result<Opened> {
    let wallet = config
        .payments
        .wallet
        .open()?
        .context("payments.wallet.kind is none")?;
    let folder = config.data_dir.join("payments");
    let vault = SignedTxFolder::open(&folder)?;
    Ok(Opened {
        config: config.payments.clone(),
        settings: config.streams.clone(),
        lake: lake.clone(),
        nats: nats.clone(),
        wallet,
        vault: Arc::new(vault),
        folder,
        state,
    })
}

impl Opened {
    /// Pays until shutdown.
    pub async fn run(self, stop: CancellationToken) {
        let mut said = None;
        while !stop.is_cancelled() {
            let error = match self.begin().await {
                // It ends before shutdown when the stream was replaced under it.
                Ok(payer) => {
                    said = None;
                    payer.run(stop.clone()).await;
                    continue;
                }
                Err(error) => error,
            };
            self.state.cannot_begin(&error, now_us());
            let why = Some(error.to_string());
            if why != said {
                tracing::warn!(%error, "payments cannot begin, trying again");
                said = why;
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn begin(&self) -> Result<Payer<LakeJournal>, JournalError> {
        let pool = &self.config.pool;
        let journal =
            LakeJournal::open(&self.lake, self.nats.clone(), &self.settings, pool).await?;
        let kept: Vec<SignedTx> = signed_tx::list(&self.folder, pool).map_err(|error| {
            JournalError::Unavailable(format!(
                "the folder {} cannot be listed: {error}",
                self.folder.display()
            ))
        })?;
        let (wallet, vault) = (self.wallet.clone(), self.vault.clone());
        Ok(Payer::new(
            self.config.clone(),
            journal,
            wallet,
            vault,
            self.state.clone(),
        )
        .with_signed_txs(kept))
    }
}
