//! Where the payer reads facts and writes its own.

use futures::future::BoxFuture;
use headframe_schemas::stream::payments::Payment;

use crate::payment::ledger::Ledger;

/// Why the journal could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Nothing was written: somebody else wrote before.
    #[error("somebody else wrote to the stream payments: {0}; only one process may pay")]
    Conflict(String),
    /// It may have been written or not; reading tells.
    #[error("whether a step of a payment was written is not known yet: {0}")]
    Unknown(String),
    /// Nothing was written, and nothing may be until an operator has decided: the stream is not the
    /// one that the table goes on from, or it has lost messages, so that payments which were made
    /// may be missing.
    #[error("the stream payments cannot be trusted: {0}")]
    Inconsistent(String),
    /// Nothing was written, or nothing could be read.
    #[error("the facts about payments cannot be read or written: {0}")]
    Unavailable(String),
}

/// Facts in, facts out.
///
/// Futures are boxed by hand for the reason given at [`Pipeline`](crate::pipeline::Pipeline).
pub trait Journal: Send {
    /// Hands over every fact that was not handed over yet. Afterwards the ledger knows everything
    /// that was ever written to `payments`, and of `payouts` and `instructions` at least all that
    /// those payments rest on.
    fn catch_up<'a>(
        &'a mut self,
        ledger: &'a mut Ledger,
    ) -> BoxFuture<'a, Result<(), JournalError>>;

    /// Writes one step of a payment durably, if nothing was written to `payments` that the ledger
    /// does not know. The rows are not handed over again.
    fn append<'a>(&'a mut self, rows: &'a [Payment]) -> BoxFuture<'a, Result<(), JournalError>>;

    /// How many messages `payments` had so far: a number that no two payments share.
    fn position(&self) -> i64;
}
