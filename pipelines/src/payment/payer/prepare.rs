//! From a reservation to the moment before it is sent: who may still go out of it, and why it
//! cannot be sent yet.
//!
//! Nothing of such a payment was sent, as far as the ledger goes. Whatever is taken out of it here
//! goes back to the balances, so that first of all it is made sure that the ledger knows the whole
//! of it.

use headframe_schemas::stream::payments::Payment;
use headframe_sinks::wallet::{Found, Output, Prepared, WalletError};

use super::{Pause, Payer};
use crate::payment::FeePolicy;
use crate::payment::batch::Batch;
use crate::payment::books::{LATER, REFUSED};
use crate::payment::journal::Journal;
use crate::payment::kept;
use crate::payment::plan;

/// A fee is asked for again when the miners' amounts were reduced by it; more often than this it
/// does not settle.
const FEE_ROUNDS: usize = 3;

/// Why a payment could not be made ready.
enum Unready {
    /// The wallet says so.
    Wallet(WalletError),
    /// These addresses would get nothing: their part of the network's fee takes it all.
    Poor(Vec<String>),
}

impl From<WalletError> for Unready {
    fn from(error: WalletError) -> Self {
        Self::Wallet(error)
    }
}

impl<J: Journal> Payer<J> {
    /// Makes a reserved payment ready and writes that it is about to be sent; then sends it.
    pub(super) async fn prepare(&mut self, batch: &Batch, now: i64) -> Result<bool, Pause> {
        if let Some(reason) = self.books.held() {
            return Err(Pause::Waiting(format!("payments are held: {reason}")));
        }
        if self.config.dry_run {
            return Err(Pause::Waiting(format!(
                "dry run: payment {} stays reserved",
                batch.id
            )));
        }
        if let Some(rows) = self.forgotten(batch, now).await? {
            self.write(rows).await?;
            return Ok(true);
        }
        let held = self.held(batch, now);
        if !held.is_empty() {
            self.write(held).await?;
            return Ok(true);
        }
        let (outputs, prepared) = match self.ready(batch).await {
            Ok(ready) => ready,
            Err(Unready::Wallet(error)) => return self.not_ready(batch, error, now).await,
            Err(Unready::Poor(addresses)) => {
                // Not at once again: by the next interval its balance may have grown.
                let reason = "the balance does not cover its part of the network's fee";
                let mut rows = batch.rows_for("released", now, None, Some(reason));
                rows.retain(|row| addresses.contains(&row.address));
                tracing::warn!(
                    payment = batch.id,
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
            let terms = kept::terms(&outputs, prepared.fee);
            self.vault
                .put(&batch.id, &kept::terms_of(tx_id), &terms)
                .await?;
            self.vault.put(&batch.id, tx_id, signed).await?;
        }
        self.write(plan::submitting(batch, &outputs, tx_id, prepared.fee, now))
            .await?;
        self.fresh = Some(batch.id.clone());
        let Some(batch) = self.books.batch(&batch.id).cloned() else {
            return Ok(true);
        };
        self.send(&batch, now).await?;
        Ok(true)
    }

    /// What the ledger should say of a payment that was sent although it is only reserved there, or
    /// that may have been: its later steps were lost with messages of the stream, before the table
    /// had them.
    async fn forgotten(&self, batch: &Batch, now: i64) -> Result<Option<Vec<Payment>>, Pause> {
        if let Some(found) = self.search(batch).await? {
            let outputs = plan::outputs(batch, self.config.fee_policy, found.fee);
            tracing::error!(
                payment = batch.id,
                tx_id = found.tx_id,
                "the ledger has forgotten that this payment was sent"
            );
            return Ok(Some(plan::submitting(
                batch,
                &outputs,
                Some(&found.tx_id),
                found.fee,
                now,
            )));
        }
        let kept: Vec<&str> = self.kept_of(batch).collect();
        let review = |tx_id: Option<&str>, reason: &str| {
            Ok(Some(batch.rows_for("review", now, tx_id, Some(reason))))
        };
        match kept.as_slice() {
            _ if batch.parted => {
                let reason = "it was reserved in a stream that another one has replaced; whether it was sent may be lost with that one";
                review(kept.last().copied(), reason)
            }
            [] => Ok(None),
            [_] if !self.held(batch, now).is_empty() => review(
                kept.first().copied(),
                "a transaction of it was signed, and perhaps sent, and an account in it is held",
            ),
            [tx_id] => self.kept_again(batch, tx_id, now).await.map(Some),
            _ => review(
                None,
                "several transactions of it were signed, and it is not known which was sent",
            ),
        }
    }

    /// A transaction was signed for a payment by an earlier process, and nobody knows whether it
    /// was sent: the payment goes on with the very same one, which pays once however often it is
    /// sent. Another one is never made.
    async fn kept_again(
        &self,
        batch: &Batch,
        tx_id: &str,
        now: i64,
    ) -> Result<Vec<Payment>, Pause> {
        let signed = self.vault.get(&batch.id, tx_id).await?;
        let terms = self.vault.get(&batch.id, &kept::terms_of(tx_id)).await?;
        match terms.and_then(|terms| kept::agreed(&terms, batch)) {
            Some((outputs, fee)) if signed.is_some() => {
                tracing::warn!(
                    payment = batch.id,
                    tx_id,
                    "goes on with the transaction that was signed before the start"
                );
                Ok(plan::submitting(batch, &outputs, Some(tx_id), fee, now))
            }
            _ => {
                let reason = "a transaction that was signed for it before, and perhaps sent, is gone or pays something else than what is reserved now";
                Ok(batch.rows_for("review", now, Some(tx_id), Some(reason)))
            }
        }
    }

    /// The transactions that were signed for a payment before this process began.
    fn kept_of<'a>(&'a self, batch: &Batch) -> impl Iterator<Item = &'a str> {
        let name = kept::file_name(&batch.id);
        self.kept
            .iter()
            .filter(move |one| one.payment == name)
            .map(|one| one.tx_id.as_str())
    }

