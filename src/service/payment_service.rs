//! The payment service of a process with the role query: instructions go into the stream,
//! signatures to the wallet.

use std::sync::Arc;

use async_trait::async_trait;
use headframe_ingest::Publisher;
use headframe_pipelines::PaymentConfig;
use headframe_pipelines::payment::{self, PayerStateHandle};
use headframe_query_front::{PaymentService, PaymentServiceError};
use headframe_schemas::payment::{PayerStatus, PaymentRules};
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
        self.config.rules()
    }

    fn payer(&self) -> Option<PayerStatus> {
        Some(self.payer.as_ref()?.get())
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
