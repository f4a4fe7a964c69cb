//! What must be true of each step of a payment at the moment it is written, worked out anew from
//! the bare facts.
//!
//! The ledger is what is tested, so nothing here asks it: balances are added up from the rows
//! each time, in the plainest way there is.

use std::collections::{BTreeMap, BTreeSet};

use headframe_pipelines::payment::{FeePolicy, PaymentConfig, PayoutFact};
use headframe_schemas::stream::instructions::Instruction;
use headframe_schemas::stream::payments::Payment;

use super::simulation::{FEE, Kind, Sent};

/// The facts that the payer had read when it wrote.
pub struct Facts<'a> {
    pub payouts: &'a [PayoutFact],
    pub payments: &'a [Vec<Payment>],
    pub instructions: &'a [Instruction],
}

/// The truth, and when the payer began to look.
pub struct Moment<'a> {
    pub kind: Kind,
    pub now: i64,
    pub born: i64,
    /// The transactions that lay in the vault then.
    pub kept: &'a BTreeSet<String>,
    pub sent: &'a [Sent],
    pub vault: &'a BTreeMap<(String, String), Vec<u8>>,
    /// Facts were lost with a stream.
    pub lost: bool,
}

/// Whether the next step may be written.
pub fn uphold(facts: &Facts<'_>, moment: &Moment<'_>, config: &PaymentConfig, rows: &[Payment]) {
    let reason = rows[0].reason.as_deref().unwrap_or_default();
    let word = reason.starts_with("operator: ");
    let settle = i64::try_from(config.settle_s).unwrap() * 1_000_000;
    let tx = moment.sent.iter().find(|tx| tx.payment == rows[0].payment);
    match rows[0].step.as_str() {
        "reserved" => reservation(facts, config, rows),
        "submitting" => {
            assert_eq!(
                held(facts, None),
                None,
                "about to be sent while everybody is held"
            );
            for row in rows {
                assert_eq!(
                    held(facts, Some(&row.account)),
                    None,
                    "about to be sent to {} while it is held",
                    row.account
                );
            }
            let known = |tx: &Sent| moment.lost && rows[0].tx_id.as_ref() == Some(&tx.tx_id);
            assert!(
                tx.is_none_or(known),
                "sent before it was written down: {tx:?}"
            );
            let kept = |id: &String| {
                moment.kind == Kind::SendMany
                    || moment
                        .vault
                        .contains_key(&(rows[0].payment.clone(), id.clone()))
            };
            assert!(
                rows[0].tx_id.as_ref().is_none_or(kept),
                "about to be sent, and nobody could send it again: {rows:?}"
            );
            // What was signed before may have been sent: nothing else is.
            let signed: Vec<&String> = moment
                .vault
                .keys()
                .filter(|(payment, tx_id)| {
                    *payment == rows[0].payment && moment.kept.contains(tx_id)
                })
                .map(|(_, tx_id)| tx_id)
                .collect();
            assert!(
                signed.is_empty()
                    || rows[0]
                        .tx_id
                        .as_ref()
                        .is_some_and(|tx_id| signed.contains(&tx_id)),
                "another transaction than {signed:?}: {rows:?}"
            );
            let fee: i128 = rows.iter().map(|row| row.network_fee_atomic).sum();
            let known = moment.kind == Kind::Relay || tx.is_some();
            assert_eq!(
                fee,
                if known { FEE as i128 } else { 0 },
                "the parts of the fee"
            );
            for row in rows {
                let borne = if config.fee_policy == FeePolicy::Miner {
                    row.network_fee_atomic
                } else {
                    0
                };
                assert_eq!(row.sent_atomic, row.amount_atomic - borne, "{row:?}");
            }
        }
        "submitted" => assert!(
            tx.is_some_and(|tx| rows[0].tx_id.as_ref() == Some(&tx.tx_id)),
            "submitted and not sent: {rows:?}"
        ),
        "confirmed" if !word => {
            let age = tx.map_or(-1, |tx| (moment.now - tx.at) / 60_000_000);
            assert!(
                age >= i64::try_from(config.confirmations).unwrap(),
                "confirmed with {age} blocks on it"
            );
        }
        "released" => {
            let refused = rows
                .iter()
                .filter_map(|row| row.reason.as_deref())
                .find(|reason| reason.starts_with("refused: "));
            let earned = |why: &str| {
                why.contains("refuses the address") || why.contains("would be too large")
            };
            assert!(
                refused.is_none_or(earned),
                "blocked until somebody resumes it, for nothing: {refused:?}"
            );
        }
        // Another amount than ours is seen at once, and so is that nobody knows which transaction
        // was sent.
        "review"
            if !moment.lost
                && !reason.contains("the wallet's history has")
                && !reason.contains("signed") =>
        {
            assert!(
                moment.now - moment.born >= settle,
                "{} us after the first look",
                moment.now - moment.born
            )
        }
        _ => {}
    }
}