    /// What the wallet's history has of a payment, by every name that it may have there. One that
    /// this process has reserved and taken no further has none; of any other, steps may have been
    /// lost with a stream.
    pub(super) async fn search(&self, batch: &Batch) -> Result<Option<Found>, Pause> {
        let kept = self
            .kept_of(batch)
            .filter(|kept| batch.tx_id.as_deref() != Some(*kept));
        // Without the name of a transaction, some wallets know it by ours.
        let by_ours = batch.status != super::Status::Reserved
            || self.begun.as_deref() != Some(batch.id.as_str());
        for tx_id in kept
            .map(Some)
            .chain(by_ours.then_some(batch.tx_id.as_deref()))
        {
            if let Some(found) = self.wallet.find(&batch.id, tx_id, batch.reserved).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The rows that go back because an operator holds their accounts, by now.
    fn held(&self, batch: &Batch, now: i64) -> Vec<Payment> {
        let mut rows = batch.rows_for("released", now, None, None);
        rows.retain_mut(|row| {
            let hold = self
                .books
                .owner(&row.account)
                .and_then(|owner| owner.hold.as_deref());
            row.reason = hold.map(|why| {
                format!("{LATER}held by an operator: {why}")
                    .chars()
                    .take(250)
                    .collect()
            });
            row.reason.is_some()
        });
        rows
    }

    /// The outputs, and the transaction that the wallet made of them.
    async fn ready(&self, batch: &Batch) -> Result<(Vec<Output>, Prepared), Unready> {
        let mut fee = 0;
        let mut outputs = plan::outputs(batch, self.config.fee_policy, fee);
        let mut prepared = self.wallet.prepare(&batch.id, &outputs).await?;
        for _ in 0..FEE_ROUNDS {
            if self.config.fee_policy == FeePolicy::Pool || prepared.fee == fee {
                break;
            }
            fee = prepared.fee;
            outputs = plan::outputs(batch, self.config.fee_policy, fee);
            let poor: Vec<String> = outputs
                .iter()
                .filter(|output| output.amount == 0)
                .map(|output| output.address.clone())
                .collect();
            if !poor.is_empty() {
                return Err(Unready::Poor(poor));
            }
            prepared = self.wallet.prepare(&batch.id, &outputs).await?;
        }
        Ok((outputs, prepared))
    }

    /// Nothing was sent. What stands in the way of all is waited for; what stands in the way of
    /// some is taken out. Only an address that the wallet names, and what no transaction can hold,
    /// is not tried again by itself.
    async fn not_ready(
        &mut self,
        batch: &Batch,
        error: WalletError,
        now: i64,
    ) -> Result<bool, Pause> {
        let late = now.saturating_sub(batch.since) >= self.config.settle_us();
        let released =
            |begins: &str| batch.rows_for("released", now, None, Some(&format!("{begins}{error}")));
        let many = batch.rows.len() > 1;
        let rows = match &error {
            WalletError::Address { address, .. } => released(REFUSED)
                .into_iter()
                .filter(|row| row.address == *address)
                .collect(),
            WalletError::TooLarge(_) if many => released(LATER).split_off(batch.rows.len() / 2),
            WalletError::TooLarge(_) => released(REFUSED),
            // A part of it may be within what the wallet has, or fit into a transaction: some
            // wallets say both in one word.
            WalletError::NotEnough(_) if late && many => {
                released(LATER).split_off(batch.rows.len() / 2)
            }
            WalletError::NotEnough(_) if late => released(""),
            // The cause may be the wallet's, or one destination's that it does not name: by halves
            // that one is left alone.
            WalletError::Refused { .. } if late && many => {
                released(LATER).split_off(batch.rows.len() / 2)
            }
            WalletError::Refused { .. } if late => released(LATER),
            _ => Vec::new(),
        };
        if rows.is_empty() {
            return Err(error.into());
        }
        tracing::warn!(payment = batch.id, destinations = rows.len(), %error, "taken out of a payment");
        self.write(rows).await?;
        Ok(true)
    }
}
