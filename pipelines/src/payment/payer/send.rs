//! What is done about a payment that may have been sent: looked up, sent, or given back.

use headframe_schemas::payment::ReleaseCause;
use headframe_sinks::wallet::{WalletError, WalletTx};

use super::{PauseReason, Payer};
use crate::payment::FeePolicy;
use crate::payment::journal::Journal;
use crate::payment::ledger::Resolution;
use crate::payment::open_payment::{self, OpenPayment, PaymentStatus};
use crate::payment::plan::{self, LocalFacts, NextAction};

impl<J: Journal> Payer<J> {
    /// An operator calls a payment unpaid: `told` is done about it if the wallet's history says
    /// nothing else. A wallet that does not answer is waited for.
    pub(super) async fn release_resolved(
        &mut self,
        payment: &OpenPayment,
        resolution: &Resolution,
        action: NextAction,
        now: i64,
    ) -> Result<bool, PauseReason> {
        let Some(found) = self.find_in_history(payment).await? else {
            return self.execute(payment, action, None, now).await;
        };
        let WalletTx {
            tx_id,
            confirmations,
            ..
        } = &found;
        let said = format!(
            "not given back: an operator called it unpaid ({}), and the wallet's history has it \
            in transaction {tx_id}, with {confirmations} blocks on it",
            resolution.reason
        );
        match self.action_for_found(payment, &found, now).await? {
            NextAction::Write {
                step, tx_id, fee, ..
            } => {
                tracing::error!(
                    payment = payment.id,
                    said,
                    "a payment that was called unpaid was sent"
                );
                self.execute(
                    payment,
                    NextAction::Write {
                        step,
                        tx_id,
                        fee,
                        reason: Some(said),
                    },
                    None,
                    now,
                )
                .await
            }
            _ => Err(PauseReason::Waiting(format!(
                "payment {}: {said}",
                payment.id
            ))),
        }
    }

    /// What follows from what the history has. Its amount leaves out what went to the wallet's own
    /// address.
    async fn action_for_found(
        &self,
        payment: &OpenPayment,
        found: &WalletTx,
        now: i64,
    ) -> Result<NextAction, PauseReason> {
        let mut facts = LocalFacts::default();
        if u128::try_from(payment.sent()) != Ok(found.amount) {
            let own = match &self.config.wallet.address {
                Some(address) => Some(address.clone()),
                None => self.wallet.funds().await?.address,
            };
            let to_own = payment
                .rows
                .iter()
                .filter(|row| Some(&row.address) == own.as_ref());
            facts.to_own_address =
                u128::try_from(to_own.map(|row| row.sent_atomic).sum::<i128>()).unwrap_or_default();
        }
        Ok(plan::next_action(
            payment,
            Some(found),
            facts,
            &self.config,
            now,
            now,
        ))
    }

    /// Follows a payment that may have been sent.
    pub(super) async fn send(
        &mut self,
        payment: &OpenPayment,
        now: i64,
    ) -> Result<bool, PauseReason> {
        let not_yet_sent = self.not_yet_sent.as_deref() == Some(payment.id.as_str());
        let signed = match payment.tx_id.as_deref() {
            Some(tx_id) => self.vault.get(&payment.id, tx_id).await?,
            None => None,
        };
        let found = match not_yet_sent {
            true => None,
            false => self.find_in_history(payment).await?,
        };
        if let Some(found) = found {
            self.missing_since.remove(&payment.id);
            let action = self.action_for_found(payment, &found, now).await?;
            return self.execute(payment, action, signed.as_deref(), now).await;
        }
        let missing_since = *self.missing_since.entry(payment.id.clone()).or_insert(now);
        let facts = LocalFacts {
            not_yet_sent,
            has_signed_tx: signed.is_some(),
            to_own_address: 0,
        };
        let action = plan::next_action(payment, None, facts, &self.config, missing_since, now);
        self.execute(payment, action, signed.as_deref(), now).await
    }

    pub(super) async fn execute(
        &mut self,
        payment: &OpenPayment,
        action: NextAction,
        signed: Option<&[u8]>,
        now: i64,
    ) -> Result<bool, PauseReason> {
        match action {
            NextAction::Wait(why) if payment.status == PaymentStatus::Submitted => {
                tracing::trace!(payment = payment.id, why, "a payment waits");
                Ok(false)
            }
            NextAction::Wait(why) => Err(PauseReason::Waiting(format!(
                "payment {}: {why}",
                payment.id
            ))),
            NextAction::Submit if self.config.dry_run => Err(PauseReason::Waiting(format!(
                "dry run: payment {} is not sent",
                payment.id
            ))),
            NextAction::Submit => self.submit(payment, signed, now).await,
            NextAction::Write {
                step,
                tx_id,
                fee,
                reason,
            } => {
                let rows = payment.rows_for(step, now, tx_id.as_deref(), reason.as_deref());
                self.write(fee.map_or(rows.clone(), |fee| plan::with_fee(rows, fee)))
                    .await?;
                Ok(true)
            }
        }
    }

    async fn submit(
        &mut self,
        payment: &OpenPayment,
        signed: Option<&[u8]>,
        now: i64,
    ) -> Result<bool, PauseReason> {
        // Whatever comes of it, this was the one time that it may be sent unsigned.
        let not_yet_sent = self.not_yet_sent.take_if(|id| *id == payment.id).is_some();
        let outputs: Vec<_> = plan::outputs(payment, FeePolicy::Pool, 0)
            .into_iter()
            .zip(&payment.rows)
            .map(|(mut output, row)| {
                output.amount = u128::try_from(row.sent_atomic).unwrap_or_default();
                output
            })
            .collect();
        match self.wallet.submit(&payment.id, &outputs, signed).await {
            Ok(_) if payment.status == PaymentStatus::Submitted => Ok(false),
            Ok(tx_id) => {
                self.write(payment.rows_for("submitted", now, Some(&tx_id), None))
                    .await?;
                Ok(true)
            }
            Err(error) if not_yet_sent && self.wallet.is_definite(&error) => {
                // Nothing was sent by the only call there ever was.
                let refused = match &error {
                    WalletError::Address { address, .. } => Some(address.clone()),
                    _ => None,
                };
                // The same would happen again at once. Of several destinations the first half is
                // tried by itself, so that one that spoils all is left alone in the end; whoever is
                // put back goes behind the others.
                let named = refused.is_some();
                let alone = payment.rows.len().div_ceil(2) * usize::from(payment.rows.len() > 1);
                let mut rows =
                    payment.released(now, ReleaseCause::NextInterval, &error.to_string());
                for row in rows
                    .iter_mut()
                    .take(if named { payment.rows.len() } else { alone })
                {
                    open_payment::set_release(row, ReleaseCause::PutBack, &error.to_string());
                }
                for row in rows
                    .iter_mut()
                    .filter(|row| refused.as_ref() == Some(&row.address))
                {
                    open_payment::set_release(row, ReleaseCause::Refused, &error.to_string());
                }
                self.write(rows).await?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}
