//! The payment service: where the HTTP server hands in instructions about payments and reads what
//! the payer does.

use async_trait::async_trait;
use headframe_schemas::stream::instructions::Instruction;

/// What the payer of this process does now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PayerStatus {
    /// The rule that the ledger breaks, as a sentence: nobody is paid.
    pub stopped: Option<String>,
    /// Why no payment is made just now.
    pub waiting: Option<String>,
    /// Whether payments are only listed and never sent.
    pub dry_run: bool,
    /// Who would be paid now, and how much, atomic units.
    pub due: Vec<(String, i128)>,
    /// Addresses that the wallet refuses, and why.
    pub refused: Vec<(String, String)>,
    /// Accounts that an operator holds, and why.
    pub held: Vec<(String, String)>,
    /// The wallet's money beside what the ledger owes, when the wallet answered.
    pub wallet: Option<WalletStatus>,
    /// Microseconds since 1970.
    pub at: i64,
}

/// The wallet's money beside what the ledger owes, atomic units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalletStatus {
    /// What the wallet could spend at once.
    pub unlocked: u128,
    /// All that it has.
    pub total: u128,
    /// What it must have for everybody to be paid.
    pub owed: u128,
    /// What is missing, as a sentence.
    pub shortage: Option<String>,
}

/// The rules that instructions and answers need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentRules {
    /// The pool that is paid for.
    pub pool: String,
    /// The pool's own threshold, atomic units.
    pub threshold_atomic: i128,
    /// The least that a miner may set.
    pub least_threshold_atomic: i128,
    /// The most that a miner may set.
    pub most_threshold_atomic: i128,
    /// Seconds between two payments to one miner.
    pub interval_s: u64,
}

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
