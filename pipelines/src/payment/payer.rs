//! The payer: carries payments out between a journal and a wallet, one move at a time, and may die
//! between any two of them.
//!
//! What it knows beside the ledger is little and may be lost: which addresses the wallet takes,
//! since when it looks for a payment in vain, what it reserved itself, and whether it wrote
//! `submitting` itself and has not asked the wallet yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headframe_schemas::stream::payments::Payment;
use headframe_sinks::wallet::signed_tx_store::SignedTxStore;
use headframe_sinks::wallet::{AddressCheck, Wallet, WalletError};
use tokio_util::sync::CancellationToken;

use crate::clock::now_us;
use crate::payment::PaymentConfig;
use crate::payment::journal::{Journal, JournalError};
use crate::payment::ledger::{BrokenRule, Ledger};
use crate::payment::open_payment::PaymentStatus;
use crate::payment::plan;
use crate::payment::signed_tx::SignedTx;
use crate::payment::{PayerStateHandle, WalletBalance};

mod prepare;
mod publish;
mod reserve;
mod send;
pub mod wallet_balance;

/// Why nothing more is done in this round.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PauseReason {
    /// The ledger is wrong.
    #[error(transparent)]
    BrokenRule(#[from] BrokenRule),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The wallet.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// A payment was begun of which nothing is in the ledger.
    #[error(
        "a signed transaction of payment {0} is kept in the folder payments of the data folder, \
        and the ledger has no such payment: find out whether it was sent, have the ledger say so \
        (headframe payments adjust), move the file away, start again"
    )]
    SignedWithoutPayment(String),
    /// Anything else that passes or that an operator ends.
    #[error("{0}")]
    Waiting(String),
}

/// Pays.
pub struct Payer<J> {
    config: PaymentConfig,
    journal: J,
    wallet: Arc<dyn Wallet>,
    vault: Arc<dyn SignedTxStore>,
    ledger: Ledger,
    signed_txs: Vec<SignedTx>,
    /// The payment that this process reserved last.
    last_reserved: Option<String>,
    not_yet_sent: Option<String>,
    missing_since: BTreeMap<String, i64>,
    fitness: BTreeMap<String, AddressCheck>,
    /// When the wallet refused an address by its form, microseconds since 1970: it is asked again
    /// after a while.
    refused_at: BTreeMap<String, i64>,
    /// When the wallet was last asked what it has, and what it answered.
    balance_asked_at: Option<i64>,
    wallet_balance: Option<WalletBalance>,
    state: PayerStateHandle,
}

impl<J: Journal> Payer<J> {
    /// A payer that knows nothing yet; the journal tells it.
    pub fn new(
        config: PaymentConfig,
        journal: J,
        wallet: Arc<dyn Wallet>,
        vault: Arc<dyn SignedTxStore>,
        state: PayerStateHandle,
    ) -> Self {
        Self {
            config,
            journal,
            wallet,
            vault,
            ledger: Ledger::default(),
            signed_txs: Vec::new(),
            last_reserved: None,
            not_yet_sent: None,
            missing_since: BTreeMap::new(),
            fitness: BTreeMap::new(),
            refused_at: BTreeMap::new(),
            balance_asked_at: None,
            wallet_balance: None,
            state,
        }
    }

    /// The same payer, which knows what lay in the vault when it began.
    #[must_use]
    pub fn with_signed_txs(mut self, kept: Vec<SignedTx>) -> Self {
        self.ledger.expect_signed(&kept);
        self.signed_txs = kept;
        self
    }

