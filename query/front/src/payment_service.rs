//! The payment service: where the HTTP server hands in instructions about payments and reads what
//! the payer does.

use async_trait::async_trait;
use headframe_schemas::payment::{PayerStatus, PaymentRules};
use headframe_schemas::stream::instructions::Instruction;

/// Why the payment service did not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentServiceError {
    /// The stream or the wallet does not answer; later it may work.
    #[error("{0}")]
    Unavailable(String),
}

/// Takes instructions and tells the payer's state.
#[async_trait]
pub trait PaymentService: Send + Sync {
    /// The rules.
    fn rules(&self) -> PaymentRules;
    /// The payer, when this process runs it.
    fn payer(&self) -> Option<PayerStatus>;
    /// Writes an instruction durably.
    async fn instruct(&self, instruction: Instruction) -> Result<(), PaymentServiceError>;
    /// The text that a miner signs to set its threshold at a time, in seconds since 1970.
    fn threshold_text(&self, address: &str, threshold_atomic: u64, time_s: i64) -> String;
    /// Whether the owner of the address signed the text, as the wallet says.
    async fn verify(
        &self,
        address: &str,
        text: &str,
        signature: &str,
    ) -> Result<bool, PaymentServiceError>;
}
