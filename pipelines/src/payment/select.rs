//! Whom to pay next, and why somebody is not paid yet.

use std::collections::BTreeMap;

use headframe_schemas::stream::payments::Payment;
use headframe_sinks::wallet::AddressCheck;

use crate::payment::PaymentConfig;
use crate::payment::entry::Account;
use crate::payment::ledger::Ledger;

/// Somebody whose balance could be paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The miner, whose name is the address.
    pub account: String,
    /// The whole balance, atomic units.
    pub amount: i128,
}

/// Why an account is not paid now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotPayable {
    /// There is nothing that could be paid.
    Empty,
    /// The balance is below the threshold, atomic units.
    BelowThreshold(i128),
    /// An operator holds it, or the wallet refused it.
    Held(String),
    /// A payment to it was reserved in this interval, microseconds since 1970.
    Interval(i64),
}

/// The beginning of the interval that a moment lies in. Intervals are counted from 1970, so that a
/// restart changes nothing.
fn interval_number(config: &PaymentConfig, time_us: i64) -> i64 {
    time_us.div_euclid(config.interval_us().max(1))
}

/// Whether this account could be paid at `now`, microseconds since 1970.
pub fn candidate(
    ledger: &Ledger,
    config: &PaymentConfig,
    account: &str,
    now: i64,
) -> Result<Candidate, NotPayable> {
    let amount = ledger.balance(&Account::Miner(account.to_owned()));
    if amount <= 0 {
        return Err(NotPayable::Empty);
    }
    let state = ledger.account_state(account);
    let threshold = config
        .rules()
        .threshold(state.and_then(|state| state.threshold));
    if amount < threshold {
        return Err(NotPayable::BelowThreshold(threshold));
    }
    if let Some(reason) = ledger
        .global_hold()
        .or_else(|| ledger.blocked_reason(account))
    {
        return Err(NotPayable::Held(reason.to_owned()));
    }
    let last = state.map_or(0, |state| state.last_reserved);
    if last > 0 && interval_number(config, last) >= interval_number(config, now) {
        return Err(NotPayable::Interval(last));
    }
    Ok(Candidate {
        account: account.to_owned(),
        amount,
    })
}

/// Everybody who could be paid at `now`: who waits longest first, then by address. Who was taken
/// out of a payment goes behind those who were not, so that one destination that spoils every
/// payment does not spoil the others' for ever.
pub fn candidates(ledger: &Ledger, config: &PaymentConfig, now: i64) -> Vec<Candidate> {
    let names = ledger
        .accounts()
        .filter_map(|(account, balance)| match account {
            Account::Miner(name) if balance > 0 => Some(name),
            _ => None,
        });
    let mut found: Vec<Candidate> = names
        .filter_map(|name| candidate(ledger, config, name, now).ok())
        .collect();
    let since = |account: &str| {
        ledger
            .account_state(account)
            .map_or(0, |state| state.last_reserved.max(state.put_back))
    };
    found.sort_by_cached_key(|one| (since(&one.account), one.account.clone()));
    found
}

/// One transaction's worth of candidates, within what the wallet can spend. `fitness` knows every
/// candidate; those it refuses are left out. `max_outputs` is the most destinations the wallet
/// takes.
pub fn choose(
    candidates: &[Candidate],
    fitness: &BTreeMap<String, AddressCheck>,
    config: &PaymentConfig,
    unlocked: u128,
    max_outputs: usize,
) -> Vec<Candidate> {
    let mut left = i128::try_from(unlocked).unwrap_or(i128::MAX);
    let mut chosen: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let alone = match fitness.get(&candidate.account) {
            Some(AddressCheck::Payable) => false,
            Some(AddressCheck::Alone) => true,
            _ => continue,
        };
        // The fee must come from somewhere: the last unit is never promised.
        if candidate.amount >= left || (alone && !chosen.is_empty()) {
            continue;
        }
        left -= candidate.amount;
        chosen.push(candidate.clone());
        if alone || chosen.len() >= config.batch_size.min(max_outputs) {
            break;
        }
    }
    chosen
}

/// The rows that reserve these amounts.
pub fn reservation_rows(chosen: &[Candidate], pool: &str, id: &str, now: i64) -> Vec<Payment> {
    let row = |one: &Candidate| Payment {
        event_time: now,
        pool: pool.to_owned(),
        payment: id.to_owned(),
        step: "reserved".to_owned(),
        account: one.account.clone(),
        address: one.account.clone(),
        amount_atomic: one.amount,
        sent_atomic: one.amount,
        network_fee_atomic: 0,
        tx_id: None,
        reason: None,
        release_cause: None,
    };
    chosen.iter().map(row).collect()
}