    /// What the payer knows.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Pays until shutdown, or until the stream turns out to be another one: then the journal must
    /// be opened anew.
    pub async fn run(mut self, stop: CancellationToken) {
        let pause = Duration::from_millis(self.config.poll_ms);
        let mut last_reason = None;
        while !stop.is_cancelled() {
            let now = now_us();
            let result = self.tick(now).await;
            let why = result.as_ref().err().map(ToString::to_string);
            if why != last_reason {
                match &why {
                    Some(why) => tracing::warn!(why, "payments wait"),
                    None => tracing::info!("payments go on"),
                }
                last_reason = why;
            }
            if matches!(
                result,
                Err(PauseReason::Journal(JournalError::Inconsistent(_)))
            ) {
                return;
            }
            // While there is something to do, the next move follows at once.
            if result == Ok(true) {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One round at `now`, microseconds since 1970: looks after every open payment, then begins one
    /// if somebody is due. Answers whether anything was written.
    pub async fn tick(&mut self, now: i64) -> Result<bool, PauseReason> {
        let result = self.run_round(now).await;
        // From ledger that were not read to their end nothing follows.
        if !matches!(result, Err(PauseReason::Journal(_))) {
            self.update_wallet_balance(now).await;
        }
        self.publish_state(result.as_ref().err(), now);
        result
    }

    async fn run_round(&mut self, now: i64) -> Result<bool, PauseReason> {
        self.journal.catch_up(&mut self.ledger).await?;
        self.ledger.check()?;
        if let Some(payment) = self.ledger.signed_without_payment() {
            return Err(PauseReason::SignedWithoutPayment(payment.to_owned()));
        }
        self.missing_since
            .retain(|id, _| self.ledger.open_payment(id).is_some());
        let open: Vec<String> = self
            .ledger
            .open_payments()
            .map(|payment| payment.id.clone())
            .collect();
        let mut wrote = false;
        let mut pause = None;
        for id in open {
            match self.advance(&id, now).await {
                Ok(moved) => wrote |= moved,
                // The wallet may still know of the others; a journal that is away knows of none.
                Err(PauseReason::Journal(error)) => return Err(error.into()),
                Err(other) => pause = pause.or(Some(other)),
            }
            self.ledger.check()?;
        }
        if wrote {
            return Ok(true);
        }
        if let Some(payment) = self
            .ledger
            .open_payments()
            .find(|payment| payment.status != PaymentStatus::Submitted)
        {
            let why = format!(
                "payment {} is {}: {}",
                payment.id,
                payment.status.as_str(),
                payment.reason.as_deref().unwrap_or("not sent yet")
            );
            return Err(pause.unwrap_or(PauseReason::Waiting(why)));
        }
        match (self.reserve_next(now).await, pause) {
            (Ok(false), Some(pause)) => Err(pause),
            (result, _) => result,
        }
    }

    /// One move of an open payment.
    async fn advance(&mut self, id: &str, now: i64) -> Result<bool, PauseReason> {
        let Some(payment) = self.ledger.open_payment(id).cloned() else {
            return Ok(false);
        };
        if let Some(resolution) = self.ledger.resolution(&payment).cloned()
            && let Some(action) = plan::operator_decision(
                &payment,
                resolution.paid,
                resolution.tx_id.as_deref(),
                &resolution.reason,
            )
        {
            return match resolution.paid {
                true => self.execute(&payment, action, None, now).await,
                false => {
                    self.release_resolved(&payment, &resolution, action, now)
                        .await
                }
            };
        }
        if payment.status == PaymentStatus::Reserved {
            return self.prepare(&payment, now).await;
        }
        self.send(&payment, now).await
    }

    /// Writes a step and learns it. Whatever the journal could not promise is read from it in the
    /// next round.
    pub(super) async fn write(&mut self, rows: Vec<Payment>) -> Result<(), PauseReason> {
        self.journal.append(&rows).await?;
        if let Some(first) = rows.first() {
            let (payment, step) = (first.payment.as_str(), first.step.as_str());
            tracing::info!(
                payment,
                step,
                destinations = rows.len(),
                tx_id = first.tx_id,
                "payment"
            );
            metrics::counter!("headframe_payment_steps_total", "step" => first.step.clone())
                .increment(1);
        }
        self.ledger.apply_payment(&rows);
        match rows.first() {
            // What was signed for a payment that is over is not to be sent any more.
            Some(first) if self.ledger.open_payment(&first.payment).is_none() => {
                Ok(self.vault.remove(&first.payment).await?)
            }
            _ => Ok(()),
        }
    }
}
