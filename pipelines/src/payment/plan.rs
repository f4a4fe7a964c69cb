//! What is done about an open payment, from its step, what the wallet's history has of it, and the
//! time.
//!
//! The rule behind all of it: what may have been sent is never sent anew. It is looked up, or the
//! very same signed transaction is sent again, or an operator decides.

use headframe_schemas::stream::payments::Payment;
use headframe_sinks::wallet::{Found, Output};

use crate::payment::batch::{Batch, Status};
use crate::payment::{FeePolicy, PaymentConfig};
use crate::payout::divide::divide;

/// What this process may do about a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Means {
    /// It wrote `submitting` itself and has not asked the wallet to send yet.
    pub fresh: bool,
    /// It has the signed transaction, which pays once however often it is sent.
    pub signed: bool,
    /// How much of it goes to the wallet's own address, atomic units: a wallet that was scanned
    /// anew leaves that out of its history.
    pub own: u128,
}

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Ask the wallet to send.
    Submit,
    /// Write this step.
    Write {
        /// The step.
        step: &'static str,
        /// Its transaction.
        tx_id: Option<String>,
        /// The network's fee, when it is known better than before.
        fee: Option<u128>,
        /// Why.
        reason: Option<String>,
    },
    /// Nothing yet, and why.
    Wait(String),
}

/// What follows from the wallet's history. `missing_since` is when this process first looked in
/// vain, microseconds since 1970.
pub fn after_looking(
    batch: &Batch,
    found: Option<&Found>,
    means: Means,
    config: &PaymentConfig,
    missing_since: i64,
    now: i64,
) -> Move {
    match found {
        Some(found) => seen(batch, found, means, config),
        None => unseen(batch, means, config, missing_since, now),
    }
}

fn seen(batch: &Batch, found: &Found, means: Means, config: &PaymentConfig) -> Move {
    let sent = batch.sent();
    let write = |step, reason| Move::Write {
        step,
        tx_id: Some(found.tx_id.clone()),
        fee: Some(found.fee),
        reason,
    };
    let whole = u128::try_from(sent).unwrap_or_default();
    if found.amount != whole && found.amount != whole.saturating_sub(means.own) {
        let reason = format!(
            "the wallet's history has {} atomic units in transaction {}, not {sent}",
            found.amount, found.tx_id
        );
        return match batch.status {
            Status::Review => Move::Wait(reason),
            _ => write("review", Some(reason)),
        };
    }
    match batch.status {
        Status::Reserved | Status::Submitting | Status::Review => write("submitted", None),
        Status::Submitted if found.confirmations >= config.confirmations => {
            write("confirmed", None)
        }
        Status::Submitted => Move::Wait(format!(
            "{} of {} confirmations",
            found.confirmations, config.confirmations
        )),
    }
}

fn unseen(
    batch: &Batch,
    means: Means,
    config: &PaymentConfig,
    missing_since: i64,
    now: i64,
) -> Move {
    let late = now.saturating_sub(missing_since.max(batch.since)) >= config.settle_us();
    match batch.status {
        Status::Review => Move::Wait("an operator must say what became of it".to_owned()),
        Status::Submitting if means.fresh => Move::Submit,
        _ if late => {
            let reason = format!(
                "the wallet's history has no trace of it after {} s",
                config.settle_s
            );
            Move::Write {
                step: "review",
                tx_id: None,
                fee: None,
                reason: Some(reason),
            }
        }
        _ if means.signed => Move::Submit,
        _ => Move::Wait("the wallet's history does not show it yet".to_owned()),
    }
}

/// What the operator's word on a payment under review makes of it.
pub fn resolved(batch: &Batch, paid: bool, tx_id: Option<&str>, reason: &str) -> Option<Move> {
    let step = if paid { "confirmed" } else { "released" };
    let write = Move::Write {
        step,
        tx_id: tx_id.map(str::to_owned),
        fee: None,
        reason: Some(format!("operator: {reason}")),
    };
    (batch.status == Status::Review).then_some(write)
}

/// The outputs of a payment. With `fee`, the miners bear it in equal parts.
pub fn outputs(batch: &Batch, policy: FeePolicy, fee: u128) -> Vec<Output> {
    let parts = parts(fee, batch.rows.len());
    let one = |(row, part): (&Payment, &u128)| {
        let amount = u128::try_from(row.amount_atomic).unwrap_or_default();
        let borne = if policy == FeePolicy::Miner { *part } else { 0 };
        Output {
            address: row.address.clone(),
            amount: amount.saturating_sub(borne),
        }
    };
    batch.rows.iter().zip(&parts).map(one).collect()
}

/// The rows of `submitting`: what arrives, and each row's part of the fee.
pub fn submitting(
    batch: &Batch,
    outputs: &[Output],
    tx_id: Option<&str>,
    fee: u128,
    now: i64,
) -> Vec<Payment> {
    let mut rows = with_fee(batch.rows_for("submitting", now, tx_id, None), fee);
    for (row, output) in rows.iter_mut().zip(outputs) {
        row.sent_atomic = i128::try_from(output.amount).unwrap_or_default();
    }
    rows
}

/// The same rows with their parts of a fee.
pub fn with_fee(mut rows: Vec<Payment>, fee: u128) -> Vec<Payment> {
    let parts = parts(fee, rows.len());
    for (row, part) in rows.iter_mut().zip(parts) {
        row.network_fee_atomic = i128::try_from(part).unwrap_or_default();
    }
    rows
}

fn parts(fee: u128, count: usize) -> Vec<u128> {
    divide(fee, &vec![1; count])
}
