//! What the payer does now, for probes, metrics and the page that says why somebody is not paid.

use std::sync::Arc;

use tokio::sync::watch;

/// A moment of the payer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PayerState {
    /// A rule that does not hold, by name and in words: nobody is paid until an operator has decided.
    pub stopped: Option<(&'static str, String)>,
    /// Why nothing moves just now, e.g. a locked wallet.
    pub waiting: Option<String>,
    /// Whether payments are only named.
    pub dry_run: bool,
    /// Who would be paid now, and how much in atomic units; the first thousand.
    pub due: Vec<(String, i128)>,
    /// Addresses that the wallet refuses, and why.
    pub refused: Vec<(String, String)>,
    /// When this was true, microseconds since 1970; 0 before the first look.
    pub at: i64,
}

/// Tells and hears what the payer does.
#[derive(Debug, Clone)]
pub struct StateHandle(Arc<watch::Sender<PayerState>>);

impl Default for StateHandle {
    fn default() -> Self {
        Self(Arc::new(watch::channel(PayerState::default()).0))
    }
}

impl StateHandle {
    /// The newest.
    pub fn get(&self) -> PayerState {
        self.0.borrow().clone()
    }

    pub(crate) fn set(&self, state: PayerState) {
        metrics::gauge!("headframe_payments_stopped").set(f64::from(u8::from(state.stopped.is_some())));
        metrics::gauge!("headframe_payments_waiting").set(f64::from(u8::from(state.waiting.is_some())));
        metrics::gauge!("headframe_payments_due_accounts").set(state.due.len() as f64);
        self.0.send_replace(state);
    }
}
