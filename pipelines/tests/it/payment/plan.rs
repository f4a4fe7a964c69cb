//! What follows from a payment's step and the wallet's history, case by case, and who bears which
//! part of a fee.

use headframe_pipelines::payment::plan::{self, LocalFacts, NextAction};
use headframe_pipelines::payment::{FeePolicy, OpenPayment, PaymentConfig};
use headframe_schemas::stream::payments::Payment;
use headframe_sinks::wallet::WalletTx;

const SECOND: i64 = 1_000_000;

fn row(account: &str, amount: i128) -> Payment {
    Payment {
        event_time: 0,
        pool: "main".to_owned(),
        payment: "p".to_owned(),
        step: "reserved".to_owned(),
        account: account.to_owned(),
        address: account.to_owned(),
        amount_atomic: amount,
        sent_atomic: amount,
        network_fee_atomic: 0,
        tx_id: None,
        reason: None,
        release_cause: None,
    }
}

/// A payment of 1000 that took these steps at time 0.
fn batch(steps: &[&str]) -> OpenPayment {
    let rows = [row("a", 700), row("b", 300)];
    let mut batch = OpenPayment::begin(&rows).unwrap();
    for step in steps {
        let rows = rows.clone().map(|row| Payment {
            step: (*step).to_owned(),
            ..row
        });
        batch.apply_step(step, &rows).unwrap();
    }
    batch
}

fn config() -> PaymentConfig {
    PaymentConfig {
        confirmations: 3,
        settle_s: 60,
        ..PaymentConfig::default()
    }
}

fn found(amount: u128, confirmations: u64) -> WalletTx {
    WalletTx {
        tx_id: "tx".to_owned(),
        confirmations,
        amount,
        fee: 5,
    }
}

/// The next move in a word, for a payment that this process first looked for in vain at second 100.
fn next(
    steps: &[&str],
    found: Option<&WalletTx>,
    not_yet_sent: bool,
    signed: bool,
    second: i64,
) -> String {
    match plan::next_action(
        &batch(steps),
        found,
        LocalFacts {
            not_yet_sent,
            has_signed_tx: signed,
            to_own_address: 0,
        },
        &config(),
        100 * SECOND,
        second * SECOND,
    ) {
        NextAction::Submit => "submit".to_owned(),
        NextAction::Write { step, .. } => step.to_owned(),
        NextAction::Wait(_) => "wait".to_owned(),
    }
}

const SUBMITTING: &[&str] = &["submitting"];
const SUBMITTED: &[&str] = &["submitting", "submitted"];
const REVIEW: &[&str] = &["submitting", "review"];

#[test]
fn what_the_history_does_not_show_is_never_sent_anew_and_never_given_back() {
    assert_eq!(
        next(SUBMITTING, None, true, false, 100),
        "submit",
        "the first call there ever was"
    );
    for second in [100, 130, 159] {
        assert_eq!(
            next(SUBMITTING, None, false, false, second),
            "wait",
            "after {second} s"
        );
        assert_eq!(
            next(SUBMITTING, None, false, true, second),
            "submit",
            "the very same transaction"
        );
        assert_eq!(next(SUBMITTED, None, false, false, second), "wait");
        assert_eq!(
            next(SUBMITTED, None, false, true, second),
            "submit",
            "a wallet that forgot it is decision again"
        );
    }
    // A minute after the first look, not after the step: the wallet may have been away as long as
    // this process.
    for steps in [SUBMITTING, SUBMITTED] {
        for signed in [false, true] {
            assert_eq!(next(steps, None, false, signed, 160), "review", "{steps:?}");
        }
    }
    for second in [100, 100_000] {
        assert_eq!(
            next(REVIEW, None, false, true, second),
            "wait",
            "an operator decides"
        );
    }
}

#[test]
fn what_the_history_shows_is_believed_to_the_atomic_unit() {
    for steps in [SUBMITTING, REVIEW] {
        assert_eq!(
            next(steps, Some(&found(1_000, 0)), false, false, 100),
            "submitted"
        );
        assert_eq!(
            next(steps, Some(&found(1_000, 99)), false, true, 100),
            "submitted",
            "one step at a time"
        );
    }
    for (depth, step) in [(0, "wait"), (2, "wait"), (3, "confirmed"), (4, "confirmed")] {
        assert_eq!(
            next(SUBMITTED, Some(&found(1_000, depth)), false, true, 1_000),
            step,
            "{depth} blocks on it"
        );
    }
    for amount in [999, 1_001] {
        assert_eq!(
            next(SUBMITTING, Some(&found(amount, 9)), false, true, 100),
            "review",
            "another amount"
        );
        assert_eq!(
            next(SUBMITTED, Some(&found(amount, 9)), false, true, 100),
            "review"
        );
        assert_eq!(
            next(REVIEW, Some(&found(amount, 9)), false, true, 100),
            "wait"
        );
    }
}

#[test]
fn an_operator_decides_about_reviews_and_nothing_else() {
    for steps in [&[][..], SUBMITTING, SUBMITTED] {
        assert_eq!(
            plan::operator_decision(&batch(steps), false, None, "r"),
            None,
            "{steps:?}"
        );
    }
    for (paid, wanted) in [(true, "confirmed"), (false, "released")] {
        let decision = plan::operator_decision(&batch(REVIEW), paid, Some("tx"), "r");
        assert!(
            matches!(
                &decision,
                Some(NextAction::Write { step, tx_id: Some(_), .. }) if *step == wanted
            ),
            "{decision:?}"
        );
    }
}

#[test]
fn every_unit_of_a_fee_is_borne_by_somebody_once() {
    let batch = batch(&[]);
    for fee in [0, 1, 2, 3, 599] {
        let amounts = |policy| -> Vec<u128> {
            plan::outputs(&batch, policy, fee)
                .iter()
                .map(|output| output.amount)
                .collect()
        };
        assert_eq!(amounts(FeePolicy::Pool), [700, 300], "the pool bears it");
        let borne = amounts(FeePolicy::Miner);
        assert_eq!(
            borne.iter().sum::<u128>() + fee,
            1_000,
            "the miners bear {fee} together"
        );
        assert!(
            (700 - borne[0]).abs_diff(300 - borne[1]) <= 1,
            "in equal parts: {borne:?}"
        );
        let rows = plan::submitting(
            &batch,
            &plan::outputs(&batch, FeePolicy::Miner, fee),
            None,
            fee,
            7,
        );
        for (row, sent) in rows.iter().zip(&borne) {
            assert_eq!(
                (row.sent_atomic, row.sent_atomic + row.network_fee_atomic),
                (*sent as i128, row.amount_atomic)
            );
        }
        let rows = plan::submitting(
            &batch,
            &plan::outputs(&batch, FeePolicy::Pool, fee),
            None,
            fee,
            7,
        );
        assert_eq!(
            rows.iter().map(|row| row.network_fee_atomic).sum::<i128>(),
            fee as i128
        );
        assert!(rows.iter().all(|row| row.sent_atomic == row.amount_atomic
            && row.step == "submitting"
            && row.event_time == 7));
    }
}
