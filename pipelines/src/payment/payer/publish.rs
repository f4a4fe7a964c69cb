//! What the payer tells probes, metrics and the page that says why somebody is not paid.

use headframe_schemas::payment::{PayerStatus, Stopped, WaitCause, Waiting};
use headframe_sinks::wallet::{AddressCheck, WalletError};

use super::{PauseReason, Payer};
use crate::payment::journal::{Journal, JournalError};
use crate::payment::select;
use crate::payment::state::{RULE_SIGNED, RULE_STREAM};

/// Accounts that are named as due, at most.
const NAMED: usize = 1_000;

impl<J: Journal> Payer<J> {
    /// Tells the state after a round that ended for this reason.
    pub(super) fn publish_state(&self, pause: Option<&PauseReason>, now: i64) {
        let stopped = pause.and_then(stopped);
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
        let state = PayerStatus {
            waiting: pause.filter(|_| stopped.is_none()).map(waiting),
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

/// The rule that stops payments, if that is the reason.
fn stopped(pause: &PauseReason) -> Option<Stopped> {
    let (rule, reason) = match pause {
        PauseReason::BrokenRule(broken) => (broken.rule, broken.why.clone()),
        PauseReason::Journal(error @ JournalError::Inconsistent(_)) => {
            (RULE_STREAM, error.to_string())
        }
        PauseReason::SignedWithoutPayment(_) => (RULE_SIGNED, pause.to_string()),
        _ => return None,
    };
    Some(Stopped { rule, reason })
}

/// What payments wait for, by the kind of the error and never by its text.
fn waiting(pause: &PauseReason) -> Waiting {
    let cause = match pause {
        PauseReason::Wallet(WalletError::Locked(_)) => WaitCause::WalletLocked,
        PauseReason::Wallet(WalletError::Unsynced(_)) => WaitCause::WalletUnsynced,
        _ => WaitCause::Other,
    };
    Waiting {
        cause,
        reason: pause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_locked_wallet_is_called_locked() {
        let pause = |error| waiting(&PauseReason::Wallet(error));
        let locked = pause(WalletError::Locked("no passphrase".to_owned()));
        let unsynced = pause(WalletError::Unsynced("at block 7".to_owned()));
        let short = pause(WalletError::NotEnough("5 atomic units".to_owned()));
        assert_eq!(locked.cause, WaitCause::WalletLocked);
        assert_eq!(unsynced.cause, WaitCause::WalletUnsynced);
        assert!(short.reason.contains("unlocked"), "{}", short.reason);
        assert_eq!(short.cause, WaitCause::Other, "its text has the word, too");
    }
}
