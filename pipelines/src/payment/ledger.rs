//! The ledger: every fact about money added up, and the checks that they are right.
//!
//! Facts of different streams come in any order and the sums are the same; within a stream they
//! come in the stream's order. What breaks a rule is remembered for good, and nobody is paid from a
//! broken ledger.

use std::collections::{BTreeMap, BTreeSet};

use headframe_schemas::payment::ReleaseCause;
use headframe_schemas::stream::instructions::Instruction;
use headframe_schemas::stream::payments::Payment;

use crate::payment::entry::{Account, Entry};
use crate::payment::open_payment::{self, OpenPayment};
use crate::payment::signed_tx::{self, SignedTx};

mod block;

use block::{BlockSums, hash_bytes};

/// A row of `payouts`, as far as it is about money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutFact {
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
pub struct BrokenRule {
    /// Which rule: balanced, overdrawn, reward, in_transit or steps.
    pub rule: &'static str,
    /// In words.
    pub why: String,
}

/// What is known of an account beside its balance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountState {
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
pub struct Ledger {
    accounts: BTreeMap<Account, i128>,
    blocks: BTreeMap<String, BlockSums>,
    /// What was shared out of blocks that matured as a whole, by hash: there are as many as the
    /// pool ever found.
    matured: BTreeMap<[u8; 32], i128>,
    account_states: BTreeMap<String, AccountState>,
    open: BTreeMap<String, OpenPayment>,
    resolutions: BTreeMap<String, Resolution>,
    /// Payments of which a signed transaction is kept and no row was read.
    expected_signed: BTreeSet<String>,
    hold: Option<String>,
    /// When all were last resumed, microseconds since 1970.
    resumed: i64,
    broken: Option<BrokenRule>,
}

impl Ledger {
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
    pub fn account_state(&self, account: &str) -> Option<&AccountState> {
        self.account_states.get(account)
    }

    /// Open payments, by name.
    pub fn open_payments(&self) -> impl Iterator<Item = &OpenPayment> {
        self.open.values()
    }

    /// An open payment.
    pub fn open_payment(&self, id: &str) -> Option<&OpenPayment> {
        self.open.get(id)
    }

    /// Why nobody is paid, when an operator holds everybody.
    pub fn global_hold(&self) -> Option<&str> {
        self.hold.as_deref()
    }

    /// When this account, or all, were last resumed, microseconds since 1970; 0 for never.
    pub fn resumed(&self, account: &str) -> i64 {
        self.account_state(account)
            .map_or(0, |state| state.resumed)
            .max(self.resumed)
    }

    /// Why nothing is paid to this account, if so: an operator holds it, or the wallet refused it
    /// since it was last resumed.
    pub fn blocked_reason(&self, account: &str) -> Option<&str> {
        let state = self.account_states.get(account)?;
        state.hold.as_deref().or_else(|| self.refusal(state))
    }

