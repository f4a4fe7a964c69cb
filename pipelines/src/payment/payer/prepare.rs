//! From a reservation to the moment before it is sent: who may still go out of it, and why it
//! cannot be sent yet.
//!
//! Nothing of such a payment was sent, as far as the ledger goes. Whatever is taken out of it here
//! goes back to the balances, so that first of all it is made sure that the ledger knows the whole
//! of it.

use headframe_schemas::payment::ReleaseCause;
use headframe_schemas::stream::payments::Payment;
use headframe_sinks::wallet::{Output, PreparedTx, WalletError, WalletTx};

use super::{PauseReason, Payer};
use crate::payment::FeePolicy;
use crate::payment::journal::Journal;
use crate::payment::open_payment::{self, OpenPayment};
use crate::payment::plan;
use crate::payment::signed_tx;

/// A fee is asked for again when the miners' amounts were reduced by it; more often than this it
/// does not settle.
const FEE_ROUNDS: usize = 3;

/// Why a payment could not be made ready.
enum PrepareError {
    /// The wallet says so.
    Wallet(WalletError),
    /// These addresses would get nothing: their part of the network's fee takes it all.
    FeeExceedsBalance(Vec<String>),
}

impl From<WalletError> for PrepareError {
    fn from(error: WalletError) -> Self {
        Self::Wallet(error)
    }
}

impl<J: Journal> Payer<J> {
    /// Makes a reserved payment ready and writes that it is about to be sent; then sends it.
    pub(super) async fn prepare(
        &mut self,
        payment: &OpenPayment,
        now: i64,
    ) -> Result<bool, PauseReason> {
        if let Some(reason) = self.ledger.global_hold() {
            return Err(PauseReason::Waiting(format!("payments are held: {reason}")));
        }
        if self.config.dry_run {
            return Err(PauseReason::Waiting(format!(
                "dry run: payment {} stays reserved",
                payment.id
            )));
        }
        if let Some(rows) = self.lost_steps(payment, now).await? {
            self.write(rows).await?;
            return Ok(true);
        }
        let held = self.held_rows(payment, now);
        if !held.is_empty() {
            self.write(held).await?;
            return Ok(true);
        }
        let (outputs, prepared) = match self.prepare_outputs(payment).await {
            Ok(ready) => ready,
            Err(PrepareError::Wallet(error)) => {
                return self.handle_prepare_error(payment, error, now).await;
            }
            Err(PrepareError::FeeExceedsBalance(addresses)) => {
                // Not at once again: by the next interval its balance may have grown.
                let reason = "the balance does not cover its part of the network's fee";
                let mut rows = payment.released(now, ReleaseCause::NextInterval, reason);
                rows.retain(|row| addresses.contains(&row.address));
                tracing::warn!(
                    payment = payment.id,
                    destinations = rows.len(),
                    reason,
                    "taken out of a payment"
                );
                self.write(rows).await?;
                return Ok(true);
            }
        };
        let tx_id = prepared.tx_id.as_deref();
        if let (Some(signed), Some(tx_id)) = (&prepared.signed, tx_id) {
            let terms = signed_tx::encode_outputs(&outputs, prepared.fee);
            self.vault
                .put(&payment.id, &signed_tx::outputs_name(tx_id), &terms)
                .await?;
            self.vault.put(&payment.id, tx_id, signed).await?;
        }
        self.write(plan::submitting(
            payment,
            &outputs,
            tx_id,
            prepared.fee,
            now,
        ))
        .await?;
        self.not_yet_sent = Some(payment.id.clone());
        let Some(payment) = self.ledger.open_payment(&payment.id).cloned() else {
            return Ok(true);
        };
        self.send(&payment, now).await?;
        Ok(true)
    }

    /// What the ledger should say of a payment that was sent although it is only reserved there, or
    /// that may have been: its later steps were lost with messages of the stream, before the table
    /// had them.
    async fn lost_steps(
        &self,
        payment: &OpenPayment,
        now: i64,
    ) -> Result<Option<Vec<Payment>>, PauseReason> {
        if let Some(found) = self.find_in_history(payment).await? {
            let outputs = plan::outputs(payment, self.config.fee_policy, found.fee);
            tracing::error!(
                payment = payment.id,
                tx_id = found.tx_id,
                "the ledger has forgotten that this payment was sent"
            );
            return Ok(Some(plan::submitting(
                payment,
                &outputs,
                Some(&found.tx_id),
                found.fee,
                now,
            )));
        }
        let kept: Vec<&str> = self.signed_txs_of(payment).collect();
        let review = |tx_id: Option<&str>, reason: &str| {
            Ok(Some(payment.rows_for("review", now, tx_id, Some(reason))))
        };
        match kept.as_slice() {
            _ if payment.stream_replaced => {
                let reason = "it was reserved in a stream that another one has replaced; whether \
                    it was sent may be lost with that one";
                review(kept.last().copied(), reason)
            }
            [] => Ok(None),
            [_] if !self.held_rows(payment, now).is_empty() => review(
                kept.first().copied(),
                "a transaction of it was signed, and perhaps sent, and an account in it is held",
            ),
            [tx_id] => self.resend_signed(payment, tx_id, now).await.map(Some),
            _ => review(
                None,
                "several transactions of it were signed, and it is not known which was sent",
            ),
        }
    }

