//! The wallet's money beside what the ledger owes. A shortfall is said, and stops nothing: whoever
//! can be paid is paid.

use super::Payer;
use crate::payment::WalletBalance;
use crate::payment::entry::Account;
use crate::payment::journal::Journal;
use crate::payment::ledger::Ledger;
use crate::payment::open_payment::PaymentStatus;

/// How long a look into the wallet is good for, microseconds.
const REFRESH_US: i64 = 60_000_000;
/// How long one that failed is, or after which the ledger owed something else.
const RETRY_US: i64 = 10_000_000;

impl<J: Journal> Payer<J> {
    /// Looks into the wallet once a minute, sooner when what is owed has changed. One that does not
    /// answer has an unknown balance; what waits for it is told elsewhere.
    pub(super) async fn update_wallet_balance(&mut self, now: i64) {
        let owed = owed(&self.ledger);
        let good_for = if self
            .wallet_balance
            .is_some_and(|wallet_balance| wallet_balance.owed == owed)
        {
            REFRESH_US
        } else {
            RETRY_US
        };
        if self
            .balance_asked_at
            .is_some_and(|last| now.saturating_sub(last) < good_for)
        {
            return;
        }
        self.balance_asked_at = Some(now);
        let funds = self.wallet.funds().await.ok();
        self.wallet_balance = funds.map(|funds| WalletBalance {
            unlocked: funds.unlocked,
            total: funds.total,
            owed,
        });
    }
}

/// What the wallet must hold for everybody to be paid, atomic units: mature balances, the fee, and
/// payments that are reserved or under review. What is being sent, or is sent, has left the wallet
/// or is about to.
pub fn owed(ledger: &Ledger) -> u128 {
    let balances = ledger
        .accounts()
        .filter(|(account, _)| matches!(account, Account::Miner(_) | Account::Fee));
    let due: i128 = balances.map(|(_, balance)| balance.max(0)).sum();
    let stays = ledger.open_payments().filter(|payment| {
        matches!(
            payment.status,
            PaymentStatus::Reserved | PaymentStatus::Review
        )
    });
    u128::try_from(due + stays.map(|payment| payment.amount()).sum::<i128>()).unwrap_or_default()
}