    fn refusal<'a>(&self, state: &'a AccountState) -> Option<&'a str> {
        let since = state
            .refused
            .as_ref()
            .filter(|(since, _)| *since >= state.resumed.max(self.resumed));
        since.map(|(_, reason)| reason.as_str())
    }

    /// Accounts that the wallet refused to pay, and why, until somebody resumes them.
    pub fn refused_accounts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.account_states
            .iter()
            .filter_map(|(account, state)| Some((account.as_str(), self.refusal(state)?)))
    }

    /// Accounts that an operator holds, and why.
    pub fn held_accounts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.account_states
            .iter()
            .filter_map(|(account, state)| Some((account.as_str(), state.hold.as_deref()?)))
    }

    /// The operator's word on this payment, given after it came under review.
    pub fn resolution(&self, batch: &OpenPayment) -> Option<&Resolution> {
        self.resolutions
            .get(&batch.id)
            .filter(|resolution| resolution.time >= batch.since)
    }

    /// Expects rows of the payments of which signed transactions are kept; to be called before any
    /// row is taken.
    pub fn expect_signed(&mut self, signed: &[SignedTx]) {
        self.expected_signed
            .extend(signed.iter().map(|one| one.payment.clone()));
    }

    /// A payment of which a signed transaction is kept, and that no row speaks of.
    pub fn signed_without_payment(&self) -> Option<&str> {
        self.expected_signed.first().map(String::as_str)
    }

    /// What comes next comes from another stream than everything before.
    pub fn mark_stream_replaced(&mut self) {
        self.open
            .values_mut()
            .for_each(|batch| batch.stream_replaced = true);
    }

    /// Takes rows of `payouts`, in order.
    pub fn apply_payouts(&mut self, rows: &[PayoutFact]) {
        for row in rows {
            self.apply_payout(row);
        }
    }

    fn apply_payout(&mut self, row: &PayoutFact) {
        if row.amount < 0 {
            return self.record_broken(
                "steps",
                format!("{} of {} for block {}", row.step, row.amount, row.block),
            );
        }
        self.reopen_block(&row.block);
        let block = self.blocks.entry(row.block.clone()).or_default();
        let Some(name) = row.account.as_deref() else {
            match (row.step.as_str(), block.reward) {
                ("frozen", None) => block.reward = Some(row.amount),
                (step, _) => self.record_broken(
                    "steps",
                    format!(
                        "{step} without an account, or twice, for block {}",
                        row.block
                    ),
                ),
            }
            return;
        };
        let Some(entry) = block.add(row, name) else {
            let why = format!("there is no step {} of a payout", row.step);
            return self.record_broken("steps", why);
        };
        let complaint = block.complaint(row);
        let is_whole = row.step == "matured" && block.reward == Some(block.matured);
        if row.step == "reversed" && row.was_mature {
            self.account_states
                .entry(name.to_owned())
                .or_default()
                .overdraft += row.amount;
        }
        self.post(&entry);
        if let Some(why) = complaint {
            self.record_broken("reward", why);
        }
        if is_whole {
            self.archive_block(&row.block);
        }
    }

    /// Nothing more is expected of a block that matured as a whole: what is kept of it is its hash
    /// and its reward.
    fn archive_block(&mut self, hash: &str) {
        let whole = self.blocks.get(hash).and_then(|block| {
            block
                .reward
                .filter(|reward| *block == BlockSums::whole(*reward))
        });
        if let (Some(key), Some(reward)) = (hash_bytes(hash), whole) {
            self.blocks.remove(hash);
            self.matured.insert(key, reward);
        }
    }

    /// The opposite, when something happens to it after all.
    fn reopen_block(&mut self, hash: &str) {
        if let Some(reward) = hash_bytes(hash).and_then(|key| self.matured.remove(&key)) {
            self.blocks
                .insert(hash.to_owned(), BlockSums::whole(reward));
        }
    }

    /// Takes one message of `payments`: all rows of one step of one payment.
    pub fn apply_payment(&mut self, rows: &[Payment]) {
        let Some(first) = rows.first() else { return };
        if rows.iter().any(|row| {
            row.step != first.step || row.payment != first.payment || row.amount_atomic <= 0
        }) {
            return self.record_broken(
                "steps",
                format!(
                    "payment {} has rows of several steps, or of nothing, in one message",
                    first.payment
                ),
            );
        }
        match self.open.remove(&first.payment) {
            None => self.begin_payment(rows),
            Some(mut batch) => match batch.apply_step(&first.step, rows) {
                Err(why) => {
                    self.open.insert(batch.id.clone(), batch);
                    self.record_broken("steps", why);
                }
                Ok(entries) => {
                    entries.iter().for_each(|entry| self.post(entry));
                    if first.step == "released" {
                        rows.iter().for_each(|row| self.note_release(row));
                    }
                    if !batch.rows.is_empty() {
                        self.open.insert(batch.id.clone(), batch);
                    }
                }
            },
        }
    }

    fn begin_payment(&mut self, rows: &[Payment]) {
        let Some(batch) = OpenPayment::begin(rows) else {
            let why = rows.first().map_or_else(String::new, |row| {
                format!("payment {} begins with {}", row.payment, row.step)
            });
            return self.record_broken("steps", why);
        };
        if !self.expected_signed.is_empty() {
            self.expected_signed
                .remove(&signed_tx::file_name(&batch.id));
        }
        for row in rows {
            self.post(&open_payment::reserve(row));
            let state = self.account_states.entry(row.account.clone()).or_default();
            state.last_reserved = state.last_reserved.max(row.event_time);
        }
        self.open.insert(batch.id.clone(), batch);
    }

    fn note_release(&mut self, row: &Payment) {
        let state = self.account_states.entry(row.account.clone()).or_default();
        match row.release_cause() {
            ReleaseCause::Refused => {
                state.refused = Some((row.event_time, row.reason.clone().unwrap_or_default()));
            }
            ReleaseCause::PutBack => {
                (state.last_reserved, state.put_back) = (0, row.event_time);
            }
            ReleaseCause::NextInterval => {}
        }
    }

    /// Takes one instruction. One that lacks what its kind needs is void.
    pub fn apply_instruction(&mut self, row: &Instruction) {
        let reason = row
            .reason
            .clone()
            .filter(|reason| !reason.trim().is_empty());
        match (row.kind.as_str(), row.account.as_deref(), reason) {
            ("threshold", Some(account), _) => {
                self.account_states
                    .entry(account.to_owned())
                    .or_default()
                    .threshold = row.amount_atomic
            }
            ("hold", Some(account), Some(reason)) => {
                self.account_states
                    .entry(account.to_owned())
                    .or_default()
                    .hold = Some(reason)
            }
            ("hold", None, Some(reason)) => self.hold = Some(reason),
            ("resume", Some(account), _) => {
                let state = self.account_states.entry(account.to_owned()).or_default();
                (state.hold, state.resumed) = (None, state.resumed.max(row.event_time));
            }
            ("resume", None, _) => {
                (self.hold, self.resumed) = (None, self.resumed.max(row.event_time))
            }
            ("adjust", Some(account), Some(_)) => {
                let amount = row.amount_atomic.unwrap_or_default();
                self.account_states
                    .entry(account.to_owned())
                    .or_default()
                    .overdraft += (-amount).max(0);
                self.post(&Entry::new(
                    Account::Reserve,
                    Account::from_name(account, true),
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

    fn record_broken(&mut self, rule: &'static str, why: String) {
        self.broken.get_or_insert(BrokenRule { rule, why });
    }

    /// Whether every rule holds, once the three streams were read up to moments that belong
    /// together.
    pub fn check(&self) -> Result<(), BrokenRule> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let sum: i128 = self.accounts.values().sum();
        if sum != 0 {
            return Err(BrokenRule {
                rule: "balanced",
                why: format!("all accounts together hold {sum} atomic units instead of 0"),
            });
        }
        let (open, transit) = (
            self.open.values().map(OpenPayment::amount).sum::<i128>(),
            self.balance(&Account::InTransit),
        );
        if open != transit {
            let why =
                format!("open payments hold {open} atomic units, the account in_transit {transit}");
            return Err(BrokenRule {
                rule: "in_transit",
                why,
            });
        }
        match self
            .accounts()
            .find(|(account, balance)| *balance < self.lowest_allowed(account))
        {
            None => Ok(()),
            Some((account, balance)) => Err(BrokenRule {
                rule: "overdrawn",
                why: format!("the account {account} holds {balance} atomic units"),
            }),
        }
    }

    /// How little an account may hold.
    fn lowest_allowed(&self, account: &Account) -> i128 {
        let overdraft = |name: &str| {
            -self
                .account_states
                .get(name)
                .map_or(0, |state| state.overdraft)
        };
        match account {
            Account::Coinbase | Account::Reserve => i128::MIN,
            Account::Fee => overdraft("fee"),
            Account::Miner(name) => overdraft(name),
            _ => 0,
        }
    }
}
