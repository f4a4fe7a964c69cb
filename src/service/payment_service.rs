//! The payment service of a process with the role query: instructions go into the stream,
//! signatures to the wallet.

use std::sync::Arc;

use async_trait::async_trait;
use headframe_ingest::Publisher;
use headframe_pipelines::PaymentConfig;
use headframe_pipelines::payment::{self, PayerStateHandle};
use headframe_query_front::{
    PayerStatus, PaymentRules, PaymentService, PaymentServiceError, WalletStatus,
};
use headframe_schemas::stream::instructions::Instruction;
use headframe_sinks::Wallet;

/// What it needs.
pub struct StreamPaymentService {
    /// The rules.
    pub config: PaymentConfig,
    /// Where instructions go.
    pub publisher: Publisher,
    /// Who knows signatures.
    pub wallet: Option<Arc<dyn Wallet>>,
    /// The payer, when this process runs it.
    pub payer: Option<PayerStateHandle>,
}

#[async_trait]
impl PaymentService for StreamPaymentService {
    fn rules(&self) -> PaymentRules {
        PaymentRules {
            pool: self.config.pool.clone(),
            threshold_atomic: self.config.threshold_atomic.into(),
            least_threshold_atomic: self.config.least_threshold_atomic.into(),
            most_threshold_atomic: self.config.most_threshold_atomic.into(),
            interval_s: self.config.interval_s,
        }
    }

    fn payer(&self) -> Option<PayerStatus> {
        let state = self.payer.as_ref()?.get();
        Some(PayerStatus {
            stopped: state.stopped.map(|(rule, why)| format!("{rule}: {why}")),
            waiting: state.waiting,
            dry_run: state.dry_run,
            due: state.due,
            refused: state.refused,
            held: state.held,
            wallet: state.wallet_balance.map(|balance| WalletStatus {
                unlocked: balance.unlocked,
                total: balance.total,
                owed: balance.owed,
                shortage: balance.shortage(),
            }),
            at: state.at,
        })
    }

    async fn instruct(&self, instruction: Instruction) -> Result<(), PaymentServiceError> {
        self.publisher
            .record(&instruction)
            .await
            .map(|_| ())
            .map_err(|error| PaymentServiceError::Unavailable(error.to_string()))
    }

    fn threshold_text(&self, address: &str, threshold_atomic: u64, time_s: i64) -> String {
        payment::threshold_text(&self.config.pool, address, threshold_atomic, time_s)
    }

    async fn verify(
        &self,
        address: &str,
        text: &str,
        signature: &str,
    ) -> Result<bool, PaymentServiceError> {
        let Some(wallet) = &self.wallet else {
            return Err(PaymentServiceError::Unavailable(
                "no wallet is configured that could check a signature".to_owned(),
            ));
        };
        wallet
            .verify(address, text, signature)
            .await
            .map_err(|error| PaymentServiceError::Unavailable(error.to_string()))
    }
}