    /// A transaction was signed for a payment by an earlier process, and nobody knows whether it
    /// was sent: the payment goes on with the very same one, which pays once however often it is
    /// sent. Another one is never made.
    async fn resend_signed(
        &self,
        payment: &OpenPayment,
        tx_id: &str,
        now: i64,
    ) -> Result<Vec<Payment>, PauseReason> {
        let signed = self.vault.get(&payment.id, tx_id).await?;
        let terms = self
            .vault
            .get(&payment.id, &signed_tx::outputs_name(tx_id))
            .await?;
        match terms.and_then(|terms| signed_tx::decode_matching_outputs(&terms, payment)) {
            Some((outputs, fee)) if signed.is_some() => {
                tracing::warn!(
                    payment = payment.id,
                    tx_id,
                    "goes on with the transaction that was signed before the start"
                );
                Ok(plan::submitting(payment, &outputs, Some(tx_id), fee, now))
            }
            _ => {
                let reason = "a transaction that was signed for it before, and perhaps sent, is \
                    gone or pays something else than what is reserved now";
                Ok(payment.rows_for("review", now, Some(tx_id), Some(reason)))
            }
        }
    }

    /// The transactions that were signed for a payment before this process began.
    fn signed_txs_of<'a>(&'a self, payment: &OpenPayment) -> impl Iterator<Item = &'a str> {
        let name = signed_tx::file_name(&payment.id);
        self.signed_txs
            .iter()
            .filter(move |one| one.payment == name)
            .map(|one| one.tx_id.as_str())
    }

    /// What the wallet's history has of a payment, by every name that it may have there. One that
    /// this process has reserved and taken no further has none; of any other, steps may have been
    /// lost with a stream.
    pub(super) async fn find_in_history(
        &self,
        payment: &OpenPayment,
    ) -> Result<Option<WalletTx>, PauseReason> {
        let kept = self
            .signed_txs_of(payment)
            .filter(|kept| payment.tx_id.as_deref() != Some(*kept));
        // Without the name of a transaction, some wallets know it by ours.
        let by_ours = payment.status != super::PaymentStatus::Reserved
            || self.last_reserved.as_deref() != Some(payment.id.as_str());
        for tx_id in kept
            .map(Some)
            .chain(by_ours.then_some(payment.tx_id.as_deref()))
        {
            if let Some(found) = self
                .wallet
                .find(&payment.id, tx_id, payment.reserved)
                .await?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The rows that go back because an operator holds their accounts, by now.
    fn held_rows(&self, payment: &OpenPayment, now: i64) -> Vec<Payment> {
        let mut rows = payment.rows_for("released", now, None, None);
        rows.retain_mut(|row| {
            let hold = self
                .ledger
                .account_state(&row.account)
                .and_then(|owner| owner.hold.as_deref());
            let reason = hold.map(|why| format!("held by an operator: {why}"));
            if let Some(reason) = &reason {
                open_payment::set_release(row, ReleaseCause::PutBack, reason);
            }
            reason.is_some()
        });
        rows
    }

    /// The outputs, and the transaction that the wallet made of them.
    async fn prepare_outputs(
        &self,
        payment: &OpenPayment,
    ) -> Result<(Vec<Output>, PreparedTx), PrepareError> {
        let mut fee = 0;
        let mut outputs = plan::outputs(payment, self.config.fee_policy, fee);
        let mut prepared = self.wallet.prepare(&payment.id, &outputs).await?;
        for _ in 0..FEE_ROUNDS {
            if self.config.fee_policy == FeePolicy::Pool || prepared.fee == fee {
                break;
            }
            fee = prepared.fee;
            outputs = plan::outputs(payment, self.config.fee_policy, fee);
            let poor: Vec<String> = outputs
                .iter()
                .filter(|output| output.amount == 0)
                .map(|output| output.address.clone())
                .collect();
            if !poor.is_empty() {
                return Err(PrepareError::FeeExceedsBalance(poor));
            }
            prepared = self.wallet.prepare(&payment.id, &outputs).await?;
        }
        Ok((outputs, prepared))
    }

    /// Nothing was sent. What stands in the way of all is waited for; what stands in the way of
    /// some is taken out. Only an address that the wallet names, and what no transaction can hold,
    /// is not tried again by itself.
    async fn handle_prepare_error(
        &mut self,
        payment: &OpenPayment,
        error: WalletError,
        now: i64,
    ) -> Result<bool, PauseReason> {
        let late = now.saturating_sub(payment.since) >= self.config.settle_us();
        let released = |cause| payment.released(now, cause, &error.to_string());
        let many = payment.rows.len() > 1;
        let rows = match &error {
            WalletError::Address { address, .. } => released(ReleaseCause::Refused)
                .into_iter()
                .filter(|row| row.address == *address)
                .collect(),
            WalletError::TooLarge(_) if many => {
                released(ReleaseCause::PutBack).split_off(payment.rows.len() / 2)
            }
            WalletError::TooLarge(_) => released(ReleaseCause::Refused),
            // A part of it may be within what the wallet has, or fit into a transaction: some
            // wallets say both in one word.
            WalletError::NotEnough(_) if late && many => {
                released(ReleaseCause::PutBack).split_off(payment.rows.len() / 2)
            }
            WalletError::NotEnough(_) if late => released(ReleaseCause::NextInterval),
            // The cause may be the wallet's, or one destination's that it does not name: by halves
            // that one is left alone.
            WalletError::Refused { .. } if late && many => {
                released(ReleaseCause::PutBack).split_off(payment.rows.len() / 2)
            }
            WalletError::Refused { .. } if late => released(ReleaseCause::PutBack),
            _ => Vec::new(),
        };
        if rows.is_empty() {
            return Err(error.into());
        }
        tracing::warn!(payment = payment.id, destinations = rows.len(), %error, "taken out of a \
            payment");
        self.write(rows).await?;
        Ok(true)
    }
}