fn reservation(facts: &Facts<'_>, config: &PaymentConfig, rows: &[Payment]) {
    assert_eq!(
        in_doubt(facts),
        None,
        "a payment begins while another may have been sent"
    );
    for row in rows {
        let name = row.account.as_str();
        assert_eq!(
            row.amount_atomic,
            owed(facts, name),
            "{name} is paid what it is owed"
        );
        assert_eq!(
            (held(facts, None), held(facts, Some(name))),
            (None, None),
            "{name} is paid while it is held"
        );
        let own = said(facts, "threshold", name).and_then(|row| row.amount_atomic);
        assert!(
            row.amount_atomic >= config.rules().threshold(own),
            "{name} is paid {} below its threshold {own:?}",
            row.amount_atomic
        );
        let (mut before, mut refused) = (0, None);
        for earlier in facts
            .payments
            .iter()
            .flatten()
            .filter(|earlier| earlier.account == name)
        {
            let reason = earlier.reason.as_deref().unwrap_or_default();
            match earlier.step.as_str() {
                "reserved" => before = earlier.event_time,
                "released" if reason.starts_with("later: ") => before = 0,
                "released" if reason.starts_with("refused: ") => refused = Some(earlier.event_time),
                _ => {}
            }
        }
        let interval = i64::try_from(config.interval_s).unwrap() * 1_000_000;
        assert!(
            before == 0 || before / interval < row.event_time / interval,
            "{name} is paid twice in one interval"
        );
        let lifts = |row: &&Instruction| {
            row.kind == "resume" && row.account.as_deref().is_none_or(|account| account == name)
        };
        let resumed = facts
            .instructions
            .iter()
            .filter(lifts)
            .map(|row| row.event_time)
            .max();
        assert!(
            refused.is_none_or(|since| resumed > Some(since)),
            "{name} was refused at {refused:?} and resumed at {resumed:?}"
        );
    }
}

/// A payment that is not known to be sent and may be.
fn in_doubt<'a>(facts: &Facts<'a>) -> Option<&'a str> {
    let mut open: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for message in facts.payments {
        let (name, step) = (message[0].payment.as_str(), message[0].step.as_str());
        match step {
            "released" => {
                let left = open.get_mut(name).map(|(_, left)| left).unwrap();
                *left -= message.len();
            }
            "confirmed" => *open.get_mut(name).unwrap() = (step, 0),
            _ => *open.entry(name).or_default() = (step, message.len()),
        }
    }
    open.into_iter()
        .find(|(_, (step, left))| *left > 0 && *step != "submitted")
        .map(|(name, _)| name)
}

/// What a miner is owed, atomic units.
pub fn owed(facts: &Facts<'_>, name: &str) -> i128 {
    let mut owed = 0;
    for row in facts
        .payouts
        .iter()
        .filter(|row| row.account.as_deref() == Some(name))
    {
        owed += match (row.step.as_str(), row.was_mature) {
            ("matured", _) => row.amount,
            ("reversed", true) => -row.amount,
            _ => 0,
        };
    }
    for row in facts
        .instructions
        .iter()
        .filter(|row| row.kind == "adjust" && row.account.as_deref() == Some(name))
    {
        owed += row.amount_atomic.unwrap();
    }
    for row in facts
        .payments
        .iter()
        .flatten()
        .filter(|row| row.account == name)
    {
        owed += match row.step.as_str() {
            "reserved" => -row.amount_atomic,
            "released" => row.amount_atomic,
            _ => 0,
        };
    }
    owed
}

fn said<'a>(facts: &Facts<'a>, kind: &str, name: &str) -> Option<&'a Instruction> {
    facts
        .instructions
        .iter()
        .rfind(|row| row.kind == kind && row.account.as_deref() == Some(name))
}

/// The operator's last word on one miner, or on all, if it is to hold.
fn held<'a>(facts: &Facts<'a>, name: Option<&str>) -> Option<&'a Instruction> {
    let word = |row: &&Instruction| {
        matches!(row.kind.as_str(), "hold" | "resume") && row.account.as_deref() == name
    };
    facts
        .instructions
        .iter()
        .rfind(word)
        .filter(|row| row.kind == "hold")
}
