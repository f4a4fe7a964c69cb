//! The books: every fact about money added up, and the checks that they are right.
//!
//! Facts of different streams come in any order and the sums are the same; within a stream they
//! come in the stream's order. What breaks a rule is remembered for good, and nobody is paid from
//! broken books.

use std::collections::{BTreeMap, BTreeSet};

use headframe_schemas::stream::instructions::Instruction;
use headframe_schemas::stream::payments::Payment;

use crate::payment::batch::{self, Batch};
use crate::payment::entry::{Account, Entry};
use crate::payment::kept::{self, Kept};

/// A row of `payouts`, as far as it is about money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payout {
    /// The block's hash.
    pub block: String,
    /// frozen, credited, reversed or matured.
    pub step: String,
    /// A miner, or `fee`; absent on frozen.
    pub account: Option<String>,
    /// Atomic units; the block's reward on frozen.
    pub amount: i128,
    /// On reversed: whether the block was spendable.
    pub was_mature: bool,
}

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ledger is wrong ({rule}): {why}; nobody is paid until an operator has found out")]
pub struct Broken {
    /// Which rule: balanced, overdrawn, reward, in_transit or steps.
    pub rule: &'static str,
    /// In words.
    pub why: String,
}

/// What was credited and taken back for a block, atomic units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Block {
    reward: Option<i128>,
    credited: i128,
    matured: i128,
}

impl Block {
    fn whole(reward: i128) -> Self {
        Self {
            reward: Some(reward),
            credited: reward,
            matured: reward,
        }
    }
}

/// What is known of an account beside its balance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// The threshold it or an operator set; 0 or absent means the pool's.
    pub threshold: Option<i128>,
    /// Why it is held, if it is.
    pub hold: Option<String>,
    /// When it was last resumed, microseconds since 1970.
    pub resumed: i64,
    /// When and why the wallet refused to pay it.
    pub refused: Option<(i64, String)>,
    /// When a payment to it was last reserved, microseconds since 1970; 0 when it need not wait for
    /// the next interval.
    pub last_reserved: i64,
    /// When it was last taken out of a payment that was to be tried again, microseconds since 1970:
    /// then others go first.
    pub put_back: i64,
    /// How far below zero its balance may be, since blocks it was paid for were orphaned or an
    /// operator said so.
    overdraft: i128,
}

/// An operator's word on a payment under review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// When, microseconds since 1970.
    pub time: i64,
    /// Whether the money has left the wallet.
    pub paid: bool,
    /// Its transaction.
    pub tx_id: Option<String>,
    /// In words.
    pub reason: String,
}

/// Everything that follows from the facts read so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    accounts: BTreeMap<Account, i128>,
    blocks: BTreeMap<String, Block>,
    /// What was shared out of blocks that matured as a whole, by hash: there are as many as the
    /// pool ever found.
    matured: BTreeMap<[u8; 32], i128>,
    owners: BTreeMap<String, Owner>,
    batches: BTreeMap<String, Batch>,
    resolutions: BTreeMap<String, Resolution>,
    /// Payments of which a signed transaction is kept and no row was read.
    unclaimed: BTreeSet<String>,
    hold: Option<String>,
    /// When all were last resumed, microseconds since 1970.
    resumed: i64,
    broken: Option<Broken>,
}

/// What a released row's reason begins with when the wallet refused the address.
pub const REFUSED: &str = "refused: ";
/// What it begins with when the account need not wait for the next interval.
pub const LATER: &str = "later: ";

impl Books {
    /// The balance of an account, atomic units.
    pub fn balance(&self, account: &Account) -> i128 {
        self.accounts.get(account).copied().unwrap_or_default()
    }

    /// Every account that was ever used, and its balance.
    pub fn accounts(&self) -> impl Iterator<Item = (&Account, i128)> {
        self.accounts
            .iter()
            .map(|(account, balance)| (account, *balance))
    }

