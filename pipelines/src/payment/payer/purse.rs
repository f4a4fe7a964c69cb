//! The wallet's money beside what the ledger owes. A shortfall is said, and stops nothing: whoever
//! can be paid is paid.

use super::Payer;
use crate::payment::batch::Status;
use crate::payment::books::Books;
use crate::payment::entry::Account;
use crate::payment::journal::Journal;
use crate::payment::state::Purse;

/// How long a look into the wallet is good for, microseconds.
const EVERY_US: i64 = 60_000_000;
/// How long one that failed is, or after which the ledger owed something else.
const AGAIN_US: i64 = 10_000_000;

impl<J: Journal> Payer<J> {
    /// Looks into the wallet once a minute, sooner when what is owed has changed. One that does not
    /// answer has an unknown purse; what waits for it is told elsewhere.
    pub(super) async fn weigh(&mut self, now: i64) {
        let owed = owed(&self.books);
        let good_for = if self.purse.is_some_and(|purse| purse.owed == owed) {
            EVERY_US
        } else {
            AGAIN_US
        };
        if self
            .weighed
            .is_some_and(|last| now.saturating_sub(last) < good_for)
        {
            return;
        }
        self.weighed = Some(now);
        let funds = self.wallet.funds().await.ok();
        self.purse = funds.map(|funds| Purse {
            unlocked: funds.unlocked,
            total: funds.total,
            owed,
        });
    }
}

/// What the wallet must hold for everybody to be paid, atomic units: mature balances, the fee, and
/// payments that are reserved or under review. What is being sent, or is sent, has left the wallet
/// or is about to.
pub fn owed(books: &Books) -> u128 {
    let balances = books
        .accounts()
        .filter(|(account, _)| matches!(account, Account::Miner(_) | Account::Fee));
    let due: i128 = balances.map(|(_, balance)| balance.max(0)).sum();
    let stays = books
        .open()
        .filter(|batch| matches!(batch.status, Status::Reserved | Status::Review));
    u128::try_from(due + stays.map(|batch| batch.amount()).sum::<i128>()).unwrap_or_default()
}
