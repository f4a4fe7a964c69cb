//! The desk: where the HTTP server hands in instructions about payments and hears what the payer
//! does.

use async_trait::async_trait;
use headframe_schemas::stream::instructions::Instruction;

/// What the payer of this process does now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PayerNow {
    /// The broken rule, in words: nobody is paid.
    pub stopped: Option<String>,
    /// Why nothing moves just now.
    pub waiting: Option<String>,
    /// Whether payments are only named.
    pub dry_run: bool,
    /// Who would be paid now, and how much, atomic units.
    pub due: Vec<(String, i128)>,
    /// Addresses that the wallet refuses, and why.
    pub refused: Vec<(String, String)>,
    /// Accounts that an operator holds, and why.
    pub held: Vec<(String, String)>,
    /// The wallet's money beside what the ledger owes, when the wallet answered.
    pub purse: Option<PurseNow>,
    /// Microseconds since 1970.
    pub at: i64,
}

/// The wallet's money beside what the ledger owes, atomic units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurseNow {
    /// What the wallet could spend at once.
    pub unlocked: u128,
    /// All that it has.
    pub total: u128,
    /// What it must have for everybody to be paid.
    pub owed: u128,
    /// What is missing, in words.
    pub shortage: Option<String>,
}

/// The rules that instructions and answers need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PayRules {
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

/// Why the desk did not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// The stream or the wallet is away; later it may work.
    #[error("{0}")]
    Away(String),
}

/// Hands in and hears.
#[async_trait]
pub trait Desk: Send + Sync {
    /// The rules.
    fn rules(&self) -> PayRules;
    /// The payer, when this process runs it.
    fn payer(&self) -> Option<PayerNow>;
    /// Writes an instruction durably.
    async fn instruct(&self, instruction: Instruction) -> Result<(), DeskError>;
    /// The text that a miner signs to set its threshold at a time, in seconds since 1970.
    fn threshold_text(&self, address: &str, threshold_atomic: u64, time_s: i64) -> String;
    /// Whether the owner of the address signed the text, as the wallet says.
    async fn verify(&self, address: &str, text: &str, signature: &str) -> Result<bool, DeskError>;
}
