//! What the payer tells probes, metrics and the page that says why somebody is not paid.

use headframe_sinks::wallet::AddressCheck;

use super::{PauseReason, Payer};
use crate::payment::journal::{Journal, JournalError};
use crate::payment::select;
use crate::payment::state::{PayerState, RULE_SIGNED, RULE_STREAM};

/// Accounts that are named as due, at most.
const NAMED: usize = 1_000;

impl<J: Journal> Payer<J> {
    /// Tells the state after a round that ended for this reason.
    pub(super) fn publish_state(&self, pause: Option<&PauseReason>, now: i64) {
        let stopped = match pause {
            Some(PauseReason::BrokenRule(broken)) => Some((broken.rule, broken.why.clone())),
            Some(PauseReason::Journal(error @ JournalError::Inconsistent(_))) => {
                Some((RULE_STREAM, error.to_string()))
            }
            Some(error @ PauseReason::SignedWithoutPayment(_)) => {
                Some((RULE_SIGNED, error.to_string()))
            }
            _ => None,
        };
        let due = select::candidates(&self.ledger, &self.config, now)
            .into_iter()
            .take(NAMED)
            .map(|one| (one.account, one.amount));
        let unfit = self
            .fitness
            .iter()
            .filter_map(|(account, fitness)| match fitness {
                AddressCheck::Refused(reason) => Some((account.clone(), reason.clone())),
                _ => None,
            });
        let owned = |account: &str, reason: &str| (account.to_owned(), reason.to_owned());
        let refused: Vec<_> = self
            .ledger
            .refused_accounts()
            .map(|(account, reason)| owned(account, reason))
            .chain(unfit)
            .take(NAMED)
            .collect();
        let held: Vec<_> = self
            .ledger
            .held_accounts()
            .map(|(account, reason)| owned(account, reason))
            .take(NAMED)
            .collect();
        let state = PayerState {
            waiting: pause.filter(|_| stopped.is_none()).map(ToString::to_string),
            stopped,
            dry_run: self.config.dry_run,
            due: due.collect(),
            refused,
            held,
            wallet_balance: self.wallet_balance,
            at: now,
        };
        self.state.set(state);
    }
}
