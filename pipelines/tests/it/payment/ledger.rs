//! The ledger by hand: what each step does to each account, and every rule that can be broken.

use headframe_pipelines::payment::select::{self, NotPayable};
use headframe_pipelines::payment::{Account, Ledger, PaymentConfig, PayoutFact};
use headframe_schemas::stream::instructions::Instruction;
use headframe_schemas::stream::payments::Payment;

fn payout(step: &str, account: Option<&str>, amount: i128, was_mature: bool) -> PayoutFact {
    PayoutFact {
        block: "block".to_owned(),
        step: step.to_owned(),
        account: account.map(str::to_owned),
        amount,
        was_mature,
    }
}

fn credited_and_matured() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.apply_payouts(&[payout("frozen", None, 1_000, false)]);
    for step in ["credited", "matured"] {
        ledger.apply_payouts(&[
            payout(step, Some("a"), 700, false),
            payout(step, Some("b"), 290, false),
            payout(step, Some("fee"), 10, false),
        ]);
    }
    ledger
}

fn payment(step: &str, account: &str, amount: i128) -> Payment {
    Payment {
        event_time: 1_790_000_000_000_000,
        pool: "main".to_owned(),
        payment: "p".to_owned(),
        step: step.to_owned(),
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

fn balances(ledger: &Ledger) -> Vec<(String, i128)> {
    ledger
        .accounts()
        .filter(|(_, balance)| *balance != 0)
        .map(|(account, balance)| (account.to_string(), balance))
        .collect()
}

fn named(pairs: &[(&str, i128)]) -> Vec<(String, i128)> {
    pairs
        .iter()
        .map(|(name, balance)| ((*name).to_owned(), *balance))
        .collect()
}

#[test]
fn a_released_row_is_judged_by_its_cause_and_one_without_by_its_reason() {
    use headframe_schemas::payment::ReleaseCause::{NextInterval, PutBack, Refused};
    for (cause, reason, means) in [
        (Some(Refused), "wrong network", Refused),
        (Some(PutBack), "refused: by its text", PutBack),
        (Some(NextInterval), "refused: by its text", NextInterval),
        (Some(NextInterval), "later: by its text", NextInterval),
        (None, "refused: wrong network", Refused),
        (None, "later: held", PutBack),
        (None, "operator: never sent", NextInterval),
    ] {
        let mut ledger = credited_and_matured();
        ledger.apply_payment(&[payment("reserved", "b", 290)]);
        ledger.apply_payment(&[Payment {
            reason: Some(reason.to_owned()),
            release_cause: cause,
            ..payment("released", "b", 290)
        }]);
        ledger.check().unwrap();
        let state = ledger.account_state("b").unwrap();
        let follows = match (state.refused.is_some(), state.put_back > 0) {
            (true, false) => Refused,
            (false, true) => PutBack,
            _ => NextInterval,
        };
        assert_eq!(follows, means, "{cause:?} {reason}");
        assert_eq!(state.last_reserved == 0, means == PutBack, "{reason}");
    }
}

#[test]
fn a_block_becomes_balances_and_balances_become_payments() {
    let mut ledger = credited_and_matured();
    assert_eq!(
        balances(&ledger),
        named(&[
            ("coinbase", -1_000),
            ("fee", 10),
            ("miner:a", 700),
            ("miner:b", 290)
        ])
    );
    ledger.apply_payment(&[payment("reserved", "a", 700), payment("reserved", "b", 290)]);
    assert_eq!(
        balances(&ledger),
        named(&[("coinbase", -1_000), ("fee", 10), ("in_transit", 990)])
    );
    // One address is refused; the other bears the network's fee.
    ledger.apply_payment(&[Payment {
        reason: Some("refused: wrong network".to_owned()),
        ..payment("released", "b", 290)
    }]);
    let sent = |step| Payment {
        sent_atomic: 690,
        network_fee_atomic: 12,
        ..payment(step, "a", 700)
    };
    for step in ["submitting", "submitted", "confirmed"] {
        ledger.apply_payment(&[sent(step)]);
        ledger.check().unwrap();
    }
    assert_eq!(
        balances(&ledger),
        named(&[
            ("coinbase", -1_000),
            ("reserve", -2),
            ("fee", 10),
            ("paid", 690),
            ("network", 12),
            ("miner:b", 290)
        ]),
        "of 12 the miner bore 10, the pool 2"
    );
    let now = 1_790_010_000_000_000;
    let config = PaymentConfig {
        threshold_atomic: 100,
        least_threshold_atomic: 1,
        ..PaymentConfig::default()
    };
    assert!(matches!(
        select::candidate(&ledger, &config, "b", now),
        Err(NotPayable::Held(reason)) if reason.contains("wrong network")
    ));
    assert_eq!(
        select::candidate(&ledger, &config, "a", now),
        Err(NotPayable::Empty)
    );
    let resume = Instruction {
        kind: "resume".to_owned(),
        account: Some("b".to_owned()),
        event_time: now,
        ..Instruction::default()
    };
    ledger.apply_instruction(&resume);
    assert_eq!(
        select::candidate(&ledger, &config, "b", now)
            .unwrap()
            .amount,
        290
    );
}

#[test]
fn what_was_paid_and_then_orphaned_is_owed_back() {
    let mut ledger = credited_and_matured();
    for step in ["reserved", "submitting", "submitted", "confirmed"] {
        ledger.apply_payment(&[payment(step, "a", 700)]);
    }
    let rows = [
        payout("reversed", Some("a"), 700, true),
        payout("reversed", Some("b"), 290, true),
        payout("reversed", Some("fee"), 10, true),
    ];
    ledger.apply_payouts(&rows);
    ledger.check().unwrap();
    assert_eq!(
        balances(&ledger),
        named(&[("paid", 700), ("miner:a", -700)])
    );
}

#[test]
fn a_block_that_matured_long_ago_is_still_known() {
    // With a hash, of which less is kept than of the other names here.
    let hash = format!("{:064x}", 7);
    let row = |row: PayoutFact| PayoutFact {
        block: hash.clone(),
        ..row
    };
    let all = |step: &str, mature| {
        [
            payout(step, Some("a"), 990, mature),
            payout(step, Some("fee"), 10, mature),
        ]
        .map(row)
    };
    let matured = || {
        let mut ledger = Ledger::default();
        ledger.apply_payouts(&[row(payout("frozen", None, 1_000, false))]);
        ledger.apply_payouts(&all("credited", false));
        ledger.apply_payouts(&all("matured", false));
        ledger.check().unwrap();
        ledger
    };
    let rule = |rows: &[PayoutFact]| {
        let mut ledger = matured();
        ledger.apply_payouts(rows);
        ledger.check().map_err(|broken| broken.rule)
    };
    assert_eq!(
        rule(&[row(payout("frozen", None, 1_000, false))]),
        Err("steps"),
        "frozen twice"
    );
    assert_eq!(
        rule(&all("credited", false)),
        Err("reward"),
        "credited twice"
    );
    assert_eq!(rule(&all("matured", false)), Err("reward"), "matured twice");
    let other = PayoutFact {
        block: format!("{:064X}", 0xa),
        ..payout("credited", Some("a"), 1, false)
    };
    assert_eq!(rule(&[other]), Err("reward"), "another block");
    // Reversed, credited and matured again: as if nothing had been.
    let mut ledger = matured();
    ledger.apply_payouts(&all("reversed", true));
    assert_eq!(balances(&ledger), named(&[]));
    ledger.apply_payouts(&all("credited", false));
    ledger.apply_payouts(&all("matured", false));
    ledger.check().unwrap();
    assert_eq!(balances(&ledger), balances(&matured()));
}

#[test]
fn an_adjustment_books_the_fee_out_and_the_ledger_stays_balanced() {
    let mut ledger = Ledger::default();
    ledger.apply_payouts(&[payout("frozen", None, 1_000, false)]);
    for step in ["credited", "matured"] {
        ledger.apply_payouts(&[
            payout(step, Some("a"), 900, false),
            payout(step, Some("fee"), 100, false),
        ]);
    }
    let word = |account: &str, amount: i128, reason: Option<&str>| Instruction {
        event_time: 5,
        kind: "adjust".to_owned(),
        account: Some(account.to_owned()),
        amount_atomic: Some(amount),
        reason: reason.map(str::to_owned),
        ..Instruction::default()
    };
    ledger.apply_instruction(&word("fee", -60, None));
    assert_eq!(
        ledger.balance(&Account::Fee),
        100,
        "without a reason it is void"
    );
    ledger.apply_instruction(&word("fee", -60, Some("withdrawn")));
    ledger.check().unwrap();
    assert_eq!(
        (
            ledger.balance(&Account::Fee),
            ledger.balance(&Account::Reserve)
        ),
        (40, 60)
    );
    assert_eq!(
        ledger.balance(&Account::Miner("fee".to_owned())),
        0,
        "the fee is nobody's address"
    );
    // By way of an account it is paid out like anybody's balance.
    ledger.apply_instruction(&word("fee", -40, Some("to the operator")));
    ledger.apply_instruction(&word("operators-address", 100, Some("the fee")));
    ledger.check().unwrap();
    assert_eq!(
        (
            ledger.balance(&Account::Fee),
            ledger.balance(&Account::Reserve)
        ),
        (0, 0)
    );
    assert_eq!(
        ledger.balance(&Account::Miner("operators-address".to_owned())),
        100
    );
    // A block that is orphaned afterwards takes back what was booked out already, and breaks
    // nothing.
    ledger.apply_payouts(&[
        payout("reversed", Some("a"), 900, true),
        payout("reversed", Some("fee"), 100, true),
    ]);
    ledger.check().unwrap();
    assert_eq!(ledger.balance(&Account::Fee), -100);
}

#[test]
fn each_broken_rule_is_named() {
    let broken = |ledger: &Ledger| ledger.check().unwrap_err().rule;
    let mut ledger = Ledger::default();
    ledger.apply_payouts(&[
        payout("frozen", None, 1_000, false),
        payout("credited", Some("a"), 1_001, false),
    ]);
    assert_eq!(broken(&ledger), "reward", "more than the block brought");
    let mut ledger = credited_and_matured();
    ledger.apply_payouts(&[payout("credited", Some("a"), 700, false)]);
    assert_eq!(broken(&ledger), "reward", "credited twice");
    let mut ledger = Ledger::default();
    ledger.apply_payouts(&[
        payout("frozen", None, 1_000, false),
        payout("credited", Some("a"), 999, false),
        payout("matured", Some("a"), 999, false),
    ]);
    assert_eq!(broken(&ledger), "reward", "somebody was left out");
    let mut ledger = credited_and_matured();
    ledger.apply_payment(&[payment("reserved", "a", 701)]);
    assert_eq!(broken(&ledger), "overdrawn");
    // A reservation may come under review, since later steps of it may be lost with a stream; never
    // go on from there as if it had not.
    let stray = ["reserved", "review", "submitting"];
    for steps in [
        &["submitted"][..],
        &["reserved", "confirmed"],
        &["reserved", "submitted"],
        &["reserved", "reserved"],
        &stray,
    ] {
        let mut ledger = credited_and_matured();
        steps
            .iter()
            .for_each(|step| ledger.apply_payment(&[payment(step, "a", 700)]));
        assert_eq!(broken(&ledger), "steps", "{steps:?}");
    }
    let mut ledger = credited_and_matured();
    ledger.apply_payment(&[payment("reserved", "a", 700), payment("reserved", "b", 290)]);
    ledger.apply_payment(&[payment("submitting", "a", 700)]);
    assert_eq!(broken(&ledger), "steps", "half of a payment");
}

#[test]
fn a_resolution_applies_only_to_the_review_before_it() {
    let mut ledger = credited_and_matured();
    for step in ["reserved", "submitting", "review"] {
        ledger.apply_payment(&[payment(step, "a", 700)]);
    }
    let review = payment("review", "a", 700).event_time;
    for (event_time, heard) in [(review - 1, false), (review, true), (review + 1, true)] {
        let (kind, verdict) = ("resolve".to_owned(), Some("unpaid".to_owned()));
        let (payment, reason) = (Some("p".to_owned()), Some("looked it up".to_owned()));
        ledger.apply_instruction(&Instruction {
            event_time,
            kind,
            verdict,
            payment,
            reason,
            ..Instruction::default()
        });
        assert_eq!(
            ledger
                .resolution(ledger.open_payment("p").unwrap())
                .is_some(),
            heard,
            "{event_time}"
        );
    }
}

#[test]
fn an_adjustment_is_an_entry_with_a_reason_or_void() {
    let mut ledger = credited_and_matured();
    let adjust = |amount, reason: Option<&str>| Instruction {
        kind: "adjust".to_owned(),
        account: Some("a".to_owned()),
        amount_atomic: Some(amount),
        reason: reason.map(str::to_owned),
        ..Instruction::default()
    };
    ledger.apply_instruction(&adjust(5_000, None));
    ledger.apply_instruction(&adjust(5_000, Some(" ")));
    assert_eq!(ledger.balance(&Account::Miner("a".to_owned())), 700);
    ledger.apply_instruction(&adjust(50, Some("a share was lost")));
    ledger.apply_instruction(&adjust(-800, Some("paid by hand before")));
    assert_eq!(ledger.balance(&Account::Miner("a".to_owned())), -50);
    assert_eq!(ledger.balance(&Account::Reserve), 750);
    ledger.check().unwrap();
}