    /// What is known of an account; nothing for one that nobody ever mentioned.
    pub fn owner(&self, account: &str) -> Option<&Owner> {
        self.owners.get(account)
    }

    /// Open payments, by name.
    pub fn open(&self) -> impl Iterator<Item = &Batch> {
        self.batches.values()
    }

    /// An open payment.
    pub fn batch(&self, id: &str) -> Option<&Batch> {
        self.batches.get(id)
    }

    /// Why nobody is paid, when an operator holds everybody.
    pub fn held(&self) -> Option<&str> {
        self.hold.as_deref()
    }

    /// When this account, or all, were last resumed, microseconds since 1970; 0 for never.
    pub fn resumed(&self, account: &str) -> i64 {
        self.owner(account)
            .map_or(0, |owner| owner.resumed)
            .max(self.resumed)
    }

    /// Why nothing is paid to this account, if so: an operator holds it, or the wallet refused it
    /// since it was last resumed.
    pub fn blocked(&self, account: &str) -> Option<&str> {
        let owner = self.owners.get(account)?;
        owner.hold.as_deref().or_else(|| self.refusal(owner))
    }

    fn refusal<'a>(&self, owner: &'a Owner) -> Option<&'a str> {
        let since = owner
            .refused
            .as_ref()
            .filter(|(since, _)| *since >= owner.resumed.max(self.resumed));
        since.map(|(_, reason)| reason.as_str())
    }

    /// Accounts that the wallet refused to pay, and why, until somebody resumes them.
    pub fn refused(&self) -> impl Iterator<Item = (&str, &str)> {
        self.owners
            .iter()
            .filter_map(|(account, owner)| Some((account.as_str(), self.refusal(owner)?)))
    }

    /// Accounts that an operator holds, and why.
    pub fn holds(&self) -> impl Iterator<Item = (&str, &str)> {
        self.owners
            .iter()
            .filter_map(|(account, owner)| Some((account.as_str(), owner.hold.as_deref()?)))
    }

    /// The operator's word on this payment, given after it came under review.
    pub fn resolution(&self, batch: &Batch) -> Option<&Resolution> {
        self.resolutions
            .get(&batch.id)
            .filter(|resolution| resolution.time >= batch.since)
    }

    /// Expects rows of the payments of which signed transactions are kept; to be called before any
    /// row is taken.
    pub fn expect(&mut self, kept: &[Kept]) {
        self.unclaimed
            .extend(kept.iter().map(|one| one.payment.clone()));
    }

    /// A payment of which a signed transaction is kept, and that no row speaks of.
    pub fn unclaimed(&self) -> Option<&str> {
        self.unclaimed.first().map(String::as_str)
    }

    /// What comes next comes from another stream than everything before.
    pub fn part(&mut self) {
        self.batches
            .values_mut()
            .for_each(|batch| batch.parted = true);
    }

    /// Takes rows of `payouts`, in order.
    pub fn payouts(&mut self, rows: &[Payout]) {
        for row in rows {
            self.payout(row);
        }
    }

    fn payout(&mut self, row: &Payout) {
        if row.amount < 0 {
            return self.fault(
                "steps",
                format!("{} of {} for block {}", row.step, row.amount, row.block),
            );
        }
        self.take_up(&row.block);
        let block = self.blocks.entry(row.block.clone()).or_default();
        let Some(name) = row.account.as_deref() else {
            match (row.step.as_str(), block.reward) {
                ("frozen", None) => block.reward = Some(row.amount),
                (step, _) => self.fault(
                    "steps",
                    format!(
                        "{step} without an account, or twice, for block {}",
                        row.block
                    ),
                ),
            }
            return;
        };
        let (immature, mature) = (Account::of(name, false), Account::of(name, true));
        let entry = match (row.step.as_str(), row.was_mature) {
            ("credited", _) => {
                block.credited += row.amount;
                Entry::new(Account::Coinbase, immature, row.amount)
            }
            ("matured", _) => {
                block.matured += row.amount;
                Entry::new(immature, mature, row.amount)
            }
            ("reversed", false) => {
                block.credited -= row.amount;
                Entry::new(immature, Account::Coinbase, row.amount)
            }
            ("reversed", true) => {
                (block.credited, block.matured) =
                    (block.credited - row.amount, block.matured - row.amount);
                Entry::new(mature, Account::Coinbase, row.amount)
            }
            (step, _) => {
                return self.fault("steps", format!("there is no step {step} of a payout"));
            }
        };
        let (reward, credited, matured) = (
            block.reward.unwrap_or_default(),
            block.credited,
            block.matured,
        );
        if row.step == "reversed" && row.was_mature {
            self.owners.entry(name.to_owned()).or_default().overdraft += row.amount;
        }
        self.post(&entry);
        let whole = row.step != "matured" || credited == reward;
        if !whole || credited < 0 || matured < 0 || credited > reward || matured > credited {
            let why = format!(
                "block {} has the reward {reward}, credited {credited}, matured {matured} atomic units",
                row.block
            );
            self.fault("reward", why);
        }
        if row.step == "matured" && matured == reward {
            self.lay_down(&row.block);
        }
    }

    /// Nothing more is expected of a block that matured as a whole: what is kept of it is its hash
    /// and its reward.
    fn lay_down(&mut self, hash: &str) {
        let whole = self.blocks.get(hash).and_then(|block| {
            block
                .reward
                .filter(|reward| *block == Block::whole(*reward))
        });
        if let (Some(key), Some(reward)) = (key(hash), whole) {
            self.blocks.remove(hash);
            self.matured.insert(key, reward);
        }
    }

    /// The opposite, when something happens to it after all.
    fn take_up(&mut self, hash: &str) {
        if let Some(reward) = key(hash).and_then(|key| self.matured.remove(&key)) {
            self.blocks.insert(hash.to_owned(), Block::whole(reward));
        }
    }

    /// Takes one message of `payments`: all rows of one step of one payment.
    pub fn payment(&mut self, rows: &[Payment]) {
        let Some(first) = rows.first() else { return };
        if rows.iter().any(|row| {
            row.step != first.step || row.payment != first.payment || row.amount_atomic <= 0
        }) {
            return self.fault(
                "steps",
                format!(
                    "payment {} has rows of several steps, or of nothing, in one message",
                    first.payment
                ),
            );
        }
        match self.batches.remove(&first.payment) {
            None => self.begin(rows),
            Some(mut batch) => match batch.take(&first.step, rows) {
                Err(why) => {
                    self.batches.insert(batch.id.clone(), batch);
                    self.fault("steps", why);
                }
                Ok(entries) => {
                    entries.iter().for_each(|entry| self.post(entry));
                    if first.step == "released" {
                        rows.iter().for_each(|row| self.released(row));
                    }
                    if !batch.rows.is_empty() {
                        self.batches.insert(batch.id.clone(), batch);
                    }
                }
            },
        }
    }

    fn begin(&mut self, rows: &[Payment]) {
        let Some(batch) = Batch::begin(rows) else {
            let why = rows.first().map_or_else(String::new, |row| {
                format!("payment {} begins with {}", row.payment, row.step)
            });
            return self.fault("steps", why);
        };
        if !self.unclaimed.is_empty() {
            self.unclaimed.remove(&kept::file_name(&batch.id));
        }
        for row in rows {
            self.post(&batch::reserve(row));
            let owner = self.owners.entry(row.account.clone()).or_default();
            owner.last_reserved = owner.last_reserved.max(row.event_time);
        }
        self.batches.insert(batch.id.clone(), batch);
    }

    fn released(&mut self, row: &Payment) {
        let owner = self.owners.entry(row.account.clone()).or_default();
        match &row.reason {
            Some(reason) if reason.starts_with(REFUSED) => {
                owner.refused = Some((row.event_time, reason.clone()))
            }
            Some(reason) if reason.starts_with(LATER) => {
                (owner.last_reserved, owner.put_back) = (0, row.event_time)
            }
            _ => {}
        }
    }

    /// Takes one instruction. One that lacks what its kind needs is void.
    pub fn instruction(&mut self, row: &Instruction) {
        let reason = row
            .reason
            .clone()
            .filter(|reason| !reason.trim().is_empty());
        match (row.kind.as_str(), row.account.as_deref(), reason) {
            ("threshold", Some(account), _) => {
                self.owners.entry(account.to_owned()).or_default().threshold = row.amount_atomic
            }
            ("hold", Some(account), Some(reason)) => {
                self.owners.entry(account.to_owned()).or_default().hold = Some(reason)
            }
            ("hold", None, Some(reason)) => self.hold = Some(reason),
            ("resume", Some(account), _) => {
                let owner = self.owners.entry(account.to_owned()).or_default();
                (owner.hold, owner.resumed) = (None, owner.resumed.max(row.event_time));
            }
            ("resume", None, _) => {
                (self.hold, self.resumed) = (None, self.resumed.max(row.event_time))
            }
            ("adjust", Some(account), Some(_)) => {
                let amount = row.amount_atomic.unwrap_or_default();
                self.owners.entry(account.to_owned()).or_default().overdraft += (-amount).max(0);
                self.post(&Entry::new(
                    Account::Reserve,
                    Account::of(account, true),
                    amount,
                ));
            }
            ("resolve", _, Some(reason)) => {
                let (Some(payment), Some(verdict)) = (&row.payment, &row.verdict) else {
                    return;
                };
                let (time, paid, tx_id) = (row.event_time, verdict == "paid", row.tx_id.clone());
                self.resolutions.insert(
                    payment.clone(),
                    Resolution {
                        time,
                        paid,
                        tx_id,
                        reason,
                    },
                );
            }
            _ => {}
        }
    }

    fn post(&mut self, entry: &Entry) {
        *self.accounts.entry(entry.debit.clone()).or_default() -= entry.amount;
        *self.accounts.entry(entry.credit.clone()).or_default() += entry.amount;
    }

    fn fault(&mut self, rule: &'static str, why: String) {
        self.broken.get_or_insert(Broken { rule, why });
    }

    /// Whether every rule holds, once the three streams were read up to moments that belong
    /// together.
    pub fn check(&self) -> Result<(), Broken> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let sum: i128 = self.accounts.values().sum();
        if sum != 0 {
            return Err(Broken {
                rule: "balanced",
                why: format!("all accounts together hold {sum} atomic units instead of 0"),
            });
        }
        let (open, transit) = (
            self.batches.values().map(Batch::amount).sum::<i128>(),
            self.balance(&Account::InTransit),
        );
        if open != transit {
            let why =
                format!("open payments hold {open} atomic units, the account in_transit {transit}");
            return Err(Broken {
                rule: "in_transit",
                why,
            });
        }
        match self
            .accounts()
            .find(|(account, balance)| *balance < self.least(account))
        {
            None => Ok(()),
            Some((account, balance)) => Err(Broken {
                rule: "overdrawn",
                why: format!("the account {account} holds {balance} atomic units"),
            }),
        }
    }

    /// How little an account may hold.
    fn least(&self, account: &Account) -> i128 {
        let overdraft = |name: &str| -self.owners.get(name).map_or(0, |owner| owner.overdraft);
        match account {
            Account::Coinbase | Account::Reserve => i128::MIN,
            Account::Fee => overdraft("fee"),
            Account::Miner(name) => overdraft(name),
            _ => 0,
        }
    }
}

/// A hash of 64 digits in half the room; `None` for what would not be the same again.
fn key(hash: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    hex::decode_to_slice(hash, &mut key).ok()?;
    hash.bytes()
        .all(|digit| !digit.is_ascii_uppercase())
        .then_some(key)
}
