//! What the payer does now, for probes, metrics and the page that says why somebody is not paid.

use std::sync::Arc;

use headframe_schemas::payment::{PayerStatus, Stopped, WaitCause, Waiting, WalletBalance};
use tokio::sync::watch;

use crate::payment::journal::JournalError;

/// The rule that the stream `payments` is the one that the table goes on from.
pub(crate) const RULE_STREAM: &str = "stream";
/// The rule that every signed transaction that is kept belongs to a payment in the ledger.
pub(crate) const RULE_SIGNED: &str = "kept";

/// Tells and hears what the payer does.
#[derive(Debug, Clone)]
pub struct PayerStateHandle(Arc<watch::Sender<PayerStatus>>);

impl Default for PayerStateHandle {
    fn default() -> Self {
        Self(Arc::new(watch::channel(PayerStatus::default()).0))
    }
}

impl PayerStateHandle {
    /// The newest.
    pub fn get(&self) -> PayerStatus {
        self.0.borrow().clone()
    }

    /// Tells that the payer cannot begin: it waits, or is stopped until an operator has decided.
    pub fn cannot_begin(&self, error: &JournalError, at: i64) {
        let reason = error.to_string();
        self.set(match error {
            JournalError::Inconsistent(_) => PayerStatus {
                stopped: Some(Stopped {
                    rule: RULE_STREAM,
                    reason,
                }),
                at,
                ..PayerStatus::default()
            },
            _ => PayerStatus {
                waiting: Some(Waiting {
                    cause: WaitCause::Other,
                    reason,
                }),
                at,
                ..PayerStatus::default()
            },
        });
    }

    pub(crate) fn set(&self, state: PayerStatus) {
        metrics::gauge!("headframe_payments_stopped")
            .set(f64::from(u8::from(state.stopped.is_some())));
        metrics::gauge!("headframe_payments_waiting")
            .set(f64::from(u8::from(state.waiting.is_some())));
        metrics::gauge!("headframe_payments_due_accounts").set(state.due.len() as f64);
        metrics::gauge!("headframe_payments_blocked_accounts", "why" => "refused")
            .set(state.refused.len() as f64);
        metrics::gauge!("headframe_payments_blocked_accounts", "why" => "held")
            .set(state.held.len() as f64);
        let figure = |of: fn(&WalletBalance) -> u128| {
            state
                .wallet_balance
                .as_ref()
                .map_or(f64::NAN, |wallet_balance| of(wallet_balance) as f64)
        };
        metrics::gauge!("headframe_payments_wallet_atomic", "what" => "unlocked")
            .set(figure(|wallet_balance| wallet_balance.unlocked));
        metrics::gauge!("headframe_payments_wallet_atomic", "what" => "total")
            .set(figure(|wallet_balance| wallet_balance.total));
        metrics::gauge!("headframe_payments_owed_atomic")
            .set(figure(|wallet_balance| wallet_balance.owed));
        metrics::gauge!("headframe_payments_shortfall_atomic")
            .set(figure(WalletBalance::shortfall));
        self.0.send_replace(state);
    }
}
