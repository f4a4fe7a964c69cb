//! What is done about an open payment, from its step, what the wallet's history has of it, and the
//! time.
//!
//! The rule behind all of it: what may have been sent is never sent anew. It is looked up, or the
//! very same signed transaction is sent again, or an operator decides.

use headframe_schemas::stream::payments::Payment;
use headframe_sinks::wallet::{Output, WalletTx};

use crate::payment::open_payment::{OpenPayment, PaymentStatus};
use crate::payment::{FeePolicy, PaymentConfig};
use crate::payout::divide::divide;

/// What this process may do about a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LocalFacts {
    /// It wrote `submitting` itself and has not asked the wallet to send yet.
    pub not_yet_sent: bool,
    /// It has the signed transaction, which pays once however often it is sent.
    pub has_signed_tx: bool,
    /// How much of it goes to the wallet's own address, atomic units: a wallet that was scanned
    /// anew leaves that out of its history.
    pub to_own_address: u128,
}

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextAction {
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
pub fn next_action(
    payment: &OpenPayment,
    found: Option<&WalletTx>,
    facts: LocalFacts,
    config: &PaymentConfig,
    missing_since: i64,
    now: i64,
) -> NextAction {
    match found {
        Some(found) => action_when_found(payment, found, facts, config),
        None => action_when_missing(payment, facts, config, missing_since, now),
    }
}

fn action_when_found(
    payment: &OpenPayment,
    found: &WalletTx,
    facts: LocalFacts,
    config: &PaymentConfig,
) -> NextAction {
    let sent = payment.sent();
    let write = |step, reason| NextAction::Write {
        step,
        tx_id: Some(found.tx_id.clone()),
        fee: Some(found.fee),
        reason,
    };
    let whole = u128::try_from(sent).unwrap_or_default();
    if found.amount != whole && found.amount != whole.saturating_sub(facts.to_own_address) {
        let reason = format!(
            "the wallet's history has {} atomic units in transaction {}, not {sent}",
            found.amount, found.tx_id
        );
        return match payment.status {
            PaymentStatus::Review => NextAction::Wait(reason),
            _ => write("review", Some(reason)),
        };
    }
    match payment.status {
        PaymentStatus::Reserved | PaymentStatus::Submitting | PaymentStatus::Review => {
            write("submitted", None)
        }
        PaymentStatus::Submitted if found.confirmations >= config.confirmations => {
            write("confirmed", None)
        }
        PaymentStatus::Submitted => NextAction::Wait(format!(
            "{} of {} confirmations",
            found.confirmations, config.confirmations
        )),
    }
}

fn action_when_missing(
    payment: &OpenPayment,
    facts: LocalFacts,
    config: &PaymentConfig,
    missing_since: i64,
    now: i64,
) -> NextAction {
    let late = now.saturating_sub(missing_since.max(payment.since)) >= config.settle_us();
    match payment.status {
        PaymentStatus::Review => {
            NextAction::Wait("an operator must say what became of it".to_owned())
        }
        PaymentStatus::Submitting if facts.not_yet_sent => NextAction::Submit,
        _ if late => {
            let reason = format!(
                "the wallet's history has no trace of it after {} s",
                config.settle_s
            );
            NextAction::Write {
                step: "review",
                tx_id: None,
                fee: None,
                reason: Some(reason),
            }
        }
        _ if facts.has_signed_tx => NextAction::Submit,
        _ => NextAction::Wait("the wallet's history does not show it yet".to_owned()),
    }
}

/// What the operator's word on a payment under review makes of it.
pub fn operator_decision(
    payment: &OpenPayment,
    paid: bool,
    tx_id: Option<&str>,
    reason: &str,
) -> Option<NextAction> {
    let step = if paid { "confirmed" } else { "released" };
    let write = NextAction::Write {
        step,
        tx_id: tx_id.map(str::to_owned),
        fee: None,
        reason: Some(format!("operator: {reason}")),
    };
    (payment.status == PaymentStatus::Review).then_some(write)
}

/// The outputs of a payment. With `fee`, the miners bear it in equal parts.
pub fn outputs(payment: &OpenPayment, policy: FeePolicy, fee: u128) -> Vec<Output> {
    let parts = equal_parts(fee, payment.rows.len());
    let one = |(row, part): (&Payment, &u128)| {
        let amount = u128::try_from(row.amount_atomic).unwrap_or_default();
        let borne = if policy == FeePolicy::Miner { *part } else { 0 };
        Output {
            address: row.address.clone(),
            amount: amount.saturating_sub(borne),
        }
    };
    payment.rows.iter().zip(&parts).map(one).collect()
}

/// The rows of `submitting`: what arrives, and each row's part of the fee.
pub fn submitting(
    payment: &OpenPayment,
    outputs: &[Output],
    tx_id: Option<&str>,
    fee: u128,
    now: i64,
) -> Vec<Payment> {
    let mut rows = with_fee(payment.rows_for("submitting", now, tx_id, None), fee);
    for (row, output) in rows.iter_mut().zip(outputs) {
        row.sent_atomic = i128::try_from(output.amount).unwrap_or_default();
    }
    rows
}

/// The same rows with their parts of a fee.
pub fn with_fee(mut rows: Vec<Payment>, fee: u128) -> Vec<Payment> {
    let parts = equal_parts(fee, rows.len());
    for (row, part) in rows.iter_mut().zip(parts) {
        row.network_fee_atomic = i128::try_from(part).unwrap_or_default();
    }
    rows
}

fn equal_parts(fee: u128, count: usize) -> Vec<u128> {
    divide(fee, &vec![1; count])
}
