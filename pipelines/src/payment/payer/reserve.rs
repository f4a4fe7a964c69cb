//! The beginning of a payment: who is in it, and its first row.

use headframe_sinks::wallet::{AddressCheck, WalletError};

use super::{PauseReason, Payer};
use crate::payment::journal::Journal;
use crate::payment::select::{self, Candidate};

/// After so long the wallet is asked again about an address that it did not take, microseconds.
const ASK_AGAIN_US: i64 = 3_600_000_000;

impl<J: Journal> Payer<J> {
    /// Reserves the next payment, if somebody is due.
    pub(super) async fn reserve_next(&mut self, now: i64) -> Result<bool, PauseReason> {
        let candidates = select::candidates(&self.ledger, &self.config, now);
        if candidates.is_empty() || self.config.dry_run {
            return Ok(false);
        }
        let funds = self.wallet.funds().await?;
        if let (Some(wanted), Some(found)) = (&self.config.wallet.address, &funds.address)
            && wanted != found
        {
            return Err(PauseReason::Waiting(format!(
                "the wallet's address is {found}, payments.wallet.address is {wanted}: it is \
                another wallet"
            )));
        }
        self.forget_old_refusals(now);
        let max_outputs = self.wallet.max_outputs();
        let enough = self.config.batch_size.min(max_outputs);
        self.examine_addresses(&candidates, enough, now).await?;
        let chosen = select::choose(
            &candidates,
            &self.fitness,
            &self.config,
            funds.unlocked,
            max_outputs,
        );
        if chosen.is_empty() {
            let able = candidates.iter().any(|one| {
                !matches!(
                    self.fitness.get(&one.account),
                    Some(AddressCheck::Refused(_))
                )
            });
            return match able {
                true => {
                    Err(WalletError::NotEnough(format!("{} atomic units", funds.unlocked)).into())
                }
                false => Ok(false),
            };
        }
        let id = format!("{}-{}-{now}", self.config.pool, self.journal.position() + 1);
        self.write(select::reservation_rows(
            &chosen,
            &self.config.pool,
            &id,
            now,
        ))
        .await?;
        self.last_reserved = Some(id);
        Ok(true)
    }

    /// Forgets what the wallet said of addresses that it refused a while ago.
    fn forget_old_refusals(&mut self, now: i64) {
        // The fault may have been the wallet's, such as one of another network: an operator's word,
        // or some time, has it asked again.
        let stale = |account: &str, asked_at: i64| {
            asked_at <= self.ledger.resumed(account) || now.saturating_sub(asked_at) >= ASK_AGAIN_US
        };
        let again: Vec<String> = self
            .refused_at
            .iter()
            .filter(|(account, asked_at)| stale(account, **asked_at))
            .map(|(account, _)| account.clone())
            .collect();
        for account in again {
            self.refused_at.remove(&account);
            self.fitness.remove(&account);
        }
    }

    /// Asks the wallet about candidates that it was not asked about yet, until more than
    /// `enough` can be paid.
    async fn examine_addresses(
        &mut self,
        candidates: &[Candidate],
        enough: usize,
        now: i64,
    ) -> Result<(), PauseReason> {
        let mut payable = 0;
        for candidate in candidates {
            if !self.fitness.contains_key(&candidate.account) {
                let fitness = self.wallet.check_address(&candidate.account).await?;
                if matches!(fitness, AddressCheck::Refused(_)) {
                    self.refused_at.insert(candidate.account.clone(), now);
                }
                self.fitness.insert(candidate.account.clone(), fitness);
            }
            payable +=
                usize::from(self.fitness.get(&candidate.account) == Some(&AddressCheck::Payable));
            if payable > enough {
                break;
            }
        }
        Ok(())
    }
}
