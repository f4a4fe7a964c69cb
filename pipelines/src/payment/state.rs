//! What the payer does now, for probes, metrics and the page that says why somebody is not paid.

use std::sync::Arc;

use tokio::sync::watch;

use crate::payment::journal::JournalError;

/// The rule that the stream `payments` is the one that the table goes on from.
pub(crate) const RULE_STREAM: &str = "stream";
/// The rule that every signed transaction that is kept belongs to a payment in the ledger.
pub(crate) const RULE_SIGNED: &str = "kept";

/// The wallet's money beside what the ledger owes, atomic units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalletBalance {
    /// What the wallet could spend at once.
    pub unlocked: u128,
    /// All that it has.
    pub total: u128,
    /// What it must have for everybody to be paid: mature balances, the fee, payments that are
    /// reserved or under review.
    pub owed: u128,
}

impl WalletBalance {
    /// How much is missing.
    pub fn shortfall(&self) -> u128 {
        self.owed.saturating_sub(self.total)
    }

    /// The same in words; nothing when nothing is missing.
    pub fn shortage(&self) -> Option<String> {
        let Self { total, owed, .. } = self;
        (self.shortfall() > 0).then(|| {
            format!(
                "the wallet holds {total} atomic units and the ledger owes {owed}: {} are \
                missing; find out where they are",
                self.shortfall()
            )
        })
    }
}

/// A moment of the payer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PayerState {
    /// A rule that does not hold, by name and in words: nobody is paid until an operator has
    /// decided.
    pub stopped: Option<(&'static str, String)>,
    /// Why nothing moves just now, e.g. a locked wallet.
    pub waiting: Option<String>,
    /// Whether payments are only named.
    pub dry_run: bool,
    /// Who would be paid now, and how much in atomic units; the first thousand.
    pub due: Vec<(String, i128)>,
    /// Addresses that the wallet refuses, or refused to pay and nobody has resumed since, and why;
    /// the first thousand.
    pub refused: Vec<(String, String)>,
    /// Accounts that an operator holds, and why; the first thousand.
    pub held: Vec<(String, String)>,
    /// What the wallet has and owes, by its last answer of about a minute; nothing when it did not
    /// answer.
    pub wallet_balance: Option<WalletBalance>,
    /// When this was true, microseconds since 1970; 0 before the first look.
    pub at: i64,
}

/// Tells and hears what the payer does.
#[derive(Debug, Clone)]
pub struct PayerStateHandle(Arc<watch::Sender<PayerState>>);

impl Default for PayerStateHandle {
    fn default() -> Self {
        Self(Arc::new(watch::channel(PayerState::default()).0))
    }
}

impl PayerStateHandle {
    /// The newest.
    pub fn get(&self) -> PayerState {
        self.0.borrow().clone()
    }

    /// Tells that the payer cannot begin: it waits, or is stopped until an operator has decided.
    pub fn cannot_begin(&self, error: &JournalError, at: i64) {
        let why = error.to_string();
        self.set(match error {
            JournalError::Inconsistent(_) => PayerState {
                stopped: Some((RULE_STREAM, why)),
                at,
                ..PayerState::default()
            },
            _ => PayerState {
                waiting: Some(why),
                at,
                ..PayerState::default()
            },
        });
    }

    pub(crate) fn set(&self, state: PayerState) {
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
